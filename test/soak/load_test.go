//go:build e2e

package soak

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// kind is a way in which clients call, of which so many do so at once, each again after the pause.
type kind struct {
	name  string
	many  int
	pause time.Duration
	call  func(l *load, ctx context.Context) error
}

const chatPath = "/v1/chat/completions"

var kinds = []kind{
	{"a plain call", 6, 50 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, chat("plain", 300), 200, whole)
	}},
	{"a stream", 10, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.streams(ctx, chat(`events 100 20ms`, 300), 100, true)
	}},
	{"a stream that its upstream breaks off", 1, time.Second, func(l *load, ctx context.Context) error {
		return l.streams(ctx, chat(`dies 5 5ms`, 300), 5, false)
	}},
	{"a client that leaves in a stream", 4, 50 * time.Millisecond, (*load).leaves},
	{"a slow reader", 4, 100 * time.Millisecond, (*load).readsSlowly},
	{"a client that stops to read, and leaves", 2, time.Second, (*load).stopsReading},
	{"a body of 4 MiB", 2, 2 * time.Second, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, chat("plain", 4<<20), 200, whole)
	}},
	{"a body of 24 MiB", 1, 10 * time.Second, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, chat("plain", 24<<20), 200, whole)
	}},
	{"a body of 4 MiB in many names", 1, 10 * time.Second, func(l *load, ctx context.Context) error {
		var body strings.Builder
		body.WriteString(`{"model":"gpt-4-turbo","messages":[],"metadata":{"":0`)
		for i := 0; body.Len() < 4<<20; i++ {
			fmt.Fprintf(&body, `,"%x":0`, i)
		}
		return l.answered(ctx, "POST", chatPath, body.String()+"}}", 200, whole)
	}},
	{"a body of 1 MiB in many small values", 1, 2 * time.Second, func(l *load, ctx context.Context) error {
		body := `{"model":"gpt-4-turbo","messages":[{"role":"user","content":[` + strings.Repeat(`{"type":"text","text":"a"},`, 38000) + `{"type":"text","text":"a"}]}]}`
		return l.answered(ctx, "POST", chatPath, body, 200, whole)
	}},
	{"a batch file", 1, 500 * time.Millisecond, func(l *load, ctx context.Context) error { return l.uploads(ctx, "gpt-4-turbo", 200, "") }},
	{"a batch file with a forbidden model", 1, time.Second, func(l *load, ctx context.Context) error {
		return l.uploads(ctx, "gpt-4o", 403, "model_not_allowed")
	}},
	{"whoami", 1, 200 * time.Millisecond, func(l *load, ctx context.Context) error { return l.answered(ctx, "GET", "/whoami", "", 200, "") }},
	{"the list of models", 1, 200 * time.Millisecond, func(l *load, ctx context.Context) error { return l.answered(ctx, "GET", "/v1/models", "", 200, "") }},
	{"is it ready", 1, time.Second, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "GET", "/health?ready", "", 200, `{"status":"ok","ready":true}`+"\n")
	}},
	{"a denied model", 2, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, strings.Replace(chat("plain", 300), "gpt-4-turbo", "gpt-4o", 1), 403, "model_not_allowed")
	}},
	{"a denied operation", 1, 200 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", "/v1/fine_tuning/jobs", `{"model":"gpt-4-turbo","training_file":"file-1"}`, 403, "operation_not_allowed")
	}},
	{"a malformed body", 1, 200 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, `{"model":"gpt-4-turbo","model":"gpt-4o"}`, 400, "invalid_request")
	}},
	{"a body that is too large", 1, time.Second, (*load).tooLarge},
	{"an unknown path", 1, 500 * time.Millisecond, func(l *load, ctx context.Context) error { return l.answered(ctx, "GET", "/v1/nothing", "", 404, "") }},
	{"a limit of the provider", 1, time.Second, func(l *load, ctx context.Context) error {
		return l.answered(ctx, "POST", chatPath, chat("limited", 300), 429, limited)
	}},
	{"half a body", 1, 500 * time.Millisecond, (*load).sendsHalf},
	{"a connection without a word", 5, 100 * time.Millisecond, (*load).idles},
	{"a random token", 1, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.refused(ctx, rand.Text()+rand.Text(), "invalid_token")
	}},
	{"a token of an unknown key", 1, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.refused(ctx, issuertest.NewKey("ES256").Sign(nil, l.issuer.Claims(client(0))), "invalid_token")
	}},
	{"a token with a signature by another", 2, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		return l.refused(ctx, l.forged(), "invalid_token")
	}},
	{"an expired token", 1, 100 * time.Millisecond, func(l *load, ctx context.Context) error {
		claims := l.issuer.Claims(client(0))
		claims["iat"], claims["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
		return l.refused(ctx, l.issuer.Key().Sign(nil, claims), "expired_token")
	}},
	{"no token", 1, 100 * time.Millisecond, func(l *load, ctx context.Context) error { return l.refused(ctx, "", "missing_token") }},
}

