//go:build e2e

package faults

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each fault is what it is called, to a program that isn't the gateway.
func TestFaultsAreWhatTheyAreCalled(t *testing.T) {
	const body = "0123456789"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }))
	t.Cleanup(server.Close)
	behind := strings.TrimPrefix(server.URL, "http://")
	const asked = "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: secret\r\n\r\n"
	whole := func(text string) bool {
		return strings.HasPrefix(text, "HTTP/1.1 200") && strings.HasSuffix(text, body)
	}
	half := func(text string) bool {
		return strings.HasPrefix(text, "HTTP/1.1 200") && strings.HasSuffix(text, "\r\n\r\n"+body[:5])
	}
	nothing := func(text string) bool { return text == "" }
	hanging, reset := os.ErrDeadlineExceeded, error(syscall.ECONNRESET)
	p := pace{late: 200 * time.Millisecond, tooLate: 400 * time.Millisecond, drip: time.Millisecond}
	for f, row := range map[fault]struct {
		got   func(string) bool
		end   error
		after time.Duration
	}{
		none:      {whole, hanging, 0},
		late:      {whole, hanging, p.late},
		tooLate:   {whole, hanging, p.tooLate},
		refused:   {nothing, reset, 0},
		broken:    {half, reset, 0},
		silent:    {nothing, hanging, 0},
		vanished:  {half, hanging, 0},
		dripped:   {whole, hanging, 50 * p.drip},
		truncated: {half, io.EOF, 0},
		garbled:   {func(text string) bool { return text == "\x00 "+asked }, hanging, 0},
	} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			front := newFront(t, behind, p)
			front.begin(f)
			begun := time.Now()
			c, err := net.Dial("tcp", front.address())
			if err == nil {
				defer c.Close()
				io.WriteString(c, asked)
				c.SetReadDeadline(time.Now().Add(3 * time.Second)) // in which all has come that comes
			}
			var text strings.Builder
			at := time.Time{}
			buffer := make([]byte, 1024)
			for err == nil {
				var n int
				if n, err = c.Read(buffer); n > 0 {
					at = time.Now()
				}
				text.Write(buffer[:n])
			}
			if !row.got(text.String()) || !errors.Is(err, row.end) {
				t.Errorf("%q, then %v", text.String(), err)
			}
			if text.Len() > 0 && at.Sub(begun) < row.after {
				t.Errorf("all was there after %s", at.Sub(begun))
			}
			if met := front.met(); met == 0 && f != none {
				t.Error("it wasn't met")
			}
			want := 0
			if errors.Is(err, hanging) && !whole(text.String()) {
				want = 1
			}
			for deadline := time.Now().Add(grace); front.hangs() != want; time.Sleep(time.Millisecond) { // it may not know yet
				if time.Now().After(deadline) {
					t.Fatalf("%d connections hang, want %d", front.hangs(), want)
				}
			}
		})
	}
}

// What the function must never answer is seen.
func TestCallersSeeWhatIsNoAnswer(t *testing.T) {
	const (
		event  = `data: {"choices":[{"delta":{"content":"You said: one two three four five six"}}]}` + "\n\n"
		done   = "data: [DONE]\n\n"
		failed = `data: {"error":{"code":"upstream_error"}}` + "\n\n"
		echo   = `{"choices":[{"message":{"content":"You said: one two three four five six"}}]}`
		ours   = `{"error":{"code":"upstream_error"}}`
	)
	cut := errors.New("unexpected EOF")
	plain, stream := &caller{kind: one}, &caller{kind: one, stream: true}
	for name, row := range map[string]struct {
		by     *caller
		status int
		text   string
		end    error
		want   answer
		wrong  bool
	}{
		"an answer":                        {plain, 200, echo, nil, ok, false},
		"half an answer that ended well":   {plain, 200, echo[:20], nil, ok, true},
		"half an answer that broke off":    {plain, 200, echo[:20], cut, answer{status: 200, broken: true}, false},
		"an error":                         {plain, 502, ours, nil, badGateway, false},
		"an outage without an end":         {plain, 503, `{"error":{"code":"issuer_unavailable"}}`, nil, noKeys, true},
		"an error that is nobody's":        {plain, 502, "Bad Gateway", nil, answer{status: 502}, true},
		"an error that broke off":          {plain, 502, ours, cut, answer{status: 502, broken: true}, true},
		"a stream":                         {stream, 200, event + done, nil, ok, false},
		"a stream without its end":         {stream, 200, event, nil, ok, true},
		"a stream without its middle":      {stream, 200, done, nil, ok, true},
		"a stream that broke off":          {stream, 200, event + failed, cut, brokenOff, false},
		"one that broke off without event": {stream, 200, event, cut, answer{status: 200, broken: true}, true},
		"one with the event that ended":    {stream, 200, event + failed, nil, answer{status: 200, code: "upstream_error"}, true},
	} {
		resp := &http.Response{StatusCode: row.status, Header: http.Header{}}
		if strings.HasPrefix(row.text, `{"error"`) {
			resp.Header.Set("X-Gateway-Error", "true")
		}
		is, wrong := row.by.read(resp, []byte(row.text), row.end)
		if is != row.want || (wrong != "") != row.wrong {
			t.Errorf("%s: %v %q", name, is, wrong)
		}
	}
}
