package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/secret"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
)

const (
	vertexKey = "projects/acme/secrets/vertex-key"
	openaiKey = "projects/acme/secrets/openai"
	entraKey  = "projects/acme/secrets/entra"
	scope     = "https://www.googleapis.com/auth/cloud-platform"
	azure     = "https://cognitiveservices.azure.com/.default"
)

// fixture is a Cache in front of the genuine Secret Manager client, Secret Manager and a token
// endpoint, with a clock that tests move.
type fixture struct {
	*Cache
	manager  *secrettest.Server
	endpoint *tokentest.Server
	secrets  *secret.Store
	log      *bytes.Buffer

	mu     sync.Mutex
	time   time.Time
	canary []string // what must be in no error and no log line
}

// newFixture has the credentials vertex, a service account key, azure, a client's secret, and openai, an API
// key. Secrets are read again after refresh of real time.
func newFixture(t *testing.T, refresh time.Duration) *fixture {
	f := &fixture{manager: secrettest.New(), endpoint: tokentest.New(), log: &bytes.Buffer{}, time: time.Now()}
	t.Cleanup(f.manager.Close)
	t.Cleanup(f.endpoint.Close)
	f.addKey()
	f.addClientSecret()
	f.addAPIKey("sk-one\n")
	log := slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.secrets = secret.New(config.SecretManager{Endpoint: f.manager.URL, Refresh: refresh}, slog.New(slog.DiscardHandler))
	f.Cache = New(map[string]config.Credential{
		"vertex": {ServiceAccountKey: &config.ServiceAccountKey{From: config.Source{SecretManager: vertexKey + "/versions/latest"}, Scopes: []string{scope}}},
		"azure":  {ClientCredentials: client(f.endpoint.ClientTokenURL())},
		"openai": {APIKey: &config.APIKey{From: config.Source{SecretManager: openaiKey + "/versions/latest"}}},
	}, f.secrets, log)
	f.Cache.now = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.time
	}
	t.Cleanup(func() {
		f.settle()
		f.holdsNothing(t, "log", f.log.String())
	})
	return f
}

// addKey makes the endpoint's current key the secret's newest version.
func (f *fixture) addKey() {
	key := f.endpoint.ServiceAccountKey()
	f.manager.Add(vertexKey, key)
	var file struct {
		PrivateKey string `json:"private_key"`
	}
	json.Unmarshal(key, &file)
	f.hide(strings.Split(file.PrivateKey, "\n")[1])
}

// addClientSecret makes the client's current secret the newest version of what holds it.
func (f *fixture) addClientSecret() {
	f.manager.Add(entraKey, []byte(f.endpoint.ClientSecret()+"\n"))
	f.hide(f.endpoint.ClientSecret())
}

func (f *fixture) addAPIKey(key string) {
	f.manager.Add(openaiKey, []byte(key))
	f.hide(strings.TrimSpace(key))
}

func (f *fixture) hide(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.canary = append(f.canary, text)
}

func (f *fixture) holdsNothing(t *testing.T, what, text string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, secret := range f.canary {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds a key or token", what)
		}
	}
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

// settle waits for the exchanges under way.
func (f *fixture) settle() {
	for _, e := range f.entries {
		e.mu.Lock()
		flight := e.flight
		e.mu.Unlock()
		if flight != nil {
			<-flight.done
		}
	}
}

// gets wants a token in the given state.
func (f *fixture) gets(t *testing.T, credential string, state State) Token {
	t.Helper()
	token, err := f.Token(t.Context(), credential)
	if err != nil {
		t.Fatalf("Token: %v", err)
	}
	f.hide(token.Value.Reveal())
	if token.State != state {
		t.Fatalf("token is %s, want %s", token.State, state)
	}
	if credential != "openai" && !f.endpoint.Valid(token.Value.Reveal()) {
		t.Fatal("no upstream would accept the token")
	}
	return token
}