// chat is a call's body of some size, with the wish at its beginning.
func chat(wish string, size int) string {
	head := `{"user":"` + wish + `","model":"gpt-4-turbo",`
	if strings.HasPrefix(wish, "events") || strings.HasPrefix(wish, "dies") {
		head += `"stream":true,`
	}
	head += `"messages":[{"role":"user","content":"`
	return head + strings.Repeat("soak ", max(1, (size-len(head))/5)) + `"}]}`
}

// load is all clients.
type load struct {
	*world
	client *http.Client
	slow   *http.Client // whose connections hold little
	turn   atomic.Int64

	mu     sync.Mutex
	made   map[string]int // by kind
	faults []string
}

func newLoad(w *world) *load {
	l := &load{world: w, made: map[string]int{}}
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, ExpectContinueTimeout: patience}}
	l.slow = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ReadBufferSize: 4 << 10, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(8 << 10)
		}
		return c, err
	}}}
	return l
}

// patience is the longest that a call may take; none is near it unless it hangs.
const patience = 3 * time.Minute

// run calls until the context ends, then waits for the calls that are under way.
func (l *load) run(ctx context.Context) {
	var group sync.WaitGroup
	for _, k := range kinds {
		for range k.many {
			group.Go(func() {
				for ctx.Err() == nil {
					l.once(k)
					select {
					case <-time.After(k.pause):
					case <-ctx.Done():
					}
				}
			})
		}
	}
	group.Wait()
	l.client.CloseIdleConnections()
}

func (l *load) once(k kind) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := k.call(l, ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made[k.name]++
	if err != nil && len(l.faults) < 20 {
		l.faults = append(l.faults, k.name+": "+err.Error())
	}
}

