package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module  = "llmgateway.dev/gateway"
	ours    = module + "/internal/"
	demo    = ours + "demo"
	command = module + "/function/cmd/gateway"
)

// leaves are what every package may know: values, and words shared by all.
var leaves = []string{ours + "config", ours + "principal", ours + "apierror", ours + "operation", ours + "egress", ours + "hidden"}

// pkg is a package as go list tells of it, without its tests.
type pkg struct {
	ImportPath, Name string
	Imports, Deps    []string
}

func (p pkg) isDouble() bool   { return strings.HasPrefix(p.ImportPath, ours) && isDouble(p.ImportPath) }
func (p pkg) isInternal() bool { return strings.HasPrefix(p.ImportPath, ours) }
func isDouble(path string) bool {
	return strings.HasPrefix(path, ours) && strings.HasSuffix(path, "test")
}
func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// Each row is an import that must not be, and why.
var forbidden = []struct {
	because string
	// is says whether from must not import to.
	is func(from pkg, to string) bool
}{
	{"config is what all others rest on; it knows none of them", func(from pkg, to string) bool {
		return from.ImportPath == ours+"config" && isOurs(to)
	}},
	{"siblings know only the leaves, and say what they need of others in interfaces of their own; what joins them is package function", func(from pkg, to string) bool {
		return from.isInternal() && !from.isDouble() && from.ImportPath != demo && isOurs(to) && !slices.Contains(leaves, to)
	}},
	{"a double that knew the part it stands in for would repeat its mistakes", func(from pkg, to string) bool {
		return from.isDouble() && isOurs(to)
	}},
	{"nothing that serves may hold a double or the demonstration: a door for forged tokens", func(from pkg, to string) bool {
		return (isDouble(to) || to == demo) && from.ImportPath != demo && from.ImportPath != command
	}},
	{"doubles are servers; with testing they would add its flags to the command", func(from pkg, to string) bool {
		return (from.isDouble() || from.ImportPath == demo) && to == "testing"
	}},
	{"the root package registers the function when it is imported, and exits where there is no configuration", func(from pkg, to string) bool {
		return to == module
	}},
	{"the root package is the one file that the buildpack reads", func(from pkg, to string) bool {
		return from.ImportPath == module && isOurs(to) && to != module+"/function"
	}},
	{"only package function's command and the root know the framework; everything else is net/http", func(from pkg, to string) bool {
		return strings.HasPrefix(to, "github.com/GoogleCloudPlatform/functions-framework-go") && from.ImportPath != module && from.ImportPath != command
	}},
	{"internal code does not reach up to what composes it", func(from pkg, to string) bool {
		return from.isInternal() && strings.HasPrefix(to, module+"/function")
	}},
	{"what people make of the records is no part of serving", func(from pkg, to string) bool {
		return to == ours+"usage" && from.ImportPath != command
	}},
	{"what people are shown of the policies is no part of serving", func(from pkg, to string) bool {
		return to == ours+"matrix" && from.ImportPath != command
	}},
	{"what people ask of policies is no part of serving", func(from pkg, to string) bool {
		return to == ours+"trial" && from.ImportPath != command
	}},
	{"httputil.ReverseProxy rewrites on its own terms; package relay says every one", func(from pkg, to string) bool {
		return to == "net/http/httputil"
	}},
	{"math/rand's ids can be guessed", func(from pkg, to string) bool {
		return strings.HasPrefix(to, "math/rand")
	}},
	{"log writes past the audit log's form", func(from pkg, to string) bool {
		return to == "log"
	}},
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,Deps", module, module+"/function/...", ours+"...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestNoForbiddenImports(t *testing.T) {
	all := packages(t)
	if len(all) < 15 {
		t.Fatalf("go list found %d packages", len(all))
	}
	for _, p := range all {
		for _, to := range p.Imports {
			for _, rule := range forbidden {
				if rule.is(p, to) {
					t.Errorf("%s imports %s: %s", p.ImportPath, to, rule.because)
				}
			}
		}
	}
}

// What is deployed holds none of these, however far away the import.
func TestTheFunctionLinksNoDoubleNoDemoAndNoTesting(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module && p.ImportPath != module+"/function" {
			continue
		}
		for _, to := range p.Deps {
			if isDouble(to) || to == demo || to == "testing" || to == "net/http/httptest" || strings.HasPrefix(to, module+"/function/cmd") {
				t.Errorf("%s links %s", p.ImportPath, to)
			}
		}
	}
}

// A package is named for its idea; these name none.
func TestNoPackageIsADrawer(t *testing.T) {
	for _, p := range packages(t) {
		for name := range strings.SplitSeq(strings.TrimPrefix(p.ImportPath, module), "/") {
			switch name {
			case "util", "utils", "helper", "helpers", "common", "shared", "misc", "base", "core", "manager", "managers", "service", "services", "types", "models", "pkg", "lib":
				t.Errorf("%s is a drawer, no idea", p.ImportPath)
			}
		}
		if base := path.Base(p.ImportPath); p.Name != "main" && base != p.Name {
			t.Errorf("%s is called %s", p.ImportPath, p.Name)
		}
	}
}
