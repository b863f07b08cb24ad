package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/test/bomb"
)

// keySet is that of the one issuer.
func (w *world) keySet() *keySet { return w.byURL[w.idp.URL].keys }

// settle waits for a fetch that runs.
func (w *world) settle() {
	k := w.keySet()
	k.mu.Lock()
	running := k.running
	k.mu.Unlock()
	if running != nil {
		<-running
	}
}

// gate holds requests back until it is opened.
type gate chan struct{}

func (w *world) gate() gate {
	g := make(gate)
	client := w.keySet().source.client
	next := client.Transport
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		select {
		case <-g:
			return next.RoundTrip(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	})
	return g
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// fetches counts what the provider was asked for; its answer is "discoveries/keys".
func (w *world) fetches() string {
	return fmt.Sprintf("%d/%d", w.idp.Discoveries(), w.idp.KeyFetches())
}

func (w *world) wantFetches(t *testing.T, want string) {
	t.Helper()
	if got := w.fetches(); got != want {
		t.Errorf("discoveries/key fetches %s, want %s", got, want)
	}
}

// junk is what somebody sends who has no key of the issuer.
func (w *world) junk(n int) string {
	stranger := issuertest.NewKey(jose.ES256)
	claims := w.idp.Claims("data-pipeline")
	switch n % 8 {
	case 0: // an unknown key
	case 1: // a known key, another's signature
		stranger.ID = w.idp.Key().ID
	case 2:
		return stranger.Sign(m{"kid": nil}, claims)
	case 3:
		claims["aud"] = "another"
	case 4:
		claims["exp"] = 1
	case 5:
		return stranger.Sign(m{"alg": "none"}, claims)
	case 6:
		claims["typ"] = "ID"
	case 7:
		return fmt.Sprintf("%d.a.b", n)
	}
	return stranger.Sign(nil, claims)
}

func TestJunkCostsTheIssuerAtMostOneFetchInTenSeconds(t *testing.T) {
	w := newWorld(t, "")
	send := func(t *testing.T) {
		var wg sync.WaitGroup
		for n := range 200 {
			raw := w.junk(n)
			wg.Go(func() {
				_, _, err := w.Verify(t.Context(), raw)
				if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind.Status != 401 {
					t.Errorf("junk %d: %v", n%8, err)
				}
			})
			if n%10 == 0 {
				wg.Wait()
			}
		}
		wg.Wait()
	}
	send(t) // cold: the first keys
	w.wantFetches(t, "1/1")
	w.advance(pause)
	send(t) // warm: for the unknown keys
	w.wantFetches(t, "1/2")
	w.accepts(t, w.token(nil))
	w.wantFetches(t, "1/2")
}

// What can't become good by any key must not reach the issuer at all.
func TestATokenThatFailsBeforeItsSignatureIsNotWorthAFetch(t *testing.T) {
	w := newWorld(t, "")
	for n := 3; n < 8; n++ {
		w.Verify(t.Context(), w.junk(n))
	}
	w.wantFetches(t, "0/0")
}

func TestParallelFirstVerificationsShareOneFetch(t *testing.T) {
	w := newWorld(t, "")
	gate := w.gate()
	var wg sync.WaitGroup
	wg.Go(func() { w.Warm(t.Context()) })
	for range 100 {
		raw := w.token(nil)
		wg.Go(func() {
			if _, _, err := w.Verify(t.Context(), raw); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	wg.Wait()
	w.wantFetches(t, "1/1")
}

func TestACallerWaitsByItsOwnContextAndLeavesTheFetchToOthers(t *testing.T) {
	w := newWorld(t, "")
	gate := w.gate()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := w.token(nil)
	_, _, err := w.Verify(ctx, raw)
	if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind != apierror.IssuerUnavailable || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(gate)
	w.accepts(t, raw)
	w.wantFetches(t, "1/1")
}

func TestAnIssuerThatWasNeverReachedIsUnavailable(t *testing.T) {
	for name, outage := range map[string]issuertest.Outage{"500": issuertest.Failing, "no answer": issuertest.Unreachable} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.idp.SetOutage(outage)
			raw := w.token(nil)
			w.refuses(t, raw, apierror.IssuerUnavailable, "issuer")
			asked := w.fetches()
			if w.Ready() {
				t.Error("ready without keys")
			}
			w.advance(9 * time.Second)
			w.refuses(t, raw, apierror.IssuerUnavailable, "issuer")
			w.wantFetches(t, asked) // the pause is kept: the outage is told at once
			w.idp.SetOutage(issuertest.Up)
			w.Warm(t.Context())
			w.wantFetches(t, asked)
			w.advance(time.Second)
			w.Warm(t.Context())
			if !w.Ready() {
				t.Error("not ready with keys")
			}
			w.accepts(t, raw)
		})
	}
}

func TestTheLastGoodKeysServeThroughAnOutageForAnHour(t *testing.T) {
	w := newWorld(t, "")
	raw := w.token(m{"exp": w.time().Add(12 * time.Hour).Unix()})
	w.accepts(t, raw)
	w.idp.SetOutage(issuertest.Failing)
	w.advance(5*time.Minute + time.Hour - time.Second)
	if _, remembered, err := w.Verify(t.Context(), raw); err != nil || !remembered {
		t.Fatalf("remembered %t, %v", remembered, err)
	}
	asked := w.fetches()
	w.accepts(t, w.token(m{"jti": "another"})) // within the pause, without another attempt
	w.wantFetches(t, asked)
	// A key that isn't known may be new: nobody can tell now, so this is no 401.
	w.refuses(t, issuertest.NewKey(jose.ES256).Sign(nil, w.idp.Claims("data-pipeline")), apierror.IssuerUnavailable, "issuer")
	w.advance(time.Second)
	w.refuses(t, raw, apierror.IssuerUnavailable, "issuer")
	if w.Ready() {
		t.Error("ready with keys an hour too old")
	}
	w.idp.SetOutage(issuertest.Up)
	w.advance(pause)
	w.accepts(t, raw)
}

func TestEachFailedFetchIsOneLineForTheOperator(t *testing.T) {
	w := newWorld(t, "")
	w.idp.SetOutage(issuertest.Failing)
	raw := w.token(nil)
	for range 5 {
		w.Verify(t.Context(), raw)
	}
	w.settle()
	var line struct{ Level, Msg, Issuer, Cause string }
	if err := json.Unmarshal([]byte(w.log.String()), &line); err != nil { // more than one is no JSON text
		t.Fatalf("log is %q: %v", w.log.String(), err)
	}
	if line.Level != "WARN" || line.Msg != "issuer's keys can't be fetched" || line.Issuer != w.idp.URL || !strings.HasSuffix(line.Cause, "answered with status 500") {
		t.Errorf("log is %q", w.log.String())
	}
	w.advance(pause)
	w.Verify(t.Context(), raw)
	w.settle()
	if got := strings.Count(w.log.String(), "\n"); got != 2 {
		t.Errorf("%d lines for two failed fetches", got)
	}
	w.idp.SetOutage(issuertest.Up)
	w.advance(pause)
	w.accepts(t, raw)
	w.idp.SetKeys([]byte(`{"` + strings.Repeat("canary", 1000) + `":tru}`))
	w.advance(10 * time.Minute)
	w.Verify(t.Context(), w.token(nil))
	w.settle()
	log := w.log.String()
	if got := strings.Count(log, "\n"); got != 3 || len(log) > 3000 {
		t.Errorf("%d lines, %d bytes, after a third", got, len(log))
	}
	for part := range strings.SplitSeq(raw, ".") {
		if strings.Contains(log, part) {
			t.Error("the log holds a part of a token")
		}
	}
}

func TestAFetchThatFrozeWithItsInstanceIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, "")
	gate := w.gate()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.Warm(gone)
	k := w.keySet()
	stuck := k.running
	w.advance(time.Hour)
	w.Warm(gone)
	if k.running == stuck {
		t.Fatal("the fetch of an hour ago is waited for")
	}
	close(gate)
	<-stuck
	w.settle()
	w.accepts(t, w.token(nil))
	w.wantFetches(t, "2/2")
}

