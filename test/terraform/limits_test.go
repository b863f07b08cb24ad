//go:build terraform

package terraform_test

import (
	"crypto/x509"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An environment that is at work gets limits, then a store for them, then goes without. The deployer does it, by the roles
// that bootstrap gave it.
func TestALimitStoreComesAndGoes(t *testing.T) {
	t.Parallel()
	const project = "acme-variants"
	w := newWorld(t, project)
	bootstrap := []string{"-var=project=" + project, "-var=region=europe-west4", "-var=deletion_protection=false"}
	w.must("bootstrap", "init")
	w.must("bootstrap", append([]string{"apply", "-auto-approve"}, bootstrap...)...)
	dir, archive := w.variant("limited", "", minimal), w.archive("first")
	w.Authorize("the deployer's", "gateway-deploy@"+project+".iam.gserviceaccount.com")
	deployer := &world{TB: t, Cloud: w.Cloud, dir: w.dir, env: append(slices.Clone(w.env), "GOOGLE_OAUTH_ACCESS_TOKEN=the deployer's")}
	apply := append([]string{"apply", "-auto-approve"}, archive...)
	deployer.must(dir, apply...)
	deployer.settled(dir, archive...)
	function, network, before := w.function(), "projects/"+project+"/global/networks/gateway-limits", w.Left()
	w.changes()

	// Without a store each instance would count for itself: that is said, and no more.
	limits, _, _ := strings.Cut(counted, "limit_store:")
	w.write(dir+"/gateway.yaml", variantConfig+limits)
	if out := deployer.must(dir, apply...); !strings.Contains(unwrapped(out), "Warning: Check block assertion failed") || !strings.Contains(unwrapped(out), "each of up to 10 instances counts for itself") {
		t.Errorf("nothing is said of limits that each instance counts for itself:\n%s", out)
	}
	w.changes()

	w.write(dir+"/gateway.yaml", variantConfig+counted)
	without := w.edit(dir+"/main.tf", "  invokers    =", "  limit_store = {}\n  invokers    =")
	if out := deployer.must(dir, apply...); strings.Contains(out, "Warning") {
		t.Errorf("there is something to warn of:\n%s", out)
	}
	deployer.settled(dir, archive...)
	basic := w.only("/instances/")
	want := []string{
		"POST compute.networks.insert " + network,
		"POST compute.subnetworks.insert projects/" + project + "/regions/europe-west4/subnetworks/gateway-limits",
		"POST redis.projects.locations.instances.create " + basic,
		"PATCH cloudfunctions.projects.locations.functions.patch " + function,
	}
	if diff := cmp.Diff(want, w.beyondFiles()); diff != "" {
		t.Errorf("a limit store: want (-), changed (+)\n%s", diff)
	}
	revisions := w.Revisions(function)
	variable := func(name string) []byte {
		text, err := w.SecretVersion(revisions[len(revisions)-1].Secrets[name])
		if err != nil {
			t.Error(err)
		}
		return text
	}
	if got := string(variable("GATEWAY_LIMIT_STORE")); got != "rediss://10.127.0.3:6378" {
		t.Errorf("GATEWAY_LIMIT_STORE is %q", got)
	}
	if ca := variable("GATEWAY_LIMIT_STORE_CA"); !x509.NewCertPool().AppendCertsFromPEM(ca) {
		t.Errorf("GATEWAY_LIMIT_STORE_CA is %q, no certificate", ca)
	}

	// More memory doesn't make it anew, which would forget what was counted.
	w.edit(dir+"/main.tf", "limit_store = {}", "limit_store = { memory_gb = 2 }")
	deployer.must(dir, apply...)
	deployer.settled(dir, archive...)
	if diff := cmp.Diff([]string{"PATCH redis.projects.locations.instances.patch " + basic}, w.changes()); diff != "" {
		t.Errorf("more memory: want (-), changed (+)\n%s", diff)
	}

	t.Run("no secret is in the state", func(t *testing.T) {
		w := deployer.in(t)
		if found := w.authStrings(dir); len(found) != 1 || found[0] != "" {
			t.Errorf("the AUTH strings in the state are %q, not one that is empty", found)
		}
		// That means something only if one would be found.
		defer w.must(dir, apply...)
		defer w.edit("modules/gateway/limits.tf", "auth_enabled    = false", "auth_enabled    = true")()
		w.must(dir, apply...)
		if found := w.authStrings(dir); len(found) != 1 || found[0] == "" {
			t.Errorf("the state would not show an AUTH string: %q", found)
		}
	})
	w.changes()

	// Another tier is another store. Until it is there, the function counts in the former one.
	w.edit(dir+"/main.tf", "memory_gb = 2", `tier = "STANDARD_HA"`)
	deployer.must(dir, apply...)
	deployer.settled(dir, archive...)
	replicated := w.only("/instances/")
	want = []string{
		"POST redis.projects.locations.instances.create " + replicated,
		"PATCH cloudfunctions.projects.locations.functions.patch " + function,
		"DELETE redis.projects.locations.instances.delete " + basic,
	}
	if diff := cmp.Diff(want, w.beyondFiles()); diff != "" {
		t.Errorf("another tier: want (-), changed (+)\n%s", diff)
	}

	// The function leaves store and network before they go.
	without()
	w.write(dir+"/gateway.yaml", variantConfig)
	deployer.must(dir, apply...)
	deployer.settled(dir, archive...)
	want = []string{
		"PATCH cloudfunctions.projects.locations.functions.patch " + function,
		"DELETE redis.projects.locations.instances.delete " + replicated,
		"DELETE compute.subnetworks.delete projects/" + project + "/regions/europe-west4/subnetworks/gateway-limits",
		"DELETE compute.networks.delete " + network,
	}
	if diff := cmp.Diff(want, w.beyondFiles()); diff != "" {
		t.Errorf("no limit store: want (-), changed (+)\n%s", diff)
	}
	for _, r := range w.Revisions(function) {
		if len(r.Orphaned) > 0 {
			t.Errorf("%s served when %v went", r.Name, r.Orphaned)
		}
	}
	apis := regexp.MustCompile(`/services/|/versions/`) // both stay
	kept := func(names []string) []string { return slices.DeleteFunc(names, apis.MatchString) }
	if diff := cmp.Diff(kept(before), kept(w.Left())); diff != "" {
		t.Errorf("before the limit store (-), after it (+)\n%s", diff)
	}

	// And once more at the end of everything.
	w.edit(dir+"/main.tf", "  invokers    =", "  limit_store = {}\n  invokers    =")
	w.write(dir+"/gateway.yaml", variantConfig+counted)
	deployer.must(dir, apply...)
	deployer.must(dir, append([]string{"destroy", "-auto-approve"}, archive...)...)
	w.must("bootstrap", append([]string{"destroy", "-auto-approve"}, bootstrap...)...)
	w.must("before", "destroy", "-auto-approve")
	w.empty()
}

// beyondFiles is changes without secrets, which hold files and what variables say, and APIs that are turned on.
func (w *world) beyondFiles() []string {
	w.Helper()
	return slices.DeleteFunc(w.changes(), func(m string) bool {
		return strings.Contains(m, " secretmanager.") || strings.Contains(m, " serviceusage.")
	})
}

// authStrings are those of all instances of Redis in a folder's state.
func (w *world) authStrings(dir string) (found []string) {
	w.Helper()
	var state struct {
		Resources []struct {
			Type      string
			Instances []struct{ Attributes map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(w.must(dir, "state", "pull")), &state); err != nil {
		w.Fatal(err)
	}
	for _, r := range state.Resources {
		for _, i := range r.Instances {
			if r.Type == "google_redis_instance" {
				s, _ := i.Attributes["auth_string"].(string)
				found = append(found, s)
			}
		}
	}
	return found
}

// What the environments have commented out is how it is done: it plans without a fault or a warning.
func TestTheEnvironmentsLimitsAsTheyAreCommentedOutArePlanned(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"staging", "production"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, env := newWorld(t, "acme-gateway-"+name), "environments/"+name
			w.write(env+"/backend_override.tf", "terraform {\n  backend \"local\" {}\n}\n")
			w.uncomment(env+"/terraform.tfvars", `# (limit_store = .*)`)
			w.uncomment(env+"/config/gateway.yaml", `# (limits:|  - \{name: .*|limit_store: .*)`)
			w.must(env, "init")
			out := w.must(env, append([]string{"plan"}, w.archive("first")...)...)
			if strings.Contains(out, "Warning") || !strings.Contains(out, "google_redis_instance.limits[0] will be created") {
				t.Errorf("no limit store, or something to warn of:\n%s", out)
			}
		})
	}
}
