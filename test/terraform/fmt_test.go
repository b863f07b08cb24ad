package terraform_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Terraform's own formatter does a little more than the library it is made with.
func TestFilesAreFormatted(t *testing.T) {
	dir := filepath.Join(root, "terraform")
	var files int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".terraform" {
			return filepath.SkipDir
		}
		if d.IsDir() || !slices.Contains([]string{".tf", ".tfvars", ".hcl"}, filepath.Ext(path)) {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(text, hclwrite.Format(text)) {
			t.Errorf("%s: run terraform fmt", path)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatal(files, err)
	}
	if program, err := exec.LookPath("terraform"); err == nil {
		if out, err := exec.CommandContext(t.Context(), program, "fmt", "-check", "-recursive", "-diff", dir).CombinedOutput(); err != nil {
			t.Errorf("run terraform fmt: %v\n%s", err, out)
		}
	}
}
