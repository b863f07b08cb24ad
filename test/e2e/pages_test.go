//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"llmgateway.dev/gateway/test/pages"
	"llmgateway.dev/gateway/test/program"
)

const (
	// pagesRealm has a client for each program of docs/clients, so that each has a secret to rotate.
	pagesRealm = "clients-realm"
	// life is that of its tokens, in seconds: short enough that a program outlives several.
	life = 10
)

// example is a program that a page of docs/clients shows: it answers each line of standard input.
type example struct {
	page, file string
	// install returns what runs the file, and may put into its folder what the page tells the reader to install.
	install func(ctx context.Context, dir string) (command []string, err error)
	// further is a script that is run at the end, and prints an object in JSON.
	further string
	// inEnvironment is where the secret is, and not in a file: a rotated one takes a restart.
	inEnvironment bool
}

// examples are by the names of their clients in Keycloak.
var examples = map[string]example{
	"python-openai":       {page: "python.md", file: "ask_openai.py", install: inPython("openai", "3.54.0")},
	"python-openai-async": {page: "python.md", file: "ask_openai_async.py", install: inPython("openai", "3.54.0")},
	"python-anthropic":    {page: "python.md", file: "ask_anthropic.py", install: inPython("anthropic", "2.12.0")},
	"python-vertex":       {page: "python.md", file: "ask_vertex.py", install: inPython("google-genai", "3.4.0")},
	"python-gemini":       {page: "python.md", file: "ask_gemini.py", install: inPython("google-genai", "3.4.0")},
	"python-langchain":    {page: "python.md", file: "ask_langchain.py", install: inPython("langchain-openai", "1.7.3")},
	"python-httpx":        {page: "python.md", file: "ask_httpx.py", install: inPython("httpx", "0.28.1")},
	"python-environment":  {page: "python.md", file: "ask_httpx.py", install: inPython("httpx", "0.28.1"), inEnvironment: true},
	"gateway-token":       {page: "curl.md", file: "ask_with_gateway.sh", further: "whoami.sh", install: inBash},
	"curl":                {page: "curl.md", file: "ask_with_curl.sh", install: inBash},
	"curl-config":         {page: "curl.md", file: "ask_with_config.sh", install: inBash, inEnvironment: true},
	"go":                  {page: "go.md", file: "main.go", install: inGo},
	"java":                {page: "java.md", file: "Ask.java", install: inJava},
	"node-openai":         {page: "node.md", file: "ask_openai.mjs", install: inNode("openai", "6.49.0")},
	"node-anthropic":      {page: "node.md", file: "ask_anthropic.mjs", install: inNode("@anthropic-ai/sdk", "1.12.0")},
}

func inPython(name, version string) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, _ string) ([]string, error) {
		python, err := installPython(ctx, name, version)
		return []string{python}, err
	}
}

func inBash(context.Context, string) ([]string, error) { return []string{"bash"}, nil }

func inNode(name, version string) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, dir string) ([]string, error) {
		installed, err := installPackage(ctx, name, version)
		if err != nil {
			return nil, err
		}
		modules, _, _ := strings.Cut(installed, "/node_modules/")
		return []string{"node"}, os.Symlink(modules+"/node_modules", filepath.Join(dir, "node_modules"))
	}
}

// installForPages installs what takes long, while Keycloak starts.
func installForPages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, install := range []func(context.Context) (string, error){installGoModule, installJackson, installValidator} {
		g.Go(func() error {
			_, err := install(ctx)
			return err
		})
	}
	g.Go(func() error {
		_, err := installPython(ctx, "httpx", "0.28.1")
		return err
	})
	return g.Wait()
}

// installGoModule makes a module that has the packages of go.md, and builds the large one into Go's cache.
func installGoModule(ctx context.Context) (dir string, err error) {
	return cache.Install("go-openai-3.98.0-oauth2-0.38.0", func(dir string) error {
		for _, argv := range [][]string{
			{"go", "mod", "init", "ask"},
			{"go", "get", "github.com/openai/openai-go/v3@v3.98.0", "golang.org/x/oauth2@v0.38.0"},
			{"go", "build", "-mod=mod", "github.com/openai/openai-go/v3"},
		} {
			if err := program.Run(ctx, dir, nil, argv...); err != nil {
				return err
			}
		}
		return nil
	})
}

