package googleapis

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A document is what Google publishes of one version of an API: its methods and the forms of what they take and
// give (developers.google.com/discovery/v1/reference/apis).
type document struct {
	Name        string // secretmanager
	Version     string // v1
	RootURL     string `json:"rootUrl"`
	ServicePath string `json:"servicePath"`
	Parameters  map[string]*schema
	Schemas     map[string]*schema
	Resources   map[string]*branch

	host    string
	methods []*method
}

type branch struct {
	Methods   map[string]*method
	Resources map[string]*branch
}

// A method is one call of an API. Its path is a list of segments, of which those in braces are variables.
type method struct {
	ID         string
	HTTPMethod string
	Path       string
	FlatPath   string
	Parameters map[string]*schema
	Request    *schema
	Response   *schema

	doc        *document
	collection string // secretmanager.secrets
	action     string // create
	segments   []string
	skip       int // segments before the resource's name
}

// A schema is a JSON Schema of draft 3, as discovery documents use it.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Format               string
	Description          string
	Enum                 []string
	Pattern              string
	Location             string
	Repeated             bool
	Required             bool
	ReadOnly             bool
	Items                *schema
	Properties           map[string]*schema
	AdditionalProperties *schema
}

// documents are those that the Go client library ships.
var documents = sync.OnceValues(func() (map[string]*document, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		return nil, fmt.Errorf("find the discovery documents of module google.golang.org/api: %w", err)
	}
	dir := strings.TrimSpace(string(out))
	all := map[string]*document{}
	for _, name := range strings.Fields(modelled) {
		d := &document{}
		file := filepath.Join(dir, name, filepath.Dir(name)+"-api.json")
		if b, err := os.ReadFile(file); err != nil {
			return nil, err
		} else if err := json.Unmarshal(b, d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		d.host = strings.TrimSuffix(strings.TrimPrefix(d.RootURL, "https://"), "/")
		for _, b := range d.Resources {
			d.add(b)
		}
		all[name] = d
	}
	return all, nil
})

func (d *document) add(b *branch) {
	for _, m := range b.Methods {
		m.doc = d
		words := strings.Split(m.ID, ".")
		m.action = words[len(words)-1]
		kind := slices.DeleteFunc(words[1:len(words)-1], func(word string) bool {
			return len(words) > 3 && (word == "projects" || word == "locations")
		})
		m.collection = words[0] + "." + strings.Join(kind, ".")
		path := m.FlatPath
		if path == "" {
			path = m.Path
		}
		m.segments = strings.Split(d.ServicePath+path, "/")
		m.skip = slices.Index(m.segments, d.Version) + 1
		d.methods = append(d.methods, m)
	}
	for _, b := range b.Resources {
		d.add(b)
	}
}

// match is how well the escaped path fits the method: the number of literal characters, or -1.
func (m *method) match(segments []string) int {
	if len(segments) != len(m.segments) {
		return -1
	}
	literal := 0
	for i, pattern := range m.segments {
		open, end := strings.Index(pattern, "{"), strings.LastIndex(pattern, "}")
		if open < 0 {
			if segments[i] != pattern {
				return -1
			}
			literal += len(pattern)
			continue
		}
		verb := pattern[end+1:] // as in {secret}:addVersion
		if !strings.HasSuffix(segments[i], verb) || len(segments[i]) == len(verb) {
			return -1
		}
		literal += len(verb)
	}
	return literal
}

// name is the resource or collection that the segments name, unescaped: without version and verb, which may be a
// segment of its own, as in instances/{instance}/authString.
func (m *method) name(segments []string) (string, error) {
	words, end := make([]string, 0, len(segments)), len(segments)
	last, isVariable := m.segments[end-1], strings.Contains(m.segments[end-1], "{")
	if !isVariable && m.doc.Name != "storage" && !strings.Contains(last, ":") && !strings.HasSuffix(strings.ToLower(m.collection), strings.ToLower(last)) {
		end--
	}
	for i := m.skip; i < end; i++ {
		_, verb, _ := strings.Cut(m.segments[i], ":")
		word, err := url.PathUnescape(strings.TrimSuffix(segments[i], ":"+verb))
		if err != nil {
			return "", strict("the path's segment %q is malformed", segments[i])
		}
		words = append(words, word)
	}
	return strings.Join(words, "/"), nil
}

// parameters refuses what the document doesn't name as a parameter of the method's query. Google's generated clients
// write the system parameter alt as $alt, and ask so for enums as numbers; texts are as good to them
// (cloud.google.com/apis/docs/system-parameters).
func (m *method) parameters(query url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		p := m.Parameters[name]
		if name == "$alt" && query.Get(name) == "json;enum-encoding=int" {
			continue
		}
		if p == nil {
			p = m.doc.Parameters[name]
		} else if p.Location != "query" {
			p = nil
		}
		if p == nil {
			return strict("%s has no parameter %q", m.ID, name)
		}
		if len(query[name]) > 1 && !p.Repeated {
			return strict("%s takes the parameter %q once", m.ID, name)
		}
		for _, value := range query[name] {
			if err := p.parameter(value); err != nil {
				return strict("%s: parameter %q: %v", m.ID, name, err)
			}
		}
	}
	for name, p := range m.Parameters {
		if p.Required && p.Location == "query" && !query.Has(name) {
			return strict("%s needs the parameter %q", m.ID, name)
		}
	}
	return nil
}

