//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// platformDouble stands for one that vouches for its workloads: a page of docs/clients, the issuer whose entry the page has,
// and what the platform runs.
type platformDouble struct {
	page   string
	issuer *issuertest.Issuer
	// claims are those that the platform's tokens have beside the registered ones, stranger what is otherwise for somebody
	// else's workload, and refusal how the gateway answers that.
	claims, stranger map[string]any
	refusal          int
	// client is its id in records, which must have so many tokens.
	client string
	tokens int
	run    func(t *testing.T, ctx context.Context, s *scene, pl *platformDouble)
}

// startPlatforms makes the doubles, and gives the scene the pages' issuers and policies. An entry is the page's but for
// where its issuer is, and for the clock: with the 30 s that the gateway forgives, a token of seconds would never expire.
func startPlatforms(t *testing.T, s *scene) []*platformDouble {
	t.Helper()
	all := []*platformDouble{
		{page: "github-actions.md", client: "acme/app", tokens: 3, refusal: 401, run: runWorkflow,
			claims: map[string]any{"sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_owner": "acme",
				"repository_owner_id": "4711", "ref": "refs/heads/main", "job_workflow_ref": "acme/app/.github/workflows/enrich.yml@refs/heads/main"},
			stranger: map[string]any{"repository_owner_id": "666"}},
		{page: "gitlab-ci.md", client: "acme/app", tokens: 1, refusal: 401, run: runPipeline,
			claims: map[string]any{"sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "namespace_path": "acme",
				"namespace_id": "4711", "ref": "main", "ref_protected": "true"},
			stranger: map[string]any{"namespace_id": "666"}},
		{page: "google-cloud.md", client: "enrichment@acme.iam.gserviceaccount.com", tokens: 3, refusal: 401, run: runOnGoogle,
			claims: map[string]any{"sub": "108234567890123456789", "azp": "108234567890123456789",
				"email": "enrichment@acme.iam.gserviceaccount.com", "email_verified": true},
			stranger: map[string]any{"email": "enrichment@other.iam.gserviceaccount.com"}},
		{page: "kubernetes-tokens.md", client: "system:serviceaccount:enrichment:worker", tokens: 3, refusal: 403, run: runPod,
			claims: map[string]any{"sub": "system:serviceaccount:enrichment:worker",
				"kubernetes.io": map[string]any{"namespace": "enrichment", "serviceaccount": map[string]any{"name": "worker"}}},
			stranger: map[string]any{"sub": "system:serviceaccount:other:worker", "kubernetes.io": map[string]any{"namespace": "other"}}},
	}
	var issuers []any
	var policies strings.Builder
	for _, pl := range all {
		pl.issuer = issuertest.New()
		t.Cleanup(pl.issuer.Close)
		page := readPage(t, pl.page)
		for _, fragment := range page.Of("yaml") {
			var config struct{ Issuers []map[string]any }
			if err := yaml.Unmarshal([]byte(fragment.Text), &config); err != nil || len(config.Issuers) != 1 {
				t.Fatalf("%s:%d: %d issuers, %v", pl.page, fragment.Line, len(config.Issuers), err)
			}
			entry := config.Issuers[0]
			for _, block := range page.Of("cedar") {
				policies.WriteString(strings.ReplaceAll(block.Text, fmt.Sprint(entry["url"]), pl.issuer.URL))
			}
			entry["url"], entry["clock_skew"] = pl.issuer.URL, "1s"
			if _, ok := entry["jwks"]; ok {
				entry["jwks"] = map[string]any{"url": pl.issuer.KeysURL()}
			}
			issuers = append(issuers, entry)
		}
	}
	var entries strings.Builder
	for _, entry := range issuers {
		text, err := json.Marshal(entry) // which is YAML too
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&entries, "  - %s\n", text)
	}
	s.addresses["PLATFORMS"], s.addresses["POLICIES"] = entries.String(), policies.String()
	return all
}

