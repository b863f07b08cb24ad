package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/test/bomb"
)

// keyFile is a key of the endpoint with some of its fields changed.
func keyFile(t *testing.T, endpoint *tokentest.Server, changes map[string]any) []byte {
	t.Helper()
	file := map[string]any{}
	if err := json.Unmarshal(endpoint.ServiceAccountKey(), &file); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		file[name] = value
	}
	data, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// silent wants err to hold none of the texts, whichever way it or a cause of it is printed.
func silent(t *testing.T, err error, texts ...string) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range texts {
			if text != "" && strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), text) {
				t.Errorf("an error holds what it must not: %T", e)
			}
		}
	}
}

// outside fails the test when anything is sent.
type outside struct{ t *testing.T }

func (o outside) RoundTrip(req *http.Request) (*http.Response, error) {
	o.t.Errorf("a request was sent to %s", req.URL.Host)
	return nil, errors.New("outside")
}

func TestAssertionsGoToGoogleOrLoopbackOnly(t *testing.T) {
	for uri, allowed := range map[string]bool{
		"https://oauth2.googleapis.com/token":       true,
		"https://oauth2.mtls.googleapis.com/token":  true,
		"https://oauth2.googleapis.com:443/token":   true,
		"https://OAUTH2.GoogleAPIs.com/token":       true,
		"http://127.0.0.1:8080/token":               true,
		"http://[::1]:8080/token":                   true,
		"https://localhost/token":                   true,
		"":                                          false,
		"http://oauth2.googleapis.com/token":        false, // readable on the way
		"https://oauth2.googleapis.com:8443/token":  false,
		"https://googleapis.com/token":              false,
		"https://evilgoogleapis.com/token":          false,
		"https://oauth2.googleapis.com.evil.test/":  false,
		"https://oauth2.googleapis.com./token":      false,
		"https://evil.test/oauth2.googleapis.com":   false,
		"https://evil.test#.googleapis.com":         false,
		"https://evil.test?.googleapis.com":         false,
		"https://evil.test\\.googleapis.com":        false,
		"https://oauth2.googleapis.com@evil.test/":  false,
		"https://evil.test@oauth2.googleapis.com/":  false, // user info: nobody needs it
		"//oauth2.googleapis.com/token":             false,
		"ftp://127.0.0.1/token":                     false,
		"http://localhost.evil.test/token":          false,
		"http://127.0.0.1.evil.test/token":          false,
		"http://169.254.169.254/computeMetadata/v1": false, // the metadata server
		"http://10.0.0.1/token":                     false,
		"https://evil.test/\x00":                    false,
	} {
		if err := checkTokenURI(uri); (err == nil) != allowed {
			t.Errorf("%q: %v, want allowed = %t", uri, err, allowed)
		}
	}
}

// Whoever says what a name resolves to says where its address is.
func TestNoTokenEndpointIsAtTheMetadataServer(t *testing.T) {
	_, _, err := clientCredentials(newTransport(), *client("https://169.254.169.254/token"))(t.Context(), hidden.New("s"))
	if err == nil || !strings.Contains(err.Error(), "is an address of the platform's own") {
		t.Errorf("client credentials: %v", err)
	}
	own := newOwnTransport()
	if own.DialContext != nil || own.MaxResponseHeaderBytes != maxAnswer {
		t.Error("Application Default Credentials couldn't be had from the metadata server")
	}
}

func TestAForeignTokenURIIsSentNothing(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	key := keyFile(t, endpoint, map[string]any{"token_uri": "https://evil.test/token"})
	_, _, err := serviceAccountKey(outside{t}, []string{scope})(t.Context(), hidden.New(string(key)))
	if err == nil || !strings.Contains(err.Error(), "token_uri is neither") {
		t.Errorf("error is %v", err)
	}
	silent(t, err, "evil")
}

func TestAnAudienceInTheKeyFileIsIgnored(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	key := keyFile(t, endpoint, map[string]any{"audience": "https://elsewhere.test/token"})
	if _, _, err := serviceAccountKey(newTransport(), []string{scope})(t.Context(), hidden.New(string(key))); err != nil {
		t.Error(err)
	}
}

