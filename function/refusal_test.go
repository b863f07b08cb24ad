package function_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// Each row is a token that must not open the door, and the words by which the client is told why.
func TestEveryRefusedTokenIsChallengedWithTheCheckItFailed(t *testing.T) {
	s := open(t, setting{})
	other := issuertest.New()
	t.Cleanup(other.Close)
	claims := func(change map[string]any) map[string]any {
		c := s.issuer.Claims("pipeline")
		for name, value := range change {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
		return c
	}
	sign := func(header, change map[string]any) string { return s.issuer.Sign(header, claims(change)) }
	now := time.Now()
	good := s.issuer.Token("pipeline")
	parts := strings.Split(good, ".")

	for _, row := range []struct{ name, token, code, says string }{
		{"no JWT", "sk-proj-1234567890", "invalid_token", "form"},
		{"a JWE's five parts", "a.b.c.d.e", "invalid_token", "form"},
		{"over 16 KiB", sign(nil, map[string]any{"pad": strings.Repeat("a", 16<<10)}), "invalid_token", "16 KiB"},
		{"a claim twice", s.issuer.Key().SignBytes([]byte(`{"alg":"ES256","kid":"`+s.issuer.Key().ID+`"}`), []byte(`{"iss":"`+s.issuer.URL+`","iss":"x"}`)), "invalid_token", "claims set"},
		{"alg none (CVE-2015-9235)", sign(map[string]any{"alg": "none"}, nil), "invalid_token", "algorithm (alg)"},
		{"HMAC with the public key", sign(map[string]any{"alg": "HS256"}, nil), "invalid_token", "algorithm (alg)"},
		{"a key of its own (CVE-2018-0114)", sign(map[string]any{"jwk": issuertest.NewKey(jose.ES256).Public()}, nil), "invalid_token", "brings its own key (jwk)"},
		{"crit", sign(map[string]any{"crit": []string{"exp"}}, nil), "invalid_token", "crit"},
		{"typ header of another kind (RFC 8725)", sign(map[string]any{"typ": "dpop+jwt"}, nil), "invalid_token", "type (typ in its header)"},
		{"an issuer that nobody trusts", sign(nil, map[string]any{"iss": other.URL}), "invalid_token", "issuer (iss)"},
		{"an issuer but for a slash", sign(nil, map[string]any{"iss": s.issuer.URL + "/"}), "invalid_token", "issuer (iss)"},
		{"no issuer", sign(nil, map[string]any{"iss": nil}), "invalid_token", "issuer (iss)"},
		{"another audience", sign(nil, map[string]any{"aud": "account"}), "invalid_token", "audience (aud)"},
		{"no audience", sign(nil, map[string]any{"aud": nil}), "invalid_token", "audience (aud)"},
		{"expired", sign(nil, map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}), "expired_token", "expiry (exp)"},
		{"no expiry", sign(nil, map[string]any{"exp": nil}), "invalid_token", "expiry (exp)"},
		{"not yet valid", sign(nil, map[string]any{"nbf": now.Add(time.Hour).Unix()}), "invalid_token", "nbf"},
		{"of the future", sign(nil, map[string]any{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()}), "invalid_token", "iat"},
		{"too long a life", sign(nil, map[string]any{"exp": now.Add(25 * time.Hour).Unix()}), "invalid_token", "lifetime"},
		{"an ID token by typ", sign(nil, map[string]any{"typ": "ID"}), "invalid_token", "type (typ claim)"},
		{"an ID token by nonce", sign(nil, map[string]any{"nonce": "n"}), "invalid_token", "ID token (it has nonce)"},
		{"an ID token by at_hash", sign(nil, map[string]any{"at_hash": "h"}), "invalid_token", "ID token (it has at_hash)"},
		{"bound to a key (RFC 7800)", sign(nil, map[string]any{"cnf": map[string]string{"jkt": "x"}}), "invalid_token", "proof of possession (cnf)"},
		{"without a required claim", sign(nil, map[string]any{"acr": nil}), "invalid_token", "claim acr, a required claim"},
		{"a key that nobody published", issuertest.NewKey(jose.ES256).Sign(nil, claims(nil)), "invalid_token", "key (kid)"},
		{"another's signature", issuertest.NewKeyID(jose.ES256, s.issuer.Key().ID).Sign(nil, claims(nil)), "invalid_token", "signature"},
		{"claims changed after signing", parts[0] + "." + strings.Split(sign(nil, map[string]any{"groups": []string{"tuners"}}), ".")[1] + "." + parts[2], "invalid_token", "signature"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := s.in(t)
			a := s.do(s.request(t.Context(), "POST", chatPath, row.token, hello))
			s.want(a, 401, row.code)
			challenge := a.Header.Get("WWW-Authenticate")
			prefix := `Bearer error="invalid_token", error_description="`
			description, rest, _ := strings.Cut(strings.TrimPrefix(challenge, prefix), `"`)
			if !strings.HasPrefix(challenge, prefix) || rest != `, resource_metadata="https://`+a.Request.URL.Host+`/.well-known/oauth-protected-resource"` {
				t.Errorf("challenge %s", challenge)
			}
			if !strings.Contains(description, row.says) {
				t.Errorf("description %q does not say %q", description, row.says)
			}
			if a.Header.Get("X-Should-Retry") != "" { // a new token is the remedy, and SDKs fetch one
				t.Error("a 401 says not to retry")
			}
			r := s.record(a)
			if r["error_code"] != row.code || r["principal"] != nil || r["severity"] != "WARNING" {
				t.Errorf("record %v", flat(r))
			}
		})
	}
	s.want(s.do(s.request(t.Context(), "POST", chatPath, good, hello)), 200, "") // or the rows above prove nothing
	if n := len(s.first.Received()); n != 1 {
		t.Errorf("the upstream got %d requests, want the last alone", n)
	}
}

