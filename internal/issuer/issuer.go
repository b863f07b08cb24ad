// Package issuer turns the text of an access token into the Principal that a trusted issuer says it
// speaks for, or says which check it failed.
//
// A token is an RFC 7519 JWT in compact form, signed asymmetrically. It is checked from the cheap to
// the dear: its size and form, its header, the claims as they stand unverified (issuer, audience,
// times, type, required claims), and only then its signature, so that what an issuer's own keys
// could never make good costs that issuer no request. A signature is only ever checked with a key of
// the issuer that the token names.
//
// A client's groups are those that its token claims at the configured places, and those that the
// issuer's group_rules give it by other claims. There are no others.
//
// Refusals are *apierror.Error and name the failing check, with nothing of the token in them.
// An issuer that can't be reached is 503, never 401: the client's token may well be good.
package issuer

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/principal"
)

// maxRemembered bounds the memory for verified tokens: clients by the thousand, each with one token
// at a time. Only verified tokens take a place, so junk can't push them out.
const maxRemembered = 4096

// Issuers are all trusted issuers. It is safe for concurrent use.
type Issuers struct {
	byURL      map[string]*trusted
	remembered *lru.Cache[[sha256.Size]byte, verified]
	// now is the wall clock: an instance may be frozen between requests, and the monotonic clock
	// with it.
	now func() time.Time
}

// trusted is one issuer.
type trusted struct {
	config.Issuer
	// required are the names in Require, in order, so that a token is refused alike every time.
	required []string
	// foreign are the group prefixes of the other issuers.
	foreign []string
	// rules are GroupRules.
	rules []rule
	keys  *keySet
}

// verified is a token that passed, without its text.
type verified struct {
	who    *principal.Principal
	issuer *trusted
	// until is the token's expiry, clock skew included.
	until time.Time
	// kid, alg and key say which key verified it: the same kid over other material is another key.
	kid, alg string
	key      thumbprint
}

// New prepares the issuers as config.Load returns them. It uses no network. Its error is
// config.Faults: one for each jwks.file that can't be read, is no JWK set or holds no usable key.
// Every later fetch of keys that fails is one line in log.
func New(issuers []config.Issuer, log *slog.Logger) (*Issuers, error) {
	return newAt(issuers, log, func() time.Time { return time.Now().Round(0) })
}

func newAt(issuers []config.Issuer, log *slog.Logger, now func() time.Time) (*Issuers, error) {
	remembered, err := lru.New[[sha256.Size]byte, verified](maxRemembered)
	if err != nil {
		return nil, err
	}
	s := &Issuers{byURL: map[string]*trusted{}, remembered: remembered, now: now}
	client := newClient(issuers)
	var faults config.Faults
	for _, is := range issuers {
		t := &trusted{Issuer: is, required: slices.Sorted(maps.Keys(is.Require)), rules: newRules(is.GroupRules)}
		for _, other := range issuers {
			if other.URL != is.URL && other.GroupPrefix != "" {
				t.foreign = append(t.foreign, other.GroupPrefix)
			}
		}
		t.keys = &keySet{log: log, now: now, source: source{issuer: is.URL, jwks: is.JWKS, client: client}}
		if is.JWKS.File != "" {
			if fault := t.keys.load(); fault != nil {
				faults = append(faults, *fault)
			}
		}
		s.byURL[is.URL] = t
	}
	return s, faults.Err()
}

// Verify returns the client that raw, an access token, speaks for; remembered says that
// this very text was verified before. The Principal is shared and must not be changed. The error is
// an *apierror.Error: InvalidToken, ExpiredToken, or IssuerUnavailable with RetryAfter.
func (s *Issuers) Verify(ctx context.Context, token hidden.Text) (who *principal.Principal, remembered bool, err error) {
	raw := token.Reveal()
	if len(raw) > maxToken {
		return nil, false, refuse("the token's size is over 16 KiB; have its issuer put fewer claims in it")
	}
	id := token.Sum()
	if v, ok := s.remembered.Get(id); ok {
		if s.stillGood(ctx, v) {
			return v.who, true, nil
		}
		s.remembered.Remove(id)
	}
	v, err := s.verify(ctx, raw)
	if err != nil {
		return nil, false, err
	}
	s.remembered.Add(id, v)
	return v.who, false, nil
}

