//go:build terraform

package terraform_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each environment as it is committed: bootstrap by its owner, everything else by the deployer's hand, a change, a
// rollback, and the end, after which nothing is left.
func TestAnEnvironmentsWholeLife(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"staging", "production"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, env := newWorld(t, "acme-gateway-"+name), "environments/"+name
			w.must("bootstrap", "init")
			w.must("bootstrap", "validate")
			variables := []string{"-var=project=acme-gateway-" + name, "-var=region=europe-west4"}
			w.must("bootstrap", append([]string{"apply", "-auto-approve"}, variables...)...)
			w.settled("bootstrap", variables...)
			bucket, deployer := w.text("bootstrap", "state_bucket"), w.by(w.text("bootstrap", "deployer"))

			deployer.must(env, "init", "-backend-config=bucket="+bucket)
			deployer.must(env, "validate")
			deployer.live(env, w.archive("first"), w.archive("second"), func() {
				path := env + "/config/gateway.yaml"
				w.edit(path, "default_upstream: openai", "default_upstream: openai # changed")
			})

			// The owner, who applies the same from another checkout, has nothing to do.
			other := w.elsewhere()
			other.must(env, "init", "-backend-config=bucket="+bucket)
			other.settled(env, other.archive("second")...)

			if name == "production" {
				w.changes()
				out, err := deployer.terraform(env, append([]string{"destroy", "-auto-approve", "-no-color"}, w.archive("second")...)...)
				if err == nil || !strings.Contains(out, "google_storage_bucket_object.protection") && !strings.Contains(out, "deletion-protection") {
					t.Errorf("a protected environment was destroyed, or it isn't said what protects it: %v", err)
				}
				if changed := w.changes(); len(changed) > 0 {
					t.Errorf("a refused destroy changed %v", changed)
				}
			}
			deployer.end(env, w.archive("second"))
			w.must("bootstrap", append([]string{"apply", "-auto-approve", "-var=deletion_protection=false"}, variables...)...)
			w.must("bootstrap", append([]string{"destroy", "-auto-approve", "-var=deletion_protection=false"}, variables...)...)
			w.empty()
		})
	}
}

// The module alone, with the least and the most that its variables can say, by the deployer's hand, too.
func TestAVariantsWholeLife(t *testing.T) {
	t.Parallel()
	const project = "acme-variants"
	for _, c := range []struct {
		name, before, module, config string
		bootstrap                    []string
	}{
		{name: "minimal", module: minimal, config: variantConfig, bootstrap: []string{"-var=upstream_roles=[]"}},
		{name: "full", before: networkAndToken, module: full, config: variantConfig + counted, bootstrap: []string{
			`-var=github={app_installation_id=4711,token_secret="github-token",remote="https://github.com/acme/llm-gateway.git"}`,
			`-var=submitters=["group:platform@example.com"]`,
			`-var=upstream_roles=["roles/aiplatform.user","roles/logging.viewer"]`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, project)
			dir := w.variant(c.name, c.before, c.module)
			variables := append([]string{"-var=project=" + project, "-var=region=europe-west4", "-var=deletion_protection=false"}, c.bootstrap...)
			w.must("bootstrap", "init")
			w.must("bootstrap", append([]string{"apply", "-auto-approve"}, variables...)...)
			w.settled("bootstrap", variables...)
			deployer := w.by(w.text("bootstrap", "deployer"))

			w.write(dir+"/gateway.yaml", c.config)
			deployer.must(dir, "validate")
			deployer.live(dir, w.archive("first"), w.archive("second"), func() {
				w.edit(dir+"/gateway.yaml", "price:", "# changed\n    price:")
			})
			deployer.end(dir, w.archive("second"))
			w.must("bootstrap", append([]string{"destroy", "-auto-approve"}, variables...)...)
			w.must("before", "destroy", "-auto-approve")
			w.empty()
		})
	}
}