// Its keys are as old as the freeze was long, and its failure says nothing: either way the next request
// must not have to wait out the pause.
func TestAFetchThatFrozeWithItsInstanceDoesNotDelayTheNext(t *testing.T) {
	for _, outage := range []issuertest.Outage{issuertest.Up, issuertest.Failing} {
		w := newWorld(t, "")
		gate := w.gate()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		w.Warm(gone)
		w.advance(3 * time.Hour)
		w.idp.SetOutage(outage)
		close(gate)
		w.settle()
		w.idp.SetOutage(issuertest.Up)
		w.accepts(t, w.token(nil))
	}
}

func TestADisabledKeyStopsWorkingOnceTheKeysAged(t *testing.T) {
	w := newWorld(t, "")
	old := w.idp.Key()
	raw := w.token(m{"exp": w.time().Add(12 * time.Hour).Unix()})
	w.accepts(t, raw)
	w.idp.Rotate()
	w.idp.RemoveKey(old)
	w.advance(5*time.Minute - time.Second)
	if _, remembered, _ := w.Verify(t.Context(), raw); !remembered {
		t.Error("forgotten while the keys are fresh")
	}
	w.advance(61 * time.Second)
	w.refuses(t, raw, apierror.InvalidToken, "key")
	if w.remembered.Len() != 0 {
		t.Error("the token outlives its key in memory")
	}
	w.accepts(t, w.token(nil))
}

