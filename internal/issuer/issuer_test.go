package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/principal"
)

// clock is a wall clock that tests set forward.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is one identity provider, the issuers that trust it, and the time of both.
type world struct {
	*Issuers
	*clock
	idp *issuertest.Issuer
	log lines
}

// lines are those of a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newWorld trusts an identity provider as the YAML of an issuer's entry says, url aside.
func newWorld(t testing.TB, entry string) *world {
	t.Helper()
	w := &world{clock: &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}, idp: newProvider(t)}
	w.idp.SetClock(w.time)
	w.Issuers = w.trust(t, fmt.Sprintf("{url: %q, audiences: [llm-gateway], %s}", w.idp.URL, entry))
	return w
}

// Verify hides the token, as what takes it from a request does.
func (w *world) Verify(ctx context.Context, raw string) (*principal.Principal, bool, error) {
	return w.Issuers.Verify(ctx, hidden.New(raw))
}

func newProvider(t testing.TB) *issuertest.Issuer {
	idp := issuertest.New()
	t.Cleanup(idp.Close)
	idp.AddClient(issuertest.Client{ID: "data-pipeline", Secret: "not-a-secret", Audience: []string{"llm-gateway"}, Groups: []string{"data-enrichment-team"}})
	return idp
}

// trust reads entries as the configuration would, so that its defaults are in force.
func (w *world) trust(t testing.TB, entries ...string) *Issuers {
	t.Helper()
	s, err := newAt(parseIssuers(t, entries...), slog.New(slog.NewJSONHandler(&w.log, nil)), w.time)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// parseIssuers passes over faults: what else a configuration needs is not there.
func parseIssuers(t testing.TB, entries ...string) []config.Issuer {
	t.Helper()
	return parseConfig(t, entries...).Issuers
}

func parseConfig(t testing.TB, entries ...string) *config.Config {
	t.Helper()
	c, _ := config.Parse("gateway.yaml", []byte("issuers: ["+strings.Join(entries, ", ")+"]"))
	if len(c.Issuers) != len(entries) {
		t.Fatalf("entries are not YAML: %v", entries)
	}
	return c
}

// token is the client's, with claims changed; nil takes one away.
func (w *world) token(changes map[string]any) string { return w.tokenWith(nil, changes) }

func (w *world) tokenWith(header, changes map[string]any) string {
	claims := w.idp.Claims("data-pipeline")
	for name, v := range changes {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	return w.idp.Sign(header, claims)
}

func (w *world) accepts(t *testing.T, raw string) {
	t.Helper()
	if _, _, err := w.Verify(t.Context(), raw); err != nil {
		t.Fatalf("refused: %v", err)
	}
}

// refuses wants an error of the kind that names the check, and holds nothing of the token.
func (w *world) refuses(t *testing.T, raw string, kind apierror.Kind, check string) {
	t.Helper()
	who, _, err := w.Verify(t.Context(), raw)
	if err == nil || who != nil {
		t.Fatalf("accepted; want %s about %q", kind.Code, check)
	}
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(e.Message, check) {
		t.Errorf("got %v; want %s about %q", err, kind.Code, check)
	}
	if public(e.Message) != e.Message {
		t.Errorf("message %q has characters that RFC 6750 does not allow", e.Message)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("message %q has text of the token", err)
	}
	if (e.Kind.Status == 503) != (e.RetryAfter > 0) {
		t.Errorf("%s with Retry-After %s", kind.Code, e.RetryAfter)
	}
}

func TestAGoodTokenBecomesItsPrincipal(t *testing.T) {
	w := newWorld(t, "claims: [repository]")
	for _, header := range []map[string]any{nil, {"typ": "at+jwt"}, {"typ": "application/AT+jwt"}, {"typ": "jwt"}, {"typ": nil}, {"kid": nil}, {"x5t": "canary"}} {
		raw := w.tokenWith(header, map[string]any{"repository": "acme/enrichment", "aud": []string{"account", "llm-gateway"}})
		who, remembered, err := w.Verify(t.Context(), raw)
		if err != nil || remembered {
			t.Fatalf("header %v: remembered %t, %v", header, remembered, err)
		}
		got := fmt.Sprintf("%s %s %v %v %v", who.ID(), who.Subject, who.Groups, who.Scopes, who.Claims)
		want := fmt.Sprintf("%s#data-pipeline %s [data-enrichment-team offline_access uma_authorization] [profile email] map[repository:acme/enrichment]",
			w.idp.URL, w.idp.Claims("data-pipeline")["sub"])
		if got != want {
			t.Errorf("principal\n%s, want\n%s", got, want)
		}
	}
}

func TestClaimsMapToThePrincipalThatTheirTokenWouldHave(t *testing.T) {
	w := newWorld(t, "claims: [repository]")
	raw := w.token(m{"repository": "acme/enrichment"})
	want, _, err := w.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Map(claimsOf(raw))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-verified +mapped):\n%s", err, diff)
	}
	for _, text := range []string{"", "null", "[]", "{}{}", `{"iss":"a","iss":"a"}`, raw} {
		if who, err := w.Map([]byte(text)); who != nil || err == nil || !strings.Contains(err.Error(), "claims set") {
			t.Errorf("%q: %v, %v", text, who, err)
		}
	}
	if w.idp.KeyFetches() > 1 {
		t.Error("mapping fetched keys")
	}
}

