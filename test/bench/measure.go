package main

import (
	"context"
	"errors"
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
	{"latency", latency},
	{"streams", streams},
	{"pace", paced},
	{"bodies", bodies},
	{memoryStep, memory},
}

const memoryStep = "memory"

// busy closes the loop over the call while it looks at the candidate's processor time.
func (s *subject) busy(ctx context.Context, q call, n int) (l load, cpu time.Duration, err error) {
	// A moment before counts for nothing: connections are made, and the collector finds its pace.
	if _, err := closed(ctx, q, n, min(s.duration/5, 500*time.Millisecond)); err != nil {
		return l, 0, s.wrong(err)
	}
	before := s.tree.cpu()
	l, err = closed(ctx, q, n, s.duration)
	return l, s.tree.cpu() - before, s.wrong(err)
}

// wrong says who answered wrongly.
func (s *subject) wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; it has printed:\n%s", s.candidate.name, err, s.printed)
}

// requests is what a call costs where there is nothing else.
func requests(ctx context.Context, s *subject, f figures) error {
	l, cpu, err := s.busy(ctx, newCall(s.endpoint, chat(ordinary, "")), connections)
	if err != nil {
		return err
	}
	f["request_cpu_us"] = micros(cpu) / float64(l.Count)
	f["requests_per_second"] = float64(l.Count) / l.Elapsed.Seconds()
	return nil
}

// latency is what the candidate adds to an answer at half the rate that it could bear: what passes through it,
// less what goes straight to the upstream at the same rate.
func latency(ctx context.Context, s *subject, f figures) error {
	most, known := f["requests_per_second"]
	if !known {
		return errors.New("half a candidate's rate isn't known without the step requests")
	}
	rate := most / 2
	body := chat(ordinary, "")
	var direct, through load
	for range turns { // in short turns, so that what else the machine does falls on both
		l, err := open(ctx, []call{newCall(s.mock.endpoint, body)}, waiting, rate, s.duration/turns)
		if err != nil {
			return err
		}
		direct.add(l)
		if l, err = open(ctx, []call{newCall(s.endpoint, body)}, waiting, rate, s.duration/turns); err != nil {
			return s.wrong(err)
		}
		through.add(l)
	}
	f["rate"] = rate
	for name, q := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		d, t := millis(quantile(direct.Latencies, q)), millis(quantile(through.Latencies, q))
		f["direct_"+name+"_ms"], f["through_"+name+"_ms"], f["added_"+name+"_ms"] = d, t, t-d
	}
	return nil
}

const turns = 5

// waiting is how many calls can be under way at a fixed rate, before one has to wait to be sent. The wait counts.
const waiting = 64

// events is how many a stream has.
const events = 100

// streams is what an event costs where nothing paces it.
func streams(ctx context.Context, s *subject, f figures) error {
	l, cpu, err := s.busy(ctx, newCall(s.endpoint, streamed(events, 0)), connections)
	if err != nil {
		return err
	}
	f["event_cpu_us"] = micros(cpu) / float64(l.Events)
	f["events_per_second"] = float64(l.Events) / l.Elapsed.Seconds()
	return nil
}

// Streams whose events come one by one, as a model writes them: few enough for the slowest candidate.
const (
	pace        = 10 * time.Millisecond
	pacedAtOnce = 8
)

// paced is what an event costs that comes by itself, and how much later and less evenly it arrives.
func paced(ctx context.Context, s *subject, f figures) error {
	body := streamed(events, pace)
	direct, err := closed(ctx, newCall(s.mock.endpoint, body), pacedAtOnce, s.duration/2)
	if err != nil {
		return err
	}
	through, cpu, err := s.busy(ctx, newCall(s.endpoint, body), pacedAtOnce)
	if err != nil {
		return err
	}
	f["paced_event_cpu_us"] = micros(cpu) / float64(through.Events)
	f["added_first_ms"] = millis(quantile(through.Firsts, 0.5) - quantile(direct.Firsts, 0.5))
	f["added_gap_p99_ms"] = millis(quantile(through.Gaps, 0.99) - quantile(direct.Gaps, 0.99))
	return nil
}

// larger are bodies that are sent besides the ordinary ones, few at once.
var larger = []struct {
	name        string
	size        int
	connections int
}{{"100k", 100 << 10, 8}, {"10m", 10 << 20, 2}}

// bodies is what larger requests cost.
func bodies(ctx context.Context, s *subject, f figures) error {
	for _, b := range larger {
		l, cpu, err := s.busy(ctx, newCall(s.endpoint, chat(b.size, "")), b.connections)
		if err != nil {
			return err
		}
		f["body_"+b.name+"_cpu_us"] = micros(cpu) / float64(l.Count)
		f["body_"+b.name+"_per_second"] = float64(l.Count) / l.Elapsed.Seconds()
	}
	return nil
}
