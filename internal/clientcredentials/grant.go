// Package clientcredentials gets a machine client its access token from its own identity provider,
// by the client credentials grant (RFC 6749 section 4.4), and keeps it in a file until shortly before
// it expires. It is for a shell; the function, which never sees a client's secret, doesn't link it.
//
// No error holds the secret, a token, or words of the identity provider's.
package clientcredentials

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

const (
	// timeout bounds one request; a person may be waiting.
	timeout = 10 * time.Second
	// maxAnswer bounds an answer. Discovery documents and tokens have a few KiB.
	maxAnswer = 256 << 10
)

// Request is what a token is asked for with.
type Request struct {
	// Issuer is the identity provider's URL, exactly as its discovery document has it.
	Issuer string
	// TokenURL is the token endpoint; where it is set, there is no discovery.
	TokenURL string

	ClientID     string
	ClientSecret hidden.Text

	// Scope is a space-separated list (RFC 6749 section 3.3). Audience is a parameter that Auth0
	// wants. Both are optional.
	Scope, Audience string
}

// Token is a bearer token (RFC 6750).
type Token struct {
	// Value is visible ASCII.
	Value hidden.Text
	// Life is what it had when it was granted; 0 means that the identity provider didn't say.
	Life time.Duration
}

// Grant asks for a token: over https, or http to this machine.
func (r Request) Grant(ctx context.Context) (Token, error) {
	client := newClient()
	endpoint := r.TokenURL
	if endpoint == "" {
		var err error
		if endpoint, err = discover(ctx, client, r.Issuer); err != nil {
			return Token{}, err
		}
	} else if !secure(endpoint) {
		return Token{}, errors.New("the token URL is not an https URL")
	}
	c := clientcredentials.Config{
		ClientID:     r.ClientID,
		ClientSecret: r.ClientSecret.Reveal(),
		TokenURL:     endpoint,
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	if r.Scope != "" {
		c.Scopes = []string{r.Scope}
	}
	if r.Audience != "" {
		c.EndpointParams = url.Values{"audience": {r.Audience}}
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, client)
	t, err := c.Token(ctx)
	// Every server must take HTTP Basic (RFC 6749 section 2.3.1). Of some, a client can be
	// registered to use the form instead; they answer as they do to a wrong secret, by section 5.2
	// with 401.
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response.StatusCode == http.StatusUnauthorized {
		c.AuthStyle = oauth2.AuthStyleInParams
		t, err = c.Token(ctx)
	}
	if err != nil {
		return Token{}, refusal(err)
	}
	return granted(t)
}

// granted checks what x/oauth2 made of the answer.
func granted(t *oauth2.Token) (Token, error) {
	token := Token{Value: hidden.New(t.AccessToken)}
	if !t.Expiry.IsZero() {
		token.Life = time.Until(t.Expiry)
	}
	switch {
	case !visible(t.AccessToken):
		return Token{}, errors.New("the token endpoint's access_token has characters that no header may carry")
	case !strings.EqualFold(t.TokenType, "Bearer"):
		return Token{}, errors.New("the token endpoint's token_type is not Bearer")
	case token.Life < 0:
		return Token{}, errors.New("the token endpoint's token has expired already")
	}
	return token, nil
}

// visible reports whether s is visible ASCII, which any header field may carry (RFC 9110 section 5.5).
func visible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// discover finds the token endpoint (OpenID Connect Discovery 1.0 section 4).
func discover(ctx context.Context, client *http.Client, issuer string) (tokenURL string, err error) {
	if !secure(issuer) || strings.Contains(issuer, "?") {
		return "", errors.New("the issuer is not an https URL")
	}
	// Section 4.1: a slash at the issuer's end is removed here, and only here.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return "", errors.New("the issuer is not an https URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer from the issuer: %w", cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the issuer answered %d where its discovery document should be; is its URL right?", resp.StatusCode)
	}
	var found struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return "", errors.New("the issuer's discovery document is malformed")
	}
	// Section 4.3. Otherwise a mistyped issuer that somebody else holds would be sent the secret.
	if found.Issuer != issuer {
		return "", errors.New("the discovery document is that of another issuer; write the issuer exactly as its discovery document does")
	}
	if !secure(found.TokenEndpoint) {
		return "", errors.New("the discovery document's token_endpoint is not an https URL")
	}
	return found.TokenEndpoint, nil
}

// secure reports whether a secret, or what decides where one goes, may travel to u.
func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && u.Fragment == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && config.IsLoopback(u.Hostname()))
}

// newClient follows no redirect: it would carry the secret elsewhere (307, 308).
func newClient() *http.Client {
	return &http.Client{
		Timeout:       timeout,
		Transport:     bounded{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded makes an error of an answer that is longer than maxAnswer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

// refusal says in words of our own why there is no token: those of err may hold the answer, and the
// answer what was sent.
func refusal(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if _, ok := errors.AsType[*url.Error](err); ok {
			return fmt.Errorf("no answer from the token endpoint: %w", cause(err))
		}
		return errors.New("the token endpoint's answer is not a token response")
	}
	if meaning, registered := codes[e.ErrorCode]; registered {
		return fmt.Errorf("the token endpoint answered %d %s%s", e.Response.StatusCode, e.ErrorCode, meaning)
	}
	return fmt.Errorf("the token endpoint answered %d", e.Response.StatusCode)
}

// codes are the registered errors of RFC 6749 sections 5.2 and 4.1.2.1, which some token endpoints
// borrow from, and RFC 8707 section 2: the only text of an answer that is repeated.
var codes = map[string]string{
	"invalid_request":         "",
	"invalid_client":          "; the client id or the secret is wrong",
	"invalid_grant":           "",
	"unauthorized_client":     "; the client may not use the client credentials grant, or (Keycloak) the secret is wrong",
	"unsupported_grant_type":  "",
	"invalid_scope":           "",
	"invalid_target":          "",
	"access_denied":           "",
	"server_error":            "",
	"temporarily_unavailable": "",
}

// cause is the part of a transport's error that the other side has no words in: the operating
// system's, TLS's, or none.
func cause(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return fmt.Errorf("none within %s", timeout)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	return errors.New("none that is HTTP")
}
