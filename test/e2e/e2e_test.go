//go:build e2e

// Package e2e runs the function as it is shipped, from the archive through the buildpack's steps, as
// Cloud Run would, against the real parts that can be had on one machine: Keycloak as the identity
// provider, the providers' SDKs, two libraries upon them, curl, and the programs of docs/clients as
// clients, and aimock as the LLM provider. For Google's Secret Manager, for token endpoints, for what
// aimock doesn't do (Vertex AI, Azure, what a provider stores, what else a request must hold), and for
// platforms that vouch for their workloads (GitHub, GitLab, Google's metadata server, a cluster), stand
// their doubles.
//
// Everything listens on loopback. What the parts need is fetched once, from their registries, into
// .cache/e2e.
package e2e

import (
	"context"
	"crypto/rand"
	"flag"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/program"
)

// TestMain lets all parallel tests run at once, whatever the number of cores: they wait more than
// they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "64")
	os.Exit(m.Run())
}

func TestTheFunction(t *testing.T) {
	if err := needed(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if deadline, ok := t.Deadline(); ok { // leave time to stop what was started
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Minute))
		defer cancel()
	}
	p := startParts(t, ctx)
	t.Run("while all is well", func(t *testing.T) {
		for name, client := range clients {
			t.Run("serves "+name, func(t *testing.T) {
				t.Parallel()
				p.serves(t, ctx, client)
			})
		}
		t.Run("follows the issuer's keys", func(t *testing.T) {
			t.Parallel()
			p.followsKeys(t, ctx)
		})
		t.Run("serves the programs of docs/clients", func(t *testing.T) {
			t.Parallel()
			p.servesPages(t, ctx)
		})
		t.Run("refuses what could be read in two ways", func(t *testing.T) {
			t.Parallel()
			p.refuses(t, ctx)
		})
	})
	t.Run("keeps to limits over three instances", func(t *testing.T) { p.keepsToLimits(t, ctx) })
	t.Run("while Keycloak is down", func(t *testing.T) { p.outlivesKeycloak(t, ctx) })
}

// parts are what all scenes share.
type parts struct {
	// program is the built function.
	program  string
	keycloak *keycloak
	// aimock is its URL, without /v1.
	aimock string
	redis  program.Redis
}

