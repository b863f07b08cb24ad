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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sdk is a command that drives a provider's SDK through the steps.
type sdk struct {
	command []string
	env     []string
}

// step is one call of a client's, and what everybody sees of it.
type step struct {
	name string
	// result is what the SDK made of the answer.
	result string
	// sent is what reached an upstream, or "".
	sent string
	// record is what the gateway wrote, nil where a step makes no request.
	record *record
}

// record is what is compared of an audit record.
type record struct {
	Status    int `json:"-"`
	Operation string
	Model     string `json:"gen_ai.request.model"`
	Decision  string
	Policies  []string
	// Metered says that the tokens were counted, also in a stream that was not asked to tell.
	Metered bool `json:"-"`
}

const (
	// completion is aimock's, echo the double's.
	completion = `"e2e-completion: the capital of France is Paris."`
	echo       = `"You said: e2e-prompt"`

	chatSent      = "POST /openai/v1/chat/completions"
	embeddingSent = "POST /platform/v1/embeddings"

	notAllowed  = `{"raised": "PermissionDeniedError", "status": 403, "code": "operation_not_allowed"}`
	modelDenied = `{"raised": "PermissionDeniedError", "status": 403, "code": "model_not_allowed"}`
)

var (
	chatted = &record{200, "chat.completions.create", "gpt-4-turbo", "allow", []string{"enrichment-uses-gpt-4-turbo"}, true}
	listed  = &record{200, "models.list", "", "", nil, false}
)

// allowed is the record of a call of the platform's team.
func allowed(operation, model string) *record {
	return &record{200, operation, model, "allow", []string{"platform-does-all-but-gpt-4o"}, false}
}

func metered(r *record) *record {
	r.Metered = true
	return r
}

