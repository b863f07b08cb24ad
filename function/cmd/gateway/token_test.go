package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

const clientSecret = "not:a secret"

// shell is a user with an empty home and nothing set, beside an identity provider that knows them.
func shell(t *testing.T) *issuertest.Issuer {
	idp := issuertest.New()
	t.Cleanup(idp.Close)
	idp.AddClient(issuertest.Client{ID: "data-pipeline", Secret: clientSecret, Audience: []string{"llm-gateway"}})
	t.Setenv("HOME", t.TempDir())
	for _, name := range []string{"XDG_CACHE_HOME", "GATEWAY_ISSUER", "GATEWAY_CLIENT_ID", "GATEWAY_CLIENT_ID_FILE", "GATEWAY_CLIENT_SECRET", "GATEWAY_CLIENT_SECRET_FILE"} {
		t.Setenv(name, "")
	}
	return idp
}

// token runs gateway token, which must show the secret nowhere.
func token(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, diagnosis bytes.Buffer
	status = run(t.Context(), append([]string{"token"}, args...), &out, &diagnosis)
	if strings.Contains(out.String()+diagnosis.String(), clientSecret) {
		t.Error("the secret is shown")
	}
	return status, out.String(), diagnosis.String()
}

func TestTokenPrintsATokenAndNothingElseAndKeepsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing is kept there")
	}
	idp := shell(t)
	t.Setenv("GATEWAY_ISSUER", idp.URL)
	t.Setenv("GATEWAY_CLIENT_ID", "data-pipeline")
	t.Setenv("GATEWAY_CLIENT_SECRET", clientSecret)
	status, first, diagnosis := token(t)
	value, ended := strings.CutSuffix(first, "\n")
	if status != 0 || !ended || strings.Count(value, ".") != 2 || strings.ContainsAny(value, " \n") || diagnosis != "" {
		t.Fatalf("status %d, %d lines, %s", status, strings.Count(first, "\n"), diagnosis)
	}
	idp.SetOutage(issuertest.Unreachable) // nobody needs to be asked
	if status, second, _ := token(t, "--issuer", idp.URL); status != 0 || second != first {
		t.Errorf("status %d, not the same token", status)
	}
	if status, out, _ := token(t, "--scope", "another"); status != 1 || out != "" {
		t.Errorf("status %d, another scope had the token", status)
	}
	t.Setenv("GATEWAY_CLIENT_SECRET", clientSecret+"2")
	if status, out, _ := token(t); status != 1 || out != "" {
		t.Errorf("status %d, another secret had the token", status)
	}
}

func TestTokenReadsMountedFiles(t *testing.T) {
	idp := shell(t)
	for name, content := range map[string]string{"GATEWAY_CLIENT_ID_FILE": "data-pipeline", "GATEWAY_CLIENT_SECRET_FILE": clientSecret + "\n"} {
		file := filepath.Join(t.TempDir(), "mounted")
		if err := os.WriteFile(file, []byte(content), 0o400); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, file)
	}
	status, out, diagnosis := token(t, "--token-url", idp.TokenURL())
	if status != 0 || strings.Count(out, ".") != 2 || idp.Discoveries() != 0 {
		t.Errorf("status %d after %d discoveries: %s", status, idp.Discoveries(), diagnosis)
	}
}

func TestTokenIsPrintedThoughItCannotBeKept(t *testing.T) {
	idp := shell(t)
	t.Setenv("HOME", filepath.Join(os.DevNull, "home"))
	t.Setenv("GATEWAY_CLIENT_ID", "data-pipeline")
	t.Setenv("GATEWAY_CLIENT_SECRET", clientSecret)
	status, out, diagnosis := token(t, "--issuer", idp.URL)
	if status != 0 || strings.Count(out, ".") != 2 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(diagnosis, "the token is good, but isn't kept") {
		t.Errorf("status %d: %s", status, diagnosis)
	}
}

func TestTokenSaysWhatIsMissingOrWrong(t *testing.T) {
	idp := shell(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for name, content := range map[string]string{"empty": "\n", "two-lines": clientSecret + "\n" + clientSecret, "secret": clientSecret} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both := map[string]string{"GATEWAY_CLIENT_ID": "data-pipeline", "GATEWAY_CLIENT_SECRET": clientSecret}
	for _, row := range []struct {
		name   string
		env    map[string]string
		args   []string
		status int
		want   string
	}{
		{"no issuer", both, []string{}, 2, "which identity provider? give --issuer URL or set GATEWAY_ISSUER"},
		{"no id", map[string]string{"GATEWAY_CLIENT_SECRET": clientSecret}, nil, 2, "set GATEWAY_CLIENT_ID, or GATEWAY_CLIENT_ID_FILE to the name of a file that holds it"},
		{"no secret", map[string]string{"GATEWAY_CLIENT_ID": "x"}, nil, 2, "set GATEWAY_CLIENT_SECRET, or GATEWAY_CLIENT_SECRET_FILE to the name of a file that holds it"},
		{"two secrets", map[string]string{"GATEWAY_CLIENT_ID": "x", "GATEWAY_CLIENT_SECRET": "x", "GATEWAY_CLIENT_SECRET_FILE": "secret"}, nil, 2, "GATEWAY_CLIENT_SECRET and GATEWAY_CLIENT_SECRET_FILE are both set; unset one"},
		{"no such file", map[string]string{"GATEWAY_CLIENT_ID": "x", "GATEWAY_CLIENT_SECRET_FILE": "absent"}, nil, 1, "GATEWAY_CLIENT_SECRET_FILE: open absent: no such file or directory"},
		{"an empty file", map[string]string{"GATEWAY_CLIENT_ID": "x", "GATEWAY_CLIENT_SECRET_FILE": "empty"}, nil, 1, "empty does not hold one line of printable ASCII, as GATEWAY_CLIENT_SECRET must be"},
		{"a file of two lines", map[string]string{"GATEWAY_CLIENT_ID": "x", "GATEWAY_CLIENT_SECRET_FILE": "two-lines"}, nil, 1, "two-lines does not hold one line of printable ASCII, as GATEWAY_CLIENT_SECRET must be"},
		{"the id of nobody", map[string]string{"GATEWAY_CLIENT_ID": "x", "GATEWAY_CLIENT_SECRET": clientSecret}, nil, 1, "get a token: the token endpoint answered 401 invalid_client; the client id or the secret is wrong"},
		{"plain http", both, []string{"--issuer", "http://idp.example"}, 1, "get a token: the issuer is not an https URL"},
		{"the secret as a flag", both, []string{"--client-secret", clientSecret}, 2, "flag provided but not defined: -client-secret"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, value := range row.env {
				t.Setenv(name, value)
			}
			if row.args == nil {
				row.args = []string{"--issuer", idp.URL}
			}
			status, out, diagnosis := token(t, row.args...)
			if first, _, _ := strings.Cut(diagnosis, "\n"); status != row.status || out != "" || first != row.want {
				t.Errorf("status %d: %s, want %d: %s", status, first, row.status, row.want)
			}
		})
	}
}
