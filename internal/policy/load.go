package policy

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
	lru "github.com/hashicorp/golang-lru/v2"

	"llmgateway.dev/gateway/internal/config"
)

// Load reads and checks all policy files of the configuration. Where there are faults, it returns
// all of them and no Policies. The configuration may have faults of its own.
func Load(c *config.Config) (*Policies, config.Faults) {
	s := newSchema(c)
	l := &loader{config: c, schema: s, validator: validate.New(s, validate.WithStrict()), set: cedar.NewPolicySet(), ids: map[string]string{}, written: map[cedar.PolicyID]*Written{}}
	for _, file := range c.Policies.Files {
		if file != "" { // the configuration's own fault
			l.file(file)
		}
	}
	if len(l.faults) > 0 {
		return nil, l.faults.Sort()
	}
	p := &Policies{config: c, set: l.set, written: l.written, order: l.order, actions: map[cedar.EntityUID]cedar.Entity{}}
	for uid, action := range s.Actions {
		p.actions[uid] = action.Entity
	}
	if !l.readsTime {
		p.remembered, _ = lru.New[key, verdict](maxRemembered) // errs only below 1
	}
	return p, nil
}

type loader struct {
	config    *config.Config
	schema    *resolved.Schema
	validator *validate.Validator
	set       *cedar.PolicySet
	// ids are where each policy id stands.
	ids map[string]string
	// written are the policies as they were written, and order their ids in that order.
	written   map[cedar.PolicyID]*Written
	order     []cedar.PolicyID
	readsTime bool
	faults    config.Faults
}

// file adds the policies of one file.
func (l *loader) file(name string) {
	data, err := readBounded(name)
	if err != nil {
		l.faults = append(l.faults, config.Fault{File: name, Message: err.Error()})
		return
	}
	if line, column, deep := tooDeep(string(data)); deep {
		l.faults = append(l.faults, config.Fault{File: name, Line: line, Column: column, Message: fmt.Sprintf("is nested more than %d deep; write it flatter", maxDepth)})
		return
	}
	list, err := cedar.NewPolicyListFromBytes(name, data)
	if err != nil {
		l.faults = append(l.faults, syntaxFault(name, err))
		return
	}
	if len(list) == 0 {
		l.faults = append(l.faults, config.Fault{File: name, Line: 1, Column: 1, Message: "holds no policy; nothing is allowed without a permit"})
	}
	texts, end := make([]string, len(list)), len(data)
	for i, p := range slices.Backward(list) { // each ends where the next begins
		start := p.Position().Offset
		texts[i] = string(data[start:end])
		(&checker{loader: l, policy: (*xast.Policy)(p.AST()), text: texts[i]}).check()
		end = start
	}
	for i, p := range list {
		l.add(p, texts[i])
	}
}

// add puts a policy in force under its @id. Cedar's own ids, policy0 and so on, would be those of
// another file's policies.
func (l *loader) add(p *cedar.Policy, text string) {
	id, pos := idOf(p), p.Position()
	fault := config.Fault{File: pos.Filename, Line: pos.Line, Column: pos.Column}
	if id == "" {
		fault.Message = `has no id; write @id("…") before it, by which decisions are explained`
		l.faults = append(l.faults, fault)
		return
	}
	if first, again := l.ids[id]; again {
		fault.Path = pathOf(id)
		fault.Message = "the id is taken by the policy at " + first + "; choose another"
		l.faults = append(l.faults, fault)
		return
	}
	l.ids[id] = fmt.Sprintf("%s:%d:%d", pos.Filename, pos.Line, pos.Column)
	l.set.Add(cedar.PolicyID(id), p)
	l.written[cedar.PolicyID(id)] = newWritten(p, text)
	l.order = append(l.order, cedar.PolicyID(id))
}

func idOf(p *cedar.Policy) string { return string(p.Annotations()["id"]) }

func pathOf(id string) string {
	if id == "" {
		return ""
	}
	return fmt.Sprintf("policy %q", id)
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err == nil && len(data) > config.MaxFile {
		err = fmt.Errorf("is larger than %s, the most that a Secret Manager version holds", config.Bytes(config.MaxFile))
	}
	return data, err
}

// maxDepth bounds brackets within brackets, and negations of negations. Cedar's parser and validator have no bound, and
// take minutes for a file of nothing else.
const maxDepth = 64

// nesting is, at the beginning of a text, a comment, a string, what nests, space, or something else.
var nesting = regexp.MustCompile(`^(?://.*|"(?s:\\.|[^"\\])*"|[\[({\])}!-]|\s+|[^\s/"\[({\])}!-]+|.)`)

// tooDeep finds where a text begins to be nested too deep.
func tooDeep(text string) (line, column int, deep bool) {
	open, signs := 0, 0
	for rest := text; rest != ""; {
		token := cmp.Or(nesting.FindString(rest), rest[:1])
		switch {
		case strings.Contains("[({", token):
			open++
		case strings.Contains("])}", token):
			open, signs = open-1, 0
		case token == "!" || token == "-":
			signs++
		case strings.HasPrefix(token, "//"), strings.TrimSpace(token) == "":
		default:
			signs = 0
		}
		if open+signs > maxDepth {
			before := text[:len(text)-len(rest)]
			return 1 + strings.Count(before, "\n"), len(before) - strings.LastIndex(before, "\n"), true
		}
		rest = rest[len(token):]
	}
	return 0, 0, false
}

var cedarPosition = regexp.MustCompile(`<input>:(\d+):(\d+):? ?`)

// syntaxFault takes the position out of the parser's message. Some of its errors have none.
func syntaxFault(file string, err error) config.Fault {
	f := config.Fault{File: file, Line: 1, Column: 1}
	message := strings.TrimPrefix(err.Error(), "parser error: ")
	if m := cedarPosition.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[1])
		column, _ := strconv.Atoi(m[2])
		f.Line, f.Column = cmp.Or(line, 1), cmp.Or(column, 1)
		message = strings.TrimPrefix(strings.Replace(message, m[0], "", 1), "parse error at ")
	}
	f.Message = "is not Cedar: " + message
	return f
}