func TestAgedKeysServeAtOnceForAMinuteWhileTheirSuccessorsAreFetched(t *testing.T) {
	w := newWorld(t, "")
	raw := w.token(m{"exp": w.time().Add(12 * time.Hour).Unix()})
	w.accepts(t, raw)
	w.idp.RemoveKey(w.idp.Key())
	w.idp.AddKey(issuertest.NewKey(jose.ES256))
	w.advance(5*time.Minute + 59*time.Second)
	gate := w.gate()
	if _, remembered, _ := w.Verify(t.Context(), raw); !remembered { // though nothing can be fetched now
		t.Error("not served from aged keys")
	}
	close(gate)
	w.settle()
	w.wantFetches(t, "1/2")
	w.refuses(t, raw, apierror.InvalidToken, "key")
}

func TestAKeyReplacedUnderTheSameIDForgetsItsTokens(t *testing.T) {
	w := newWorld(t, "")
	old := issuertest.NewKeyID(jose.ES256, "1")
	w.idp.AddKey(old)
	raw := w.token(m{"exp": w.time().Add(time.Hour).Unix()})
	w.accepts(t, raw)
	w.idp.RemoveKey(old)
	w.idp.AddKey(issuertest.NewKeyID(jose.ES256, "1"))
	w.advance(6 * time.Minute)
	w.refuses(t, raw, apierror.InvalidToken, "signature")
}

func TestANewKeyIsPickedUpAtOnceButOnlyOnceInTenSeconds(t *testing.T) {
	w := newWorld(t, "")
	old := w.token(nil)
	w.accepts(t, old)
	w.advance(pause)
	w.idp.Rotate()
	w.accepts(t, w.token(nil))
	w.wantFetches(t, "1/2")
	w.accepts(t, old) // its key is passive, not gone
	w.idp.Rotate()
	w.advance(pause - time.Second)
	w.refuses(t, w.token(nil), apierror.InvalidToken, "key")
	w.advance(time.Second)
	w.accepts(t, w.token(nil))
	w.wantFetches(t, "1/3")
}

