//go:build terraform

// Package delivery runs cloudbuild.yaml against a Google Cloud of the test's own: the steps' own scripts in their order,
// the genuine Terraform and provider by Google's real names, and the function that they deploy, built from the archive
// that was uploaded and started with the environment and files that were applied.
package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/leaks"
	"llmgateway.dev/gateway/test/provider"
	"llmgateway.dev/gateway/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(prepare, m.Run)) }

// prepare fetches what the sandbox has no way to: the provider, and the modules of the gateway.
func prepare() error {
	ctx := context.Background()
	rc, err := provider.Install(ctx)
	if err != nil {
		return err
	}
	terraform, err := provider.Terraform(ctx)
	if err != nil {
		return err
	}
	os.Setenv("TF_CLI_CONFIG_FILE", rc)
	os.Setenv("PATH", filepath.Dir(terraform)+":"+os.Getenv("PATH"))
	download := exec.Command("go", "mod", "download")
	download.Dir = "../.."
	if out, err := download.CombinedOutput(); err != nil {
		return fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "delivery")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var archive bytes.Buffer
	if err := buildpack.Archive(&archive, "../.."); err != nil {
		return err
	}
	_, err = (&google{}).build(ctx, dir, archive.Bytes())
	return err
}

// workspace is this checkout as Cloud Build gets it.
func workspace(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "workspace")
	git := func(dir string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args[0], err)
		}
		return string(out)
	}
	for name := range strings.SplitSeq(strings.Trim(git("../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		info, err2 := os.Stat(filepath.Join("../..", name))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	git(dir, "init", "-q")
	git(dir, "add", "-A")
	return dir
}

var smoke = map[string]string{"_ENVIRONMENT": "staging", "_SMOKE_AUDIENCE": "llm-gateway", "_SMOKE_MODEL": "gpt-4o-mini", "_DENIED_MODEL": "gemini-2.5-flash"}

func TestABuildWithoutItsSubstitutionsStopsAtOnce(t *testing.T) {
	dir := workspace(t)
	for name, c := range map[string]struct {
		given map[string]string
		want  string
	}{
		"none":                  {nil, "These substitutions are missing: _ENVIRONMENT _SMOKE_AUDIENCE _SMOKE_MODEL _DENIED_MODEL."},
		"one is missing":        {without(smoke, "_DENIED_MODEL"), "These substitutions are missing: _DENIED_MODEL."},
		"another environment":   {with(smoke, "_ENVIRONMENT", "prod"), `There is no environment "prod" in terraform/environments, only: production/ staging/`},
		"a path":                {with(smoke, "_ENVIRONMENT", "../modules/gateway"), `There is no environment "../modules/gateway"`},
		"more than a name":      {with(smoke, "_ENVIRONMENT", "staging; touch dist"), `There is no environment "staging; touch dist"`},
		"an emptied identifier": {with(smoke, "_DEPLOYER", ""), "These substitutions are missing: _DEPLOYER."},
	} {
		b := readBuild(t).submitted(project, c.given)
		printed, err := b.run(t.Context(), dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()})
		if err == nil || !strings.HasPrefix(err.Error(), "step settings:") || !strings.Contains(err.Error(), c.want) || len(printed) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFirstDeploymentThatFailsHasNothingToGoBackTo(t *testing.T) {
	b := readBuild(t)
	b.Steps = slices.DeleteFunc(b.Steps, func(s step) bool { return s.ID != "settle" })
	dir := filepath.Join(t.TempDir(), "workspace")
	if err := os.MkdirAll(filepath.Join(dir, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := b.submitted(project, smoke).run(t.Context(), dir, []string{"PATH=" + os.Getenv("PATH")})
	if err == nil || !strings.Contains(err.Error(), "no release was served before it: nothing to go back to") {
		t.Error(err)
	}
}

func with(m map[string]string, name, value string) map[string]string {
	m = maps.Clone(m)
	m[name] = value
	return m
}

func without(m map[string]string, name string) map[string]string {
	m = maps.Clone(m)
	delete(m, name)
	return m
}

// One environment from nothing to a gateway that answers, through a deployment that must be taken back.
func TestADeployment(t *testing.T) {
	g, dir, given := newGoogle(t), workspace(t), smoke
	g.internet.Metadata(g.metadata(deployer))
	// Cloud Build doesn't say CI, by which data that stands beside the repository becomes mandatory.
	machine := append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "CI=") }), "CHECKPOINT_DISABLE=1")
	submit := func(without ...string) (log, error) {
		t.Helper()
		b := readBuild(t)
		b.Steps = slices.DeleteFunc(b.Steps, func(s step) bool { return slices.Contains(without, s.ID) })
		b = b.submitted(project, given)
		if want := "projects/" + project + "/serviceAccounts/" + deployer; b.ServiceAccount != want {
			t.Fatalf("builds run as %s, not %s", b.ServiceAccount, want)
		}
		return b.run(t.Context(), dir, machine)
	}

	bootstrap(t, g, dir)

	// The credential's value is added by a person, once its container is there; meanwhile the smoke test asks again.
	added := make(chan struct{})
	go func() {
		defer close(added)
		for g.Resource("projects/"+project+"/secrets/openai", &struct{}{}) != nil {
			select {
			case <-time.After(time.Second):
			case <-t.Context().Done():
				return
			}
		}
		g.add("openai", g.key)
	}()
	printed, err := submit()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, printed["apply"], printed["smoke"])
	}
	<-added
	for step, want := range map[string]string{
		"check":  " cases passed, ",
		"test":   "ok  	llmgateway.dev/gateway/function",
		"plan":   " to add, 0 to change, 0 to destroy",
		"smoke":  "allowed: gpt-4o-mini streams\ndenied: gemini-2.5-flash is 403 model_not_allowed\nwithout a token: 401 missing_token\n",
		"settle": "Deployed: https://" + host,
	} {
		if !strings.Contains(printed[step], want) {
			t.Errorf("step %s printed no %q:\n%s", step, want, printed[step])
		}
	}
	for step := range online {
		t.Logf("step %s: %s", step, printed[step])
	}
	good := g.latest()

	// A policy that lets the deployer use what it must not is caught before anything is planned, by the tests and by the
	// environment's own cases. Where both miss it, the smoke test says so, and the former release is back.
	policy := filepath.Join(dir, "terraform/environments/staging/policies/gateway.cedar")
	text := read(t, policy)
	write(t, policy, text+"\n@id(\"oops\") permit (principal, action, resource);\n")
	printed, err = submit()
	if err == nil || !strings.HasPrefix(err.Error(), "step test:") || !strings.Contains(err.Error(), "the deployer may use gemini-2.5-flash") || printed["plan"] != "" {
		t.Errorf("a policy that allows everything passed the tests: %v", err)
	}
	printed, err = submit("test")
	if err == nil || !strings.HasPrefix(err.Error(), "step check:") || !strings.Contains(err.Error(), "+ allow by oops") || printed["plan"] != "" {
		t.Errorf("a policy that allows everything passed the environment's cases: %v", err)
	}
	printed, err = submit("test", "check")
	if err == nil || !strings.Contains(printed["smoke"], "a call that is denied (gemini-2.5-flash)") || !strings.Contains(err.Error(), "the former release is served again") {
		t.Fatalf("a policy that allows everything was deployed: %v\n%s", err, printed["smoke"])
	}
	back := g.latest()
	if back.Name == good.Name || !same(good, back) {
		t.Errorf("after the rollback %+v is served, not what was before, %+v", back, good)
	}
	g.serves(t)
	write(t, policy, text)

	// Code that doesn't start: the archive is another, and so is what is gone back from.
	source := filepath.Join(dir, "gateway.go")
	whole := read(t, source)
	write(t, source, whole+"\nfunc init() { panic(\"does not start\") }\n")
	printed, err = submit("test") // which would have caught it
	if err == nil || !strings.Contains(printed["apply"], "does not start") || !strings.Contains(err.Error(), "the former release is served again") {
		t.Fatalf("code that doesn't start was deployed: %v\n%s", err, printed["apply"])
	}
	if back := g.latest(); !same(good, back) {
		t.Errorf("after the rollback %+v is served, not what was before, %+v", back, good)
	}
	g.serves(t)
	write(t, source, whole)

	// And the next build deploys as if nothing had been, where clients come by a domain, which the smoke test does then, too:
	// behind a load balancer the function's own URL is closed.
	g.closed.Store(true)
	given = with(smoke, "_URL", "https://"+domain)
	if printed, err = submit(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, printed["apply"], printed["smoke"])
	}
	// The gateway looks for the environment's identity provider, and nobody for anything else but this machine, whose
	// name programs find in /etc/hosts outside of the sandbox.
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.DeleteFunc(g.internet.Unknown(), func(name string) bool { return name == own }); !slices.Equal(got, []string{"keycloak.example.com"}) {
		t.Errorf("somebody asked for names that aren't Google's or OpenAI's: %v", got)
	}
	g.leaksNothing(t, dir, printed)
	g.wouldFindLeaks(t, dir, printed)
}

