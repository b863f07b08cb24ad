package config

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder fills Go values from YAML nodes and goes on after a fault. The library's own decoder
// stops at a repeated key, knows no columns, and reads 012 as a string where it must.
type decoder struct {
	file   string
	faults Faults
	// at remembers where each path stood, for the faults that validation finds.
	at map[string]*yaml.Node
	// faulty are the paths that have a fault.
	faulty map[string]bool
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, at: map[string]*yaml.Node{}, faulty: map[string]bool{}}
}

// maxFaults is more than anybody mends in one go; it bounds the time and the text that a file of
// nothing but faults takes.
const maxFaults = 100

// full reports whether further faults would not be listed.
func (d *decoder) full() bool { return len(d.faults) > maxFaults }

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	d.faulty[path] = true
	if len(d.faults) == maxFaults {
		d.faults = append(d.faults, Fault{File: d.file, Message: fmt.Sprintf("has more faults than the %d listed here", maxFaults)})
	}
	if d.full() {
		return
	}
	f := Fault{File: d.file, Path: path, Message: fmt.Sprintf(format, args...)}
	if strings.HasPrefix(path, "credentials") {
		f.Path, f.Message = credentialPath.FindString(path), value.ReplaceAllString(f.Message, "${1}(not shown)")
		if f.Path != path {
			f.Message = "a key in it " + f.Message
		}
	}
	if n != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	d.faults = append(d.faults, f)
}

// Somebody will write a key where its source belongs, and faults are logged: of what stands under
// credentials, neither a value nor an unknown key is repeated.
var (
	value          = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|((?:number|boolean|date|tag) )(?:[^\s;]|;\S)+`)
	credentialPath = regexp.MustCompile(`^credentials(\.[A-Za-z0-9_-]{1,64}|\["[^"]{1,64}"\])?((\.(service_account_key|google_default|client_credentials|api_key|from|scopes|impersonate|token_url|client_id|client_secret|secret_manager|file|env)\b)|\[[0-9]+\])*`)
)

// decode stores n in v. A null is the same as no value.
func (d *decoder) decode(n *yaml.Node, path string, v reflect.Value) {
	d.at[path] = n
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, path, "anchors and aliases are not supported; write the value out")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fault(n, path, "has the tag %s; write a plain value without", n.Tag)
		return
	case n.ShortTag() == "!!null":
		return
	}
	switch v.Interface().(type) {
	case time.Duration:
		if s, ok := d.scalar(n, path, "a duration such as 30s, 5m or 24h", "!!str"); ok {
			t, err := time.ParseDuration(s)
			if err != nil || !duration.MatchString(s) {
				d.fault(n, path, "%q is not a duration; write one such as 30s, 5m or 24h", s)
			} else if t == 0 {
				d.fault(n, path, "is zero; remove it for the default")
			}
			v.SetInt(int64(t))
		}
		return
	case Bytes:
		if s, ok := d.scalar(n, path, "a size such as 32MiB", "!!str", "!!int"); ok {
			b, err := parseBytes(s)
			if err != nil {
				d.fault(n, path, "%q is not a size; write one such as 64KiB, 32MiB or 1GiB", s)
			} else if b == 0 {
				d.fault(n, path, "is zero; remove it for the default")
			}
			v.SetInt(int64(b))
		}
		return
	case time.Time:
		if s, ok := d.scalar(n, path, "a time such as 2026-11-26T12:00:00Z", "!!timestamp", "!!str"); ok {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				d.fault(n, path, "%q is not a time; write one such as 2026-11-26T12:00:00Z", s)
			}
			v.Set(reflect.ValueOf(t))
		}
		return
	case Names:
		if n.Kind == yaml.ScalarNode {
			n = &yaml.Node{Kind: yaml.SequenceNode, Line: n.Line, Column: n.Column, Content: []*yaml.Node{n}}
		}
	case LimitStore:
		if n.Kind == yaml.ScalarNode {
			if s, ok := d.scalar(n, path, "memory, the address of a Redis, or a mapping", "!!str"); ok {
				v.Set(reflect.ValueOf(LimitStore{URL: s}))
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, path, v.Elem())
	case reflect.Struct:
		d.structure(n, path, v)
	case reflect.Map:
		if !d.is(n, path, yaml.MappingNode) {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for _, m := range d.members(n, path) {
			elem := reflect.New(v.Type().Elem()).Elem()
			d.decode(m.value, join(path, m.key.Value), elem)
			v.SetMapIndex(reflect.ValueOf(m.key.Value).Convert(v.Type().Key()), elem)
		}
	case reflect.Slice:
		if !d.is(n, path, yaml.SequenceNode) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			p := fmt.Sprintf("%s[%d]", path, i)
			if c.ShortTag() == "!!null" {
				d.fault(c, p, "is empty; give a value or remove the entry")
			}
			d.decode(c, p, v.Index(i))
		}
	case reflect.String:
		if s, ok := d.scalar(n, path, "a string", "!!str"); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if s, ok := d.scalar(n, path, "true or false", "!!bool"); ok {
			v.SetBool(strings.EqualFold(s, "true"))
		}
	case reflect.Int64:
		if s, ok := d.scalar(n, path, "a whole number", "!!int"); ok {
			i, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				d.fault(n, path, "%q is not a whole number that is written plainly", s)
			} else if i == 0 {
				d.fault(n, path, "is zero; remove it, or write a policy that forbids")
			}
			v.SetInt(i)
		}
	case reflect.Float64:
		if s, ok := d.scalar(n, path, "a number", "!!int", "!!float"); ok {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				d.fault(n, path, "%q is not a decimal number", s)
			}
			v.SetFloat(f)
		}
	case reflect.Interface:
		if value := d.any(n, path); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	default:
		panic("config: no decoder for " + v.Type().String())
	}
}

