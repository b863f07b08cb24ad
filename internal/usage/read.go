package usage

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Tally is what was found in an input.
type Tally struct {
	Records int64
	// Others are lines that are no audit records, Broken those that should be some and can't be read.
	Others, Broken int64
	// Faults are the first of the broken ones.
	Faults []Fault
}

// Fault is a line that can't be read, and why.
type Fault struct {
	Line int64
	Why  string
}

const (
	mostFaults = 5
	// Cloud Logging takes no entry over 256 KiB.
	longest = 1 << 20
)

// Read calls each for every audit record of in, in their order. It holds one record at a time.
//
// A record is a JSON object on a line of its own, or an element of an array: Cloud Logging's storage sinks write the
// former, gcloud logging read the latter. Both may be in one input, and be compressed with gzip. An error is
// of reading itself; a line that can't be understood is in the Tally.
func Read(in io.Reader, each func(*Record)) (Tally, error) {
	var t Tally
	s := &scanner{in: bufio.NewReaderSize(in, 64<<10), line: 1}
	if magic, _ := s.in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(s.in)
		if err != nil {
			return t, fmt.Errorf("gzip: %w", err)
		}
		s.in = bufio.NewReaderSize(z, 64<<10)
	}
	if mark, _ := s.in.Peek(3); string(mark) == "\ufeff" { // of some editors
		s.in.Discard(3)
	}
	for {
		found, err := s.next()
		switch {
		case err == io.EOF:
			return t, nil
		case err != nil:
			return t, err
		}
		r, err := found.record()
		switch {
		case err == nil:
			t.Records++
			each(r)
		case errors.Is(err, errOther):
			t.Others++
		default:
			t.Broken++
			if len(t.Faults) < mostFaults {
				t.Faults = append(t.Faults, Fault{found.line, err.Error()})
			}
		}
	}
}

// found is what may be a record, and why it can't be.
type found struct {
	line int64
	text []byte
	err  error
}

func (f found) record() (*Record, error) {
	if f.err != nil {
		return nil, f.err
	}
	return parse(f.text)
}

// scanner cuts an input into records.
type scanner struct {
	in *bufio.Reader
	// line is where the next byte stands.
	line int64
	// array says that it is between the brackets of an array.
	array bool
	text  []byte
}

var (
	errLong    = errors.New("is longer than 1 MiB, as no record is")
	errCut     = errors.New("ends in the middle of a record")
	errElement = errors.New("is no object, in an array of records")
)

// next returns what comes next; its text is good until the call after.
func (s *scanner) next() (found, error) {
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return found{}, err
		}
		switch {
		case c == '\n':
			s.line++
			continue
		case c == ' ', c == '\t', c == '\r', s.array && c == ',':
			continue
		case s.array && c == ']':
			s.array = false
			continue
		case !s.array && c == '[' && s.opens():
			s.array = true
			continue
		}
		s.in.UnreadByte()
		f := found{line: s.line}
		s.text = s.text[:0]
		if c == '{' && (s.array || s.spread()) {
			f.err, err = s.object()
		} else {
			f.err, err = s.rest()
			switch {
			case s.array: // what follows is told apart by lines again
				s.array, f.err = false, errElement
			case c != '{': // the text of another program
				f.err = errOther
			}
		}
		f.text = s.text
		return f, err
	}
}

// opens reports whether the bracket just read opens an array of records: other programs begin lines with one too.
func (s *scanner) opens() bool {
	for n := 1; n <= 256; n++ {
		ahead, err := s.in.Peek(n)
		if err != nil {
			return true // nothing follows
		}
		switch c := ahead[n-1]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '{' || c == ']'
		}
	}
	return false
}

// spread reports whether the object that follows is written over several lines, as jq does. All others end with
// their line, so that one that was cut doesn't take the next with it.
func (s *scanner) spread() bool {
	ahead, _ := s.in.Peek(3)
	return bytes.HasPrefix(ahead, []byte("{\n")) || bytes.HasPrefix(ahead, []byte("{\r\n"))
}

// object takes the bytes up to the brace that closes the object.
func (s *scanner) object() (why, err error) {
	depth, quoted, escaped := 0, false, false
	for {
		c, err := s.in.ReadByte()
		switch {
		case err == io.EOF:
			return errCut, nil
		case err != nil:
			return nil, err
		case c == '\n':
			s.line++
		}
		if len(s.text) < longest {
			s.text = append(s.text, c)
		} else {
			why = errLong
		}
		switch {
		case escaped:
			escaped = false
		case quoted:
			quoted, escaped = c != '"', c == '\\'
		case c == '"':
			quoted = true
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return why, nil
			}
		}
	}
}

// rest takes the bytes up to the end of the line.
func (s *scanner) rest() (why, err error) {
	for {
		piece, err := s.in.ReadSlice('\n')
		if len(s.text)+len(piece) <= longest {
			s.text = append(s.text, piece...)
		} else {
			why = errLong
		}
		switch {
		case err == nil:
			s.line++
			return why, nil
		case err == io.EOF:
			return why, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}
