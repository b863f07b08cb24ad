package buildpack

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// archive is this repository's, opened.
func archive(t *testing.T) *zip.Reader {
	t.Helper()
	var b bytes.Buffer
	if err := Archive(&b, root); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestTheArchiveIsTheAllowListAndNothingElse(t *testing.T) {
	tracked, err := lsFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range tracked {
		top, _, below := strings.Cut(name, "/")
		allowed := slices.Contains([]string{"go.mod", "go.sum", "gateway.go"}, name) ||
			below && (top == "function" || top == "internal")
		if allowed && !strings.HasSuffix(name, "_test.go") && !slices.Contains(strings.Split(name, "/"), "testdata") {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	var got []string
	for _, f := range archive(t).File {
		got = append(got, f.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), archived (+):\n%s", diff)
	}
	for _, name := range []string{"go.mod", "go.sum", "gateway.go"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not tracked", name)
		}
	}
}

func TestTheArchiveHoldsNoFileThatGitDoesNotKnow(t *testing.T) {
	dir := repository(t, map[string]string{
		".gcloudignore":    "/*\n!/internal/\n",
		"internal/a/a.go":  "package a",
		"docs/internal/no": "",
	})
	write(t, dir, map[string]string{"internal/key.json": "secret"})
	files, err := Files(dir)
	if diff := cmp.Diff([]string{"internal/a/a.go"}, files); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestTheSameFilesMakeTheSameBytes(t *testing.T) {
	files := map[string]string{".gcloudignore": "/*\n!/*.go\n", "b.go": "package b", "a.go": "package a", "ab.go": "package a"}
	one, other := repository(t, files), repository(t, files)
	if err := os.Chmod(filepath.Join(other, "a.go"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(other, "b.go"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	if err := Archive(&a, one); err != nil {
		t.Fatal(err)
	}
	if err := Archive(&b, other); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two archives of the same files differ")
	}
	write(t, other, map[string]string{"a.go": "package c"})
	b.Reset()
	if err := Archive(&b, other); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("a changed file did not change the archive")
	}
}

func TestASymbolicLinkIsNotArchived(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".gcloudignore": "/*\n!/*.go\n"})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "a.go")); err != nil {
		t.Fatal(err)
	}
	add(t, dir)
	if err := Archive(&bytes.Buffer{}, dir); err == nil || !strings.Contains(err.Error(), "a.go") {
		t.Errorf("error %v does not name the link", err)
	}
}

func TestTheTopFolderHoldsOneGoFile(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if diff := cmp.Diff([]string{filepath.Join(root, "gateway.go")}, files); diff != "" || err != nil {
		t.Error("the buildpack takes each Go file there for the function's package:", diff, err)
	}
}

// The archive alone must hold all that the program needs, and the program nothing that is there
// for tests, demonstrations or people.
func TestTheGeneratedMainLinksNoDoubleDemoCommandOrTesting(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	src, err := Generate(t.Context(), archive(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deps, err := run(t.Context(), src, "list", "-deps", Main)
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(deps)
	for _, dep := range linked {
		if reason := unwanted(dep); reason != "" {
			t.Errorf("the function links %s, which is %s", dep, reason)
		}
	}
	if !slices.Contains(linked, module+"/function") {
		t.Errorf("the function does not link %s/function; are these its dependencies?\n%s", module, deps)
	}
}

const module = "llmgateway.dev/gateway"

func unwanted(dep string) string {
	switch ours := strings.TrimPrefix(dep, module+"/"); {
	case dep == "testing" || strings.HasPrefix(dep, "testing/") || dep == "net/http/httptest":
		return "for tests"
	case dep == "net/http/pprof" || dep == "expvar":
		return "an open door"
	case ours == dep:
		return ""
	case strings.HasPrefix(ours, "function/cmd"):
		return "a command"
	case strings.HasPrefix(ours, "internal/clientcredentials"):
		return "the command's"
	case strings.HasPrefix(ours, "internal/demo"):
		return "the demonstration"
	case strings.HasSuffix(ours, "test"):
		return "a double"
	}
	return ""
}

func TestUnwantedPackagesAreRecognized(t *testing.T) {
	for dep, want := range map[string]bool{
		"testing":                              true,
		"testing/iotest":                       true,
		"net/http/httptest":                    true,
		module + "/internal/demo":              true,
		module + "/internal/clientcredentials": true,
		module + "/internal/issuer":            false,
		module + "/function/cmd/gateway":       true,
		module + "/internal/secret":            false,
		"example.com/latest":                   false,
		module + "/function":                   false,
		module:                                 false,
		module + "/functions.local/app":        false,
		module + "/internal/x/secrettest":      true,
		"golang.org/x/net/internal/demo":       false,
		module + "/internal/demo/storytel":     true,
	} {
		if got := unwanted(dep) != ""; got != want {
			t.Errorf("%s: unwanted %t, want %t", dep, got, want)
		}
	}
}

func TestGenerateRefusesWhatTheBuildpackRefuses(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	const registers = "package gateway\nimport _ \"" + framework + "/functions\"\n"
	sound := map[string]string{"go.mod": "module example.com/gateway\n", "gateway.go": registers}
	for name, tt := range map[string]struct {
		change map[string]string // "" takes the file away
		want   string
	}{
		"as it should be": {nil, ""},
		"no Go file":      {map[string]string{"gateway.go": ""}, "no Go package"},
		"Go files in sub-folders only": {map[string]string{"gateway.go": "", "function/function.go": registers},
			"no Go package"},
		"a program": {map[string]string{"gateway.go": "package main\n"}, "package main"},
		"a test beside the package": {map[string]string{"gateway_test.go": "package gateway_test\n"},
			"two packages"},
		"a generator behind a build constraint": {map[string]string{"gen.go": "//go:build ignore\n\npackage main\n"},
			"two packages"},
		"a registration in a sub-folder only": {map[string]string{"gateway.go": "package gateway\n", "function/f.go": registers},
			"does not import"},
		"no go.mod":                        {map[string]string{"go.mod": ""}, "no go.mod"},
		"a module path without a dot":      {map[string]string{"go.mod": "module gateway\n"}, "has no dot"},
		"a dot in the second path element": {map[string]string{"go.mod": "module acme/gateway.v1\n"}, "has no dot"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(sound)
			maps.Copy(files, tt.change)
			archive := fstest.MapFS{}
			for name, text := range files {
				if text != "" {
					archive[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
				}
			}
			src, err := Generate(t.Context(), archive, t.TempDir())
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want one with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			main, err := fs.ReadFile(os.DirFS(src), "functions.local/app/main.go")
			if err != nil || !bytes.Contains(main, []byte(`_ "example.com/gateway"`)) {
				t.Errorf("main does not import the root package (%v):\n%s", err, main)
			}
		})
	}
}

// repository makes a folder whose files git tracks.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	add(t, dir)
	return dir
}

func add(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "--all"}} {
		if _, err := git(dir, args...); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
