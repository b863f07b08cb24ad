package function

import (
	"context"
	"sync"
	"time"
)

// warmth makes a cold start wait for the longest chain, not for the sum: an instance's first
// request starts discovery and credential loading together, before it is verified.
type warmth struct {
	mu      sync.Mutex
	started time.Time
	done    chan struct{}
}

const (
	// warmEvery is how often it may be tried while something can't be reached: requests that need no valid
	// token cause no more traffic than this.
	warmEvery = 10 * time.Second
	warmBound = 10 * time.Second
)

// start begins an attempt if one is due. It does not wait: the request that needs a key or a
// token joins the fetch that is under way.
func (w *warmth) start(g *gateway) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now().Round(0) // wall clock: an instance may have been frozen
	if since := now.Sub(w.started); w.done != nil && since >= 0 && since < warmEvery || g.ready() {
		return w.done
	}
	w.started, w.done = now, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), warmBound)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { g.issuers.Warm(ctx) })
		wg.Go(func() { g.tokens.Warm(ctx) })
		wg.Go(func() { g.limits.Warm(ctx) })
		wg.Wait()
	}(w.done)
	return w.done
}

// wait begins an attempt if one is due, and waits for it.
func (w *warmth) wait(ctx context.Context, g *gateway) {
	done := w.start(g)
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (g *gateway) ready() bool { return g.issuers.Ready() && g.tokens.Ready() }
