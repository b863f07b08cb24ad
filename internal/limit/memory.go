package limit

import (
	"context"
	"sync"
	"time"
)

// memory keeps counts in this instance alone. With N instances, N times as much gets through; and it
// forgets when the instance ends.
type memory struct {
	now func() time.Time

	mu     sync.Mutex
	counts map[place]*count
	// sweep is how many counts there may be before those are dropped that count nothing any more.
	sweep int
}

// count is one count. Nothing stays of a reservation but its amount: a process that dies takes both along.
type count struct {
	level
	// at is when used was what it is; since then it drains.
	at time.Time
	// until is the end of a budget's period.
	until time.Time
	most  int64
	kind  kind
}

// leastSweep is how many counts are kept without a look at whether they still count.
const leastSweep = 4096

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, counts: map[place]*count{}, sweep: leastSweep}
}

func (m *memory) warm(context.Context) {}

// name is none: a reservation is settled once, and by the process that made it.
func (m *memory) name() string { return "" }

func (m *memory) take(_ context.Context, _ string, charges []charge) (bool, []level, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	levels := make([]level, len(charges))
	fit := true
	for i := range charges {
		c := &charges[i]
		if c.kind.isBudget() && (now.Before(c.from) || !now.Before(c.until)) {
			return false, nil, now, errPeriod
		}
		if n := m.counts[c.at]; n != nil {
			n.drain(c.most, now)
			levels[i] = n.level
		}
		fit = fit && c.fits(levels[i])
	}
	if !fit {
		return false, levels, now, nil
	}
	m.tidy(now)
	for i := range charges {
		c := &charges[i]
		n := m.count(c, now)
		if c.kind.settles() {
			n.held += c.amount
		} else {
			n.used += c.amount * c.kind.unit()
		}
		levels[i] = n.level
	}
	return true, levels, now, nil
}

func (m *memory) settle(_ context.Context, _ string, charges []charge, used []int64, _ bool) ([]level, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	levels := make([]level, len(charges))
	for i := range charges {
		c := &charges[i]
		n := m.count(c, now)
		n.held = max(0, n.held-c.amount)
		if c.kind != concurrent {
			n.used = min(n.used+used[i]*c.kind.unit(), boundless)
		}
		levels[i] = n.level
	}
	return levels, nil
}

func (m *memory) peek(_ context.Context, charges []charge) ([]level, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	levels := make([]level, len(charges))
	for i := range charges {
		if n := m.counts[charges[i].at]; n != nil {
			n.drain(charges[i].most, now)
			levels[i] = n.level
		}
	}
	return levels, now, nil
}

// count is the charge's, as full as it is now.
func (m *memory) count(c *charge, now time.Time) *count {
	n := m.counts[c.at]
	if n == nil {
		n = &count{at: now, kind: c.kind, most: c.most}
		if c.period != nil {
			n.until = c.until
		}
		m.counts[c.at] = n
	}
	n.drain(c.most, now)
	return n
}

// drain lets go what a rate has got back since. A clock that went back begins anew.
func (n *count) drain(most int64, now time.Time) {
	if n.kind.isRate() {
		elapsed := max(0, min(now.Sub(n.at), 400*24*time.Hour)) // 2^53 units are drained before
		if gone := int64(elapsed / time.Microsecond); gone > n.used/most {
			n.used = 0
		} else {
			n.used -= gone * most
		}
	}
	n.at = now
}

// tidy drops the counts that count nothing any more, when there are twice as many as were left the
// last time.
func (m *memory) tidy(now time.Time) {
	if len(m.counts) < m.sweep {
		return
	}
	for key, n := range m.counts {
		n.drain(n.most, now)
		if n.held == 0 && (n.used == 0 || n.kind.isBudget() && !now.Before(n.until)) {
			delete(m.counts, key)
		}
	}
	m.sweep = max(leastSweep, 2*len(m.counts))
}
