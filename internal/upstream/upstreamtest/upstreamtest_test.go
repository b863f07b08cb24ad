package upstreamtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

const form = "multipart/form-data; boundary=b"

// fields is a form; a value that begins with @ is a file's.
func fields(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		disposition := fmt.Sprintf("form-data; name=%q", name)
		if content, isFile := strings.CutPrefix(value, "@"); isFile {
			disposition, value = disposition+`; filename="f"`, content
		}
		fmt.Fprintf(&b, "--b\r\nContent-Disposition: %s\r\n\r\n%s\r\n", disposition, value)
	}
	return b.String() + "--b--\r\n"
}

// A story of what is stored, and what is refused on the way.
func TestTheProviderStoresWhatIsSoundAndRefusesTheRest(t *testing.T) {
	s := upstreamtest.New(func(token string) bool { return token == "good" })
	defer s.Close()
	const line = `{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}`
	for i, row := range []struct {
		line, contentType, body string
		status                  int
		holds                   string
	}{
		{"POST /chat/completions", "application/json", `{"messages":[{}]}`, 400, "model"},
		{"POST /chat/completions", "text/plain", `{}`, 415, ""},
		{"POST /images/edits", form, fields("model", "m", "model", "n", "prompt", "p", "image", "@i"), 400, "model must be given once"},
		{"POST /images/edits", form, fields("model", "m", "prompt", "p", "image", "@i"), 200, "b64_json"},
		{"POST /audio/transcriptions", form, fields("model", "m", "file", "@heard"), 200, "heard"},
		{"POST /files", form, fields("file", "@x"), 400, "purpose"},
		{"POST /files", form, fields("purpose", "batch", "file", "@"+line), 200, "file-1"},
		{"POST /files", form, fields("purpose", "user_data", "file", "@x"), 200, "file-2"},
		{"GET /files/file-2/content", "", "", 200, "x"},
		{"POST /batches", "application/json", `{"input_file_id":"file-2","endpoint":"/v1/embeddings"}`, 400, "purpose"},
		{"POST /batches", "application/json", `{"input_file_id":"file-1","endpoint":"/v1/responses"}`, 400, "endpoint"},
		{"POST /batches", "application/json", `{"input_file_id":"file-1","endpoint":"/v1/embeddings"}`, 200, `"total":1`},
		{"DELETE /files/file-1", "", "", 200, "deleted"},
		{"GET /files/file-1", "", "", 404, "file_not_found"},
		{"POST /uploads", "application/json", `{"bytes":2,"filename":"f","mime_type":"t","purpose":"p"}`, 200, "upload-1"},
		{"POST /uploads/upload-1/parts", form, fields("data", "@a"), 200, "part-1"},
		{"POST /uploads/upload-1/complete", "application/json", `{"part_ids":["part-1"]}`, 400, "announced"},
		{"POST /uploads/upload-1/complete", "application/json", `{"part_ids":["part-1","part-1"]}`, 200, "file-3"},
		{"POST /responses", "application/json", `{"model":"m","input":"hi","previous_response_id":"resp-9"}`, 400, "previous"},
		{"POST /responses", "application/json", `{"model":"m","input":"hi","stream":true}`, 200, "event: response.completed\n"},
		{"POST /responses/resp-1/cancel", "", "", 400, "background"},
		{"POST /fine_tuning/jobs", "application/json", `{"model":"m"}`, 400, "training_file"},
		{"GET /assistants", "", "", 404, "unknown_url"},
	} {
		method, path, _ := strings.Cut(row.line, " ")
		req, err := http.NewRequest(method, s.URL+path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", row.contentType)
		req.Header.Set("Authorization", "Bearer good")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != row.status || !strings.Contains(string(body), row.holds) {
			t.Errorf("%s: %d %s, want %d and %q", row.line, resp.StatusCode, body, row.status, row.holds)
		}
		if got := s.Received(); len(got) != i+1 || got[i].Body != row.body || got[i].Refused {
			t.Errorf("%s: received %+v", row.line, got[len(got)-1])
		}
	}
}
