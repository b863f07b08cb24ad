package function_test

import (
	"fmt"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/operation"
)

// Every row of the table goes the whole way: to the upstream for a client that may, nowhere for one
// that may not. A row that is added is tested here without another line.
func TestEveryOperationGoesTheWholeWay(t *testing.T) {
	s := open(t, setting{
		clients: map[string][]string{"all": {"all"}, "stranger": nil},
		policy:  `@id("all") permit (principal in Group::"all", action, resource);`,
	})
	for _, op := range operation.All() {
		t.Run(string(op.Name), func(t *testing.T) {
			path := strings.NewReplacer("{id}", "x-1", "{model...}", "gpt-4-turbo").Replace(op.Path)
			body, contentType := "", "application/json"
			switch op.Body {
			case operation.JSON:
				body = `{"model":"gpt-4-turbo","purpose":"user_data"}`
			case operation.Multipart:
				contentType = "multipart/form-data; boundary=B"
				for name, value := range map[string]string{"model": "gpt-4-turbo", "purpose": "user_data"} {
					body += fmt.Sprintf("--B\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
				}
				body += "--B--\r\n"
			}
			call := func(client string) *answer {
				req := s.request(t.Context(), op.Method, path, s.issuer.Token(client), body)
				if body != "" {
					req.Header.Set("Content-Type", contentType)
				}
				return s.do(req)
			}

			before := len(s.first.Received())
			a := call("stranger")
			switch {
			case op.Name == "models.list":
				s.want(a, 200, "")
			case op.IsList():
				s.want(a, 404, "model_not_found")
			default:
				s.want(a, 403, "operation_not_allowed")
			}
			if n := len(s.first.Received()) - before; n != 0 {
				t.Fatalf("a denied call reached the upstream %d times", n)
			}

			a = call("all")
			received := s.first.Received()[before:]
			if op.IsList() {
				s.want(a, 200, "")
				if len(received) != 0 {
					t.Errorf("a list was asked of the upstream")
				}
				return
			}
			if len(received) != 1 || received[0].Method != op.Method || received[0].Path != path || received[0].Refused {
				t.Fatalf("the upstream got %+v", received)
			}
			if sent := received[0].Body; op.NeedsModel() && (strings.Contains(sent, `"gpt-4-turbo"`) || !strings.Contains(sent, "gpt-4-turbo-2024-04-09")) {
				t.Errorf("the upstream got the client's name of the model: %s", sent)
			}
			if r := s.record(a); r["operation"] != string(op.Name) || r["decision"] != "allow" {
				t.Errorf("record %v", flat(r))
			}
		})
	}
}