// claimsOf is the claims set of a token.
func claimsOf(raw string) []byte {
	claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	return claims
}

func TestEveryAsymmetricAlgorithmIsAccepted(t *testing.T) {
	w := newWorld(t, "")
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		w.idp.AddKey(issuertest.NewKey(alg))
		w.advance(pause)
		w.accepts(t, w.token(nil))
	}
}

func TestARefusalNamesTheFailingCheck(t *testing.T) {
	w := newWorld(t, "require: {repository_owner: acme, 'odd\"name': x}, algorithms: [ES256, RS256]")
	good := map[string]any{"repository_owner": "acme", `odd"name`: "x"}
	at := func(d time.Duration) float64 { return float64(w.time().Add(d).Unix()) }
	for _, row := range []struct {
		attack         string
		header, claims m
		kind           apierror.Kind
		check          string
	}{
		{"another issuer", nil, m{"iss": "https://canary.example"}, apierror.InvalidToken, "issuer"},
		{"a slash more", nil, m{"iss": w.idp.URL + "/"}, apierror.InvalidToken, "issuer"},
		{"no issuer", nil, m{"iss": nil}, apierror.InvalidToken, "issuer"},
		{"two issuers", nil, m{"iss": []string{w.idp.URL, "canary"}}, apierror.InvalidToken, "issuer"},
		{"another audience", nil, m{"aud": "canary"}, apierror.InvalidToken, "audience"},
		{"a longer audience", nil, m{"aud": "llm-gateway-canary"}, apierror.InvalidToken, "audience"},
		{"no audience", nil, m{"aud": nil}, apierror.InvalidToken, "audience"},
		{"an audience of an object", nil, m{"aud": m{"llm-gateway": 1}}, apierror.InvalidToken, "audience"},
		{"an audience beside a number", nil, m{"aud": []any{"llm-gateway", 1}}, apierror.InvalidToken, "audience"},

		{"RFC 8725 2.1: alg none", m{"alg": "none"}, nil, apierror.InvalidToken, "algorithm"},
		{"RFC 8725 2.1: alg nOnE", m{"alg": "nOnE"}, nil, apierror.InvalidToken, "algorithm"},
		{"no alg", m{"alg": nil}, nil, apierror.InvalidToken, "algorithm"},
		{"alg of a list", m{"alg": []string{"ES256"}}, nil, apierror.InvalidToken, "algorithm"},
		{"an algorithm not configured", m{"alg": "ES384"}, nil, apierror.InvalidToken, "algorithm"},
		{"another configured algorithm than the key's", m{"alg": "RS256"}, nil, apierror.InvalidToken, "key"},
		{"RFC 7515 4.1.11: crit unknown", m{"crit": []string{"canary"}, "canary": 1}, nil, apierror.InvalidToken, "crit"},
		{"RFC 7797: crit b64", m{"crit": []string{"b64"}, "b64": false}, nil, apierror.InvalidToken, "crit"},
		{"RFC 7797: b64", m{"b64": false}, nil, apierror.InvalidToken, "b64"},
		{"RFC 8725 3.10: jwk", m{"jwk": w.idp.Key().Public()}, nil, apierror.InvalidToken, "own key (jwk)"},
		{"RFC 8725 3.10: jku", m{"jku": "https://canary.example"}, nil, apierror.InvalidToken, "own key (jku)"},
		{"RFC 8725 3.10: x5u", m{"x5u": "https://canary.example"}, nil, apierror.InvalidToken, "own key (x5u)"},
		{"x5c", m{"x5c": []string{"canary"}}, nil, apierror.InvalidToken, "own key (x5c)"},
		{"RFC 8725 2.4: zip", m{"zip": "DEF"}, nil, apierror.InvalidToken, "zip"},
		{"enc", m{"enc": "A128GCM"}, nil, apierror.InvalidToken, "enc"},
		{"RFC 8725 3.11: a logout token", m{"typ": "logout+jwt"}, nil, apierror.InvalidToken, "type"},
		{"typ of a number", m{"typ": 1}, nil, apierror.InvalidToken, "type"},
		{"an unknown key", m{"kid": "canary"}, nil, apierror.InvalidToken, "key"},
		{"kid of a number", m{"kid": 1}, nil, apierror.InvalidToken, "key"},

		{"no expiry", nil, m{"exp": nil}, apierror.InvalidToken, "expiry"},
		{"an expiry in words", nil, m{"exp": "canary"}, apierror.InvalidToken, "expiry"},
		{"an expiry in digits", nil, m{"exp": "4102444800"}, apierror.InvalidToken, "expiry"},
		{"an expiry out of bounds", nil, m{"exp": 1e300}, apierror.InvalidToken, "expiry"},
		{"an expiry of null", nil, m{"exp": json.RawMessage("null")}, apierror.InvalidToken, "expiry"},
		{"expired", nil, m{"exp": at(-30 * time.Second)}, apierror.ExpiredToken, "expiry"},
		{"not yet valid", nil, m{"nbf": at(31 * time.Second)}, apierror.InvalidToken, "not yet valid"},
		{"nbf of a string", nil, m{"nbf": "canary"}, apierror.InvalidToken, "nbf"},
		{"issued in the future", nil, m{"iat": at(31 * time.Second)}, apierror.InvalidToken, "issued in the future"},
		{"iat below zero", nil, m{"iat": -1}, apierror.InvalidToken, "time of issue"},
		{"too long-lived", nil, m{"exp": at(24*time.Hour + time.Second)}, apierror.InvalidToken, "lifetime"},
		{"too long-lived, most of it past", nil, m{"iat": at(-24 * time.Hour), "exp": at(time.Minute)}, apierror.InvalidToken, "lifetime"},
		{"too long-lived, without iat", nil, m{"exp": at(24*time.Hour + time.Second), "iat": nil}, apierror.InvalidToken, "lifetime"},

		{"Keycloak: an ID token", nil, m{"typ": "ID"}, apierror.InvalidToken, "type"},
		{"Keycloak: a refresh token", nil, m{"typ": "Refresh"}, apierror.InvalidToken, "type"},
		{"Keycloak: an offline token", nil, m{"typ": "Offline"}, apierror.InvalidToken, "type"},
		{"typ claim of a list", nil, m{"typ": []string{"Bearer"}}, apierror.InvalidToken, "type"},
		{"an ID token by its nonce", nil, m{"nonce": "canary"}, apierror.InvalidToken, "nonce"},
		{"an ID token by its at_hash", nil, m{"at_hash": "canary"}, apierror.InvalidToken, "at_hash"},
		{"RFC 9449: bound to a key", nil, m{"cnf": m{"jkt": "canary"}}, apierror.InvalidToken, "proof of possession"},

		{"a required claim missing", nil, m{"repository_owner": nil}, apierror.InvalidToken, "repository_owner, a required claim"},
		{"a required claim of another", nil, m{"repository_owner": "canary"}, apierror.InvalidToken, "repository_owner, a required claim"},
		{"a required claim in a list", nil, m{"repository_owner": []string{"acme"}}, apierror.InvalidToken, "repository_owner, a required claim"},
		{"a required claim that RFC 6750 can't name", nil, m{`odd"name`: "canary"}, apierror.InvalidToken, "a required claim"},

		{"no client", nil, m{"azp": nil, "sub": nil}, apierror.InvalidToken, "client"},
		{"a client without a name", nil, m{"azp": ""}, apierror.InvalidToken, "client"},
		{"a client of a number", nil, m{"azp": 7}, apierror.InvalidToken, "azp"},
		{"sub of null", nil, m{"sub": json.RawMessage("null")}, apierror.InvalidToken, "sub"},
		{"scope of a number", nil, m{"scope": 7}, apierror.InvalidToken, "scope"},
		{"a claim that OpenID Connect has another form for", nil, m{"_claim_names": "canary"}, apierror.InvalidToken, "form"},
		{"over 16 KiB", nil, m{"canary": strings.Repeat("canary", 3<<10)}, apierror.InvalidToken, "size"},
	} {
		t.Run(row.attack, func(t *testing.T) {
			claims := maps.Clone(good)
			maps.Copy(claims, row.claims)
			raw := w.tokenWith(row.header, claims)
			w.refuses(t, raw, row.kind, row.check)
			if row.header != nil || row.check == "form" || row.check == "size" {
				return // which claims alone don't show
			}
			_, _, want := w.Verify(t.Context(), raw)
			if who, err := w.Map(claimsOf(raw)); who != nil || err == nil || err.Error() != want.Error() {
				t.Errorf("mapped: %v, %v; verified: %v", who, err, want)
			}
		})
	}
	w.accepts(t, w.token(good))
	within := maps.Clone(good)
	maps.Copy(within, m{"exp": at(-29 * time.Second), "iat": at(29 * time.Second), "nbf": at(29*time.Second) + 0.5})
	w.accepts(t, w.token(within))
}

