package function_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

// scene is the whole gateway between its four doubles, as a client and an operator see it.
type scene struct {
	testing.TB
	issuer  *issuertest.Issuer
	tokens  *tokentest.Server
	secrets *secrettest.Server
	// first and second are two providers, $FIRST and $SECOND in a configuration.
	first, second *upstreamtest.Server
	handler       http.Handler
	URL           string
	records       *records
	// revoked makes the providers refuse every token.
	revoked *atomic.Bool
}

// setting is what a test chooses; the zero value is the ordinary gateway.
type setting struct {
	// config is the configuration but for issuers, policies, credentials and secret_manager.
	config, policy string
	// mode is policies.mode; "" is enforce.
	mode string
	// clients are the groups of each client.
	clients map[string][]string
	// claims are what each client's token has besides, or instead; nil takes a claim away.
	claims map[string]map[string]any
	// trust is the issuer's entry but for url and audiences.
	trust string
	// first and second replace the providers' addresses.
	first, second string
	// credentials are further ones.
	credentials string
	// wrap goes around the gateway, where a server would be.
	wrap func(http.Handler) http.Handler
}

const (
	secretName = "projects/acme/secrets/vertex-key"

	parts = `
issuers:
  - url: $ISSUER
    audiences: [llm-gateway]
    $TRUST
policies: {files: [gateway.cedar], mode: $MODE}
credentials:
  vertex:
    service_account_key:
      from: {secret_manager: ` + secretName + `/versions/latest}
      scopes: [https://www.googleapis.com/auth/cloud-platform]
$CREDENTIALS
secret_manager: {endpoint: $SECRETS}
`
	ordinary = `
upstreams:
  openai: {kind: openai, base_url: $FIRST, credential: vertex}
models:
  gpt-4-turbo:
    targets: [{upstream: openai, model: gpt-4-turbo-2024-04-09}]
    price: {input: 10, output: 30}
default_upstream: openai
`
	ordinaryPolicy = `
@id("team-uses-gpt-4-turbo")
permit (principal in Group::"team", action in Action::"inference", resource == Model::"gpt-4-turbo");
@id("tuners-tune")
permit (principal in Group::"tuners", action in Action::"fine_tuning", resource);
`
)

func open(t testing.TB, with setting) *scene {
	t.Helper()
	if with.config == "" {
		with.config = ordinary
	}
	if with.policy == "" {
		with.policy = ordinaryPolicy
	}
	if with.clients == nil {
		with.clients = map[string][]string{"pipeline": {"team"}, "tuner": {"team", "tuners"}, "stranger": nil}
	}
	s := &scene{TB: t, issuer: issuertest.New(), tokens: tokentest.New(), secrets: secrettest.New(), records: &records{}, revoked: &atomic.Bool{}}
	valid := func(token string) bool { return !s.revoked.Load() && s.tokens.Valid(token) }
	s.first, s.second = upstreamtest.New(valid), upstreamtest.New(valid)
	for id, groups := range with.clients {
		s.issuer.AddClient(issuertest.Client{ID: id, Groups: groups, Audience: []string{"llm-gateway"}, Claims: with.claims[id]})
	}
	s.secrets.Add(secretName, s.tokens.ServiceAccountKey())
	document := strings.NewReplacer("$MODE", cmp.Or(with.mode, "enforce"), "$ISSUER", s.issuer.URL,
		"$TRUST", strings.ReplaceAll(cmp.Or(with.trust, `require: {acr: "1"}`), "\n", "\n    "), "$SECRETS", s.secrets.URL, "$CREDENTIALS", with.credentials,
		"$FIRST", cmp.Or(with.first, s.first.URL), "$SECOND", cmp.Or(with.second, s.second.URL)).
		Replace(parts + with.config)
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	for name, text := range map[string]string{"gateway.yaml": document, "gateway.cedar": with.policy} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, faults := config.Load(file)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	handler, err := function.Build(c, s.records)
	if err != nil {
		t.Fatal(err)
	}
	s.handler = handler
	if with.wrap != nil {
		handler = with.wrap(handler)
	}
	server := httptest.NewServer(handler)
	s.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		s.first.Close()
		s.second.Close()
		s.secrets.Close()
		s.tokens.Close()
		s.issuer.Close()
	})
	return s
}

