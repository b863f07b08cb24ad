package secrettest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"llmgateway.dev/gateway/internal/secret/secrettest"
)

func TestAnswersAreGooglesToTheByte(t *testing.T) {
	server := secrettest.New()
	defer server.Close()
	v1 := server.Add("projects/acme/secrets/key", []byte("one"))
	server.Add("projects/acme/secrets/key", []byte("two"))
	server.Disable(v1)
	for _, test := range []struct {
		why, method, path, authorization, client string
		status                                   int
		want                                     string // the body, or the error's status
	}{
		{"latest", "GET", "/v1/projects/acme/secrets/key/versions/latest:access", "", "gapic/1", 200,
			`{"name":"projects/100000000001/secrets/key/versions/2","payload":{"data":"dHdv","dataCrc32c":"1389933475"}}` + "\n"},
		{"disabled", "GET", "/v1/projects/acme/secrets/key/versions/1:access", "", "gapic/1", 400, "FAILED_PRECONDITION"},
		{"no such version", "GET", "/v1/projects/acme/secrets/key/versions/3:access", "", "gapic/1", 404, "NOT_FOUND"},
		{"no such secret", "GET", "/v1/projects/acme/secrets/none/versions/1:access", "", "gapic/1", 404, "NOT_FOUND"},
		{"another method", "POST", "/v1/projects/acme/secrets/key/versions/1:access", "", "gapic/1", 404, "NOT_FOUND"},
		{"another path", "GET", "/v1/projects/acme/secrets/key", "", "gapic/1", 404, "NOT_FOUND"},
		{"a credential on loopback", "GET", "/v1/projects/acme/secrets/key/versions/2:access", "Bearer x", "gapic/1", 401, "UNAUTHENTICATED"},
		{"another client", "GET", "/v1/projects/acme/secrets/key/versions/2:access", "", "", 400, "INVALID_ARGUMENT"},
	} {
		t.Run(test.why, func(t *testing.T) {
			req, err := http.NewRequest(test.method, server.URL+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Goog-Api-Client", test.client)
			if test.authorization != "" {
				req.Header.Set("Authorization", test.authorization)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			got := string(body)
			if resp.StatusCode != 200 {
				var answer struct {
					Error struct {
						Code   int
						Status string
					}
				}
				if json.Unmarshal(body, &answer) != nil || answer.Error.Code != resp.StatusCode {
					t.Errorf("error is not in Google's form: %s", body)
				}
				got = answer.Error.Status
			}
			if resp.StatusCode != test.status || got != test.want {
				t.Errorf("answer is %d %s, want %d %s", resp.StatusCode, got, test.status, test.want)
			}
		})
	}
}