var steps = []step{
	{"chat", completion, chatSent, chatted},
	{"streaming",
		`{"text": ` + completion + `, "in_pieces": true, "usage_chunks": 0, "usage": false}`,
		chatSent, chatted},
	{"streaming with usage",
		`{"text": ` + completion + `, "in_pieces": true, "usage_chunks": 1, "usage": true}`,
		chatSent, chatted},
	{"embeddings", `[9, 0.5, -0.5]`, embeddingSent,
		&record{200, "embeddings.create", "text-embedding-3-small", "allow", []string{"enrichment-embeds"}, false}},
	{"models", `["gpt-4-turbo", "text-embedding-3-small"]`, "", listed},
	{"fine-tuning", notAllowed, "",
		&record{403, "fine_tuning.jobs.create", "gpt-4-turbo", "deny", []string{"read-only-never-fine-tunes"}, false}},
	{"a model that is forbidden", modelDenied, "",
		&record{403, "chat.completions.create", "gpt-4o", "deny", nil, false}},
	{"a model that is unknown", modelDenied, "",
		&record{403, "chat.completions.create", "gpt-99", "deny", nil, false}},
	{"chat without groups", notAllowed, "",
		&record{403, "chat.completions.create", "gpt-4-turbo", "deny", nil, false}},
	{"models without groups", `[]`, "", listed},
	{"an expired token", `{"raised": "AuthenticationError", "status": 401, "code": "expired_token"}`, "",
		&record{401, "", "", "", nil, false}},
	{"the next call", completion, chatSent, chatted},
	{"the call after", completion, chatSent, chatted},
	{"tokens fetched for both", `1`, "", nil},

	{"a completion", echo, "POST /platform/v1/completions", metered(allowed("completions.create", "gpt-3.5-turbo-instruct"))},
	{"a moderation", `false`, "POST /openai/v1/moderations", allowed("moderations.create", "omni-moderation")},
	{"embeddings as floats", `[9, 0.5, -0.5]`, embeddingSent, allowed("embeddings.create", "text-embedding-3-small")},

	{"an image", `"e2e-completion"`, "POST /openai/v1/images/generations", allowed("images.generate", "gpt-image-1")},
	{"an edited image", `"e2e-completion"`, "POST /openai/v1/images/edits", allowed("images.edit", "gpt-image-1")},
	{"speech", `"alloy: e2e-input"`, "POST /platform/v1/audio/speech", allowed("audio.speech.create", "tts-1")},
	{"a transcription", `"e2e-\u0000\r\naudio"`, "POST /platform/v1/audio/transcriptions", allowed("audio.transcriptions.create", "whisper-1")},
	{"a translation", `"e2e-\r\n--audio"`, "POST /platform/v1/audio/translations", allowed("audio.translations.create", "whisper-1")},

	{"a response", completion, "POST /openai/v1/responses", metered(allowed("responses.create", "gpt-4-turbo"))},
	{"a response, streamed", `{"text": ` + completion + `, "in_pieces": true, "last": "response.completed"}`,
		"POST /openai/v1/responses", metered(allowed("responses.create", "gpt-4-turbo"))},
	{"a response in the background", `"resp-1 in_progress"`, "POST /platform/v1/responses", allowed("responses.create", "o4-mini")},
	{"the response", `"resp-1 in_progress"`, "GET /platform/v1/responses/resp-1?include%5B%5D=reasoning.encrypted_content", allowed("responses.retrieve", "")},
	{"what it answers", `"e2e-prompt"`, "GET /platform/v1/responses/resp-1/input_items", allowed("responses.input_items.list", "")},
	{"the response, cancelled", `"resp-1 cancelled"`, "POST /platform/v1/responses/resp-1/cancel", allowed("responses.cancel", "")},
	{"the response, deleted", `null`, "DELETE /platform/v1/responses/resp-1", allowed("responses.delete", "")},
	{"the response that was deleted", `{"raised": "NotFoundError", "status": 404, "code": "response_not_found"}`,
		"GET /platform/v1/responses/resp-1",
		&record{404, "responses.retrieve", "", "allow", []string{"platform-does-all-but-gpt-4o"}, false}},

	{"a file", `"file-1"`, "POST /platform/v1/files", allowed("files.create", "")},
	{"files", `["file-1"]`, "GET /platform/v1/files?limit=2&order=asc", allowed("files.list", "")},
	{"the file", `"e2e-ü.txt"`, "GET /platform/v1/files/file-1", allowed("files.retrieve", "")},
	{"its content", `"e2e-\r\n\u0000file"`, "GET /platform/v1/files/file-1/content", allowed("files.content", "")},
	{"the file, deleted", `true`, "DELETE /platform/v1/files/file-1", allowed("files.delete", "")},

	{"an upload", `"upload-1 pending"`, "POST /platform/v1/uploads", allowed("uploads.create", "")},
	{"its first part", `"part-1"`, "POST /platform/v1/uploads/upload-1/parts", allowed("uploads.parts.create", "")},
	{"its second part", `"part-2"`, "POST /platform/v1/uploads/upload-1/parts", allowed("uploads.parts.create", "")},
	{"the upload, completed", `"file-2"`, "POST /platform/v1/uploads/upload-1/complete", allowed("uploads.complete", "")},
	{"another upload", `"upload-2 pending"`, "POST /platform/v1/uploads", allowed("uploads.create", "")},
	{"the other upload, cancelled", `"upload-2 cancelled"`, "POST /platform/v1/uploads/upload-2/cancel", allowed("uploads.cancel", "")},
	{"an upload for a batch", `{"raised": "BadRequestError", "status": 400, "code": "invalid_request"}`, "",
		&record{400, "uploads.create", "", "", nil, false}},

	{"a batch file", `"file-3"`, "POST /platform/v1/files", allowed("files.create", "")},
	{"a batch file, one line denied", modelDenied, "", &record{403, "files.create", "", "deny", []string{"platform-does-all-but-gpt-4o"}, false}},
	{"the models in the batch file", `["o4-mini-2025-04-16", "o4-mini-2025-04-16"]`, "GET /platform/v1/files/file-3/content", allowed("files.content", "")},
	{"a batch", `"batch-1 validating"`, "POST /platform/v1/batches", allowed("batches.create", "")},
	{"batches", `["batch-1"]`, "GET /platform/v1/batches", allowed("batches.list", "")},
	{"the batch", `2`, "GET /platform/v1/batches/batch-1", allowed("batches.retrieve", "")},
	{"the batch, cancelled", `"batch-1 cancelling"`, "POST /platform/v1/batches/batch-1/cancel", allowed("batches.cancel", "")},

	{"a job", `"ftjob-1 queued"`, "POST /platform/v1/fine_tuning/jobs", allowed("fine_tuning.jobs.create", "o4-mini")},
	{"jobs", `["ftjob-1"]`, "GET /platform/v1/fine_tuning/jobs", allowed("fine_tuning.jobs.list", "")},
	{"the job", `"o4-mini-2025-04-16"`, "GET /platform/v1/fine_tuning/jobs/ftjob-1", allowed("fine_tuning.jobs.retrieve", "")},
	{"its events", `[]`, "GET /platform/v1/fine_tuning/jobs/ftjob-1/events", allowed("fine_tuning.jobs.list_events", "")},
	{"its checkpoints", `[]`, "GET /platform/v1/fine_tuning/jobs/ftjob-1/checkpoints", allowed("fine_tuning.jobs.checkpoints.list", "")},
	{"the job, paused", `"ftjob-1 paused"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/pause", allowed("fine_tuning.jobs.pause", "")},
	{"the job, resumed", `"ftjob-1 queued"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/resume", allowed("fine_tuning.jobs.resume", "")},
	{"the job, cancelled", `"ftjob-1 cancelled"`, "POST /platform/v1/fine_tuning/jobs/ftjob-1/cancel", allowed("fine_tuning.jobs.cancel", "")},
}

// serves lets an SDK take the steps, and checks what each side saw.
func (p *parts) serves(t *testing.T, ctx context.Context, client sdk) {
	issuer := p.keycloak.issuer("my-realm")
	s := p.scene(t, ctx, issuer, "{}")
	results, err := client.run(ctx, s.url, issuer)
	if err != nil {
		t.Fatal(err)
	}
	s.stop() // so that all is written
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the function ended on SIGTERM with %s", s.cmd.ProcessState)
	}
	var clientTokens []string
	if err := json.Unmarshal(results["tokens"], &clientTokens); err != nil || len(clientTokens) == 0 {
		t.Fatalf("the client's tokens: %v", err)
	}
	delete(results, "tokens")

	t.Run("the SDK gets what policies allow", func(t *testing.T) { checkResults(t, results) })
	t.Run("the upstreams get our credential and never the client's", func(t *testing.T) {
		s.upstreams.check(t, clientTokens)
		if n := s.tokens.Exchanges(); n != 1 {
			t.Errorf("%d exchanges for one access token", n)
		}
	})
	t.Run("each request has one record", func(t *testing.T) { checkRecords(t, s.stderr) })
	t.Run("a forbidden model looks like an unknown one, and leads to its record", func(t *testing.T) {
		checkDenials(t, s.stderr, results["a model that is forbidden"], results["a model that is unknown"])
	})
	t.Run("no output holds a secret", func(t *testing.T) {
		credentials := slices.Concat(keyLines(t, s.key), s.upstreams.tokens, []string{"e2e-secret-of-"})
		for _, token := range clientTokens {
			credentials = append(credentials, strings.Split(token, ".")...)
		}
		answers, err := json.Marshal(results)
		if err != nil {
			t.Fatal(err)
		}
		checkHoldsNone(t, "an answer", answers, credentials)
		for _, file := range []string{s.stdout, s.stderr} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			checkHoldsNone(t, filepath.Base(file), text, append(credentials, "e2e-"))
		}
	})
}

// run returns what each step came to.
func (c sdk) run(ctx context.Context, gateway, issuer string) (map[string]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := command(ctx, c.command...)
	cmd.Env = append([]string{"GATEWAY_URL=" + gateway, "ISSUER=" + issuer}, c.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", c.command[1], err, last(stderr.Bytes()))
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

// check compares what reached the upstreams with the steps that were allowed.
func (c *checkpoint) check(t *testing.T, clientTokens []string) {
	var want []string
	for _, step := range steps {
		if step.sent != "" {
			want = append(want, step.sent)
		}
	}
	if diff := cmp.Diff(want, c.calls); diff != "" {
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
