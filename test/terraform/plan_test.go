package terraform_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"llmgateway.dev/gateway/test/provider"
)

// The provider's own schema and checks, without anything to ask: a plan of an empty project reads nothing.
func TestEachEnvironmentAndBootstrapArePlannedByTheGenuineProvider(t *testing.T) {
	program, ok := provider.CachedTerraform()
	if !ok {
		t.Skip("terraform is neither on the PATH nor in .cache/terraform; make test-terraform builds it")
	}
	rc, ok := provider.Cached()
	if !ok {
		t.Skip("the provider isn't in .cache/terraform; make test-terraform builds it")
	}
	dir := t.TempDir()
	copyFolder(t, dir, filepath.Join(root, "terraform"))
	environments, err := filepath.Glob(filepath.Join(dir, "environments/*/main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "function.zip"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	variables := map[string][]string{filepath.Join(dir, "bootstrap"): {"-var=project=acme-gateway", "-var=region=europe-west4"}}
	for _, main := range environments {
		variables[filepath.Dir(main)] = []string{fmt.Sprintf(`-var=archive={path="../../function.zip",sha256="%x"}`, sha256.Sum256(nil))}
	}
	for folder, vars := range variables {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			if err := os.WriteFile(filepath.Join(folder, "backend_override.tf"), []byte("terraform {\n  backend \"local\" {}\n}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"init"}, {"validate"}, append([]string{"plan"}, vars...)} {
				cmd := exec.CommandContext(t.Context(), program, append(args, "-no-color")...)
				cmd.Dir = folder
				cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
					"GOOGLE_OAUTH_ACCESS_TOKEN=x", "HTTPS_PROXY=http://127.0.0.1:9")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
		})
	}
}

// copyFolder copies what is committed, and not what somebody's own terraform init and apply left there: a state would be
// read again from Google, and the registry's hashes in a lock file are not those of a provider that is built here.
func copyFolder(t testing.TB, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case name == ".terraform":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		case name == ".terraform.lock.hcl" || strings.Contains(name, ".tfstate") || strings.HasSuffix(name, ".tfplan"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
