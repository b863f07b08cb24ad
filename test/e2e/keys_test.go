//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// followsKeys rotates the keys of a realm of its own, and disables the first at last: an instance
// that knows it must stop trusting it once its key set has aged. Keycloak says no-cache, which the
// gateway takes for five minutes; so that the test needn't wait as long, a proxy before the keys says
// what other issuers do, an age of one minute, the shortest that the gateway heeds.
func (p *parts) followsKeys(t *testing.T, ctx context.Context) {
	admin := p.keycloak.logIn(t, ctx)
	admin.createRealm(t, "rotating-realm")
	issuer := p.keycloak.issuer("rotating-realm")
	keys := newKeysProxy(t, issuer+"/protocol/openid-connect/certs")
	s := p.scene(t, ctx, issuer, "{url: "+keys.URL+"}")

	former := platformToken(t, ctx, issuer)
	s.expect(t, ctx, "a first token", former, 200, "")
	fetched := time.Now()

	admin.addKey(t, "rotating-realm", 200) // the other's priority is 100
	token := platformToken(t, ctx, issuer)
	if keyID(t, token) == keyID(t, former) {
		t.Fatal("Keycloak still signs with the former key")
	}
	sleep(ctx, time.Until(fetched.Add(11*time.Second))) // the gateway asks for keys at most once in 10 s
	before := keys.fetches.Load()
	s.expect(t, ctx, "the new key", token, 200, "")
	if n := keys.fetches.Load() - before; n != 1 {
		t.Errorf("the new key cost %d fetches", n)
	}
	fetched = time.Now()
	s.expect(t, ctx, "the former key after the rotation", former, 200, "")

	admin.setKey(t, "rotating-realm", keyID(t, former), "active", false)
	s.start(t, ctx).expect(t, ctx, "a passive key, at an instance that never saw it active", former, 200, "")

	admin.setKey(t, "rotating-realm", keyID(t, former), "enabled", false)
	disabled := time.Now()
	s.start(t, ctx).expect(t, ctx, "a disabled key, at an instance that never saw it enabled", former, 401, "invalid_token")
	s.expect(t, ctx, "a disabled key, at once", former, 200, "")
	if n := keys.fetches.Load() - before; n != 3 {
		t.Errorf("%d fetches by three instances", n)
	}
	sleep(ctx, time.Until(fetched.Add(61*time.Second)))
	for s.status(t, ctx, former) == 200 { // while the aged set's successor is fetched
		if time.Since(fetched) > 2*time.Minute {
			t.Fatal("the disabled key is still trusted after the set's age and the minute more")
		}
		sleep(ctx, 100*time.Millisecond)
	}
	t.Logf("refused %.1f s after it was disabled, %.1f s after the set was fetched", time.Since(disabled).Seconds(), time.Since(fetched).Seconds())
	s.expect(t, ctx, "a disabled key, its set aged", former, 401, "invalid_token")
	s.expect(t, ctx, "the new key, its set aged", token, 200, "")
	if n := keys.fetches.Load() - before; n != 4 {
		t.Errorf("%d fetches after the set had aged", n-3)
	}
}

// outlivesKeycloak ends Keycloak for all tests after.
func (p *parts) outlivesKeycloak(t *testing.T, ctx context.Context) {
	issuer := p.keycloak.issuer("my-realm")
	s := p.scene(t, ctx, issuer, "{}")
	known, unseen := platformToken(t, ctx, issuer), platformToken(t, ctx, issuer)
	s.expect(t, ctx, "a token while Keycloak is up", known, 200, "")
	p.keycloak.Stop()

	s.expect(t, ctx, "a token seen before", known, 200, "")
	s.expect(t, ctx, "a token never seen, of a known key", unseen, 200, "")
	cold := s.start(t, ctx)
	cold.expect(t, ctx, "a token at an instance without keys", known, 503, "issuer_unavailable")
	answer := cold.get(t, ctx, "/v1/models", known)
	if answer.Header.Get("WWW-Authenticate") != "" || answer.Header.Get("Retry-After") == "" {
		t.Errorf("the outage is told by the headers %v", answer.Header)
	}
}

