package upstream_test

import (
	"bytes"
	"net/http"
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
	"vertex-corp": {Kind: config.Vertex, Project: "example.com:acme", Location: "us-central1", Credential: "sa"},
}

func request(t *testing.T, method, target, body string) *operation.Request {
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
	(&upstream.Call{}).Present(h, "")
	if len(h) != 0 {
		t.Errorf("%v", h)
	}
	(&upstream.Call{}).Present(h, "abc")
	if h.Get("Authorization") != "Bearer abc" || len(h) != 1 {
		t.Errorf("%v", h)
	}
}
