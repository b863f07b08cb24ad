package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// refreshed is what requests felt while what the gateway holds was renewed. Times are in milliseconds since the
// first request.
type refreshed struct {
	Rate   float64   `json:"rate"`
	Steady float64   `json:"steady_p99_ms"`
	Events []renewal `json:"events"`
	// Worst are the longest latencies of each tenth of a second.
	Worst []float64 `json:"worst_per_100ms_ms"`
	Waits []wait    `json:"waits"`
}

// renewal is one of the events, and the worst latency in the second that began with it.
type renewal struct {
	Name  string  `json:"name"`
	At    float64 `json:"at_ms"`
	Worst float64 `json:"worst_ms"`
	// Direct is the worst of calls that went straight to the upstream in that second: what is the machine's.
	Direct float64 `json:"direct_worst_ms"`
	// Fetches is how many fetches there were of what was renewed: one.
	Fetches int `json:"fetches"`
}

// The run, from its start: an access token that is stale at half its life, a new version of the secret, and the
// issuer's keys, which age in a minute.
const (
	tokenLife    = 20 * time.Second
	rotation     = 20 * time.Second
	secretsAge   = 5 * time.Second
	keysAge      = time.Minute
	refreshing   = keysAge + 5*time.Second
	refreshRate  = 200
	refreshDelay = 100 * time.Millisecond
	someTokens   = 50
)

// measureRefresh sends calls through one instance while its credentials are renewed.
func measureRefresh(ctx context.Context, mock *instance) (*refreshed, error) {
	l := &late{delay: refreshDelay}
	defer l.close()
	w, err := newWorld(mock.address, setting{refresh: secretsAge, late: l.before})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	w.issuer.SetCacheControl(fmt.Sprintf("max-age=%d", int(keysAge.Seconds())))
	w.tokens.ExpiresIn(int(tokenLife.Seconds()))
	i, err := w.start(ctx)
	if err != nil {
		return nil, err
	}
	defer i.stop()
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	w.tokens.ExpiresIn(3599)
	var calls []call
	for range someTokens {
		e := i.endpoint
		e.headers = map[string]string{"Authorization": "Bearer " + w.issuer.Token(clientID)}
		calls = append(calls, newCall(e, chat(ordinary, "")))
	}
	begun := l.begin()
	defer time.AfterFunc(rotation, func() {
		w.tokens.RotateKey()
		w.secrets.Add(keyName, w.tokens.ServiceAccountKey())
	}).Stop()
	var straight load
	var straightErr error
	var both sync.WaitGroup
	both.Go(func() {
		straight, straightErr = open(ctx, []call{newCall(mock.endpoint, chat(ordinary, ""))}, waiting, refreshRate, refreshing)
	})
	through, err := open(ctx, calls, waiting, refreshRate, refreshing)
	both.Wait()
	if err != nil {
		return nil, fmt.Errorf("a call during the refresh: %w; the gateway has printed:\n%s", err, i.printed)
	}
	if straightErr != nil {
		return nil, straightErr
	}
	return summarize(through, straight, begun, l.noted(false))
}

// summarize finds the events among the waits: the exchange of the token that went stale, the one that a secret's new
// version brought about, and the fetch of the keys.
func summarize(through, straight load, begun time.Time, waits []wait) (*refreshed, error) {
	r := &refreshed{Rate: refreshRate, Waits: waits}
	for _, e := range []struct {
		name, fetch string
		from, to    time.Duration
	}{
		{"access token goes stale", waitExchange, 0, rotation},
		{"secret is rotated", waitExchange, rotation, keysAge},
		{"key set ages", waitKeys, 0, time.Hour},
	} {
		found := renewal{Name: e.name}
		for _, w := range waits {
			if w.For != e.fetch || w.Start < millis(e.from) || w.Start >= millis(e.to) {
				continue
			}
			if found.Fetches == 0 {
				found.At = w.Start
			}
			found.Fetches++
		}
		if found.Fetches == 0 {
			return nil, fmt.Errorf("refresh: %s, but nothing was fetched", e.name)
		}
		r.Events = append(r.Events, found)
	}
	var steady []time.Duration
	for i, due := range through.Dues {
		at, took := millis(due.Sub(begun)), millis(through.Latencies[i])
		if e := r.during(at, took); e != nil {
			e.Worst = max(e.Worst, took)
		} else {
			steady = append(steady, through.Latencies[i])
		}
		for slot := int(at / 100); slot >= len(r.Worst); {
			r.Worst = append(r.Worst, 0)
		}
		r.Worst[int(at/100)] = max(r.Worst[int(at/100)], took)
	}
	r.Steady = millis(quantile(steady, 0.99))
	for i, due := range straight.Dues {
		at, took := millis(due.Sub(begun)), millis(straight.Latencies[i])
		if e := r.during(at, took); e != nil {
			e.Direct = max(e.Direct, took)
		}
	}
	return r, nil
}

// during is the renewal in whose second a call was sent, or which began while it was under way.
func (r *refreshed) during(at, took float64) *renewal {
	for n := range r.Events {
		if e := &r.Events[n]; at >= e.At-took && at < e.At+1000 {
			return e
		}
	}
	return nil
}