func (s *schema) parameter(value string) error {
	var err error
	switch {
	case s.Type == "boolean":
		_, err = strconv.ParseBool(value)
	case s.Type == "integer" || s.Format == "int64":
		_, err = strconv.ParseInt(value, 10, 64)
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, value):
		err = fmt.Errorf("%q is none of %s", value, strings.Join(s.Enum, ", "))
	case s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(value):
		err = fmt.Errorf("%q does not match %s", value, s.Pattern)
	}
	return err
}

// conform checks a value of a request against its schema and returns it as the API stores it: 64-bit integers as
// strings, without what only the API itself may set. At is where the value is.
func (d *document) conform(s *schema, v any, at string) (any, error) {
	if s.Ref != "" {
		s = d.Schemas[s.Ref]
	}
	wrong := strict("%s: %v is no %s %s", at, v, s.Type, s.Format)
	switch s.Type {
	case "object":
		object, ok := v.(map[string]any)
		if !ok {
			return nil, wrong
		}
		if s.Properties == nil && s.AdditionalProperties == nil { // google.protobuf.Empty, Struct
			return object, nil
		}
		kept := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			p, where := s.Properties[name], strings.TrimPrefix(at+"."+name, ".")
			if p == nil {
				p = s.AdditionalProperties
			}
			if p == nil {
				return nil, strict("unknown field %s", where)
			}
			if p.output() {
				continue
			}
			kept[name] = nil
			if object[name] != nil {
				var err error
				if kept[name], err = d.conform(p, object[name], where); err != nil {
					return nil, err
				}
			}
		}
		return kept, nil
	case "array":
		array, ok := v.([]any)
		if !ok {
			return nil, wrong
		}
		kept := make([]any, len(array))
		for i, element := range array {
			var err error
			if kept[i], err = d.conform(s.Items, element, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return nil, err
			}
		}
		return kept, nil
	case "boolean":
		if _, ok := v.(bool); !ok {
			return nil, wrong
		}
	case "integer":
		n, err := integer(v)
		if err != nil {
			return nil, wrong
		}
		return n, nil
	case "number":
		n, ok := v.(json.Number)
		if !ok {
			return nil, wrong
		}
		return n.Float64()
	case "string":
		return s.text(v, wrong)
	}
	return v, nil
}

func (s *schema) text(v any, wrong error) (any, error) {
	if s.Format == "int64" || s.Format == "uint64" {
		n, err := integer(v)
		if err != nil {
			return nil, wrong
		}
		return strconv.Itoa(n), nil
	}
	text, ok := v.(string)
	if !ok || len(s.Enum) > 0 && text != "" && !slices.Contains(s.Enum, text) {
		return nil, wrong
	}
	var err error
	switch {
	case text == "":
	case s.Format == "byte":
		_, err = base64.StdEncoding.DecodeString(text)
	case s.Format == "google-datetime":
		_, err = time.Parse(time.RFC3339Nano, text)
	case s.Format == "google-duration":
		if _, err = time.ParseDuration(text); !strings.HasSuffix(text, "s") {
			err = wrong
		}
	}
	if err != nil {
		return nil, wrong
	}
	return text, nil
}

func integer(v any) (int, error) {
	switch n := v.(type) {
	case json.Number:
		return strconv.Atoi(n.String())
	case string:
		return strconv.Atoi(n)
	case float64:
		return int(n), nil
	case int:
		return n, nil
	}
	return 0, fmt.Errorf("%v is no integer", v)
}

// output tells whether only the API itself sets the field; what a request has there is ignored (google.aip.dev/203).
func (s *schema) output() bool {
	return s.ReadOnly || strings.HasPrefix(s.Description, "Output only.") || strings.HasPrefix(s.Description, "[Output Only]")
}

func (s *schema) immutable() bool {
	start, _, _ := strings.Cut(s.Description, ". ")
	rest := strings.TrimPrefix(strings.TrimPrefix(s.Description, start), ". ")
	return start == "Immutable" || (start == "Required" || start == "Optional") && strings.HasPrefix(rest, "Immutable.")
}

// changed names an immutable field that differs, or is "".
func (d *document) changed(s *schema, was, now any, at string) string {
	if s.Ref != "" {
		s = d.Schemas[s.Ref]
	}
	before, ok := was.(map[string]any)
	after, ok2 := now.(map[string]any)
	if !ok || !ok2 {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p, where := s.Properties[name], strings.TrimPrefix(at+"."+name, ".")
		if p.immutable() && before[name] != nil && !equal(before[name], after[name]) {
			return where
		}
		if field := d.changed(p, before[name], after[name], where); field != "" {
			return field
		}
	}
	return ""
}

// retain copies what only the API sets from one state of a resource to the next.
func (d *document) retain(s *schema, was, now any) {
	if s.Ref != "" {
		s = d.Schemas[s.Ref]
	}
	before, ok := was.(map[string]any)
	after, ok2 := now.(map[string]any)
	if !ok || !ok2 {
		return
	}
	for name, p := range s.Properties {
		if p.output() && after[name] == nil && before[name] != nil {
			after[name] = before[name]
		} else {
			d.retain(p, before[name], after[name])
		}
	}
}

// masked refuses a field mask that names no field.
func (d *document) masked(s *schema, path string) error {
	for word := range strings.SplitSeq(path, ".") {
		if s != nil && s.Ref != "" {
			s = d.Schemas[s.Ref]
		}
		switch {
		case s != nil && s.Properties[word] != nil:
			s = s.Properties[word]
		case s != nil && s.AdditionalProperties != nil:
			s = s.AdditionalProperties
		default:
			return strict("the update mask names %q, which is no field", path)
		}
	}
	return nil
}
