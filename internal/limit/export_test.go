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

// SetPatience gives the store more time, or less.
func (l *Limits) SetPatience(d time.Duration) { l.store.(*shared).within = d }

// Counts is how many counts the memory holds.
func (l *Limits) Counts() int { return len(l.store.(*memory).counts) }