// fails wants CredentialUnavailable, to be tried again after retry.
func (f *fixture) fails(t *testing.T, retry time.Duration) *apierror.Error {
	t.Helper()
	token, err := f.Token(t.Context(), "vertex")
	e, ok := errors.AsType[*apierror.Error](err)
	if !ok || e.Kind != apierror.CredentialUnavailable || token != (Token{}) {
		t.Fatalf("Token = %v, %v; want %s alone", token, err, apierror.CredentialUnavailable.Code)
	}
	if e.RetryAfter != retry {
		t.Fatalf("RetryAfter is %s, want %s", e.RetryAfter, retry)
	}
	if !strings.Contains(err.Error(), `credential "vertex"`) || strings.Contains(e.Message, "vertex") {
		t.Errorf("the operator must learn the credential's name and the client not: %v", err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		f.holdsNothing(t, "error", fmt.Sprintf("%v %+v %#v", e, e, e))
	}
	return e
}

// hasNoOther wants Renew to say that, for one of the reasons.
func (f *fixture) hasNoOther(t *testing.T, credential string, rejected Token, reasons ...string) {
	t.Helper()
	token, err := f.Renew(t.Context(), credential, rejected)
	if token != (Token{}) || !errors.Is(err, ErrNoOther) {
		t.Errorf("Renew = %v, %v; want no other token", token, err)
		return
	}
	reason := strings.TrimPrefix(err.Error(), ErrNoOther.Error()+": ")
	if !slices.Contains(reasons, reason) {
		t.Errorf("the reason is %q, want one of %q", reason, reasons)
	}
	f.holdsNothing(t, "error", err.Error())
}

func (f *fixture) exchanged(t *testing.T, want int) {
	t.Helper()
	if got := f.endpoint.Exchanges(); got != want {
		t.Fatalf("%d exchanges, want %d", got, want)
	}
}

// together runs what in n goroutines and waits for them.
func together(n int, what func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(what)
	}
	wg.Wait()
}

func TestHundredFirstRequestsMakeOneAccessAndOneExchange(t *testing.T) {
	f := newFixture(t, time.Hour)
	values := make(chan string, 100)
	together(100, func() {
		token, err := f.Token(t.Context(), "vertex")
		if err != nil {
			t.Error(err)
		}
		values <- token.Value.Reveal()
	})
	f.exchanged(t, 1)
	if got := f.manager.Reads(vertexKey); got != 1 {
		t.Errorf("%d secret accesses, want 1", got)
	}
	first := <-values
	for range 99 {
		if <-values != first {
			t.Fatal("requests got different tokens")
		}
	}
	if f.gets(t, "vertex", Fresh).Value.Reveal() != first {
		t.Error("the token held is another")
	}
}

func TestARefreshDelaysNobody(t *testing.T) {
	f := newFixture(t, time.Hour)
	old := f.gets(t, "vertex", Exchanged)
	release := f.endpoint.Hold()
	f.advance(56 * time.Minute)
	together(100, func() { // returns although nothing answers
		if token, err := f.Token(t.Context(), "vertex"); err != nil || token.State != Stale || token.Value.Reveal() != old.Value.Reveal() {
			t.Errorf("Token = %v, %v; want the old one, stale", token, err)
		}
	})
	release()
	f.settle()
	if f.gets(t, "vertex", Fresh).Value.Reveal() == old.Value.Reveal() {
		t.Error("the token was not replaced")
	}
	f.exchanged(t, 2)
}

func TestTheRefreshIsNotItsRequestsToCancel(t *testing.T) {
	f := newFixture(t, time.Hour)
	old := f.gets(t, "vertex", Exchanged)
	f.advance(56 * time.Minute)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if token, err := f.Token(gone, "vertex"); err != nil || token.Value.Reveal() != old.Value.Reveal() {
		t.Fatalf("Token = %v, %v; want the old one", token, err)
	}
	f.settle()
	if f.gets(t, "vertex", Fresh).Value.Reveal() == old.Value.Reveal() {
		t.Error("the token was not replaced")
	}
}

