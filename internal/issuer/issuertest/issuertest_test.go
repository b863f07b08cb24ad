package issuertest_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

func newIssuer(t *testing.T) *issuertest.Issuer {
	idp := issuertest.New()
	t.Cleanup(idp.Close)
	idp.AddClient(issuertest.Client{ID: "data-pipeline", Secret: "not:a+secret", Groups: []string{"team"},
		Audience: []string{"llm-gateway"}, Lifetime: time.Minute, Claims: map[string]any{"repository": "acme/x", "acr": nil}})
	return idp
}

func get(t *testing.T, from string, v any) http.Header {
	t.Helper()
	resp, err := http.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", from, resp.Status, err)
	}
	return resp.Header
}

func TestTheTokenEndpointChecksWhatItIsSent(t *testing.T) {
	idp := newIssuer(t)
	const form, grant = "application/x-www-form-urlencoded", "grant_type=client_credentials"
	for _, row := range []struct {
		name, contentType, body string
		basic                   *url.Userinfo
		status                  int
		code                    string
	}{
		{"HTTP Basic", form, grant, url.UserPassword("data-pipeline", "not%3Aa%2Bsecret"), 200, ""},
		{"form body", form + "; charset=utf-8", grant + "&client_id=data-pipeline&client_secret=not%3Aa%2Bsecret", nil, 200, ""},
		{"both", form, grant + "&client_secret=not%3Aa%2Bsecret", url.UserPassword("data-pipeline", "not%3Aa%2Bsecret"), 400, "invalid_request"},
		{"no client", form, grant, nil, 401, "invalid_client"},
		{"another secret", form, grant, url.UserPassword("data-pipeline", "x"), 401, "invalid_client"},
		{"an unknown client", form, grant + "&client_id=x&client_secret=", nil, 401, "invalid_client"},
		{"another grant", form, "grant_type=password", url.UserPassword("data-pipeline", "not%3Aa%2Bsecret"), 400, "unsupported_grant_type"},
		{"no grant", form, "", url.UserPassword("data-pipeline", "not%3Aa%2Bsecret"), 400, "invalid_request"},
		{"two grants", form, grant + "&" + grant, url.UserPassword("data-pipeline", "not%3Aa%2Bsecret"), 400, "invalid_request"},
		{"JSON", "application/json", "{}", nil, 400, "invalid_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", idp.TokenURL(), strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", row.contentType)
			if row.basic != nil {
				secret, _ := row.basic.Password()
				req.SetBasicAuth(row.basic.Username(), secret)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var body struct {
				Error       string
				AccessToken string `json:"access_token"`
				TokenType   string `json:"token_type"`
				ExpiresIn   int    `json:"expires_in"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != row.status || body.Error != row.code || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body.Error, row.status, row.code)
			}
			if row.status == 200 && (body.TokenType != "Bearer" || body.ExpiresIn != 60 || strings.Count(body.AccessToken, ".") != 2) {
				t.Errorf("%s for %d s", body.TokenType, body.ExpiresIn)
			}
			if challenged := resp.Header.Get("WWW-Authenticate") != ""; challenged != (row.status == 401 && row.basic != nil) {
				t.Errorf("challenged %t", challenged)
			}
		})
	}
}

func TestATokenHasTheShapeOfKeycloaksAndVerifiesWithThePublishedKeys(t *testing.T) {
	idp := newIssuer(t)
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA} {
		idp.AddKey(issuertest.NewKey(alg))
		signed, err := jose.ParseSignedCompact(idp.Token("data-pipeline"), []jose.SignatureAlgorithm{alg})
		if err != nil {
			t.Fatal(err)
		}
		var set jose.JSONWebKeySet
		get(t, idp.KeysURL(), &set)
		keys := set.Key(signed.Signatures[0].Header.KeyID)
		if len(keys) != 1 {
			t.Fatalf("%d published keys fit", len(keys))
		}
		payload, err := signed.Verify(keys[0])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"iss": idp.URL, "typ": "Bearer", "azp": "data-pipeline", "aud": "llm-gateway", "acr": nil,
			"preferred_username": "service-account-data-pipeline", "repository": "acme/x", "exp": claims["iat"].(float64) + 60}
		for name, v := range want {
			if claims[name] != v {
				t.Errorf("%s is %v, want %v", name, claims[name], v)
			}
		}
	}
}

func TestKeysRotate(t *testing.T) {
	idp := newIssuer(t)
	published := func() (ids []string) {
		var set jose.JSONWebKeySet
		get(t, idp.KeysURL(), &set)
		for _, k := range set.Keys {
			ids = append(ids, k.KeyID)
		}
		return ids
	}
	first := idp.Key()
	second := idp.Rotate()
	if got := published(); len(got) != 2 || idp.Key() != second {
		t.Errorf("after rotation: %v", got)
	}
	idp.RemoveKey(first)
	if got := published(); len(got) != 1 || got[0] != second.ID {
		t.Errorf("after removal: %v", got)
	}
	idp.SetKeys([]byte(`{"keys":[]}`))
	idp.SetCacheControl("max-age=60")
	var set jose.JSONWebKeySet
	if h := get(t, idp.KeysURL(), &set); len(set.Keys) != 0 || h.Get("Cache-Control") != "max-age=60" {
		t.Errorf("replaced: %v, %v", set, h)
	}
	if idp.KeyFetches() != 3 || idp.Discoveries() != 0 {
		t.Errorf("counted %d and %d", idp.KeyFetches(), idp.Discoveries())
	}
}

func TestItSignsWhatItIsTold(t *testing.T) {
	raw := issuertest.NewKeyID(jose.ES256, "1").Sign(map[string]any{"alg": "none", "typ": nil}, map[string]any{"a": 1})
	header, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
	if got, want := string(header), `{"alg":"none","kid":"1"}`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
}

func TestItCanBeDown(t *testing.T) {
	idp := newIssuer(t)
	var discovery struct {
		Issuer string
	}
	const document = "/.well-known/openid-configuration"
	if get(t, idp.URL+document, &discovery); discovery.Issuer != idp.URL {
		t.Errorf("discovered %s", discovery.Issuer)
	}
	idp.SetOutage(issuertest.Failing)
	resp, err := http.Get(idp.URL + document)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 500 {
		t.Errorf("failing: %s", resp.Status)
	}
	idp.SetOutage(issuertest.Unreachable)
	if resp, err := http.Get(idp.URL + document); err == nil {
		resp.Body.Close()
		t.Errorf("unreachable: %s", resp.Status)
	}
	idp.SetOutage(issuertest.Up)
	idp.SetDelay(time.Hour)
	client := http.Client{Timeout: 50 * time.Millisecond}
	if resp, err := client.Get(idp.URL + document); err == nil {
		resp.Body.Close()
		t.Errorf("slow: %s", resp.Status)
	}
}
