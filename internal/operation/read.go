package operation

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"llmgateway.dev/gateway/internal/apierror"
)

// Request is what a client asks for, as it was decided on.
type Request struct {
	Route
	// Models are the models that the body names, the operation's own first. It is empty for
	// operations that name none.
	Models []ModelRef
	// Stream says that a streamed answer was asked for.
	Stream bool
	// MaxOutputTokens is the bound the client set, or nil.
	MaxOutputTokens *int64
	// UsageAsked says that the client itself asked a stream for its usage.
	UsageAsked bool

	body []byte
	// usage is the splice that asks for usage; its text is "" where none is needed.
	usage splice
}

// ModelRef is a model's name and where in the body its string stands.
type ModelRef struct {
	Name       string
	start, end int
}

type splice struct {
	start, end int
	text       string
}

// Read reads the body of a matched request. The Request keeps body, which must not change after.
func Read(route Route, body []byte) (*Request, error) {
	req := &Request{Route: route, body: body}
	if route.Fields == nil {
		if len(body) > 0 {
			return nil, apierror.New(apierror.InvalidRequest, "this operation takes no body; send none")
		}
		return req, nil
	}
	p := parser{dec: jsontext.NewDecoder(bytes.NewBuffer(body)), req: req}
	if p.dec.PeekKind() != '{' {
		if err := p.dec.SkipValue(); err != nil {
			return nil, malformed(err)
		}
		return nil, apierror.New(apierror.InvalidRequest, "the body must be a JSON object")
	}
	if err := p.walk(route.Fields, ""); err != nil {
		return nil, err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return nil, apierror.New(apierror.InvalidRequest, "the body goes on after its JSON object; send one object")
	}
	if p.model == nil {
		return nil, apierror.New(apierror.InvalidRequest, "the body names no model; give model").At("model")
	}
	req.Models = append([]ModelRef{*p.model}, p.further...)
	if !req.Stream || req.UsageAsked || route.Fields.members["stream_options"] == nil {
		req.usage = splice{}
	}
	return req, nil
}

// parser walks a body once.
type parser struct {
	dec     *jsontext.Decoder
	req     *Request
	model   *ModelRef
	further []ModelRef
}

// walk reads the next value, which stands at path, as f says.
func (p *parser) walk(f *Fields, path string) error {
	kind := p.dec.PeekKind()
	switch {
	case kind == 0: // invalid: reading says how
		return p.skip()
	case f == nil:
		return p.skip()
	case f.role != inner:
		return p.leaf(f.role, path, kind)
	case kind == 'n': // null is the same as no value
		err := p.skip()
		if end := p.offset(); path == "stream_options" {
			p.req.usage = splice{end - len("null"), end, `{"include_usage":true}`}
		}
		return err
	case kind == '{':
		return p.object(f, path)
	case kind == '[' && f.each != nil && f.members == nil:
		return p.array(f, path)
	}
	want := "an object"
	if f.each != nil && f.members == nil {
		want = "an array"
	}
	return wrongType(path, want)
}

func (p *parser) object(f *Fields, path string) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	// The usage request goes in as deep as the body allows: the last splice noted is the one made.
	switch at := p.offset(); path {
	case "":
		p.req.usage = splice{at, at, `"stream_options":{"include_usage":true},`}
	case "stream_options":
		p.req.usage = splice{at, at, `"include_usage":true`}
		if p.dec.PeekKind() != '}' {
			p.req.usage.text += ","
		}
	}
	for p.dec.PeekKind() != '}' {
		tok, err := p.dec.ReadToken()
		if err != nil {
			return malformed(err)
		}
		name := tok.String()
		next, known := f.members[name]
		at := strings.TrimPrefix(path+"."+name, ".")
		if !known {
			if like := f.like(name); like != "" {
				return apierror.New(apierror.InvalidRequest, "a field differs from %s only in case; spell it %s", like, like).At(like)
			}
			next, at = f.each, path+".*" // names of the client's own making stay out of messages
		}
		if err := p.walk(next, at); err != nil {
			return err
		}
	}
	return p.closing()
}

func (p *parser) array(f *Fields, path string) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	for p.dec.PeekKind() != ']' {
		if err := p.walk(f.each, path+"[]"); err != nil {
			return err
		}
	}
	return p.closing()
}

