package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

const (
	key       = "sk-smoke"
	intended  = `@id("deployer") permit (principal in Group::"deployers", action, resource == Model::"cheap");`
	everybody = `@id("everything") permit (principal, action, resource);`
	nobody    = `@id("nothing") permit (principal in Group::"others", action, resource);`
)

// gateway is the real one between doubles, with this policy, and a token of the deployer.
func gateway(t *testing.T, policy string) (handler http.Handler, token string) {
	t.Helper()
	issuer, provider := issuertest.New(), upstreamtest.New(func(k string) bool { return k == key })
	t.Cleanup(issuer.Close)
	t.Cleanup(provider.Close)
	issuer.AddClient(issuertest.Client{ID: "deployer", Groups: []string{"deployers"}, Audience: []string{"llm-gateway"}})
	t.Setenv("SMOKE_KEY", key)
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	for name, text := range map[string]string{"gateway.cedar": policy, "gateway.yaml": `
issuers: [{url: ` + issuer.URL + `, audiences: [llm-gateway]}]
policies: {files: [gateway.cedar]}
credentials: {provider: {api_key: {from: {env: SMOKE_KEY}}}}
upstreams: {provider: {kind: openai, base_url: ` + provider.URL + `, credential: provider}}
models:
  cheap: {targets: [{upstream: provider, model: gpt-4o-mini}]}
  dear: {targets: [{upstream: provider, model: gpt-4-turbo}]}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, faults := config.Load(file)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	handler, err := function.Build(c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return handler, issuer.Token("deployer")
}

// asked asks a handler as a deployment would.
func asked(t *testing.T, h http.Handler, token string) (told string, err error) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c := caller{url: server.URL, token: token, client: server.Client(), pause: 10 * time.Millisecond}
	var b strings.Builder
	err = c.ask(ctx, "cheap", "dear", &b)
	return b.String(), err
}

func TestAGatewayThatAllowsDeniesAndRefusesPasses(t *testing.T) {
	h, token := gateway(t, intended)
	told, err := asked(t, h, token)
	if err != nil || strings.Count(told, "\n") != 3 {
		t.Errorf("%v\n%s", err, told)
	}
}

func TestWhatADeploymentMustNotDoFails(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		spoil  func(http.Handler, string) http.Handler
		want   string
	}{
		"a policy that allows everything": {policy: everybody, want: "a call that is denied (dear): was answered 200 OK"},
		"a policy that allows nothing":    {policy: nobody, want: "a call that is allowed (cheap): 403 Forbidden"},
		"a gateway that asks for no token": {policy: intended, want: "a call without a token: was answered 200 OK", spoil: func(h http.Handler, token string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Authorization", "Bearer "+token)
				h.ServeHTTP(w, r)
			})
		}},
		"a stream that is cut": {policy: intended, want: "without [DONE]", spoil: func(h http.Handler, _ string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				body, _, _ := strings.Cut(rec.Body.String(), "data: [DONE]")
				w.WriteHeader(rec.Code)
				io.WriteString(w, body)
			})
		}},
		"another program at the address": {policy: intended, want: "gave up: 403 Forbidden", spoil: func(http.Handler, string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "<html>Your client does not have permission</html>", http.StatusForbidden)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h, token := gateway(t, c.policy)
			if c.spoil != nil {
				h = c.spoil(h, token)
			}
			if told, err := asked(t, h, token); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q\n%s", err, c.want, told)
			}
		})
	}
}

// Who was just allowed to invoke is refused by Google's front end for a while.
func TestARefusalByTheFrontEndIsAskedAgain(t *testing.T) {
	h, token := gateway(t, intended)
	var calls atomic.Int32
	_, err := asked(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= 3 {
			http.Error(w, "<html>Error: Forbidden</html>", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}), token)
	if err != nil || calls.Load() != 6 {
		t.Error(fmt.Sprint(calls.Load(), " calls: "), err)
	}
}

// Where not everybody may invoke, Google's front end reads this header and leaves Authorization alone.
func TestTheFrontEndsTokenHasItsOwnHeader(t *testing.T) {
	h, token := gateway(t, intended)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Serverless-Authorization") != "Bearer pass" {
			http.Error(w, "not invoked", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	c := caller{url: server.URL, token: token, pass: "pass", client: server.Client()}
	if err := c.ask(t.Context(), "cheap", "dear", io.Discard); err != nil {
		t.Error(err)
	}
}
