// Archive writes the zip that Terraform uploads as the function's source.
//
//	go run ./test/archive -o dist/function.zip
//
// It runs at the repository's root. The same files give the same bytes.
package main

import (
	"bytes"
	"flag"
	"log"
	"os"
	"path/filepath"

	"llmgateway.dev/gateway/test/buildpack"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("archive: ")
	file := flag.String("o", "dist/function.zip", "the `file` to write")
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
}