// live applies dir, changes the configuration alone, then the archive alone, and goes back by `release`.
func (w *world) live(dir string, first, second []string, change func()) {
	w.Helper()
	apply := func(args ...string) string {
		w.Helper()
		return w.must(dir, append([]string{"apply", "-auto-approve"}, args...)...)
	}
	w.must(dir, append([]string{"plan"}, first...)...)
	apply(first...)
	w.settled(dir, first...)
	function, config := w.function(), w.fileSecret()
	w.changes()
	one := w.output(dir, "release")

	change()
	apply(first...)
	w.settled(dir, first...)
	want := []string{
		"POST secretmanager.projects.secrets.addVersion " + config,
		"PATCH cloudfunctions.projects.locations.functions.patch " + function,
	}
	if diff := cmp.Diff(want, w.changes()); diff != "" {
		w.Errorf("a changed configuration: want (-), changed (+)\n%s", diff)
	}
	for version, want := range map[string]string{"1": "ENABLED", "2": "ENABLED"} {
		var v struct{ State string }
		if err := w.Resource(config+"/versions/"+version, &v); err != nil || v.State != want {
			w.Errorf("version %s of the configuration is %s, %v", version, v.State, err)
		}
	}

	apply(second...)
	w.settled(dir, second...)
	two := w.output(dir, "release")
	w.changes()

	// Back to the first release: what it was made of, and no more than the function is touched.
	back := append(slices.Clone(second), "-var=release="+one)
	apply(back...)
	w.settled(dir, back...)
	if diff := cmp.Diff([]string{"PATCH cloudfunctions.projects.locations.functions.patch " + function}, w.changes()); diff != "" {
		w.Errorf("a rollback: want (-), changed (+)\n%s", diff)
	}
	if got := w.output(dir, "release"); !same(one, got) {
		w.Errorf("after the rollback the release is %s, not %s", got, one)
	}
	revisions := w.Revisions(function)
	if len(revisions) != 4 {
		w.Fatalf("%d revisions, not 4: made, configured, built anew, taken back", len(revisions))
	}
	began, ended := revisions[0], revisions[3]
	began.Name, ended.Name = "", ""
	if diff := cmp.Diff(began, ended); diff != "" {
		w.Errorf("the rollback's revision is not the first one's like:\n%s", diff)
	}
	for _, r := range revisions {
		if len(r.Orphaned) > 0 {
			w.Errorf("revision %s lost what it reads: %v", r.Name, r.Orphaned)
		}
	}

	// And forward again.
	apply(second...)
	if got := w.output(dir, "release"); !same(two, got) {
		w.Errorf("forward again the release is %s, not %s", got, two)
	}
}

func same(a, b string) bool {
	var one, other bytes.Buffer
	return json.Compact(&one, []byte(a)) == nil && json.Compact(&other, []byte(b)) == nil && one.String() == other.String()
}

// end takes the protection off and destroys.
func (w *world) end(dir string, archive []string) {
	w.Helper()
	off := append(slices.Clone(archive), "-var=deletion_protection=false")
	w.must(dir, append([]string{"apply", "-auto-approve"}, off...)...)
	w.must(dir, append([]string{"destroy", "-auto-approve"}, off...)...)
}

// empty fails unless only enabled services are left, which stay on purpose, and Google's copy of the source, which is
// Google's.
func (w *world) empty() {
	w.Helper()
	left := slices.DeleteFunc(w.Left(), func(name string) bool {
		return strings.Contains(name, "/services/") || strings.HasPrefix(name, "projects/_/buckets/gcf-v2-sources-")
	})
	if len(left) > 0 {
		w.Errorf("after destroy there are left\n%s", strings.Join(left, "\n"))
	}
}

// function is the name of the only function there is.
func (w *world) function() string { return w.only("/functions/") }

// fileSecret is the secret that holds the configuration, before it has a second version.
func (w *world) fileSecret() string {
	w.Helper()
	secret, _, _ := strings.Cut(w.only("-config-gateway/versions/"), "/versions/")
	return secret
}

func (w *world) only(part string) string {
	w.Helper()
	var found []string
	for _, name := range w.Left() {
		if strings.Contains(name, part) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		w.Fatalf("not one %s: %v", part, found)
	}
	return found[0]
}
