package upstream_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/upstream"
)

var no = false

var upstreams = map[string]config.Upstream{
	"openai":      {Kind: config.OpenAI, Credential: "key"},
	"ollama":      {Kind: config.OpenAI, BaseURL: "http://127.0.0.1:11434/v1/", Usage: &no},
	"vertex":      {Kind: config.Vertex, Project: "acme", Location: "europe-west4", Credential: "sa"},
	"global":      {Kind: config.Vertex, Project: "acme", Location: "global", Credential: "sa"},
	"vertex-psc":  {Kind: config.Vertex, Project: "acme", Location: "us-central1", BaseURL: "https://psc.example.com/", Credential: "sa"},
	"azure":       {Kind: config.Azure, BaseURL: "https://acme.openai.azure.com/openai/v1", Credential: "key"},
	"anthropic":   {Kind: config.Anthropic, Credential: "key"},
	"gemini":      {Kind: config.Gemini, Credential: "key"},
	"vertex-corp": {Kind: config.Vertex, Project: "example.com:acme", Location: "us-central1", Credential: "sa"},
}

func request(t testing.TB, method, target, body string) *operation.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://gateway"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, err := operation.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	var bytes []byte
	if body != "" {
		bytes = []byte(body)
	}
	req, err := operation.Read(route, bytes)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestAnOperationStandsUnderItsUpstreamsBase(t *testing.T) {
	const chat = `{"model":"m","messages":[]}`
	for _, row := range []struct{ name, upstream, method, target, body, want string }{
		{"OpenAI's own address", "openai", "POST", "/v1/chat/completions", chat, "https://api.openai.com/v1/chat/completions"},
		{"a base URL with a slash at its end", "ollama", "POST", "/v1/chat/completions", chat, "http://127.0.0.1:11434/v1/chat/completions"},
		{"a region of Vertex AI", "vertex", "POST", "/v1/chat/completions", chat,
			"https://europe-west4-aiplatform.googleapis.com/v1/projects/acme/locations/europe-west4/endpoints/openapi/chat/completions"},
		{"Vertex AI's global endpoint has no region in its host", "global", "POST", "/v1/chat/completions", chat,
			"https://aiplatform.googleapis.com/v1/projects/acme/locations/global/endpoints/openapi/chat/completions"},
		{"a private endpoint", "vertex-psc", "POST", "/v1/chat/completions", chat,
			"https://psc.example.com/v1/projects/acme/locations/us-central1/endpoints/openapi/chat/completions"},
		{"a project of a domain", "vertex-corp", "POST", "/v1/chat/completions", chat,
			"https://us-central1-aiplatform.googleapis.com/v1/projects/example.com:acme/locations/us-central1/endpoints/openapi/chat/completions"},
		{"the query that was read is the one sent", "openai", "GET", "/v1/fine_tuning/jobs?limit=2&after=a%26b", "",
			"https://api.openai.com/v1/fine_tuning/jobs?after=a%26b&limit=2"},
		{"an id", "openai", "POST", "/v1/fine_tuning/jobs/ftjob-1/cancel", "", "https://api.openai.com/v1/fine_tuning/jobs/ftjob-1/cancel"},
	} {
		t.Run(row.name, func(t *testing.T) {
			call := upstream.NewCall(upstreams[row.upstream], []string{"m"}, request(t, row.method, row.target, row.body))
			if call.URL != row.want || call.Method != row.method {
				t.Errorf("%s %s, want %s", call.Method, call.URL, row.want)
			}
			if (call.Body == nil) != (row.body == "") {
				t.Errorf("body %q", call.Body)
			}
		})
	}
}

func TestTheModelIsRenamedAndUsageAskedForOnlyWhereTheUpstreamTakesIt(t *testing.T) {
	const streamed = `{"model":"m","stream":true}`
	for _, row := range []struct {
		upstream, want string
		hides          bool
	}{
		{"openai", `{"stream_options":{"include_usage":true},"model":"theirs","stream":true}`, true},
		{"ollama", `{"model":"theirs","stream":true}`, false},
	} {
		call := upstream.NewCall(upstreams[row.upstream], []string{"theirs"}, request(t, "POST", "/v1/chat/completions", streamed))
		if got := string(bytes.Join(call.Body, nil)); got != row.want || call.HidesUsage != row.hides {
			t.Errorf("%s: %s, hides usage %t", row.upstream, got, call.HidesUsage)
		}
	}
}

