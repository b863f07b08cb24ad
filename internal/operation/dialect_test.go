package operation_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/operation"
)

const vertexPath = "/v1/projects/acme/locations/europe-west4/publishers/google/models/"

func TestTheModelOfAPath(t *testing.T) {
	for _, tt := range []struct {
		target string
		want   operation.Name
		model  string
		stream bool
	}{
		{"/v1beta/models/gemini-2.5-flash:generateContent", "models.generate_content", "gemini-2.5-flash", false},
		{"/v1/models/gemini-2.5-flash:generateContent", "models.generate_content", "gemini-2.5-flash", false},
		{"/v1beta/models/gemini-2.5-flash:streamGenerateContent", "models.generate_content", "gemini-2.5-flash", true},
		{"/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "models.generate_content", "gemini-2.5-flash", true},
		{"/v1beta/models/m:countTokens", "models.count_tokens", "m", false},
		{"/v1beta/models/m:embedContent", "models.embed_content", "m", false},
		{"/v1beta/models/m:batchEmbedContents", "models.embed_content", "m", false},
		{vertexPath + "m@1:predict", "models.predict", "m@1", false},
		{strings.Replace(vertexPath, "/v1/", "/v1beta1/", 1) + "m:generateContent", "models.generate_content", "m", false},
	} {
		r := route(t, "POST", tt.target)
		req, err := operation.Read(r, []byte(`{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":7}}`))
		if err != nil {
			t.Errorf("%s: %v", tt.target, err)
			continue
		}
		if r.Name != tt.want || len(req.Models) != 1 || req.Models[0].Name != tt.model || req.Stream != tt.stream || req.Dialect != apierror.Google || *req.MaxOutputTokens != 7 {
			t.Errorf("%s: %s %+v", tt.target, r.Name, req.Ask)
		}
	}
	if r := route(t, "POST", vertexPath+"m:predict"); r.Project != "acme" || r.Location != "europe-west4" {
		t.Errorf("%+v", r)
	}
}

func TestAModelInAPathIsReadInOneWay(t *testing.T) {
	for _, target := range []string{
		"/v1beta/models/a%2Fb:generateContent",
		"/v1beta/models/a/b:generateContent",
		"/v1beta/models/models/a:generateContent",
		"/v1beta/models/%61:generateContent",
		"/v1beta/models/a%3AgenerateContent",
		"/v1beta/models/a:b:generateContent",
		"/v1beta/models/:generateContent",
		"/v1beta/models/.:generateContent",
		"/v1beta/models/..:generateContent",
		"/v1beta/models/a:generateContent/",
		"/v1beta/models/a:GenerateContent",
		"/v1beta/models/a:generateContent:x",
		"/v1beta/models/a",
		"/v1beta2/models/a:generateContent",
		"/v1beta/tunedModels/a:generateContent",
		"/v1/projects/p/locations/l/publishers/anthropic/models/a:rawPredict",
		"/v1/projects/p/locations/l/publishers/meta/models/a:generateContent",
		"/v1/projects/p%2F..%2Fq/locations/l/publishers/google/models/a:generateContent",
		"/v1/projects/../locations/l/publishers/google/models/a:generateContent",
		"/v1/projects/p/locations/l/endpoints/1:generateContent",
	} {
		if _, err := operation.Match(httptest.NewRequest("POST", target, nil)); kind(err) != apierror.NotFound {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, target := range []string{"/v1beta/models/a:streamGenerateContent?alt=json", "/v1beta/models/a:streamGenerateContent?alt=sse&alt=sse", "/v1beta/models/a:generateContent?alt=sse", "/v1beta/models/a:generateContent?%24alt=proto"} {
		if _, err := operation.Match(httptest.NewRequest("POST", target, nil)); kind(err) != apierror.InvalidRequest {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// Google's bodies may repeat the model; each mention is decided and renamed.
func TestEveryMentionOfAModelInGooglesBodies(t *testing.T) {
	for _, tt := range []struct {
		target, body, want string
		models             int
	}{
		{"/v1beta/models/m:embedContent", `{"model":"models/m","content":{}}`, `{"model":"models/M","content":{}}`, 2},
		{"/v1beta/models/m:batchEmbedContents", `{"requests":[{"model":"models/m"},{"model":"models/n"}]}`, `{"requests":[{"model":"models/M"},{"model":"models/N"}]}`, 3},
		{"/v1beta/models/m:countTokens", `{"generateContentRequest":{"model":"models/m"}}`, `{"generateContentRequest":{"model":"models/M"}}`, 2},
		{"/v1beta/models/m:countTokens", `{"generate_content_request":{"model":"models/m"}}`, `{"generate_content_request":{"model":"models/M"}}`, 2},
		{"/v1beta/models/m:generateContent", `{"contents":[{"parts":[{"text":"model"}]}]}`, `{"contents":[{"parts":[{"text":"model"}]}]}`, 1},
	} {
		req, err := operation.Read(route(t, "POST", tt.target), []byte(tt.body))
		if err != nil {
			t.Errorf("%s %s: %v", tt.target, tt.body, err)
			continue
		}
		var names []string
		for _, m := range req.Refs() {
			names = append(names, strings.ToUpper(m.Name))
		}
		if got := join(req.Bytes(names, true)); got != tt.want || len(names) != tt.models {
			t.Errorf("%s: %d models, sent %s", tt.body, len(names), got)
		}
	}
	hundred := `{"requests":[` + strings.Repeat(`{"model":"models/m"},`, 99) + `{"model":"models/m"}]}`
	if _, err := operation.Read(route(t, "POST", "/v1beta/models/m:batchEmbedContents"), []byte(hundred)); err != nil {
		t.Errorf("a hundred requests: %v", err)
	}
	for _, body := range []string{
		// What would choose another model, or act elsewhere with the operator's authority.
		`{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"x"}}}}`,
		`{"generation_config":{"routing_config":{"manual_mode":{"model_name":"x"}}}}`,
		`{"generationConfig":{"model_config":{}}}`,
		`{"tools":[{"retrieval":{"externalApi":{"endpoint":"https://evil.example"}}}]}`,
		`{"tools":[{"retrieval":{"vertex_rag_store":{"rag_retrieval_config":{"ranking":{}}}}}]}`,
		`{"parameters":{"storageUri":"gs://b"}}`, `{"parameters":{"storage_uri":"gs://b"}}`,
		``, `[]`, `{"model":"m"}`, `{"model":"tunedModels/m"}`, `{"model":"models/"}`, `{"model":7}`, `{"Model":"models/m"}`, `{"requests":{"model":"models/m"}}`,
		`{"generationConfig":{"maxOutputTokens":"7"}}`, `{"generationConfig":{"maxOutputTokens":7},"generation_config":{"max_output_tokens":9}}`, `{"GenerationConfig":{}}`,
	} {
		if _, err := operation.Read(route(t, "POST", "/v1beta/models/m:embedContent"), []byte(body)); kind(err) != apierror.InvalidRequest {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestAnthropicsBodies(t *testing.T) {
	r := route(t, "POST", "/v1/messages?beta=true")
	req, err := operation.Read(r, []byte(`{"max_tokens":5,"stream":true, "model" : "m","tools":[{"model":"n"}]}`))
	if err != nil || r.Name != "messages.create" || !req.Stream || *req.MaxOutputTokens != 5 || len(req.Models) != 2 || req.AsksUsage() {
		t.Fatalf("%+v %v", req, err)
	}
	if got, want := join(req.BytesWithout([]string{"M", "N"}, `"v":1`)), `{"max_tokens":5,"stream":true, "v":1,"tools":[{"model":"N"}]}`; got != want {
		t.Errorf("without its model: %s", got)
	}
	if got, want := join(req.BytesWith([]string{"M", "N"}, `"v":1`)), `{"v":1,"max_tokens":5,"stream":true, "model" : "M","tools":[{"model":"N"}]}`; got != want {
		t.Errorf("with more: %s", got)
	}
	for _, body := range []string{`{"max_tokens":5}`, `{"model":"m","anthropic_version":"vertex-2023-10-16"}`, `{"model":"m","model":"n"}`} {
		if _, err := operation.Read(r, []byte(body)); kind(err) != apierror.InvalidRequest {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestAnthropicsVersionIsADate(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   string
		ok     bool
	}{
		{nil, "", true}, {[]string{"2023-06-01"}, "2023-06-01", true}, {[]string{"2026-10-21"}, "2026-10-21", true},
		{[]string{`x","model":"y`}, "", false}, {[]string{"2023-06-01", "2023-06-01"}, "", false}, {[]string{"vertex-2023-10-16"}, "", false},
	} {
		r := httptest.NewRequest("POST", "/v1/messages", nil)
		r.Header["Anthropic-Version"] = tt.values
		route, err := operation.Match(r)
		if route.Version != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %q, %v", tt.values, route.Version, err)
		}
	}
}

// An error comes in the dialect of its path whatever is wrong with the request.
func TestDialect(t *testing.T) {
	for _, tt := range []struct {
		method, target, version string
		want                    apierror.Dialect
	}{
		{"POST", "/v1/chat/completions", "", apierror.OpenAI},
		{"POST", "/v1/messages", "", apierror.Anthropic},
		{"GET", "/v1/messages", "", apierror.Anthropic},
		{"POST", "/v1beta/models/m:generateContent?key=x", "", apierror.Google},
		{"GET", "/v1/models", "", apierror.OpenAI},
		{"GET", "/v1/models", "2023-06-01", apierror.Anthropic},
		{"GET", "/v1/models/m", "2023-06-01", apierror.Anthropic},
		{"POST", "/v1/chat/completions", "2023-06-01", apierror.OpenAI},
		{"POST", "/nothing", "", apierror.OpenAI},
	} {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		if tt.version != "" {
			r.Header = http.Header{"Anthropic-Version": {tt.version}}
		}
		if got := operation.Dialect(r); got != tt.want {
			t.Errorf("%s %s: %s", tt.method, tt.target, got)
		}
		if route, err := operation.Match(r); err == nil && route.Dialect != tt.want {
			t.Errorf("%s %s: matched as %s", tt.method, tt.target, route.Dialect)
		}
	}
}
