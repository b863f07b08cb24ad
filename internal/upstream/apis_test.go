package upstream_test

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/upstream"
)

var update = flag.Bool("update", false, "write docs/apis.md anew")

const apisHead = `# APIs

Which operation goes where: for each dialect, its operations, and under each kind of upstream the path at which that kind is
called. A dash is an operation that the kind does not speak. Nothing is translated from one dialect into another: a model whose
allowed targets don't speak the client's answers 400 and says which they speak.

Generated from the code's tables (` + "`go test ./internal/upstream -update`" + `); ` + "`function/rows_test.go`" + ` visits every cell. An upstream may lack an operation that
its kind has (Vertex AI's OpenAI face has chat completions and embeddings); its own error then passes as it is.
`

// docs/apis.md is the table of dialect, operation and kind, as the code has it.
func TestTheTableOfAPIsIsTrue(t *testing.T) {
	kinds := []config.Kind{config.OpenAI, config.Azure, config.Vertex, config.Anthropic, config.Gemini}
	sample := map[config.Kind]config.Upstream{
		config.OpenAI:    {Kind: config.OpenAI},
		config.Azure:     {Kind: config.Azure, BaseURL: "https://RESOURCE.openai.azure.com/openai/v1"},
		config.Vertex:    {Kind: config.Vertex, Project: "P", Location: "L"},
		config.Anthropic: {Kind: config.Anthropic},
		config.Gemini:    {Kind: config.Gemini},
	}
	var b strings.Builder
	b.WriteString(apisHead)
	for _, dialect := range []apierror.Dialect{apierror.OpenAI, apierror.Anthropic, apierror.Google} {
		var speaking []config.Kind
		for _, k := range kinds {
			if slices.Contains(upstream.Dialects(k), dialect) {
				speaking = append(speaking, k)
			}
		}
		fmt.Fprintf(&b, "\n## %s\n\n| operation | client calls |", dialect)
		for _, k := range speaking {
			fmt.Fprintf(&b, " %s |", k)
		}
		b.WriteString("\n| --- | --- |" + strings.Repeat(" --- |", len(speaking)) + "\n")
		for _, op := range operation.All() {
			if op.Dialect != dialect {
				continue
			}
			fmt.Fprintf(&b, "| `%s` | `%s %s` |", op.Name, op.Method, op.Path)
			for _, k := range speaking {
				if op.IsList() {
					b.WriteString(" answered by the gateway |")
					continue
				}
				if k != config.Vertex && strings.Contains(op.Path, "{project}") {
					b.WriteString(" – |")
					continue
				}
				call := upstream.NewCall(sample[k], []string{"M"}, sampleRequest(t, op))
				_, at, _ := strings.Cut(strings.TrimPrefix(call.URL, "https://"), "/")
				fmt.Fprintf(&b, " `/%s` |", at)
			}
			b.WriteString("\n")
		}
	}
	const file = "../../docs/apis.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), b.String()); diff != "" {
		t.Errorf("docs/apis.md is not what the code says; go test ./internal/upstream -update (-committed +code):\n%s", diff)
	}
}

// sampleRequest is a request of the operation for the model M.
func sampleRequest(t *testing.T, op *operation.Operation) *operation.Request {
	t.Helper()
	r := httptest.NewRequest(op.Method, strings.NewReplacer("{id}", "ID", "{model}", "M", "{project}", "P", "{location}", "L").Replace(op.Path), nil)
	route, err := operation.Match(r)
	if err != nil {
		t.Fatal(err)
	}
	body := ""
	switch {
	case op.Body == operation.JSON && op.Dialect != apierror.Google:
		body = `{"model":"M"}`
	case op.Body == operation.JSON:
		body = `{}`
	case op.Body == operation.Multipart:
		r.Header.Set("Content-Type", "multipart/form-data; boundary=B")
		if err := route.ReadHead(r.Header); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"model", "purpose"} {
			body += "--B\r\nContent-Disposition: form-data; name=\"" + part + "\"\r\n\r\nM\r\n"
		}
		body += "--B--"
	}
	req, err := operation.Read(route, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}
