package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/token/tokentest"
)

const (
	other = "vertex@acme.iam.gserviceaccount.com"
	// narrow is a scope with which nobody may impersonate.
	narrow = "https://www.googleapis.com/auth/generative-language"
)

// runAs makes the endpoint's account the one that Application Default Credentials find.
func runAs(t *testing.T, endpoint *tokentest.Server) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, endpoint.ServiceAccountKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
}

// impersonating is a Cache with the credential keyless.
func impersonating(t *testing.T, endpoint *tokentest.Server) *Cache {
	runAs(t, endpoint)
	return newCache(map[string]config.Credential{
		"keyless": {GoogleDefault: &config.GoogleDefault{Scopes: []string{narrow, "b"}, Impersonate: other}},
	}, nil, slog.New(slog.DiscardHandler), endpoint.URL)
}

func TestAnImpersonatedAccountsTokenIsPresented(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	endpoint.LetImpersonate(other, true)
	c := impersonating(t, endpoint)
	first, err := c.Token(t.Context(), "keyless")
	if err != nil {
		t.Fatal(err)
	}
	if account, scopes := endpoint.Info(first.Value.Reveal()); account != other || !slices.Equal(scopes, []string{narrow, "b"}) {
		t.Errorf("the token is one of %s for %q", account, scopes)
	}
	if left := time.Until(c.entries["keyless"].held.expiry); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token is held for %s", left)
	}
	second, err := c.Renew(t.Context(), "keyless", first)
	if account, _ := endpoint.Info(second.Value.Reveal()); err != nil || account != other || second.Value.Reveal() == first.Value.Reveal() {
		t.Errorf("Renew gave %s's %v, %v; want another token", account, second, err)
	}
	if got := endpoint.Exchanges(); got != 4 { // the gateway's own token each time, too
		t.Errorf("%d exchanges, want 4", got)
	}
}

func TestAnAccountThatMayNotBeImpersonatedIsNotReplacedByTheGatewaysOwn(t *testing.T) {
	endpoint := tokentest.New()
	defer endpoint.Close()
	token, err := impersonating(t, endpoint).Token(t.Context(), "keyless")
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok || e.Kind != apierror.CredentialUnavailable || token != (Token{}) {
		t.Fatalf("Token = %v, %v; want none", token, err)
	}
	const want = `credential "keyless": impersonate ` + other + `: the token endpoint answered 403 PERMISSION_DENIED; the gateway's own account needs roles/iam.serviceAccountTokenCreator`
	if !strings.HasPrefix(e.Cause.Error(), want) {
		t.Errorf("the cause is %q, want what to do", e.Cause)
	}
	if strings.Contains(e.Message, other) {
		t.Errorf("the client is told the account: %q", e.Message)
	}
}

