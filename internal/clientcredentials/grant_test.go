package clientcredentials

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

const secret = "not:a+secret %"

func newIssuer(t *testing.T) (*issuertest.Issuer, Request) {
	idp := issuertest.New()
	t.Cleanup(idp.Close)
	idp.AddClient(issuertest.Client{ID: "data-pipeline", Secret: secret, Audience: []string{"llm-gateway"}})
	return idp, Request{Issuer: idp.URL, ClientID: "data-pipeline", ClientSecret: hidden.New(secret)}
}

// serve is a token endpoint that answers as told, and where it is.
func serve(t *testing.T, answer http.HandlerFunc) Request {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer(w, req)
	}))
	t.Cleanup(s.Close)
	return Request{TokenURL: s.URL, ClientID: "data-pipeline", ClientSecret: hidden.New(secret)}
}

func TestATokenIsGrantedByTheDiscoveredTokenEndpoint(t *testing.T) {
	idp, r := newIssuer(t)
	token, err := r.Grant(t.Context())
	if err != nil || strings.Count(token.Value.Reveal(), ".") != 2 || token.Life.Round(time.Minute) != 5*time.Minute {
		t.Errorf("a token for %s, %v", token.Life, err)
	}
	r.Issuer, r.TokenURL = "", idp.TokenURL()
	if _, err := r.Grant(t.Context()); err != nil || idp.Discoveries() != 1 {
		t.Errorf("with the token URL: %v, after %d discoveries", err, idp.Discoveries())
	}
}

func TestTheFormHoldsWhatWasAskedForAndNotTheSecret(t *testing.T) {
	var form url.Values
	r := serve(t, func(w http.ResponseWriter, req *http.Request) {
		req.ParseForm()
		form = req.PostForm
		io.WriteString(w, `{"access_token":"a","token_type":"bearer"}`)
	})
	r.Scope, r.Audience = "api://x/.default y", "llm-gateway"
	token, err := r.Grant(t.Context())
	if err != nil || token.Value.Reveal() != "a" || token.Life != 0 {
		t.Error(err)
	}
	const want = "audience=llm-gateway&grant_type=client_credentials&scope=api%3A%2F%2Fx%2F.default+y"
	if form.Encode() != want {
		t.Errorf("%s, want %s", form.Encode(), want)
	}
}

func TestTheSecretGoesIntoTheFormWhereTheHeaderIsNotTaken(t *testing.T) {
	calls := 0
	r := serve(t, func(w http.ResponseWriter, req *http.Request) {
		calls++
		if _, _, basic := req.BasicAuth(); basic || req.PostFormValue("client_secret") != secret || req.PostFormValue("client_id") != "data-pipeline" {
			w.WriteHeader(401)
			io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		io.WriteString(w, `{"access_token":"a","token_type":"Bearer","expires_in":"60"}`)
	})
	if token, err := r.Grant(t.Context()); err != nil || token.Value.Reveal() != "a" || calls != 2 {
		t.Error(err, calls)
	}
}

// Whatever the other side answers, it is not repeated, because it may repeat the secret; and it isn't
// asked again but for 401.
func TestARefusalIsToldInWordsOfOurOwn(t *testing.T) {
	const hostile = secret + " \x1b[2J access_token=ya29"
	for name, row := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"registered error":        {400, `{"error":"invalid_scope","error_description":"` + secret + `"}`, "the token endpoint answered 400 invalid_scope"},
		"wrong secret":            {401, `{"error":"invalid_client"}`, "the token endpoint answered 401 invalid_client; the client id or the secret is wrong"},
		"error in a 200":          {200, `{"error":"access_denied","access_token":"a","token_type":"Bearer"}`, "the token endpoint answered 200 access_denied"},
		"an error of its own":     {403, `{"error":"` + secret + `"}`, "the token endpoint answered 403"},
		"text":                    {500, hostile, "the token endpoint answered 500"},
		"text in a 200":           {200, hostile, "the token endpoint's answer is not a token response"},
		"a JSON array":            {200, `["` + secret + `"]`, "the token endpoint's answer is not a token response"},
		"no token":                {200, `{"token_type":"Bearer"}`, "the token endpoint's answer is not a token response"},
		"a token with a newline":  {200, `{"access_token":"a\nX: b","token_type":"Bearer"}`, "the token endpoint's access_token has characters that no header may carry"},
		"a token in cyrillic":     {200, `{"access_token":"а","token_type":"Bearer"}`, "the token endpoint's access_token has characters that no header may carry"},
		"a DPoP token (RFC 9449)": {200, `{"access_token":"a","token_type":"DPoP"}`, "the token endpoint's token_type is not Bearer"},
		"an expired token":        {200, `{"access_token":"a","token_type":"Bearer","expires_in":-1}`, "the token endpoint's token has expired already"},
		"an endless answer":       {200, `{"access_token":"` + strings.Repeat("a", maxAnswer) + `","token_type":"Bearer"}`, "the token endpoint's answer is not a token response"},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			r := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			})
			token, err := r.Grant(t.Context())
			if err == nil || err.Error() != row.want || token != (Token{}) {
				t.Errorf("%v, want %s", err, row.want)
			}
			if want := map[bool]int{true: 2, false: 1}[row.status == 401]; calls != want {
				t.Errorf("asked %d times, want %d", calls, want)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the secret went elsewhere") }))
	defer elsewhere.Close()
	r := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "the token endpoint answered 307" {
		t.Error(err)
	}
	r.Issuer, r.TokenURL = r.TokenURL, ""
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "the issuer answered 307 where its discovery document should be; is its URL right?" {
		t.Error(err)
	}
}

