//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/test/program"
)

// client is a program in testdata that drives a provider's SDK, or what stands upon one, through steps.
type client struct {
	script string
	args   []string
	// name and version are the package's, in its registry; none is curl, which is there.
	name, version string
	steps         []step

	// command and env are what install makes of that.
	command, env []string
}

// clients are in the versions that work with the gateway. litellm has its tool calls in the extra mcp.
var clients = map[string]*client{
	"openai for Python":               {script: "client_openai.py", name: "openai", version: "3.54.0", steps: openAISteps(python)},
	"openai for Node.js":              {script: "client_openai.mjs", name: "openai", version: "6.49.0", steps: openAISteps(node)},
	"anthropic for Python":            {script: "client_anthropic.py", name: "anthropic", version: "2.12.0", steps: anthropicSteps(python)},
	"anthropic for Node.js":           {script: "client_anthropic.mjs", name: "@anthropic-ai/sdk", version: "1.12.0", steps: anthropicSteps(node)},
	"google-genai for the Gemini API": {script: "client_genai.py", args: []string{"gemini"}, name: "google-genai", version: "3.4.0", steps: geminiSteps()},
	"google-genai for Vertex AI":      {script: "client_genai.py", args: []string{"vertex"}, name: "google-genai", version: "3.4.0", steps: vertexSteps()},
	"langchain-openai":                {script: "client_langchain.py", name: "langchain-openai", version: "1.7.3", steps: langchainSteps},
	"curl":                            {script: "client_curl.py", steps: curlSteps},
	"litellm":                         {script: "client_litellm.py", name: "litellm[mcp]", version: "1.106.2", steps: litellmSteps},
}

// language is what an SDK is written in: the exceptions for what has no status differ.
type language int

const (
	python language = iota
	node
)

// install makes the client's command.
func (c *client) install(ctx context.Context) error {
	script := filepath.Join("testdata", c.script)
	switch {
	case c.name == "":
		c.command = []string{"python3", script}
	case strings.HasSuffix(c.script, ".mjs"):
		dir, err := installPackage(ctx, c.name, c.version)
		if err != nil {
			return err
		}
		c.command, c.env = []string{"node", script}, []string{"SDK=" + filepath.Join(dir, "index.mjs")}
	default:
		python, err := installPython(ctx, c.name, c.version)
		if err != nil {
			return err
		}
		c.command = []string{python, script}
	}
	return nil
}

// step is one thing that a client does, and what everybody sees of it.
type step struct {
	name string
	// result is what the SDK made of the answer.
	result string
	// sent is what reached upstreams, and records is what the gateway wrote: a line a request.
	sent, records string
}

const (
	// completion is aimock's, echo the doubles'.
	completion = `"e2e-completion: the capital of France is Paris."`
	echo       = `"You said: e2e-prompt"`

	platform = "platform-does-all-but-gpt-4o"
)

// allowed is the record of a call of the platform's team: what was asked for, what came of each
// attempt, and the usage, if there is one: tokens in+out.
func allowed(operation, model, attempts string, usage ...string) string {
	return recorded(200, operation, model, "allow", platform, attempts, strings.Join(usage, ""))
}

// refused is the record of a call that policies deny.
func refused(status int, operation, model, policies string) string {
	return recorded(status, operation, model, "deny", policies, "", "")
}

func recorded(status int, what ...string) string {
	what = slices.DeleteFunc(what, func(s string) bool { return s == "" })
	return strings.Join(append([]string{fmt.Sprint(status)}, what...), ", ")
}

// dead is the record of a call whose answer broke off.
func dead(operation, model, attempts string, usage ...string) string {
	return allowed(operation, model, attempts, usage...) + ", upstream_error"
}

// both is one line after the other.
func both(one, other string) string { return one + "\n" + other }

func twice(line string) string { return both(line, line) }

// raised is an SDK's exception; its status and its code are nil where it has none.
func raised(name string, status, code any) string {
	text, _ := json.Marshal(map[string]any{"raised": name, "status": status, "code": code})
	return string(text)
}

