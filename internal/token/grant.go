package token

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/google"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

// grant makes a token of a secret. A life of 0 means that it doesn't expire. Its errors hold
// nothing of the secret, of what is sent or of what is answered.
type grant func(ctx context.Context, secret hidden.Text) (value hidden.Text, life time.Duration, err error)

// apiKey is the key itself. White space around it, such as a file's last newline, isn't part of it.
func apiKey(_ context.Context, secret hidden.Text) (hidden.Text, time.Duration, error) {
	key := strings.TrimSpace(secret.Reveal())
	if key == "" || !visible(key) {
		return hidden.Text{}, 0, errors.New("the secret is not an API key: one line of visible ASCII without spaces")
	}
	return hidden.New(key), 0, nil
}

// serviceAccountKey signs an assertion with the secret, a Google service account key file, and
// exchanges it at the file's token_uri for an access token.
func serviceAccountKey(transport http.RoundTripper, scopes []string) grant {
	return func(ctx context.Context, secret hidden.Text) (hidden.Text, time.Duration, error) {
		jwt, err := google.JWTConfigFromJSON([]byte(secret.Reveal()), scopes...)
		if err != nil { // its text quotes the file
			return hidden.Text{}, 0, errors.New("the secret is not a service account key: JSON with type service_account")
		}
		if err := checkTokenURI(jwt.TokenURL); err != nil {
			return hidden.Text{}, 0, err
		}
		jwt.Audience = "" // so that it is the token_uri, whatever the file says
		x := &exchange{ctx: ctx, base: transport}
		t, err := jwt.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, x.client())).Token()
		if err != nil && !x.sent {
			return hidden.Text{}, 0, errors.New("the key's private_key is not an RSA key in PEM")
		}
		return x.token(t, err)
	}
}

// clientCredentials presents the secret, a client's, to the token endpoint of its identity provider (RFC 6749
// section 4.4).
//
// Id and secret go by HTTP Basic, which every token endpoint takes (section 2.3.1), Entra's too
// (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow), and nowhere else: x/oauth2,
// left to find out for itself, would follow a refusal with the same secret in a form.
func clientCredentials(transport http.RoundTripper, c config.ClientCredentials) grant {
	return func(ctx context.Context, secret hidden.Text) (hidden.Text, time.Duration, error) {
		s := strings.TrimSpace(secret.Reveal())
		if s == "" || !printable(s) {
			return hidden.Text{}, 0, errors.New("the secret is not a client secret: one line of printable ASCII")
		}
		client := clientcredentials.Config{
			ClientID:     c.ClientID,
			ClientSecret: s,
			TokenURL:     c.TokenURL,
			Scopes:       c.Scopes,
			AuthStyle:    oauth2.AuthStyleInHeader,
		}
		x := &exchange{ctx: ctx, base: transport}
		return x.token(client.Token(context.WithValue(ctx, oauth2.HTTPClient, x.client())))
	}
}

// googleDefault asks Application Default Credentials: on Cloud Run the metadata server, elsewhere
// the file that GOOGLE_APPLICATION_CREDENTIALS or gcloud names.
//
// They are looked up for each exchange, because what is found keeps its last token, which Renew
// wants rid of. All of it ends with the context but for the search for the metadata server, once in
// a process: that ends itself, after at most ten seconds.
func googleDefault(transport http.RoundTripper, scopes []string) grant {
	return func(ctx context.Context, _ hidden.Text) (hidden.Text, time.Duration, error) {
		x := &exchange{ctx: ctx, base: transport}
		found, err := credentials.DetectDefault(&credentials.DetectOptions{
			Scopes: scopes,
			Client: x.client(),
			Logger: slog.New(slog.DiscardHandler), // at GOOGLE_SDK_GO_LOGGING_LEVEL=debug it would log whole answers
		})
		if err != nil {
			return hidden.Text{}, 0, noCredentials(err)
		}
		t, err := found.Token(ctx)
		if err != nil {
			return hidden.Text{}, 0, x.refusal(err)
		}
		return x.token(&oauth2.Token{AccessToken: t.Value, TokenType: t.Type, Expiry: t.Expiry}, nil)
	}
}

func noCredentials(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("no Application Default Credentials: %w", e)
	}
	return errors.New("no Application Default Credentials; deploy with a service account or set GOOGLE_APPLICATION_CREDENTIALS")
}

// token checks what a library made of the answer.
func (x *exchange) token(t *oauth2.Token, err error) (hidden.Text, time.Duration, error) {
	if err != nil {
		return hidden.Text{}, 0, x.refusal(err)
	}
	if !strings.EqualFold(t.TokenType, "Bearer") {
		return hidden.Text{}, 0, errors.New("the token endpoint's token_type is not Bearer")
	}
	life := noExpiresIn
	if !t.Expiry.IsZero() {
		life = time.Until(t.Expiry)
	}
	return usable(t.AccessToken, life)
}

// usable checks a token, and bounds how long it is good for.
func usable(value string, life time.Duration) (hidden.Text, time.Duration, error) {
	switch {
	case value == "":
		return hidden.Text{}, 0, errors.New("the token endpoint's answer has no access token")
	case !visible(value):
		return hidden.Text{}, 0, errors.New("the token endpoint's access token has characters that no header may carry")
	case life <= 0:
		return hidden.Text{}, 0, errors.New("the token endpoint's token has expired already")
	}
	return hidden.New(value), min(life, longest), nil
}

const (
	// noExpiresIn is the life of a token whose answer has no expires_in, which RFC 6749 section 5.1 only
	// recommends: short enough to be true of any.
	noExpiresIn = 5 * time.Minute
	// longest is the longest life that Google gives an access token
	// (docs.cloud.google.com/iam/docs/create-short-lived-credentials-direct). Others may give more,
	// for which nothing is lost by asking again; or it is a mistake.
	longest = 12 * time.Hour
)

// checkTokenURI refuses to send assertions anywhere but to Google, or to this machine. Otherwise
// whoever may write the secret could have them sent to himself.
func checkTokenURI(uri string) error {
	u, err := url.Parse(uri)
	if err == nil && u.User == nil {
		switch host := strings.ToLower(u.Hostname()); {
		case u.Scheme == "https" && strings.HasSuffix(host, ".googleapis.com") && (u.Port() == "" || u.Port() == "443"):
			return nil
		case (u.Scheme == "https" || u.Scheme == "http") && config.IsLoopback(host):
			return nil
		}
	}
	return errors.New("the key's token_uri is neither https on googleapis.com nor loopback; nothing was sent to it")
}

// visible reports whether s is visible ASCII, which any header field may carry (RFC 9110 section 5.5).
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// printable reports whether s is what a client secret may be (RFC 6749 appendix A.2): visible ASCII and spaces.
func printable(s string) bool { return visible(strings.ReplaceAll(s, " ", "")) }
