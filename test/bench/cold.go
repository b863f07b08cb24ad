package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"llmgateway.dev/gateway/test/program"
)

// coldStart is how long a request takes whose instance is yet to be started, on one processor. Times are
// in milliseconds since the process was started.
type coldStart struct {
	Runs  []coldRun `json:"runs"`
	Total float64   `json:"median_total_ms"`
	Own   float64   `json:"median_own_ms"`
	// Binary is the program's size; Inits are what its packages did before main, those that took longest first.
	Binary float64    `json:"binary_mib"`
	Init   float64    `json:"init_ms"`
	Inits  []initTime `json:"inits"`
}

// coldRun is one start. Own is the total less the longest chain of waits.
type coldRun struct {
	Listening float64 `json:"listening_ms"`
	Total     float64 `json:"total_ms"`
	Chain     float64 `json:"longest_chain_ms"`
	Own       float64 `json:"own_ms"`
	Waits     []wait  `json:"waits"`
}

// initTime is a line of GODEBUG=inittrace=1.
type initTime struct {
	Package string  `json:"package"`
	MS      float64 `json:"ms"`
	KiB     float64 `json:"kib"`
}

// lateness is how long each double takes to answer.
const lateness = 20 * time.Millisecond

func measureCold(ctx context.Context, mock *instance, runs int) (*coldStart, error) {
	l := &late{delay: lateness}
	defer l.close()
	w, err := newWorld(mock.address, setting{late: l.before})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var c coldStart
	var totals, owns []float64
	for range runs {
		r, err := w.coldRun(ctx, l)
		if err != nil {
			return nil, err
		}
		c.Runs = append(c.Runs, r)
		totals, owns = append(totals, r.Total), append(owns, r.Own)
	}
	c.Total, c.Own = median(totals), median(owns)
	info, err := os.Stat(function)
	if err != nil {
		return nil, err
	}
	c.Binary = mib(info.Size())
	c.Inits, err = w.traceInits(ctx)
	for _, i := range c.Inits {
		c.Init += i.MS
	}
	return &c, err
}

func (w *world) coldRun(ctx context.Context, l *late) (r coldRun, err error) {
	port, err := program.FreePort()
	if err != nil {
		return r, err
	}
	q := newCall(endpoint{"127.0.0.1:" + port, chatPath, map[string]string{"Authorization": "Bearer " + w.issuer.Token(clientID)}}, chat(ordinary, ""))
	begun := l.begin()
	p, err := start("gateway", environment(append(w.environment(), "PORT="+port, "GOMAXPROCS=1")...), onOneProcessor(function)...)
	if err != nil {
		return r, err
	}
	defer p.stop()
	c, err := p.connect(ctx, q.address)
	if err != nil {
		return r, err
	}
	defer c.Close()
	r.Listening = millis(time.Since(begun))
	if err := c.do(q, nil); err != nil {
		return r, fmt.Errorf("the first call of a cold start: %w; it has printed:\n%s", err, p.printed)
	}
	r.Total = millis(time.Since(begun))
	r.Waits = l.noted(true)
	r.Chain = longestChain(r.Waits)
	r.Own = r.Total - r.Chain
	return r, nil
}

// longestChain is what a start can't do without waiting for, were there nothing else to do: either what verifies
// the client's token or what makes our own, and then the upstream.
func longestChain(waits []wait) float64 {
	sum := func(names ...string) (sum float64) {
		for _, w := range waits {
			if slices.Contains(names, w.For) {
				sum += w.took()
			}
		}
		return sum
	}
	return max(sum(waitDiscovery, waitKeys), sum(waitSecret, waitExchange)) + sum(waitUpstream)
}

// connect dials until somebody listens.
func (p *process) connect(ctx context.Context, address string) (*conn, error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := dial(address)
		if err == nil {
			return c, nil
		}
		select {
		case <-p.Ended:
			return nil, fmt.Errorf("%s ended before it listened, having printed:\n%s", p.Name, p.printed)
		default:
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, cmp.Or(ctx.Err(), err)
		}
		sleepUntil(time.Now().Add(500 * time.Microsecond))
	}
}

// onOneProcessor keeps a program on one, where there is util-linux. (GOMAXPROCS=1 alone leaves the runtime's own
// threads the others.)
func onOneProcessor(argv ...string) []string {
	if _, err := exec.LookPath("taskset"); err == nil {
		return append([]string{"taskset", "-c", "0"}, argv...)
	}
	return argv
}

// traceInits starts the function once more, to see what happens before main.
func (w *world) traceInits(ctx context.Context) ([]initTime, error) {
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := start("gateway", environment(append(w.environment(), "PORT="+port, "GOMAXPROCS=1", "GODEBUG=inittrace=1")...), onOneProcessor(function)...)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	c, err := p.connect(ctx, "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	c.Close()
	all := readInits(p.printed.kept())
	if len(all) == 0 {
		return nil, fmt.Errorf("GODEBUG=inittrace=1 has printed nothing that is known:\n%s", p.printed)
	}
	return all, nil
}

// readInits reads lines such as "init internal/bytealg @0.008 ms, 0 ms clock, 0 bytes, 0 allocs"
// (pkg.go.dev/runtime#hdr-Environment_Variables).
func readInits(text []byte) (all []initTime) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var i initTime
		var at, size float64
		if _, err := fmt.Sscanf(strings.ReplaceAll(lines.Text(), ",", ""), "init %s @%f ms %f ms clock %f bytes", &i.Package, &at, &i.MS, &size); err == nil {
			i.KiB = size / 1024
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(a, b initTime) int { return cmp.Compare(b.MS, a.MS) })
	return all
}