// A configuration that isn't one stops the build before anything is planned.
func TestAFaultyConfigurationIsNeverPlanned(t *testing.T) {
	dir := workspace(t)
	path := filepath.Join(dir, "terraform/environments/staging/config/gateway.yaml")
	write(t, path, strings.Replace(read(t, path), "default_upstream: openai", "default_upstream: opena", 1))
	b := readBuild(t)
	b.Steps = slices.DeleteFunc(b.Steps, func(s step) bool { return s.ID == "test" }) // which would have caught it
	printed, err := b.submitted(project, smoke).run(t.Context(), dir, os.Environ())
	if err == nil || !strings.HasPrefix(err.Error(), "step check:") || !strings.Contains(err.Error(), "opena") {
		t.Error(err)
	}
	if _, planned := printed["plan"]; planned || len(printed) != 4 { // settings, vulncheck, archive, check
		t.Errorf("there were the steps %v", slices.Sorted(maps.Keys(printed)))
	}
}

// bootstrap is what a person does, once.
func bootstrap(t *testing.T, g *google, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init"}, {"apply", "-auto-approve", "-var=project=" + project, "-var=region=europe-west4"}} {
		cmd := exec.CommandContext(t.Context(), "terraform", append(args, "-no-color")...)
		cmd.Dir = filepath.Join(dir, "terraform/bootstrap")
		cmd.Env = append(os.Environ(), "GOOGLE_OAUTH_ACCESS_TOKEN="+g.token(owner), "CHECKPOINT_DISABLE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %s: %v\n%s", args[0], err, out)
		}
	}
}

