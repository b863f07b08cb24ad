//go:build terraform

package terraform_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/leaks"
)

// variant makes a folder in environments/ that applies the module so, beside what was there before.
func (w *world) variant(name, before, module string) string {
	w.Helper()
	dir := "environments/" + name
	for _, d := range []string{dir, "before"} {
		if err := os.Mkdir(filepath.Join(w.dir, d), 0o755); err != nil {
			w.Fatal(err)
		}
		w.hasten(d)
	}
	w.write("before/main.tf", beforeMain+before)
	w.write(dir+"/main.tf", strings.Replace(variantMain, "%s", module, 1))
	w.write(dir+"/gateway.yaml", variantConfig)
	w.must("before", "init")
	w.must("before", "apply", "-auto-approve")
	w.must(dir, "init")
	return dir
}

// What a person may get wrong is caught before Google serves it: by a sentence, by the API, or by the next plan.
func TestFaultsAreCaught(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme-variants")
	dir, archive := w.variant("faulty", someDeployer, minimal), w.archive("first")
	apply := append([]string{"apply", "-auto-approve", "-no-color"}, archive...)
	w.must(dir, apply...)
	w.settled(dir, archive...)
	function := w.function()

	for _, c := range []struct {
		fault, file, old, new, want string
	}{
		{"a misspelt role", "modules/gateway/source.tf", `"roles/storage.objectViewer"`, `"roles/storage.objectViewr"`, "roles/storage.objectViewr"},
		{"a role where it can't be granted", "modules/gateway/source.tf", `"roles/storage.objectViewer"`, `"roles/run.invoker"`, "roles/run.invoker"},
		{"a field that dashboards don't have", "modules/gateway/observability.tf", "legendTemplate = legend", "legend = legend", "STRICT"},
		{"a plot that dashboards don't have", "modules/gateway/observability.tf", `"LINE"`, `"CURVE"`, "STRICT"},
		{"a runtime that Google doesn't have", "modules/gateway/variables.tf", `"go126")`, `"go150")`, "go150"},
		{"concurrency without a CPU", dir + "/main.tf", `invokers    =`, "function = { cpu = 0.333 }\n  invokers    =", "function.concurrency over 1 needs function.cpu of at least 1"},
		{"a request timeout beyond the function's", dir + "/gateway.yaml", "issuers:", "server: {request_timeout: 1h}\nissuers:", "server.request_timeout must end at least a minute before function.timeout"},
		{"a secret that nobody made", dir + "/gateway.yaml", "secrets/local/", "secrets/locale/", "reads secrets of this project that credentials doesn't name: locale"},
		{"a limit store that nobody makes", dir + "/gateway.yaml", "issuers:", "limit_store: {url_env: GATEWAY_LIMIT_STORE}\nissuers:", "reads its limit store's address from GATEWAY_LIMIT_STORE, and nothing sets that"},
		{"a limit store that nobody uses", dir + "/main.tf", `invokers    =`, "limit_store = {}\n  invokers    =", "limit_store is made and paid for, and the configuration doesn't use it"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			w := w.in(t)
			defer w.edit(c.file, c.old, c.new)()
			if out, err := w.terraform(dir, apply...); err == nil || !strings.Contains(unwrapped(out), c.want) {
				t.Errorf("%v is not caught, or without %q:\n%s", err, c.want, out)
			}
		})
	}

	t.Run("concurrency without a CPU, where the module doesn't look", func(t *testing.T) {
		w := w.in(t)
		defer w.edit("modules/gateway/variables.tf", "var.function.concurrency == 1 || var.function.cpu >= 1", "var.function.cpu > 0")()
		defer w.edit(dir+"/main.tf", `invokers    =`, "function = { cpu = 0.333 }\n  invokers    =")()
		if out, err := w.terraform(dir, apply...); err == nil || !strings.Contains(strings.ToLower(unwrapped(out)), "concurrency") {
			t.Errorf("%v\n%s", err, out)
		}
	})

	w.must(dir, apply...)
	t.Run("a change behind Terraform's back", func(t *testing.T) {
		w := w.in(t)
		w.Edit(function, func(f map[string]any) { f["serviceConfig"].(map[string]any)["timeoutSeconds"] = 60 })
		if out, err := w.plan(dir, archive...); err != errDrift || !strings.Contains(out, "timeout_seconds") {
			t.Errorf("%v\n%s", err, out)
		}
		w.must(dir, apply...)
		w.settled(dir, archive...)
	})

	// That delivery's test finds no secret in a state means something only if one would be found.
	t.Run("a credential's value in the configuration", func(t *testing.T) {
		const canary = "sk-canary-4711"
		w := w.in(t)
		w.write("modules/gateway/canary.tf", `resource "google_secret_manager_secret_version" "canary" {
  secret      = google_secret_manager_secret.credential["local"].id
  secret_data = "`+canary+`"
}`)
		defer os.Remove(filepath.Join(w.dir, "modules/gateway/canary.tf"))
		plan := filepath.Join(w.TempDir(), "plan.tfplan")
		w.must(dir, append([]string{"plan", "-out=" + plan}, archive...)...)
		data, err := os.ReadFile(plan)
		if err != nil || len(leaks.In("plan.tfplan", data, canary)) == 0 {
			t.Errorf("the plan would not show it: %v", err)
		}
		w.must(dir, "apply", plan)
		if state := w.must(dir, "state", "pull"); len(leaks.In("the state", []byte(state), canary)) == 0 {
			t.Error("the state would not show it")
		}
	})
}

