//go:build terraform

package delivery

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/sandbox"
)

const (
	project  = "acme-gateway-staging"
	number   = "123456789012"
	deployer = "gateway-deploy@" + project + ".iam.gserviceaccount.com"
	owner    = "owner@example.com"
	host     = "gateway-abcdef-ez.a.run.app"
	domain   = "llm.example.com" // of a load balancer before it
)

// google is Google Cloud under its real names, with OpenAI beside it. Functions that are deployed
// to it run.
type google struct {
	testing.TB
	*googleapis.Cloud
	internet *sandbox.Internet
	service  *sandbox.Service
	openAI   *upstreamtest.Server
	key      string      // of OpenAI
	closed   atomic.Bool // to those who don't come by the load balancer

	mu       sync.Mutex
	tokens   map[string]string // an account's access token
	programs map[[32]byte]string
}

func newGoogle(t testing.TB) *google {
	t.Helper()
	if !sandbox.Inside() {
		sandbox.Omit(t, "no namespaces are to be had here: deployments to Google's real names are not shown")
	}
	cloud, err := googleapis.New()
	if err != nil {
		t.Fatal(err)
	}
	internet, err := sandbox.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(internet.Close)
	g := &google{TB: t, Cloud: cloud, internet: internet, service: internet.Service(), key: "sk-" + rand.Text(), tokens: map[string]string{}, programs: map[[32]byte]string{}}
	t.Cleanup(g.service.Close)
	g.openAI = upstreamtest.New(func(key string) bool { return key == g.key })
	t.Cleanup(g.openAI.Close)
	address, err := url.Parse(g.openAI.URL)
	if err != nil {
		t.Fatal(err)
	}
	cloud.AddProject(project, 123456789012, "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com")
	cloud.Deploy = g.deploy
	internet.Serve("*.googleapis.com", cloud)
	internet.Serve("accounts.google.com", cloud)
	internet.Serve("api.openai.com", &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: address.Scheme, Host: address.Host})
	}})
	internet.Serve(domain, http.HandlerFunc(g.frontEnd))
	internet.Serve(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.closed.Load() {
			http.Error(w, "<html><title>404 Page not found</title>", http.StatusNotFound)
			return
		}
		g.frontEnd(w, r)
	}))
	return g
}

// token is an access token of the account.
func (g *google) token(account string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens[account] == "" {
		g.tokens[account] = "ya29." + rand.Text()
		g.Authorize(g.tokens[account], account)
	}
	return g.tokens[account]
}

func (g *google) metadata(account string) sandbox.Metadata {
	return sandbox.Metadata{
		Project: project, Number: number, Region: "europe-west4", Account: account,
		AccessToken: func([]string) (string, time.Duration, error) { return g.token(account), time.Hour, nil },
		IDToken:     func(audience string, _ bool) (string, error) { return g.IDToken(account, audience), nil },
	}
}

// deploy builds the function from its archive as Google's buildpack does, and starts it with what
// the function says and nothing else.
func (g *google) deploy(ctx context.Context, f googleapis.Function) (string, error) {
	var resource struct {
		ServiceConfig struct {
			ServiceAccountEmail string
			TimeoutSeconds      int
		}
	}
	if err := json.Unmarshal(f.Resource, &resource); err != nil {
		return "", err
	}
	program, err := g.build(ctx, g.TempDir(), f.Archive)
	if err != nil {
		return "", err
	}
	return "https://" + host, g.service.Deploy(ctx, sandbox.Revision{
		Program: program, Env: f.Env, Files: f.Files,
		Timeout:  time.Duration(resource.ServiceConfig.TimeoutSeconds) * time.Second,
		Metadata: g.metadata(resource.ServiceConfig.ServiceAccountEmail),
	})
}

// build builds an archive below dir, unless it has been built before.
func (g *google) build(ctx context.Context, dir string, archive []byte) (program string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := sha256.Sum256(archive)
	if g.programs[sum] != "" {
		return g.programs[sum], nil
	}
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return "", err
	}
	if program, err = buildpack.Build(ctx, files, dir); err == nil && g.programs != nil {
		g.programs[sum] = program
	}
	return program, err
}

// frontEnd lets everybody through where everybody may invoke, and nobody else: more is Google's.
func (g *google) frontEnd(w http.ResponseWriter, r *http.Request) {
	policy, err := g.Policy("projects/" + project + "/locations/europe-west4/services/gateway")
	if err == nil && slices.ContainsFunc(policy.Bindings, func(b googleapis.Binding) bool {
		return b.Role == "roles/run.invoker" && slices.Contains(b.Members, "allUsers")
	}) {
		g.service.ServeHTTP(w, r)
		return
	}
	http.Error(w, "<html><title>403 Forbidden</title>", http.StatusForbidden)
}

// add adds a version to a secret, as a person does.
func (g *google) add(secret, value string) {
	g.Helper()
	body := fmt.Sprintf(`{"payload":{"data":%q}}`, base64.StdEncoding.EncodeToString([]byte(value)))
	r, err := http.NewRequest("POST", "https://secretmanager.googleapis.com/v1/projects/"+project+"/secrets/"+secret+":addVersion", strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token(owner))
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		g.Fatal(err)
	}
	defer answer.Body.Close()
	if said, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		g.Fatalf("%s: %s", answer.Status, said)
	}
}

func decode(t testing.TB, r io.Reader, v any) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(v); err != nil {
		t.Fatal(err)
	}
}
