//go:build terraform

package terraform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"llmgateway.dev/gateway/test/provider"
)

// What terraform test says of each module's runs, where Google is mocked.
func TestTheModulesOwnTestsPass(t *testing.T) {
	t.Parallel()
	for _, module := range []string{"bootstrap", "modules/gateway"} {
		t.Run(module, func(t *testing.T) {
			t.Parallel()
			c := newCopy(t, module)
			if out, err := c.terraform("test", "-no-color"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// Each sentence about a wrong value has a run that no other sentence would refuse: where its condition always holds, a
// run of its variable's file, of preconditions.tftest.hcl or of checks.tftest.hcl misses the failure that it expects.
func TestEachValidationAndPreconditionIsTested(t *testing.T) {
	t.Parallel()
	for _, module := range []string{"bootstrap", "modules/gateway"} {
		for i := range conditions(t, filepath.Join(root, "terraform", module)).rounds() {
			t.Run(fmt.Sprintf("%s without the %d. of each", module, i+1), func(t *testing.T) {
				t.Parallel()
				c := newCopy(t, module)
				without := conditions(t, c.dir).hold(t, i)
				args := []string{"test", "-json"}
				for name := range without {
					args = append(args, "-filter=tests/"+name+".tftest.hcl")
				}
				out, _ := c.terraform(args...)
				missed := map[string]bool{}
				for line := range bytes.Lines(out) {
					var event struct {
						File       string `json:"@testfile"`
						Diagnostic struct{ Summary string }
					}
					if json.Unmarshal(line, &event) == nil && event.Diagnostic.Summary == "Missing expected failure" {
						missed[strings.TrimSuffix(filepath.Base(event.File), ".tftest.hcl")] = true
					}
				}
				for name, sentence := range without {
					if !missed[name] {
						t.Errorf("no run of tests/%s.tftest.hcl needs the condition for %s", name, sentence)
					}
				}
				if t.Failed() {
					t.Logf("%s", out)
				}
			})
		}
	}
}

// A misspelt attribute would be dropped where the module's type doesn't have it, and a default be taken. One plan says them
// all.
func TestAMisspeltAttributeIsSaid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"staging", "production"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopy(t, "environments/"+name)
			args := []string{"plan", "-no-color"}
			var sentences []string
			for variable, misspelt := range map[string][2]string{
				"archive":          {`{path="../../function.zip",sha265="00"}`, "archive has no sha265, only path, sha256."},
				"release":          {`{archiv={},files={},archive={object="a",generation=1,bucket="b"}}`, "release has no archiv, only archive, files."},
				"credentials":      {`{openai={adder=["user:ada@example.com"]},other={}}`, "a credential has no adder, only adders."},
				"upstream_account": {`{secrets="openai",role=[]}`, "upstream_account has no role, secrets, only roles, secret, rotators."},
				"delivery":         {`{enviroment="staging",smoke={deniedmodel="m"}}`, "delivery has no enviroment, only environment,"},
				"function":         {`{min_instance=7}`, "function has no min_instance, only runtime, timeout,"},
				"network":          {`{tag=[]}`, "network has no tag, only network,"},
				"limit_store":      {`{memory=1}`, "limit_store has no memory, only memory_gb, tier, range."},
				"alerts":           {`{email=["oncall@example.com"]}`, "alerts has no email, only emails,"},
				"audit":            {`{retention=30}`, "audit has no retention, only retention_days."},
			} {
				args = append(args, "-var="+variable+"="+misspelt[0])
				sentences = append(sentences, misspelt[1])
			}
			sentences = append(sentences, "release.archive has no bucket, only object, generation.", "delivery.smoke has no deniedmodel, only audience,")
			out, err := c.terraform(args...)
			for _, sentence := range sentences {
				if said := unwrapped(string(out)); err == nil || !strings.Contains(said, sentence) {
					t.Errorf("%v, and nobody says: %s\n%s", err, sentence, said)
				}
			}
		})
	}
}

// condition is what a validation, a precondition or a check asks.
type condition struct {
	hcl.Range
	true     string // an expression that is, and refers to something, as it must
	sentence string
}

// byFile are conditions by the name of the file that tests them, in their order.
type byFile map[string][]condition

func (c byFile) rounds() (n int) {
	for _, cs := range c {
		n = max(n, len(cs))
	}
	return n
}

// conditions reads them from a module.
func conditions(t *testing.T, dir string) byFile {
	t.Helper()
	found := byFile{}
	add := func(file string, b *hclsyntax.Block, always string) {
		at, said := b.Body.Attributes["condition"].Expr.Range(), b.Body.Attributes["error_message"].Expr.Range()
		text, err := os.ReadFile(said.Filename)
		if err != nil {
			t.Fatal(err)
		}
		found[file] = append(found[file], condition{at, always, string(said.SliceBytes(text))})
	}
	for _, b := range parse(t, dir).blocks {
		for _, inner := range b.Body.Blocks {
			switch {
			case b.Type == "variable" && inner.Type == "validation":
				name := b.Labels[0]
				add(name, inner, "var."+name+" == var."+name)
			case inner.Type == "lifecycle":
				for _, before := range inner.Body.Blocks {
					add("preconditions", before, "var.project == var.project")
				}
			case b.Type == "check" && inner.Type == "assert":
				add("checks", inner, "var.project == var.project")
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no validation", dir)
	}
	return found
}

// hold makes the i-th condition of each true, and returns their sentences.
func (c byFile) hold(t *testing.T, i int) map[string]string {
	t.Helper()
	sentences, edits := map[string]string{}, []condition{}
	for name, cs := range c {
		if i < len(cs) {
			sentences[name] = cs[i].sentence
			edits = append(edits, cs[i])
		}
	}
	slices.SortFunc(edits, func(a, b condition) int { return b.Start.Byte - a.Start.Byte }) // from the end
	for _, e := range edits {
		text, err := os.ReadFile(e.Filename)
		if err != nil {
			t.Fatal(err)
		}
		text = slices.Concat(text[:e.Start.Byte], []byte(e.true), text[e.End.Byte:])
		if err := os.WriteFile(e.Filename, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sentences
}

// moduleCopy is a folder of terraform/, initialized, in a copy of its own.
type moduleCopy struct {
	t       *testing.T
	dir     string
	program string
	env     []string
}

func newCopy(t *testing.T, module string) *moduleCopy {
	t.Helper()
	rc, err := provider.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program, err := provider.Terraform(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &moduleCopy{t: t, dir: filepath.Join(dir, module), program: program,
		env: append(os.Environ(), "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1")}
	copyFolder(t, dir, filepath.Join(root, "terraform"))
	if strings.HasPrefix(module, "environments/") {
		if err := os.WriteFile(filepath.Join(c.dir, "backend_override.tf"), []byte("terraform {\n  backend \"local\" {}\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := c.terraform("init", "-no-color"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return c
}

func (c *moduleCopy) terraform(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(c.t.Context(), c.program, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd.CombinedOutput()
}