func TestSecretsThatAreNotServiceAccountKeys(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	const canary = "CANARY"
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		why  string
		key  []byte
		want string
	}{
		{"an API key", []byte("sk-" + canary), "is not a service account key"},
		{"cut short", endpoint.ServiceAccountKey()[:200], "is not a service account key"},
		{"gcloud's user credentials", keyFile(t, endpoint, map[string]any{"type": "authorized_user"}), "is not a service account key"},
		{"type repeats the key", keyFile(t, endpoint, map[string]any{"type": canary}), "is not a service account key"},
		{"workload identity federation, whose file names URLs to call", keyFile(t, endpoint, map[string]any{"type": "external_account"}), "is not a service account key"},
		{"no private key", keyFile(t, endpoint, map[string]any{"private_key": ""}), "not an RSA key in PEM"},
		{"not PEM", keyFile(t, endpoint, map[string]any{"private_key": canary}), "not an RSA key in PEM"},
		{"an EC key", keyFile(t, endpoint, map[string]any{"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}), "not an RSA key in PEM"},
	} {
		t.Run(test.why, func(t *testing.T) {
			_, _, err := serviceAccountKey(outside{t}, []string{scope})(t.Context(), hidden.New(string(test.key)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			silent(t, err, canary, "authorized_user")
		})
	}
}

// The answers are what a broken or hostile endpoint sends. Each holds the assertion it was sent.
func TestAnswersThatAreNotTokensAreErrorsThatHoldNothingOfThem(t *testing.T) {
	const canary = "CANARY"
	respond := func(status int, format string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Echo", r.PostFormValue("assertion"))
			w.WriteHeader(status)
			io.WriteString(w, strings.ReplaceAll(format, "ECHO", canary+r.PostFormValue("assertion")))
		}
	}
	for _, test := range []struct {
		why    string
		answer http.HandlerFunc
		want   string
	}{
		{"registered error", respond(400, `{"error":"invalid_grant","error_description":"ECHO"}`), "answered 400 invalid_grant; the key may be disabled"},
		{"unregistered error", respond(400, `{"error":"ECHO"}`), "answered 400"},
		{"error page", respond(502, `<html>ECHO`), "answered 502"},
		{"not JSON", respond(200, `ECHO`), "not a token response"},
		{"wrong types", respond(200, `{"access_token":["ECHO"],"expires_in":"ECHO"}`), "not a token response"},
		{"an id_token that is none", respond(200, `{"access_token":"a","token_type":"Bearer","id_token":"a.ECHO"}`), "not a token response"},
		{"without end", respond(200, `{"access_token":"ECHO`+strings.Repeat("a", maxAnswer)+`"}`), "not a token response"},
		{"no access_token", respond(200, `{"id":"ECHO","token_type":"Bearer"}`), "no access token"},
		{"a line break, for a header of its own", respond(200, `{"access_token":"ECHO\r\nX-Evil: 1","token_type":"Bearer"}`), "no header may carry"},
		{"a space", respond(200, `{"access_token":"ECHO b","token_type":"Bearer"}`), "no header may carry"},
		{"not ASCII", respond(200, `{"access_token":"ECHOé","token_type":"Bearer"}`), "no header may carry"},
		{"DPoP", respond(200, `{"access_token":"ECHO","token_type":"DPoP"}`), "not Bearer"},
		{"no token_type", respond(200, `{"access_token":"ECHO"}`), "not Bearer"},
		{"a life that overflows", respond(200, `{"access_token":"ECHO","token_type":"Bearer","expires_in":9223372037}`), "expired already"},
		{"an id_token of the past", respond(200, `{"access_token":"ECHO","token_type":"Bearer","id_token":"e30.eyJleHAiOjF9.e30"}`), "expired already"},
		{"not HTTP", func(w http.ResponseWriter, r *http.Request) {
			conn, rw, _ := w.(http.Hijacker).Hijack()
			rw.WriteString(canary + "\r\n\r\n")
			rw.Flush()
			conn.Close()
		}, "no usable answer"},
		{"cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"access_token":"`+canary)
		}, "not a token response"},
	} {
		t.Run(test.why, func(t *testing.T) {
			endpoint := tokentest.New()
			defer endpoint.Close()
			var assertion string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assertion = r.PostFormValue("assertion")
				test.answer(w, r)
			}))
			defer server.Close()
			key := keyFile(t, endpoint, map[string]any{"token_uri": server.URL})
			value, life, err := serviceAccountKey(newTransport(), []string{scope})(t.Context(), hidden.New(string(key)))
			if err == nil || !strings.Contains(err.Error(), test.want) || !value.IsZero() || life != 0 {
				t.Errorf("life %s, error %v; want %q", life, err, test.want)
			}
			if assertion == "" {
				t.Error("no assertion arrived")
			}
			silent(t, err, canary, assertion)
		})
	}
}

func TestAnAnswerIsBoundedAsItIsUnpacked(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	for status, want := range map[int]string{200: "not a token response", 400: "answered 400", 503: "answered 503"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { bomb.Answer(w, status) }))
		defer server.Close()
		key := hidden.New(string(keyFile(t, endpoint, map[string]any{"token_uri": server.URL})))
		for name, exchange := range map[string]func() (hidden.Text, time.Duration, error){
			"an assertion": func() (hidden.Text, time.Duration, error) {
				return serviceAccountKey(newTransport(), []string{scope})(t.Context(), key)
			},
			"a client's secret": func() (hidden.Text, time.Duration, error) {
				return clientCredentials(newTransport(), config.ClientCredentials{TokenURL: server.URL, ClientID: "a"})(t.Context(), hidden.New("secret"))
			},
			"an impersonation": func() (hidden.Text, time.Duration, error) {
				answer, err := (&exchange{ctx: t.Context(), base: newOwnTransport()}).post(server.URL, "ours", nil)
				if err != nil {
					return hidden.Text{}, 0, err
				}
				return generated(answer, time.Now())
			},
		} {
			bomb.Disarmed(t, func() {
				value, _, err := exchange()
				if err == nil || !strings.Contains(err.Error(), want) || !value.IsZero() {
					t.Errorf("%s, %d: %v", name, status, err)
				}
			})
		}
	}
}

func TestARedirectedAssertionIsNotSentOn(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := tokentest.New()
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/token", status))
		key := keyFile(t, elsewhere, map[string]any{"token_uri": server.URL})
		_, _, err := serviceAccountKey(newTransport(), []string{scope})(t.Context(), hidden.New(string(key)))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint("answered ", status)) || elsewhere.Exchanges() != 0 {
			t.Errorf("%d: %v, with %d requests sent on", status, err, elsewhere.Exchanges())
		}
		server.Close()
		elsewhere.Close()
	}
}

func TestASlowEndpointIsBounded(t *testing.T) {
	for why, begin := range map[string]func(http.ResponseWriter){
		"no header": func(http.ResponseWriter) {},
		"no end": func(w http.ResponseWriter) {
			io.WriteString(w, `{"access_token":`)
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(why, func(t *testing.T) {
			endpoint := tokentest.New()
			defer endpoint.Close()
			end := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				cancel() // the bound, which is ten seconds in use
				<-end
			}))
			defer server.Close()
			defer close(end)
			key := keyFile(t, endpoint, map[string]any{"token_uri": server.URL})
			if _, _, err := serviceAccountKey(newTransport(), []string{scope})(ctx, hidden.New(string(key))); err != errNoAnswer {
				t.Errorf("error is %v, want %v", err, errNoAnswer)
			}
		})
	}
}

func TestAnEndpointThatIsNotThereIsNamed(t *testing.T) {
	endpoint := tokentest.New()
	endpoint.Close()
	_, _, err := serviceAccountKey(newTransport(), []string{scope})(t.Context(), hidden.New(string(endpoint.ServiceAccountKey())))
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v, want the operating system's", err)
	}
}

func TestAPIKeys(t *testing.T) {
	for _, test := range []struct{ secret, want string }{
		{"sk-CANARY", "sk-CANARY"},
		{" \r\n\tsk-CANARY\r\n", "sk-CANARY"},
		{"", ""},
		{" \n", ""},
		{"sk-CANARY\nsk-two", ""},
		{"sk-CANARY # production", ""},
		{"sk-CANARY\r\nX-Evil: 1", ""},
		{"sk-CANARY\x00", ""},
		{"sk-CANARY\x7f", ""},
		{"sk-CANARYé", ""},
		{"\xef\xbb\xbfsk-CANARY", ""}, // a byte order mark
	} {
		value, life, err := apiKey(t.Context(), hidden.New(test.secret))
		if value.Reveal() != test.want || life != 0 || (err == nil) != (test.want != "") {
			t.Errorf("%d bytes: life %s, error %v", len(test.secret), life, err)
		}
		silent(t, err, "CANARY")
	}
}

func TestGoogleDefaultReadsTheFileOfTheEnvironment(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	file := filepath.Join(t.TempDir(), "key.json")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	grant := googleDefault(newTransport(), []string{scope})

	if _, _, err := grant(t.Context(), hidden.Text{}); err == nil || !strings.HasPrefix(err.Error(), "no Application Default Credentials") || !strings.Contains(err.Error(), file) {
		t.Errorf("error is %v, want the missing file", err)
	}
	if err := os.WriteFile(file, endpoint.ServiceAccountKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	one, life, err := grant(t.Context(), hidden.Text{})
	if err != nil || !endpoint.Valid(one.Reveal()) || life < 50*time.Minute || life > time.Hour {
		t.Fatalf("life %s, error %v", life, err)
	}
	two, _, err := grant(t.Context(), hidden.Text{})
	if err != nil || !endpoint.Valid(two.Reveal()) || one.Equal(two) {
		t.Errorf("the second exchange gave the first one's token, or %v", err)
	}
	endpoint.Down(true)
	if _, _, err := grant(t.Context(), hidden.Text{}); err == nil || err.Error() != "the token endpoint answered 503 temporarily_unavailable" {
		t.Errorf("error is %v", err)
	}
}

// It is the only test that reaches the metadata client, which looks for the server once a process.
func TestGoogleDefaultAsksTheMetadataServer(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir()) // no gcloud
	status, answer := 200, `{"access_token":"ya29.CANARY","expires_in":1000,"token_type":"Bearer"}`
	hang := make(chan struct{})
	defer close(hang)
	var ctx context.Context
	var cancel context.CancelFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
			io.WriteString(w, "acme")
			return
		}
		if r.URL.Query().Get("scopes") != scope || r.Header.Get("Metadata-Flavor") != "Google" {
			w.WriteHeader(400)
			return
		}
		if status == 0 {
			cancel() // the bound, which is ten seconds in use
			<-hang
			return
		}
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close) // after hang is closed
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	grant := googleDefault(newTransport(), []string{scope})

	value, life, err := grant(t.Context(), hidden.Text{})
	if value.Reveal() != "ya29.CANARY" || life < 900*time.Second || life > 1000*time.Second || err != nil {
		t.Errorf("life %s, error %v", life, err)
	}
	for _, test := range []struct {
		status       int
		answer, want string
	}{
		{403, "CANARY", "the metadata server answered 403"},
		{404, "CANARY", "knows no service account"},
		{200, `{"access_token":"CANARY"}`, "not a token response"},
		{200, `CANARY`, "not a token response"},
	} {
		status, answer = test.status, test.answer
		_, _, err := grant(t.Context(), hidden.Text{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d: error is %v, want %q", status, err, test.want)
		}
		silent(t, err, "CANARY")
	}
	status = 0
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if _, _, err := grant(ctx, hidden.Text{}); err != errNoAnswer {
		t.Errorf("error is %v, want %v", err, errNoAnswer)
	}
}

func FuzzServiceAccountKey(f *testing.F) {
	f.Add([]byte(`{"type":"service_account","token_uri":"https://oauth2.googleapis.com/token","private_key":"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"}`))
	f.Add([]byte(`{"type":"service_account"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, secret []byte) {
		value, _, err := serviceAccountKey(nowhere{}, []string{scope})(t.Context(), hidden.New(string(secret)))
		if err == nil || !value.IsZero() {
			t.Error("a token out of nothing")
		}
	})
}

// FuzzAnswer: whatever a token endpoint answers becomes a token that a header may carry, for half a day at most, or
// an error.
func FuzzAnswer(f *testing.F) {
	endpoint := tokentest.New()
	f.Cleanup(endpoint.Close)
	key, secret := endpoint.ServiceAccountKey(), []byte(endpoint.ClientSecret())
	f.Add(200, "application/json", []byte(`{"access_token":"ya29.a","expires_in":3599,"token_type":"Bearer"}`))
	f.Add(200, "application/json", []byte(`{"access_token":"a","token_type":"bearer","id_token":"e30.e30.e30"}`))
	f.Add(200, "text/plain", []byte(`access_token=a&token_type=bearer&expires_in=9223372037`))
	f.Add(400, "application/json", []byte(`{"error":"invalid_grant"}`))
	f.Fuzz(func(t *testing.T, status int, contentType string, answer []byte) {
		endpoint := answers{status, contentType, answer}
		for _, made := range []struct {
			by     grant
			secret []byte
		}{
			{serviceAccountKey(endpoint, []string{scope}), key},
			{clientCredentials(endpoint, *client("https://id.example.com/token")), secret},
		} {
			value, life, err := made.by(t.Context(), hidden.New(string(made.secret)))
			if err == nil && (value.IsZero() || !visible(value.Reveal()) || life <= 0 || life > 12*time.Hour) || err != nil && !value.IsZero() {
				t.Errorf("token of %d bytes for %s", len(value.Reveal()), life)
			}
		}
	})
}

type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nowhere")
}

type answers struct {
	status      int
	contentType string
	body        []byte
}

func (a answers) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{"Content-Type": {a.contentType}}, Body: io.NopCloser(strings.NewReader(string(a.body))), Request: req}, nil
}
