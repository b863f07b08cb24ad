package operation

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"llmgateway.dev/gateway/internal/apierror"
)

// maxFurther bounds what one short body can make the gateway decide on, and replace; maxResources is
// Google's own bound of the requests in one batchEmbedContents, each of which repeats the model.
const (
	maxFurther   = 32
	maxResources = 100
	// maxChoices is OpenAI's own bound of n (platform.openai.com/docs/api-reference/chat/create).
	maxChoices = 128
)

// parser reads one JSON object, in one walk, for what the gateway acts on.
type parser struct {
	dec *jsontext.Decoder
	// text is the object, base where it stands in the request's body.
	text []byte
	base int

	model *ModelRef
	// name is where the last member's name began; modelMember is model's, name and value.
	name            int
	modelMember     extent
	further         []ModelRef
	stream          bool
	maxOutputTokens *int64
	choices         int64
	background      bool
	// usageAsked is stream_options.include_usage; usage is the splice that would set it.
	usageAsked bool
	usage      splice
	purpose    string
	// url, method and call are a batch line's; call is where its body stands.
	url, method string
	call        extent
}

type extent struct{ start, end int }

// parse reads text, an object that stands at base, as fields say.
func (p *parser) parse(text []byte, base int, fields *Fields) error {
	p.text, p.base = text, base
	if p.dec == nil {
		p.dec = new(jsontext.Decoder)
	}
	p.dec.Reset(bytes.NewBuffer(text))
	if p.dec.PeekKind() != '{' {
		if err := p.skip(); err != nil {
			return err
		}
		return apierror.New(apierror.InvalidRequest, "the body must be a JSON object")
	}
	if err := p.walk(fields, ""); err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return apierror.New(apierror.InvalidRequest, "the body goes on after its JSON object; send one object")
	}
	return nil
}

// ask is what the object asks of the operation.
func (p *parser) ask(op *Operation) (Ask, error) {
	ask := Ask{Stream: p.stream, MaxOutputTokens: p.maxOutputTokens, Choices: max(p.choices, 1), Background: p.background}
	switch {
	case op.modelInPath():
		ask.Models = p.further
	case op.NeedsModel():
		if p.model == nil {
			return Ask{}, noModel()
		}
		ask.Models = append([]ModelRef{*p.model}, p.further...)
	}
	return ask, nil
}

func noModel() error {
	return apierror.New(apierror.InvalidRequest, "the body names no model; give model").At("model")
}

// walk reads the next value, which stands at path, as f says.
func (p *parser) walk(f *Fields, path string) error {
	kind := p.dec.PeekKind()
	switch {
	case kind == 0, f == nil: // what is invalid says so when it is read
		return p.skip()
	case f.role == undecidable:
		return refuseUndecidable(path)
	case f.role != inner && !(kind == '{' && f.members != nil): // a fallback is a name, or an object with one
		return p.leaf(f.role, path, kind)
	case kind == 'n': // null is the same as no value
		err := p.skip()
		if end := p.offset(); path == "stream_options" {
			p.usage = splice{end - len("null"), end, `{"include_usage":true}`}
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

func refuseUndecidable(path string) error {
	return apierror.New(apierror.InvalidRequest, "%s chooses a model, a provider or a place where it can't be decided on; remove it", path).At(path)
}

func (p *parser) object(f *Fields, path string) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return malformed(err)
	}
	// The usage request goes in as deep as the body allows: the last splice noted is the one made.
	switch at := p.offset(); path {
	case "":
		p.usage = splice{at, at, `"stream_options":{"include_usage":true},`}
	case "stream_options":
		p.usage = splice{at, at, `"include_usage":true`}
		if p.dec.PeekKind() != '}' {
			p.usage.text += ","
		}
	}
	for p.dec.PeekKind() != '}' {
		before := p.offset()
		tok, err := p.dec.ReadToken()
		if err != nil {
			return malformed(err)
		}
		name := tok.String()
		p.name = before + bytes.IndexByte(p.text[before-p.base:], '"')
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

// offset is where, in the request's body, the last read value or token ended.
func (p *parser) offset() int { return p.base + int(p.dec.InputOffset()) }

// leaf reads a value that the gateway acts on.
func (p *parser) leaf(r role, path string, kind jsontext.Kind) error {
	v, err := p.dec.ReadValue()
	if err != nil {
		return malformed(err)
	}
	end := p.offset()
	start := end - len(v)
	switch r {
	case modelName, modelResource:
		name, err := unquote(v, path)
		if err != nil {
			return err
		}
		form := quoted
		if r == modelResource {
			var ok bool
			if name, ok = strings.CutPrefix(name, resourcePrefix); !ok {
				return wrongType(path, "the path's model as models/NAME")
			}
			form = resource
		}
		if name == "" {
			return apierror.New(apierror.InvalidRequest, "%s is empty; name a model", path).At(path)
		}
		ref := ModelRef{Name: name, start: start, end: end, form: form}
		if path == "model" && r == modelName {
			p.model = &ref
			p.modelMember = extent{p.name, end}
			return nil
		}
		most := maxFurther
		if r == modelResource {
			most = maxResources
		}
		if len(p.further) == most {
			return apierror.New(apierror.InvalidRequest, "the body names more than %d models beside its own; name fewer", most).At(path)
		}
		p.further = append(p.further, ref)
	case streamFlag:
		p.stream, err = boolean(kind, path)
	case background:
		p.background, err = boolean(kind, path)
	case includeUsage:
		p.usageAsked, err = boolean(kind, path)
		p.usage = splice{start, end, "true"}
	case maxOutputTokens:
		if kind == 'n' {
			return nil
		}
		n, err := strconv.ParseInt(string(v), 10, 64)
		if kind != '0' || err != nil || n < 0 || n > math.MaxInt32 {
			return wrongType(path, "a whole number")
		}
		if p.maxOutputTokens != nil {
			return apierror.New(apierror.InvalidRequest, "the most output tokens are given twice; keep max_completion_tokens").At(path)
		}
		p.maxOutputTokens = &n
	case choices:
		if kind == 'n' {
			return nil
		}
		n, err := strconv.ParseInt(string(v), 10, 64)
		if kind != '0' || err != nil || n < 1 || n > maxChoices {
			return wrongType(path, "a whole number from 1 to "+strconv.Itoa(maxChoices))
		}
		p.choices = max(p.choices, n) // of best_of answers, n come back
	case purpose:
		p.purpose, err = unquote(v, path)
	case lineURL:
		p.url, err = unquote(v, path)
	case lineMethod:
		p.method, err = unquote(v, path)
	case lineBody:
		p.call = extent{start, end}
	}
	return err
}

func unquote(v jsontext.Value, path string) (string, error) {
	if v.Kind() != '"' {
		return "", wrongType(path, "a string")
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", malformed(err)
	}
	return string(s), nil
}

func boolean(kind jsontext.Kind, path string) (bool, error) {
	if kind != 't' && kind != 'f' && kind != 'n' {
		return false, wrongType(path, "true or false")
	}
	return kind == 't', nil
}

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
