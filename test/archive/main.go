// Archive writes the zip that Terraform uploads as the function's source, and beside it
// archive.tfvars.json, which tells Terraform where it is and what its hash is.
//
//	go run ./test/archive -o dist/function.zip
//
// With -program it also builds of it what Google does: the program whose parts an SBOM lists.
//
// It runs at the repository's root. The same files give the same bytes.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"llmgateway.dev/gateway/test/buildpack"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("archive: ")
	file := flag.String("o", "dist/function.zip", "the `file` to write")
	program := flag.String("program", "", "the `file` to write the built program to, too")
	flag.Parse()

	var archive bytes.Buffer
	if err := buildpack.Archive(&archive, "."); err != nil {
		log.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(*file), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*file, archive.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := writeVariables(filepath.Join(filepath.Dir(*file), "archive.tfvars.json"), *file, archive.Bytes()); err != nil {
		log.Fatal(err)
	}
	if *program != "" {
		if err := build(archive.Bytes(), *program); err != nil {
			log.Fatal(err)
		}
	}
}

func build(archive []byte, to string) error {
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	built, err := buildpack.Build(context.Background(), files, dir)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

// writeVariables writes modules/gateway's variable archive. The path is as an environment's folder sees it, where
// Terraform runs, and so the same in every checkout: the provider takes another path for another object, and deletes
// the one that is served from.
func writeVariables(to, file string, archive []byte) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs("terraform/environments/any")
	if err != nil {
		return err
	}
	if path, err = filepath.Rel(folder, path); err != nil {
		return err
	}
	variables, err := json.MarshalIndent(map[string]any{
		"archive": map[string]string{"path": filepath.ToSlash(path), "sha256": fmt.Sprintf("%x", sha256.Sum256(archive))},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(variables, '\n'), 0o644)
}
