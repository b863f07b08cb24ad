package leaks

import (
	"archive/zip"
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestASecretIsFoundAlsoInArchivesWithinArchives(t *testing.T) {
	const canary = "sk-canary-4711"
	plan := strings.Repeat("a plan, ", 100) + canary
	inner := zipped(t, "tfplan", plan)
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"text":      {[]byte(plan), []string{"it"}},
		"a plan":    {inner, []string{"it: tfplan"}},
		"an upload": {zipped(t, "dist/plan.tfplan", string(inner)), []string{"it: dist/plan.tfplan: tfplan"}},
		"nothing":   {zipped(t, "tfplan", "a plan"), nil},
		"cut short": {zipped(t, "tfplan", plan)[:80], nil},
	} {
		if name != "text" && bytes.Contains(c.data, []byte(canary)) {
			t.Errorf("%s: is not compressed, and shows nothing", name)
		}
		if got := In("it", c.data, "another", canary); !slices.Equal(got, c.want) {
			t.Errorf("%s: found in %q, want %q", name, got, c.want)
		}
	}
}

func zipped(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte(content))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
