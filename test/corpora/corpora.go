// Package corpora finds test data that this project did not write, and does not copy: in the folder
// ../shared/corpora beside the repository, or in a module that is a dependency anyway. What isn't
// there is left out with a word, and fails where CI is set.
package corpora

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"llmgateway.dev/gateway/test/sandbox"
)

// Files are those in the folder that match the pattern; there is at least one.
func Files(t testing.TB, pattern string) []string {
	t.Helper()
	root, err := os.Getwd() // a test's is its package's
	for err == nil {
		if _, missing := os.Stat(filepath.Join(root, "go.mod")); missing == nil {
			break
		}
		if parent := filepath.Dir(root); parent != root {
			root = parent
		} else {
			err = os.ErrNotExist
		}
	}
	if err != nil {
		t.Fatal("where is this module? ", err)
	}
	files, err := filepath.Glob(filepath.Join(root, "..", "shared", "corpora", pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		sandbox.Omit(t, "left out: there is no ../shared/corpora/"+pattern+" beside this repository")
	}
	return files
}

// Archive reads a .tar.gz that is part of a module, by the names of its files.
func Archive(t testing.TB, module, name string) map[string][]byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	file := filepath.Join(strings.TrimSpace(string(dir)), name)
	f, err := os.Open(file)
	if err != nil {
		sandbox.Omit(t, fmt.Sprintf("left out: %s is not in the module cache: %v", module, err))
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}