func TestADiscoveryDocumentIsNotTrustedBeyondItsIssuer(t *testing.T) {
	const malformed, another, insecure = "the issuer's discovery document is malformed", "the discovery document is that of another issuer; write the issuer exactly as its discovery document does", "the discovery document's token_endpoint is not an https URL"
	for name, row := range map[string]struct{ document, want string }{
		"another issuer's":             {`{"issuer":"https://evil.example","token_endpoint":"%[1]s/token"}`, another},
		"with a slash more":            {`{"issuer":"%[1]s/","token_endpoint":"%[1]s/token"}`, another},
		"a token endpoint over http":   {`{"issuer":"%[1]s","token_endpoint":"http://idp.example/token"}`, insecure},
		"a token endpoint of its user": {`{"issuer":"%[1]s","token_endpoint":"https://u:p@idp.example/token"}`, insecure},
		"no token endpoint":            {`{"issuer":"%[1]s"}`, insecure},
		"a number":                     {`{"issuer":"%[1]s","token_endpoint":1}`, malformed},
		"HTML":                         {`<html>%[1]s`, malformed},
		"endless":                      {strings.Repeat(" ", maxAnswer) + `{"issuer":"%[1]s","token_endpoint":"%[1]s/token"}`, malformed},
	} {
		t.Run(name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method != "GET" || req.Header.Get("Authorization") != "" {
					t.Error("the secret was sent")
				}
				fmt.Fprintf(w, row.document, s.URL)
			}))
			defer s.Close()
			_, err := Request{Issuer: s.URL, ClientID: "data-pipeline", ClientSecret: hidden.New(secret)}.Grant(t.Context())
			if err == nil || err.Error() != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

func TestASecretTravelsByHTTPSOrStaysOnThisMachine(t *testing.T) {
	for _, address := range []string{"http://idp.example", "http://10.0.0.1/realm", "ftp://127.0.0.1", "idp.example", "", "https://",
		"https://u:hidden@idp.example", "https://idp.example#x", "http://127.0.0.1.example", "http://localhost.example", "https://a b", "HTTP://idp.example\n"} {
		if secure(address) {
			t.Errorf("%q is taken for secure", address)
		}
		for _, r := range []Request{{TokenURL: address}, {Issuer: address}} {
			if _, err := r.Grant(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "is not an https URL") {
				t.Errorf("%q: %v", address, err)
			}
		}
	}
	for _, address := range []string{"https://idp.example", "https://idp.example/realms/x?tenant=1", "http://127.0.0.1:1", "http://localhost:1/x", "http://[::1]:1"} {
		if !secure(address) {
			t.Errorf("%q is refused", address)
		}
	}
}

func TestAnIdentityProviderThatDoesNotAnswerIsTold(t *testing.T) {
	idp, r := newIssuer(t)
	idp.SetOutage(issuertest.Failing)
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "the issuer answered 500 where its discovery document should be; is its URL right?" {
		t.Error(err)
	}
	idp.SetOutage(issuertest.Unreachable)
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "no answer from the issuer: none that is HTTP" {
		t.Error(err)
	}
	r.TokenURL = idp.TokenURL()
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "no answer from the token endpoint: none that is HTTP" {
		t.Error(err)
	}
	idp.Close()
	if _, err := r.Grant(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Grant(ctx); err == nil || err.Error() != "no answer from the token endpoint: context canceled" {
		t.Error(err)
	}
}

// A server that speaks no HTTP could send the secret back; net/http quotes what it read.
func TestAnAnswerThatIsNotHTTPIsNotRepeated(t *testing.T) {
	r := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		buffered.WriteString(secret + "\r\n\r\n")
		buffered.Flush()
	})
	if _, err := r.Grant(t.Context()); err == nil || err.Error() != "no answer from the token endpoint: none that is HTTP" {
		t.Error(err)
	}
}