func TestAnUnknownModelAndAForbiddenOneLookAlike(t *testing.T) {
	s := open(t, setting{config: strings.Replace(ordinary, "models:", "models:\n  gpt-4.1:\n    targets: [{upstream: openai, model: gpt-4.1}]", 1)})
	token := s.issuer.Token("pipeline")
	seen := func(model string) string {
		a := s.do(s.request(t.Context(), "POST", chatPath, token, `{"model":"`+model+`","messages":[]}`))
		s.want(a, 403, "model_not_allowed")
		var head strings.Builder
		for _, name := range slices.Sorted(maps.Keys(a.Header)) {
			if name != "Date" {
				fmt.Fprintln(&head, name, a.Header[name])
			}
		}
		r := s.record(a)
		all := head.String() + a.body
		for _, id := range []string{"request_id", "decision_id"} {
			if id, ok := r[id].(string); !ok || len(id) != 26 || !strings.Contains(all, id) {
				t.Errorf("the record's ids are not the answer's: %v", flat(r))
			} else {
				all = strings.ReplaceAll(all, id, "ID")
			}
		}
		return all
	}
	forbidden, unknown := seen("gpt-4.1"), seen("gpt-9")
	if forbidden != unknown {
		t.Errorf("forbidden:\n%s\nunknown:\n%s", forbidden, unknown)
	}
}

// wire opens a connection of its own, sends text and returns what comes back.
func (s *scene) wire(text string) (net.Conn, *bufio.Reader) {
	s.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		s.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// post is the head of a chat request.
func post(token, framing string) string {
	return "POST " + chatPath + " HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\n" + framing + "\r\n\r\n"
}

func (s *scene) read(r *bufio.Reader) *answer {
	s.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		s.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	return &answer{resp, string(body), err}
}

func TestAWrongTokenIsRefusedBeforeItsBodyIsRead(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000", "Content-Length: 10000000", "Transfer-Encoding: chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			s := open(t, setting{})
			_, r := s.wire(post("junk", framing)) // and no body, ever
			s.want(s.read(r), 401, "invalid_token")
			if n := len(s.first.Received()); n != 0 {
				t.Errorf("the upstream got %d requests", n)
			}
		})
	}
}

func TestABodyWhoseSizeIsALieIsRefused(t *testing.T) {
	s := open(t, setting{})
	token := s.issuer.Token("pipeline")
	for _, row := range []struct{ name, text string }{
		{"Content-Length is more than comes", post(token, "Content-Length: 1000") + hello},
		{"a chunked body without its end", post(token, "Transfer-Encoding: chunked") + "5\r\n{\"mod"},
		{"a chunk of no size", post(token, "Transfer-Encoding: chunked") + "zz\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := s.in(t)
			conn, r := s.wire(row.text)
			conn.(*net.TCPConn).CloseWrite()
			s.want(s.read(r), 400, "invalid_request")
		})
	}
	t.Run("Content-Length and chunks (request smuggling, RFC 9112 section 6.1)", func(t *testing.T) {
		s := s.in(t)
		_, r := s.wire(post(token, "Content-Length: 5\r\nTransfer-Encoding: chunked") + "0\r\n\r\n")
		if a := s.read(r); a.StatusCode != 400 {
			t.Errorf("%d", a.StatusCode)
		}
	})
	if n := len(s.first.Received()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// The bound is two minutes, or what a request has at all. Whoever waits for it is known; the others were refused.
func TestABodyThatDoesNotComeIsWaitedForSoLong(t *testing.T) {
	s := open(t, setting{config: ordinary + "server: {request_timeout: 1s}\n"})
	for _, row := range []struct{ name, text string }{
		{"nothing of it", post(s.issuer.Token("pipeline"), "Content-Length: 1000")},
		{"half of it", post(s.issuer.Token("pipeline"), fmt.Sprint("Content-Length: ", 2*len(hello))) + hello},
		{"a chunk of it", post(s.issuer.Token("pipeline"), "Transfer-Encoding: chunked") + "5\r\n{\"mod\r\n"},
	} {
		_, r := s.wire(row.text)
		a := s.read(r)
		if a.StatusCode != 408 || !a.Close {
			t.Errorf("%s: %d, the connection ends: %t, %s", row.name, a.StatusCode, a.Close, a.body)
		}
	}
	if n := len(s.first.Received()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// Whoever forwards a request chooses its Host; with server.url, none can have a client ask for a token of another
// resource, or look for its authorization server elsewhere.
func TestAForgedHostSaysNothingOfTheResource(t *testing.T) {
	s := open(t, setting{config: "server: {url: 'https://llm.example.com'}\n" + ordinary})
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/v1/models", "/whoami", "/v1/chat/completions"} {
		req := s.request(t.Context(), "GET", path, "", "")
		req.Host = "evil.example"
		for _, name := range []string{"X-Forwarded-Host", "X-Original-Host", "X-Host"} {
			req.Header.Set(name, "evil.example")
		}
		req.Header.Set("Forwarded", "host=evil.example")
		a := s.do(req)
		if told := lines(a.Header) + a.body; strings.Contains(told, "evil") || !strings.Contains(told, "https://llm.example.com") {
			t.Errorf("%s: %d %s", path, a.StatusCode, told)
		}
	}
}
