//go:build e2e

package soak

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/program"
)

const (
	// small is the least memory that a function with a whole processor is given.
	small   = 512 << 20
	clients = 200
	keyName = "projects/soak/secrets/vertex-key"
)

// configuration has what an operator would have, at an instance of 512 MiB; the limits match all and refuse nothing.
const configuration = `
issuers:
  - url: ${ISSUER}
    audiences: [llm-gateway]
policies:
  files: [gateway.cedar]
credentials:
  vertex:
    service_account_key:
      from: {secret_manager: ` + keyName + `/versions/latest}
      scopes: [https://www.googleapis.com/auth/cloud-platform]
upstreams:
  openai: {kind: openai, base_url: "${UPSTREAM}/v1", credential: vertex}
models:
  gpt-4-turbo:
    targets: [{upstream: openai, model: gpt-4-turbo-2024-04-09}]
    price: {input: 10, output: 30}
  gpt-4o:
    targets: [{upstream: openai, model: gpt-4o-2024-08-06}]
    price: {input: 2.5, output: 10}
default_upstream: openai
limits:
  - {name: everybody, requests_per_minute: 1000000}
  - {name: team, groups: [team], per: client, requests_per_minute: 1000000, tokens_per_minute: 100000000, concurrent_requests: 100000, usd_per_day: 1000000, accept_reset: true}
secret_manager: {endpoint: "${SECRET_MANAGER}", refresh: 10s}
`

const policies = `
@id("team-infers")
permit (principal in Group::"team", action in Action::"inference", resource == Model::"gpt-4-turbo");
@id("team-has-files")
permit (principal in Group::"team", action in [Action::"files", Action::"batches"], resource);
@id("team-never-fine-tunes")
forbid (principal in Group::"team", action in Action::"fine_tuning", resource);
`

// world is the function, and what it is between.
type world struct {
	issuer   *issuertest.Issuer
	secrets  *secrettest.Server
	tokens   *tokentest.Server
	upstream *httptest.Server
	function *program.Process
	url      string
	group    *group // nil where the machine has none to give
	printed  *printed
	limit    int

	// signing is held to read from the making of a call to the head of its answer, and to write by who withdraws a key.
	signing sync.RWMutex
	mu      sync.Mutex
	signs   *issuertest.Key
	given   map[string]token // by client
}

// token is one of a client's, used until it is 15 s old.
type token struct {
	text  string
	since time.Time
}

func newWorld(t *testing.T, limit int) *world {
	w := &world{limit: limit, issuer: issuertest.New(), secrets: secrettest.New(), tokens: tokentest.New(), printed: &printed{}, given: map[string]token{}}
	t.Cleanup(w.issuer.Close)
	t.Cleanup(w.secrets.Close)
	t.Cleanup(w.tokens.Close)
	w.upstream = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.upstream.Close)
	w.issuer.SetCacheControl("max-age=60")
	for i := range clients {
		w.issuer.AddClient(issuertest.Client{ID: client(i), Audience: []string{"llm-gateway"}, Groups: []string{"team"}, Lifetime: 2 * time.Minute})
	}
	w.signs = w.issuer.Key()
	w.tokens.ExpiresIn(60)
	w.secrets.Add(keyName, w.tokens.ServiceAccountKey())
	w.start(t)
	return w
}

func client(i int) string { return fmt.Sprintf("pipeline-%03d", i%clients) }

