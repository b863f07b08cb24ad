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
	// last is the last byte that was read, at an event's beginning a line's end.
	last byte
	// open says that the last piece ended inside an event.
	open bool
}

func newEvents(r *bufio.Reader) *events { return &events{r: r, last: '\n'} }

// mark returns the byte order mark that a stream may begin with. It is no part of the first event.
func (e *events) mark() []byte {
	const bom = "\ufeff"
	// Not all three bytes at once, where the first says that it is none: they may be long in coming.
	for n := 1; n <= len(bom); n++ {
		if begin, _ := e.r.Peek(n); string(begin) != bom[:n] {
			return nil
		}
	}
	e.r.Discard(len(bom))
	return []byte(bom)
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

// gather is next for an event that has to be waited for, or whose lines end in CR.
func (e *events) gather() (event []byte, whole bool, err error) {
	e.buf = e.buf[:0]
	continued := e.open
	for {
		if _, err := e.r.Peek(1); err != nil {
			return e.buf, false, err
		}
		piece, ended := e.piece()
		e.buf = append(e.buf, piece...)
		e.r.Discard(len(piece))
		if ended {
			e.last, e.open = '\n', false
			return e.buf, !continued, nil
		}
		e.last = piece[len(piece)-1]
		if len(e.buf) >= maxEvent {
			e.open = true
			return e.buf, false, nil
		}
	}
}

// piece is what is at hand of a line, which ends in LF, CR or CRLF. ended says that it is the empty one
// that ends the event.
func (e *events) piece() (piece []byte, ended bool) {
	ready, _ := e.r.Peek(e.r.Buffered()) // can't err: they are there
	switch {
	case e.last == '\r' && ready[0] == '\n': // the rest of a CRLF
		return ready[:1], false
	case e.last == '\n' && len(ready) == 1 && ready[0] == '\r':
		// Its LF is on the way. Where lines end in CR alone, nothing may be on the way.
		ready, _ = e.r.Peek(2)
	}
	n := lineLength(ready)
	if n == 0 {
		return ready, false
	}
	return ready[:n], (ready[0] == '\n' || ready[0] == '\r') && (e.last == '\n' || e.last == '\r')
}

// lineLength is the length of the first line, its end included, 0 where it doesn't end.
func lineLength(text []byte) int {
	lf := bytes.IndexByte(text, '\n')
	if lf >= 0 {
		text = text[:lf]
	}
	if cr := bytes.IndexByte(text, '\r'); cr >= 0 && cr+1 != lf {
		return cr + 1
	}
	return lf + 1
}

// look finds the end of the next event where all of it is at hand. One with a CR that begins no CRLF is left to gather.
func (e *events) look() {
	all, _ := e.r.Peek(e.r.Buffered()) // can't err: they are there
	e.ready = 0
	for at := 0; ; {
		n := bytes.IndexByte(all[at:], '\n')
		if n < 0 {
			return
		}
		line := bytes.TrimSuffix(all[at:at+n], []byte("\r"))
		if bytes.IndexByte(line, '\r') >= 0 {
			return
		}
		at += n + 1
		if len(line) == 0 {
			e.ready = at
			return
		}
	}
}

// more reports whether another event is at hand, so that both can be flushed as one.
func (e *events) more() bool {
	if e.ready > 0 {
		return true
	}
	all, _ := e.r.Peek(e.r.Buffered())
	return bytes.Contains(all, []byte("\r\r"))
}

var done = []byte("[DONE]")

// data returns what an event carries: its data lines, put together; nil where it has none.
func data(event []byte) []byte {
	if line, rest, _ := bytes.Cut(event, []byte("\n")); string(rest) == "\n" && bytes.HasPrefix(line, []byte("data: ")) && bytes.IndexByte(line, '\r') < 0 {
		return line[len("data: "):] // most events are one line
	}
	var out []byte
	lines := 0
	for len(event) > 0 {
		line := event
		if n := lineLength(event); n > 0 {
			line = event[:n]
		}
		event = event[len(line):]
		line = bytes.TrimRight(line, "\r\n")
		value, ok := bytes.CutPrefix(line, []byte("data"))
		if !ok || len(value) > 0 && value[0] != ':' {
			continue
		}
		value = bytes.TrimPrefix(bytes.TrimPrefix(value, []byte(":")), []byte(" "))
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
