package token

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/token/tokentest"
)

// client is tokentest's, at a token endpoint.
func client(tokenURL string) *config.ClientCredentials {
	return &config.ClientCredentials{
		TokenURL:     tokenURL,
		ClientID:     tokentest.ClientID,
		ClientSecret: config.Source{SecretManager: entraKey + "/versions/latest"},
		Scopes:       []string{azure},
	}
}

func TestAClientsRejectedTokenIsRenewedWithItsNewestSecret(t *testing.T) {
	f := newFixture(t, time.Hour)
	first := f.gets(t, "azure", Exchanged)
	if id, scopes := f.endpoint.Info(first.Value.Reveal()); id != tokentest.ClientID || !slices.Equal(scopes, []string{azure}) {
		t.Errorf("the token is one of %s for %q", id, scopes)
	}
	f.exchanged(t, 1)
	f.gets(t, "azure", Fresh)

	f.endpoint.RotateClientSecret()
	f.endpoint.Revoke(first.Value.Reveal())
	f.addClientSecret()
	second, err := f.Renew(t.Context(), "azure", first)
	if err != nil || second.Value.Reveal() == first.Value.Reveal() || f.gets(t, "azure", Fresh).Value.Reveal() != second.Value.Reveal() {
		t.Errorf("Renew = %v, %v; want another token, to be held", second, err)
	}
	f.exchanged(t, 2)
	if got := f.manager.Reads(entraKey); got != 2 {
		t.Errorf("%d secret accesses, want 2", got)
	}
}

func TestAClientSecretThatExpiredIsTriedOnceAndSaidSo(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.endpoint.RotateClientSecret() // what Secret Manager holds doesn't work any more
	_, err := f.Token(t.Context(), "azure")
	const want = `credential "azure": the token endpoint answered 401 invalid_client; the client id or the secret is wrong, or the secret has expired`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error is %v, want %s", err, want)
	}
	silent(t, err, f.endpoint.ClientSecret(), f.canary[0])
	f.exchanged(t, 1)
}

// basic takes the id and secret out of every request, and answers nothing.
type basic struct{ id, secret string }

func (b *basic) RoundTrip(req *http.Request) (*http.Response, error) {
	id, secret, _ := req.BasicAuth()
	b.id, _ = url.QueryUnescape(id)
	b.secret, _ = url.QueryUnescape(secret)
	return nowhere{}.RoundTrip(req)
}

func TestClientSecrets(t *testing.T) {
	for _, test := range []struct{ secret, want string }{
		{"8Q~CANARY", "8Q~CANARY"},
		{" \r\n\t8Q~CANARY\r\n", "8Q~CANARY"},
		{"8Q+/%:&= ~CANARY", "8Q+/%:&= ~CANARY"}, // what x-www-form-urlencoded must encode
		{"", ""},
		{" \n", ""},
		{"8Q~CANARY\nanother", ""},
		{"8Q~CANARY\tx", ""},
		{"8Q~CANARY\x00", ""},
		{"8Q~CANARY\x7f", ""},
		{"8Q~CANARYé", ""},
		{"\xef\xbb\xbf8Q~CANARY", ""}, // a byte order mark
	} {
		var sent basic
		value, _, err := clientCredentials(&sent, *client("https://id.example.com/token"))(t.Context(), hidden.New(test.secret))
		if !value.IsZero() || err == nil || strings.Contains(err.Error(), "is not a client secret") != (test.want == "") {
			t.Errorf("%d bytes: error %v", len(test.secret), err)
		}
		if sent.secret != test.want || (sent.id == tokentest.ClientID) != (test.want != "") {
			t.Errorf("%d bytes: %d bytes were sent for %q, want %d", len(test.secret), len(sent.secret), sent.id, len(test.want))
		}
		silent(t, err, "CANARY")
	}
}

