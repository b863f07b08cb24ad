//go:build e2e

package supply

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Where the database of vulnerabilities can't be reached, nothing was found because nothing was looked for.
func TestVulncheckWithoutItsDatabaseIsNotGreen(t *testing.T) {
	cmd := exec.Command("make", "vulncheck", "VULNDB=http://127.0.0.1:9")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "vulncheck: nothing was checked") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The bill lists what the function is made of, and nothing of its tests.
func TestTheBillOfMaterialsIsTheFunctions(t *testing.T) {
	run(t, "make", "sbom")
	text, err := os.ReadFile(root + "/dist/sbom.cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat  string
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bill); err != nil || bill.BOMFormat != "CycloneDX" {
		t.Fatalf("%v: %.200s", err, text)
	}
	required, linked := tables(t)
	for path, r := range required {
		if r.where == "function" {
			linked[path] = r
		}
	}
	found := map[string]bool{}
	for _, c := range bill.Components {
		found[c.Name] = true
		if _, known := linked[c.Name]; !known && required[c.Name].why == "" && c.Name != "std" {
			t.Errorf("%s %s is in the function, and not on the page", c.Name, c.Version)
		}
	}
	for path := range linked {
		if !found[path] {
			t.Errorf("%s is not in the function", path)
		}
	}
	for _, test := range []string{"github.com/alicebob/miniredis/v2", "github.com/google/go-cmp"} {
		if found[test] {
			t.Errorf("%s is in the function", test)
		}
	}
}
