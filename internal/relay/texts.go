package relay

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"llmgateway.dev/gateway/internal/operation"
)

// texts estimates the output tokens of a stream by the texts that its events carry: what is left to go by
// where the last event, with the usage, never came. A client could see to that.
type texts struct {
	dec      jsontext.Decoder
	estimate operation.Estimate
	// events are those that carry text, each a token at least.
	events int64
}

// textual are the names of what a model writes, in all dialects' streams.
var textual = map[string]bool{
	"content": true, "reasoning_content": true, "reasoning": true, "refusal": true, "arguments": true, // OpenAI's chat, and its likes
	"text": true, "thinking": true, "partial_json": true, // Anthropic's, Google's, completions
	"delta": true, // responses
}

// add reads an event that was passed on. One that isn't JSON carries no text.
func (t *texts) add(event []byte) {
	t.dec.Reset(bytes.NewBuffer(data(event)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	carries := false
	name := ""
	for {
		token, err := t.dec.ReadToken()
		if err != nil {
			break
		}
		if token.Kind() != '"' {
			name = ""
			continue
		}
		if kind, length := t.dec.StackIndex(t.dec.StackDepth()); kind == '{' && length%2 == 1 {
			name = token.String()
			continue
		}
		if textual[name] {
			if text := token.String(); text != "" {
				t.estimate.Add([]byte(text))
				carries = true
			}
		}
		name = ""
	}
	if carries {
		t.events++
	}
}

func (t *texts) tokens() int64 { return max(t.events, t.estimate.Tokens()) }
