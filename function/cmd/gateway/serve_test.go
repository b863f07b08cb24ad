package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// process is a running gateway serve: the framework's server around the real function.
type process struct {
	*exec.Cmd
	url    string
	stderr *output
	ended  chan error
}

type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

const (
	configuration = `
issuers: [{url: $ISSUER, audiences: [llm-gateway]}]
policies: {files: [gateway.cedar]}
credentials: {openai: {api_key: {from: {env: UPSTREAM_KEY}}}}
upstreams: {openai: {kind: openai, base_url: $UPSTREAM, credential: openai}}
models: {gpt-4-turbo: {targets: [{upstream: openai, model: gpt-4-turbo}]}}
`
	policyText = `@id("all") permit (principal, action, resource);`
	chat       = `{"model":"gpt-4-turbo","stream":true,"messages":[]}`
)

// start runs gateway serve until the test ends, and returns when it answers.
func start(t *testing.T, issuer, upstream string) *process {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"gateway.yaml": configuration, "gateway.cedar": policyText} {
		text = strings.NewReplacer("$ISSUER", issuer, "$UPSTREAM", upstream).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	p := &process{Cmd: exec.Command("gateway", "serve", "--config", filepath.Join(dir, "gateway.yaml"), "--listen", address),
		url: "http://" + address, stderr: &output{}, ended: make(chan error, 1)}
	p.Env = append(os.Environ(), "UPSTREAM_KEY=sk-test", "K_SERVICE=gateway") // as on Cloud Run
	p.Stderr = p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill() })
	for range 500 {
		if resp, err := http.Get(p.url + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return p
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("gateway serve does not answer: %s", p.stderr)
	return nil
}

// ask sends a streamed chat.
func (p *process) ask(t *testing.T, idp *issuertest.Issuer) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/v1/chat/completions", strings.NewReader(chat))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+idp.Token("pipeline"))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, body)
	}
	return resp
}

func newIssuer(t *testing.T) *issuertest.Issuer {
	idp := issuertest.New()
	t.Cleanup(idp.Close)
	idp.AddClient(issuertest.Client{ID: "pipeline", Audience: []string{"llm-gateway"}})
	return idp
}

func provide(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

func send(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, text)
	http.NewResponseController(w).Flush()
}

func TestSIGTERMLetsAStreamEndAndExitsWithStatus0(t *testing.T) {
	more := make(chan struct{})
	idp := newIssuer(t)
	p := start(t, idp.URL, provide(t, func(w http.ResponseWriter, r *http.Request) {
		send(w, "data: {\"id\":\"1\"}\n\n")
		<-more
		send(w, "data: [DONE]\n\n")
	}))
	body := bufio.NewReader(p.ask(t, idp).Body)
	if line, err := body.ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		t.Fatalf("the process ended under a stream: %v, %s", err, p.stderr)
	case <-time.After(200 * time.Millisecond): // it has the signal, and time to act on it wrongly
	}
	close(more)
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "\ndata: [DONE]\n\n" {
		t.Errorf("%q, %v", rest, err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("%v: %s", err, p.stderr)
		}
	case <-time.After(5 * time.Second):
		t.Error("the process goes on with nothing to do")
	}
	if !strings.Contains(p.stderr.String(), `"message":"200 chat.completions.create gpt-4-turbo`) {
		t.Errorf("no record: %s", p.stderr)
	}
}

// The framework recovers every panic and ends the body cleanly; it must not get to.
func TestAnUpstreamsDeathIsSeenThroughTheFramework(t *testing.T) {
	idp := newIssuer(t)
	p := start(t, idp.URL, provide(t, func(w http.ResponseWriter, r *http.Request) {
		send(w, "data: {\"id\":\"1\"}\n\ndata: {\"id\":\"1\",")
		panic(http.ErrAbortHandler)
	}))
	body, err := io.ReadAll(p.ask(t, idp).Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(string(body), "\n\ndata: {\"error\":{") || strings.Contains(string(body), "panic") {
		t.Errorf("%v: %s", err, body)
	}
}

func TestServeStartsWithoutANetwork(t *testing.T) {
	p := start(t, "http://127.0.0.1:1/realms/a", "http://127.0.0.1:1")
	resp, err := http.Get(p.url + "/health?ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 {
		t.Error(resp.Status)
	}
}

func TestAnInterruptEndsServeAndTheDemo(t *testing.T) {
	p := start(t, "http://127.0.0.1:1/realms/a", "http://127.0.0.1:1")
	p.Process.Signal(os.Interrupt)
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("serve goes on")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out output
	d := exec.CommandContext(ctx, "gateway", "demo")
	d.Stdout = &out
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(out.String(), "until you press Ctrl-C") {
		if ctx.Err() != nil {
			t.Fatal(out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.Process.Signal(os.Interrupt)
	if err := d.Wait(); err != nil {
		t.Error(fmt.Errorf("demo: %w", err))
	}
}