// any is n as JSON would have it.
func (d *decoder) any(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, e := range d.members(n, path) {
			var v any
			d.decode(e.value, join(path, e.key.Value), reflect.ValueOf(&v).Elem())
			m[e.key.Value] = v
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			d.decode(c, fmt.Sprintf("%s[%d]", path, i), reflect.ValueOf(&list[i]).Elem())
		}
		return list
	}
	s, ok := d.scalar(n, path, "a string", "!!str", "!!int", "!!float", "!!bool")
	switch tag := n.ShortTag(); {
	case !ok:
		return nil
	case tag == "!!bool":
		return strings.EqualFold(s, "true")
	case tag != "!!str":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			d.fault(n, path, "%q is not a decimal number", s)
			return nil
		}
		return f
	}
	return s
}

// structure fills the fields of v by their yaml tags.
func (d *decoder) structure(n *yaml.Node, path string, v reflect.Value) {
	if !d.is(n, path, yaml.MappingNode) {
		return
	}
	fields := map[string]int{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "-" {
			fields[name] = i
		}
	}
	for _, m := range d.members(n, path) {
		p := join(path, m.key.Value)
		i, known := fields[m.key.Value]
		if !known {
			d.fault(m.key, p, "is not a known key; %s", Suggest(m.key.Value, slices.Sorted(maps.Keys(fields))))
			continue
		}
		d.decode(m.value, p, v.Field(i))
		if m.value.ShortTag() == "!!null" {
			d.at[p] = m.key // an empty value has no place of its own
		}
	}
}

// maxName bounds keys, which stand in the path of all that is below them.
const maxName = 256

type member struct{ key, value *yaml.Node }

// members lists the entries of a mapping, without those that repeat a key.
func (d *decoder) members(n *yaml.Node, path string) []member {
	var ms []member
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Anchor != "" {
			d.fault(key, path, "%s is not a usable key; write a string, in quotes where YAML would read it as something else", describe(key))
			continue
		}
		if len(key.Value) > maxName {
			d.fault(key, path, "has a key of more than %d bytes", maxName)
			continue
		}
		if first, again := seen[key.Value]; again {
			d.fault(key, join(path, key.Value), "is given twice; the first stands in line %d", first.Line)
			continue
		}
		seen[key.Value] = key
		ms = append(ms, member{key, value})
	}
	return ms
}

func (d *decoder) is(n *yaml.Node, path string, kind yaml.Kind) bool {
	if n.Kind == kind {
		return true
	}
	want := "a mapping (key: value)"
	if kind == yaml.SequenceNode {
		want = "a list ([a, b])"
	}
	d.fault(n, path, "is %s; it must be %s", describe(n), want)
	return false
}

// scalar returns the text of n where YAML gives it one of the tags.
func (d *decoder) scalar(n *yaml.Node, path, want string, tags ...string) (string, bool) {
	if n.Kind == yaml.ScalarNode && slices.Contains(tags, n.ShortTag()) {
		return n.Value, true
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && want == "a string" {
		hint = "; put it in quotes"
	}
	d.fault(n, path, "is %s; it must be %s%s", describe(n), want, hint)
	return "", false
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "empty"
	case "!!timestamp":
		return "the date " + n.Value
	}
	return fmt.Sprintf("the string %q", n.Value)
}

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// Path is where a key stands below a path, for Fault.
func Path(path, key string) string { return join(path, key) }

// join appends a key to a path; keys that hold dots or slashes are quoted.
func join(path, key string) string {
	if !plainKey.MatchString(key) {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Suggest names the known one that was probably meant, or all of them.
func Suggest(name string, known []string) string {
	if best, ok := nearest(name, known); ok {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if len(known) == 0 {
		return "none is declared"
	}
	return "known are " + strings.Join(known, ", ")
}

// nearest finds the known name within a third of the letters.
func nearest(name string, known []string) (string, bool) {
	best, at := "", len(name)/3+1
	for _, k := range known {
		if n := distance(name, k); n < at {
			best, at = k, n
		}
	}
	return best, best != ""
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

var duration = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`)

var size = regexp.MustCompile(`^([0-9]{1,12})(KiB|MiB|GiB)?$`)

func parseBytes(s string) (Bytes, error) {
	m := size.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no size", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]int{"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[m[2]]
	if err != nil || n > 1<<40>>shift {
		return 0, fmt.Errorf("%q is beyond 1 TiB", s)
	}
	return Bytes(n << shift), nil
}
