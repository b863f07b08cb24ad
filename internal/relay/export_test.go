package relay

import (
	"bufio"
	"io"

	"llmgateway.dev/gateway/internal/hidden"
)

// Events reads a stream: what each whole event carries, where it carries any data, and each event as it
// came, the mark that the stream may begin with and an unfinished end included. buffer is how much is read at
// once: 16 is the least there is, so that lines are longer.
func Events(stream io.Reader, buffer int) (carried, came []string) {
	e := newEvents(bufio.NewReaderSize(stream, buffer))
	came = append(came, string(e.mark()))
	for {
		event, whole, err := e.next()
		came = append(came, string(event))
		if d := data(event); whole && d != nil {
			carried = append(carried, string(d))
		}
		if err != nil {
			return carried, came
		}
	}
}

// Scan reads an answer that comes in those pieces.
func Scan(pieces ...[]byte) (o Outcome, cut bool) {
	s := scanner{o: &o}
	for _, p := range pieces {
		s.read(p)
	}
	return o, s.cut()
}

// Scrubbed reads what from holds without the credential.
func Scrubbed(from io.Reader, credential string) io.Reader {
	return &scrubber{ReadCloser: io.NopCloser(from), forms: forms(hidden.New(credential))}
}
