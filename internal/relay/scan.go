package relay

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxValue bounds what is held of a member that tells the model or the usage: some hundred bytes.
const maxValue = 64 << 10

// scanner finds in a JSON answer that passes by, piece by piece, what tells its model and usage: members of the
// answer's object or, where it is an array, as a stream of Google's, of each object in it. Names may repeat
// and numbers be odd: the answer isn't ours to judge, only to learn from, and what is no JSON teaches nothing.
type scanner struct {
	o *Outcome
	s summary
	// depth counts what is open; members are read at depth base, 0 until the answer begins.
	depth, base int
	// within is inside of a string, escaped after a backslash there.
	within, escaped bool
	// object says that what is open at base is an object, naming that its next string is a name.
	object, naming bool
	// name is the member's, value its value as far as it came; keep is whether they are wanted.
	name, value []byte
	keep        keep
	// none says that there is nothing to learn.
	none bool
}

type keep int

const (
	nothing keep = iota
	aName
	aValue
)

// cut reports whether the answer ended before what it opened was closed.
func (s *scanner) cut() bool { return s.depth > 0 }

// read takes the next piece.
func (s *scanner) read(p []byte) {
	if s.none {
		return
	}
	from := 0 // where what is kept begins
	for i := 0; i < len(p); i++ {
		c := p[i]
		if s.within {
			switch {
			case s.escaped:
				s.escaped = false
			case c == '\\':
				s.escaped = true
			case c == '"':
				s.within = false
				if s.keep == aName {
					s.hold(p[from:i])
					s.keep, s.naming = nothing, false
				}
			}
			continue
		}
		switch c {
		case '"':
			s.within = true
			if s.naming && s.depth == s.base {
				s.keep, s.name, from = aName, s.name[:0], i+1
			}
		case '{', '[':
			s.depth++
			if s.base == 0 {
				s.base = 1
				if c == '[' {
					s.base = 2
				}
			}
			if s.depth == s.base && c == '{' {
				s.object, s.naming = true, true
			}
		case '}', ']':
			if s.depth == s.base {
				s.member(p[from:i])
				s.object, s.naming = false, false
			}
			s.depth--
		case ',':
			if s.depth == s.base && s.object {
				s.member(p[from:i])
				s.naming = true
			}
		case ':':
			if s.depth == s.base && s.object && wanted(s.name) {
				s.keep, s.value, from = aValue, s.value[:0], i+1
			}
		case ' ', '\t', '\r', '\n':
		default:
			if s.base == 0 { // neither an object nor an array
				s.none = true
				return
			}
		}
	}
	s.hold(p[from:])
}

// hold keeps a piece of what is wanted.
func (s *scanner) hold(piece []byte) {
	switch s.keep {
	case aName:
		if len(s.name)+len(piece) <= len("usageMetadata") { // the longest that is wanted
			s.name = append(s.name, piece...)
		} else {
			s.name = append(s.name[:0], '?')
		}
	case aValue:
		if len(s.value)+len(piece) <= maxValue {
			s.value = append(s.value, piece...)
		}
	}
}

func wanted(name []byte) bool {
	switch string(name) {
	case "model", "usage", "modelVersion", "usageMetadata":
		return true
	}
	return false
}

// member ends a member; last is the last piece of its value.
func (s *scanner) member(last []byte) {
	if s.keep != aValue {
		return
	}
	s.hold(last)
	s.keep = nothing
	switch string(s.name) {
	case "model":
		s.s.Model = text(s.value)
	case "modelVersion":
		s.s.ModelVersion = text(s.value)
	case "usage":
		s.o.absurd = unmarshal(s.value, &s.s.Usage) != nil || s.o.absurd
		s.o.Final = true
	case "usageMetadata":
		s.o.absurd = unmarshal(s.value, &s.s.Metadata) != nil || s.o.absurd
	}
	s.s.note(s.o)
}

// text is a string's value, "" where the value is none.
func text(value []byte) (s string) {
	value = bytes.TrimSpace(value)
	if n := len(value); n >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : n-1])
	}
	unmarshal(value, &s)
	return s
}

// unmarshal reads what an upstream says as leniently as it may be meant, and in a third of encoding/json's time.
func unmarshal(value []byte, into any) error { return json.Unmarshal(value, into, lenient) }

var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