func startParts(t *testing.T, ctx context.Context) *parts {
	p := &parts{}
	g, starting := errgroup.WithContext(ctx)
	together := func(name string, start func() error) {
		g.Go(func() error {
			begun := time.Now()
			err := start()
			t.Logf("%s: %.1f s", name, time.Since(begun).Seconds())
			return err
		})
	}
	together("function", func() (err error) { p.program, err = buildpack.BuildRepository(starting, "../..", t.TempDir()); return })
	together("Keycloak", func() (err error) { p.keycloak, err = startKeycloak(t, starting); return })
	together("aimock", func() (err error) { p.aimock, err = startAimock(t, starting); return })
	together("Redis", func() (err error) { p.redis, err = cache.Redis(starting); return })
	together("docs/clients", func() error { return installForPages(starting) })
	for name, c := range clients {
		together(name, func() error { return c.install(starting) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return p
}

// scene is an instance of the function between parts of its own.
type scene struct {
	*instance
	secrets *secrettest.Server
	tokens  *tokentest.Server
	// key is the service account's, keys those of upstreams.
	key  []byte
	keys map[string]string
	// upstreams stands before aimock and the doubles.
	upstreams *checkpoint

	program   string
	addresses map[string]string
	// files are the configuration's and the policies' in testdata, without their endings.
	files string
}

// instance is a running function.
type instance struct {
	*program.Logged
	url string
}

// scene starts the function for clients of the issuer, whose keys are found as jwks says (in YAML).
func (p *parts) scene(t *testing.T, ctx context.Context, issuer, jwks string) *scene {
	s := p.prepare(t, issuer, jwks)
	s.instance = s.start(t, ctx)
	return s
}

// prepare does all that scene does but start the function.
func (p *parts) prepare(t *testing.T, issuer, jwks string) *scene {
	s := &scene{secrets: secrettest.New(), tokens: tokentest.New(), keys: map[string]string{}, program: p.program, files: "gateway"}
	t.Cleanup(s.secrets.Close)
	t.Cleanup(s.tokens.Close)
	s.key = s.tokens.ServiceAccountKey()
	s.secrets.Add("projects/acme/secrets/vertex-key", s.key)
	s.secrets.Add("projects/acme/secrets/entra", []byte(s.tokens.ClientSecret()))
	for _, name := range []string{"azure", "anthropic", "gemini"} {
		s.keys[name] = "e2e-key-" + rand.Text()
		s.secrets.Add("projects/acme/secrets/"+name, []byte(s.keys[name]))
	}
	s.upstreams = newCheckpoint(t, s.providers(t, p.aimock))
	s.addresses = map[string]string{
		"ISSUER":         issuer,
		"JWKS":           jwks,
		"SECRET":         "projects/acme/secrets/vertex-key/versions/latest",
		"SECRET_MANAGER": s.secrets.URL,
		"ENTRA":          s.tokens.ClientTokenURL(),
		"ENTRA_CLIENT":   tokentest.ClientID,
		"UPSTREAMS":      s.upstreams.URL,
	}
	return s
}

// providers are the upstreams, by the names that the configuration gives them.
func (s *scene) providers(t *testing.T, aimock string) map[string]provider {
	token := s.tokens.Valid
	key := func(name string) func(string) bool {
		return func(key string) bool { return key == s.keys[name] }
	}
	serve := func(double *upstreamtest.Server) string {
		t.Cleanup(double.Close)
		u, err := url.Parse(double.URL)
		if err != nil {
			t.Fatal(err)
		}
		return "http://" + u.Host
	}
	return map[string]provider{
		"openai":           {aimock, "Authorization", token},
		"platform":         {serve(upstreamtest.New(token)), "Authorization", token},
		"azure":            {serve(upstreamtest.NewAzure(token)), "Authorization", token},
		"azure-key":        {serve(upstreamtest.NewAzure(key("azure"))), "Api-Key", key("azure")},
		"anthropic":        {serve(upstreamtest.NewAnthropic(key("anthropic"))), "X-Api-Key", key("anthropic")},
		"anthropic-aimock": {aimock, "X-Api-Key", key("anthropic")},
		"gemini":           {serve(upstreamtest.NewGemini(key("gemini"))), "X-Goog-Api-Key", key("gemini")},
		"gemini-aimock":    {aimock, "X-Goog-Api-Key", key("gemini")},
		"vertex":           {serve(upstreamtest.NewVertex(token, "acme", "europe-west4")), "Authorization", token},
	}
}

// start starts another instance of the function in the environment that Cloud Run gives it
// (cloud.google.com/run/docs/container-contract#services-env-vars) and nothing else.
func (s *scene) start(t *testing.T, ctx context.Context) *instance {
	dir := t.TempDir()
	for _, ending := range []string{".yaml", ".cedar"} {
		text, err := os.ReadFile(filepath.Join("testdata", s.files+ending))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(os.Expand(string(text), func(name string) string { return s.addresses[name] }))
		if err := os.WriteFile(filepath.Join(dir, "gateway"+ending), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p, err := program.Log(t, "function", []string{
		"K_SERVICE=gateway", "K_REVISION=gateway-00001-e2e", "K_CONFIGURATION=gateway",
		"FUNCTION_TARGET=Gateway", "FUNCTION_SIGNATURE_TYPE=http",
		"PORT=" + port, "GATEWAY_CONFIG=" + filepath.Join(dir, "gateway.yaml"),
	}, s.program)
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{p, "http://127.0.0.1:" + port}
	if err := p.Ready(ctx, i.url+"/health"); err != nil {
		t.Fatal(err)
	}
	return i
}