// start starts the function as Cloud Run does, with one processor and the collector's trace.
func (w *world) start(t *testing.T) {
	dir := t.TempDir()
	binary, err := buildpack.BuildRepository(t.Context(), "../..", dir)
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{"ISSUER": w.issuer.URL, "SECRET_MANAGER": w.secrets.URL, "UPSTREAM": w.upstream.URL}
	for name, text := range map[string]string{"gateway.yaml": configuration, "gateway.cedar": policies} {
		text = os.Expand(text, func(name string) string { return addresses[name] })
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{binary}
	if w.group, err = newGroup(w.limit); err != nil {
		t.Logf("memory is not limited, but looked at: %v", err)
	} else {
		t.Cleanup(w.group.remove)
		argv = w.group.within(binary)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = []string{
		"K_SERVICE=gateway", "K_REVISION=gateway-00001-soak", "K_CONFIGURATION=gateway",
		"FUNCTION_TARGET=Gateway", "FUNCTION_SIGNATURE_TYPE=http",
		"PORT=" + port, "GATEWAY_CONFIG=" + filepath.Join(dir, "gateway.yaml"),
		"GOMAXPROCS=1", "GODEBUG=gctrace=1",
		fmt.Sprintf("GOMEMLIMIT=%d", w.limit/10*9), // terraform/modules/gateway/function.tf
	}
	cmd.Stdout = io.Discard
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.printed.whole = make(chan struct{})
	go w.printed.read(stderr)
	if w.function, err = program.Start("function", cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.function.Kill)
	w.url = "http://127.0.0.1:" + port
	if err := w.function.Ready(t.Context(), w.url+"/health?ready"); err != nil {
		t.Fatalf("%v\n%s", err, w.printed.dump.Bytes())
	}
}

// token is a good one of the client's.
func (w *world) token(client string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if have := w.given[client]; time.Since(have.since) < 15*time.Second {
		return have.text
	}
	w.given[client] = token{w.signs.Sign(nil, w.issuer.Claims(client)), time.Now()}
	return w.given[client].text
}

// rotateKey replaces the issuer's key, as providers do: the new one is published, used when it is known, and the old one
// is withdrawn when nothing it signed is on its way.
func (w *world) rotateKey(ctx context.Context) error {
	former := w.signs
	key := issuertest.NewKey(former.Algorithm)
	seen := w.issuer.KeyFetches()
	w.issuer.AddKey(key)
	// One that began afterwards has ended when another follows it.
	if err := until(ctx, func() bool { return w.issuer.KeyFetches() >= seen+2 }); err != nil {
		return err
	}
	w.signing.Lock()
	defer w.signing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signs = key
	clear(w.given)
	w.issuer.RemoveKey(former)
	return nil
}

// rotateSecret replaces the service account's key, and deletes the former one when the new one has been read.
func (w *world) rotateSecret(ctx context.Context) error {
	w.tokens.RotateKey()
	seen := w.secrets.Reads(keyName)
	w.secrets.Add(keyName, w.tokens.ServiceAccountKey())
	if err := until(ctx, func() bool { return w.secrets.Reads(keyName) >= seen+2 }); err != nil {
		return err
	}
	w.tokens.RevokeFormerKeys()
	return nil
}

func until(ctx context.Context, true func() bool) error {
	for !true() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// What the provider says, and the gateway must pass on.
const (
	whole   = `{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"gpt-4-turbo-2024-04-09","choices":[{"index":0,"message":{"role":"assistant","content":"soak"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`
	event   = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-4-turbo-2024-04-09","choices":[{"index":0,"delta":{"content":"soak-event"},"finish_reason":null}]}` + "\n\n"
	usage   = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"gpt-4-turbo-2024-04-09","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}` + "\n\n"
	limited = `{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}`
)

// wish is how a request tells the provider what to do, as its user.
var wish = regexp.MustCompile(`"user":"([a-z]+)(?: ([0-9]+))?(?: ([0-9a-z]+))?"`)

// serve is the provider. It remembers nothing, and takes only access tokens that are good at this moment.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !w.tokens.Valid(token) {
		http.Error(rw, `{"error":{"message":"no"}}`, http.StatusUnauthorized)
		return
	}
	head := make([]byte, 4<<10)
	n, err := io.ReadFull(r.Body, head)
	rest, _ := io.Copy(io.Discard, r.Body)
	if err == io.EOF && r.Method == http.MethodPost || int64(n)+rest != max(r.ContentLength, 0) {
		return
	}
	out := http.NewResponseController(rw)
	var what string
	var number int
	var pace time.Duration
	if m := wish.FindSubmatch(head[:n]); m != nil {
		what = string(m[1])
		number, _ = strconv.Atoi(string(m[2]))
		pace, _ = time.ParseDuration(string(m[3]))
	}
	switch what {
	case "limited":
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(rw, limited)
	case "bytes":
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Header().Set("Content-Length", strconv.Itoa(number))
		for chunk := bytes.Repeat([]byte("soak"), 8<<10); number > 0; number -= len(chunk) {
			if _, err := rw.Write(chunk[:min(number, len(chunk))]); err != nil {
				return
			}
		}
	case "events", "dies":
		rw.Header().Set("Content-Type", "text/event-stream")
		for range number {
			io.WriteString(rw, event)
			if out.Flush() != nil {
				return
			}
			select {
			case <-time.After(pace):
			case <-r.Context().Done():
				return
			}
		}
		if what == "dies" {
			panic(http.ErrAbortHandler)
		}
		if bytes.Contains(head[:n], []byte(`"include_usage"`)) {
			io.WriteString(rw, usage)
		}
		io.WriteString(rw, "data: [DONE]\n\n")
	default:
		rw.Header().Set("Content-Type", "application/json")
		io.WriteString(rw, whole)
	}
}

// printed reads what the function prints: records, the collector's lines, and at the end a dump.
type printed struct {
	heap    atomic.Int64 // MiB, after the collector's last cycle
	cycles  atomic.Int64
	records atomic.Int64

	// expected is the one failure of 500 and up, by status and code, that a test is about.
	expected string

	mu       sync.Mutex
	failures map[string]int // what was recorded as failed, by status and code
	faults   []string       // lines that should not be there

	dump  bytes.Buffer  // what is neither a record nor a cycle
	whole chan struct{} // closed at its end
}

func (p *printed) read(from io.Reader) {
	defer close(p.whole)
	p.failures = map[string]int{}
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if mib, ok := heap(line); ok {
			p.heap.Store(int64(mib))
			p.cycles.Add(1)
		} else if bytes.HasPrefix(line, []byte("{")) {
			p.record(line)
		} else {
			p.dump.Write(line)
		}
		if err != nil {
			return
		}
	}
}

// record takes note of a line. A warning that isn't of a request is one of something that could not be reached.
func (p *printed) record(line []byte) {
	var r struct {
		RequestID string `json:"request_id"`
		ErrorCode string `json:"error_code"`
		Request   struct {
			Status int `json:"status"`
		} `json:"httpRequest"`
	}
	err := json.Unmarshal(line, &r)
	p.records.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	failure := fmt.Sprintf("%d %s", r.Request.Status, r.ErrorCode)
	if err != nil || r.RequestID == "" || r.Request.Status >= 500 && failure != p.expected {
		if len(p.faults) < 20 {
			p.faults = append(p.faults, string(bytes.TrimSpace(line)))
		}
		return
	}
	if r.ErrorCode != "" {
		p.failures[failure]++
	}
}

// quit has the function print its goroutines, and end.
func (w *world) quit(t *testing.T) string {
	syscall.Kill(w.function.Pid(), syscall.SIGQUIT)
	select {
	case <-w.printed.whole:
	case <-time.After(time.Minute):
		t.Fatal("the function doesn't end")
	}
	return w.printed.dump.String()
}
