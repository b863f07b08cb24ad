package main

import (
	"cmp"
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// load is what came of sending calls.
type load struct {
	Count   int
	Events  int
	Elapsed time.Duration
	// Latencies are of whole answers, Firsts to a stream's first event, Gaps between its events.
	Latencies, Firsts, Gaps []time.Duration
	// Dues are the moments from which the latencies count.
	Dues []time.Time
}

func (l *load) add(m load) {
	l.Count += m.Count
	l.Events += m.Events
	l.Latencies = append(l.Latencies, m.Latencies...)
	l.Firsts = append(l.Firsts, m.Firsts...)
	l.Gaps = append(l.Gaps, m.Gaps...)
	l.Dues = append(l.Dues, m.Dues...)
}

// one sends a call and adds what came of it. The latency counts from the moment that the call was due.
func (l *load) one(c *conn, q call, due time.Time) error {
	var last time.Time
	err := c.do(q, func(now time.Time) {
		if last.IsZero() {
			l.Firsts = append(l.Firsts, now.Sub(due))
		} else {
			l.Gaps = append(l.Gaps, now.Sub(last))
		}
		last = now
		l.Events++
	})
	l.Count++
	l.Latencies = append(l.Latencies, time.Since(due))
	l.Dues = append(l.Dues, due)
	return err
}

// closed sends one call after the other on each of n connections until the time is over: as fast as
// they are answered.
func closed(ctx context.Context, q call, n int, during time.Duration) (load, error) {
	all, err := dialAll(q.address, n)
	if err != nil {
		return load{}, err
	}
	begun := time.Now()
	sum, err := each(all, func(c *conn, l *load) error {
		for time.Since(begun) < during && ctx.Err() == nil {
			if err := l.one(c, q, time.Now()); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	sum.Elapsed = time.Since(begun)
	return sum, err
}

// open sends the calls in turn at a rate, whether or not those before are answered. A call's latency counts from the
// moment at which it was due, so that what had to wait for a slow one counts too (Tene's coordinated omission).
func open(ctx context.Context, calls []call, n int, rate float64, during time.Duration) (load, error) {
	all, err := dialAll(calls[0].address, n)
	if err != nil {
		return load{}, err
	}
	type planned struct {
		call
		at time.Time
	}
	begun := time.Now().Add(10 * time.Millisecond)
	count := int(rate * during.Seconds())
	due := make(chan planned, count)
	go func() {
		defer close(due)
		// The runtime's timers may be a millisecond late, the kernel's are not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for i := range count {
			at := begun.Add(time.Duration(float64(i) / rate * 1e9))
			sleepUntil(at)
			if ctx.Err() != nil {
				return
			}
			due <- planned{calls[i%len(calls)], at}
		}
	}()
	sum, err := each(all, func(c *conn, l *load) error {
		for p := range due {
			if err := l.one(c, p.call, p.at); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	sum.Elapsed = time.Since(begun)
	return sum, err
}

func sleepUntil(at time.Time) {
	if rest := time.Until(at); rest > 0 {
		spec := unix.NsecToTimespec(rest.Nanoseconds())
		unix.Nanosleep(&spec, nil)
	}
}

// dialAll makes n connections.
func dialAll(address string, n int) (all []*conn, err error) {
	for range n {
		c, err := dial(address)
		if err != nil {
			for _, c := range all {
				c.Close()
			}
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// each works on all connections at once, and closes them.
func each(all []*conn, work func(*conn, *load) error) (load, error) {
	loads, errs := make([]load, len(all)), make([]error, len(all))
	var group sync.WaitGroup
	for i, c := range all {
		group.Go(func() {
			defer c.Close()
			errs[i] = work(c, &loads[i])
		})
	}
	group.Wait()
	var sum load
	for _, l := range loads {
		sum.add(l)
	}
	return sum, cmp.Or(errs...)
}
