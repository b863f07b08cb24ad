// Package buildpack makes the function as Google does: the archive that is uploaded, and the steps
// by which Google's Go buildpack turns it into a program, so that tests judge what will really run.
//
// The steps are those of github.com/GoogleCloudPlatform/buildpacks, cmd/go/functions_framework
// (2026-08), for a module that isn't vendored. Two things differ: the Go release is the one on this
// machine, and the program listens on loopback alone.
package buildpack

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

const framework = "github.com/GoogleCloudPlatform/functions-framework-go"

// Main is the generated package, relative to the module.
const Main = "./functions.local/app"

// declarative is the main that the buildpack generates where the root package registers its
// functions by name. The original calls funcframework.Start, which is StartHostPort on every
// interface, and takes 8080 where there is no PORT.
var declarative = template.Must(template.New("main").Parse(`package main

import (
	"log"
	"net/http"
	"os"

	"` + framework + `/funcframework"

	_ "{{.}}"
)

func main() {
	http.HandleFunc("/robots.txt", http.NotFound)
	http.HandleFunc("/favicon.ico", http.NotFound)

	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		log.Fatalf("Function failed to start: %v\n", err)
	}
}
`))

// Generate unpacks the archive into a folder below dir, writes the main package beside it, and
// returns the folder, which is the module's. It refuses what the buildpack refuses, and a root
// package that would get another main than the declarative one. No network is used.
func Generate(ctx context.Context, archive fs.FS, dir string) (string, error) {
	src := filepath.Join(dir, "serverless_function_source_code")
	if err := os.CopyFS(src, archive); err != nil {
		return "", fmt.Errorf("unpack the archive: %w", err)
	}
	name, imports, err := rootPackage(src)
	if err != nil {
		return "", err
	}
	if name == "main" {
		return "", errors.New("the top folder holds package main, which can't be imported")
	}
	if !slices.Contains(imports, framework+"/functions") {
		return "", fmt.Errorf("the top folder's package does not import %s/functions", framework)
	}
	if _, err := os.Stat(filepath.Join(src, "go.mod")); err != nil {
		return "", fmt.Errorf("the archive has no go.mod: %w", err)
	}
	module, err := run(ctx, src, "list", "-m")
	if err != nil {
		return "", err
	}
	if first, _, _ := strings.Cut(module, "/"); !strings.Contains(first, ".") {
		return "", fmt.Errorf("the first element of the module path %s has no dot", module)
	}
	var main strings.Builder
	if err := declarative.Execute(&main, module); err != nil {
		return "", err
	}
	app := filepath.Join(src, Main)
	if err := os.MkdirAll(app, 0o755); err != nil {
		return "", err
	}
	return src, os.WriteFile(filepath.Join(app, "main.go"), []byte(main.String()), 0o644)
}

// rootPackage reads the package clause and the imports of every Go file in dir itself: tests count,
// build constraints do not.
func rootPackage(dir string) (name string, imports []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", nil, err
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return "", nil, err
		}
		if name != "" && f.Name.Name != name {
			return "", nil, fmt.Errorf("the top folder holds two packages, %s and %s", name, f.Name.Name)
		}
		name = f.Name.Name
		for _, spec := range f.Imports {
			imports = append(imports, strings.Trim(spec.Path.Value, "`\""))
		}
	}
	if name == "" {
		return "", nil, errors.New("the top folder holds no Go package")
	}
	return name, imports, nil
}

// Build is Generate, then what needs the network where the module cache is cold: go mod tidy, and
// the build itself. It returns the program's path.
func Build(ctx context.Context, archive fs.FS, dir string) (string, error) {
	src, err := Generate(ctx, archive, dir)
	if err != nil {
		return "", err
	}
	if _, err := run(ctx, src, "mod", "tidy"); err != nil {
		return "", err
	}
	program := filepath.Join(dir, "main")
	if _, err := run(ctx, src, "build", "-o", program, Main); err != nil {
		return "", err
	}
	return program, nil
}

// BuildRepository is Build of the repository at root, as it would be uploaded.
func BuildRepository(ctx context.Context, root, dir string) (string, error) {
	var archive bytes.Buffer
	if err := Archive(&archive, root); err != nil {
		return "", err
	}
	files, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		return "", err
	}
	return Build(ctx, files, dir)
}

// run runs the go command in dir and returns what it printed, without the space around it.
func run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
