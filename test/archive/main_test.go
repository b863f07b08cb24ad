package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestThePathIsTheSameInEveryCheckout(t *testing.T) {
	for _, file := range []string{"dist/function.zip", "absolute"} {
		checkout := t.TempDir()
		t.Chdir(checkout)
		if file == "absolute" {
			file = filepath.Join(checkout, "dist", "function.zip")
		}
		if err := writeVariables("archive.tfvars.json", file, nil); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("archive.tfvars.json")
		if err != nil {
			t.Fatal(err)
		}
		var variables struct{ Archive struct{ Path, SHA256 string } }
		if err := json.Unmarshal(text, &variables); err != nil {
			t.Fatal(err)
		}
		if want := "../../../dist/function.zip"; variables.Archive.Path != want {
			t.Errorf("-o %s: the path is %s, not %s", file, variables.Archive.Path, want)
		}
	}
}