// serves lets a client take the steps, and checks what each side saw.
func (p *parts) serves(t *testing.T, ctx context.Context, c *client) {
	issuer := p.keycloak.issuer("my-realm")
	s := p.scene(t, ctx, issuer, "{}")
	results, err := c.run(ctx, s.url, issuer)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop() // so that all is written
	if code := s.State().ExitCode(); code != 0 {
		t.Errorf("the function ended on SIGTERM with %s", s.State())
	}
	var clientTokens []string
	if err := json.Unmarshal(results["tokens"], &clientTokens); err != nil || len(clientTokens) == 0 {
		t.Fatalf("the client's tokens: %v", err)
	}
	delete(results, "tokens")

	t.Run("the SDK gets what policies allow", func(t *testing.T) { checkResults(t, c.steps, results) })
	t.Run("the upstreams get our credential and never the client's", func(t *testing.T) {
		s.upstreams.check(t, c.steps, clientTokens)
		if n := s.tokens.Exchanges(); n != 2 {
			t.Errorf("%d exchanges for the access tokens of Google and Entra", n)
		}
	})
	t.Run("each request has one record", func(t *testing.T) { checkRecords(t, c.steps, s.Stderr) })
	t.Run("a forbidden model looks like an unknown one, and leads to its record", func(t *testing.T) {
		for name, denial := range results {
			if api, ok := strings.CutSuffix(name, "a model that is forbidden"); ok {
				checkDenials(t, s.Stderr, denial, results[api+"a model that is unknown"])
			}
		}
	})
	t.Run("no output holds a secret", func(t *testing.T) {
		credentials := slices.Concat(keyLines(t, s.key), s.upstreams.tokens, []string{"e2e-secret-of-", "e2e-key-", s.tokens.ClientSecret()})
		for _, token := range clientTokens {
			credentials = append(credentials, strings.Split(token, ".")...)
		}
		answers, err := json.Marshal(results)
		if err != nil {
			t.Fatal(err)
		}
		checkHoldsNone(t, "an answer", answers, credentials)
		for _, file := range []string{s.Stdout, s.Stderr} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			checkHoldsNone(t, filepath.Base(file), text, append(credentials, "e2e-prompt", "e2e-input", "e2e-completion", "e2e-image", "e2e-system", "e2e-tool"))
		}
	})
}

// run returns what each step came to.
func (c *client) run(ctx context.Context, gateway, issuer string) (map[string]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := program.Command(ctx, slices.Concat(c.command, c.args)...)
	cmd.Env = append([]string{"GATEWAY_URL=" + gateway, "ISSUER=" + issuer}, c.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", c.command[1], err, program.Last(stderr.Bytes()))
	}
	results := map[string]json.RawMessage{}
	for line := range bytes.Lines(out) {
		var step struct {
			Step   string
			Result json.RawMessage
		}
		if err := json.Unmarshal(line, &step); err != nil {
			return nil, fmt.Errorf("%s printed what is not JSON: %w", c.command[1], err)
		}
		results[step.Step] = step.Result
	}
	return results, nil
}

func checkResults(t *testing.T, steps []step, results map[string]json.RawMessage) {
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
	for name, result := range results {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			t.Errorf("%s: not expected: %s", name, result)
		}
	}
}

// check compares what reached the upstreams with the steps that were allowed.
func (c *checkpoint) check(t *testing.T, steps []step, clientTokens []string) {
	if diff := cmp.Diff(lines(steps, func(s step) string { return s.sent }), c.calls); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for _, refused := range c.refused {
		t.Error(refused)
	}
	if len(c.tokens) > 2 {
		t.Errorf("%d access tokens were used in a run of seconds; each lives an hour", len(c.tokens))
	}
	for i, received := range c.received {
		for _, token := range clientTokens {
			if strings.Contains(c.calls[i]+received, token) {
				t.Errorf("%s: the client's token came with it", c.calls[i])
			}
		}
		if strings.Contains(received, "oauth-") {
			t.Errorf("%s: the beta of a login with the client's token came with it", c.calls[i])
		}
	}
}

