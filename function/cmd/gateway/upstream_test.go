package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

const providerKey = "sk-only-the-provider-knows"

// newProvider is an OpenAI-compatible server that lists these models. Unless it wants a key, as Ollama
// doesn't, it checks that none comes.
func newProvider(t *testing.T, wantsKey bool, models string) (base string, model *upstreamtest.Server) {
	model = upstreamtest.New(func(token string) bool { return token == providerKey })
	t.Cleanup(model.Close)
	to, err := url.Parse(model.URL)
	if err != nil {
		t.Fatal(err)
	}
	to.Path = ""
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch sent := r.Header.Get("Authorization"); {
		case wantsKey && sent != "Bearer "+providerKey:
			t.Error("another credential came than the key")
		case !wantsKey && sent != "":
			t.Error("a credential came to a provider without")
		}
		if r.Method == "GET" && r.URL.Path == "/v1/models" && models != "" {
			io.WriteString(w, models)
			return
		}
		r.Header.Set("Authorization", "Bearer "+providerKey)
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL + "/v1", model
}

// demonstrate plays the story once with a real upstream, and shows the key nowhere.
func demonstrate(t *testing.T, key string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Setenv("OPENAI_API_KEY", key)
	var out, diagnosis bytes.Buffer
	status = run(t.Context(), append([]string{"demo", "--once"}, args...), &out, &diagnosis)
	if strings.Contains(out.String()+diagnosis.String(), providerKey) {
		t.Error("the provider's key is shown")
	}
	return status, out.String(), diagnosis.String()
}

func TestTheStoryIsToldWithARealUpstream(t *testing.T) {
	const list = `{"object":"list","data":[{"id":"llama3.2:3b"},{"id":"text-embedding-3-small"}]}`
	for name, row := range map[string]struct {
		key, models string
		args        []string
		model       string
		told        []string
	}{
		"without a key, as Ollama": {"", list, nil, "llama3.2:3b", []string{
			"is called without a credential (OPENAI_API_KEY is not set), so no token is exchanged", "leaves the client's token out, and streams"}},
		"with a key": {providerKey, list, nil, "llama3.2:3b", []string{
			"takes the key in OPENAI_API_KEY, so no token is exchanged", "presents the provider's key, and streams"}},
		"with a model of my choice": {"", "", []string{"--model", `a "b", {c}: #d`}, `a "b", {c}: #d`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			base, model := newProvider(t, row.key != "", row.models)
			status, out, diagnosis := demonstrate(t, row.key, append(row.args, "--upstream", base)...)
			if status != 0 || diagnosis != "" {
				t.Fatalf("status %d: %s\n%s", status, diagnosis, out)
			}
			for _, want := range append(row.told, "gpt-4-turbo         is its "+row.model+"\n", "provider            "+base+"\n",
				"client:   200 You said: enrich record 4711\n", "operator: answered by "+row.model+", 3 tokens in, 5 out\n",
				"decision deny by read-only-never-fine-tunes", `"code":"expired_token"`, "client:   200 You said: and record 4712\n", "in all: 1 key fetch\n") {
				if !strings.Contains(out, want) {
					t.Errorf("not told: %s", want)
				}
			}
			for _, never := range []string{" USD", "upstream token", "token endpoint  ", "Secret Manager  "} {
				if strings.Contains(out, never) {
					t.Errorf("told though it isn't so: %s", never)
				}
			}
			if got := model.Received(); len(got) != 2 {
				t.Errorf("the provider had %d requests, want 2", len(got))
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// answering is a server that answers each request so.
func answering(t *testing.T, status int, contentType, body string) (base string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAStoryThatARealUpstreamSpoilsIsAnError(t *testing.T) {
	const chunk, done = "data: {\"choices\":[{\"delta\":{\"content\":\"\\u001b[2Jhi\"}}]}\n\n", "data: [DONE]\n\n"
	for name, row := range map[string]struct {
		status             int
		contentType, body  string
		wantErr, wantPrint string
	}{
		"no such model": {404, "application/json", `{"error":{"message":"model not found"}}`, "expected the answer of m to be streamed", `client:   404 {"error":{"message":"model not found"}}`},
		"says nothing":  {200, "text/event-stream", done, "expected the answer of m to be streamed", ""},
		"is cut":        {200, "text/event-stream", chunk, "expected the answer of m to be streamed", "client:   200 [2Jhi\n"},
		"is no stream":  {200, "application/json", `{"choices":[{"message":{"content":"hi"}}]}`, "expected the answer of m to be streamed", "client:   200 hi\n"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, diagnosis := demonstrate(t, "", "--upstream", answering(t, row.status, row.contentType, row.body), "--model", "m")
			if status != 1 || !strings.Contains(diagnosis, row.wantErr) || !strings.Contains(out, row.wantPrint) {
				t.Errorf("status %d: %s\n%s", status, diagnosis, out)
			}
		})
	}
}

func TestAnUpstreamIsSecureAndListsItsModels(t *testing.T) {
	const secure = "--upstream must be a base URL with https, or with http on this machine"
	for name, row := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"http elsewhere":     {[]string{"--upstream", "http://10.0.0.1/v1"}, 1, secure},
		"no URL":             {[]string{"--upstream", "localhost:11434"}, 1, secure},
		"a query":            {[]string{"--upstream", "https://example.com/v1?x=y"}, 1, secure},
		"no list":            {[]string{"--upstream", answering(t, 404, "text/plain", "no")}, 1, "which model? give --model NAME: "},
		"an empty list":      {[]string{"--upstream", answering(t, 200, "application/json", `{"data":[]}`)}, 1, "which model? give --model NAME: "},
		"not a list":         {[]string{"--upstream", answering(t, 200, "text/html", `<html>`)}, 1, "which model? give --model NAME: "},
		"a model of nothing": {[]string{"--model", "m"}, 2, "--model is a model of --upstream; give that too"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, diagnosis := demonstrate(t, "", row.args...)
			if status != row.status || out != "" || !strings.HasPrefix(diagnosis, row.want) {
				t.Errorf("status %d: %s%s", status, diagnosis, out)
			}
		})
	}
}