// in is the scene within a subtest.
func (s *scene) in(t testing.TB) *scene {
	c := *s
	c.TB = t
	return &c
}

// upstream serves h as a provider and returns its base URL.
func upstream(t testing.TB, h http.HandlerFunc) string {
	server := httptest.NewServer(h)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL + "/v1"
}

// answer is what a client got. err is how the body ended, nil for a whole one.
type answer struct {
	*http.Response
	body string
	err  error
}

// client is the connection pool of all tests' clients. It must not be the default one, which the parts share.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *scene) request(ctx context.Context, method, path, token, body string) *http.Request {
	s.Helper()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("User-Agent", "test/1.0")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

// do sends req and reads the answer to its end.
func (s *scene) do(req *http.Request) *answer {
	s.Helper()
	resp, err := client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{resp, string(body), err}
}

const (
	chatPath = "/v1/chat/completions"
	hello    = `{"model":"gpt-4-turbo","messages":[{"role":"user","content":"hello there"}]}`
	streamed = `{"model":"gpt-4-turbo","stream":true,"messages":[{"role":"user","content":"hello there"}]}`
)

// chat asks as the client.
func (s *scene) chat(id, body string) *answer {
	s.Helper()
	return s.do(s.request(s.Context(), "POST", chatPath, s.issuer.Token(id), body))
}

// record is the audit record of an answer.
func (s *scene) record(a *answer) map[string]any {
	s.Helper()
	return s.recordOf(a.Header.Get("X-Request-Id"))
}

// recordOf waits for a request's record, which is written just after the answer's last byte.
func (s *scene) recordOf(id string) map[string]any {
	s.Helper()
	for range 5000 {
		if r := s.records.find("request_id", id); r != nil {
			return r
		}
		time.Sleep(time.Millisecond)
	}
	s.Fatalf("no record of request %q", id)
	return nil
}

// want fails unless the answer has the status and, where code is not "", our error code.
func (s *scene) want(a *answer, status int, code string) {
	s.Helper()
	if a.StatusCode != status || code != "" && a.code() != code {
		s.Fatalf("%d %s, want %d %s: %s", a.StatusCode, a.code(), status, code, a.body)
	}
}

// code is the error's code, "" where the answer is none of ours.
func (a *answer) code() string {
	var e struct{ Error struct{ Code string } }
	if a.Header.Get("X-Gateway-Error") != "true" || json.Unmarshal([]byte(a.body), &e) != nil {
		return ""
	}
	return e.Error.Code
}

// records are what the gateway wrote.
type records struct {
	mu   sync.Mutex
	text strings.Builder
	// discard keeps those of a benchmark from growing for ever.
	discard bool
}

func (r *records) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.discard {
		return len(line), nil
	}
	return r.text.Write(line)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// find returns the first line that has the member.
func (r *records) find(name string, value any) map[string]any {
	for line := range strings.Lines(r.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return map[string]any{"a line is no JSON": line}
		}
		if m[name] == value {
			return m
		}
	}
	return nil
}

// flat turns a record into sorted lines: name = JSON. What differs from run to run is left out.
func flat(record map[string]any) []string {
	var lines []string
	var walk func(prefix string, m map[string]any)
	walk = func(prefix string, m map[string]any) {
		for name, value := range m {
			switch name := prefix + name; name {
			case "time", "total_seconds", "first_byte_seconds", "httpRequest.latency", "httpRequest.remoteIp", "httpRequest.protocol", "token_sha256":
			default:
				if inner, ok := value.(map[string]any); ok {
					walk(name+".", inner)
					continue
				}
				if list, ok := value.([]any); ok && name == "attempts" {
					for _, a := range list {
						delete(a.(map[string]any), "seconds")
					}
				}
				b, _ := json.Marshal(value)
				lines = append(lines, fmt.Sprintf("%s = %s", name, b))
			}
		}
	}
	walk("", record)
	return lines
}

// accessTokens are tokentest's.
var accessTokens = regexp.MustCompile(`ya29\.c\.[A-Za-z0-9_-]+`)
