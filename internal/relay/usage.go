package relay

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Usage is what an answer says it cost, in tokens.
type Usage struct {
	Input, Output int64
}

// summary is the part of an answer, or of a stream's event, that the gateway reads.
type summary struct {
	Model   string            `json:"model"`
	Choices []json.RawMessage `json:"choices"`
	Usage   *tokens           `json:"usage"`
	// Response is what the events of a streamed response speak of
	// (platform.openai.com/docs/api-reference/responses-streaming).
	Response *summary `json:"response"`
}

// tokens are counted under the first pair of names by chat, completions and embeddings, under the
// second by responses, images and audio (platform.openai.com/docs/api-reference).
type tokens struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Input      int64 `json:"input_tokens"`
	Output     int64 `json:"output_tokens"`
}

func (s *summary) note(o *Outcome) {
	if s.Response != nil {
		s.Response.note(o)
	}
	if s.Model != "" {
		o.Model = s.Model
	}
	if t := s.Usage; t != nil && *t != (tokens{}) { // audio may be billed by the second
		o.Usage = &Usage{Input: t.Prompt + t.Input, Output: t.Completion + t.Output}
	}
}

// maxSummary bounds what is read of a JSON answer for its usage, because one string of it is held whole.
const maxSummary = 32 << 20

// readSummary reads the JSON answer that r yields and notes its model and usage. It may stop
// anywhere: what is no JSON object, or too large, is no error, only nothing to learn. It reports whether the
// answer is an object that ended before it was complete.
func readSummary(r io.Reader, o *Outcome) (cut bool) {
	// Names may repeat and strings be odd: this answer isn't ours to judge, only to learn from.
	dec := jsontext.NewDecoder(io.LimitReader(r, maxSummary), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return false
	}
	var s summary
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return endsEarly(err)
		}
		switch name.String() {
		case "model":
			err = readInto(dec, &s.Model)
		case "usage":
			err = readInto(dec, &s.Usage)
		default:
			err = dec.SkipValue()
		}
		if err != nil {
			return endsEarly(err)
		}
		s.note(o)
	}
	_, err := dec.ReadToken()
	return endsEarly(err)
}

func endsEarly(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

// readInto decodes the next value.
func readInto(dec *jsontext.Decoder, v any) error {
	raw, err := dec.ReadValue()
	if err == nil {
		return json.Unmarshal(raw, v)
	}
	return err
}
