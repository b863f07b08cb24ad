//go:build e2e

// Package e2e runs the function as it is shipped, from the archive through the buildpack's steps, as
// Cloud Run would, against the real parts that can be had on one machine: Keycloak as the identity
// provider, the openai SDK as the client, and aimock as the LLM provider. For Google's Secret
// Manager and token endpoint stand their doubles.
//
// Everything listens on loopback. What the parts need is fetched once, from their registries, into
// .cache/e2e.
package e2e

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/test/buildpack"
)

// Each step of testdata/client.py, what the SDK made of it, and the record that the gateway wrote;
// nil where a step makes no request.
var steps = []struct {
	name   string
	result string
	record *record
}{
	{"chat", `"e2e-completion: the capital of France is Paris."`, allowedChat},
	{"streaming",
		`{"text": "e2e-completion: the capital of France is Paris.", "in_pieces": true, "usage_chunks": 0, "usage": false}`,
		allowedChat},
	{"streaming with usage",
		`{"text": "e2e-completion: the capital of France is Paris.", "in_pieces": true, "usage_chunks": 1, "usage": true}`,
		allowedChat},
	{"embeddings", `[0.5, -0.25, 0.125]`,
		&record{200, "embeddings.create", "text-embedding-3-small", "allow", []string{"enrichment-embeds"}, false}},
	{"models", `["gpt-4-turbo", "text-embedding-3-small"]`,
		&record{200, "models.list", "", "", nil, false}},
	{"fine-tuning", `{"raised": "PermissionDeniedError", "status": 403, "code": "operation_not_allowed"}`,
		&record{403, "fine_tuning.jobs.create", "gpt-4-turbo", "deny", []string{"read-only-never-fine-tunes"}, false}},
	{"a model that is forbidden", `{"raised": "PermissionDeniedError", "status": 403, "code": "model_not_allowed"}`,
		&record{403, "chat.completions.create", "gpt-4o", "deny", nil, false}},
	{"a model that is unknown", `{"raised": "PermissionDeniedError", "status": 403, "code": "model_not_allowed"}`,
		&record{403, "chat.completions.create", "gpt-99", "deny", nil, false}},
	{"chat without groups", `{"raised": "PermissionDeniedError", "status": 403, "code": "operation_not_allowed"}`,
		&record{403, "chat.completions.create", "gpt-4-turbo", "deny", nil, false}},
	{"models without groups", `[]`,
		&record{200, "models.list", "", "", nil, false}},
	{"an expired token", `{"raised": "AuthenticationError", "status": 401, "code": "expired_token"}`,
		&record{401, "", "", "", nil, false}},
	{"the next call", `"e2e-completion: the capital of France is Paris."`, allowedChat},
	{"the call after", `"e2e-completion: the capital of France is Paris."`, allowedChat},
	{"tokens fetched for both", `1`, nil},
}

// record is what is compared of an audit record.
type record struct {
	Status    int `json:"-"`
	Operation string
	Model     string `json:"gen_ai.request.model"`
	Decision  string
	Policies  []string
	// Metered says that the completion's tokens were counted, also in a stream that was not asked to tell.
	Metered bool `json:"-"`
}

var allowedChat = &record{200, "chat.completions.create", "gpt-4-turbo", "allow", []string{"enrichment-uses-gpt-4-turbo"}, true}

// upstream is what may reach the provider: the steps that were allowed.
var upstream = []string{
	"POST /v1/chat/completions",
	"POST /v1/chat/completions",
	"POST /v1/chat/completions",
	"POST /v1/embeddings",
	"POST /v1/chat/completions",
	"POST /v1/chat/completions",
}