// token signs one for an audience.
func (pl *platformDouble) token(audience any, lives time.Duration, changes map[string]any) string {
	now := time.Now()
	claims := map[string]any{"iss": pl.issuer.URL, "aud": audience, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lives).Unix(), "jti": rand.Text()}
	maps.Copy(claims, pl.claims)
	maps.Copy(claims, changes)
	return pl.issuer.Sign(nil, claims)
}

func (pl *platformDouble) serves(t *testing.T, ctx context.Context, s *scene) {
	stranger := pl.token("llm-gateway", time.Minute, pl.stranger)
	body := []byte(`{"model": "gpt-4-turbo", "messages": [{"role": "user", "content": "line 1"}]}`)
	if answer := send(t, ctx, http.MethodPost, s.url+"/v1/chat/completions", stranger, body); answer.StatusCode != pl.refusal {
		t.Errorf("somebody else's workload is answered %d, want %d", answer.StatusCode, pl.refusal)
	}
	pl.run(t, ctx, s, pl)
}

// shell writes a script that reads what a job checks out from standard input, and returns its folder.
func shell(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script.sh"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/stdin", filepath.Join(dir, "questions.txt")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withPython is a folder with the files of the page and of python.md, and a Python with openai.
func withPython(t *testing.T, ctx context.Context, page string) (dir, python string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"python.md", page} {
		if err := readPage(t, name).Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	python, err := installPython(ctx, "openai", "3.54.0")
	if err != nil {
		t.Fatal(err)
	}
	return dir, python
}

func environment(s *scene, further ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "GATEWAY_URL=" + s.url}, further...)
}

// together lets programs answer lines at the same time, for as long as several tokens live.
func together(t *testing.T, starts ...func() *talk) {
	t.Helper()
	var all []*talk
	for _, start := range starts {
		all = append(all, start())
	}
	for _, k := range all {
		k.ask(t)
	}
	for begun := time.Now(); time.Since(begun) < 5*life*time.Second/2; {
		next := time.After(500 * time.Millisecond)
		for _, k := range all {
			k.ask(t)
		}
		<-next
	}
	for _, k := range all {
		k.end(t)
	}
}

