package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

const (
	// attempt bounds one exchange, the reading of its secret included. It goes on when the request
	// that started it is gone.
	attempt = 10 * time.Second
	// frozen is the age at which an exchange can only have been stopped together with its instance
	// (Cloud Run takes the CPU away between requests): nobody waits for it, and its failure says nothing.
	frozen = 2 * attempt
	// staleAt is how long before its expiry a token is replaced: longer than the clocks of Google
	// and ours differ, and the time at which Google's metadata server begins to hand out the next
	// one.
	staleAt = 5 * time.Minute
	// damping is between two renewals of a credential: an upstream that answers 401 to every token
	// must not make every request an exchange.
	damping = 10 * time.Second
	// A failed exchange is followed by the next after leastDelay, doubling up to mostDelay.
	leastDelay = time.Second
	mostDelay  = 30 * time.Second
)

// Secrets is where keys are read: the secret, every byte of it, and the name of its version. It waits
// only for a secret it never read, and, with again, reads it now.
type Secrets interface {
	Read(ctx context.Context, from config.Source, again bool) (data hidden.Text, version string, err error)
}

// Cache holds one token for each credential. It is safe for concurrent use.
type Cache struct {
	secrets Secrets
	log     *slog.Logger
	now     func() time.Time // the wall clock: the monotonic one stands still while the instance is frozen
	entries map[string]*entry
}

// New returns a Cache without tokens; nothing is read or fetched. Every failed exchange is
// one line in log.
func New(credentials map[string]config.Credential, secrets Secrets, log *slog.Logger) *Cache {
	return newCache(credentials, secrets, log, iamCredentials)
}

func newCache(credentials map[string]config.Credential, secrets Secrets, log *slog.Logger, iamCredentials string) *Cache {
	c := &Cache{secrets: secrets, log: log, now: func() time.Time { return time.Now().Round(0) }, entries: map[string]*entry{}}
	transport, own := newTransport(), newOwnTransport()
	for name, cred := range credentials {
		e := &entry{name: name}
		switch {
		case cred.ServiceAccountKey != nil:
			e.from, e.grant = &cred.ServiceAccountKey.From, serviceAccountKey(transport, cred.ServiceAccountKey.Scopes)
		case cred.ClientCredentials != nil:
			e.from, e.grant = &cred.ClientCredentials.ClientSecret, clientCredentials(transport, *cred.ClientCredentials)
		case cred.APIKey != nil:
			e.from, e.grant = &cred.APIKey.From, apiKey
		case cred.GoogleDefault != nil:
			e.grant = googleDefault(own, cred.GoogleDefault.Scopes)
			if email := cred.GoogleDefault.Impersonate; email != "" {
				e.grant = impersonate(own, iamCredentials, email, cred.GoogleDefault.Scopes)
			}
		default:
			panic("token: credential of no kind: " + name) // config.Load refuses it
		}
		c.entries[name] = e
	}
	return c
}

// entry is one credential and its token.
type entry struct {
	name  string
	from  *config.Source // nil where the credential has no secret
	grant grant

	mu      sync.Mutex
	held    held
	flight  *flight
	failure failure
	renewed time.Time
}

// held is a token and the secret's version it was made with; the zero value is none.
type held struct {
	value   hidden.Text
	version string
	stale   time.Time
	expiry  time.Time // zero: never
}

func (h held) usable(now time.Time) bool {
	return !h.value.IsZero() && (h.expiry.IsZero() || now.Before(h.expiry))
}

func (h held) fresh(now time.Time, version string) bool {
	return h.version == version && (h.expiry.IsZero() || now.Before(h.stale))
}

// flight is one exchange, which any number of requests wait for. Its result may be looked at when
// done is closed.
type flight struct {
	began time.Time
	done  chan struct{}
	held  held
	err   error
	retry time.Duration
}

// Token returns the token of a configured credential. The error is an *apierror.Error
// of kind CredentialUnavailable, or the context's.
func (c *Cache) Token(ctx context.Context, credential string) (Token, error) {
	e, err := c.entry(credential)
	if err != nil {
		return Token{}, err
	}
	version := c.version(ctx, e)
	e.mu.Lock()
	now := c.now()
	if e.held.usable(now) {
		defer e.mu.Unlock()
		if e.held.fresh(now, version) {
			return Token{e.held.value, Fresh}, nil
		}
		if e.failure.left(now) == 0 {
			c.start(ctx, e, now, false)
		}
		return Token{e.held.value, Stale}, nil
	}
	if left := e.failure.left(now); left > 0 {
		defer e.mu.Unlock()
		return Token{}, unavailable(e.name, e.failure.err, left)
	}
	f := c.start(ctx, e, now, false)
	e.mu.Unlock()
	return e.wait(ctx, f)
}

// ErrNoOther is why Renew has nothing to try. The error that wraps it says more, for the operator.
var ErrNoOther = errors.New("there is no other token to try")

// Renew returns another token after an upstream answered 401 to rejected, which is discarded; its
// secret is read again. The error is that of Token, or wraps ErrNoOther: the last renewal is less than
// ten seconds ago, exchanges fail at the moment, or the exchange gave the same one.
func (c *Cache) Renew(ctx context.Context, credential string, rejected Token) (Token, error) {
	e, err := c.entry(credential)
	if err != nil {
		return Token{}, err
	}
	t, err := c.renew(ctx, e, rejected)
	if err == nil && t.Value.Equal(rejected.Value) {
		return Token{}, fmt.Errorf("%w: its source still holds the one refused", ErrNoOther)
	}
	return t, err
}

