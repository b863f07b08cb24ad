package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// atOnce is how many streams are open together.
	atOnce = 1000
	// slow is how far their events are apart: memory is to be seen, not work.
	slow = 5 * time.Second
	// opening bounds how long they may take to begin.
	opening = 60 * time.Second
)

// memory is measured in processes of their own, because what a process once held it may keep.
func memory(ctx context.Context, s *subject, f figures) error {
	for _, hold := range []func(*instance) error{
		func(i *instance) error { return i.holdStreams(ctx, s.streams(), f) },
		func(i *instance) error { return i.holdBody(f) },
		func(i *instance) error { return i.holdLoad(ctx, s.duration, f) },
	} {
		if err := s.fresh(ctx, hold); err != nil {
			return err
		}
	}
	return nil
}

// streams is how many the candidate holds.
func (s *subject) streams() int {
	if s.slow {
		return atOnce / 5
	}
	return atOnce
}

// fresh starts another instance, warms it, and lets it rest.
func (s *subject) fresh(ctx context.Context, use func(*instance) error) error {
	i, err := s.start(ctx, s.mock.address)
	if err != nil {
		return err
	}
	defer i.stop()
	if err := i.check(ctx); err != nil {
		return err
	}
	if _, err := closed(ctx, newCall(i.endpoint, chat(ordinary, "")), 4, 200*time.Millisecond); err != nil {
		return s.wrong(err)
	}
	time.Sleep(300 * time.Millisecond)
	return s.wrong(use(i))
}

// holdStreams opens that many streams and looks at the memory once all have begun.
func (i *instance) holdStreams(ctx context.Context, n int, f figures) error {
	idle := i.tree.rss()
	f["idle_rss_mib"] = mib(idle)
	q := newCall(i.endpoint, streamed(4*int(opening/slow), slow))
	ctx, end := context.WithTimeout(ctx, opening)
	defer end()
	var begun, ended sync.WaitGroup
	begun.Add(n)
	errs := make(chan error, n)
	for range n {
		ended.Go(func() {
			var once sync.Once
			if err := i.hold(ctx, q, func() { once.Do(begun.Done) }); err != nil {
				errs <- err
				end()
			}
			once.Do(begun.Done)
		})
	}
	begun.Wait()
	var most int64
	for range 10 {
		most = max(most, i.tree.rss())
		time.Sleep(100 * time.Millisecond)
	}
	late := ctx.Err() != nil
	end()
	ended.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if late {
		return fmt.Errorf("%d streams took longer than %s to begin", n, opening)
	}
	f["streams_held"] = float64(n)
	f["streams_rss_mib"] = mib(most)
	f["stream_kib"] = float64(most-idle) / 1024 / float64(n)
	return nil
}

// hold reads a stream until ctx ends.
func (i *instance) hold(ctx context.Context, q call, event func()) error {
	c, err := dial(q.address)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	err = c.do(q, func(time.Time) { event() })
	if ctx.Err() != nil {
		return nil // we broke it
	}
	if err == nil {
		err = io.ErrUnexpectedEOF // it ended before we did
	}
	return err
}

// holdBody sends one large body and looks at the most memory that was held meanwhile.
func (i *instance) holdBody(f figures) error {
	const size = 10 << 20
	idle := i.tree.rss()
	i.tree.forget()
	c, err := dial(i.address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.do(newCall(i.endpoint, chat(size, "")), nil); err != nil {
		return err
	}
	f["body_10m_copies"] = float64(i.tree.peak()-idle) / size
	return nil
}

// holdLoad sends ordinary calls and looks at the most memory that was held meanwhile.
func (i *instance) holdLoad(ctx context.Context, during time.Duration, f figures) error {
	i.tree.forget()
	_, err := closed(ctx, newCall(i.endpoint, chat(ordinary, "")), connections, during)
	f["load_rss_mib"] = mib(i.tree.peak())
	return err
}