// runWorkflow is GitHub's runner, and its double: docs.github.com/actions/reference/security/oidc.
func runWorkflow(t *testing.T, ctx context.Context, s *scene, pl *platformDouble) {
	credential := rand.Text()
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		audience := r.URL.Query()["audience"]
		if r.Method != http.MethodGet || r.Header.Get("Authorization") != "bearer "+credential && r.Header.Get("Authorization") != "Bearer "+credential ||
			r.URL.Query().Get("api-version") != "2.0" || len(audience) != 1 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": pl.token(audience[0], life*time.Second, nil)})
	}))
	defer github.Close()

	block, err := readPage(t, pl.page).File("enrich.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Env   map[string]string
			Steps []struct{ Name, Shell, Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(block.Text), &workflow); err != nil {
		t.Fatal(err)
	}
	job := workflow.Jobs["enrich"]
	step := job.Steps[len(job.Steps)-1]
	if workflow.Permissions["id-token"] != "write" || len(job.Env) != 1 || job.Env["GATEWAY_URL"] == "" || step.Shell != "bash" {
		t.Fatalf("the test does not run such a workflow: %+v", workflow)
	}
	env := environment(s, "ACTIONS_ID_TOKEN_REQUEST_URL="+github.URL+"/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+credential)
	script := shell(t, step.Run)
	dir, python := withPython(t, ctx, pl.page)
	together(t, func() *talk {
		return startTalk(t, ctx, script, env, "bash", "--noprofile", "--norc", "-eo", "pipefail", "script.sh")
	}, func() *talk {
		return startTalk(t, ctx, dir, env, python, "ask_github.py")
	})
}

// runPipeline is GitLab's runner: docs.gitlab.com/ci/secrets/id_token_authentication.
func runPipeline(t *testing.T, ctx context.Context, s *scene, pl *platformDouble) {
	block, err := readPage(t, pl.page).File(".gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var pipeline map[string]struct {
		Timeout   string
		IDTokens  map[string]struct{ Aud string } `yaml:"id_tokens"`
		Variables map[string]string
		Script    []string
	}
	if err := yaml.Unmarshal([]byte(block.Text), &pipeline); err != nil {
		t.Fatal(err)
	}
	job := pipeline["enrich"]
	lives, err := time.ParseDuration(job.Timeout)
	if err != nil || len(job.Variables) != 1 || job.Variables["GATEWAY_URL"] == "" || len(job.IDTokens) != 1 {
		t.Fatalf("the test does not run such a pipeline: %+v", pipeline)
	}
	env := environment(s)
	for name, token := range job.IDTokens {
		env = append(env, name+"="+pl.token(token.Aud, lives, nil))
	}
	k := startTalk(t, ctx, shell(t, strings.Join(job.Script, "\n")), env, "bash", "-eo", "pipefail", "script.sh")
	k.keepOn(t, 5*time.Second)
	k.end(t)
}

// runOnGoogle is a double of the metadata server: cloud.google.com/compute/docs/instances/verifying-instance-identity. It
// gives the same token until half of its life is over.
func runOnGoogle(t *testing.T, ctx context.Context, s *scene, pl *platformDouble) {
	var mu sync.Mutex
	var kept string
	var until time.Time
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		audience := r.URL.Query().Get("audience")
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google":
			http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
			return
		case r.Method != http.MethodGet || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity":
			http.NotFound(w, r)
			return
		case audience != "llm-gateway" || r.URL.Query().Get("format") != "full": // without which there is no email
			http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(until) {
			kept, until = pl.token(audience, life*time.Second, nil), time.Now().Add(life*time.Second/2)
		}
		w.Header().Set("Metadata-Flavor", "Google")
		fmt.Fprint(w, kept)
	}))
	defer metadata.Close()
	u, err := url.Parse(metadata.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := environment(s, "GCE_METADATA_HOST="+u.Host)
	dir, python := withPython(t, ctx, pl.page)
	together(t, func() *talk {
		return startTalk(t, ctx, dir, env, "bash", "ask_google.sh")
	}, func() *talk {
		return startTalk(t, ctx, dir, env, python, "ask_google.py")
	})
}

// runPod is the kubelet: kubernetes.io/docs/tasks/configure-pod-container/configure-service-account. It replaces the token
// when a fifth of its life is left.
func runPod(t *testing.T, ctx context.Context, s *scene, pl *platformDouble) {
	validate(t, ctx, pl.page)
	d := parse[workload](t, pl.page, "deployment.yaml", "Deployment")
	c, source := d.container(), d.volume().Projected.Sources[0].ServiceAccountToken
	dir, python := withPython(t, ctx, pl.page)
	file := c.mounted(t, "GATEWAY_TOKEN_FILE", dir)
	if filepath.Base(file) != source.Path || strings.Join(c.Command, " ") != "python ask_projected.py" {
		t.Fatalf("the test does not run such a pod: %+v", d)
	}
	replace := func() error {
		next := file + ".next"
		if err := os.WriteFile(next, []byte(pl.token([]string{source.Audience}, life*time.Second, nil)), 0o600); err != nil {
			return err
		}
		return os.Rename(next, file)
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	kubelet := time.NewTicker(life * time.Second * 4 / 5)
	defer kubelet.Stop()
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			select {
			case <-kubelet.C:
				if err := replace(); err != nil {
					t.Error(err)
				}
			case <-done:
				return
			}
		}
	})
	defer ended.Wait()
	defer close(done)
	env := environment(s, "GATEWAY_TOKEN_FILE="+file)
	together(t, func() *talk {
		return startTalk(t, ctx, dir, env, "bash", "ask_projected.sh")
	}, func() *talk {
		return startTalk(t, ctx, dir, env, python, "ask_projected.py")
	})
}