func TestATokenThatReadersCouldReadDifferentlyIsRefused(t *testing.T) {
	w := newWorld(t, "")
	key := w.idp.Key()
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q}`, key.ID)
	claims, err := json.Marshal(w.idp.Claims("data-pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(more string) string { return strings.TrimSuffix(string(claims), "}") + "," + more + "}" }
	w.accepts(t, key.SignBytes([]byte(header), claims))
	for attack, row := range map[string]struct{ header, claims, check string }{
		"alg twice":             {`{"alg":"none",` + header[1:], string(claims), "header"},
		"aud twice":             {header, with(`"aud":"llm-gateway"`), "claims set"},
		"a name twice, deep":    {header, with(`"a":{"b":[{"c":1,"c":2}]}`), "claims set"},
		"a name twice, escaped": {header, with(`"\u0061ud":"llm-gateway"`), "claims set"},
		"a second issuer, to readers blind to case": {header, with(`"ISS":"canary"`), "form"},
		"bad UTF-8":          {header, with("\"a\":\"\xff\""), "claims set"},
		"a lone surrogate":   {header, with(`"a":"\ud800"`), "claims set"},
		"trailing data":      {header, string(claims) + "{}", "claims set"},
		"trailing header":    {header + "{}", string(claims), "header"},
		"claims of a list":   {header, "[]", "claims set"},
		"claims of null":     {header, "null", "claims set"},
		"no claims":          {header, "", "claims set"},
		"header of a string": {`"ES256"`, string(claims), "header"},
	} {
		t.Run(attack, func(t *testing.T) {
			w.refuses(t, key.SignBytes([]byte(row.header), []byte(row.claims)), apierror.InvalidToken, row.check)
		})
	}
	good := w.token(nil)
	cut := strings.LastIndexByte(good, '.')
	signature, _ := base64.RawURLEncoding.DecodeString(good[cut+1:])
	for attack, row := range map[string]struct{ raw, check string }{
		"nothing":                         {"", "form"},
		"two parts":                       {good[:cut], "form"},
		"RFC 7516: five parts":            {good + ".canary.canary", "form"},
		"RFC 7515 7.2: JSON":              {`{"payload":"canary"}`, "form"},
		"a line break":                    {good[:10] + "\n" + good[10:], "form"},
		"a space":                         {good + " ", "form"},
		"padding":                         {good + "==", "form"},
		"not base64url":                   {good[:cut] + ".++++", "form"},
		"a second text of one signature":  {good[:len(good)-1] + next(good[len(good)-1]), "form"},
		"no signature":                    {good[:cut+1], "signature"},
		"another's signature":             {good[:cut+1] + "Y2FuYXJ5", "signature"},
		"CVE-2022-21449: a zero":          {good[:cut+1] + strings.Repeat("A", 86), "signature"},
		"a signature in ASN.1":            {good[:cut+1] + base64.RawURLEncoding.EncodeToString(append([]byte{0x30, 0x40}, signature...)), "signature"},
		"another payload, same signature": {strings.Replace(good, strings.Split(good, ".")[1], strings.Split(w.token(m{"azp": "canary"}), ".")[1], 1), "signature"},
	} {
		t.Run(attack, func(t *testing.T) { w.refuses(t, row.raw, apierror.InvalidToken, row.check) })
	}
}

type m = map[string]any

// next is the base64url character whose lowest bit differs.
func next(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

// RFC 8725 section 2.1: a verifier that takes the algorithm from the token uses the public key as
// the secret of an HMAC.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	w := newWorld(t, "")
	public, err := x509.MarshalPKIXPublicKey(w.idp.Key().Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	forgiving := fmt.Sprintf("{url: %q, audiences: [llm-gateway], algorithms: [HS256, ES256]}", w.idp.URL) // a fault, but for once
	for _, issuers := range []*Issuers{w.Issuers, w.trust(t, forgiving)} {
		w.Issuers = issuers
		input := w.tokenWith(m{"alg": "HS256"}, nil)
		input = input[:strings.LastIndexByte(input, '.')]
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(input))
		w.refuses(t, input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), apierror.InvalidToken, "algorithm")
	}
}

func TestAnIssuersKeyNeverVerifiesAnothersToken(t *testing.T) {
	w := newWorld(t, "")
	other := newProvider(t)
	other.SetClock(w.time)
	w.Issuers = w.trust(t, fmt.Sprintf("{url: %q, audiences: [llm-gateway]}", w.idp.URL), fmt.Sprintf("{url: %q, audiences: [llm-gateway], group_prefix: 'b:'}", other.URL))
	ours, theirs := issuertest.NewKeyID(jose.ES256, "1"), issuertest.NewKeyID(jose.ES256, "1")
	w.idp.AddKey(ours)
	other.AddKey(theirs)
	w.accepts(t, ours.Sign(nil, w.idp.Claims("data-pipeline")))
	w.accepts(t, theirs.Sign(nil, other.Claims("data-pipeline")))
	w.refuses(t, theirs.Sign(nil, w.idp.Claims("data-pipeline")), apierror.InvalidToken, "signature")
	w.refuses(t, ours.Sign(nil, other.Claims("data-pipeline")), apierror.InvalidToken, "signature")
	w.refuses(t, theirs.Sign(m{"kid": w.idp.Rotate().ID}, w.idp.Claims("data-pipeline")), apierror.InvalidToken, "key")
}

func TestAVerifiedTokenIsRememberedByItsWholeText(t *testing.T) {
	w := newWorld(t, "")
	first := w.token(m{"aaa": strings.Repeat("a", 600), "azp": "first"})
	second := w.token(m{"aaa": strings.Repeat("a", 600), "azp": "second"})
	if first[:200] != second[:200] {
		t.Fatal("the tokens differ in their first 200 characters")
	}
	for _, want := range []bool{false, true} {
		for raw, client := range map[string]string{first: "first", second: "second"} {
			who, remembered, err := w.Verify(t.Context(), raw)
			if err != nil || who.ClientID != client || remembered != want {
				t.Errorf("client %v, remembered %t, %v; want %s, %t", who, remembered, err, client, want)
			}
		}
	}
	cut := strings.LastIndexByte(first, '.')
	w.refuses(t, first[:cut+1]+strings.Repeat("A", 86), apierror.InvalidToken, "signature")
	w.advance(5*time.Minute + 29*time.Second)
	if _, remembered, err := w.Verify(t.Context(), first); !remembered || err != nil {
		t.Errorf("before its expiry: remembered %t, %v", remembered, err)
	}
	w.advance(time.Second)
	w.refuses(t, first, apierror.ExpiredToken, "expiry")
}

// FuzzParse shows that a token has one text: what is read from it makes it again.
func FuzzParse(f *testing.F) {
	key := issuertest.NewKey(jose.ES256)
	for _, raw := range []string{"", "..", "a.b.c", "e30.e30.", "e30.e31.", "e30.e30\n.", key.Sign(nil, m{"aud": []string{"a"}}), key.Sign(m{"jwk": 1}, nil)} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		parts, err := split(raw)
		if err != nil {
			return
		}
		encode := base64.RawURLEncoding.EncodeToString
		if again := encode(parts[0]) + "." + encode(parts[1]) + "." + encode(parts[2]); again != raw {
			t.Errorf("%q is also %q", raw, again)
		}
		if tok, err := parse(raw); err == nil && (tok.header == nil || tok.claims == nil) {
			t.Error("parsed without header or claims")
		}
	})
}

// FuzzVerify signs headers and claims sets of all sorts with a key that is trusted: what passes must
// be what a plain reader, with none of the walk's code, calls good; what fails must be a 401.
func FuzzVerify(f *testing.F) {
	key := issuertest.NewKeyID(jose.ES256, "1")
	file := filepath.Join(f.TempDir(), "jwks.json")
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, set, 0o600); err != nil {
		f.Fatal(err)
	}
	w := &world{clock: &clock{t: time.Unix(1800000000, 0)}}
	w.Issuers = w.trust(f, fmt.Sprintf("{url: 'https://a.example', audiences: [gw], jwks: {file: %q}, group_prefix: 'a:'}", file),
		"{url: 'https://b.example', audiences: [gw], group_prefix: 'b:'}")
	const header, claims = `{"alg":"ES256","kid":"1"}`, `{"iss":"https://a.example","aud":["gw"],"exp":1800000060,"sub":"s","groups":["g","b:g"]}`
	for _, seed := range [][2]string{
		{header, claims}, {`{"alg":"ES256"}`, claims}, {`{"alg":"none"}`, claims}, {`{"alg":"ES256","kid":"1","typ":"at+jwt"}`, claims},
		{`{"alg":"ES256","crit":["b64"],"b64":false}`, claims}, {`{"alg":"ES256","alg":"none"}`, claims}, {header, "{}"}, {"", ""},
		{header, `{"iss":"https://a.example","aud":"gw","exp":1.80000006e9,"iat":1800000000.5,"nbf":0,"azp":"c","scope":"a b","typ":"Bearer","realm_access":{"roles":["r"]}}`},
		{header, `{"iss":"https://b.example","aud":"gw","exp":"1800000060","groups":[1],"_claim_names":{"groups":"s"}}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, header, claims string) {
		who, _, err := w.Verify(t.Context(), key.SignBytes([]byte(header), []byte(claims)))
		if err != nil {
			if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind.Status != 401 && e.Kind.Status != 503 || public(e.Message) != e.Message {
				t.Errorf("refused with %v", err)
			}
			return
		}
		var h map[string]any // a struct would take "aLg" for alg, which are two names (RFC 7515 section 4)
		var c struct {
			Iss      string
			Exp, Iat float64
			Typ      string
		}
		json.Unmarshal([]byte(header), &h)
		json.Unmarshal([]byte(claims), &c)
		if kid := h["kid"]; h["alg"] != "ES256" || kid != nil && kid != "1" && kid != "" || c.Iss != "https://a.example" || c.Exp <= 1800000000-30 ||
			c.Exp > 1800000030+24*60*60 || c.Typ != "" && c.Typ != "Bearer" || !strings.Contains(claims, "gw") && !strings.Contains(claims, `\u00`) {
			t.Errorf("accepted %s %s", header, claims)
		}
		if who.ClientID == "" || slices.ContainsFunc(who.Groups, func(g string) bool { return !strings.HasPrefix(g, "a:") }) {
			t.Errorf("accepted as %+v", who)
		}
	})
}

