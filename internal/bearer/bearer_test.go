package bearer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/bearer"
)

func TestATokenIsTakenFromOneOfItsHeaders(t *testing.T) {
	for _, row := range []struct {
		name, query string
		headers     []string
		token       string
		kind        apierror.Kind
	}{
		{"RFC 6750", "", []string{"Authorization: Bearer abc"}, "abc", apierror.Kind{}},
		{"the scheme's case does not matter (RFC 9110 section 11.1)", "", []string{"Authorization: bEaReR abc"}, "abc", apierror.Kind{}},
		{"many spaces", "", []string{"Authorization: Bearer   abc "}, "abc", apierror.Kind{}},
		{"Anthropic's", "", []string{"X-Api-Key: abc"}, "abc", apierror.Kind{}},
		{"Google's", "", []string{"X-Goog-Api-Key: abc"}, "abc", apierror.Kind{}},
		{"Azure's", "", []string{"Api-Key: abc"}, "abc", apierror.Kind{}},
		{"the same in two", "", []string{"Authorization: Bearer abc", "Api-Key: abc"}, "abc", apierror.Kind{}},
		{"an empty header beside", "", []string{"Authorization: Bearer abc", "X-Api-Key: "}, "abc", apierror.Kind{}},
		{"none", "", nil, "", apierror.MissingToken},
		{"an empty one", "", []string{"Authorization: Bearer "}, "", apierror.MissingToken},
		{"the scheme alone", "", []string{"Authorization: Bearer"}, "", apierror.MissingToken},
		{"another scheme", "", []string{"Authorization: Basic abc"}, "", apierror.MissingToken},
		{"another scheme beside a key", "", []string{"Authorization: Basic abc", "X-Api-Key: abc"}, "", apierror.MissingToken},
		{"a cookie is no carrier", "", []string{"Cookie: access_token=abc"}, "", apierror.MissingToken},
		{"X-Serverless-Authorization is Cloud Run's", "", []string{"X-Serverless-Authorization: Bearer abc"}, "", apierror.MissingToken},
		{"two that differ", "", []string{"Authorization: Bearer abc", "X-Api-Key: abd"}, "", apierror.InvalidRequest},
		{"one header twice", "", []string{"Authorization: Bearer abc", "Authorization: Bearer abc"}, "", apierror.InvalidRequest},
		{"in the query (RFC 6750 section 2.3)", "access_token=abc", nil, "", apierror.InvalidRequest},
		{"in the query, Gemini's", "key=abc", []string{"Authorization: Bearer abc"}, "", apierror.InvalidRequest},
		{"in the query, in capitals", "API-KEY=abc", []string{"Authorization: Bearer abc"}, "", apierror.InvalidRequest},
		{"in the query, escaped", "%61ccess_token=abc", []string{"Authorization: Bearer abc"}, "", apierror.InvalidRequest},
		{"in a query that is malformed elsewhere", "a=%zz&key=abc", []string{"Authorization: Bearer abc"}, "", apierror.InvalidRequest},
		{"another parameter", "limit=1", []string{"Authorization: Bearer abc"}, "abc", apierror.Kind{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/v1/models?"+row.query, nil)
			for _, h := range row.headers {
				name, value, _ := strings.Cut(h, ": ")
				r.Header.Add(name, value)
			}
			got, err := bearer.Token(r)
			token := got.Reveal()
			if token != row.token {
				t.Errorf("token %q", token)
			}
			var refused *apierror.Error
			if errors.As(err, &refused); row.kind != (apierror.Kind{}) && (refused == nil || refused.Kind != row.kind) || row.kind == (apierror.Kind{}) && err != nil {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "abc") {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
}

// FuzzToken: whatever stands in the headers, what is taken is what each of them carries, and nothing that was in
// a query is taken at all.
func FuzzToken(f *testing.F) {
	f.Add("limit=1", "Bearer abc", "", "abc", "")
	f.Add("", "bearer  a b ", "a b", "", "")
	f.Add("a=%zz;&KEY=abc", "Basic abc", "abc", "abc", "abd")
	f.Fuzz(func(t *testing.T, query, authorization, anthropic, google, azure string) {
		r := &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: query}}
		values := map[string]string{"Authorization": authorization, "X-Api-Key": anthropic, "X-Goog-Api-Key": google, "Api-Key": azure}
		for name, value := range values {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		hidden, err := bearer.Token(r)
		token := hidden.Reveal()
		if err != nil {
			if e, ok := errors.AsType[*apierror.Error](err); !ok || token != "" || e.Kind.Status != 400 && e.Kind.Status != 401 {
				t.Errorf("token %q, %v", token, err)
			}
			return
		}
		if token == "" || strings.TrimSpace(token) != token {
			t.Errorf("token %q", token)
		}
		for name, value := range values {
			rest := strings.TrimSpace(value)
			if name == "Authorization" && value != "" {
				if scheme, after, _ := strings.Cut(rest, " "); strings.ToLower(scheme) == "bearer" {
					rest = strings.TrimSpace(after)
				} else {
					t.Errorf("another scheme: %q", value)
				}
			}
			if rest != "" && rest != token {
				t.Errorf("%q was taken for %q", token, value)
			}
		}
		for parameter := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(parameter, "=")
			name, err := url.QueryUnescape(name)
			if strings.Contains(parameter, ";") || err != nil {
				continue
			}
			switch strings.ToLower(name) {
			case "access_token", "key", "api_key", "api-key", "apikey", "token":
				t.Errorf("a token in the query: %q", query)
			}
		}
	})
}

// challenge is RFC 9110's grammar with the characters that RFC 6750 section 3 allows.
var challenge = regexp.MustCompile(`^Bearer (error="[a-z_]+", error_description="[\x20-\x21\x23-\x5B\x5D-\x7E]*", )?resource_metadata="[\x20-\x21\x23-\x5B\x5D-\x7E]*"$`)

func TestAChallengeKeepsToItsCharactersWhateverItIsGiven(t *testing.T) {
	const metadata = "https://gateway/.well-known/oauth-protected-resource"
	for _, row := range []struct {
		name, message, metadata string
		kind                    apierror.Kind
		want                    string // "" is none, "ok" any well-formed one
	}{
		{"no token", "no token came", metadata, apierror.MissingToken, `Bearer resource_metadata="` + metadata + `"`},
		{"a bad token", "the signature", metadata, apierror.InvalidToken, `Bearer error="invalid_token", error_description="the signature", resource_metadata="` + metadata + `"`},
		{"an old token", "expired", metadata, apierror.ExpiredToken, `Bearer error="invalid_token", error_description="expired", resource_metadata="` + metadata + `"`},
		{"a denial", "no", metadata, apierror.ModelNotAllowed, `Bearer error="insufficient_scope", error_description="no", resource_metadata="` + metadata + `"`},
		{"the other denial", "no", metadata, apierror.OperationNotAllowed, `Bearer error="insufficient_scope", error_description="no", resource_metadata="` + metadata + `"`},
		{"quotes, a backslash, a line break, beyond ASCII", "a\"b\\c\r\nSet-Cookie: d é\x00", metadata, apierror.InvalidToken, "ok"},
		{"a hostile host", "no", "https://evil\", error=\"x\r\n", apierror.InvalidToken, "ok"},
		{"not about the token", "no", metadata, apierror.NotFound, ""},
		{"an outage is no challenge", "no", metadata, apierror.IssuerUnavailable, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := http.Header{}
			bearer.Challenge(h, apierror.New(row.kind, "%s", row.message), row.metadata)
			got := h.Get("WWW-Authenticate")
			if row.want == "ok" && !challenge.MatchString(got) || row.want != "ok" && got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add("the signature", "gateway")
	f.Add("a\"b\\c\r\n\x00\xff", "evil\", error=\"x\r\nSet-Cookie: a=b")
	f.Fuzz(func(t *testing.T, message, host string) {
		h := http.Header{}
		r := &http.Request{Host: host}
		bearer.Challenge(h, apierror.New(apierror.InvalidToken, "%s", message), bearer.Resource("", r)+bearer.MetadataPath)
		if got := h.Get("WWW-Authenticate"); !challenge.MatchString(got) {
			t.Errorf("%q", got)
		}
	})
}

func TestTheResourceIsTheConfiguredOneOrTheHostThatWasAddressed(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "gateway-abc.a.run.app"
	for server, want := range map[string]string{
		"":                          "https://gateway-abc.a.run.app",
		"https://llm.example.com":   "https://llm.example.com",
		"https://llm.example.com/":  "https://llm.example.com",
		"http://127.0.0.1:8080":     "http://127.0.0.1:8080",
		"https://llm.example.com//": "https://llm.example.com",
	} {
		if got := bearer.Resource(server, r); got != want {
			t.Errorf("%q: %s", server, got)
		}
	}
}

func TestTheMetadataIsRFC9728s(t *testing.T) {
	w := httptest.NewRecorder()
	bearer.WriteMetadata(w, "https://evil\"<script>", []string{"https://a.example.com", "https://b.example.com/"})
	const want = `{"resource":"https://evil\"\u003cscript\u003e","authorization_servers":["https://a.example.com","https://b.example.com/"],"bearer_methods_supported":["header"]}` + "\n"
	if w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// go test -run '^$' -bench . ./internal/bearer
func BenchmarkToken(b *testing.B) {
	r := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 1200))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bearer.Token(r); err != nil {
			b.Fatal(err)
		}
	}
}
