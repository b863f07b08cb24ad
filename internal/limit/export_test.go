package limit

import (
	"time"

	"llmgateway.dev/gateway/internal/config"
)

// NewAt is New by another clock.
func NewAt(c *config.Config, now func() time.Time, credential Credential) (*Limits, error) {
	l, err := New(c, credential)
	if err == nil {
		l.now = now
		if m, ok := l.store.(*memory); ok {
			m.now = now
		}
	}
	return l, err
}

// Bound is the longest wait for the store.
const Bound = bound

// Counts is how many counts the memory holds.
func (l *Limits) Counts() int { return len(l.store.(*memory).counts) }