// FuzzKeys: whatever an issuer publishes as its keys, those that are taken are public keys, each for its own
// algorithms and none for HMAC.
func FuzzKeys(f *testing.F) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.ES512, jose.RS256, jose.EdDSA} {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{issuertest.NewKeyID(alg, "1").Public()}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(set)
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"","y":"","d":"AA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := parseKeys(document)
		if err != nil && keys != nil {
			t.Error("keys beside an error")
		}
		set := jwks{keys: keys}
		for _, k := range keys {
			for _, alg := range []string{"", "none", "HS256", "HS384", "HS512", "ES256K", "RSA-OAEP", "dir"} {
				if k.fits(alg) || set.find(k.id, alg) != nil {
					t.Errorf("%T verifies %q", k.public[0], alg)
				}
			}
			switch public := k.public[0].(type) {
			case *rsa.PublicKey:
				if n := public.N.BitLen(); n < 2048 || n > 4096 || public.E < 3 {
					t.Errorf("RSA with %d bits and exponent %d", n, public.E)
				}
			case *ecdsa.PublicKey:
				if _, err := public.ECDH(); err != nil {
					t.Errorf("a point that is not on its curve: %v", err)
				}
			case ed25519.PublicKey:
				if len(public) != ed25519.PublicKeySize {
					t.Errorf("Ed25519 with %d bytes", len(public))
				}
			default:
				t.Errorf("%T", public)
			}
		}
	})
}

