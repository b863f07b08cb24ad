package relay

import (
	"bufio"
	"bytes"
)

// maxEvent bounds what is held of one event before it is passed on. A larger event goes through in
// pieces, unread.
const maxEvent = 1 << 20

// events cuts a stream into server-sent events (html.spec.whatwg.org, "event stream"): each with the
// empty line that ends it, byte for byte.
type events struct {
	r *bufio.Reader
	// ready is the size of a whole event that is at hand, 0 where none is.
	ready int
	// event is what next returned last: in r's own buffer, or in buf where it came in parts. before keeps it
	// while r is filled anew.
	event, buf, before []byte
	// open says that the last piece ended inside an event.
	open bool
}

// next returns the next event, or a piece of one that is larger than maxEvent. whole tells which. The
// bytes are valid until the next call. At the stream's end err is io.EOF, with what was left of an
// unfinished event.
func (e *events) next() (event []byte, whole bool, err error) {
	if e.ready > 0 && !e.open {
		e.event, _ = e.r.Peek(e.ready) // can't err, nor can Discard: they are there
		e.r.Discard(e.ready)
		e.look()
		return e.event, true, nil
	}
	e.before = append(e.before[:0], e.event...)
	e.event, whole, err = e.gather()
	e.look()
	return e.event, whole, err
}

// gather is next for an event that has to be waited for.
func (e *events) gather() (event []byte, whole bool, err error) {
	e.buf = e.buf[:0]
	continued := e.open
	for {
		line, err := e.r.ReadSlice('\n')
		e.buf = append(e.buf, line...)
		switch {
		case err == bufio.ErrBufferFull: // a line longer than the buffer goes on
		case err != nil:
			return e.buf, false, err
		case e.ended():
			e.open = false
			return e.buf, !continued, nil
		}
		if len(e.buf) >= maxEvent {
			e.open = true
			return e.buf, false, nil
		}
	}
}

// ended reports whether buf ends in an empty line. A lone CR as a line's end, which the
// specification allows, is used by no provider; such a stream goes through as one open event at a time.
func (e *events) ended() bool {
	rest, ok := bytes.CutSuffix(e.buf, []byte("\n"))
	if !ok {
		return false
	}
	rest = bytes.TrimSuffix(rest, []byte("\r"))
	return len(rest) == 0 || rest[len(rest)-1] == '\n'
}

// look finds the end of the event that is at hand.
func (e *events) look() {
	buffered, _ := e.r.Peek(e.r.Buffered()) // can't err: they are there
	e.ready = 0
	for at := 0; ; {
		i := bytes.IndexByte(buffered[at:], '\n')
		if i < 0 {
			return
		}
		at += i + 1
		switch rest := buffered[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			e.ready = at + 1
			return
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			e.ready = at + 2
			return
		}
	}
}

// more reports whether another whole event is at hand, so that both can be flushed as one.
func (e *events) more() bool { return e.ready > 0 }

var done = []byte("[DONE]")

// data returns what an event carries: its data lines, put together.
func data(event []byte) []byte {
	if line, rest, _ := bytes.Cut(event, []byte("\n")); len(rest) == 1 && bytes.HasPrefix(line, []byte("data: ")) {
		return bytes.TrimRight(line[len("data: "):], "\r") // most events are one line
	}
	var out []byte
	lines := 0
	for line := range bytes.Lines(event) {
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(bytes.TrimRight(value, "\r\n"), []byte(" "))
		switch lines++; lines {
		case 1:
			out = value // most events have one data line: no copy
			continue
		case 2:
			out = bytes.Clone(out)
		}
		out = append(append(out, '\n'), value...)
	}
	return out
}

// isLast reports whether the event is the one that a dialect ends its streams with: [DONE] of chat, a
// response's end, message_stop of Anthropic's, a finishReason of Google's.
func isLast(event []byte) bool {
	d := data(event)
	if bytes.Equal(d, done) {
		return true
	}
	var e struct {
		Type       string `json:"type"`
		Candidates []struct {
			FinishReason string `json:"finishReason"`
		} `json:"candidates"`
	}
	if unmarshal(d, &e) != nil {
		return false
	}
	switch e.Type {
	case "message_stop", "response.completed", "response.failed", "response.incomplete", "error":
		return true
	}
	return len(e.Candidates) > 0 && e.Candidates[0].FinishReason != ""
}

// tellsUsage reports whether the event may tell a usage. Once asked for it, providers send
// "usage":null with every chunk but the last; decoding each would cost more than passing it on.
func tellsUsage(event []byte) bool {
	for {
		_, rest, found := bytes.Cut(event, []byte(`"usage`)) // usage, usageMetadata
		if !found {
			return false
		}
		rest = bytes.TrimPrefix(rest, []byte(`"`))
		if !bytes.HasPrefix(bytes.TrimLeft(rest, ": "), []byte("null")) {
			return true
		}
		event = rest
	}
}

// readEvent notes what the event says of model and usage, and reports whether it is the chunk that
// exists only because usage was asked for: no choices, and a usage
// (platform.openai.com/docs/api-reference/chat/create, stream_options).
func readEvent(event []byte, o *Outcome) (onlyUsage bool) {
	if o.Model != "" && !tellsUsage(event) {
		return false // nothing more to learn: most events of a stream
	}
	var s summary
	if unmarshal(data(event), &s) != nil {
		if tellsUsage(event) {
			o.absurd, o.Usage = true, nil
		}
		return false
	}
	s.note(o)
	onlyUsage = s.Usage != nil && s.Choices != nil && len(s.Choices) == 0
	o.Final = o.Usage != nil && (onlyUsage || s.Metadata != nil && isLast(event) || finals[s.Type])
	return onlyUsage
}

// finals are the types of events that tell a whole usage: a streamed response's last, and the last but one of
// Anthropic's.
var finals = map[string]bool{"response.completed": true, "response.incomplete": true, "response.failed": true, "message_delta": true}