// expect asks for the models with a token.
func (i *instance) expect(t *testing.T, ctx context.Context, what, token string, status int, code string) {
	t.Helper()
	answer := i.get(t, ctx, "/v1/models", token)
	var body struct{ Error struct{ Code string } }
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != status || body.Error.Code != code {
		t.Errorf("%s: %d %q %v, want %d %q", what, answer.StatusCode, body.Error.Code, err, status, code)
	}
}

func (i *instance) status(t *testing.T, ctx context.Context, token string) int {
	t.Helper()
	return i.get(t, ctx, "/v1/models", token).StatusCode
}

func (i *instance) get(t *testing.T, ctx context.Context, path, token string) *http.Response {
	t.Helper()
	return send(t, ctx, http.MethodGet, i.url+path, token, nil)
}

// keysProxy stands before an issuer's keys, says that they may be used for a minute, and counts.
type keysProxy struct {
	URL     string
	fetches atomic.Int64
}

func newKeysProxy(t *testing.T, keys string) *keysProxy {
	target, err := url.Parse(keys)
	if err != nil {
		t.Fatal(err)
	}
	p := &keysProxy{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			p.fetches.Add(1)
			r.Out.URL, r.Out.Host = target, ""
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Cache-Control", "max-age=60")
			return nil
		},
	})
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// administrator uses Keycloak's admin API (www.keycloak.org/docs-api/latest/rest-api).
type administrator struct {
	ctx   context.Context
	url   string
	token string
}

func (k *keycloak) logIn(t *testing.T, ctx context.Context) *administrator {
	return &administrator{ctx, k.url + "/admin/realms", tokenOf(t, ctx, k.issuer("master"), url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {k.admin}, "password": {k.secret},
	})}
}

// createRealm makes a realm like that of testdata.
func (a *administrator) createRealm(t *testing.T, name string) {
	text, err := os.ReadFile("testdata/realm.json")
	if err != nil {
		t.Fatal(err)
	}
	var realm map[string]any
	decode(t, text, &realm)
	realm["realm"] = name
	a.send(t, http.MethodPost, "", realm)
}

// component is how Keycloak keeps a key.
type component struct {
	ID       string              `json:"id,omitempty"`
	Name     string              `json:"name"`
	Provider string              `json:"providerId"`
	Type     string              `json:"providerType"`
	Config   map[string][]string `json:"config"`
}

const keyProvider = "org.keycloak.keys.KeyProvider"

func (a *administrator) addKey(t *testing.T, realm string, priority int) {
	a.send(t, http.MethodPost, "/"+realm+"/components", component{
		Name: "rotated", Provider: "rsa-generated", Type: keyProvider,
		Config: map[string][]string{"priority": {fmt.Sprint(priority)}, "algorithm": {"RS256"}},
	})
}

// setKey makes the key passive ("active", false) or disables it ("enabled", false).
func (a *administrator) setKey(t *testing.T, realm, kid, name string, value bool) {
	var keys struct {
		Keys []struct{ Kid, ProviderID string }
	}
	decode(t, a.send(t, http.MethodGet, "/"+realm+"/keys", nil), &keys)
	for _, key := range keys.Keys {
		if key.Kid != kid {
			continue
		}
		path := "/" + realm + "/components/" + key.ProviderID
		var c component
		decode(t, a.send(t, http.MethodGet, path, nil), &c)
		c.Config[name] = []string{fmt.Sprint(value)}
		a.send(t, http.MethodPut, path, c)
		return
	}
	t.Fatalf("the realm has no key %s", kid)
}

func (a *administrator) send(t *testing.T, method, path string, body any) []byte {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	answer := send(t, a.ctx, method, a.url+path, a.token, text)
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s %v", method, path, answer.StatusCode, text, err)
	}
	return text
}

// platformToken is a token of ten minutes for the client platform-jobs.
func platformToken(t *testing.T, ctx context.Context, issuer string) string {
	t.Helper()
	return tokenOf(t, ctx, issuer, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"platform-jobs"}, "client_secret": {"e2e-secret-of-platform-jobs"},
	})
}

func tokenOf(t *testing.T, ctx context.Context, issuer string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.AccessToken == "" {
		t.Fatalf("Keycloak gives no token: %d %v", answer.StatusCode, err)
	}
	return token.AccessToken
}

// keyID is the kid of a token's header.
func keyID(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	decode(t, text, &header)
	return header.Kid
}

// send sends JSON, or no body, and reads the whole answer.
func send(t *testing.T, ctx context.Context, method, url, token string, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	return answer
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