func TestKeysAgeAsTheirIssuerSaysWithinBounds(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 5 * time.Minute, "no-cache": 5 * time.Minute, "no-store, max-age=600": 5 * time.Minute, "public": 5 * time.Minute,
		"max-age=600": 10 * time.Minute, `Public, Max-Age="600"`: 10 * time.Minute, "max-age=600, No-Cache": 5 * time.Minute,
		"max-age=0": time.Minute, "max-age=86400": time.Hour, "max-age=-1": 5 * time.Minute, "max-age=99999999999999999999": 5 * time.Minute, "max-age": 5 * time.Minute,
	} {
		if got := maxAge(http.Header{"Cache-Control": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	w := newWorld(t, "")
	w.idp.SetCacheControl("max-age=3600")
	raw := w.token(m{"exp": w.time().Add(12 * time.Hour).Unix()})
	w.accepts(t, raw)
	w.advance(time.Hour - time.Second)
	w.accepts(t, raw)
	w.settle()
	w.wantFetches(t, "1/1")
	w.advance(time.Minute + time.Second)
	w.accepts(t, raw)
	w.wantFetches(t, "2/2") // after an hour the keys' place is asked for again
}

func TestAnEmptySetTakesAllKeysAwayAndAMalformedOneNone(t *testing.T) {
	for document, want := range map[string]apierror.Kind{
		`{"keys":[]}`:           apierror.InvalidToken,
		`{"keys":[{},7,"key"]}`: apierror.InvalidToken,
		`{}`:                    {},
		`{"keys":{}}`:           {},
		`{"keys":null}`:         {},
		`{"keys":[],"keys":[]}`: {},
		`[]`:                    {},
		`<html>`:                {},
		``:                      {},
		`{"keys":[]}` + strings.Repeat(" ", maxDocument): {},
	} {
		w := newWorld(t, "")
		raw := w.token(m{"exp": w.time().Add(12 * time.Hour).Unix()})
		w.accepts(t, raw)
		w.idp.SetKeys([]byte(document))
		w.advance(10 * time.Minute)
		if want == (apierror.Kind{}) {
			w.accepts(t, raw)
		} else {
			w.refuses(t, raw, want, "key")
			if w.Ready() {
				t.Error("ready without a key")
			}
		}
	}
}

func TestOnlyKeysMeantForTheAlgorithmVerify(t *testing.T) {
	publish := func(k *issuertest.Key, changes m) []byte {
		b, err := json.Marshal(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		var members m
		json.Unmarshal(b, &members)
		for name, v := range changes {
			if members[name] = v; v == nil {
				delete(members, name)
			}
		}
		b, err = json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ec, ec384, rsa := issuertest.NewKeyID(jose.ES256, "1"), issuertest.NewKeyID(jose.ES384, "1"), issuertest.NewKeyID(jose.RS256, "1")
	for name, row := range map[string]struct {
		key     *issuertest.Key
		alg     string
		changes m
		usable  bool
	}{
		"as published":                       {ec, "ES256", nil, true},
		"no alg, no use":                     {ec, "ES256", m{"alg": nil, "use": nil}, true},
		"key_ops verify":                     {ec, "ES256", m{"key_ops": []string{"verify"}}, true},
		"a certificate that Go can't parse":  {ec, "ES256", m{"x5c": []string{"MAo="}, "x5t": "AAAA"}, true},
		"an RSA key for another RSA":         {rsa, "PS384", m{"alg": nil}, true},
		"an RSA key with its alg":            {rsa, "PS384", nil, false},
		"use enc":                            {ec, "ES256", m{"use": "enc"}, false},
		"key_ops sign":                       {ec, "ES256", m{"key_ops": []string{"sign"}}, false},
		"key_ops none":                       {ec, "ES256", m{"key_ops": []string{}}, false},
		"alg of another":                     {ec, "ES256", m{"alg": "RS256"}, false},
		"EC for RSA":                         {ec, "RS256", m{"alg": nil}, false},
		"RSA for EC":                         {rsa, "ES256", m{"alg": nil}, false},
		"RSA for EdDSA":                      {rsa, "EdDSA", m{"alg": nil}, false},
		"a public key for HMAC":              {rsa, "HS256", m{"alg": "HS256"}, false},
		"a public key for none":              {rsa, "none", m{"alg": nil}, false},
		"a public key for nothing":           {rsa, "", m{"alg": nil}, false},
		"another curve":                      {ec384, "ES256", m{"alg": nil}, false},
		"another curve's name":               {ec, "ES384", m{"alg": nil, "crv": "P-384"}, false},
		"RFC 7518 3.3: RSA of 1024 bits":     {rsa, "RS256", m{"n": strings.Repeat("_", 171)}, false},
		"RSA of 4128 bits, slow to verify":   {rsa, "RS256", m{"n": strings.Repeat("_", 688)}, false},
		"CVE-2017-11424: n of 2 MiB":         {rsa, "RS256", m{"n": strings.Repeat("_", 1<<21)}, false},
		"a point off the curve":              {ec, "ES256", m{"x": strings.Repeat("A", 43)}, false},
		"a private key":                      {ec, "ES256", m{"d": strings.Repeat("A", 43)}, false},
		"oct":                                {ec, "HS256", m{"kty": "oct", "k": "AAAA", "alg": nil}, false},
		"an unknown type":                    {ec, "ES256", m{"kty": "canary"}, false},
		"kid of a number":                    {ec, "ES256", m{"kid": 1}, false},
		"another kid":                        {ec, "ES256", m{"kid": "2"}, false},
		"no kid, though the token names one": {ec, "ES256", m{"kid": nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			document := fmt.Appendf(nil, `{"keys":[{"kty":"EC"},%s]}`, publish(row.key, row.changes))
			keys, err := parseKeys(document)
			if err != nil {
				t.Fatal(err)
			}
			if found := (&jwks{keys: keys}).find("1", row.alg) != nil; found != row.usable {
				t.Errorf("usable %t, want %t", found, row.usable)
			}
		})
	}
	t.Run("a token without kid needs one key alone that fits", func(t *testing.T) {
		other := issuertest.NewKeyID(jose.ES256, "2")
		for document, usable := range map[string]bool{
			fmt.Sprintf(`{"keys":[%s,%s]}`, publish(ec, nil), publish(rsa, nil)):              true,
			fmt.Sprintf(`{"keys":[%s,%s]}`, publish(ec, nil), publish(ec, m{"kid": "3"})):     true,
			fmt.Sprintf(`{"keys":[%s,%s]}`, publish(ec, nil), publish(other, nil)):            false,
			fmt.Sprintf(`{"keys":[%s,%s]}`, publish(rsa, nil), publish(rsa, m{"use": "enc"})): false,
		} {
			keys, err := parseKeys([]byte(document))
			if found := (&jwks{keys: keys}).find("", "ES256") != nil; err != nil || found != usable {
				t.Errorf("usable %t, want %t, %v", found, usable, err)
			}
		}
	})
	t.Run("a kid that two keys share leads to neither", func(t *testing.T) {
		other := issuertest.NewKeyID(jose.ES256, "1")
		keys, err := parseKeys(fmt.Appendf(nil, `{"keys":[%s,%s]}`, publish(ec, nil), publish(other, nil)))
		if err != nil || len(keys) != 2 || (&jwks{keys: keys}).find("1", "ES256") != nil {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

func TestKeysComeOnlyFromWhereTheIssuerSays(t *testing.T) {
	key := issuertest.NewKey(jose.ES256)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	var discovery string // %[1]s is the server
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			if discovery == "redirect" {
				http.Redirect(rw, r, "/discovery", http.StatusTemporaryRedirect)
				return
			}
			fmt.Fprintf(rw, discovery, "http://"+r.Host)
		case "/discovery":
			fmt.Fprintf(rw, `{"issuer":"%[1]s","jwks_uri":"%[1]s/keys"}`, "http://"+r.Host)
		case "/keys":
			rw.Write(set)
		case "/moved":
			http.Redirect(rw, r, "/keys", http.StatusFound)
		default:
			rw.WriteHeader(http.StatusGone)
			rw.Write(set)
		}
	}))
	defer server.Close()
	c := &clock{t: time.Now()}
	for _, row := range []struct {
		name, discovery, slash string
		works                  bool
	}{
		{"as it should be", `{"issuer":"%[1]s","jwks_uri":"%[1]s/keys"}`, "", true},
		{"Auth0: the issuer ends in a slash, which is not doubled", `{"issuer":"%[1]s/","jwks_uri":"%[1]s/keys"}`, "/", true},
		{"a slash too many in the document", `{"issuer":"%[1]s/","jwks_uri":"%[1]s/keys"}`, "", false},
		{"a slash too few in the document", `{"issuer":"%[1]s","jwks_uri":"%[1]s/keys"}`, "/", false},
		{"another issuer", `{"issuer":"https://canary.example","jwks_uri":"%[1]s/keys"}`, "", false},
		{"no issuer", `{"jwks_uri":"%[1]s/keys"}`, "", false},
		{"two issuers", `{"issuer":"https://canary.example","issuer":"%[1]s","jwks_uri":"%[1]s/keys"}`, "", false},
		{"no keys", `{"issuer":"%[1]s"}`, "", false},
		{"keys over plain http", `{"issuer":"%[1]s","jwks_uri":"http://169.254.169.254/keys"}`, "", false},
		{"keys in a file", `{"issuer":"%[1]s","jwks_uri":"file:///keys"}`, "", false},
		{"discovery by a redirect", "redirect", "", false},
		{"keys by a redirect", `{"issuer":"%[1]s","jwks_uri":"%[1]s/moved"}`, "", false},
		{"no such keys", `{"issuer":"%[1]s","jwks_uri":"%[1]s/absent"}`, "", false},
		{"no JSON", `<html>%[1]s`, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			discovery = row.discovery
			url := server.URL + row.slash
			w := &world{clock: c}
			w.Issuers = w.trust(t, fmt.Sprintf("{url: %q, audiences: [a]}", url))
			client := w.byURL[url].keys.source.client
			next := client.Transport
			client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if "http://"+r.URL.Host != server.URL {
					t.Errorf("%s was asked", r.URL)
				}
				return next.RoundTrip(r)
			})
			raw := key.Sign(nil, m{"iss": url, "aud": "a", "sub": "client", "exp": c.time().Add(time.Minute).Unix()})
			if row.works {
				w.accepts(t, raw)
			} else {
				w.refuses(t, raw, apierror.IssuerUnavailable, "issuer")
			}
		})
	}
	t.Run("keys that move are followed at the second attempt", func(t *testing.T) {
		w := &world{clock: &clock{t: time.Now()}}
		w.Issuers = w.trust(t, fmt.Sprintf("{url: %q, audiences: [a]}", server.URL))
		token := func() string {
			return key.Sign(nil, m{"iss": server.URL, "aud": "a", "sub": "client", "exp": w.time().Add(time.Minute).Unix()})
		}
		discovery = `{"issuer":"%[1]s","jwks_uri":"%[1]s/absent"}`
		w.refuses(t, token(), apierror.IssuerUnavailable, "issuer")
		discovery = `{"issuer":"%[1]s","jwks_uri":"%[1]s/keys"}`
		w.advance(pause)
		w.accepts(t, token())
	})
	t.Run("an issuer elsewhere has no keys on this machine", func(t *testing.T) {
		asked := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			fmt.Fprintf(rec, `{"issuer":"https://idp.example","jwks_uri":%q}`, server.URL+"/keys")
			return rec.Result(), nil
		})}
		if uri, err := (&source{issuer: "https://idp.example", client: asked}).discover(t.Context()); err == nil {
			t.Errorf("its keys are looked for at %s", uri)
		}
	})
	// However its name resolves: who answers for an issuer could otherwise have the gateway ask around in its own network.
	t.Run("nor in this network, nor at the metadata server", func(t *testing.T) {
		asked := 0
		inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
		defer inside.Close()
		_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
		for uri, want := range map[string]string{
			inside.URL + "/keys":                  "127.0.0.1 is a private address, and the configuration doesn't name 127.0.0.1",
			"https://localhost:" + port + "/keys": "is a private address, and the configuration doesn't name localhost",
			"https://10.255.255.1/keys":           "10.255.255.1 is a private address",
			"https://169.254.169.254/keys":        "169.254.169.254 is an address of the platform's own",
			"https://[fd20:ce::254]/keys":         "is an address of the platform's own",
		} {
			client := newClient([]config.Issuer{{URL: "https://idp.example"}})
			next := client.Transport
			client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host != "idp.example" {
					return next.RoundTrip(r)
				}
				rec := httptest.NewRecorder()
				fmt.Fprintf(rec, `{"issuer":"https://idp.example","jwks_uri":%q}`, uri)
				return rec.Result(), nil
			})
			_, err := (&source{issuer: "https://idp.example", client: client}).fetch(t.Context(), time.Now())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", uri, err)
			}
		}
		if asked != 0 {
			t.Errorf("%d connections were made", asked)
		}
	})
	t.Run("jwks.url skips discovery", func(t *testing.T) {
		discovery = "none"
		w := &world{clock: c}
		w.Issuers = w.trust(t, fmt.Sprintf("{url: 'https://kubernetes.default.svc', audiences: [a], jwks: {url: %q}}", server.URL+"/keys"))
		w.accepts(t, key.Sign(nil, m{"iss": "https://kubernetes.default.svc", "aud": "a", "sub": "client", "exp": c.time().Add(time.Minute).Unix()}))
	})
}