// The answers are what a broken or hostile endpoint sends. Each holds what it was sent, and each ends the exchange.
func TestAnswersThatAreNotAClientsTokensAreErrorsThatHoldNothingOfThem(t *testing.T) {
	const (
		secret = "8Q~SECRET"
		canary = "CANARY"
		jsn    = "application/json"
		form   = "application/x-www-form-urlencoded"
	)
	for _, test := range []struct {
		why         string
		status      int
		contentType string
		answer      string
		want        string
	}{
		{"registered error", 401, jsn, `{"error":"invalid_client","error_description":"ECHO","error_uri":"ECHO"}`, "answered 401 invalid_client; the client id"},
		{"unregistered error", 400, jsn, `{"error":"ECHO"}`, "answered 400"},
		{"unregistered error in a form", 400, form, `error=ECHO&error_description=ECHO`, "answered 400"},
		{"an error beside a token", 200, jsn, `{"error":"access_denied","access_token":"ECHO","token_type":"Bearer"}`, "answered 200 access_denied"},
		{"error page", 502, "text/html", `<html>ECHO`, "answered 502"},
		{"redirect that repeats the form", 307, jsn, ``, "answered 307"},
		{"redirect", 302, jsn, ``, "answered 302"},
		{"not JSON", 200, jsn, `ECHO`, "not a token response"},
		{"not a form", 200, "text/plain", `ECHO%`, "not a token response"},
		{"wrong types", 200, jsn, `{"access_token":["ECHO"],"expires_in":"ECHO"}`, "not a token response"},
		{"without end", 200, jsn, `{"access_token":"ECHO` + strings.Repeat("a", maxAnswer) + `"}`, "not a token response"},
		{"no access_token", 200, jsn, `{"id":"ECHO","token_type":"Bearer"}`, "not a token response"},
		{"a line break, for a header of its own", 200, jsn, `{"access_token":"ECHO\r\nX-Evil: 1","token_type":"Bearer"}`, "no header may carry"},
		{"a line break in a form", 200, form, `access_token=ECHO%0d%0aX-Evil:+1&token_type=bearer`, "no header may carry"},
		{"DPoP", 200, jsn, `{"access_token":"ECHO","token_type":"DPoP"}`, "not Bearer"},
		{"no token_type", 200, jsn, `{"access_token":"ECHO"}`, "not Bearer"},
		{"expired", 200, jsn, `{"access_token":"ECHO","token_type":"Bearer","expires_in":-1}`, "expired already"},
		{"a life that overflows", 200, form, `access_token=ECHO&token_type=bearer&expires_in=9223372037`, "expired already"},
	} {
		t.Run(test.why, func(t *testing.T) {
			elsewhere := tokentest.New()
			defer elsewhere.Close()
			sent, requests := "", 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
				requests++
				w.Header().Set("Content-Type", test.contentType)
				w.Header().Set("Location", elsewhere.ClientTokenURL())
				w.WriteHeader(test.status)
				io.WriteString(w, strings.ReplaceAll(test.answer, "ECHO", canary+secret+sent))
			}))
			defer server.Close()
			value, life, err := clientCredentials(newTransport(), *client(server.URL))(t.Context(), hidden.New(secret))
			if err == nil || !strings.Contains(err.Error(), test.want) || !value.IsZero() || life != 0 {
				t.Errorf("life %s, error %v; want %q", life, err, test.want)
			}
			if arrived, _ := base64.StdEncoding.DecodeString(sent); !strings.HasSuffix(string(arrived), ":"+secret) || requests != 1 || elsewhere.Exchanges() != 0 {
				t.Errorf("%d requests, and %d elsewhere; want one that holds the secret", requests, elsewhere.Exchanges())
			}
			silent(t, err, canary, secret, sent)
		})
	}
}

func TestAClientsTokenIsHeldForTwelveHoursAtMost(t *testing.T) {
	for expiresIn, want := range map[string]time.Duration{
		"3599":                   3599 * time.Second,
		`"3599"`:                 3599 * time.Second, // PayPal's, and Entra's of version 1
		"86399":                  12 * time.Hour,
		"9223372037":             12 * time.Hour,
		"null":                   5 * time.Minute,
		"0":                      5 * time.Minute,
		"99999999999999999999":   0,
		"3599.5":                 0,
		`"3599; secure"`:         0,
		`"18446744073709551616"`: 0,
	} {
		endpoint := answers{200, "application/json", fmt.Appendf(nil, `{"access_token":"a","token_type":"Bearer","expires_in":%s}`, expiresIn)}
		_, life, err := clientCredentials(endpoint, *client("https://id.example.com/token"))(t.Context(), hidden.New("s"))
		if life > want || life < want-time.Minute || (err == nil) != (want > 0) {
			t.Errorf("%s: life %s, error %v; want %s", expiresIn, life, err, want)
		}
	}
}

func TestASlowClientCredentialsEndpointIsBounded(t *testing.T) {
	for why, begin := range map[string]func(http.ResponseWriter){
		"no header": func(http.ResponseWriter) {},
		"no end": func(w http.ResponseWriter) {
			io.WriteString(w, `{"access_token":`)
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(why, func(t *testing.T) {
			end := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				cancel() // the bound, which is ten seconds in use
				<-end
			}))
			defer server.Close()
			defer close(end)
			if _, _, err := clientCredentials(newTransport(), *client(server.URL))(ctx, hidden.New("s")); err != errNoAnswer {
				t.Errorf("error is %v, want %v", err, errNoAnswer)
			}
		})
	}
}

func TestAClientCredentialsEndpointThatIsNotThereIsNamed(t *testing.T) {
	endpoint := tokentest.New()
	endpoint.Close()
	_, _, err := clientCredentials(newTransport(), *client(endpoint.ClientTokenURL()))(t.Context(), hidden.New("s"))
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v, want the operating system's", err)
	}
}
