package operation

import (
	"bytes"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"llmgateway.dev/gateway/internal/apierror"
)

// Request is what a client asks for, as it was decided on.
type Request struct {
	Route
	Ask
	// Lines are the calls that a batch file holds, each decided like a request of its own. Models is
	// empty then.
	Lines []Line
	body  []byte
	// modelMember is where the member model stands, name and value.
	modelMember extent
	// usage is the splice that asks for usage; its text is "" where none is needed.
	usage splice
}

// Ask is what a body asks for, as far as it is decided on.
type Ask struct {
	// Models are the models that the body names, the operation's own first. It is empty for
	// operations that name none.
	Models []ModelRef
	// Stream says that a streamed answer was asked for.
	Stream bool
	// MaxOutputTokens is the bound the client set, or nil.
	MaxOutputTokens *int64
	// Choices is how many answers are to be made, each within that bound: of each prompt, where there are
	// several. It is at least 1 where a body was read.
	Choices int64
	// Background says that the answer is made whether or not anybody waits for it, and fetched later.
	Background bool
}

// Line is one call of a batch file.
type Line struct {
	*Operation
	Ask
	// Number begins at 1.
	Number int
	// InputTokens is an estimate of what its body comes to.
	InputTokens int64
}

// ModelRef is a model's name and where in the body it stands.
type ModelRef struct {
	Name string
	// start and end enclose it, in this form.
	start, end int
	form       form
}

// form is how a model's name is written.
type form int

const (
	quoted   form = iota // a JSON string
	resource             // a JSON string, models/NAME
	plain                // as it is
	inPath               // nowhere in the body
)

const resourcePrefix = "models/"

// splice replaces the bytes from start to end.
type splice struct {
	start, end int
	text       string
}

// Read reads the body of a route whose head was read. The Request keeps body, which must not change
// after.
func Read(route Route, body []byte) (*Request, error) {
	req := &Request{Route: route, body: body}
	var err error
	switch route.Body {
	case NoBody:
		if len(body) > 0 {
			err = apierror.New(apierror.InvalidRequest, "this operation takes no body; send none")
		}
	case JSON:
		err = req.readJSON()
	case Multipart:
		err = req.readParts()
	}
	if err != nil {
		return nil, err
	}
	return req, nil
}

// decoders have read ordinary bodies: what they remember names in is no larger than those.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

const ordinary = 64 << 10

var nothing = bytes.NewReader(nil)

func (r *Request) readJSON() error {
	if len(r.body) == 0 {
		return apierror.New(apierror.InvalidRequest, "the body is missing; send a JSON object")
	}
	p := parser{}
	if len(r.body) <= ordinary {
		p.dec = decoders.Get().(*jsontext.Decoder)
		defer func() { p.dec.Reset(nothing); decoders.Put(p.dec) }()
	}
	if err := p.parse(r.body, 0, r.Fields); err != nil {
		return err
	}
	ask, err := p.ask(r.Operation)
	if err != nil {
		return err
	}
	r.Ask, r.modelMember = ask, p.modelMember
	if r.modelInPath() {
		r.Models = append([]ModelRef{{Name: r.Model, form: inPath}}, r.Models...)
		r.Stream = r.Verb == streamVerb
	}
	if r.Stream && !p.usageAsked && r.Fields.members["stream_options"] != nil {
		r.usage = p.usage
	}
	if r.Operation.Fields == uploadFields && r.purposeOf(p.purpose) == batchPurpose {
		// Its lines could be cut between parts, so that none is seen whole.
		return apierror.New(apierror.InvalidRequest, "a batch file can't be uploaded in parts; create it as one file").At("purpose")
	}
	return nil
}

// AsksUsage reports whether Bytes(…, true) asks for usage on the client's behalf.
func (r *Request) AsksUsage() bool { return r.usage.text != "" }

// Refs lists every model that the body names, those of a batch file's lines too.
func (r *Request) Refs() []ModelRef {
	if len(r.Lines) == 0 {
		return r.Models
	}
	var refs []ModelRef
	for _, line := range r.Lines {
		refs = append(refs, line.Models...)
	}
	return refs
}

// Bytes returns the body to send: the client's bytes, with the i-th of Refs replaced by names[i]
// and, where usage is true, the request for a stream's usage put in. The parts are to be sent one
// after the other; they share the client's bytes.
func (r *Request) Bytes(names []string, usage bool) [][]byte {
	if len(r.body) == 0 {
		return nil
	}
	var splices []splice
	for i, m := range r.Refs() {
		switch {
		case names[i] == m.Name || m.form == inPath:
		case m.form == plain:
			splices = append(splices, splice{m.start, m.end, names[i]})
		case m.form == resource:
			splices = append(splices, splice{m.start, m.end, quote(resourcePrefix + names[i])})
		default:
			splices = append(splices, splice{m.start, m.end, quote(names[i])})
		}
	}
	if usage && r.usage.text != "" {
		splices = append(splices, r.usage)
	}
	return r.splice(splices)
}

// BytesWithout returns the body without its member model, and with the member that replaces it, such as
// "anthropic_version":"…", in its place; other models are replaced as Bytes does.
func (r *Request) BytesWithout(names []string, member string) [][]byte {
	splices := []splice{{r.modelMember.start, r.modelMember.end, member}}
	for i, m := range r.Models[1:] {
		splices = append(splices, splice{m.start, m.end, quote(names[i+1])})
	}
	return r.splice(splices)
}

// BytesWith returns the body that Bytes would, with a member more.
func (r *Request) BytesWith(names []string, member string) [][]byte {
	parts := r.Bytes(names, false)
	parts[0] = parts[0][bytes.IndexByte(parts[0], '{')+1:]
	return append([][]byte{[]byte("{" + member + ",")}, parts...)
}

// quote writes a configured name, which is valid UTF-8, as a JSON string.
func quote(name string) string {
	b, _ := jsontext.AppendQuote(nil, name)
	return string(b)
}

// splice puts the splices in.
func (r *Request) splice(splices []splice) [][]byte {
	slices.SortFunc(splices, func(a, b splice) int { return a.start - b.start })
	parts := make([][]byte, 0, 2*len(splices)+1)
	at := 0
	for _, s := range splices {
		parts = append(parts, r.body[at:s.start], []byte(s.text))
		at = s.end
	}
	return append(parts, r.body[at:])
}