func TestADocumentIsBoundedAsItIsUnpacked(t *testing.T) {
	for _, path := range []string{"/.well-known/openid-configuration", "/keys"} {
		for _, status := range []int{200, 500} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == path {
					bomb.Answer(w, status)
					return
				}
				fmt.Fprintf(w, `{"issuer":"http://%[1]s","jwks_uri":"http://%[1]s/keys"}`, r.Host)
			}))
			defer server.Close()
			is := config.Issuer{URL: server.URL}
			bomb.Disarmed(t, func() {
				_, err := (&source{issuer: is.URL, client: newClient([]config.Issuer{is})}).fetch(t.Context(), time.Now())
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), map[int]string{200: "larger than 1 MiB", 500: "status 500"}[status]) {
					t.Errorf("%s, %d: %v", path, status, err)
				}
			})
		}
	}
}

func TestAFileOfKeysIsReadAtStartAndAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(k *issuertest.Key) {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.Public()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, set, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := issuertest.NewKey(jose.ES256), issuertest.NewKey(jose.ES256)
	write(first)
	w := newWorld(t, fmt.Sprintf("jwks: {file: %q}", file))
	if !w.Ready() {
		t.Error("not ready with the file's keys")
	}
	old := first.Sign(nil, w.idp.Claims("data-pipeline"))
	w.accepts(t, old)
	write(second)
	w.accepts(t, second.Sign(nil, w.idp.Claims("data-pipeline")))
	w.refuses(t, old, apierror.InvalidToken, "key")
	w.wantFetches(t, "0/0")
}