func TestWhenATokenIsStale(t *testing.T) {
	for _, test := range []struct {
		why          string
		expiresIn    int
		fresh, stale time.Duration // ages
	}{
		{"five minutes before its expiry", 3600, 54 * time.Minute, 56 * time.Minute},
		{"half its life, where that is shorter", 240, 100 * time.Second, 130 * time.Second},
		{"no expires_in counts as five minutes", 0, 140 * time.Second, 160 * time.Second},
	} {
		t.Run(test.why, func(t *testing.T) {
			f := newFixture(t, time.Hour)
			f.endpoint.ExpiresIn(test.expiresIn)
			f.gets(t, "vertex", Exchanged)
			f.advance(test.fresh)
			f.gets(t, "vertex", Fresh)
			f.advance(test.stale - test.fresh)
			f.gets(t, "vertex", Stale)
		})
	}
}

func TestAnOutageIsNoticedOnlyWhenTheTokenExpires(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.gets(t, "vertex", Exchanged)
	f.endpoint.Down(true)
	f.advance(56 * time.Minute)
	f.gets(t, "vertex", Stale)
	f.settle()
	f.gets(t, "vertex", Stale)
	f.settle()
	f.exchanged(t, 2) // the failure is remembered
	var line struct{ Level, Msg, Credential, Cause string }
	if json.Unmarshal(f.log.Bytes(), &line) != nil || line.Level != "WARN" || line.Msg != "token refresh failed" || line.Credential != "vertex" ||
		line.Cause != "the token endpoint answered 503 temporarily_unavailable" {
		t.Errorf("log is %q, want one line with the credential and the cause", f.log)
	}

	f.advance(5 * time.Minute)
	f.fails(t, 2*time.Second)
	f.endpoint.Down(false)
	f.fails(t, 2*time.Second)
	f.advance(2 * time.Second)
	f.gets(t, "vertex", Exchanged)
}

func TestAFrozenInstanceMakesOneExchange(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.gets(t, "vertex", Exchanged)
	f.advance(24 * time.Hour)
	together(100, func() {
		if _, err := f.Token(t.Context(), "vertex"); err != nil {
			t.Error(err)
		}
	})
	f.exchanged(t, 2)
}

func TestFailuresAreRememberedWithGrowingDelay(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.endpoint.Down(true)
	exchanges := 0
	for _, s := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		delay := s * time.Second
		f.fails(t, delay)
		exchanges++
		f.advance(delay - time.Millisecond)
		f.fails(t, time.Millisecond)
		f.exchanged(t, exchanges)
		f.advance(time.Millisecond)
	}
	f.endpoint.Down(false)
	f.gets(t, "vertex", Exchanged)
	f.endpoint.Down(true)
	f.advance(2 * time.Hour)
	f.fails(t, time.Second) // a success ends the growth
}