// stillGood reports whether a remembered token would pass again. All that can have changed is the
// time and its issuer's keys.
func (s *Issuers) stillGood(ctx context.Context, v verified) bool {
	if !s.now().Before(v.until) {
		return false
	}
	set, err := v.issuer.keys.current(ctx)
	if err != nil {
		return false
	}
	k := set.find(v.kid, v.alg)
	return k != nil && k.thumbprint == v.key
}

// verify is the whole walk.
func (s *Issuers) verify(ctx context.Context, raw string) (verified, error) {
	t, err := parse(raw)
	if err != nil {
		return verified{}, err
	}
	is, err := s.issuerOf(t.claims)
	if err != nil {
		return verified{}, err
	}
	if err := is.checkHeader(t); err != nil {
		return verified{}, err
	}
	exp, err := is.checkClaims(t.claims, s.now())
	if err != nil {
		return verified{}, err
	}
	k, err := is.keys.key(ctx, t.kid, t.alg)
	if err != nil {
		return verified{}, err
	}
	if err := is.checkSignature(ctx, raw, t.alg, k); err != nil {
		return verified{}, err
	}
	who, err := is.principal(t.claims)
	if err != nil {
		return verified{}, err
	}
	return verified{who: who, issuer: is, until: exp.Add(is.ClockSkew), kid: t.kid, alg: t.alg, key: k.thumbprint}, nil
}

// issuerOf finds the trusted issuer that a claims set names.
func (s *Issuers) issuerOf(claims map[string]any) (*trusted, error) {
	iss, _ := claims["iss"].(string)
	is, ok := s.byURL[iss]
	if !ok {
		return nil, refuse("the token's issuer (iss) is not one that this gateway trusts; use a token of an issuer that the protected resource metadata lists")
	}
	return is, nil
}

// Map returns the client that a token with these claims, a JSON object, would speak for if its issuer
// had signed it. It is for people who ask what a configuration makes of a token, and never for
// deciding on a request: it checks the claims as Verify does (issuer, audience, times, type, required
// claims, and whatever the Principal is made of), but there is no header, no key and no signature, and
// no go-oidc, which would refuse claims that differ from the known ones in case alone. It uses no
// network. The error is an *apierror.Error: InvalidToken or ExpiredToken.
func (s *Issuers) Map(claims []byte) (*principal.Principal, error) {
	set := object(claims)
	if set == nil {
		return nil, refuseClaims()
	}
	is, err := s.issuerOf(set)
	if err != nil {
		return nil, err
	}
	if _, err := is.checkClaims(set, s.now()); err != nil {
		return nil, err
	}
	return is.principal(set)
}

// Warm fetches the keys of every issuer that has none or aged ones, all at the same time, and
// returns when that is done or ctx is. It shares its fetches, and the pause between them, with
// Verify.
func (s *Issuers) Warm(ctx context.Context) {
	var wg sync.WaitGroup
	for _, is := range s.byURL {
		wg.Go(func() { is.keys.current(ctx) }) // a failure is logged, and told to the request that needs the keys
	}
	wg.Wait()
}

// Ready reports, from memory, whether every issuer's keys are at hand.
func (s *Issuers) Ready() bool {
	for _, is := range s.byURL {
		if !is.keys.ready() {
			return false
		}
	}
	return true
}

// refuse is a 401 that names the failing check. Its text holds nothing of the token.
func refuse(format string, args ...any) *apierror.Error {
	return apierror.New(apierror.InvalidToken, format, args...)
}

func refuseClaims() *apierror.Error {
	return refuse("the token's claims set is not a JSON object that every reader reads alike; fetch a new token")
}
