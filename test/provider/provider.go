// Package provider has the genuine Google provider, and Terraform itself where it isn't installed, built once from their
// sources, for tests that plan and apply with them.
//
// Terraform would ask its registry for providers. A filesystem mirror in .cache/terraform, which git ignores, answers in
// its place: terraform.rc there, as TF_CLI_CONFIG_FILE, allows nothing else. A binary says itself what it was built from,
// so that other versions than the ones named here are built anew.
package provider

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// source is a program's module, whose top folder it is.
type source struct{ module, version string }

var (
	// Two days after the release 8.0.0. The module proxy has no release since v1, because none bears its major version in
	// the module's path.
	google = source{"github.com/hashicorp/terraform-provider-google", "v1.20.1-0.20260828184646-f3721fb45fa3"}
	// label is what Terraform takes it for: plain, to satisfy ~> 8.0.
	label = "8.0.0"

	terraform = source{"github.com/hashicorp/terraform", "v1.11.4"}
	// parts are modules within Terraform's, of the same commit. Its go.mod replaces them by folders that no module archive
	// has, and go install takes no module that replaces any.
	parts = map[string][]string{"v0.0.0-20250409131005-35645b8fca68": {
		"backend/remote-state/azure", "backend/remote-state/consul", "backend/remote-state/cos", "backend/remote-state/gcs",
		"backend/remote-state/kubernetes", "backend/remote-state/oss", "backend/remote-state/pg", "backend/remote-state/s3", "legacy",
	}}
)

// Cached returns the path of terraform.rc, if the provider is there. It takes neither the network nor a build.
func Cached() (rc string, ok bool) {
	c, err := open()
	if err != nil || !google.is(c.provider()) {
		return "", false
	}
	rc, err = c.configure()
	return rc, err == nil
}

// Install is Cached where that is true. Else it builds the provider first: that takes four to five minutes on two idle
// cores, 2 GB of memory and the Go module proxy, and is said on standard error. Any number of processes may call it at
// once, one of them builds.
func Install(ctx context.Context) (rc string, err error) {
	c, err := open()
	if err != nil {
		return "", err
	}
	if err := c.have(ctx, google, c.provider()); err != nil {
		return "", fmt.Errorf("install the Google provider: %w", err)
	}
	return c.configure()
}

// CachedTerraform returns what Terraform does, if that takes no build.
func CachedTerraform() (path string, ok bool) {
	if path, err := exec.LookPath("terraform"); err == nil {
		return path, true
	}
	c, err := open()
	if err != nil || !terraform.is(c.terraform()) {
		return "", false
	}
	return c.terraform(), true
}

// Terraform returns the path of terraform: the one on the PATH or, where there is none, one that is built as Install
// builds the provider.
func Terraform(ctx context.Context) (string, error) {
	if path, ok := CachedTerraform(); ok {
		return path, nil
	}
	c, err := open()
	if err != nil {
		return "", err
	}
	path := c.terraform()
	if err := c.have(ctx, terraform, path); err != nil {
		return "", fmt.Errorf("install Terraform: %w", err)
	}
	return path, nil
}

// suffix ends programs' names.
var suffix = map[string]string{"windows": ".exe"}[runtime.GOOS]

// is reports whether the file is a program that was built from s.
func (s source) is(file string) bool {
	info, err := buildinfo.ReadFile(file)
	if err != nil || info.Path != s.module {
		return false
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == s.module {
			return m.Version == s.version
		}
	}
	return false
}

// build writes the program to the file. dir is empty, and on the same disk.
func (s source) build(ctx context.Context, dir, file string) error {
	mod := "module build.local\n\ngo 1.26.0\n\nrequire " + s.module + " " + s.version + "\n"
	if s == terraform {
		for version, names := range parts {
			for _, name := range names {
				part := s.module + "/internal/" + name
				mod += "replace " + part + " => " + part + " " + version + "\n"
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	// version.dev is of Terraform alone: without it, it would call itself 1.11.4-dev.
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w -X github.com/hashicorp/terraform/version.dev=no", "-o", file, s.module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// cache is a folder with a mirror and the terraform.rc that names it.
type cache struct{ dir string }

// open finds the cache of the module that holds the working directory, which in a test is the package's.
var open = sync.OnceValues(func() (cache, error) {
	dir, err := os.Getwd()
	if err != nil {
		return cache{}, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return cache{filepath.Join(dir, ".cache", "terraform")}, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return cache{}, errors.New("find .cache/terraform: the working directory is in no Go module")
		}
		dir = parent
	}
})

func (c cache) terraform() string { return filepath.Join(c.dir, "bin", "terraform"+suffix) }

func (c cache) mirror() string { return filepath.Join(c.dir, "mirror") }

// provider is where Terraform looks for it (developer.hashicorp.com/terraform/cli/config/config-file, filesystem_mirror).
func (c cache) provider() string {
	return filepath.Join(c.mirror(), "registry.terraform.io", "hashicorp", "google", label, runtime.GOOS+"_"+runtime.GOARCH,
		"terraform-provider-google_v"+label+suffix)
}

// have sees to it that the file is the program. It is put there in one step, so that half a program never is.
func (c cache) have(ctx context.Context, s source, file string) error {
	if s.is(file) {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(c.dir, "lock")).Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if s.is(file) {
		return nil
	}
	dir, err := os.MkdirTemp(c.dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(os.Stderr, "Building %s@%s into %s, once: about 5 minutes …\n", s.module, s.version, c.dir)
	built := filepath.Join(dir, "program")
	if err := s.build(ctx, dir, built); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.Rename(built, file)
}

// configure writes terraform.rc, with the mirror's absolute path: the repository may have been moved.
func (c cache) configure() (rc string, err error) {
	rc = filepath.Join(c.dir, "terraform.rc")
	text := fmt.Sprintf("disable_checkpoint = true\n\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.ToSlash(c.mirror()))
	if had, err := os.ReadFile(rc); err == nil && string(had) == text {
		return rc, nil
	}
	temp, err := os.CreateTemp(c.dir, "terraform.rc-")
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(text)
	if err := errors.Join(err, temp.Close()); err != nil {
		return "", err
	}
	return rc, os.Rename(temp.Name(), rc)
}
