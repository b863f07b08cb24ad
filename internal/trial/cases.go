package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// File is a file of cases.
type File struct {
	// Config is the configuration whose policies are tried; in the file, relative to it.
	Config string `yaml:"config"`
	Cases  []Case `yaml:"cases"`

	file string
	doc  *config.Document
}

// Case is who asks for what, and what must come of it.
type Case struct {
	// Name says what the case proves.
	Name string `yaml:"name"`
	// Groups, Claims, Issuer and Client are a Who.
	Groups []string       `yaml:"groups"`
	Claims map[string]any `yaml:"claims"`
	Issuer string         `yaml:"issuer"`
	Client string         `yaml:"client"`
	// Operation and Model are one or several, and each operation on each model must come out so. A
	// group of operations stands for those of it that name a model, where there is one, else for those
	// that name none.
	Operation config.Names `yaml:"operation"`
	Model     config.Names `yaml:"model"`
	Context   Context      `yaml:"context"`
	// Expect is allow or deny.
	Expect string `yaml:"expect"`
	// By are the policies that must determine it, exactly; an empty list means that none does.
	By config.Names `yaml:"by"`
}

// Context is what policies can read of a request beside its operation and model.
type Context struct {
	Stream          bool   `yaml:"stream"`
	MaxOutputTokens *int64 `yaml:"max_output_tokens"`
	// Time is when it is asked; by default now.
	Time time.Time `yaml:"time"`
}

const start = "begin with config: gateway.yaml, and cases: [{name: …, groups: […], operation: …, model: …, expect: allow}]"

// maxFile bounds a file of cases. Nothing but people's patience does.
const maxFile = 1 << 20

// Load reads a file of cases. What its names stand for is looked at when it is run.
func Load(file string) (*File, config.Faults) {
	data, err := readBounded(file)
	if err != nil {
		return nil, config.Faults{{File: file, Message: err.Error()}}
	}
	f := &File{file: file}
	doc, faults := config.Decode(file, data, start, f)
	if len(faults) > 0 {
		return nil, faults
	}
	f.doc = doc
	if f.Config == "" {
		faults = append(faults, doc.Fault("config", "is missing; name the configuration whose policies are tried"))
	} else if !filepath.IsAbs(f.Config) {
		f.Config = filepath.Join(filepath.Dir(file), f.Config)
	}
	if len(f.Cases) == 0 {
		faults = append(faults, doc.Fault("cases", "lists none; a case has a name, who (groups, claims or client), operation, model and expect"))
	}
	return f, faults
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("is larger than %s; split it", config.Bytes(maxFile))
	}
	return data, err
}

// Subject is what is tried.
type Subject struct {
	Config *config.Config
	Mapper Mapper
	// Policies are the ids of all policies.
	Policies []string
	// Decide decides on a request: whether the policies allow it, by which of them, and which of them
	// erred.
	Decide func(who *principal.Principal, req *operation.Request, at time.Time) (allowed bool, by, erred []string)
}

// Report is what came of all cases.
type Report struct {
	Cases, Decisions int
	Failures         []Failure
	// Idle are the policies that determined no decision.
	Idle []string
}

// Failure is a decision that is not as a case expects.
type Failure struct {
	// Place is the case's: file:line.
	Place string
	Name  string
	// Requests are those decided so: the operation, and the model if it names one.
	Requests []string
	// Want and Got are allow or deny, by which policies.
	Want, Got string
}

// Run decides all cases. Faults are names that stand for nothing, and clients that can't be; then
// nothing is decided.
func (f *File) Run(s Subject) (*Report, config.Faults) {
	var faults config.Faults
	trials := make([]trial, len(f.Cases))
	names := map[string]int{}
	for i, c := range f.Cases {
		r := &reader{f, s, fmt.Sprintf("cases[%d]", i), nil}
		trials[i] = r.read(c)
		if first, again := names[c.Name]; again {
			r.fault("name", "%q is the name of cases[%d] too; choose another", c.Name, first)
		} else if c.Name == "" {
			r.fault("name", "is missing; say what the case proves")
		}
		names[c.Name] = i
		faults = append(faults, r.faults...)
	}
	if len(faults) > 0 {
		return nil, faults.Sort()
	}
	report := &Report{Cases: len(trials)}
	decided := map[string]bool{}
	for _, t := range trials {
		for _, req := range t.requests {
			report.Decisions++
			allowed, by, erred := s.Decide(t.who, req, t.at)
			for _, id := range by {
				decided[id] = true
			}
			got := outcome(map[bool]string{true: "allow", false: "deny"}[allowed], by, erred)
			want := outcome(t.Expect, t.By, nil)
			if t.By == nil {
				want = t.Expect
			}
			if allowed != (t.Expect == "allow") || t.By != nil && !slices.Equal(slices.Sorted(slices.Values(t.By)), by) {
				report.fail(Failure{t.place, t.Name, []string{about(req)}, want, got})
			}
		}
	}
	for _, id := range s.Policies {
		if !decided[id] {
			report.Idle = append(report.Idle, id)
		}
	}
	return report, nil
}

