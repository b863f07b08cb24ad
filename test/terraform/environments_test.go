package terraform_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	ctyfunction "github.com/zclconf/go-cty/cty/function"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

// environment is a folder of terraform/environments.
type environment struct {
	name, dir string
	facts     map[string]cty.Value // terraform.tfvars, with what is commented out there
	config    *config.Config
}

func (e environment) fact(name string) string { return e.facts[name].AsString() }

// each runs a test for each environment.
func each(t *testing.T, test func(t *testing.T, e environment)) {
	dirs, err := filepath.Glob(filepath.Join(root, "terraform/environments/*/main.tf"))
	if err != nil || len(dirs) < 2 {
		t.Fatal(dirs, err)
	}
	for _, main := range dirs {
		e := environment{dir: filepath.Dir(main), name: filepath.Base(filepath.Dir(main)), facts: map[string]cty.Value{}}
		t.Run(e.name, func(t *testing.T) {
			facts := regexp.MustCompile(`(?m)^# (delivery = \{|  .*|\}$)`).ReplaceAllString(e.read(t, "terraform.tfvars"), "$1")
			for name, a := range syntax(t, e.dir+"/terraform.tfvars", []byte(facts)).Attributes {
				value, faults := a.Expr.Value(nil)
				if faults.HasErrors() {
					t.Fatal(faults)
				}
				e.facts[name] = value
			}
			var faults config.Faults
			if e.config, faults = config.Load(e.dir + "/config/gateway.yaml"); faults.Err() != nil {
				t.Fatal(faults)
			}
			test(t, e)
		})
	}
}

func (e environment) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEachConfigurationHasNoFaultAndNoWarning(t *testing.T) {
	each(t, func(t *testing.T, e environment) {
		if warnings, err := function.Check(e.dir + "/config/gateway.yaml"); err != nil || len(warnings) > 0 {
			t.Error(warnings, err)
		}
	})
}

// Each policy has a case that it decides, so that no change of one goes unnoticed.
func TestEachEnvironmentsPoliciesDecideAsItsCasesExpect(t *testing.T) {
	gateway := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", gateway, filepath.Join(root, "function/cmd/gateway")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	each(t, func(t *testing.T, e environment) {
		if out, err := exec.Command(gateway, "test", "--cover", filepath.Join(e.dir, "policies/policy_tests.yaml")).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestTheFilesThatAreReadAreThoseThatAreThereAndThatTheConfigurationNames(t *testing.T) {
	each(t, func(t *testing.T, e environment) {
		// file says its own name, for the text.
		file := ctyfunction.New(&ctyfunction.Spec{
			Params: []ctyfunction.Parameter{{Name: "path", Type: cty.String}},
			Type:   ctyfunction.StaticReturnType(cty.String),
			Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
		})
		read := map[string]string{}
		for _, b := range syntax(t, e.dir+"/main.tf", []byte(e.read(t, "main.tf"))).Blocks {
			if b.Type != "module" {
				continue
			}
			context := &hcl.EvalContext{
				Variables: map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(".")})},
				Functions: map[string]ctyfunction.Function{"file": file, "merge": stdlib.MergeFunc},
			}
			text, faults := b.Body.Attributes["config"].Expr.Value(context)
			policies, more := b.Body.Attributes["policies"].Expr.Value(context)
			if faults = append(faults, more...); faults.HasErrors() {
				t.Fatal(faults)
			}
			read["config/gateway.yaml"] = text.AsString()
			for path, text := range policies.AsValueMap() {
				read[path] = text.AsString()
			}
		}
		want := map[string]string{}
		for _, pattern := range []string{"config/*", "policies*/*.cedar", "policies*/*/*.cedar"} {
			found, err := filepath.Glob(filepath.Join(e.dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range found {
				path = strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(e.dir)+"/")
				want[path] = "./" + path
			}
		}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Errorf("there is (-), main.tf mounts (+)\n%s", diff)
		}
		named := map[string]string{"config/gateway.yaml": "./config/gateway.yaml"}
		for _, path := range e.config.Policies.Files {
			path, err := filepath.Rel(e.dir, path)
			if err != nil {
				t.Fatal(err)
			}
			named[filepath.ToSlash(path)] = "./" + filepath.ToSlash(path)
		}
		if diff := cmp.Diff(named, read); diff != "" {
			t.Errorf("the configuration names (-), main.tf mounts (+)\n%s", diff)
		}
	})
}

func TestEachSecretThatTheConfigurationReadsIsMade(t *testing.T) {
	each(t, func(t *testing.T, e environment) {
		made := e.facts["credentials"].AsValueMap()
		secrets := regexp.MustCompile(`projects/([^/]+)/secrets/([^/]+)/versions/([a-z0-9]+)`).FindAllStringSubmatch(e.read(t, "config/gateway.yaml"), -1)
		if len(secrets) == 0 {
			t.Error("the configuration reads no secret")
		}
		for _, s := range secrets {
			if made[s[2]] == cty.NilVal {
				t.Errorf("%s is read, and not in credentials", s[0])
			}
			if s[3] != "latest" {
				t.Errorf("%s is not the latest version, and a rotation would not reach the gateway", s[0])
			}
		}
	})
}

