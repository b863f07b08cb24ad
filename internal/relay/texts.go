package relay

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"llmgateway.dev/gateway/internal/operation"
)

// texts estimates the output tokens of a stream by the texts that its events carry: what is left to go by
// where the last event, with the usage, never came. A client could see to that.
type texts struct {
	// size is in bytes; events are those that carry text, each a token at least.
	size, events int64
}

// textual reports whether the name is of what a model writes, in all dialects' streams.
func textual(name []byte) bool {
	switch string(name) {
	case "content", "reasoning_content", "reasoning", "refusal", "arguments", // OpenAI's chat, and its likes
		"text", "thinking", "partial_json": // Anthropic's, Google's, completions
		return true
	}
	return false
}

// response is the type of a streamed response's events. Only their deltas are new text: what ends a part
// repeats it.
var response = []byte(`"type":"response.`)

// add reads an event that was passed on. It looks at strings alone, at a byte a nanosecond: one that a colon
// follows is a name, and one that follows a textual name and nothing else is text.
func (t *texts) add(event []byte) {
	deltas := bytes.Contains(event, response) || bytes.HasPrefix(event, []byte("event: response."))
	before := t.size
	wanted := false // the value that comes next
	rest := data(event)
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			text, size := quoted(rest[i+1:])
			i += len(text) + 1
			after := bytes.TrimLeft(rest[min(i+1, len(rest)):], " \t\r\n")
			switch {
			case len(after) > 0 && after[0] == ':':
				wanted = deltas && string(text) == "delta" || !deltas && textual(text)
				i = len(rest) - len(after)
				continue
			case wanted:
				t.size += size
			}
			wanted = false
		case ' ', '\t', '\r', '\n':
		default: // what is no string
			wanted = false
		}
	}
	if t.size > before {
		t.events++
	}
}

// quoted is a string up to its closing quote, as it stands, and how many bytes of UTF-8 it comes to.
func quoted(s []byte) (text []byte, size int64) {
	for i := 0; i < len(s); i++ {
		size++
		switch s[i] {
		case '"':
			return s[:i], size - 1
		case '\\':
			i++
			if i < len(s) && s[i] == 'u' {
				unit, _ := strconv.ParseUint(string(s[min(i+1, len(s)):min(i+5, len(s))]), 16, 16)
				switch {
				case utf16.IsSurrogate(rune(unit)): // half of four bytes
					size++
				case unit >= 0x80:
					size += int64(utf8.RuneLen(rune(unit)) - 1)
				}
				i += 4
			}
		}
	}
	return s, size
}

func (t *texts) tokens() int64 { return max(t.events, operation.TextTokens(t.size)) }