// inGo builds the program in a module of its own.
func inGo(ctx context.Context, dir string) ([]string, error) {
	module, err := installGoModule(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	return []string{"./ask"}, program.Run(ctx, dir, nil, "go", "build", "-mod=mod", "-o", "ask", ".")
}

// installJackson has Maven do what java.md says.
func installJackson(ctx context.Context) (dir string, err error) {
	page, err := pages.Read("../../docs/clients", "java.md")
	if err != nil {
		return "", err
	}
	pom, err := page.File("pom.xml")
	if err != nil {
		return "", err
	}
	return cache.Install(fmt.Sprintf("java-%.8x", sha256.Sum256([]byte(pom.Text))), func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom.Text), 0o644); err != nil {
			return err
		}
		repository := filepath.Join(dir, "m2")
		err := program.Run(ctx, dir, nil, "mvn", "--quiet", "--batch-mode", "-Dmaven.repo.local="+repository,
			"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DoutputDirectory=lib")
		if err != nil {
			return err
		}
		return os.RemoveAll(repository)
	})
}

func inJava(ctx context.Context, dir string) ([]string, error) {
	installed, err := installJackson(ctx)
	if err != nil {
		return nil, err
	}
	return []string{"java", "-cp", "lib/*"}, os.Symlink(filepath.Join(installed, "lib"), filepath.Join(dir, "lib"))
}

// servesPages runs what docs/clients shows, each program for as long as several of its tokens live and beyond the
// rotation of its secret.
func (p *parts) servesPages(t *testing.T, ctx context.Context) {
	checkAllRun(t)
	ids := p.keycloak.logIn(t, ctx).createClients(t)
	s := p.prepare(t, p.keycloak.issuer(pagesRealm), "{}")
	s.files = "clients"
	platforms := startPlatforms(t, s)
	s.instance = s.start(t, ctx)
	gateway := buildGateway(t, ctx)

	t.Run("programs", func(t *testing.T) {
		for name, example := range examples {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := &reader{scene: s, ctx: ctx, example: example, gateway: gateway, dir: t.TempDir(), client: name}
				r.install(t)
				r.secret = p.keycloak.logIn(t, ctx).secret(t, http.MethodGet, ids[name])
				r.keep(t)
				talk := r.start(t)
				talk.keepOn(t, 3*life*time.Second)

				r.secret = p.keycloak.logIn(t, ctx).secret(t, http.MethodPost, ids[name])
				if example.inEnvironment {
					talk.end(t)
					talk = r.start(t)
				} else {
					r.keep(t)
				}
				talk.keepOn(t, 3*life*time.Second/2)
				talk.end(t)
				r.runFurther(t)
				s.checkCaller(t, s.addresses["ISSUER"]+"#"+name, 3)
			})
		}
		t.Run("kubernetes.md", func(t *testing.T) {
			t.Parallel()
			p.servesManifests(t, ctx, &reader{scene: s, ctx: ctx, gateway: gateway}, ids)
		})
		for _, pl := range platforms {
			t.Run(pl.page, func(t *testing.T) {
				t.Parallel()
				pl.serves(t, ctx, s)
				s.checkCaller(t, pl.issuer.URL+"#"+pl.client, pl.tokens)
			})
		}
	})

	// Some programs answer a 401 with another token. They should have had one before.
	s.Stop() // so that all is written
	refused := s.refusals(t)
	for _, pl := range platforms {
		if pl.refusal == http.StatusUnauthorized {
			refused--
		}
	}
	if refused > 0 {
		t.Errorf("%d calls came with tokens that had expired", refused)
	}
}

// checkAllRun notices a block with a file's name that nothing runs.
func checkAllRun(t *testing.T) {
	t.Helper()
	run := map[string]bool{ // beside the programs
		"python.md/gateway_token.py": true, "node.md/token.mjs": true, "java.md/pom.xml": true, // what the programs import
		"kubernetes.md/configmap.yaml": true, "kubernetes.md/deployment.yaml": true, "kubernetes.md/cronjob.yaml": true,
		"github-actions.md/enrich.yml": true, "github-actions.md/ask_github.py": true, "gitlab-ci.md/.gitlab-ci.yml": true,
		"google-cloud.md/ask_google.py": true, "google-cloud.md/ask_google.sh": true,
		"kubernetes-tokens.md/deployment.yaml": true, "kubernetes-tokens.md/ask_projected.py": true, "kubernetes-tokens.md/ask_projected.sh": true,
	}
	for _, p := range examples {
		run[p.page+"/"+p.file], run[p.page+"/"+p.further] = true, true
	}
	all, err := pages.ReadAll("../../docs/clients")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range all {
		for _, b := range page.Blocks {
			if b.File != "" && !run[page.Name+"/"+b.File] {
				t.Errorf("nothing runs %s of %s", b.File, page.Name)
			}
		}
	}
}