func TestAFileThatHoldsNoKeysIsAFaultAtItsPlace(t *testing.T) {
	dir := t.TempDir()
	for _, row := range []struct{ name, content, place string }{
		{"torn.json", "{", ":1:2: "},
		{"malformed.json", "{\n  \"keys\": [\n    {},]}", ":3:7: "},
		{"twice.json", "{\"keys\": [],\n \"keys\": []}", ":2:2: "},
		{"list.json", "\n[]", ":2:1: "},
		{"other.json", "{}", ":1:1: "},
		{"empty.json", `{"keys":[]}`, ":1:1: "},
		{"symmetric.json", `{"keys":[{"kty":"oct","k":"Y2FuYXJ5"}]}`, ":1:1: "},
		{"absent.json", "", ": "},
	} {
		file := filepath.Join(dir, row.name)
		if row.content != "" {
			if err := os.WriteFile(file, []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := parseIssuers(t, fmt.Sprintf("{url: 'https://a.example', audiences: [a], jwks: {file: %q}}", file))
		if _, err := New(c, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), file+row.place) {
			t.Errorf("%s: %v, want %s", row.name, err, row.place)
		}
	}
}

func TestAClockSetBackNeverMakesKeysYoung(t *testing.T) {
	w := newWorld(t, "")
	w.accepts(t, w.token(nil))
	w.advance(-time.Hour)
	w.idp.SetOutage(issuertest.Failing)
	w.refuses(t, w.token(nil), apierror.IssuerUnavailable, "issuer")
	w.idp.SetOutage(issuertest.Up)
	w.advance(pause)
	w.accepts(t, w.token(nil))
}