func TestOneRequestsEndIsNotTheOthers(t *testing.T) {
	f := newFixture(t, time.Hour)
	release := f.endpoint.Hold()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Token(gone, "vertex"); !errors.Is(err, context.Canceled) { // it began the exchange
		t.Fatalf("a request that is gone got %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := f.Token(t.Context(), "vertex")
		done <- err
	}()
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.exchanged(t, 1)
}

func TestAnExchangeThatFrozeWithItsInstanceIsNotWaitedFor(t *testing.T) {
	f := newFixture(t, time.Hour)
	release := f.endpoint.Hold()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.Token(gone, "vertex")
	stuck := f.entries["vertex"].flight
	f.advance(time.Hour)
	f.Token(gone, "vertex")
	if f.entries["vertex"].flight == stuck {
		t.Fatal("the exchange of an hour ago is waited for")
	}
	release()
	<-stuck.done
	f.settle()
	f.gets(t, "vertex", Fresh)
	f.exchanged(t, 2)
}

func TestAFailureThatFrozeWithItsInstanceIsNotRemembered(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.endpoint.Down(true)
	release := f.endpoint.Hold()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.Token(gone, "vertex")
	f.advance(time.Hour)
	release()
	f.settle()
	f.endpoint.Down(false)
	f.gets(t, "vertex", Exchanged)
}

func TestARejectedTokenIsRenewedWithTheNewestKey(t *testing.T) {
	f := newFixture(t, time.Hour)
	rejected := f.gets(t, "vertex", Exchanged)
	f.endpoint.RotateKey()
	f.endpoint.RevokeFormerKeys() // so only the secret's new version works
	f.endpoint.Revoke(rejected.Value.Reveal())
	f.addKey()
	values := make(chan string, 50)
	together(50, func() {
		token, err := f.Renew(t.Context(), "vertex", rejected)
		if err != nil {
			t.Errorf("Renew = %v", err)
		}
		values <- token.Value.Reveal()
	})
	f.exchanged(t, 2)
	if got := f.manager.Reads(vertexKey); got != 2 {
		t.Errorf("%d secret accesses, want 2", got)
	}
	held := f.gets(t, "vertex", Fresh)
	for range 50 {
		if <-values != held.Value.Reveal() {
			t.Fatal("requests got different tokens")
		}
	}
}

func TestRenewalsOfACredentialAreTenSecondsApart(t *testing.T) {
	f := newFixture(t, time.Hour)
	first := f.gets(t, "vertex", Exchanged)
	second, err := f.Renew(t.Context(), "vertex", first)
	if err != nil || second.State != Exchanged || second.Value.Reveal() == first.Value.Reveal() {
		t.Fatalf("Renew = %v, %v; want another token", second, err)
	}
	f.advance(10*time.Second - 1)
	f.hasNoOther(t, "vertex", second, "it was renewed less than 10s ago")
	f.gets(t, "vertex", Fresh) // it may serve others yet
	f.exchanged(t, 2)
	f.advance(1)
	if _, err := f.Renew(t.Context(), "vertex", second); err != nil {
		t.Fatalf("Renew = %v after ten seconds", err)
	}
	f.exchanged(t, 3)
}

func TestARejectedTokenIsNotUsedAgain(t *testing.T) {
	f := newFixture(t, time.Hour)
	rejected := f.gets(t, "vertex", Exchanged)
	f.endpoint.Down(true)
	token, err := f.Renew(t.Context(), "vertex", rejected)
	if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind != apierror.CredentialUnavailable || errors.Is(err, ErrNoOther) || token != (Token{}) {
		t.Fatalf("Renew = %v, %v; want an outage", token, err)
	}
	f.fails(t, time.Second)
	if _, err := f.Renew(t.Context(), "vertex", rejected); err == nil || errors.Is(err, ErrNoOther) {
		t.Fatalf("Renew = %v; want the remembered failure", err)
	}
	f.exchanged(t, 2)
}

func TestNothingIsDiscardedWhileExchangesFail(t *testing.T) {
	f := newFixture(t, time.Hour)
	rejected := f.gets(t, "vertex", Exchanged)
	f.endpoint.Down(true)
	f.advance(56 * time.Minute)
	f.gets(t, "vertex", Stale)
	f.settle()
	f.hasNoOther(t, "vertex", rejected, "the last exchange failed: the token endpoint answered 503 temporarily_unavailable")
	f.gets(t, "vertex", Stale) // one upstream's no is no reason to have nothing for the others
	f.exchanged(t, 2)
}

// What the upstream refused then is not the credential: there is none while exchanges fail.
func TestATokenThatExpiredOnItsWayIsNoRefusal(t *testing.T) {
	f := newFixture(t, time.Hour)
	rejected := f.gets(t, "vertex", Exchanged)
	f.endpoint.Down(true)
	f.advance(time.Hour - 1500*time.Millisecond) // the double says 3599 seconds
	f.gets(t, "vertex", Stale)
	f.settle()
	f.advance(600 * time.Millisecond)
	token, err := f.Renew(t.Context(), "vertex", rejected)
	if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind != apierror.CredentialUnavailable || errors.Is(err, ErrNoOther) || token != (Token{}) {
		t.Fatalf("Renew = %v, %v; want an outage", token, err)
	}
	f.exchanged(t, 2)
}

func TestARejectedKeyThatHasNotChangedIsNotTriedAgain(t *testing.T) {
	f := newFixture(t, time.Hour)
	rejected := f.gets(t, "openai", Exchanged)
	release := f.manager.Hold()
	var all sync.WaitGroup
	for range 10 { // those that come second find nothing held, and wait for the same exchange
		all.Go(func() {
			f.hasNoOther(t, "openai", rejected, "its source still holds the one refused", "it was renewed less than 10s ago")
		})
	}
	release()
	all.Wait()
	f.gets(t, "openai", Fresh)

	f.addAPIKey("sk-two")
	f.advance(10 * time.Second)
	if token, err := f.Renew(t.Context(), "openai", rejected); token.Value.Reveal() != "sk-two" || err != nil {
		t.Fatalf("Renew = %v; want the new key", err)
	}
}

// eventually makes requests until one sees what is expected: the genuine Store reads secrets again
// behind them.
func (f *fixture) eventually(t *testing.T, credential string, seen func(Token) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		token, err := f.Token(t.Context(), credential)
		if err != nil {
			t.Fatalf("a request got %v", err)
		}
		f.hide(token.Value.Reveal())
		f.settle()
		if seen(token) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never happened")
		}
	}
}