// reader is who does what a page says.
type reader struct {
	*scene
	ctx     context.Context
	example example
	// gateway is the folder of the command.
	gateway, dir   string
	client, secret string
	command        []string
}

func (r *reader) install(t *testing.T) {
	t.Helper()
	page := readPage(t, r.example.page)
	if _, err := page.File(r.example.file); err != nil {
		t.Fatal(err)
	}
	err := page.Write(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.command, err = r.example.install(r.ctx, r.dir); err != nil {
		t.Fatal(err)
	}
}

func readPage(t *testing.T, name string) pages.Page {
	t.Helper()
	page, err := pages.Read("../../docs/clients", name)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func (r *reader) secretFile() string { return filepath.Join(r.dir, "client-secret") }

// keep replaces the secret's file as Kubernetes does, by another one.
func (r *reader) keep(t *testing.T) {
	t.Helper()
	if r.example.inEnvironment {
		return
	}
	next := r.secretFile() + ".next"
	if err := os.WriteFile(next, []byte(r.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, r.secretFile()); err != nil {
		t.Fatal(err)
	}
}

// environment is what the pages tell the reader to set, and no more.
func (r *reader) environment() []string {
	env := []string{
		"PATH=" + r.gateway + ":" + os.Getenv("PATH"), "HOME=" + r.dir,
		"GATEWAY_URL=" + r.url,
		"GATEWAY_TOKEN_URL=" + r.addresses["ISSUER"] + "/protocol/openid-connect/token",
		"GATEWAY_CLIENT_ID=" + r.client,
	}
	if r.example.inEnvironment {
		return append(env, "GATEWAY_CLIENT_SECRET="+r.secret)
	}
	return append(env, "GATEWAY_CLIENT_SECRET_FILE="+r.secretFile())
}

func (r *reader) start(t *testing.T) *talk {
	t.Helper()
	return startTalk(t, r.ctx, r.dir, r.environment(), append(r.command, r.example.file)...)
}

func (r *reader) runFurther(t *testing.T) {
	t.Helper()
	if r.example.further == "" {
		return
	}
	cmd := program.Command(r.ctx, append(r.command, r.example.further)...)
	cmd.Dir, cmd.Env = r.dir, r.environment()
	out, err := cmd.Output()
	var object map[string]any
	if err != nil || json.Unmarshal(out, &object) != nil || len(object) < 2 {
		t.Errorf("%s: %v %s", r.example.further, err, out)
	}
}

// talk is a program that answers lines.
type talk struct {
	stdin  io.WriteCloser
	lines  chan string
	ended  chan error
	stderr *bytes.Buffer
	asked  int
}

func startTalk(t *testing.T, ctx context.Context, dir string, env []string, argv ...string) *talk {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	cmd := program.Command(ctx, argv...)
	cmd.Dir, cmd.Env = dir, env
	k := &talk{lines: make(chan string), ended: make(chan error, 1), stderr: &bytes.Buffer{}}
	cmd.Stderr = k.stderr
	var err error
	if k.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			select {
			case k.lines <- lines.Text():
			case <-ctx.Done():
			}
		}
		k.ended <- cmd.Wait()
	}()
	return k
}

// keepOn asks twice a second, for so long after an answer.
func (k *talk) keepOn(t *testing.T, d time.Duration) {
	t.Helper()
	k.ask(t)
	for begun := time.Now(); time.Since(begun) < d; {
		next := time.After(500 * time.Millisecond)
		k.ask(t)
		<-next
	}
}

func (k *talk) ask(t *testing.T) {
	t.Helper()
	k.asked++
	line := fmt.Sprintf("line %d", k.asked)
	if _, err := fmt.Fprintln(k.stdin, line); err != nil {
		t.Fatalf("line %d isn't read: %v\n%s", k.asked, err, program.Last(k.stderr.Bytes()))
	}
	select {
	case answer := <-k.lines:
		if answer != "You said: "+line {
			t.Fatalf("line %d is answered by %q", k.asked, answer)
		}
	case err := <-k.ended:
		t.Fatalf("ended at line %d: %v\n%s", k.asked, err, program.Last(k.stderr.Bytes()))
	case <-time.After(3 * time.Minute): // a machine with much else to do takes long to start a program
		t.Fatalf("line %d has no answer in three minutes", k.asked)
	}
}

// end ends what the program reads, and so the program.
func (k *talk) end(t *testing.T) {
	t.Helper()
	k.stdin.Close()
	select {
	case line := <-k.lines:
		t.Errorf("at the end it says %q", line)
	case err := <-k.ended:
		if err != nil {
			t.Errorf("%v\n%s", err, program.Last(k.stderr.Bytes()))
		}
	case <-time.After(time.Minute):
		t.Error("it doesn't end with its input")
	}
}

// pageRecord is what is read of an audit record.
type pageRecord struct {
	HTTPRequest struct{ Status int }
	Principal   string
	Token       string `json:"token_sha256"`
}

func (s *scene) records(t *testing.T) (all []pageRecord) {
	t.Helper()
	text, err := os.ReadFile(s.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("}\n")) {
			continue // the framework's blank ones, and one that is being written
		}
		var r pageRecord
		decode(t, line, &r)
		all = append(all, r)
	}
	return all
}

