//go:build terraform

package terraform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/provider"
)

// world is a Google Cloud of its own, and a copy of terraform/ to apply to it.
type world struct {
	testing.TB
	*googleapis.Cloud
	dir string // the copy
	env []string
}

// newWorld has one empty project with billing: nothing is enabled but what Google enables.
func newWorld(t testing.TB, project string) *world {
	t.Helper()
	cloud, err := googleapis.New()
	if err != nil {
		t.Fatal(err)
	}
	cloud.AddProject(project, 123456789012, "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com")
	server := httptest.NewServer(cloud)
	t.Cleanup(server.Close)
	w := &world{TB: t, Cloud: cloud, dir: t.TempDir()}
	copyFolder(t, w.dir, filepath.Join(root, "terraform"))
	w.hasten("environments/staging")
	w.hasten("environments/production")
	rc, err := provider.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.env = slices.Concat(os.Environ(), cloud.Environ(server.URL), []string{"TF_CLI_CONFIG_FILE=" + rc, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1"})
	return w
}

// hasten keeps the provider from waiting 3 seconds for further services to read or enable in the same call. Where one
// policy changes in many places, as in bootstrap, that wait is what hastens.
func (w *world) hasten(dir string) {
	w.Helper()
	w.write(dir+"/hasten_override.tf", "provider \"google\" {\n  batching {\n    enable_batching = false\n  }\n}\n")
}

// terraform runs terraform in a folder of the copy and returns what it printed.
func (w *world) terraform(dir string, args ...string) (string, error) {
	w.Helper()
	return w.during(w.Context(), dir, args...)
}

// during is terraform that is interrupted, as by Ctrl-C, when ctx ends.
func (w *world) during(ctx context.Context, dir string, args ...string) (string, error) {
	w.Helper()
	program, err := provider.Terraform(ctx)
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"-chdir=" + filepath.Join(w.dir, dir)}, args...)...)
	cmd.Env = w.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	begin := time.Now()
	defer func() { w.Logf("%5.1fs %s %s", time.Since(begin).Seconds(), dir, args[0]) }()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("terraform %s in %s: %w\n%s", strings.Join(args, " "), dir, err, out.String())
	}
	return out.String(), nil
}

// must is terraform where it has to succeed.
func (w *world) must(dir string, args ...string) string {
	w.Helper()
	out, err := w.terraform(dir, append(args, "-no-color")...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// output is an output's value.
func (w *world) output(dir, name string) string {
	w.Helper()
	program, err := provider.Terraform(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(w.Context(), program, "-chdir="+filepath.Join(w.dir, dir), "output", "-json", name)
	cmd.Env = w.env
	out, err := cmd.Output()
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// text is an output that is a string.
func (w *world) text(dir, name string) (s string) {
	w.Helper()
	if err := json.Unmarshal([]byte(w.output(dir, name)), &s); err != nil {
		w.Fatal(err)
	}
	return s
}

// settled fails unless Terraform has nothing left to do.
func (w *world) settled(dir string, args ...string) {
	w.Helper()
	if out, err := w.plan(dir, args...); err != nil {
		w.Errorf("the second plan is not empty: %v\n%s", err, out)
	}
}

var errDrift = errors.New("there is something to do")

// plan is errDrift where Terraform would change something.
func (w *world) plan(dir string, args ...string) (string, error) {
	w.Helper()
	out, err := w.terraform(dir, append([]string{"plan", "-detailed-exitcode", "-no-color"}, args...)...)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 2 {
		return out, errDrift
	}
	return out, err
}

// edit replaces a text in a file of the copy, which must be there, and returns what takes that back.
func (w *world) edit(file, old, new string) (undo func()) {
	w.Helper()
	path := filepath.Join(w.dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		w.Fatalf("%s has no %q", file, old)
	}
	w.write(file, strings.Replace(string(text), old, new, 1))
	return func() { w.write(file, string(text)) }
}

// by is the world as another caller of Google sees it.
func (w *world) by(email string) *world {
	w.Helper()
	other, token := *w, "token of "+email
	w.Authorize(token, email)
	const name = "GOOGLE_OAUTH_ACCESS_TOKEN="
	other.env = append(slices.DeleteFunc(slices.Clone(w.env), func(v string) bool { return strings.HasPrefix(v, name) }), name+token)
	return &other
}

// asks is one call of the owner's, beside Terraform.
func (w *world) asks(method, path, body string) {
	w.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	for _, v := range w.env {
		if token, ok := strings.CutPrefix(v, "GOOGLE_OAUTH_ACCESS_TOKEN="); ok {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	if answer.Code >= 300 {
		w.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
}

// uncomment takes the comment's sign from the lines of a file of the copy that are like that, of which there must be some.
func (w *world) uncomment(file, lines string) {
	w.Helper()
	path := filepath.Join(w.dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	changed := regexp.MustCompile("(?m)^"+lines+"$").ReplaceAllString(string(text), "$1")
	if changed == string(text) {
		w.Fatalf("%s has no line like %s", file, lines)
	}
	w.write(file, changed)
}

// in is the world within a subtest.
func (w *world) in(t testing.TB) *world { return &world{TB: t, Cloud: w.Cloud, dir: w.dir, env: w.env} }

func (w *world) write(file, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, file), []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

// elsewhere is the world as another checkout of the same files sees it.
func (w *world) elsewhere() *world {
	w.Helper()
	other := *w
	other.dir = w.TempDir()
	copyFolder(w.TB, other.dir, w.dir)
	return &other
}

// archive is a small zip in place of the function's: what is in it is no matter here. It returns the arguments that name
// it as make archive does, from an environment's folder.
func (w *world) archive(content string) []string {
	w.Helper()
	file := "function-" + content + ".zip"
	data := zipped(w.TB, map[string]string{"go.mod": "module " + content + ".example/f\n"})
	w.write(file, string(data))
	return []string{fmt.Sprintf(`-var=archive={path="../../%s",sha256="%x"}`, file, sum(data))}
}

// changes is what was changed since the last call, but for Terraform's own state.
func (w *world) changes() []string {
	defer w.ClearMutations()
	return slices.DeleteFunc(w.Mutations(), func(m string) bool { return strings.Contains(m, "-state/objects/") })
}
