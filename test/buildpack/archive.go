package buildpack

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Files lists, sorted and with slashes, the tracked files of the repository at root that its
// .gcloudignore lets through. Git reads the list, because its pattern language is gcloud's
// (cloud.google.com/sdk/gcloud/reference/topic/gcloudignore).
func Files(root string) ([]string, error) {
	tracked, err := lsFiles(root)
	if err != nil {
		return nil, err
	}
	ignored, err := lsFiles(root, "--cached", "--ignored", "--exclude-from=.gcloudignore")
	if err != nil {
		return nil, err
	}
	files := slices.DeleteFunc(tracked, func(name string) bool { return slices.Contains(ignored, name) })
	slices.Sort(files)
	return files, nil
}

func lsFiles(root string, args ...string) ([]string, error) {
	out, err := git(root, append([]string{"ls-files", "-z"}, args...)...)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(out, func(r rune) bool { return r == 0 }), nil
}

// git runs in the repository at dir, even from a hook, whose GIT_DIR and GIT_INDEX_FILE name
// another.
func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: %s", args[0], dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// Archive writes Files as a zip whose bytes depend on their names and contents alone, so that its
// hash changes exactly when the function does: no times, one mode, and no compression, whose result
// would change with the Go release.
func Archive(w io.Writer, root string) error {
	files, err := Files(root)
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	for _, name := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("archive %s: is not a regular file", name)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: epoch}
		h.SetMode(0o644)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return z.Close()
}

// epoch is the first moment that a zip can name.
var epoch = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)