// FuzzPlaces: every value of a claims set stands at its place, and at no other place stands anything.
func FuzzPlaces(f *testing.F) {
	f.Add(`{"realm_access":{"roles":["r"]}}`, "/realm_access/roles/0")
	f.Add(`{"a/b":{"m~n":[[],{"":1}]}}`, "/a~1b/m~0n/1/")
	f.Add(`{"a":[1,2],"https://acme/groups":"g"}`, "/a/01")
	f.Fuzz(func(t *testing.T, claims, place string) {
		set := object([]byte(claims))
		if set == nil || !strings.HasPrefix(place, "/") || !jsontext.Pointer(place).IsValid() {
			return // refused before, or no pointer
		}
		values := map[string]any{}
		var walk func(v any, at jsontext.Pointer)
		walk = func(v any, at jsontext.Pointer) {
			values[string(at)] = v
			switch v := v.(type) {
			case map[string]any:
				for name, each := range v {
					walk(each, at.AppendToken(name))
				}
			case []any:
				for i, each := range v {
					walk(each, at.AppendToken(fmt.Sprint(i)))
				}
			}
		}
		walk(set, "")
		delete(values, "")
		if _, is := values[place]; !is {
			values[place] = nil // there is nothing there
		}
		for place, want := range values {
			if got := at(set, config.ClaimPath(place)); !cmp.Equal(got, want) {
				t.Errorf("at %s of %s is %v, want %v", place, claims, got, want)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256} {
		w := newWorld(b, "")
		w.idp.AddKey(issuertest.NewKey(alg))
		raw := w.token(nil)
		verify := func() {
			if _, _, err := w.Verify(context.Background(), raw); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(string(alg)+"/remembered", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verify()
			}
		})
		b.Run(string(alg)+"/unremembered", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.remembered.Purge()
				verify()
			}
		})
	}
}