// fail adds a failure, to one that is alike but for its request.
func (r *Report) fail(f Failure) {
	for i, of := range r.Failures {
		if of.Name == f.Name && of.Got == f.Got {
			r.Failures[i].Requests = append(of.Requests, f.Requests...)
			return
		}
	}
	r.Failures = append(r.Failures, f)
}

func outcome(decision string, by, erred []string) string {
	text := decision
	if len(by) > 0 {
		text += " by " + strings.Join(by, ", ")
	}
	if len(erred) > 0 {
		return text + ", because of an error in " + strings.Join(erred, ", ")
	} else if len(by) == 0 {
		text += ", because nothing permits it"
	}
	return text
}

func about(req *operation.Request) string {
	if len(req.Models) == 0 {
		return string(req.Name)
	}
	return fmt.Sprintf("%s on %s", req.Name, req.Models[0].Name)
}

// trial is a case with all names resolved.
type trial struct {
	Case
	place    string
	who      *principal.Principal
	requests []*operation.Request
	at       time.Time
}

// reader resolves the names of one case.
type reader struct {
	*File
	Subject
	path   string
	faults config.Faults
}

func (r *reader) fault(field, format string, args ...any) {
	r.faults = append(r.faults, r.doc.Fault(r.path+"."+field, format, args...))
}

// known wants each of the names to be one of the known.
func (r *reader) known(field, what string, names, known []string) bool {
	ok := true
	for i, name := range names {
		if !slices.Contains(known, name) {
			ok = false
			at := field
			if len(names) > 1 {
				at = fmt.Sprintf("%s[%d]", field, i)
			}
			r.fault(at, "no %s is called %q; %s", what, name, config.Suggest(name, known))
		}
	}
	return ok
}

func (r *reader) read(c Case) trial {
	f := r.doc.Fault(r.path, "")
	t := trial{Case: c, place: fmt.Sprintf("%s:%d", f.File, f.Line), at: c.Context.Time}
	if t.at.IsZero() {
		t.at = time.Now()
	}
	t.who = r.principal(c)
	t.requests = r.requests(c)
	r.known("by", "policy", c.By, r.Policies)
	if c.Expect == "" {
		r.fault("expect", "is missing; it must be allow or deny")
	} else if c.Expect != "allow" && c.Expect != "deny" {
		r.fault("expect", "%q is not an outcome; it must be allow or deny", c.Expect)
	}
	return t
}

func (r *reader) principal(c Case) *principal.Principal {
	who := Who{Groups: c.Groups, Issuer: c.Issuer, Client: c.Client}
	if c.Claims != nil {
		var err error
		if who.Claims, err = json.Marshal(c.Claims); err != nil {
			r.fault("claims", "%v", err)
			return nil
		}
	} else if c.Groups == nil && c.Client == "" && c.Issuer == "" {
		r.fault("groups", "are missing, and so are claims and client; say who asks, if only by groups: []")
		return nil
	}
	p, err := who.Principal(r.Subject.Config, r.Mapper)
	if w, ok := errors.AsType[*Wrong](err); ok {
		r.fault(w.Field, "%s", w.Message)
	} else if err != nil {
		r.fault("claims", "are of a token that is refused, so that no policy is asked: %v", err)
	}
	return p
}

// requests are each operation on each model.
func (r *reader) requests(c Case) []*operation.Request {
	all := map[string][]*operation.Operation{} // by name, and by name of group
	for _, op := range operation.Decided() {
		all[string(op.Name)] = append(all[string(op.Name)], op)
		all[string(op.Group)] = append(all[string(op.Group)], op)
	}
	named := slices.Sorted(maps.Keys(all))
	if len(c.Operation) == 0 {
		r.fault("operation", "is missing; name one such as chat.completions.create, several, or a group of them such as inference")
		return nil
	}
	ok := r.known("operation", "operation or group of operations", c.Operation, named)
	if !r.known("model", "model", c.Model, slices.Sorted(maps.Keys(r.Subject.Config.Models))) || !ok {
		return nil
	}
	ask := operation.Ask{Stream: c.Context.Stream, MaxOutputTokens: c.Context.MaxOutputTokens}
	var requests []*operation.Request
	for _, name := range c.Operation {
		var fit int
		for _, op := range slices.SortedFunc(slices.Values(all[name]), byName) {
			if op.NeedsModel() != (len(c.Model) > 0) {
				continue
			}
			fit++
			for _, model := range c.Model {
				requests = append(requests, operation.Suppose(op, model, ask))
			}
			if !op.NeedsModel() {
				requests = append(requests, operation.Suppose(op, "", ask))
			}
		}
		if fit == 0 && len(c.Model) > 0 {
			r.fault("model", "%s names no model, and is decided on the default upstreams; leave it out, or make it two cases", name)
		} else if fit == 0 {
			r.fault("operation", "%s names a model; add model: known are %s", name, strings.Join(slices.Sorted(maps.Keys(r.Subject.Config.Models)), ", "))
		}
	}
	return requests
}

func byName(a, b *operation.Operation) int { return strings.Compare(string(a.Name), string(b.Name)) }
