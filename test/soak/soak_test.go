//go:build e2e

// Package soak has the function, as Google builds it, serve everything that clients do, for as long as it is told, in
// the memory of a small instance: while access tokens expire, keys and secrets are rotated, clients leave and junk comes.
// Nothing of it may grow, nothing may be left when all is over, and no call may fail by the gateway's fault.
package soak

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/program"
)

// make e2e takes the defaults, make soak more.
var (
	during = flag.Duration("during", time.Minute, "how long the load lasts")
	junk   = flag.Int("junk", 50_000, "how many junk tokens come")
)

func TestNothingGrowsUnderMixedLoad(t *testing.T) {
	w := newWorld(t, small)
	l := newLoad(w)
	ctx, stop := context.WithTimeout(t.Context(), *during+10*time.Minute)
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { l.run(ctx) })
	var keys, secrets atomic.Int64
	group.Go(func() { again(ctx, w.rotateKey, &keys) })
	group.Go(func() { again(ctx, w.rotateSecret, &secrets) })
	renewed := func() bool { return keys.Load() > 0 && secrets.Load() > 0 && w.tokens.Exchanges() > 1 }
	group.Go(func() {
		time.Sleep(*during)
		until(ctx, renewed) // a busy machine takes longer
		stop()
	})
	samples := w.watch(ctx)
	group.Wait()
	lines, calls := l.counts()
	t.Logf("%d calls in %s, %d access tokens, %d keys of the issuer and %d of the service account\n%s",
		calls, *during, w.tokens.Exchanges(), keys.Load(), secrets.Load(), strings.Join(lines, "\n"))
	faults := l.faults
	faults = append(append(faults, w.told(t, samples)...), grown(samples)...)
	if !renewed() {
		faults = append(faults, "too little was renewed to show anything")
	}
	for _, fault := range faults {
		t.Error(fault)
	}

	// Connections to upstreams are kept for 30 s; then there is the socket that listens.
	end, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if until(end, func() bool { return len(sockets(w.function.Pid())) <= 1 }) != nil {
		t.Errorf("sockets are left: %q", sockets(w.function.Pid()))
	}
	left := map[string]int{}
	for _, by := range goroutines(w.quit(t)) {
		left[by]++
	}
	if !maps.Equal(left, expected) {
		t.Errorf("goroutines are left: %v", left)
	}
	t.Logf("goroutines when all is over: %v", left)
}

// told logs what was seen, and returns what is wrong with it.
func (w *world) told(t *testing.T, samples []sample) (faults []string) {
	select {
	case <-w.function.Ended:
		<-w.printed.whole
		t.Fatalf("the function has ended, %v, having printed\n%s", w.function.State(), program.Last(w.printed.dump.Bytes()))
	default:
	}
	w.printed.mu.Lock()
	faults = append(faults, w.printed.faults...)
	t.Logf("%d records, of failures: %v", w.printed.records.Load(), w.printed.failures)
	w.printed.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(margins)) {
		before, after := trend(samples, name)
		t.Logf("%s: %.1f in the second quarter, %.1f in the last, %.1f at most", name, before, after, most(samples, name))
	}
	t.Logf("%d cycles of the collector", w.printed.cycles.Load())
	if w.group != nil {
		now, peak := w.group.memory()
		t.Logf("its group of %d MiB: %.1f MiB, %.1f at most", w.limit>>20, now, peak)
	} else if rss := most(samples, "RSS, MiB"); rss > float64(w.limit>>20) {
		faults = append(faults, fmt.Sprintf("it took %.1f MiB", rss))
	}
	return faults
}

// expected are the goroutines of a function that nobody calls.
var expected = map[string]int{
	"main.main":                1, // waits for connections
	"os/signal.Notify.func1.1": 1,
	"llmgateway.dev/gateway/function.init.func1": 1, // waits for SIGTERM
}

// again does something every half a minute, and counts how often.
func again(ctx context.Context, do func(context.Context) error, times *atomic.Int64) {
	for pause := 10 * time.Second; ; pause = 30 * time.Second {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if do(ctx) != nil {
			return
		}
		times.Add(1)
	}
}

// watch takes samples until the context ends, or the function.
func (w *world) watch(ctx context.Context) (samples []sample) {
	for {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return samples
		}
		s, err := read(w.function.Pid())
		if err != nil {
			return samples
		}
		if s["heap after a cycle, MiB"] = float64(w.printed.heap.Load()); w.group != nil {
			s["memory of its group, MiB"], _ = w.group.memory()
		}
		samples = append(samples, s)
	}
}
