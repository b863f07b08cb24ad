package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/test/pages"
)

// What differs from run to run: addresses, ids, times, and who was first to want the upstream's token.
var differs = regexp.MustCompile(`127\.0\.0\.1:[0-9]+|[A-Z2-7]{26}|[0-9a-f]{8}-[0-9a-f-]{27}|"[0-9a-f]{12}"|[0-9]+(\.[0-9]+)?([A-Z:.0-9-]*Z)?|exchanged|fresh`)

// The README shows a real transcript of the demo.
func TestTheReadmeShowsTheDemo(t *testing.T) {
	readme, err := pages.Read("../../..", "README.md")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(readme.Blocks, func(b pages.Block) bool { return strings.HasPrefix(b.Text, "An LLM gateway for machine clients") })
	if i < 0 {
		t.Fatal("the README has no transcript")
	}
	shown := readme.Blocks[i].Text
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"demo", "--once"}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	plain := func(s string) string { return differs.ReplaceAllString(strings.TrimSpace(s), "…") }
	if diff := cmp.Diff(plain(shown), plain(stdout.String())); diff != "" {
		t.Errorf("the README's transcript is another story (-README +demo):\n%s", diff)
	}
}