func TestAnEnvironmentNamesItsOwnProjectAlone(t *testing.T) {
	project := regexp.MustCompile(`projects/([a-z0-9-]+)|project: *([a-z0-9-]+)|@([a-z0-9-]+)\.iam\.gserviceaccount\.com|bucket=([a-z0-9-]+)-gateway-state|state_bucket = "([a-z0-9-]+)-gateway-state"`)
	each(t, func(t *testing.T, e environment) {
		var named int
		for _, file := range []string{"backend.tf", "config/gateway.yaml", "main.tf", "policies/gateway.cedar", "policies/policy_tests.yaml", "terraform.tfvars"} {
			for _, m := range project.FindAllStringSubmatch(e.read(t, file), -1) {
				named++
				if name := strings.Join(m[1:], ""); name != e.fact("project") {
					t.Errorf("%s: %s is not of %s", file, m[0], e.fact("project"))
				}
			}
		}
		if named < 6 {
			t.Errorf("the project is named only %d times: is this test blind?", named)
		}
		upstream := e.facts["upstream_account"]
		for name, c := range e.config.Credentials {
			if c.GoogleDefault != nil && c.GoogleDefault.Impersonate != "" {
				if want := "gateway-upstream@" + e.fact("project") + ".iam.gserviceaccount.com"; c.GoogleDefault.Impersonate != want || upstream.Type().HasAttribute("secret") {
					t.Errorf("credential %s impersonates %s; upstream_account makes %s, or a key", name, c.GoogleDefault.Impersonate, want)
				}
			}
		}
	})
}

// Anybody at Google can have a token for any audience; the requirement alone makes the issuer safe.
func TestTheSmokeTestIsAllowedToTheDeployerAndNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, e environment) {
		delivery := e.facts["delivery"]
		if delivery == cty.NilVal {
			t.Fatal("terraform.tfvars has no delivery, commented out or not")
		}
		of := func(v cty.Value, name string) string { return v.GetAttr(name).AsString() }
		smoke := delivery.GetAttr("smoke")
		if of(delivery, "environment") != e.name {
			t.Errorf("builds would apply %s", of(delivery, "environment"))
		}

		i := slices.IndexFunc(e.config.Issuers, func(i config.Issuer) bool { return i.URL == "https://accounts.google.com" })
		if i < 0 {
			t.Fatal("Google is no issuer")
		}
		issuer := e.config.Issuers[i]
		if diff := cmp.Diff(map[string]string{"email": e.fact("deployer")}, issuer.Require); diff != "" {
			t.Errorf("Google's tokens are admitted for others than the deployer (-):\n%s", diff)
		}
		if !slices.Contains(issuer.Audiences, of(smoke, "audience")) {
			t.Errorf("the issuer expects %q, the smoke test asks for %s", issuer.Audiences, of(smoke, "audience"))
		}
		if diff := cmp.Diff([]config.ClaimPath{"email"}, issuer.Groups); diff != "" {
			t.Error(diff)
		}

		policies, faults := policy.Load(e.config)
		if faults.Err() != nil {
			t.Fatal(faults)
		}
		decide := func(email, model string) *policy.Decision {
			who := &principal.Principal{Issuer: issuer.URL, Subject: "1", ClientID: "1", Groups: []string{issuer.GroupPrefix + email}}
			return policies.Decide(who, chat(t, model), time.Now())
		}
		if d := decide(e.fact("deployer"), of(smoke, "model")); d.Err() != nil {
			t.Errorf("the deployer may not use %s: %v", of(smoke, "model"), d.Err())
		}
		if d := decide(e.fact("deployer"), of(smoke, "denied_model")); !d.Denied() {
			t.Errorf("the deployer may use %s", of(smoke, "denied_model"))
		}
		if _, ok := e.config.Models[of(smoke, "denied_model")]; !ok {
			t.Errorf("%s is no model, so that its denial proves nothing of policies", of(smoke, "denied_model"))
		}
		if d := decide("mallory@example.com", of(smoke, "model")); !d.Denied() {
			t.Errorf("anybody at Google may use %s", of(smoke, "model"))
		}
	})
}

// chat is a request for a completion.
func chat(t *testing.T, model string) *operation.Request {
	t.Helper()
	route, err := operation.Match(httptest.NewRequest("POST", "/v1/chat/completions", nil))
	if err != nil {
		t.Fatal(err)
	}
	if route.Name != "chat.completions.create" {
		t.Fatal(route.Name)
	}
	if err := route.ReadHead(http.Header{"Content-Type": {"application/json"}}); err != nil {
		t.Fatal(err)
	}
	request, err := operation.Read(route, []byte(`{"model": "`+model+`", "messages": [{"role": "user", "content": "hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// Facts are in other files: these are copied, never edited, when an environment is made.
func TestEnvironmentsDifferInNothingButTheirNameAndDeletionProtection(t *testing.T) {
	protected := regexp.MustCompile(`(variable "deletion_protection" \{\n  type    = bool\n  default = )(true|false)`)
	var first map[string]string
	each(t, func(t *testing.T, e environment) {
		texts := map[string]string{}
		for _, file := range []string{"backend.tf", "main.tf", "variables.tf"} {
			text := strings.ReplaceAll(e.read(t, file), e.fact("project"), "PROJECT")
			texts[file] = protected.ReplaceAllString(strings.ReplaceAll(text, e.name, "ENVIRONMENT"), "${1}PROTECTED")
		}
		if !strings.Contains(texts["variables.tf"], "PROTECTED") {
			t.Error("variables.tf has no deletion_protection")
		}
		if e.name == "production" && !strings.Contains(e.read(t, "variables.tf"), "default = true\n") {
			t.Error("production can be destroyed by default")
		}
		if first == nil {
			first = texts
		}
		if diff := cmp.Diff(first, texts); diff != "" {
			t.Errorf("another environment (-), this one (+)\n%s", diff)
		}
		for _, b := range parse(t, e.dir).blocks {
			if b.Type == "resource" || b.Type == "data" || b.Type == "locals" {
				t.Errorf("%s: modules hold resources, environments hold facts", b.DefRange())
			}
		}
	})
}
