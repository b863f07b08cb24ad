package main

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// explained is what gateway explain says of what stands on its standard input.
func explained(t *testing.T, config, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gateway", append([]string{"explain", "--config", config}, args...)...)
	var out, diagnosis strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &diagnosis
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		status = exit.ExitCode()
	}
	return status, out.String(), diagnosis.String()
}

func TestATokenIsExplainedAndNeverEchoed(t *testing.T) {
	idp := issuertest.New()
	defer idp.Close()
	idp.AddClient(issuertest.Client{ID: "pipeline", Audience: []string{"llm-gateway"}, Groups: []string{"team"}, Claims: map[string]any{"scope": "a\x1b[2Jb"}})
	idp.AddClient(issuertest.Client{ID: "elsewhere", Audience: []string{"account"}, Groups: []string{"team"}})
	idp.AddClient(issuertest.Client{ID: "person", Audience: []string{"llm-gateway"}, Claims: map[string]any{"typ": "ID", "nonce": "n"}})
	idp.SetClock(func() time.Time { return time.Now().Add(-time.Hour) })
	expired := idp.Token("pipeline")
	idp.SetClock(time.Now)

	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	for name, text := range map[string]string{"gateway.yaml": strings.NewReplacer("$ISSUER", idp.URL, "$UPSTREAM", "http://127.0.0.1:1/v1").Replace(configuration), "gateway.cedar": policyText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := idp.Token("pipeline")
	parts := strings.Split(good, ".")
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))

	for _, row := range []struct {
		name, stdin string
		args        []string
		status      int
		want        string
	}{
		{"verified", good, nil, 0, "client      " + idp.URL + "#pipeline\n"},
		{"its groups", good, nil, 0, "\ngroups      offline_access, team, uma_authorization\n"},
		{"control characters are for no terminal", good, nil, 0, `a\x1b[2Jb`},
		{"as the header has it", "Bearer " + good + "\n", nil, 0, "\nallow\n"},
		{"unverified", forged, []string{"--unverified"}, 0, "\nallow\n"},
		{"marked as unverified", forged, []string{"--unverified"}, 0, "unverified  the token's signature was not checked: anybody may have written what follows\nclient "},
		{"marked as unverified for programs", forged, []string{"--unverified", "--json"}, 0, "{\n  \"unverified\": true,\n"},
		{"forged", forged, nil, 1, "401 invalid_token: the token's signature does not match"},
		{"expired", expired, nil, 1, "\n  it is expired since " + time.Now().Add(-55*time.Minute).UTC().Format("2006-01-02T15")},
		{"expired, unverified", expired, []string{"--unverified"}, 1, "401 expired_token: "},
		{"for another audience", idp.Token("elsewhere"), nil, 1, "\n  its audience (aud) is [\"account\"]; this gateway's is [\"llm-gateway\"]"},
		{"an ID token", idp.Token("person"), nil, 1, "\n  it is an ID token"},
		{"opaque", "canary-canary-canary", nil, 1, "standard input: this is an opaque token"},
		{"encrypted", "canary.canary.canary.canary.canary", nil, 1, "standard input: this is an encrypted token"},
		{"nothing", "\n", nil, 1, "standard input: there is no token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, out, diagnosis := explained(t, file, row.stdin, append(row.args, "--operation", "chat.completions.create", "--model", "gpt-4-turbo")...)
			said := out + diagnosis
			if status != row.status || !strings.Contains(said, row.want) {
				t.Errorf("status %d: %s; want %d, %s", status, said, row.status, row.want)
			}
			for _, part := range append(strings.Split(strings.TrimSpace(row.stdin), "."), "canary") {
				if len(part) > 4 && strings.Contains(said, strings.TrimPrefix(part, "Bearer ")) {
					t.Errorf("the token is echoed: %s", said)
				}
			}
		})
	}

	idp.SetOutage(issuertest.Unreachable)
	if status, _, diagnosis := explained(t, file, good, "--all"); status != 1 || !strings.Contains(diagnosis, "issuer_unavailable") {
		t.Errorf("status %d: %s", status, diagnosis)
	}
	if status, out, _ := explained(t, file, good, "--all", "--unverified"); status != 0 || !strings.Contains(out, "inference (all 19)       allow\n") {
		t.Errorf("status %d: %s", status, out)
	}
}

// What operators and issuers wrote commands no terminal, and makes no lines of its own.
func TestNothingThatIsShownOfPoliciesIsObeyed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gateway.yaml", `
issuers: [{url: "https://idp.invalid/a", audiences: [llm-gateway], claims: [team]}]
policies: {files: [gateway.cedar]}
upstreams: {local: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
models: {a: {targets: [{upstream: local, model: b}]}}
`)
	write("gateway.cedar", "@id(\"p\\u{1b}[2J\\nq\") permit (principal in Group::\"t\\u{1b}[2J\", action, resource) // \x1b[2J\u202e\n  when { principal.claims has team && principal.claims.team == \"\\u{1b}[2J\" };")
	write("claims.json", `{"sub": "s\u001b[2J", "groups": ["t\u001b[2J", "u\nclient  c"], "team": "\u009b2J"}`)
	for _, args := range [][]string{
		{"explain", "--config", file, "--claims", filepath.Join(dir, "claims.json"), "--operation", "messages.create", "--model", "a"},
		{"explain", "--config", file, "--claims", filepath.Join(dir, "claims.json"), "--all"},
		{"explain", "--config", file, "--claims", filepath.Join(dir, "claims.json"), "--operation", "messages.create", "--model", "a", "--json"},
		{"check", "--config", file},
	} {
		var out strings.Builder
		if status := run(t.Context(), args, &out, &out); status != 0 {
			t.Errorf("status %d: %s", status, out.String())
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if config.Printable(line) != line {
				t.Errorf("%v: %q", args, line)
			}
		}
		if n := strings.Count(out.String(), "\nclient "); n > 0 {
			t.Errorf("%v: %s", args, out.String())
		}
	}
}