func TestARotatedSecretIsFollowedWithoutARedeploy(t *testing.T) {
	f := newFixture(t, time.Nanosecond)
	old := f.gets(t, "vertex", Exchanged)
	f.endpoint.RotateKey()
	f.addKey()
	f.eventually(t, "vertex", func(token Token) bool { return token.Value.Reveal() != old.Value.Reveal() })

	f.gets(t, "openai", Exchanged)
	f.addAPIKey("sk-two")
	f.eventually(t, "openai", func(token Token) bool { return token.Value.Reveal() == "sk-two" })

	old = f.gets(t, "azure", Exchanged)
	f.endpoint.RotateClientSecret()
	f.addClientSecret()
	f.eventually(t, "azure", func(token Token) bool { return token.Value.Reveal() != old.Value.Reveal() })
}

func TestANewKeyThatDoesNotWorkLeavesTheOldTokenInUse(t *testing.T) {
	f := newFixture(t, time.Nanosecond)
	old := f.gets(t, "vertex", Exchanged)
	f.endpoint.RotateKey()
	f.addKey()
	f.endpoint.RotateKey()
	f.endpoint.RevokeFormerKeys() // the key just added is dead already
	f.eventually(t, "vertex", func(token Token) bool {
		if token.Value.Reveal() != old.Value.Reveal() {
			t.Fatal("the old token is gone")
		}
		return strings.Contains(f.log.String(), "invalid_grant")
	})
	f.gets(t, "vertex", Stale)

	f.addKey()
	f.eventually(t, "vertex", func(token Token) bool {
		f.advance(mostDelay)
		return token.Value.Reveal() != old.Value.Reveal()
	})
}

func TestAnUnusableAPIKeyLeavesTheOldOneInUse(t *testing.T) {
	f := newFixture(t, time.Nanosecond)
	f.gets(t, "openai", Exchanged)
	f.addAPIKey("two words")
	f.eventually(t, "openai", func(token Token) bool { return strings.Contains(f.log.String(), "is not an API key") })
	if f.gets(t, "openai", Stale).Value.Reveal() != "sk-one" {
		t.Error("the old key is gone")
	}
}

// The instance was frozen from before the new version until after the old key's end.
func TestAKeyThatWasReplacedAndDisabledIsReadAgainAndNoCallFails(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.gets(t, "vertex", Exchanged)
	f.endpoint.RotateKey()
	f.endpoint.RevokeFormerKeys()
	f.addKey()
	f.advance(2 * time.Hour)
	f.gets(t, "vertex", Exchanged)
}

func TestAKeyThatWasDisabledAndNotReplacedIsExchangedOnce(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.gets(t, "vertex", Exchanged)
	before := f.endpoint.Exchanges()
	f.endpoint.RotateKey()
	f.endpoint.RevokeFormerKeys()
	f.advance(2 * time.Hour)
	f.fails(t, time.Second)
	if got := f.endpoint.Exchanges() - before; got != 1 {
		t.Errorf("%d exchanges, want 1", got)
	}
}

