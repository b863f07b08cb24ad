package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	_ "embed"

	"github.com/go-jose/go-jose/v4"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/program"
)

// gateway is this repository's function, built from the upload's archive as Google does, with all features on.
func gateway() *candidate {
	return &candidate{
		letter: "c", key: "gateway", name: "this gateway, all features on", short: "this gateway",
		install: func(ctx context.Context, c *candidate) (err error) {
			if c.version, err = output(ctx, "git", "describe", "--always", "--dirty"); err != nil {
				return err
			}
			return buildFunction(ctx)
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			w, err := newWorld(upstream, setting{})
			if err != nil {
				return nil, err
			}
			i, err := w.start(ctx)
			if err != nil {
				w.Close()
				return nil, err
			}
			i.close = w.Close
			return i, nil
		},
	}
}

// function is the program that buildFunction makes.
var function = filepath.Join(bin, "function")

func buildFunction(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-function-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	built, err := buildpack.BuildRepository(ctx, ".", dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	return program.Run(ctx, ".", nil, "cp", built, function)
}

const (
	clientID = "data-pipeline"
	keyName  = "projects/bench/secrets/vertex-key"
)

//go:embed gateway.yaml
var configuration string

// setting is what a measurement changes; the zero value is the ordinary world.
type setting struct {
	// refresh is the age at which secrets are read again; 0 is the default.
	refresh time.Duration
	// late is put before each double, and before the upstream.
	late func(name, url string) (front string, err error)
}

// world is what the gateway is between: an issuer whose tokens are RS256, a Secret Manager and a token
// endpoint, all in this process, and a folder with its configuration.
type world struct {
	issuer  *issuertest.Issuer
	secrets *secrettest.Server
	tokens  *tokentest.Server
	dir     string
}

func newWorld(upstream string, s setting) (*world, error) {
	w := &world{issuer: issuertest.New(), secrets: secrettest.New(), tokens: tokentest.New()}
	if err := w.configure("http://"+upstream, s); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *world) configure(upstream string, s setting) (err error) {
	if s.late != nil {
		path := strings.TrimPrefix(w.issuer.URL, origin(w.issuer.URL))
		for _, part := range []struct {
			name string
			url  *string
		}{{"issuer", &w.issuer.URL}, {"Secret Manager", &w.secrets.URL}, {"token endpoint", &w.tokens.URL}, {waitUpstream, &upstream}} {
			if *part.url, err = s.late(part.name, origin(*part.url)); err != nil {
				return err
			}
		}
		w.issuer.URL += path
	}
	w.issuer.AddKey(issuertest.NewKey(jose.RS256))
	w.issuer.AddClient(issuertest.Client{ID: clientID, Audience: []string{"llm-gateway"}, Groups: []string{"data-enrichment-team", "read-only-models"}, Lifetime: 2 * time.Hour})
	w.secrets.Add(keyName, w.tokens.ServiceAccountKey())
	if w.dir, err = os.MkdirTemp("", "bench-gateway-"); err != nil {
		return err
	}
	var yaml bytes.Buffer
	facts := map[string]any{"Issuer": w.issuer.URL, "SecretManager": w.secrets.URL, "Upstream": upstream, "Refresh": s.refresh}
	if err := template.Must(template.New("").Parse(configuration)).Execute(&yaml, facts); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "gateway.yaml"), yaml.Bytes(), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, "gateway.cedar"), []byte(policies()), 0o600)
}

// origin is a URL without its path.
func origin(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// start starts the function in the environment that Cloud Run gives it.
func (w *world) start(ctx context.Context) (*instance, error) {
	headers := map[string]string{"Authorization": "Bearer " + w.issuer.Token(clientID)}
	return startOurs(ctx, "gateway", headers, function, w.environment()...)
}

func (w *world) environment() []string {
	return []string{"K_SERVICE=gateway", "K_REVISION=gateway-00001-bench", "K_CONFIGURATION=gateway",
		"FUNCTION_TARGET=Gateway", "FUNCTION_SIGNATURE_TYPE=http", "GATEWAY_CONFIG=" + filepath.Join(w.dir, "gateway.yaml")}
}

func (w *world) Close() {
	w.issuer.Close()
	w.secrets.Close()
	w.tokens.Close()
	if w.dir != "" {
		os.RemoveAll(w.dir)
	}
}

// policies are 20: those that decide the calls of a run, and those of other teams.
func policies() string {
	var b strings.Builder
	b.WriteString(`@id("enrichment-uses-gpt-4-turbo")
permit (principal in Group::"data-enrichment-team", action in Action::"inference", resource == Model::"gpt-4-turbo");

@id("read-only-never-fine-tunes")
forbid (principal in Group::"read-only-models", action in Action::"fine_tuning", resource);

@id("nobody-asks-for-too-much")
forbid (principal, action in Action::"inference", resource) when { context has max_output_tokens && context.max_output_tokens > 100000 };

@id("contractors-never-stream")
forbid (principal in Group::"contractors", action in Action::"inference", resource) when { context.stream };
`)
	for i := range 16 {
		fmt.Fprintf(&b, "\n@id(\"team-%02d\")\npermit (principal in Group::\"team-%02d\", action in Action::\"inference\", resource in Upstream::\"openai\");\n", i, i)
	}
	return b.String()
}
