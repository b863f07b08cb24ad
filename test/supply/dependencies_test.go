// Package supply holds what the gateway is made of to what its pages say.
package supply

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("%s %q: %v\n%s", name, args, err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// module is what go list says of one.
type module struct {
	Path, Dir      string
	Main, Indirect bool
}

// row is one of a table in docs/dependencies.md.
type row struct{ licence, where, why string }

// tables reads the page's two tables: module to row.
func tables(t *testing.T) (required, linked map[string]row) {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	required, linked = map[string]row{}, map[string]row{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !regexp.MustCompile(`^[a-z.]+\.[a-z]+/\S+$`).MatchString(cells[0]):
		case len(cells) == 4:
			required[cells[0]] = row{cells[1], cells[2], cells[3]}
		case len(cells) == 2:
			linked[cells[0]] = row{licence: cells[1]}
		}
	}
	return required, linked
}

func TestEachDependencyIsListedWithItsReasonAndItsLicence(t *testing.T) {
	required, linked := tables(t)
	// The generated main package starts the framework; the root package is the rest.
	inFunction := map[string]bool{}
	for path := range strings.FieldsSeq(run(t, "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".", "github.com/GoogleCloudPlatform/functions-framework-go/funcframework")) {
		inFunction[path] = true
	}
	listed := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(run(t, "go", "list", "-m", "-json", "all"))); ; {
		var m module
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Main || m.Indirect && !inFunction[m.Path] {
			continue
		}
		of, other := required, linked
		if m.Indirect {
			of, other = linked, required
		}
		listed[m.Path] = true
		r, ok := of[m.Path]
		if _, wrong := other[m.Path]; !ok || wrong {
			t.Errorf("%s is in the wrong table of docs/dependencies.md, or in none", m.Path)
			continue
		}
		if got := licence(t, m.Dir); got != r.licence {
			t.Errorf("%s is under %s, and the page says %s", m.Path, got, r.licence)
		}
		if !m.Indirect && (len(r.why) < 10 || r.where != "function" && r.where != "tests" || r.where == "function" && !inFunction[m.Path]) {
			t.Errorf("%s: where %q, why %q", m.Path, r.where, r.why)
		}
	}
	for _, table := range []map[string]row{required, linked} {
		for path := range table {
			if !listed[path] {
				t.Errorf("docs/dependencies.md lists %s, which nothing needs", path)
			}
		}
	}
	if len(required) < 20 || len(linked) < 20 {
		t.Errorf("the page has %d and %d modules", len(required), len(linked))
	}
}

// phrases are what no other licence says.
var phrases = []struct {
	licence string
	is      func(text string) bool
}{
	{"MIT", func(s string) bool { return strings.Contains(s, "Permission is hereby granted, free of charge") }},
	{"Apache-2.0", func(s string) bool { return strings.Contains(s, "Apache License") && strings.Contains(s, "2.0") }},
	{"MPL-2.0", func(s string) bool { return strings.Contains(s, "Mozilla Public License, version 2.0") }},
	{"BSD-3-Clause", func(s string) bool {
		return strings.Contains(s, redistribution) && strings.Contains(s, "Neither the name")
	}},
	{"BSD-2-Clause", func(s string) bool {
		return strings.Contains(s, redistribution) && !strings.Contains(s, "Neither the name")
	}},
}

const redistribution = "Redistribution and use in source and binary forms"

// licence reads a module's own licence file.
func licence(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	if len(files) == 0 {
		return "no licence"
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range phrases {
		if p.is(strings.Join(strings.Fields(string(text)), " ")) {
			found = append(found, p.licence)
		}
	}
	return strings.Join(found, ", ")
}

// What fetches a program to run it says which.
func TestToolsAreFetchedByVersion(t *testing.T) {
	for _, file := range []string{"Makefile", "cloudbuild.yaml", ".ci/run"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range regexp.MustCompile(`go (?:run|install) (\S+\.\S+/\S+)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.HasPrefix(tool[1], "./") && !regexp.MustCompile(`@v\d+\.\d+\.\d+$`).MatchString(tool[1]) {
				t.Errorf("%s runs %s, whatever it is today", file, tool[1])
			}
		}
	}
}

// A deployment asks for vulnerabilities before it plans, and keeps what it is made of; a change can't land with a module
// that isn't what its sum says.
func TestTheChecksAreWhereTheyMustBe(t *testing.T) {
	build, err := os.ReadFile(root + "/cloudbuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	places := []int{}
	for _, what := range []string{"make test\n", "make vulncheck\n", "make archive\n", "make sbom\n", "terraform plan", "terraform apply", "dist/sbom.cdx.json]"} {
		places = append(places, strings.Index(string(build), what))
	}
	if !slices.IsSorted(places) || places[0] < 0 {
		t.Errorf("the steps stand at %d", places)
	}
	ci, err := os.ReadFile(root + "/.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ci), "\ngo mod verify\n") {
		t.Error(".ci/run doesn't verify the modules")
	}
}
