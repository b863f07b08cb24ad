// Package secret reads the secrets that credentials are made of: from Secret Manager, a file or the
// environment.
//
// What was read is kept and is served at once. When it is older than the configured refresh, the
// request that finds it so is served the same way and starts one re-read behind it; so a rotated
// secret is seen without a redeploy, an instance that was frozen for an hour serves the old value
// once, and no request waits but for a first read. A value is replaced by a newer one and by
// nothing else: while its source can't be read, the last good one stays. Failures are remembered for a
// growing while, so that an outage is not a storm of reads.
//
// No error and no log line holds anything of a secret.
package secret

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
)

// MaxSize bounds a secret from any source, because Secret Manager holds no more in a version
// (cloud.google.com/secret-manager/quotas).
const MaxSize = 64 << 10

const (
	// attempt bounds one read. It goes on when the request that started it is gone.
	attempt = 10 * time.Second
	// frozen is the age at which a read can only have been stopped together with its instance (Cloud
	// Run takes the CPU away between requests): nobody waits for it, and its failure says nothing.
	frozen = 2 * attempt
	// A failed read is followed by the next after leastDelay, doubling up to mostDelay.
	leastDelay = time.Second
	mostDelay  = 30 * time.Second
)

// Store holds what was read. It is safe for concurrent use.
type Store struct {
	refresh time.Duration
	manager manager
	log     *slog.Logger
	now     func() time.Time // the wall clock: the monotonic one stands still while the instance is frozen

	mu      sync.Mutex
	entries map[config.Source]*entry
}

// New returns an empty Store; nothing is read, no client is made. Failed reads that no caller
// gets to see are logged.
func New(c config.SecretManager, log *slog.Logger) *Store {
	return &Store{
		refresh: c.Refresh,
		manager: manager{endpoint: c.Endpoint},
		log:     log,
		now:     func() time.Time { return time.Now().Round(0) },
		entries: map[config.Source]*entry{},
	}
}

// entry is what is known of one source. The Store's lock guards it.
type entry struct {
	value   value
	began   time.Time // when the read that had value began
	flight  *flight
	failure failure
}

// value is a secret's content and the name of that content; the zero value is none.
type value struct {
	data    hidden.Text
	version string
}

// flight is one read, which any number of requests wait for. Its result may be looked at when done
// is closed.
type flight struct {
	began time.Time
	done  chan struct{}
	value value
	err   error
}

// Read returns the secret as it stands in its source, every byte of it, and the version: Secret
// Manager's name for it (projects/…/versions/7), for a file or variable a digest of the content.
//
// Unless again is set, Read waits only where nothing was ever read. With again it reads now, whatever
// the age of what is held (it joins a read under way), and serves what is held where that fails. A
// caller whose context ends leaves with its error; the read goes on for the others.
func (s *Store) Read(ctx context.Context, from config.Source, again bool) (data hidden.Text, version string, err error) {
	s.mu.Lock()
	now := s.now()
	e := s.entries[from]
	if e == nil {
		e = &entry{}
		s.entries[from] = e
	}
	held, have := e.value, e.value.version != ""
	age := now.Sub(e.began) // negative after the clock was put back
	switch {
	case have && !again && age >= 0 && age < s.refresh:
		s.mu.Unlock()
		return held.data, held.version, nil
	case e.failure.left(now) > 0:
		err := e.failure.err
		s.mu.Unlock()
		if have {
			return held.data, held.version, nil
		}
		return hidden.Text{}, "", err
	}
	f := e.flight
	if f == nil || now.Sub(f.began) > frozen {
		f = &flight{began: now, done: make(chan struct{})}
		e.flight = f
		go s.fly(context.WithoutCancel(ctx), from, e, f)
	}
	s.mu.Unlock()
	if have && !again {
		return held.data, held.version, nil
	}
	select {
	case <-f.done:
		return f.value.data, f.value.version, f.err
	case <-ctx.Done():
		return hidden.Text{}, "", ctx.Err()
	}
}

// fly makes the read of f and hands out its result.
func (s *Store) fly(ctx context.Context, from config.Source, e *entry, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	got, err := s.read(ctx, from)
	if err != nil {
		err = fmt.Errorf("read secret from %s: %w", from, err)
	}

	s.mu.Lock()
	now := s.now()
	if e.flight == f {
		e.flight = nil
		switch {
		case err == nil:
			e.value, e.began, e.failure = got, f.began, failure{}
		case now.Sub(f.began) <= frozen:
			e.failure = e.failure.next(err, now)
		}
	}
	f.value, f.err = got, err
	hidden := err != nil && e.value.version != ""
	if hidden {
		f.value, f.err = e.value, nil
	}
	s.mu.Unlock()

	if hidden {
		s.log.LogAttrs(ctx, slog.LevelWarn, "secret re-read failed; the last good version stays in use", slog.String("cause", err.Error()))
	}
	close(f.done)
}

// failure is the last read's, and how long it is answered without another.
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