func TestTheFunctionServesTheSDK(t *testing.T) {
	if err := needed(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if deadline, ok := t.Deadline(); ok { // leave time to stop what was started
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Minute))
		defer cancel()
	}
	secrets, tokens := secrettest.New(), tokentest.New()
	t.Cleanup(secrets.Close)
	t.Cleanup(tokens.Close)
	key := tokens.ServiceAccountKey()
	secrets.Add("projects/acme/secrets/vertex-key", key)

	var program, python, issuer, provider string
	g, starting := errgroup.WithContext(ctx)
	together := func(name string, result *string, get func() (string, error)) {
		g.Go(func() (err error) {
			begun := time.Now()
			*result, err = get()
			t.Logf("%s: %.1f s", name, time.Since(begun).Seconds())
			return err
		})
	}
	together("function", &program, func() (string, error) { return buildFunction(starting, t.TempDir()) })
	together("openai SDK", &python, func() (string, error) { return installOpenAI(starting) })
	together("Keycloak", &issuer, func() (string, error) { return startKeycloak(t, starting) })
	together("aimock", &provider, func() (string, error) { return startAimock(t, starting) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	checked, err := newCheckpoint(t, provider, tokens.Valid)
	if err != nil {
		t.Fatal(err)
	}
	gateway, url, err := startFunction(t, ctx, program, map[string]string{
		"ISSUER":         issuer,
		"SECRET":         "projects/acme/secrets/vertex-key/versions/latest",
		"SECRET_MANAGER": secrets.URL,
		"UPSTREAM":       checked.URL + "/v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := runClient(ctx, python, url, issuer)
	if err != nil {
		t.Fatal(err)
	}
	gateway.stop() // so that all is written
	if code := gateway.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the function ended on SIGTERM with %s", gateway.cmd.ProcessState)
	}
	var clientTokens []string
	if err := json.Unmarshal(results["tokens"], &clientTokens); err != nil || len(clientTokens) == 0 {
		t.Fatalf("the client's tokens: %v", err)
	}
	delete(results, "tokens")

	t.Run("the SDK gets what policies allow", func(t *testing.T) { checkResults(t, results) })
	t.Run("the upstream gets our credential and never the client's", func(t *testing.T) {
		checkUpstream(t, checked, clientTokens)
		if n := tokens.Exchanges(); n != 1 {
			t.Errorf("%d exchanges for one access token", n)
		}
	})
	t.Run("each request has one record", func(t *testing.T) { checkRecords(t, gateway.stderr) })
	t.Run("a forbidden model looks like an unknown one, and leads to its record", func(t *testing.T) {
		checkDenials(t, gateway.stderr, results["a model that is forbidden"], results["a model that is unknown"])
	})
	t.Run("no output holds a secret", func(t *testing.T) {
		credentials := slices.Concat(keyLines(t, key), checked.tokens, []string{"e2e-secret-of-"})
		for _, token := range clientTokens {
			credentials = append(credentials, strings.Split(token, ".")...)
		}
		answers, err := json.Marshal(results)
		if err != nil {
			t.Fatal(err)
		}
		checkHoldsNone(t, "an answer", answers, credentials)
		for _, file := range []string{gateway.stdout, gateway.stderr} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			checkHoldsNone(t, filepath.Base(file), text, append(credentials, "e2e-prompt", "e2e-completion", "e2e-input"))
		}
	})
}

// checkHoldsNone doesn't print the secrets that it finds.
func checkHoldsNone(t *testing.T, name string, text []byte, secrets []string) {
	for i, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds secret %d of %d", name, i, len(secrets))
		}
	}
}

// buildFunction archives the repository and builds that.
func buildFunction(ctx context.Context, dir string) (program string, err error) {
	var archive bytes.Buffer
	if err := buildpack.Archive(&archive, "../.."); err != nil {
		return "", err
	}
	z, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		return "", err
	}
	return buildpack.Build(ctx, z, dir)
}

// startFunction starts the program in the environment that Cloud Run gives it
// (cloud.google.com/run/docs/container-contract#services-env-vars) and nothing else.
func startFunction(t *testing.T, ctx context.Context, program string, addresses map[string]string) (*process, string, error) {
	config, err := os.ReadFile("testdata/gateway.yaml")
	if err != nil {
		return nil, "", err
	}
	policies, err := os.ReadFile("testdata/gateway.cedar")
	if err != nil {
		return nil, "", err
	}
	expanded := os.Expand(string(config), func(name string) string { return addresses[name] })
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, []byte(expanded), 0o644); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "gateway.cedar"), policies, 0o644); err != nil {
		return nil, "", err
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	p, err := start(t, "function", []string{
		"K_SERVICE=gateway", "K_REVISION=gateway-00001-e2e", "K_CONFIGURATION=gateway",
		"FUNCTION_TARGET=Gateway", "FUNCTION_SIGNATURE_TYPE=http",
		"PORT=" + port, "GATEWAY_CONFIG=" + file,
	}, program)
	if err != nil {
		return nil, "", err
	}
	url := "http://127.0.0.1:" + port
	return p, url, p.ready(ctx, url+"/health")
}