func TestTheLastGoodSecretServesThroughAnOutageOfSecretManager(t *testing.T) {
	f := newFixture(t, time.Nanosecond)
	f.gets(t, "vertex", Exchanged)
	f.manager.Down(true)
	f.advance(2 * time.Hour)
	f.gets(t, "vertex", Exchanged)
}

func TestWithoutItsSecretACredentialIsUnavailable(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.manager.Deny(vertexKey, true)
	if err := f.fails(t, time.Second); !strings.Contains(err.Error(), "secretmanager.secretAccessor") {
		t.Errorf("error is %q, want what to do", err)
	}
	f.exchanged(t, 0)
	f.gets(t, "openai", Exchanged)
}

func TestWarmFetchesAllTogether(t *testing.T) {
	f := newFixture(t, time.Hour)
	if f.Ready() {
		t.Error("ready without any token")
	}
	releaseSecrets, releaseTokens := f.manager.Hold(), f.endpoint.Hold()
	warm := make(chan struct{})
	go func() { f.Warm(t.Context()); close(warm) }()
	for f.manager.Reads(vertexKey) == 0 || f.manager.Reads(entraKey) == 0 || f.manager.Reads(openaiKey) == 0 { // ends only if both are asked for at once
		time.Sleep(time.Millisecond)
	}
	releaseSecrets()
	releaseTokens()
	<-warm
	if !f.Ready() {
		t.Error("not ready after Warm")
	}
	f.gets(t, "vertex", Fresh)
	f.gets(t, "azure", Fresh)
	f.gets(t, "openai", Fresh)
	f.advance(2 * time.Hour)
	if f.Ready() {
		t.Error("ready with an expired token")
	}
}

func TestNothingIsReadAtConstruction(t *testing.T) {
	f := newFixture(t, time.Hour)
	f.exchanged(t, 0)
	if f.manager.Reads(vertexKey)+f.manager.Reads(entraKey)+f.manager.Reads(openaiKey) > 0 {
		t.Error("a secret was read")
	}
}

func TestAnUnknownCredentialIsUnavailable(t *testing.T) {
	f := newFixture(t, time.Hour)
	_, err := f.Token(t.Context(), "none")
	_, renewErr := f.Renew(t.Context(), "none", Token{})
	for _, err := range []error{err, renewErr} {
		if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind != apierror.CredentialUnavailable {
			t.Errorf("error is %v", err)
		}
	}
}

func TestATokenDoesNotPrintItself(t *testing.T) {
	const canary = "ya29.CANARY"
	token := Token{Value: hidden.New(canary), State: Fresh}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(handler).Info("x", "token", token, "pointer", &token, "in", struct{ T Token }{token}, "list", []Token{token})
	}
	text := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o"} {
		for _, v := range []any{token, &token, struct{ T Token }{token}, []Token{token}, map[string]Token{"t": token},
			held{value: token.Value}, &entry{held: held{value: token.Value}}, &flight{held: held{value: token.Value}}} {
			text += fmt.Sprintf(verb, v)
		}
	}
	encoded, err := json.Marshal(map[string]any{"t": token, "p": &token, "in": struct{ T Token }{token}})
	text += string(encoded) + fmt.Sprint(err)
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(text, form) {
			t.Errorf("a print holds the token: %s", text)
		}
	}
}

func BenchmarkTokenFresh(b *testing.B) {
	b.Setenv("GATEWAY_TEST_KEY", "sk-one")
	log := slog.New(slog.DiscardHandler)
	c := New(map[string]config.Credential{"openai": {APIKey: &config.APIKey{From: config.Source{Env: "GATEWAY_TEST_KEY"}}}},
		secret.New(config.SecretManager{Refresh: time.Hour}, log), log)
	c.Warm(b.Context())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if t, err := c.Token(b.Context(), "openai"); err != nil || t.State != Fresh {
				b.Error(t, err)
			}
		}
	})
}
