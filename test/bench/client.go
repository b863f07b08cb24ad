package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// call is a request, ready to be written.
type call struct {
	address string
	wire    []byte
	stream  bool
}

// newCall writes the request once; all that measures sends the same bytes.
func newCall(e endpoint, body string) call {
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", e.path, e.address, len(body))
	for name, value := range e.headers {
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	return call{address: e.address, wire: []byte(head.String() + "\r\n" + body), stream: strings.Contains(body, `"stream":true`)}
}

// chat is the body of a chat completion, of about that many bytes.
func chat(size int, more string) string {
	const head, tail = `{"model":"gpt-4-turbo","messages":[{"role":"system","content":"You answer in one word."},{"role":"user","content":"`, `"}]}`
	return head + strings.Repeat("Lorem ipsum dolor sit amet. ", max(1, (size-len(head)-len(tail)-len(more))/28)) + `"}]` + more + `}`
}

// streamed is chat of an ordinary size that asks for a stream.
func streamed(events int, pace time.Duration) string {
	more := fmt.Sprintf(`,"stream":true,"max_tokens":%d`, events)
	if pace > 0 {
		more += fmt.Sprintf(`,"user":"%s"`, pace)
	}
	return chat(ordinary, more)
}

// What the mock says, and whoever relays to it must pass on.
var (
	answerMark = []byte("bench-answer")
	eventMark  = []byte("bench-event")
	endMark    = []byte("[DONE]")
)

// conn is one connection of HTTP/1.1, and one request on it at a time. It costs a fraction of net/http's
// client, which would take the candidate's processors.
type conn struct {
	net.Conn
	in    *bufio.Reader
	lines *bufio.Reader
	body  bytes.Buffer
}

func dial(address string) (*conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10), lines: bufio.NewReaderSize(nil, 16<<10)}, nil
}

// patience is the longest that an answer may take.
const patience = 60 * time.Second

// do sends the call and reads the answer to its end. Each event of a stream is noted at the moment that it
// was read. An answer that isn't the mock's is an error.
func (c *conn) do(q call, event func(time.Time)) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(q.wire); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !q.stream {
		c.body.Reset()
		if _, err := c.body.ReadFrom(resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || !bytes.Contains(c.body.Bytes(), answerMark) {
			return fmt.Errorf("answered %s: %.500s", resp.Status, c.body.Bytes())
		}
		return nil
	}
	c.lines.Reset(resp.Body)
	ended := false
	for {
		line, err := c.lines.ReadSlice('\n')
		if bytes.Contains(line, eventMark) {
			event(time.Now())
		}
		ended = ended || bytes.Contains(line, endMark)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if !ended {
		return errors.New("a stream ended before its end")
	}
	return nil
}