func TestACredentialIsPresentedWhereThereIsOne(t *testing.T) {
	for name, want := range map[string]string{"openai": "key", "ollama": "", "vertex": "sa"} {
		call := upstream.NewCall(upstreams[name], []string{"m"}, request(t, "POST", "/v1/embeddings", `{"model":"m","input":""}`))
		if call.Credential != want {
			t.Errorf("%s: %q", name, call.Credential)
		}
	}
	h := http.Header{}
	(&upstream.Call{}).Present(h, "", false)
	if len(h) != 0 {
		t.Errorf("%v", h)
	}
	(&upstream.Call{}).Present(h, "abc", true)
	if h.Get("Authorization") != "Bearer abc" || len(h) != 1 {
		t.Errorf("%v", h)
	}
}

// Each kind in each dialect that it speaks: address, body and key as the provider documents them.
func TestEveryFaceOfEveryKind(t *testing.T) {
	const (
		message  = `{"model":"m","max_tokens":9,"messages":[],"stream":%s}`
		content  = `{"contents":[]}`
		requests = `{"requests":[{"model":"models/m"},{"model":"models/m"}]}`
		europe   = "https://europe-west4-aiplatform.googleapis.com"
		inEurope = "/projects/acme/locations/europe-west4"
	)
	plain, streamed := strings.Replace(message, "%s", "false", 1), strings.Replace(message, "%s", "true", 1)
	for _, row := range []struct{ upstream, model, target, body, url, sent, key string }{
		{"azure", "deployed", "/v1/chat/completions", `{"model":"m"}`, "https://acme.openai.azure.com/openai/v1/chat/completions", `{"model":"deployed"}`, "Api-Key"},
		{"anthropic", "claude-1", "/v1/messages", plain, "https://api.anthropic.com/v1/messages", strings.Replace(plain, `"m"`, `"claude-1"`, 1), "X-Api-Key"},
		{"anthropic", "claude-1", "/v1/messages/count_tokens?beta=true", plain, "https://api.anthropic.com/v1/messages/count_tokens?beta=true", strings.Replace(plain, `"m"`, `"claude-1"`, 1), "X-Api-Key"},
		{"vertex", "anthropic/claude@1", "/v1/messages?beta=true", plain, europe + "/v1" + inEurope + "/publishers/anthropic/models/claude@1:rawPredict",
			strings.Replace(plain, `"model":"m"`, `"anthropic_version":"vertex-2023-10-16"`, 1), "Authorization"},
		{"vertex", "claude@1", "/v1/messages", streamed, europe + "/v1" + inEurope + "/publishers/anthropic/models/claude@1:streamRawPredict",
			strings.Replace(streamed, `"model":"m"`, `"anthropic_version":"vertex-2023-10-16"`, 1), "Authorization"},
		{"vertex", "claude@1", "/v1/messages", `{ "tools":[{"model":"m"}], "model" : "m" }`, europe + "/v1" + inEurope + "/publishers/anthropic/models/claude@1:rawPredict",
			`{ "tools":[{"model":"claude@1"}], "anthropic_version":"vertex-2023-10-16" }`, "Authorization"},
		{"vertex", "claude@1", "/v1/messages/count_tokens", plain, europe + "/v1" + inEurope + "/publishers/anthropic/models/count-tokens:rawPredict",
			`{"anthropic_version":"vertex-2023-10-16",` + strings.Replace(plain, `"m"`, `"claude@1"`, 1)[1:], "Authorization"},
		{"gemini", "gemini-2", "/v1beta/models/m:generateContent", content, "https://generativelanguage.googleapis.com/v1beta/models/gemini-2:generateContent", content, "X-Goog-Api-Key"},
		{"gemini", "gemini-2", "/v1/models/m:streamGenerateContent?alt=sse", content, "https://generativelanguage.googleapis.com/v1/models/gemini-2:streamGenerateContent?alt=sse", content, "X-Goog-Api-Key"},
		{"gemini", "embed-2", "/v1beta/models/m:batchEmbedContents", requests, "https://generativelanguage.googleapis.com/v1beta/models/embed-2:batchEmbedContents",
			strings.ReplaceAll(requests, "models/m", "models/embed-2"), "X-Goog-Api-Key"},
		{"vertex", "google/gemini-2", "/v1beta/models/m:generateContent", content, europe + "/v1beta1" + inEurope + "/publishers/google/models/gemini-2:generateContent", content, "Authorization"},
		{"vertex", "gemini-2", "/v1/models/m:countTokens", content, europe + "/v1" + inEurope + "/publishers/google/models/gemini-2:countTokens", content, "Authorization"},
		{"vertex", "gemini-2", "/v1beta1" + inEurope + "/publishers/google/models/m:predict", `{"instances":[]}`, europe + "/v1beta1" + inEurope + "/publishers/google/models/gemini-2:predict", `{"instances":[]}`, "Authorization"},
	} {
		req := request(t, "POST", row.target, row.body)
		if !slices.Contains(upstream.Dialects(upstreams[row.upstream].Kind), req.Dialect) {
			t.Errorf("%s does not speak %s's dialect", row.upstream, req.Dialect)
			continue
		}
		models := make([]string, len(req.Refs()))
		for i := range models {
			models[i] = row.model
		}
		call := upstream.NewCall(upstreams[row.upstream], models, req)
		if sent := string(bytes.Join(call.Body, nil)); call.URL != row.url || sent != row.sent {
			t.Errorf("%s of %s:\ngot  %s %s\nwant %s %s", row.target, row.upstream, call.URL, sent, row.url, row.sent)
		}
		h := http.Header{}
		call.Present(h, "secret", true)
		if got := h.Get(row.key); len(h) != 1 || got != "secret" && got != "Bearer secret" {
			t.Errorf("%s: the key is presented as %v", row.upstream, h)
		}
		h = http.Header{}
		call.Present(h, "token", false)
		if h.Get("Authorization") != "Bearer token" || len(h) != 1 {
			t.Errorf("%s: the token is presented as %v", row.upstream, h)
		}
	}
}