// lines are those of all steps.
func lines(steps []step, of func(step) string) []string {
	var all []string
	for _, step := range steps {
		if text := of(step); text != "" {
			all = append(all, strings.Split(text, "\n")...)
		}
	}
	return all
}

// checkRecords compares the records with the steps, in the order in which the requests came: an SDK that stops
// reading at a stream's last event sends the next request before the record of this one is written. The framework
// prints blank lines between them.
func checkRecords(t *testing.T, steps []step, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var records []record
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		var r record
		decode(t, scanner.Bytes(), &r)
		if r.RequestID == "" {
			continue // a line that belongs to no request
		}
		records = append(records, r)
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(records, func(a, b record) int { return a.began().Compare(b.began()) })
	var got []string
	for _, r := range records {
		got = append(got, r.String())
	}
	if diff := cmp.Diff(lines(steps, func(s step) string { return s.records }), got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// record is what is compared of an audit record.
type record struct {
	Time        time.Time
	Seconds     float64 `json:"total_seconds"`
	HTTPRequest struct{ Status int }
	RequestID   string `json:"request_id"`
	Operation   string
	Model       string `json:"gen_ai.request.model"`
	Decision    string
	Policies    []string
	Attempts    []struct {
		Upstream string
		Status   int
		Error    string
	}
	Error   string `json:"error_code"`
	Input   int    `json:"gen_ai.usage.input_tokens"`
	Cached  int    `json:"gen_ai.usage.cache_read.input_tokens"`
	Output  int    `json:"gen_ai.usage.output_tokens"`
	Thought int    `json:"gen_ai.usage.reasoning.output_tokens"`
}

func (r record) began() time.Time {
	return r.Time.Add(-time.Duration(r.Seconds * float64(time.Second)))
}

func (r record) String() string {
	var attempts []string
	for _, a := range r.Attempts {
		came := fmt.Sprint(a.Status)
		if a.Status == 0 {
			came, _, _ = strings.Cut(a.Error, ":")
		}
		attempts = append(attempts, a.Upstream+" "+came)
	}
	usage := ""
	if r.Input+r.Output > 0 {
		usage = fmt.Sprintf("%d+%d", r.Input, r.Output)
	}
	if r.Cached > 0 {
		usage += fmt.Sprintf(" (%d cached)", r.Cached)
	}
	if r.Thought > 0 {
		usage += fmt.Sprintf(" (%d thought)", r.Thought)
	}
	if r.HTTPRequest.Status >= 400 {
		r.Error = "" // the client was told
	}
	return recorded(r.HTTPRequest.Status, r.Operation, r.Model, r.Decision, strings.Join(r.Policies, " "), strings.Join(attempts, ", "), usage, r.Error)
}

// checkDenials compares two denials to the letter, but for their ids, which the records must know.
func checkDenials(t *testing.T, records string, denials ...[]byte) {
	text, err := os.ReadFile(records)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, denial := range denials {
		id := decisionID.FindSubmatch(denial)
		if id == nil || !bytes.Contains(text, fmt.Appendf(nil, `"decision_id":"%s"`, id[1])) {
			t.Errorf("no record has the decision id of %s", denial)
		}
		told = append(told, ids.ReplaceAllString(string(denial), ""))
	}
	if diff := cmp.Diff(told[0], told[1]); diff != "" {
		t.Errorf("one (-), the other (+):\n%s", diff)
	}
}

var (
	decisionID = regexp.MustCompile(`decision_id\W+(\w+)`)
	ids        = regexp.MustCompile(`(decision_id|request_id)\W+\w+`)
)

// checkHoldsNone doesn't print the secrets that it finds.
func checkHoldsNone(t *testing.T, name string, text []byte, secrets []string) {
	for i, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds secret %d of %d", name, i, len(secrets))
		}
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
