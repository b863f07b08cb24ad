package function_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	faces "llmgateway.dev/gateway/internal/upstream"
)

// Every cell of docs/apis.md: each operation goes the whole way to each kind of upstream that speaks
// its dialect, for a client that may; nowhere for one that may not, or where the kind doesn't speak it. A
// row or a face that is added is tested here without another line.
func TestEveryOperationGoesTheWholeWayToEveryKind(t *testing.T) {
	for kind, where := range map[config.Kind]string{
		config.OpenAI:    "base_url: $FIRST/v1",
		config.Azure:     "base_url: $FIRST/openai/v1",
		config.Vertex:    "base_url: $FIRST, project: p, location: l",
		config.Anthropic: "base_url: $FIRST",
		config.Gemini:    "base_url: $FIRST",
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p := &recorder{}
			s := open(t, setting{
				clients: map[string][]string{"all": {"all"}, "stranger": nil},
				policy:  `@id("all") permit (principal in Group::"all", action, resource);`,
				config: fmt.Sprintf("upstreams: {up: {kind: %s, %s, credential: vertex}}\nmodels: {ours: {targets: [{upstream: up, model: theirs}]}}\ndefault_upstream: up\n",
					kind, where),
				first: strings.TrimSuffix(upstream(t, p.ServeHTTP), "/v1"),
			})
			for _, op := range operation.All() {
				t.Run(op.Method+" "+op.Path, func(t *testing.T) { wholeWay(t, s, p, kind, op) })
			}
		})
	}
}

func wholeWay(t *testing.T, s *scene, p *recorder, kind config.Kind, op *operation.Operation) {
	path := strings.NewReplacer("{id}", "x-1", "{model...}", "ours", "{model}", "ours", "{project}", "p", "{location}", "l").Replace(op.Path)
	body, contentType := "", "application/json"
	switch op.Body {
	case operation.JSON:
		body = `{"model":"ours","purpose":"user_data"}`
		if strings.Contains(op.Path, "{model}") {
			body = `{"model":"models/ours"}`
		}
	case operation.Multipart:
		contentType = "multipart/form-data; boundary=B"
		for name, value := range map[string]string{"model": "ours", "purpose": "user_data"} {
			body += fmt.Sprintf("--B\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
		}
		body += "--B--\r\n"
	}
	call := func(client string) (status int, answer string, received []string) {
		p.take()
		req := s.request(t.Context(), op.Method, path, s.issuer.Token(client), body)
		if body != "" {
			req.Header.Set("Content-Type", contentType)
		}
		a := s.do(req)
		return a.StatusCode, a.body, p.take()
	}

	status, answer, received := call("stranger")
	want := 403
	switch {
	case op.Name == "models.list":
		want = 200
	case op.IsList():
		want = 404
	}
	if status != want || len(received) != 0 {
		t.Errorf("a client that may not: %d, the upstream got %q: %s", status, received, answer)
	}

	status, answer, received = call("all")
	switch {
	case op.IsList():
		if status != 200 || !strings.Contains(answer, `"ours"`) || len(received) != 0 {
			t.Errorf("%d %s, the upstream got %q", status, answer, received)
		}
	case !slices.Contains(faces.Dialects(kind), op.Dialect):
		if status < 400 || len(received) != 0 {
			t.Errorf("%s does not speak %s: %d, the upstream got %q", kind, op.Dialect, status, received)
		}
	case strings.Contains(op.Path, "{project}") && kind != config.Vertex:
		if status != 403 || len(received) != 0 {
			t.Errorf("another's project: %d, the upstream got %q", status, received)
		}
	case status != 200 || len(received) != 1:
		t.Errorf("%d %s, the upstream got %q", status, answer, received)
	case !strings.HasPrefix(received[0], op.Method+" "):
		t.Errorf("the upstream got %q", received)
	case op.NeedsModel() && (!strings.Contains(received[0], "theirs") || strings.Contains(received[0], "ours")):
		t.Errorf("the client's name of the model reached the upstream: %q", received)
	}
}

// recorder is a provider that answers everything, and keeps it: method, path and body.
type recorder struct {
	mu       sync.Mutex
	received []string
}

func (p *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received = append(p.received, r.Method+" "+r.URL.Path+" "+string(body))
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, "{}")
}

func (p *recorder) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	received := p.received
	p.received = nil
	return received
}