// request is one of the next client's; token is what it presents, where it isn't its own good one.
func (l *load) request(ctx context.Context, method, path, body string, token ...string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, l.url+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	bearer := strings.Join(token, "")
	if token == nil {
		bearer = l.token(client(int(l.turn.Add(1))))
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return req
}

// do sends what make makes. No key is withdrawn before the head of the answer has come.
func (l *load) do(by *http.Client, make func() *http.Request) (*http.Response, error) {
	l.signing.RLock()
	defer l.signing.RUnlock()
	return by.Do(make())
}

// answered makes a call, whose answer has the status and the text: all of it where it is one of ours to pass on, else
// somewhere in it.
func (l *load) answered(ctx context.Context, method, path, body string, status int, text string) error {
	return l.whole(status, text, func() *http.Request { return l.request(ctx, method, path, body) })
}

func (l *load) refused(ctx context.Context, token, code string) error {
	return l.whole(401, code, func() *http.Request { return l.request(ctx, "POST", chatPath, chat("plain", 300), token) })
}

func (l *load) whole(status int, text string, make func() *http.Request) error {
	resp, err := l.do(l.client, make)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	ours := resp.Header.Get("X-Gateway-Error") != ""
	if resp.StatusCode != status || !ours && text != "" && string(got) != text || !strings.Contains(string(got), text) {
		return fmt.Errorf("answered %s, ours %t: %.300s", resp.Status, ours, got)
	}
	return nil
}

// streams reads a stream of so many events to its end.
func (l *load) streams(ctx context.Context, body string, events int, complete bool) error {
	resp, err := l.do(l.client, func() *http.Request { return l.request(ctx, "POST", chatPath, body) })
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || (err == nil) != complete || bytes.Count(got, []byte("soak-event")) != events ||
		bytes.HasSuffix(got, []byte("data: [DONE]\n\n")) != complete || bytes.Contains(got, []byte("prompt_tokens")) {
		return fmt.Errorf("answered %s, %v: …%s", resp.Status, err, got[max(0, len(got)-300):])
	}
	return nil
}

func (l *load) leaves(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	resp, err := l.do(l.client, func() *http.Request { return l.request(ctx, "POST", chatPath, chat("events 1000 5ms", 300)) })
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadFull(resp.Body, make([]byte, 5*len(event)))
	return err
}

// stopsReading has more come than fits into all buffers on the way.
func (l *load) stopsReading(ctx context.Context) error {
	resp, err := l.do(l.slow, func() *http.Request { return l.request(ctx, "POST", chatPath, chat("bytes 67108864", 300)) })
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadFull(resp.Body, make([]byte, 16<<10))
	time.Sleep(4 * time.Second)
	return err
}

// readsSlowly reads 512 KiB a little at a time.
func (l *load) readsSlowly(ctx context.Context) error {
	const size = 512 << 10
	resp, err := l.do(l.slow, func() *http.Request {
		return l.request(ctx, "POST", chatPath, chat(fmt.Sprintf("bytes %d", size), 300))
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got := 0
	for buffer := make([]byte, 16<<10); ; {
		n, err := io.ReadFull(resp.Body, buffer)
		got += n
		if err == io.EOF || err == io.ErrUnexpectedEOF && got == size {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", got, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got != size {
		return fmt.Errorf("%d bytes came of %d", got, size)
	}
	return nil
}

// uploads sends a batch file of 1000 lines.
func (l *load) uploads(ctx context.Context, model string, status int, text string) error {
	const head, tail = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.jsonl\"\r\n\r\n", "\r\n--B--\r\n"
	line := func(model string) string {
		return `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"` + model + `","messages":[{"role":"user","content":"soak"}]}}` + "\n"
	}
	return l.whole(status, text, func() *http.Request {
		req := l.request(ctx, "POST", "/v1/files", head+strings.Repeat(line("gpt-4-turbo"), 999)+line(model)+tail)
		req.Header.Set("Content-Type", "multipart/form-data; boundary=B")
		return req
	})
}

// tooLarge says how large its body is, and waits to be asked for it.
func (l *load) tooLarge(ctx context.Context) error {
	return l.whole(413, "request_too_large", func() *http.Request {
		req := l.request(ctx, "POST", chatPath, "{}")
		req.Body, req.ContentLength, req.GetBody = io.NopCloser(io.LimitReader(zeros{}, 33<<20)), 33<<20, nil
		req.Header.Set("Expect", "100-continue")
		return req
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (l *load) dial() (net.Conn, error) {
	return net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
}

// sendsHalf leaves in the middle of its body.
func (l *load) sendsHalf(ctx context.Context) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		chatPath, l.token(client(int(l.turn.Add(1)))), 600<<10, strings.Repeat(" ", 300<<10))
	time.Sleep(50 * time.Millisecond)
	return err
}

// idles opens a connection and says nothing for ten seconds.
func (l *load) idles(ctx context.Context) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		return fmt.Errorf("%d bytes came, %v", n, err)
	}
	return nil
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// forged is a token, each time another, whose issuer, key, audience and times are right, and whose signature is nobody's.
func (l *load) forged() string {
	good, signature := l.token(client(0)), make([]byte, 64)
	rand.Read(signature)
	return good[:strings.LastIndexByte(good, '.')+1] + base64.RawURLEncoding.EncodeToString(signature)
}

// counts are what was made, of each kind.
func (l *load) counts() (lines []string, sum int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.made)) {
		lines = append(lines, fmt.Sprintf("%7d  %s", l.made[name], name))
		sum += l.made[name]
	}
	return lines, sum
}
