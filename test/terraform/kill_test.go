//go:build terraform && unix

package terraform_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/provider"
)

// A build that is cancelled, or takes too long, ends at once: nobody takes the lock from the state. What
// terraform/README.md says to type helps.
func TestAnApplyThatWasKilledCanBeRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "acme-variants")
	dir, archive := w.variant("killed", someDeployer, minimal), w.archive("first")
	w.asks("POST", "/storage/v1/b?project=acme-variants", `{"name": "acme-variants-state", "location": "europe-west4", "versioning": {"enabled": true}}`)
	w.write(dir+"/backend.tf", `terraform {
  backend "gcs" {
    bucket = "acme-variants-state"
  }
}
`)
	w.must(dir, "init")
	apply := append([]string{"apply", "-auto-approve", "-no-color"}, archive...)
	w.must(dir, apply...)

	// It dies while Google makes the revision of another configuration, which Google then does to the end.
	w.edit(dir+"/gateway.yaml", "price:", "# changed\n    price:")
	ctx, kill := context.WithCancel(t.Context())
	dead := make(chan struct{})
	w.Cloud.Deploy = func(context.Context, googleapis.Function) (string, error) {
		kill()
		<-dead
		return "https://gateway-abcdef-ez.a.run.app", nil
	}
	out, err := w.killed(ctx, dir, apply...)
	close(dead)
	if err == nil {
		t.Fatalf("it was not killed:\n%s", out)
	}
	out, err = w.terraform(dir, apply...)
	id := regexp.MustCompile(`(?m)^\W*ID: +([0-9]+)$`).FindStringSubmatch(out)
	if err == nil || id == nil {
		t.Fatalf("the state is not locked, or it isn't said by what: %v\n%s", err, out)
	}
	w.must(dir, "force-unlock", "-force", id[1])
	w.must(dir, apply...)
	w.settled(dir, archive...)
	revisions := w.Revisions(w.function())
	last := revisions[len(revisions)-1]
	if text, err := w.SecretVersion(last.Secrets["/etc/gateway/config/gateway.yaml"]); err != nil || !strings.Contains(string(text), "# changed") {
		t.Errorf("the revision that serves, %+v, reads %s, %v", last, text, err)
	}
}

// killed is terraform and its provider, killed when ctx ends.
func (w *world) killed(ctx context.Context, dir string, args ...string) (string, error) {
	w.Helper()
	program, err := provider.Terraform(ctx)
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"-chdir=" + filepath.Join(w.dir, dir)}, args...)...)
	cmd.Env = w.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}