// checkCaller reads in the records that all calls of a client were served, and how many tokens they came with.
func (s *scene) checkCaller(t *testing.T, principal string, tokens int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range s.records(t) {
		if r.Principal != principal {
			continue
		}
		seen[r.Token] = true
		if r.HTTPRequest.Status != http.StatusOK {
			t.Errorf("a call was answered %d", r.HTTPRequest.Status)
		}
	}
	if len(seen) < tokens {
		t.Errorf("its calls came with %d tokens; the page should have asked for %d at least", len(seen), tokens)
	}
}

// refusals counts the tokens that were refused.
func (s *scene) refusals(t *testing.T) (n int) {
	t.Helper()
	for _, r := range s.records(t) {
		if r.HTTPRequest.Status == http.StatusUnauthorized {
			n++
		}
	}
	return n
}

// createClients makes the realm, and returns what its clients' ids are to the admin API.
func (a *administrator) createClients(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/realm.json")
	if err != nil {
		t.Fatal(err)
	}
	var realm map[string]any
	decode(t, text, &realm)
	realm["realm"], realm["accessTokenLifespan"] = pagesRealm, life
	mappers := realm["clients"].([]any)[0].(map[string]any)["protocolMappers"]
	var all, accounts []any
	names := append(slices.Collect(maps.Keys(examples)), manifests...)
	for _, name := range names {
		all = append(all, map[string]any{
			"clientId": name, "secret": rand.Text(), "publicClient": false, "standardFlowEnabled": false,
			"serviceAccountsEnabled": true, "protocolMappers": mappers,
		})
		accounts = append(accounts, map[string]any{
			"username": "service-account-" + name, "enabled": true, "serviceAccountClientId": name, "groups": []string{"/platform-team"},
		})
	}
	realm["clients"], realm["users"] = all, accounts
	a.send(t, http.MethodPost, "", realm)
	var registered []struct{ ID, ClientID string }
	decode(t, a.send(t, http.MethodGet, "/"+pagesRealm+"/clients", nil), &registered)
	ids := map[string]string{}
	for _, c := range registered {
		ids[c.ClientID] = c.ID
	}
	return ids
}

// secret gets a client's secret, or, by POST, makes another, after which the former is nobody's.
func (a *administrator) secret(t *testing.T, method, id string) string {
	t.Helper()
	var credential struct{ Value string }
	decode(t, a.send(t, method, "/"+pagesRealm+"/clients/"+id+"/client-secret", nil), &credential)
	return credential.Value
}

// buildGateway returns the folder of the command.
func buildGateway(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir := t.TempDir()
	if err := program.Run(ctx, "../..", nil, "go", "build", "-o", filepath.Join(dir, "gateway"), "./function/cmd/gateway"); err != nil {
		t.Fatal(err)
	}
	return dir
}