// Each API that a resource needs is enabled before it is made.
func TestAnAPIThatIsNotEnabledFirstIsCaught(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, old, new string }{
		"no depends_on":   {"modules/gateway/observability.tf", "  labels                          = var.labels\n  depends_on                      = [google_project_service.on]\n", ""},
		"not in the list": {"modules/gateway/services.tf", "    \"bigquery.googleapis.com\",\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "acme-variants")
			dir := w.variant("faulty", "", minimal)
			w.edit(c.file, c.old, c.new)
			out, err := w.terraform(dir, append([]string{"apply", "-auto-approve", "-no-color", "-target=module.gateway.google_bigquery_dataset.audit"}, w.archive("first")...)...)
			if err == nil || !strings.Contains(out, "SERVICE_DISABLED") && !strings.Contains(out, "has not been used in project") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// An apply that was interrupted, or that an API failed midway, is simply run again.
func TestAnInterruptedApplyCanBeRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme-variants")
	dir, archive := w.variant("interrupted", someDeployer, minimal), w.archive("first")
	apply := append([]string{"apply", "-auto-approve", "-no-color"}, archive...)

	w.ClearMutations()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		for len(w.Mutations()) < 12 && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}()
	if out, err := w.during(ctx, dir, apply...); err == nil || !strings.Contains(out, "nterrupt") {
		t.Fatalf("it was not interrupted: %v\n%s", err, out)
	}
	w.Cloud.Fail("cloudfunctions.projects.locations.functions.create", 403, 1, false) // a grant that isn't effective yet
	if out, err := w.terraform(dir, apply...); err == nil {
		t.Fatalf("the API did not refuse:\n%s", out)
	}
	w.must(dir, apply...)
	w.settled(dir, archive...)
}

// A first function that can't be built is there all the same. Terraform calls it tainted and would replace it, which its
// protection forbids; untainted it is never built again. What terraform/README.md says to type helps.
func TestAFirstBuildThatFailedCanBeRunAgainWhileProtected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme-variants")
	dir, archive := w.variant("failed", someDeployer, minimal), w.archive("first")
	var builds atomic.Int32
	w.Cloud.Deploy = func(context.Context, googleapis.Function) (string, error) {
		if builds.Add(1) == 1 {
			return "", errors.New("Build failed: the bucket's grant isn't effective yet")
		}
		return "https://gateway-abcdef-ez.a.run.app", nil
	}
	protected := append(slices.Clone(archive), "-var=deletion_protection=true")
	apply := append([]string{"apply", "-auto-approve", "-no-color"}, protected...)
	if out, err := w.terraform(dir, apply...); err == nil || !strings.Contains(out, "isn't effective yet") {
		t.Fatalf("the build didn't fail: %v\n%s", err, out)
	}
	if out, err := w.terraform(dir, apply...); err == nil || !strings.Contains(unwrapped(out), "cannot destroy") {
		t.Errorf("%v: is what README.md says needed?\n%s", err, out)
	}
	w.asks("DELETE", "/cloudfunctions/v2/"+w.function(), "") // as gcloud functions delete does
	w.must(dir, apply...)
	w.settled(dir, protected...)
}

// A credential that terraform.tfvars names no more would take its value with it.
func TestASecretStaysWhileProtectedAlsoWithoutItsCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme-variants")
	dir := w.variant("unnamed", "", minimal)
	apply := append([]string{"apply", "-auto-approve", "-no-color", "-var=deletion_protection=true", "-target=module.gateway.google_secret_manager_secret.credential"}, w.archive("first")...)
	w.must(dir, apply...)
	w.edit(dir+"/main.tf", "credentials = { local = {} }", "credentials = {}")
	w.edit(dir+"/gateway.yaml", "{secret_manager: projects/acme-variants/secrets/local/versions/latest}", "{env: LOCAL}")
	if out, err := w.terraform(dir, apply...); err == nil || !strings.Contains(unwrapped(out), "deletion_protection") {
		t.Errorf("%v\n%s", err, out)
	}
	w.only("/secrets/local")
}

// unwrapped is a message of Terraform's without its lines' ends.
func unwrapped(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "│", " ")), " ")
}