// runClient returns what each step of the client came to.
func runClient(ctx context.Context, python, gateway, issuer string) (map[string]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := command(ctx, python, "testdata/client.py")
	cmd.Env = []string{"GATEWAY_URL=" + gateway, "ISSUER=" + issuer}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("client.py: %w\n%s", err, last(stderr.Bytes()))
	}
	results := map[string]json.RawMessage{}
	for line := range bytes.Lines(out) {
		var step struct {
			Step   string
			Result json.RawMessage
		}
		if err := json.Unmarshal(line, &step); err != nil {
			return nil, fmt.Errorf("client.py printed what is not JSON: %w", err)
		}
		results[step.Step] = step.Result
	}
	return results, nil
}

func checkResults(t *testing.T, results map[string]json.RawMessage) {
	for _, step := range steps {
		got, ok := results[step.name]
		if !ok {
			t.Errorf("%s: not done", step.name)
			continue
		}
		var gotValue, want any
		decode(t, got, &gotValue)
		decode(t, []byte(step.result), &want)
		if m, ok := gotValue.(map[string]any); ok {
			delete(m, "body")
		}
		if diff := cmp.Diff(want, gotValue); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s%s", step.name, diff, got)
		}
	}
	if len(results) != len(steps) {
		t.Errorf("the client took %d steps, and %d are known", len(results), len(steps))
	}
}

// checkDenials compares two denials to the letter, but for their ids, which the records must know.
func checkDenials(t *testing.T, records string, denials ...[]byte) {
	text, err := os.ReadFile(records)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []map[string]any
	for _, denial := range denials {
		var result struct{ Body map[string]any }
		decode(t, denial, &result)
		id, _ := result.Body["decision_id"].(string)
		if id == "" || !bytes.Contains(text, []byte(`"decision_id":"`+id+`"`)) {
			t.Errorf("no record has decision id %q", id)
		}
		delete(result.Body, "decision_id")
		bodies = append(bodies, result.Body)
	}
	if diff := cmp.Diff(bodies[0], bodies[1]); diff != "" {
		t.Errorf("one (-), the other (+):\n%s", diff)
	}
}

func checkUpstream(t *testing.T, c *checkpoint, clientTokens []string) {
	if diff := cmp.Diff(upstream, c.calls); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for _, refused := range c.refused {
		t.Error(refused)
	}
	if len(c.tokens) != 1 {
		t.Errorf("%d access tokens were used in a run of seconds; one lives an hour", len(c.tokens))
	}
	for i, header := range c.received {
		for name, values := range header {
			for _, token := range clientTokens {
				if strings.Contains(strings.Join(values, "\n"), token) {
					t.Errorf("%s: the client's token is in header %s", c.calls[i], name)
				}
			}
		}
	}
}

// checkRecords compares the records with the steps. The framework prints blank lines between them.
func checkRecords(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got, want []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line struct {
			record
			HTTPRequest  struct{ Status int }
			RequestID    string `json:"request_id"`
			OutputTokens int    `json:"gen_ai.usage.output_tokens"`
		}
		decode(t, lines.Bytes(), &line)
		if line.RequestID == "" {
			continue // a line that belongs to no request
		}
		line.Status, line.Metered = line.HTTPRequest.Status, line.OutputTokens > 0
		got = append(got, line.record)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if step.record != nil {
			want = append(want, *step.record)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// keyLines are the lines of the private key: none may be anywhere, whatever is around it.
func keyLines(t *testing.T, serviceAccount []byte) []string {
	var key struct {
		PrivateKey string `json:"private_key"`
	}
	decode(t, serviceAccount, &key)
	lines := slices.DeleteFunc(strings.Split(key.PrivateKey, "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "-----")
	})
	if len(lines) == 0 {
		t.Fatal("the service account has no private key")
	}
	return lines
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}