func (p *parser) closing() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	return nil
}

func (p *parser) skip() error {
	if err := p.dec.SkipValue(); err != nil {
		return malformed(err)
	}
	return nil
}

// like returns the known member that name equals but for case, as a lenient reader would match it.
func (f *Fields) like(name string) string {
	for m := range f.members {
		if strings.EqualFold(m, name) {
			return m
		}
	}
	return ""
}

// leaf reads a value that the gateway acts on.
func (p *parser) leaf(r role, path string, kind jsontext.Kind) error {
	v, err := p.dec.ReadValue()
	if err != nil {
		return malformed(err)
	}
	end := p.offset()
	switch r {
	case modelName:
		if kind != '"' {
			return wrongType(path, "a string")
		}
		name, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return malformed(err)
		}
		if len(name) == 0 {
			return apierror.New(apierror.InvalidRequest, "%s is empty; name a model", path).At(path)
		}
		ref := ModelRef{Name: string(name), start: end - len(v), end: end}
		if path == "model" {
			p.model = &ref
		} else {
			p.further = append(p.further, ref)
		}
	case streamFlag:
		if kind != 't' && kind != 'f' && kind != 'n' {
			return wrongType(path, "true or false")
		}
		p.req.Stream = kind == 't'
	case includeUsage:
		if kind != 't' && kind != 'f' && kind != 'n' {
			return wrongType(path, "true or false")
		}
		p.req.UsageAsked = kind == 't'
		p.req.usage = splice{end - len(v), end, "true"}
	case maxOutputTokens:
		if kind == 'n' {
			return nil
		}
		n, err := strconv.ParseInt(string(v), 10, 64)
		if kind != '0' || err != nil || n < 0 || n > math.MaxInt32 {
			return wrongType(path, "a whole number")
		}
		if p.req.MaxOutputTokens != nil {
			return apierror.New(apierror.InvalidRequest, "the most output tokens are given twice; keep max_completion_tokens").At(path)
		}
		p.req.MaxOutputTokens = &n
	}
	return nil
}

// offset is where the last read value or token ended.
func (p *parser) offset() int { return int(p.dec.InputOffset()) }

func wrongType(path, want string) error {
	return apierror.New(apierror.InvalidRequest, "%s must be %s", path, want).At(path)
}

// malformed says where the body stops being JSON, in words that hold nothing of the body.
func malformed(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return apierror.New(apierror.InvalidRequest, "the body is not JSON").Because(err)
	}
	what := "it is malformed or cut short"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "an object has the same name twice"
	case strings.Contains(syntax.Err.Error(), "UTF-8"), strings.Contains(syntax.Err.Error(), "surrogate"):
		what = "a string is not valid UTF-8"
	case strings.Contains(syntax.Err.Error(), "depth"):
		what = "it is nested too deep"
	}
	return apierror.New(apierror.InvalidRequest, "the body is not JSON that every reader reads alike: %s (byte %d)", what, syntax.ByteOffset)
}

// Body returns the body to send: the client's bytes, with the i-th model's name replaced by
// names[i] and, where usage is true, the request for a stream's usage put in. The parts are to be
// sent one after the other; they share the client's bytes.
func (r *Request) Body(names []string, usage bool) [][]byte {
	if r.body == nil {
		return nil
	}
	splices := make([]splice, 0, len(r.Models)+1)
	for i, m := range r.Models {
		if names[i] != m.Name {
			quoted, _ := jsontext.AppendQuote(nil, names[i]) // configured names are valid UTF-8
			splices = append(splices, splice{m.start, m.end, string(quoted)})
		}
	}
	if usage && r.usage.text != "" {
		splices = append(splices, r.usage)
	}
	slices.SortFunc(splices, func(a, b splice) int { return a.start - b.start })
	parts := make([][]byte, 0, 2*len(splices)+1)
	at := 0
	for _, s := range splices {
		parts = append(parts, r.body[at:s.start], []byte(s.text))
		at = s.end
	}
	return append(parts, r.body[at:])
}

// AsksUsage reports whether Body(…, true) asks for usage on the client's behalf.
func (r *Request) AsksUsage() bool { return r.usage.text != "" }
