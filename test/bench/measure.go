package main

import (
	"context"
	"fmt"
	"time"
)

// figures are what was measured, by name. Names end with their unit.
type figures map[string]float64

// ordinary is a body's usual size in bytes.
const ordinary = 1200

// connections is how many calls are under way at once where they are sent as fast as they are answered.
const connections = 16

// subject is a candidate that is measured, and what it is measured with.
type subject struct {
	*candidate
	*instance
	// mock is the upstream itself, to know what an answer takes without a candidate between.
	mock     *instance
	duration time.Duration
}

// step is a part of a round. It adds to the figures, and may use those of the steps before.
type step struct {
	name    string
	measure func(context.Context, *subject, figures) error
}

var steps = []step{
	{"requests", requests},
}

// busy closes the loop over the call while it watches the candidate: its processors' time, and the most
// memory it held.
func (s *subject) busy(ctx context.Context, q call, n int) (l load, cpu time.Duration, rss int64, err error) {
	// A moment before counts for nothing: connections are made, and the collector finds its pace.
	if _, err := closed(ctx, q, n, min(s.duration/5, 500*time.Millisecond)); err != nil {
		return l, 0, 0, s.wrong(err)
	}
	most := make(chan int64)
	watching, stop := context.WithCancel(ctx)
	go func() { most <- s.tree.most(watching) }()
	before := s.tree.cpu()
	l, err = closed(ctx, q, n, s.duration)
	cpu = s.tree.cpu() - before
	stop()
	return l, cpu, <-most, s.wrong(err)
}

// wrong says who answered wrongly.
func (s *subject) wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; it has printed:\n%s", s.candidate.name, err, s.printed)
}

// most samples the memory until ctx ends.
func (t tree) most(ctx context.Context) (most int64) {
	for {
		most = max(most, t.rss())
		select {
		case <-ctx.Done():
			return most
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// requests is what a call costs where there is nothing else.
func requests(ctx context.Context, s *subject, f figures) error {
	l, cpu, rss, err := s.busy(ctx, newCall(s.endpoint, chat(ordinary, "")), connections)
	if err != nil {
		return err
	}
	f["request_cpu_us"] = micros(cpu) / float64(l.Count)
	f["requests_per_second"] = float64(l.Count) / l.Elapsed.Seconds()
	f["load_rss_mib"] = mib(rss)
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
