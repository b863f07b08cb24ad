package operation

import (
	"slices"

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
	// UsageAsked says that the client itself asked a stream for its usage.
	UsageAsked bool

	body []byte
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
}

// Line is one call of a batch file.
type Line struct {
	*Operation
	Ask
	// Number begins at 1.
	Number int
}

// ModelRef is a model's name and where in the body it stands.
type ModelRef struct {
	Name string
	// start and end enclose a JSON string, or, where plain is true, the name as it is.
	start, end int
	plain      bool
}

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

func (r *Request) readJSON() error {
	if len(r.body) == 0 {
		return apierror.New(apierror.InvalidRequest, "the body is missing; send a JSON object")
	}
	p := parser{}
	if err := p.parse(r.body, 0, r.Fields); err != nil {
		return err
	}
	ask, err := p.ask(r.Operation)
	if err != nil {
		return err
	}
	r.Ask, r.UsageAsked = ask, p.usageAsked
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
		case names[i] == m.Name:
		case m.plain:
			splices = append(splices, splice{m.start, m.end, names[i]})
		default:
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