// The answers are what a broken or hostile endpoint sends. Each holds the token it was sent.
func TestAnswersThatAreNotGeneratedTokensAreErrorsThatHoldNothingOfThem(t *testing.T) {
	const canary = "CANARY"
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, test := range []struct {
		why    string
		status int
		answer string
		want   string
	}{
		{"canonical status", 404, `{"error":{"code":404,"message":"ECHO","status":"NOT_FOUND"}}`, "answered 404 NOT_FOUND; there is no such service account"},
		{"another status", 403, `{"error":{"code":403,"message":"ECHO","status":"ECHO"}}`, "answered 403"},
		{"an error of another form", 401, `{"error":["ECHO"]}`, "answered 401"},
		{"error page", 502, `<html>ECHO`, "answered 502"},
		{"redirect", 307, ``, "answered 307"},
		{"success of another kind", 201, `{"accessToken":"ECHO","expireTime":"SOON"}`, "answered 201"},
		{"not JSON", 200, `ECHO`, "not a token response"},
		{"wrong types", 200, `{"accessToken":["ECHO"],"expireTime":"SOON"}`, "not a token response"},
		{"without end", 200, `{"accessToken":"ECHO` + strings.Repeat("a", maxAnswer) + `","expireTime":"SOON"}`, "not a token response"},
		{"trailing data", 200, `{"accessToken":"ECHO","expireTime":"SOON"}{}`, "not a token response"},
		{"no token", 200, `{"access_token":"ECHO","expireTime":"SOON"}`, "no access token"},
		{"a line break, for a header of its own", 200, `{"accessToken":"ECHO\r\nX-Evil: 1","expireTime":"SOON"}`, "no header may carry"},
		{"a time that is none", 200, `{"accessToken":"ECHO","expireTime":"ECHO"}`, "not a token response"},
		{"a number of seconds", 200, `{"accessToken":"ECHO","expireTime":3600}`, "not a token response"},
		{"no time", 200, `{"accessToken":"ECHO"}`, "expired already"},
		{"a time of the past", 200, `{"accessToken":"ECHO","expireTime":"2001-09-09T01:46:40Z"}`, "expired already"},
	} {
		t.Run(test.why, func(t *testing.T) {
			endpoint := tokentest.New()
			defer endpoint.Close()
			runAs(t, endpoint)
			var sent string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				w.Header().Set("Location", endpoint.URL+r.URL.Path)
				w.WriteHeader(test.status)
				io.WriteString(w, strings.NewReplacer("ECHO", canary+sent, "SOON", soon).Replace(test.answer))
			}))
			defer server.Close()
			value, life, err := impersonate(newTransport(), server.URL, other, []string{scope})(t.Context(), hidden.Text{})
			if err == nil || !strings.Contains(err.Error(), test.want) || !value.IsZero() || life != 0 {
				t.Errorf("life %s, error %v; want %q", life, err, test.want)
			}
			if !endpoint.Valid(sent) || endpoint.Exchanges() != 1 {
				t.Errorf("the gateway's own token arrived: %t; %d exchanges, want its own alone", endpoint.Valid(sent), endpoint.Exchanges())
			}
			silent(t, err, canary, sent)
		})
	}
}

func TestASlowImpersonationIsBounded(t *testing.T) {
	for why, begin := range map[string]func(http.ResponseWriter){
		"no header": func(http.ResponseWriter) {},
		"no end": func(w http.ResponseWriter) {
			io.WriteString(w, `{"accessToken":`)
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(why, func(t *testing.T) {
			endpoint := tokentest.New()
			defer endpoint.Close()
			runAs(t, endpoint)
			end := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				cancel() // the bound, which is ten seconds in use
				<-end
			}))
			defer server.Close()
			defer close(end)
			if _, _, err := impersonate(newTransport(), server.URL, other, []string{scope})(ctx, hidden.Text{}); !errors.Is(err, errNoAnswer) {
				t.Errorf("error is %v, want %v", err, errNoAnswer)
			}
		})
	}
}

func TestAGeneratedTokensLifeIsByTheWallClockAndTwelveHoursAtMost(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		expiry time.Time
		want   time.Duration // 0: refused
	}{
		{now.Add(time.Hour), time.Hour},
		{now.Add(1500 * time.Millisecond), 1500 * time.Millisecond},
		{now.Add(13 * time.Hour), 12 * time.Hour},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), 12 * time.Hour},
		{now, 0},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), 0},
	} {
		answer := fmt.Sprintf(`{"accessToken":"a","expireTime":%q}`, test.expiry.UTC().Format(time.RFC3339Nano))
		if _, life, err := generated([]byte(answer), now); life != test.want || (err == nil) != (test.want > 0) {
			t.Errorf("%s: life %s, %v; want %s", test.expiry, life, err, test.want)
		}
	}
}

// FuzzGenerated: whatever is answered becomes a token that a header may carry for half a day at most, or an error.
func FuzzGenerated(f *testing.F) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Add([]byte(`{"accessToken":"ya29.a","expireTime":"2026-11-22T13:00:00Z"}`))
	f.Add([]byte(`{"accessToken":"ya29.a","expireTime":"9999-12-31T23:59:59.999999999Z"}`))
	f.Add([]byte(`{"accessToken":null,"expireTime":null}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		value, life, err := generated(answer, now)
		if err == nil && (value.IsZero() || !visible(value.Reveal()) || life <= 0 || life > 12*time.Hour) || err != nil && !value.IsZero() {
			t.Errorf("token of %d bytes for %s", len(value.Reveal()), life)
		}
		answered(400, answer)
	})
}
