//go:build e2e

package soak

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// Each of the tokens is another one. Nothing of them is kept, and the issuer hears as little of them as of one.
func TestJunkTokensLeaveNothingBehind(t *testing.T) {
	w := newWorld(t, small)
	l := newLoad(w)
	before, begun := w.issuer.KeyFetches(), time.Now()
	ctx, done := context.WithCancel(t.Context())
	defer done()
	var sent atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			c := l.junk()
			for ctx.Err() == nil {
				n := sent.Add(1)
				if n > int64(*junk) {
					break
				}
				if err := l.refused(ctx, c[n%int64(len(c))](), "invalid_token"); err != nil {
					t.Error(err)
					break
				}
			}
		})
	}
	go func() { group.Wait(); done() }()
	samples := w.watch(ctx)
	group.Wait()
	took := time.Since(begun)
	t.Logf("%d tokens in %s", min(sent.Load(), int64(*junk)), took.Round(time.Second))
	// At once for the first unknown kid, then one in 10 s, and the key set's own in a minute.
	fetches := w.issuer.KeyFetches() - before
	if most := 2 + int(took/(10*time.Second)); fetches > most {
		t.Errorf("%d fetches of keys in %s", fetches, took)
	}
	t.Logf("%d fetches of keys", fetches)
	for _, fault := range append(w.told(t, samples), grown(samples)...) {
		t.Error(fault)
	}
	if err := l.answered(t.Context(), "POST", chatPath, chat("plain", 300), 200, whole); err != nil {
		t.Errorf("a good token: %v", err)
	}
}

// junk makes tokens of each sort that costs something: one of an unknown key, one whose signature doesn't match, one of
// another issuer, one that has nearly the greatest size, one that is no token at all.
func (l *load) junk() []func() string {
	stranger := issuertest.NewKey("ES256")
	made := func(header, claims map[string]any) string {
		all := l.issuer.Claims(client(0))
		for name, value := range claims {
			all[name] = value
		}
		return stranger.Sign(header, all)
	}
	return []func() string{
		func() string { return made(map[string]any{"kid": rand.Text()}, nil) },
		l.forged,
		func() string { return made(nil, map[string]any{"iss": "https://" + rand.Text() + ".example"}) },
		func() string { return made(nil, map[string]any{"sub": strings.Repeat(rand.Text(), 400)}) },
		func() string { return rand.Text() + "." + rand.Text() + "." + rand.Text() },
	}
}
