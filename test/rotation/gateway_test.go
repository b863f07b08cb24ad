//go:build terraform

package rotation_test

import (
	"bytes"
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
	"llmgateway.dev/gateway/test/sandbox"
)

// Access tokens live for two seconds, and secrets are read again after one, so that in each phase instances
// exchange keys; an hour's token would hide that its key is gone.
const (
	life   = 2 * time.Second
	aWhile = 2 * life
)

const gatewayYAML = `
issuers:
  - {url: $ISSUER, audiences: [llm-gateway]}
policies: {files: [gateway.cedar]}
credentials:
  upstream:
    service_account_key:
      from: {secret_manager: $SECRET/versions/latest}
      scopes: [https://www.googleapis.com/auth/cloud-platform]
secret_manager: {refresh: 1s}
upstreams:
  models: {kind: openai, base_url: $MODELS, credential: upstream}
models:
  gpt: {targets: [{upstream: models, model: gpt}]}
default_upstream: models
`

// gateway is one instance, and its only client.
type gateway struct {
	testing.TB
	url    string
	issuer *issuertest.Issuer
	models *upstreamtest.Server
}

// gateway starts an instance that reads the rotation's secret.
func (r *rotation) gateway() *gateway {
	r.Helper()
	g := &gateway{TB: r.TB, issuer: issuertest.New(), models: upstreamtest.New(r.valid)}
	g.issuer.AddClient(issuertest.Client{ID: "pipeline", Audience: []string{"llm-gateway"}})
	dir := r.TempDir()
	for name, text := range map[string]string{
		"gateway.yaml":  strings.NewReplacer("$ISSUER", g.issuer.URL, "$SECRET", r.secret, "$MODELS", g.models.URL).Replace(gatewayYAML),
		"gateway.cedar": `@id("all") permit (principal, action, resource);`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			r.Fatal(err)
		}
	}
	c, faults := config.Load(filepath.Join(dir, "gateway.yaml"))
	if len(faults) > 0 {
		r.Fatal(faults)
	}
	var log bytes.Buffer
	handler, err := function.Build(c, &log)
	if err != nil {
		r.Fatal(err)
	}
	server := httptest.NewServer(handler)
	g.url = server.URL
	r.Cleanup(func() {
		server.Close()
		g.models.Close()
		g.issuer.Close()
		r.leaks(r, "the gateway's log", log.Bytes())
	})
	return g
}

// call is an error unless the model answers.
func (g *gateway) call() error {
	req, err := http.NewRequest(http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(`{"model":"gpt","messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+g.issuer.Token("pipeline"))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// key is the id of the key that made the token of the last call.
func (g *gateway) key(r *rotation) string {
	received := g.models.Received()
	token := strings.TrimPrefix(received[len(received)-1].Header.Get("Authorization"), "Bearer ")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tokens[token].key
}

func TestNoCallFailsWhileTheKeyIsReplaced(t *testing.T) {
	r := newRotation(t, "served-key")
	r.internet()
	old, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)

	busy, asleep := r.gateway(), r.gateway()
	var calls, failures atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			calls.Add(1)
			if err := busy.call(); err != nil {
				failures.Add(1)
				t.Error(err)
			}
		}
	}()
	defer func() { close(done); <-ended }()
	if err := asleep.call(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(aWhile)
	if got := busy.key(r); got != old {
		t.Fatalf("before, calls are made with %s, want %s", got, old)
	}

	r.does(nil, "Created version [2]")
	r.has(old, r.latest())
	time.Sleep(aWhile)
	if got := busy.key(r); got != r.latest() {
		t.Fatalf("after the refresh calls are made with %s, want the new key %s", got, r.latest())
	}

	r.pass(13 * time.Hour)
	r.does(nil, "deleted key ["+old+"]")
	r.has(r.latest())
	time.Sleep(aWhile)
	if calls.Load() < 100 || failures.Load() > 0 {
		t.Errorf("%d of %d calls failed", failures.Load(), calls.Load())
	}
	// It was frozen all the while, as Cloud Run does to idle instances: it holds the old key, and a token that has expired.
	if err := asleep.call(); err != nil {
		t.Errorf("the first call after a long sleep: %v", err)
	}
}

// internet leads Google's names to the double, for an instance whose account may do everything.
func (r *rotation) internet() {
	r.Helper()
	if !sandbox.Inside() {
		sandbox.Omit(r, "there is no sandbox here: the gateway's calls to Google can't be led to the double")
	}
	n, err := sandbox.Open()
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(n.Close)
	for _, name := range []string{"secretmanager.googleapis.com", "oauth2.googleapis.com"} {
		n.Serve(name, r.google)
	}
	n.Metadata(sandbox.Metadata{Project: project, Number: "123456789012", Region: "europe-west4", Account: "run@" + project + ".iam.gserviceaccount.com",
		AccessToken: func([]string) (string, time.Duration, error) { return r.google.token, time.Hour, nil }})
	r.mu.Lock()
	r.life = life
	r.mu.Unlock()
}
