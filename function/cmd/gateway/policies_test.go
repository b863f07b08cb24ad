package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

// walk is docs/policies.md on this machine. Its blocks are taken in their order: one with a file's name
// writes that file, or adds to it; console runs commands and compares what they print; json is part of
// the last audit record.
type walk struct {
	*testing.T
	idp      *issuertest.Issuer
	provider *upstreamtest.Server
	records  bytes.Buffer
	// decision is the decision id that the client was told last.
	decision string
}

// issuer is who the page says issues tokens.
const pageIssuer = "https://keycloak.example.com/realms/my-realm"

var block = regexp.MustCompile("(?ms)^```([a-z]+) ?([^\n]*)\n(.*?)^```$")

func TestTheWalkFromDeniedToAllowed(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{T: t, idp: issuertest.New(), provider: upstreamtest.New(func(key string) bool { return key == "sk-walk" })}
	defer w.idp.Close()
	defer w.provider.Close()
	w.idp.AddClient(issuertest.Client{ID: "data-pipeline", Audience: []string{"llm-gateway"}, Groups: []string{"data-enrichment-team"}})
	t.Setenv("OPENAI_API_KEY", "sk-walk")
	t.Chdir(t.TempDir())
	commands := 0
	for _, b := range block.FindAllStringSubmatch(string(page), -1) {
		switch kind, file, text := b[1], b[2], b[3]; {
		case file != "":
			w.write(file, text)
		case kind == "console":
			for each := range strings.SplitSeq(strings.TrimPrefix(text, "$ "), "\n$ ") {
				command, want, _ := strings.Cut(each, "\n")
				got := w.run(command)
				commands++
				if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
					t.Errorf("%s (-page +printed)\n%s", command, diff)
				}
			}
		case kind == "json":
			w.record(text)
		default:
			t.Errorf("what is a block of %s?", kind)
		}
	}
	if commands < 8 {
		t.Errorf("only %d commands were run", commands)
	}
}

// plain is what a command prints but for what differs from run to run.
func plain(s string) string { return differs.ReplaceAllString(strings.TrimSpace(s), "…") }

func (w *walk) here(s string) string { return strings.ReplaceAll(s, pageIssuer, w.idp.URL) }

func (w *walk) write(file, text string) {
	w.Helper()
	text = strings.Replace(w.here(text), "kind: openai,", fmt.Sprintf("kind: openai, base_url: %q,", w.provider.URL), 1)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.Fatal(err)
	}
	before, _ := os.ReadFile(file)
	if err := os.WriteFile(file, append(before, text...), 0o600); err != nil {
		w.Fatal(err)
	}
}

// run runs a command of the page.
func (w *walk) run(command string) string {
	w.Helper()
	if strings.HasPrefix(command, "curl ") {
		return w.curl(command)
	}
	var stdout, stderr bytes.Buffer
	var status int
	if explain, ok := strings.CutPrefix(command, "gateway token | gateway explain --config "); ok {
		file, args, _ := strings.Cut(explain, " ")
		var out, diagnosis string
		status, out, diagnosis = explained(w.T, file, w.idp.Token("data-pipeline"), strings.Fields(args)...)
		stdout.WriteString(out)
		stderr.WriteString(diagnosis)
	} else {
		status = run(w.Context(), strings.Fields(w.here(command))[1:], &stdout, &stderr)
	}
	printed := strings.ReplaceAll(stdout.String()+stderr.String(), w.idp.URL, pageIssuer)
	if status != 0 {
		printed += fmt.Sprintf("exit status %d\n", status)
	}
	return printed
}

var data = regexp.MustCompile(`gateway\.example\.com(/\S+) .* --json '(.*)'$`)

// curl asks a gateway with the files as they are now: a new revision. It returns an error's text, or
// the status where there is none.
func (w *walk) curl(command string) string {
	w.Helper()
	m := data.FindStringSubmatch(command)
	if m == nil {
		w.Fatalf("not understood: %s", command)
	}
	c, faults := config.Load("config/gateway.yaml")
	if err := faults.Err(); err != nil {
		w.Fatal(err)
	}
	w.records.Reset()
	handler, err := function.Build(c, &w.records)
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	r, err := http.NewRequest("POST", server.URL+m[1], strings.NewReader(m[2]))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.idp.Token("data-pipeline"))
	r.Header.Set("Content-Type", "application/json") // as curl's --json does
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	if resp.StatusCode < 400 {
		return fmt.Sprint(resp.StatusCode)
	}
	var told struct {
		Error struct {
			DecisionID string `json:"decision_id"`
		}
	}
	if err := json.Unmarshal(body, &told); err != nil {
		w.Fatal(err)
	}
	w.decision = told.Error.DecisionID
	return string(body)
}

// record compares what the page shows of the audit record with the one that was written.
func (w *walk) record(shown string) {
	w.Helper()
	var want, got map[string]any
	if err := json.Unmarshal([]byte(shown), &want); err != nil {
		w.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(w.records.String(), w.idp.URL, pageIssuer)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		w.Fatal(err)
	}
	want["decision_id"] = w.decision
	for name, v := range want {
		if diff := cmp.Diff(v, got[name]); diff != "" {
			w.Errorf("%s (-page +record)\n%s", name, diff)
		}
	}
	if _, some := got["policies"]; some {
		w.Error("the record names policies")
	}
}
