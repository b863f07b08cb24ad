package limit

import (
	"time"

	"llmgateway.dev/gateway/internal/config"
)

// NewAt is New by another clock, with all the time that a store may take on a busy machine.
func NewAt(c *config.Config, now func() time.Time, credential Credential) (*Limits, error) {
	l, err := newLimits(c, time.Minute, credential)
	if err == nil {
		l.now = now
		if m, ok := l.store.(*memory); ok {
			m.now = now
		}
	}
	return l, err
}

// SetPatience gives the store more time, or less, and returns what it had.
func (l *Limits) SetPatience(d time.Duration) (had time.Duration) {
	s := l.store.(*shared)
	had, s.within = s.within, d
	return had
}

// Behind is how many settlements are made that nobody waits for.
func (l *Limits) Behind() int { return len(l.behind) }

// Counts is how many counts the memory holds.
func (l *Limits) Counts() int { return len(l.store.(*memory).counts) }