func TestATokenIsNeverSentToAnotherProject(t *testing.T) {
	const path = "/v1/projects/%s/publishers/google/models/m:generateContent"
	for where, want := range map[string]bool{"acme/locations/europe-west4": true, "acme/locations/us-central1": false, "evil/locations/europe-west4": false, "ACME/locations/europe-west4": false} {
		req := request(t, "POST", strings.Replace(path, "%s", where, 1), `{"contents":[]}`)
		if upstream.IsOf(upstreams["vertex"], req) != want || upstream.IsOf(upstreams["gemini"], req) {
			t.Errorf("%s: %t", where, !want)
		}
	}
	if !upstream.IsOf(upstreams["vertex"], request(t, "POST", "/v1beta/models/m:generateContent", `{}`)) {
		t.Error("a path without a project is everybody's")
	}
}

func TestClaudeOnVertexGetsTheClientsVersion(t *testing.T) {
	for header, want := range map[string]string{"": "vertex-2023-10-16", "2023-06-01": "vertex-2023-10-16", "2026-10-21": "2026-10-21"} {
		req := request(t, "POST", "/v1/messages", `{"model":"m"}`)
		req.Version = header
		if got := string(bytes.Join(upstream.NewCall(upstreams["vertex"], []string{"claude"}, req).Body, nil)); got != `{"anthropic_version":"`+want+`"}` {
			t.Errorf("%q: %s", header, got)
		}
	}
}

// go test -run '^$' -bench . ./internal/upstream
func BenchmarkNewCall(b *testing.B) {
	req := request(b, "POST", "/v1/chat/completions", `{"model":"gpt-4-turbo","stream":true,"messages":[{"role":"user","content":"`+strings.Repeat("all work and no play ", 50)+`"}]}`)
	for _, name := range []string{"openai", "vertex", "azure"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h := http.Header{}
				upstream.NewCall(upstreams[name], []string{"gpt-4-turbo-2024-04-09"}, req).Present(h, "token", false)
			}
		})
	}
}
