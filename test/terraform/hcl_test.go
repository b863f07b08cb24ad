// Package terraform_test holds terraform/ to what must be true of it. These tests need neither Terraform nor a network;
// those with the build tag terraform apply it, by the genuine provider, to a double of Google.
package terraform_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

func TestNoProviderButGoogleIsUsedAndNothingRunsOnTheMachineThatApplies(t *testing.T) {
	for _, f := range folders(t) {
		var required bool
		for _, b := range f.blocks {
			kind := append(b.Labels, "")[0]
			switch {
			case b.Type == "resource" || b.Type == "data":
				if !strings.HasPrefix(kind, "google_") {
					t.Errorf("%s: %s is not Google's", f.name, kind)
				}
			case b.Type == "provider":
				if kind != "google" {
					t.Errorf("%s: the provider %s is not Google's", f.name, kind)
				}
			case b.Type == "module":
				if source := literal(b, "source"); source != "../../modules/gateway" {
					t.Errorf("%s: the module %s comes from %q", f.name, kind, source)
				}
			}
			for _, inner := range within(b) {
				switch inner.Type {
				case "provisioner", "connection":
					t.Errorf("%s has a %s", inner.DefRange(), inner.Type)
				case "required_providers":
					required = true
					for name, a := range inner.Body.Attributes {
						v, faults := a.Expr.Value(nil)
						if faults.HasErrors() || name != "google" || v.GetAttr("source") != cty.StringVal("hashicorp/google") || v.GetAttr("version") != cty.StringVal("~> 8.0") {
							t.Errorf("%s requires %s as %#v", a.Range(), name, v)
						}
					}
				}
				if a := inner.Body.Attributes["provider"]; a != nil {
					t.Errorf("%s says whose it is", a.Range())
				}
			}
		}
		if !required {
			t.Errorf("%s doesn't say which provider it needs", f.name)
		}
	}
}

func TestEverythingThatAGatewayNeedsIsMade(t *testing.T) {
	var made []string
	for _, b := range gateway(t).resources() {
		made = append(made, b.Labels[0])
	}
	for _, kind := range []string{
		"google_artifact_registry_repository",
		"google_bigquery_dataset",
		"google_cloud_run_v2_service_iam_member",
		"google_cloudbuild_trigger",
		"google_cloudfunctions2_function",
		"google_compute_network",
		"google_compute_subnetwork",
		"google_logging_metric",
		"google_logging_project_sink",
		"google_monitoring_alert_policy",
		"google_monitoring_dashboard",
		"google_monitoring_notification_channel",
		"google_monitoring_uptime_check_config",
		"google_project_service",
		"google_redis_instance",
		"google_secret_manager_secret",
		"google_secret_manager_secret_iam_member",
		"google_secret_manager_secret_version",
		"google_service_account",
		"google_storage_bucket",
		"google_storage_bucket_object",
	} {
		if !slices.Contains(made, kind) {
			t.Errorf("modules/gateway makes no %s", kind)
		}
	}
	for _, name := range []string{"build", "run", "upstream"} {
		if gateway(t).resources()["google_service_account."+name] == nil {
			t.Errorf("modules/gateway makes no identity %s", name)
		}
	}
	for _, b := range gateway(t).blocks {
		if b.Type == "variable" && b.Labels[0] == "invokers" && b.Body.Attributes["default"] != nil {
			t.Error("who may invoke has a default, and must be said")
		}
	}
}

func TestTheEntryPointIsWhatTheRootFileRegisters(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "gateway.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var registered []string
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "HTTP" {
				name, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				registered = append(registered, name)
			}
		}
		return true
	})
	for _, b := range within(gateway(t).resources()["google_cloudfunctions2_function.gateway"]) {
		if b.Type == "build_config" {
			if entry := literal(b, "entry_point"); !slices.Equal(registered, []string{entry}) {
				t.Errorf("gateway.go registers %q, the entry point is %q", registered, entry)
			}
			return
		}
	}
	t.Error("the function has no build_config")
}