// latest is the revision that serves.
func (g *google) latest() googleapis.Revision {
	revisions := g.Revisions("projects/" + project + "/locations/europe-west4/functions/gateway")
	if len(revisions) == 0 {
		g.Fatal("there is no revision")
	}
	return revisions[len(revisions)-1]
}

// same says whether two revisions are made of the same.
func same(a, b googleapis.Revision) bool {
	return a.Bucket == b.Bucket && a.Object == b.Object && a.Generation == b.Generation && maps.Equal(a.Secrets, b.Secrets)
}

// serves fails unless the deployer is let in, now, and what it may do is what it may.
func (g *google) serves(t *testing.T) {
	t.Helper()
	r, err := http.NewRequest("GET", "https://"+host+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.IDToken(deployer, "llm-gateway"))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var list struct{ Data []struct{ ID string } }
	decode(t, answer.Body, &list)
	if got := fmt.Sprint(list.Data); answer.StatusCode != http.StatusOK || got != "[{gpt-4o-mini}]" {
		t.Errorf("%s: the deployer's models are %s", answer.Status, got)
	}
}

// left is all that the builds left, by where it is: logs, records, objects in all their generations, and dist/.
func (g *google) left(t *testing.T, dir string, printed log) map[string][]byte {
	t.Helper()
	all := g.Objects()
	for step, text := range printed {
		all["step "+step] = []byte(text)
	}
	all["the records"] = []byte(strings.Join(g.service.Log(), "\n"))
	if err := filepath.WalkDir(filepath.Join(dir, "dist"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all["dist/"+d.Name()] = []byte(read(t, path))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// find returns where a secret is.
func find(all map[string][]byte, secrets ...string) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		found = append(found, leaks.In(name, all[name], secrets...)...)
	}
	return found
}

// leaksNothing looks for the credential, and for tokens of Google's, in all that the builds left.
func (g *google) leaksNothing(t *testing.T, dir string, printed log) {
	t.Helper()
	g.mu.Lock()
	secrets := append(slices.Collect(maps.Values(g.tokens)), g.key)
	g.mu.Unlock()
	all := g.left(t, dir, printed)
	if found := find(all, secrets...); len(found) > 0 {
		t.Errorf("a secret is in %q", found)
	}
	states := 0
	for name := range all {
		if strings.Contains(name, "default.tfstate#") {
			states++
		}
	}
	if states < 2 || all["dist/plan.tfplan"] == nil {
		t.Errorf("former states or the plan were not looked at, only %q", slices.Sorted(maps.Keys(all)))
	}
}

// wouldFindLeaks shows that leaksNothing means something: a value that does pass through Terraform is found in the plan,
// in the state, and in the former state when it has gone from the present one.
func (g *google) wouldFindLeaks(t *testing.T, dir string, printed log) {
	t.Helper()
	const canary, address = "sk-canary-4711", "module.gateway.google_secret_manager_secret_version.canary"
	terraform := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "terraform", args...)
		cmd.Dir = filepath.Join(dir, "terraform/environments/staging")
		cmd.Env = append(os.Environ(), "GOOGLE_OAUTH_ACCESS_TOKEN="+g.token(owner), "CHECKPOINT_DISABLE=1", "TF_INPUT=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %s: %v\n%s", args[0], err, out)
		}
	}
	found := func() string { return strings.Join(find(g.left(t, dir, printed), canary), "\n") }
	file, plan, archive := filepath.Join(dir, "terraform/modules/gateway/canary.tf"), filepath.Join(dir, "dist/plan.tfplan"), "-var-file="+filepath.Join(dir, "dist/archive.tfvars.json")
	write(t, file, `resource "google_secret_manager_secret_version" "canary" {
  secret      = google_secret_manager_secret.credential["openai"].id
  secret_data = "`+canary+`"
}
`)
	terraform("plan", "-target="+address, archive, "-out="+plan)
	if got := found(); !strings.Contains(got, "dist/plan.tfplan: tfplan") {
		t.Errorf("a value in a plan is found in %q alone", got)
	}
	terraform("apply", plan)
	if got := found(); !strings.Contains(got, "default.tfstate#") {
		t.Errorf("a value in the state is found in %q alone", got)
	}
	if err := errors.Join(os.Remove(file), os.Remove(plan)); err != nil {
		t.Fatal(err)
	}
	terraform("apply", "-auto-approve", "-target="+address, archive)
	state, err := g.Object(project+"-gateway-state", "environments/staging/default.tfstate", 0)
	if err != nil || len(leaks.In("it", state, canary)) > 0 {
		t.Errorf("the present state still has the value, or %v", err)
	}
	if got := found(); !strings.Contains(got, "default.tfstate#") {
		t.Errorf("a value in a former state is found in %q alone", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
