package tokentest_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

func TestClientsAreVerifiedAsEntraDoes(t *testing.T) {
	server := tokentest.New()
	defer server.Close()
	const scope = "https://cognitiveservices.azure.com/.default"
	former := server.ClientSecret()
	server.RotateClientSecret()
	secret := server.ClientSecret()
	good := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	with := func(name string, values ...string) url.Values {
		form := url.Values{name: values}
		for other, values := range good {
			if other != name {
				form[other] = values
			}
		}
		return form
	}
	for _, test := range []struct {
		why        string
		id, secret string
		form       url.Values
		want       string // the error code, or nothing
	}{
		{"good", tokentest.ClientID, url.QueryEscape(secret), good, ""},
		{"secret not encoded", tokentest.ClientID, secret, good, "invalid_request"},
		{"former secret", tokentest.ClientID, url.QueryEscape(former), good, "invalid_client"},
		{"no secret", tokentest.ClientID, "", good, "invalid_client"},
		{"no credentials", "", "", good, "invalid_client"},
		{"another client", "other", url.QueryEscape(secret), good, "unauthorized_client"},
		{"secret in the form", "", "", with("client_secret", secret), "invalid_request"},
		{"secret in both", tokentest.ClientID, url.QueryEscape(secret), with("client_secret", secret), "invalid_request"},
		{"another grant", tokentest.ClientID, url.QueryEscape(secret), with("grant_type", grant), "unsupported_grant_type"},
		{"no scope", tokentest.ClientID, url.QueryEscape(secret), with("scope"), "invalid_scope"},
		{"an empty scope", tokentest.ClientID, url.QueryEscape(secret), with("scope", ""), "invalid_scope"},
		{"scope of no resource", tokentest.ClientID, url.QueryEscape(secret), with("scope", "a"), "invalid_scope"},
		{"scopes of two resources", tokentest.ClientID, url.QueryEscape(secret), with("scope", scope+" "+scope), "invalid_scope"},
		{"scope twice", tokentest.ClientID, url.QueryEscape(secret), with("scope", scope, scope), "invalid_request"},
	} {
		t.Run(test.why, func(t *testing.T) {
			req, _ := http.NewRequest("POST", server.ClientTokenURL(), strings.NewReader(test.form.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if test.id != "" {
				req.SetBasicAuth(test.id, test.secret)
			}
			resp, err := http.DefaultClient.Do(req)
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
			if answer.Error != test.want || (resp.StatusCode == 401) != (test.want == "invalid_client") || server.Valid(answer.AccessToken) != (test.want == "") {
				t.Fatalf("answer is %d %q, want %q", resp.StatusCode, answer.Error, test.want)
			}
			if client, scopes := server.Info(answer.AccessToken); test.want == "" && (client != tokentest.ClientID || !slices.Equal(scopes, []string{scope})) {
				t.Errorf("a token of %s for %q", client, scopes)
			}
		})
	}
}

// accessToken exchanges an assertion for the scope.
func accessToken(t *testing.T, server *tokentest.Server, scope string) string {
	t.Helper()
	resp, err := http.PostForm(server.URL+"/token", url.Values{"grant_type": {grant},
		"assertion": {assertion(t, server, jose.RS256, "", map[string]any{"scope": scope})}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken
}

func TestCallersOfGenerateAccessTokenAreVerifiedAsGoogleDoes(t *testing.T) {
	server := tokentest.New()
	defer server.Close()
	const (
		path = "/v1/projects/-/serviceAccounts/vertex@acme.iam.gserviceaccount.com:generateAccessToken"
		body = `{"scope":["a","b"],"lifetime":"3600s"}`
	)
	server.LetImpersonate("vertex@acme.iam.gserviceaccount.com", true)
	wide, narrow := accessToken(t, server, "x https://www.googleapis.com/auth/cloud-platform"), accessToken(t, server, "x")
	var made string
	for _, test := range []struct {
		why, path, token, body string
		want                   string // the error's status, or nothing
	}{
		{"good", path, wide, body, ""},
		{"another project", strings.Replace(path, "/-/", "/acme/", 1), wide, body, "404"},
		{"another account", strings.Replace(path, "vertex", "other", 1), wide, body, "PERMISSION_DENIED"},
		{"no token", path, "", body, "UNAUTHENTICATED"},
		{"unknown token", path, "x", body, "UNAUTHENTICATED"},
		{"token of another scope", path, narrow, body, "PERMISSION_DENIED"},
		{"no scope", path, wide, `{"lifetime":"3600s"}`, "INVALID_ARGUMENT"},
		{"scopes in one text", path, wide, `{"scope":"a b","lifetime":"3600s"}`, "INVALID_ARGUMENT"},
		{"unknown field", path, wide, `{"scope":["a"],"lifetime":"3600s","account":"x"}`, "INVALID_ARGUMENT"},
		{"lifetime without unit", path, wide, `{"scope":["a"],"lifetime":"3600"}`, "INVALID_ARGUMENT"},
		{"lifetime over an hour", path, wide, `{"scope":["a"],"lifetime":"3601s"}`, "INVALID_ARGUMENT"},
	} {
		t.Run(test.why, func(t *testing.T) {
			req, _ := http.NewRequest("POST", server.URL+test.path, strings.NewReader(test.body))
			req.Header.Set("Authorization", "Bearer "+test.token)
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if test.want == "404" {
				if resp.StatusCode != 404 {
					t.Errorf("answer is %d", resp.StatusCode)
				}
				return
			}
			var answer struct {
				AccessToken string
				ExpireTime  time.Time
				Error       struct{ Status string }
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if answer.Error.Status != test.want || server.Valid(answer.AccessToken) != (test.want == "") {
				t.Fatalf("answer is %d %q, want %q", resp.StatusCode, answer.Error.Status, test.want)
			}
			if test.want != "" {
				return
			}
			made = answer.AccessToken
			account, scopes := server.Info(made)
			if left := time.Until(answer.ExpireTime); account != "vertex@acme.iam.gserviceaccount.com" || !slices.Equal(scopes, []string{"a", "b"}) ||
				left < 59*time.Minute || left > time.Hour {
				t.Errorf("a token of %s for %q with %s left", account, scopes, left)
			}
		})
	}
	req, _ := http.NewRequest("POST", server.URL+path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+made)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("an account impersonates itself: %d", resp.StatusCode)
	}
}
