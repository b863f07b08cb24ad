package limit

import (
	"context"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/principal"
)

// Status is a limit as a client may see it: what it allows, and what is left now.
type Status struct {
	Limit      string   `json:"limit"`
	Models     []string `json:"models,omitempty"`
	Operations []string `json:"operations,omitempty"`
	// Per says who shares the count, Group and Model which it is.
	Per   config.Per `json:"per"`
	Group string     `json:"group,omitempty"`
	Model string     `json:"model,omitempty"`

	Requests   *Room   `json:"requests_per_minute,omitempty"`
	Tokens     *Room   `json:"tokens_per_minute,omitempty"`
	Concurrent *Room   `json:"concurrent_requests,omitempty"`
	Day        *Budget `json:"usd_per_day,omitempty"`
	Month      *Budget `json:"usd_per_month,omitempty"`
}

// Room is what is left of a rate, or of a number of requests.
type Room struct {
	Limit int64 `json:"limit"`
	// Remaining is nil where the store could not be asked.
	Remaining *int64 `json:"remaining,omitempty"`
}

// Budget is in USD. Limit and Remaining are nil where only the other period is limited; what the store
// would have told, where it could not be asked.
type Budget struct {
	Limit     *float64  `json:"limit,omitempty"`
	Spent     *float64  `json:"spent,omitempty"`
	Remaining *float64  `json:"remaining,omitempty"`
	Resets    time.Time `json:"resets"`
}

// Show lists the limits that apply to the client in any of its requests; models are those that it may use.
// The error says why nothing is known of what is left; the list is complete all the same.
func (l *Limits) Show(ctx context.Context, who *principal.Principal, models []string) ([]Status, error) {
	now := l.now()
	for range 2 { // once more by the store's clock, where it is in another day than ours
		shown := l.shown(who, models, now)
		var charges []charge
		for _, s := range shown {
			charges = append(charges, s.charges...)
		}
		if len(charges) == 0 {
			return nil, nil
		}
		levels, at, err := l.store.peek(ctx, charges)
		if err == errPeriod {
			now = at
			continue
		}
		return tell(shown, levels), err
	}
	return tell(l.shown(who, models, now), nil), errPeriod
}

// shown is a limit that is shown, and its counts.
type shown struct {
	Status
	charges []charge
}

func (l *Limits) shown(who *principal.Principal, models []string, now time.Time) []shown {
	var all []shown
	for i := range l.rules {
		r := &l.rules[i]
		if !r.matchesClient(who) {
			continue
		}
		subjects := r.subjects(who, []*call{{models: models}})
		for _, subject := range subjects {
			s := shown{Status: Status{Limit: r.label, Models: r.Models, Operations: r.Operations, Per: r.Per}}
			switch r.Per {
			case config.PerGroup:
				s.Group = subject
			case config.PerModel:
				s.Model = subject
			}
			for _, b := range r.bounds {
				s.charges = append(s.charges, r.charge(b, subject, now))
			}
			all = append(all, s)
		}
	}
	return all
}

// tell writes the levels into what is shown, in the order of the charges; nil is not known.
func tell(all []shown, levels []level) []Status {
	told := make([]Status, len(all))
	for i, s := range all {
		for j := range s.charges {
			c := &s.charges[j]
			var l *level
			if levels != nil {
				l, levels = &levels[0], levels[1:]
			}
			s.tell(c, l)
		}
		told[i] = s.Status
	}
	return told
}

func (s *Status) tell(c *charge, l *level) {
	if c.kind.isBudget() {
		b := &Budget{Resets: c.until}
		if c.most != boundless {
			b.Limit = inUSD(c.most)
		}
		if l != nil {
			b.Spent = inUSD(l.used)
			if c.most != boundless {
				b.Remaining = inUSD(c.left(*l))
			}
		}
		if c.kind == day {
			s.Day = b
		} else {
			s.Month = b
		}
		return
	}
	room := &Room{Limit: c.most}
	if l != nil {
		left := c.left(*l)
		room.Remaining = &left
	}
	switch c.kind {
	case requests:
		s.Requests = room
	case tokens:
		s.Tokens = room
	case concurrent:
		s.Concurrent = room
	}
}

func inUSD(nano int64) *float64 {
	usd := float64(nano) / 1e9
	return &usd
}
