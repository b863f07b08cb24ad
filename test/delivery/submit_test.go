//go:build terraform

package delivery

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/sandbox"
)

// What the top of cloudbuild.yaml has people type, typed: gcloud reads the file, uploads all that git would commit and
// with it .git, which make archive asks, and nothing that git ignores.
func TestAManualSubmissionUploadsTheCheckout(t *testing.T) {
	if _, err := exec.LookPath("gcloud"); err != nil {
		sandbox.Omit(t, "gcloud isn't installed: what it uploads is not shown")
	}
	cloud, err := googleapis.New()
	if err != nil {
		t.Fatal(err)
	}
	cloud.AddProject(project, 123456789012, "cloudbuild.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com")
	server := httptest.NewServer(cloud)
	defer server.Close()
	dir := workspace(t)
	want := tracked(t, dir)
	for _, ignored := range []string{"dist/plan.tfplan", "terraform/bootstrap/terraform.tfstate", "terraform/environments/staging/.terraform/provider", ".cache/program"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, ignored)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, ignored), "ignored")
	}

	typed := regexp.MustCompile(`(?m)^#   gcloud (builds submit .*)$`).FindStringSubmatch(read(t, filepath.Join(dir, "cloudbuild.yaml")))
	if typed == nil {
		t.Fatal("cloudbuild.yaml doesn't say how it is submitted")
	}
	submit := exec.CommandContext(t.Context(), "gcloud", append(strings.Fields(typed[1]), "--gcs-source-staging-dir=gs://"+project+"-submitted/source")...)
	submit.Dir = dir
	submit.Env = append(os.Environ(), cloud.Environ(server.URL)...)
	submit.Env = append(submit.Env, "HOME="+t.TempDir(), "CLOUDSDK_CONFIG="+t.TempDir(), "CLOUDSDK_CORE_PROJECT="+project)
	// The double reads a build by its document, and runs none.
	if out, err := submit.CombinedOutput(); err == nil || !strings.Contains(string(out), "STRICT: not modelled: cloudbuild.projects.locations.builds.create") {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for name, data := range cloud.Objects() {
		if strings.HasPrefix(name, "gs://"+project+"-submitted/source/") {
			got = append(got, files(t, data)...)
		}
	}
	isGit := func(name string) bool { return strings.HasPrefix(name, ".git/") }
	if !slices.ContainsFunc(got, isGit) {
		t.Error(".git isn't uploaded, and make archive asks it")
	}
	got = slices.DeleteFunc(got, isGit)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("git has (-), gcloud uploaded (+)\n%s", diff)
	}
}

// files are the names of those in a tarball.
func files(t *testing.T, tarball []byte) (names []string) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			names = append(names, path.Clean(header.Name))
		}
	}
}

// tracked are the files that git knows, sorted.
func tracked(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	slices.Sort(names)
	return names
}
