package terraform_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/test/pages"
)

// names are those of a folder's variables or outputs.
func (f folder) names(kind string) (all []string) {
	for _, b := range f.blocks {
		if b.Type == kind {
			all = append(all, b.Labels[0])
		}
	}
	return all
}

// Who copies the README's example can plan it.
func TestTheModulesExampleSaysWhatMustBeSaidAndNothingUnknown(t *testing.T) {
	page, err := pages.Read(filepath.Join(root, "terraform/modules/gateway"), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	example := page.Of("hcl")
	if len(example) == 0 {
		t.Fatal("there is no example")
	}
	module := syntax(t, "README.md", []byte(example[0].Text)).Blocks[0]
	if source := literal(module, "source"); source != "../../modules/gateway" {
		t.Errorf("it is of %q", source)
	}
	said := []string{}
	for name := range module.Body.Attributes {
		said = append(said, name)
		if name != "source" && !slices.Contains(gateway(t).names("variable"), name) {
			t.Errorf("%s is no variable of the module", name)
		}
	}
	for _, b := range gateway(t).blocks {
		if b.Type == "variable" && b.Body.Attributes["default"] == nil && !slices.Contains(said, b.Labels[0]) {
			t.Errorf("%s has no default, and the example doesn't say it", b.Labels[0])
		}
	}
}

// What pages have people type names folders, files, outputs and variables that are there.
func TestWhatIsTypedIsThere(t *testing.T) {
	var typed int
	for _, name := range []string{"README.md", "bootstrap/README.md", "environments/README.md", "modules/gateway/README.md"} {
		page, err := pages.Read(filepath.Join(root, "terraform"), name)
		if err != nil {
			t.Fatal(err)
		}
		find := func(pattern string) [][]string {
			found := regexp.MustCompile(pattern).FindAllStringSubmatch(page.Text, -1)
			typed += len(found)
			return found
		}
		for _, m := range find(`-chdir=(terraform/[a-z/-]+) output -\w+ (\w+)`) {
			if !slices.Contains(parse(t, filepath.Join(root, m[1])).names("output"), m[2]) {
				t.Errorf("%s: %s has no output %s", name, m[1], m[2])
			}
		}
		for _, m := range find(`terraform output -json (\w+)`) {
			if !slices.Contains(gateway(t).names("output"), m[1]) {
				t.Errorf("%s: there is no output %s", name, m[1])
			}
		}
		for _, m := range find(`-var='?(\w+)=`) {
			if !slices.Contains(parse(t, filepath.Join(root, "terraform/bootstrap")).names("variable"), m[1]) {
				t.Errorf("%s: bootstrap has no variable %s", name, m[1])
			}
		}
		for _, m := range find(`(?m)(?:^cd |-chdir=|--config |gateway test |^)(terraform/[a-z0-9_./-]+)`) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: %s isn't there", name, strings.TrimSpace(m[0]))
			}
		}
	}
	if typed < 15 {
		t.Errorf("only %d things are typed: is this test blind?", typed)
	}
}
