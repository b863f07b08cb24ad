package issuer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
)

const (
	// pause is the least time from the end of one fetch to the next, whatever tokens come: an
	// issuer must not be made to pay for junk sent to us, nor a client wait for each attempt at one
	// that is down.
	pause = 10 * time.Second
	// overlap is how long after it aged a set still serves at once, while its successor is fetched.
	overlap = time.Minute
	// outage is how long after it aged a set still serves where its successor can't be fetched.
	outage = time.Hour
	// fetchTimeout bounds a fetch, discovery included.
	fetchTimeout = 2 * requestTimeout
	// frozen is the age at which a fetch can only have been stopped together with its instance (Cloud
	// Run takes the CPU away between requests): nobody waits for it, and none after it.
	frozen = 2 * fetchTimeout
)

// keySet is one issuer's keys, in one of these states by the age of the last good set:
//
//	fresh      younger than its maxAge: used
//	aged       for a minute more: used, while a successor is fetched
//	kept       until an hour after it aged: requests wait for a successor; if it can't be
//	           fetched, the set is used, and the next attempt is made 10 s later
//	gone       older, or there never was one: requests wait for a fetch; if it fails, and for the
//	           10 s after, the issuer is unavailable
//
// So a key that its issuer disabled verifies no token later than maxAge (at most an hour) plus a
// minute after the last fetch that still showed it, while the issuer can be reached; plus an hour
// while it can't. A new key is found at once, or within 10 s of another unknown one.
//
// All callers share one fetch. It runs on no caller's context but has a bound of its own; each
// caller waits by its own context.
type keySet struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	source source
	// set is the last good one, or nil.
	set *jwks
	// ended is when the last fetch ended that did not freeze, err what went wrong with the last.
	ended time.Time
	err   error
	// running is closed when the fetch that runs ends; nil while none does. It began at began.
	running chan struct{}
	began   time.Time
}

// current returns the keys to trust now.
func (k *keySet) current(ctx context.Context) (*jwks, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.usable(0) {
		return k.set, nil
	}
	if k.usable(overlap) {
		k.start()
		return k.set, nil
	}
	if err := k.renew(ctx); err != nil {
		return nil, k.unavailable(err)
	}
	if k.usable(outage) {
		return k.set, nil
	}
	return nil, k.unavailable(k.err)
}

// key returns the key that kid and alg lead to. Where they lead to none, the issuer may have a new
// one.
func (k *keySet) key(ctx context.Context, kid, alg string) (*key, error) {
	set, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	if found := set.find(kid, alg); found != nil {
		return found, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.renew(ctx); err != nil {
		return nil, k.unavailable(err)
	}
	if found := k.set.find(kid, alg); found != nil {
		return found, nil
	}
	if k.err != nil { // whether there is such a key isn't known
		return nil, k.unavailable(k.err)
	}
	return nil, refuse("the token's key (kid) is not one that its issuer publishes for this algorithm, or not the only one; fetch a new token (a key newer than 10 seconds may need another try)")
}

// usable reports whether the set may be used, at so much more than its age. k.mu is held.
func (k *keySet) usable(more time.Duration) bool {
	if k.set == nil {
		return false
	}
	age := k.now().Sub(k.set.fetched)
	return age >= 0 && age < k.set.maxAge+more // below zero, the clock was set back: ask again
}

// ready reports whether there are keys that may be used, if need be through an outage.
func (k *keySet) ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.usable(outage) && len(k.set.keys) > 0
}

// renew waits for a fetch, its own or the one that runs, unless one ended just now. Its error is
// the context's. k.mu is held, but not while waiting.
func (k *keySet) renew(ctx context.Context) error {
	k.start()
	running := k.running
	if running == nil {
		return nil
	}
	k.mu.Unlock()
	defer k.mu.Lock()
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start begins a fetch, unless one runs or ended just now. k.mu is held.
func (k *keySet) start() {
	began := k.now()
	if k.running != nil && began.Sub(k.began) <= frozen || k.wait() > 0 {
		return
	}
	running := make(chan struct{})
	k.running, k.began = running, began
	source := k.source
	go func() {
		defer close(running)
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		set, err := source.fetch(ctx, began)
		if err != nil {
			k.log.LogAttrs(ctx, slog.LevelWarn, "issuer's keys can't be fetched",
				slog.String("issuer", source.issuer), slog.String("cause", err.Error()))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.running != running {
			return // it froze, and another took its place
		}
		k.running, k.err, k.source = nil, err, source
		if err == nil {
			k.set = set
		}
		if now := k.now(); now.Sub(began) <= frozen {
			k.ended = now
		}
	}()
}

// wait is how long no fetch may begin. k.mu is held.
func (k *keySet) wait() time.Duration {
	since := k.now().Sub(k.ended)
	if k.ended.IsZero() || since < 0 {
		return 0
	}
	return pause - since
}

// unavailable is the outage that a request is told of. k.mu is held.
func (k *keySet) unavailable(cause error) *apierror.Error {
	return apierror.New(apierror.IssuerUnavailable, "the token's issuer can't be reached for its keys, so the token can't be checked; try again later").
		Because(cause).After(max(k.wait(), time.Second))
}

// load reads a file of keys at once.
func (k *keySet) load() *config.Fault {
	set, err := k.source.fetch(context.Background(), k.now())
	if err == nil && len(set.keys) == 0 {
		err = errors.New("holds no key that verifies signatures; put the issuer's public keys in it")
	}
	if k.set = set; err == nil {
		return nil
	}
	fault := &config.Fault{File: k.source.jwks.File, Message: err.Error()}
	if document, err := readFile(fault.File); err == nil {
		fault.Line, fault.Column = position(document)
	}
	return fault
}

// position is where a document stops to be a JWK set, or its beginning.
func position(document []byte) (line, column int) {
	_, err := parseKeys(document)
	var before []byte
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		before = document[:syntax.ByteOffset]
	} else if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		before = document[:semantic.ByteOffset]
	}
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}
