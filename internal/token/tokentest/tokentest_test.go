package tokentest_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2/google"

	"llmgateway.dev/gateway/internal/token/tokentest"
)

const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// assertion signs claims with the endpoint's key, as far as the row says nothing else.
func assertion(t *testing.T, server *tokentest.Server, alg jose.SignatureAlgorithm, kid string, changes map[string]any) string {
	t.Helper()
	file, err := google.JWTConfigFromJSON(server.ServiceAccountKey())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(file.PrivateKey)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if kid == "" {
		kid = file.PrivateKeyID
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": file.Email, "aud": file.TokenURL, "scope": "a", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range changes {
		claims[name] = value
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAssertionsAreVerifiedAsGoogleDoes(t *testing.T) {
	server := tokentest.New()
	defer server.Close()
	now := time.Now()
	for _, test := range []struct {
		why       string
		grant     string
		assertion string
		want      string // the error code, or nothing
	}{
		{"good", grant, assertion(t, server, jose.RS256, "", nil), ""},
		{"another grant", "client_credentials", assertion(t, server, jose.RS256, "", nil), "unsupported_grant_type"},
		{"no JWT", grant, "x", "invalid_grant"},
		{"another algorithm", grant, assertion(t, server, jose.PS256, "", nil), "invalid_grant"},
		{"unknown key", grant, assertion(t, server, jose.RS256, "other", nil), "invalid_grant"},
		{"signature changed", grant, assertion(t, server, jose.RS256, "", nil) + "AA", "invalid_grant"},
		{"another account", grant, assertion(t, server, jose.RS256, "", map[string]any{"iss": "other@acme.iam.gserviceaccount.com"}), "invalid_grant"},
		{"another endpoint", grant, assertion(t, server, jose.RS256, "", map[string]any{"aud": "https://oauth2.googleapis.com/token"}), "invalid_grant"},
		{"over an hour", grant, assertion(t, server, jose.RS256, "", map[string]any{"exp": now.Add(61 * time.Minute).Unix()}), "invalid_grant"},
		{"expired", grant, assertion(t, server, jose.RS256, "", map[string]any{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(-time.Minute).Unix()}), "invalid_grant"},
		{"of the future", grant, assertion(t, server, jose.RS256, "", map[string]any{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()}), "invalid_grant"},
		{"no scope", grant, assertion(t, server, jose.RS256, "", map[string]any{"scope": ""}), "invalid_scope"},
	} {
		t.Run(test.why, func(t *testing.T) {
			resp, err := http.PostForm(server.URL+"/token", url.Values{"grant_type": {test.grant}, "assertion": {test.assertion}})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var answer struct {
				Error       string `json:"error"`
				AccessToken string `json:"access_token"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error != test.want || (resp.StatusCode == 200) != (test.want == "") || server.Valid(answer.AccessToken) != (test.want == "") {
				t.Errorf("answer is %d %q, want %q", resp.StatusCode, answer.Error, test.want)
			}
			server.Revoke(answer.AccessToken)
			if server.Valid(answer.AccessToken) {
				t.Error("a revoked token is valid")
			}
		})
	}
	if server.Valid("") {
		t.Error("no token at all is valid")
	}
}
