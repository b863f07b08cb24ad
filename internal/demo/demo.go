// Package demo is the gateway's whole story on one machine: it composes an identity provider, a
// token endpoint, a Secret Manager and a provider, all of them the doubles of the tests, with the
// real gateway between them, plays a client against it, and prints what the client and the operator see.
// A real provider may stand in the double's place; then there is no access token to exchange for.
//
// Each step checks what it shows, so that a story that went otherwise is an error.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

var (
	//go:embed gateway.yaml
	configuration string
	//go:embed gateway.cedar
	policies []byte
)

// Build makes the gateway: function.Build.
type Build func(c *config.Config, records io.Writer) (http.Handler, error)

const (
	clientID     = "data-pipeline"
	clientSecret = "not-a-secret-here"
	keyName      = "projects/demo/secrets/vertex-key"
)

// Options say how the story is played; none is needed.
type Options struct {
	// Once ends it after its last step. Otherwise everything stays up.
	Once bool
	// Upstream is the base URL of an OpenAI-compatible server that answers instead of the double, with
	// the key in the environment variable OPENAI_API_KEY if it is set; Model is its model that
	// gpt-4-turbo stands for, or "" for the first it lists.
	Upstream, Model string
}

// stage is everything that runs.
type stage struct {
	out      io.Writer
	dir      string
	issuer   *issuertest.Issuer
	upstream upstream
	gateway  *httptest.Server
	records  records
	// google is nil where the upstream is real.
	google *google
}

// google is what stands for the cloud: who takes an access token, who grants it, and who keeps the
// key that it is granted for.
type google struct {
	model   *upstreamtest.Server
	tokens  *tokentest.Server
	secrets *secrettest.Server
}

// Run plays the story to out. Then it keeps everything up until ctx ends, unless it is played once. The
// error is the first step that went otherwise than told.
func Run(ctx context.Context, out io.Writer, build Build, o Options) error {
	s := &stage{out: out}
	if o.Upstream != "" {
		var err error
		if s.upstream, err = realUpstream(ctx, o); err != nil {
			return err
		}
	} else {
		s.google = newGoogle()
		s.upstream = upstream{url: s.google.model.URL, model: "gpt-4-turbo-2024-04-09"}
	}
	defer s.close()
	if err := s.setUp(build); err != nil {
		return fmt.Errorf("set the stage: %w", err)
	}
	s.introduce()
	if err := s.play(ctx); err != nil {
		return err
	}
	if o.Once {
		return nil
	}
	s.printCommands()
	s.records.follow(out)
	<-ctx.Done()
	return nil
}

func (s *stage) setUp(build Build) (err error) {
	s.issuer = issuertest.New()
	s.issuer.AddClient(issuertest.Client{ID: clientID, Secret: clientSecret, Audience: []string{"llm-gateway"},
		Groups: []string{"data-enrichment-team", "read-only-models"}})

	gateway := httptest.NewUnstartedServer(nil) // its address is in its own configuration
	if s.dir, err = os.MkdirTemp("", "llm-gateway-demo-"); err != nil {
		return err
	}
	facts := map[string]any{"Gateway": "http://" + gateway.Listener.Addr().String(), "Issuer": s.issuer.URL, "Upstream": strconv.Quote(s.upstream.url), "Model": strconv.Quote(s.upstream.model), "Key": s.upstream.key != ""}
	if s.google != nil {
		facts["SecretManager"] = s.google.secrets.URL
	}
	var doc bytes.Buffer
	if err := template.Must(template.New("").Parse(configuration)).Execute(&doc, facts); err != nil {
		return err
	}
	file := filepath.Join(s.dir, "gateway.yaml")
	if err := os.WriteFile(file, doc.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "gateway.cedar"), policies, 0o600); err != nil {
		return err
	}
	c, faults := config.Load(file)
	if len(faults) > 0 {
		return faults
	}
	handler, err := build(c, &s.records)
	if err != nil {
		return err
	}
	gateway.Config.Handler = handler
	gateway.Start()
	s.gateway = gateway
	return nil
}

func newGoogle() *google {
	g := &google{tokens: tokentest.New(), secrets: secrettest.New()}
	g.secrets.Add(keyName, g.tokens.ServiceAccountKey())
	g.model = upstreamtest.New(g.tokens.Valid)
	return g
}

func (s *stage) close() {
	if s.gateway != nil {
		s.gateway.CloseClientConnections()
		s.gateway.Close()
	}
	if s.google != nil {
		s.google.model.Close()
		s.google.secrets.Close()
		s.google.tokens.Close()
	}
	s.issuer.Close()
	os.RemoveAll(s.dir)
}

// records collects what the gateway writes, line by line.
type records struct {
	mu    sync.Mutex
	lines []string
	out   io.Writer
}

// Write takes one record: slog writes each with one call.
func (r *records) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSpace(string(line)))
	if r.out != nil {
		r.out.Write(line)
	}
	return len(line), nil
}

// all lists the records so far.
func (r *records) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// follow prints records as they come from now on.
func (r *records) follow(out io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = out
}