func (c *Cache) renew(ctx context.Context, e *entry, rejected Token) (Token, error) {
	e.mu.Lock()
	now := c.now()
	if !e.held.value.Equal(rejected.Value) || !e.held.usable(now) { // another request was here before, or it expired on its way
		e.mu.Unlock()
		return c.Token(ctx, e.name)
	}
	var why error
	if age := now.Sub(e.renewed); age >= 0 && age < damping {
		why = fmt.Errorf("%w: it was renewed less than %s ago", ErrNoOther, damping)
	} else if e.failure.left(now) > 0 {
		why = fmt.Errorf("%w: the last exchange failed: %w", ErrNoOther, e.failure.err)
	}
	if why != nil {
		e.mu.Unlock()
		return Token{}, why
	}
	e.renewed, e.held = now, held{}
	f := c.start(ctx, e, now, true)
	e.mu.Unlock()
	return e.wait(ctx, f)
}

// Warm fetches what isn't held, all credentials at once, so that a cold start waits for the longest
// exchange and not for the sum. Failures are met again by the requests that need the token.
func (c *Cache) Warm(ctx context.Context) {
	var wg sync.WaitGroup
	for name := range c.entries {
		wg.Go(func() { c.Token(ctx, name) })
	}
	wg.Wait()
}

// Ready reports whether every credential has a token or key that can be used now.
func (c *Cache) Ready() bool {
	for _, e := range c.entries {
		e.mu.Lock()
		usable := e.held.usable(c.now())
		e.mu.Unlock()
		if !usable {
			return false
		}
	}
	return true
}

func (c *Cache) entry(credential string) (*entry, error) {
	if e := c.entries[credential]; e != nil {
		return e, nil
	}
	return nil, unavailable(credential, errors.New("it is not configured"), 0)
}

// version is the secret's newest known version: the held token's own where there is no news.
func (c *Cache) version(ctx context.Context, e *entry) string {
	e.mu.Lock()
	version := e.held.version
	e.mu.Unlock()
	if version != "" { // so the secret was read before, and this doesn't wait
		if _, newest, err := c.secrets.Read(ctx, *e.from, false); err == nil {
			return newest
		}
	}
	return version
}

// start returns the exchange under way, or begins one. The entry is locked.
func (c *Cache) start(ctx context.Context, e *entry, now time.Time, again bool) *flight {
	if f := e.flight; f != nil && now.Sub(f.began) <= frozen {
		return f
	}
	f := &flight{began: now, done: make(chan struct{})}
	e.flight = f
	// After a failure the secret is read again: it may be that the key was replaced and disabled.
	again = again || e.failure.err != nil
	go c.fly(context.WithoutCancel(ctx), e, f, again)
	return f
}

// fly makes the exchange of f and hands out its result.
func (c *Cache) fly(ctx context.Context, e *entry, f *flight, again bool) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	got, err := c.exchange(ctx, e, f.began, again)

	e.mu.Lock()
	now := c.now()
	if e.flight == f {
		e.flight = nil
		switch {
		case err == nil:
			e.held, e.failure = got, failure{}
		case now.Sub(f.began) <= frozen:
			e.failure = e.failure.next(err, now)
		}
	}
	f.held, f.err, f.retry = got, err, e.failure.left(now)
	e.mu.Unlock()

	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelWarn, "token refresh failed",
			slog.String("credential", e.name), slog.String("cause", err.Error()))
	}
	close(f.done)
}

// exchange makes a token with the secret as it is held. Where that fails, the secret may have been replaced while the
// instance was frozen, and the old one be good for nothing: with a newer version it is tried once more.
func (c *Cache) exchange(ctx context.Context, e *entry, began time.Time, again bool) (held, error) {
	if e.from == nil {
		return e.exchange(ctx, hidden.Text{}, "", began)
	}
	secret, version, err := c.secrets.Read(ctx, *e.from, again)
	if err != nil {
		return held{}, err
	}
	h, err := e.exchange(ctx, secret, version, began)
	if err != nil && !again {
		if secret, newest, fault := c.secrets.Read(ctx, *e.from, true); fault == nil && newest != version {
			return e.exchange(ctx, secret, newest, began)
		}
	}
	return h, err
}

func (e *entry) exchange(ctx context.Context, secret hidden.Text, version string, began time.Time) (held, error) {
	value, life, err := e.grant(ctx, secret)
	if err != nil {
		return held{}, err
	}
	h := held{value: value, version: version}
	if life > 0 { // counted from before the request was sent, to be on the safe side
		h.expiry = began.Add(life)
		h.stale = h.expiry.Add(-min(staleAt, life/2))
	}
	return h, nil
}

// wait returns the result of f, or leaves with the context's error; f goes on for the others.
func (e *entry) wait(ctx context.Context, f *flight) (Token, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	if f.err != nil {
		return Token{}, unavailable(e.name, f.err, f.retry)
	}
	return Token{f.held.value, Exchanged}, nil
}

func unavailable(credential string, cause error, retry time.Duration) error {
	return apierror.New(apierror.CredentialUnavailable, "the gateway has no credential for the upstream at the moment; retry later").
		Because(fmt.Errorf("credential %q: %w", credential, cause)).After(retry)
}

// failure is the last exchange's, and how long it is answered without another.
type failure struct {
	err   error
	delay time.Duration
	until time.Time
}

func (f failure) next(err error, now time.Time) failure {
	d := min(max(2*f.delay, leastDelay), mostDelay)
	return failure{err: err, delay: d, until: now.Add(d)}
}

// left is how long the failure still stands: never more than the delay, unless the clock was put
// back.
func (f failure) left(now time.Time) time.Duration {
	if left := f.until.Sub(now); left > 0 && left <= f.delay {
		return left
	}
	return 0
}