func TestTheRuntimeIsTheOneOfGoMod(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^go (\d+)\.(\d+)\.`).FindSubmatch(mod)
	if line == nil {
		t.Fatal("go.mod says no version of Go")
	}
	if want, got := "go"+string(line[1])+string(line[2]), gateway(t).defaults(t, "function").GetAttr("runtime").AsString(); got != want {
		t.Errorf("function.runtime is by default %s, and go.mod needs %s", got, want)
	}
}

// apis are what each kind of resource calls, and so the kinds there may be.
var apis = map[string][]string{
	"google_artifact_registry_repository":            {"artifactregistry"},
	"google_artifact_registry_repository_iam_member": {"artifactregistry"},
	"google_bigquery_dataset":                        {"bigquery"},
	"google_bigquery_dataset_iam_member":             {"bigquery"},
	"google_cloud_run_v2_service_iam_member":         {"run"},
	"google_cloudbuild_trigger":                      {"cloudbuild"},
	"google_cloudbuildv2_connection":                 {"cloudbuild", "secretmanager"}, // reads GitHub's token
	"google_cloudbuildv2_repository":                 {"cloudbuild"},
	"google_cloudfunctions2_function":                {"artifactregistry", "cloudbuild", "cloudfunctions", "run", "storage"}, // is built, kept and run by them
	"google_compute_network":                         {"compute"},
	"google_compute_subnetwork":                      {"compute"},
	"google_logging_metric":                          {"logging"},
	"google_logging_project_sink":                    {"logging"},
	"google_monitoring_alert_policy":                 {"monitoring"},
	"google_monitoring_dashboard":                    {"monitoring"},
	"google_monitoring_notification_channel":         {"monitoring"},
	"google_monitoring_uptime_check_config":          {"monitoring"},
	"google_project_iam_audit_config":                {"cloudresourcemanager"},
	"google_project_iam_member":                      {"cloudresourcemanager"},
	"google_project_service":                         {}, // serviceusage is on in every project, or nothing could be turned on
	"google_redis_instance":                          {"redis"},
	"google_secret_manager_secret":                   {"secretmanager"},
	"google_secret_manager_secret_iam_member":        {"secretmanager"},
	"google_secret_manager_secret_version":           {"secretmanager"},
	"google_service_account":                         {"iam"},
	"google_service_account_iam_member":              {"iam"},
	"google_storage_bucket":                          {"storage"},
	"google_storage_bucket_iam_member":               {"storage"},
	"google_storage_bucket_object":                   {"storage"},
}

func TestEachAPIThatAResourceCallsIsEnabled(t *testing.T) {
	for _, f := range folders(t) {
		always, sometimes := f.services()
		for address, b := range f.resources() {
			called, known := apis[b.Labels[0]]
			if !known {
				t.Errorf("%s: which API does %s call? Add it to apis", f.name, address)
			}
			for _, api := range called {
				api += ".googleapis.com"
				// What is made under a condition may have its API under it, too.
				if !slices.Contains(always, api) && (b.Body.Attributes["count"] == nil || !slices.Contains(sometimes, api)) {
					t.Errorf("%s: %s calls %s, which isn't enabled", f.name, address, api)
				}
			}
		}
	}
}

// services are the APIs that a folder enables, and those that it does under a condition.
func (f folder) services() (always, sometimes []string) {
	on := f.resources()["google_project_service.on"]
	if on == nil {
		return nil, nil
	}
	expr := on.Body.Attributes["for_each"].Expr
	if name, ok := strings.CutPrefix(reference(on, "for_each"), "local."); ok {
		expr = f.locals()[name]
	}
	hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		if c, ok := n.(*hclsyntax.ConditionalExpr); ok {
			sometimes = append(sometimes, literals(c)...)
		}
		return nil
	})
	always = slices.DeleteFunc(literals(expr), func(s string) bool { return slices.Contains(sometimes, s) })
	return always, sometimes
}

// On an empty project, what doesn't wait for its API fails.
func TestEachResourceIsMadeAfterTheAPIsAreOn(t *testing.T) {
	for _, f := range folders(t) {
		after := map[string][]string{}
		for address, b := range f.resources() {
			after[address] = references(b.Body)
		}
		for name, expr := range f.locals() {
			after["local."+name] = references(expr)
		}
		for address := range f.resources() {
			seen, next := map[string]bool{}, []string{address}
			for len(next) > 0 && !seen["google_project_service.on"] {
				at := next[0]
				next = next[1:]
				if !seen[at] {
					seen[at] = true
					next = append(next, after[at]...)
				}
			}
			if !seen["google_project_service.on"] {
				t.Errorf("%s: %s lacks depends_on = [google_project_service.on], and nothing that it refers to has it", f.name, address)
			}
		}
	}
}

// grant is a role on a kind of thing.
type grant struct{ role, on string }

// grants are the roles that are given, on what, and why. What a role allows elsewhere is no matter.
var grants = map[grant]string{
	// modules/gateway
	{"roles/aiplatform.user", "google_project_iam_member"}:                                "models are no resources that a role could be given on",
	{"roles/artifactregistry.writer", "google_artifact_registry_repository_iam_member"}:   "builds store images in their repository",
	{"roles/bigquery.dataEditor", "google_bigquery_dataset_iam_member"}:                   "the sink writes records to its dataset",
	{"roles/iam.serviceAccountKeyAdmin", "google_service_account_iam_member"}:             "rotators make and delete the upstream account's keys",
	{"roles/iam.serviceAccountTokenCreator", "google_service_account_iam_member"}:         "the function impersonates the upstream account",
	{"roles/iam.serviceAccountUser", "google_service_account_iam_member"}:                 "who deploys acts as build and run; who submits builds acts as deploy",
	{"roles/logging.logWriter", "google_project_iam_member"}:                              "builds write their log, which has no narrower resource",
	{"roles/run.invoker", "google_cloud_run_v2_service_iam_member"}:                       "clients and checkers reach the function",
	{"roles/secretmanager.secretAccessor", "google_secret_manager_secret_iam_member"}:     "the function reads its files and credentials, Cloud Build GitHub's token",
	{"roles/secretmanager.secretVersionAdder", "google_secret_manager_secret_iam_member"}: "adders add versions and read none",
	{"roles/secretmanager.viewer", "google_secret_manager_secret_iam_member"}:             "rotate-key.sh looks at the ages of versions",
	{"roles/storage.objectViewer", "google_storage_bucket_iam_member"}:                    "builds read the source",
	{"roles/storage.objectViewer", "google_project_iam_member"}:                           "builds read Google's copy of it, by a condition",

	// bootstrap: the deployer, on its project
	{"roles/artifactregistry.admin", "google_project_iam_member"}:                       "makes the images' repository",
	{"roles/bigquery.dataOwner", "google_project_iam_member"}:                           "makes the records' dataset",
	{"roles/cloudbuild.builds.editor", "google_project_iam_member"}:                     "makes the trigger",
	{"roles/cloudfunctions.developer", "google_project_iam_member"}:                     "makes the function",
	{"roles/compute.networkAdmin", "google_project_iam_member"}:                         "makes the limit store's network",
	{"roles/iam.serviceAccountAdmin", "google_project_iam_member"}:                      "makes the identities",
	{"roles/iam.serviceAccountOpenIdTokenCreator", "google_service_account_iam_member"}: "the smoke test has an ID token of the deployer",
	{"roles/logging.configWriter", "google_project_iam_member"}:                         "makes metrics and sink",
	{"roles/monitoring.editor", "google_project_iam_member"}:                            "makes dashboard, alerts, uptime check",
	{"roles/redis.admin", "google_project_iam_member"}:                                  "makes the limit store",
	{"roles/resourcemanager.projectIamAdmin", "google_project_iam_member"}:              "gives listed roles alone, by a condition",
	{"roles/run.admin", "google_project_iam_member"}:                                    "says who may invoke",
	{"roles/secretmanager.admin", "google_project_iam_member"}:                          "makes the secrets",
	{"roles/serviceusage.serviceUsageAdmin", "google_project_iam_member"}:               "enables the APIs",
	{"roles/storage.admin", "google_project_iam_member"}:                                "makes the source bucket, keeps the state",
}

func TestEachRoleIsGrantedOnlyWhereAReasonIsGiven(t *testing.T) {
	unused := maps.Clone(grants)
	for _, f := range folders(t) {
		for _, b := range f.blocks {
			on := "google_project_iam_member" // what variables and module calls name goes there
			var roles []string
			switch {
			case b.Type == "resource" && strings.HasSuffix(b.Labels[0], "_iam_member"):
				on = b.Labels[0]
				roles = literals(b.Body)
				if role := literal(b, "role"); role == "" && reference(b, "role") != "each.key" {
					t.Errorf("%s: the role must be said here", b.Body.Attributes["role"].Range())
				}
			case b.Type == "resource" && b.Labels[0] == "google_project_iam_audit_config": // grants nothing
			case b.Type == "resource" && strings.Contains(b.Labels[0], "_iam_"):
				t.Errorf("%s takes away what others granted; add members instead", b.DefRange())
			case b.Type == "variable":
				for _, name := range []string{"type", "default"} {
					if a := b.Body.Attributes[name]; a != nil {
						roles = append(roles, literals(a)...)
					}
				}
			default:
				roles = literals(b.Body)
			}
			for _, role := range roles {
				if !strings.HasPrefix(role, "roles/") {
					continue
				}
				if grants[grant{role, on}] == "" {
					t.Errorf("%s: %s is in no grants on %s: misspelt, or too much?", b.DefRange(), role, on)
				}
				delete(unused, grant{role, on})
			}
		}
	}
	for g := range unused {
		t.Errorf("%s on %s is granted nowhere", g.role, g.on)
	}
	for g := range grants {
		if slices.Contains([]string{"roles/owner", "roles/editor", "roles/viewer"}, g.role) {
			t.Errorf("%s is a basic role, far more than any reason", g.role)
		}
	}
}

func TestNoSecretValueCanComeByTerraform(t *testing.T) {
	value := regexp.MustCompile(`(?i)(^|_)(key|password|passphrase|token|pem|value|data|json)$`)
	for _, f := range folders(t) {
		for _, b := range f.blocks {
			switch b.Type {
			case "data":
				if b.Labels[0] != "google_project" {
					t.Errorf("%s: what is read is kept in the state", b.DefRange())
				}
			case "variable":
				names := []string{b.Labels[0]}
				hclsyntax.VisitAll(b.Body.Attributes["type"].Expr, func(n hclsyntax.Node) hcl.Diagnostics {
					if key, ok := n.(*hclsyntax.ObjectConsKeyExpr); ok {
						names = append(names, hcl.ExprAsKeyword(key))
					}
					return nil
				})
				for _, name := range names {
					if value.MatchString(name) {
						t.Errorf("%s: %s sounds like a secret's value", b.DefRange(), name)
					}
				}
				if b.Body.Attributes["sensitive"] != nil || b.Body.Attributes["ephemeral"] != nil {
					t.Errorf("%s: nothing that is secret passes through here", b.DefRange())
				}
			case "resource":
				if regexp.MustCompile(`_(hmac|service_account|api|apikeys)_?(key|keys_key)$`).MatchString(b.Labels[0]) {
					t.Errorf("%s: its key would be kept in the state", b.DefRange())
				}
				if b.Labels[0] == "google_redis_instance" && !never(b, "auth_enabled") {
					t.Errorf("%s: its AUTH string would be kept in the state", b.DefRange())
				}
				if b.Labels[0] == "google_secret_manager_secret_version" && !slices.Contains([]string{"local.files", "local.store_variables"}, reference(b, "for_each")) {
					t.Errorf("%s: only files, and where the limit store is, are no secrets", b.DefRange())
				}
			}
		}
	}
	from := references(gateway(t).locals()["files"])
	slices.Sort(from)
	if !slices.Equal(from, []string{"var.config", "var.policies"}) {
		t.Errorf("files come from %v, not from config and policies alone", from)
	}
	var told []string
	hclsyntax.VisitAll(gateway(t).locals()["store_variables"], func(n hclsyntax.Node) hcl.Diagnostics {
		if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok && len(e.Traversal) > 1 {
			told = append(told, e.Traversal.RootName()+"."+e.Traversal[1].(hcl.TraverseAttr).Name)
		}
		return nil
	})
	slices.Sort(told)
	if !slices.Equal(told, []string{"c.cert", "google_redis_instance.limits", "s.host", "s.port", "s.server_ca_certs"}) {
		t.Errorf("of the limit store the function is told %v", told)
	}
}

// never tells whether an attribute is false and can't become anything else.
func never(b *hclsyntax.Block, name string) bool {
	a := b.Body.Attributes[name]
	if a == nil {
		return false
	}
	v, faults := a.Expr.Value(nil)
	return !faults.HasErrors() && v.Equals(cty.False).True()
}

// What it holds is no secret, and yet whoever changes it lifts the limits.
func TestTheLimitStoreIsReachedByTLSFromItsNetworkAlone(t *testing.T) {
	f := gateway(t)
	store := f.resources()["google_redis_instance.limits"]
	if mode := literal(store, "transit_encryption_mode"); mode != "SERVER_AUTHENTICATION" {
		t.Errorf("its mode of encryption is %q", mode)
	}
	if from := references(store.Body.Attributes["authorized_network"].Expr); !slices.Equal(from, []string{"local.networks"}) {
		t.Errorf("its network is %v, not the function's", from)
	}
	if !never(f.resources()["google_compute_network.limits"], "auto_create_subnetworks") {
		t.Error("its own network has subnetworks that nobody asked for")
	}
	for address, b := range f.resources() {
		if strings.HasPrefix(b.Labels[0], "google_compute_") && b.Labels[1] != "limits" || strings.Contains(b.Labels[0], "_peering") || strings.Contains(b.Labels[0], "_firewall") {
			t.Errorf("%s opens a network, and who is in the limit store's may use it", address)
		}
	}
}

// What environments say of an object's attributes is what the module has: no more is let through, no less refused.
func TestEnvironmentsKnowEachAttributeOfTheModulesObjects(t *testing.T) {
	var want []string
	var walk func(path string, of cty.Type)
	walk = func(path string, of cty.Type) {
		switch {
		case of.IsMapType():
			walk(path, of.ElementType())
		case of.IsObjectType():
			want = append(want, path+": "+strings.Join(slices.Sorted(maps.Keys(of.AttributeTypes())), " "))
			for name, inner := range of.AttributeTypes() {
				walk(path+"."+name, inner)
			}
		}
	}
	for _, b := range gateway(t).blocks {
		if b.Type == "variable" {
			of, _, faults := typeexpr.TypeConstraintWithDefaults(b.Body.Attributes["type"].Expr)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			walk(b.Labels[0], of)
		}
	}
	slices.Sort(want)
	each(t, func(t *testing.T, e environment) {
		var got []string
		for _, b := range parse(t, e.dir).blocks {
			for _, inner := range b.Body.Blocks {
				if b.Type != "variable" || inner.Type != "validation" {
					continue
				}
				condition := inner.Body.Attributes["condition"].Expr
				known := literals(condition)
				slices.Sort(known)
				path := b.Labels[0]
				for _, traversal := range condition.Variables() {
					if len(traversal) == 3 { // var.delivery.smoke
						path += "." + traversal[2].(hcl.TraverseAttr).Name
					}
				}
				got = append(got, path+": "+strings.Join(known, " "))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the module's objects (-), what variables.tf knows (+)\n%s", diff)
		}
	})
}

// A revision reads the versions that it was made with for as long as it serves, and a rollback names them.
func TestVersionsOfFilesOutliveTheirSuccessors(t *testing.T) {
	for address, b := range gateway(t).resources() {
		if b.Labels[0] != "google_secret_manager_secret_version" {
			continue
		}
		if literal(b, "deletion_policy") != "ABANDON" {
			t.Errorf("%s: a version that is replaced must be left, enabled", address)
		}
		if !createdFirst(b) {
			t.Errorf("%s: the next version must be there before the revision leaves this one", address)
		}
	}
}

func createdFirst(b *hclsyntax.Block) bool {
	for _, inner := range within(b) {
		if a := inner.Body.Attributes["create_before_destroy"]; inner.Type == "lifecycle" && a != nil {
			v, faults := a.Expr.Value(nil)
			return !faults.HasErrors() && v.True()
		}
	}
	return false
}

// What is mounted as latest changes under a running revision, or when an instance starts.
func TestTheFunctionReadsFilesByTheNumberOfTheirVersion(t *testing.T) {
	f := gateway(t)
	var volumes int
	for _, b := range within(f.resources()["google_cloudfunctions2_function.gateway"]) {
		switch {
		case b.Type == "secret_environment_variables":
			t.Errorf("%s is read when an instance starts", b.DefRange())
		case b.Type == "dynamic" && b.Labels[0] == "secret_environment_variables":
			if reference(b, "for_each") != "google_secret_manager_secret_version.limit_store" || reference(b.Body.Blocks[0], "version") != "variable.value" {
				t.Errorf("%s gives something else than the limit store's variables, or pins no version", b.DefRange())
			}
		case b.Type == "secret_volumes", b.Type == "dynamic" && b.Labels[0] == "secret_volumes":
			volumes++
			if reference(b, "for_each") != "local.file_versions" || literal(b, "iterator") != "" {
				t.Errorf("%s mounts something else than the files' versions", b.DefRange())
			}
			var pinned bool
			for _, inner := range within(b) {
				pinned = pinned || inner.Type == "versions" && reference(inner, "version") == "file.value"
			}
			if !pinned {
				t.Errorf("%s pins no version", b.DefRange())
			}
		}
	}
	if volumes != 1 {
		t.Errorf("files are mounted at %d places, not one", volumes)
	}
	made := f.locals()["file_versions"]
	if from := references(made); !slices.Contains(from, "google_secret_manager_secret_version.file") || slices.Contains(literals(made), "latest") {
		t.Errorf("the versions come from %v", from)
	}
}
