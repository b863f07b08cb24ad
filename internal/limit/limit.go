// Package limit bounds what clients may use: requests and tokens a minute, requests at once, and money
// by calendar day and month.
//
// Reserve takes from every limit that applies what the call may cost, before it is made, or refuses it
// and takes nothing. Settle then replaces what was reserved by what was used. Between the two the
// reservation counts in full: numbers of requests are never exceeded, and tokens and money only by what
// calls in flight use beyond their reservations.
//
// A rate of N a minute is a bucket (GCRA): N at once, and N/60 more each second; in any t seconds at
// most N + N·t/60. What is reserved stays in the bucket until it is settled; from then on it drains. A
// budget is a sum that begins anew with the calendar day or month of its time zone; a call belongs to
// the one in which it began.
//
// Counts are kept in a store: the memory of one instance, or a Redis that all instances share, whose
// clock then counts. The store is asked once before a call, and once after one whose use isn't settled
// from the start, within 50 ms each. While it can't be asked, each limit's on_store_failure decides.
package limit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// bound is within, but in tests on machines that are busy.
const bound = 50 * time.Millisecond

// Limits are the configured limits over their store. It is safe for concurrent use.
type Limits struct {
	rules  []rule
	models map[string]config.Model
	store  store
	now    func() time.Time
	// behind holds a place for each settlement that nobody waits for.
	behind chan struct{}
}

// Credential is what the store's AUTH takes, as it is now.
type Credential func(ctx context.Context) (string, error)

// New returns the limits of c. It connects to nothing. credential is asked for with each new
// connection, where the store has one. Its error is config.Faults.
func New(c *config.Config, credential Credential) (*Limits, error) {
	return newLimits(c, bound, credential)
}

func newLimits(c *config.Config, within time.Duration, credential Credential) (*Limits, error) {
	// The wall clock: the monotonic one stands still while the instance is frozen.
	now := func() time.Time { return time.Now().Round(0) }
	l := &Limits{rules: newRules(c), models: c.Models, now: now, behind: make(chan struct{}, mostBehind)}
	if len(l.rules) == 0 || c.LimitStore.InMemory() {
		l.store = newMemory(now)
		return l, nil
	}
	// An instance that is gone leaves its reservations behind; no request lasts longer than this.
	lease := c.Server.RequestTimeout + time.Minute
	var err error
	l.store, err = newRedis(c, within, lease, credential)
	return l, err
}

// Warm opens a connection to the store, so that no request waits for one.
func (l *Limits) Warm(ctx context.Context) {
	if len(l.rules) > 0 {
		l.store.warm(ctx)
	}
}

// store keeps counts.
type store interface {
	// name returns a new name for a reservation.
	name() string
	// take takes all of the charges, or none; id names the reservation. It returns the counts'
	// levels, after the charges where they were taken, and the store's time. The error is
	// errPeriod where a charge's period isn't that of the returned time.
	take(ctx context.Context, id string, charges []charge) (taken bool, levels []level, now time.Time, err error)
	// settle replaces what was reserved under id by what was used. Where the reservation isn't there, it
	// counts what was used all the same; late does nothing then, so that it may follow a settle whose
	// answer never came.
	settle(ctx context.Context, id string, charges []charge, used []int64, late bool) ([]level, error)
	// peek returns the levels alone.
	peek(ctx context.Context, charges []charge) ([]level, time.Time, error)
	warm(ctx context.Context)
}

// errPeriod is why nothing was taken: the store's clock is in another day or month than ours.
var errPeriod = errors.New("the period of a budget is over, or has not begun")

// rule is a configured limit, made ready to match.
type rule struct {
	config.Limit
	// label is what clients and operators are told; id is what counts are kept under.
	label, id  string
	anyModel   bool
	operations map[operation.Name]bool // nil: any
	zone       *time.Location
	bounds     []bounds
}

// bounds is how much of a kind a limit allows, in the kind's unit.
type bounds struct {
	kind kind
	most int64
	// of begins the keys of its counts.
	of string
	// latest is the period that was charged last.
	latest *atomic.Pointer[period]
}

func newRules(c *config.Config) []rule {
	rules := make([]rule, len(c.Limits))
	for i, l := range c.Limits {
		r := rule{Limit: l, label: l.Name, id: l.Name, anyModel: slices.Contains(l.Models, "*")}
		if l.Name == "" {
			r.label, r.id = fmt.Sprintf("limits[%d]", i), "~"+digest(l.Selector())
		}
		if l.Operations != nil {
			r.operations = map[operation.Name]bool{}
			for _, op := range operation.All() {
				if slices.Contains(l.Operations, string(op.Name)) || slices.Contains(l.Operations, string(op.Group)) {
					r.operations[op.Name] = true
				}
			}
		}
		r.zone, _ = time.LoadLocation(l.TimeZone) // config.Load checked it
		add := func(k kind, most int64) {
			if most > 0 {
				r.bounds = append(r.bounds, bounds{k, most, fmt.Sprintf("{llmgateway}:%s:%s:", r.id, k), new(atomic.Pointer[period])})
			}
		}
		add(requests, l.RequestsPerMinute)
		add(tokens, l.TokensPerMinute)
		add(concurrent, l.ConcurrentRequests)
		if l.HasBudget() { // both are counted, for whoever asks how much was spent
			add(day, nanoUSD(l.USDPerDay))
			add(month, nanoUSD(l.USDPerMonth))
		}
		rules[i] = r
	}
	return rules
}

// nanoUSD is an amount of money; none is no bound.
func nanoUSD(usd float64) int64 {
	if usd == 0 {
		return boundless
	}
	return int64(usd*1e9 + 0.5)
}

// digest names something in a key of the store, where it neither grows nor is read.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

// matchesClient reports whether the rule is about the client, as far as clients go.
func (r *rule) matchesClient(who *principal.Principal) bool {
	return (r.Issuers == nil || slices.Contains(r.Issuers, who.Issuer)) &&
		(r.Clients == nil || slices.Contains(r.Clients, who.ID())) &&
		(r.Groups == nil || r.firstGroupOf(who) != "")
}

// firstGroupOf is the first of the rule's groups that the client is in, or "".
func (r *rule) firstGroupOf(who *principal.Principal) string {
	for _, g := range r.Groups {
		if _, is := slices.BinarySearch(who.Groups, g); is {
			return g
		}
	}
	return ""
}

// groupsOf lists those of the rule's groups that the client is in, in the rule's order.
func (r *rule) groupsOf(who *principal.Principal) []string {
	var in []string
	for _, g := range r.Groups {
		if _, is := slices.BinarySearch(who.Groups, g); is && !slices.Contains(in, g) {
			in = append(in, g)
		}
	}
	return in
}

// matches reports whether the rule is about the call, as far as calls go.
func (r *rule) matches(c *call) bool {
	if r.operations != nil && !r.operations[c.operation.Name] {
		return false
	}
	if r.Models == nil && r.Per != config.PerModel {
		return true
	}
	return slices.ContainsFunc(c.models, r.matchesModel)
}

func (r *rule) matchesModel(name string) bool {
	return r.Models == nil || r.anyModel || slices.Contains(r.Models, name)
}

// subjects are whose counts the calls go to.
func (r *rule) subjects(who *principal.Principal, calls []*call) []string {
	switch r.Per {
	case config.PerGroup:
		return r.groupsOf(who)
	case config.PerModel:
		var names []string
		for _, c := range calls {
			for _, m := range c.models {
				if r.matchesModel(m) && !slices.Contains(names, m) {
					names = append(names, m)
				}
			}
		}
		return names
	}
	return []string{who.ID()}
}

// Reserve takes what the request may cost from each limit that applies. The Reservation is never nil:
// where nothing was taken, its methods do nothing. The error is an *apierror.Error
// (rate_limit_exceeded, budget_exceeded, limits_unavailable; invalid_request where nobody sees what it
// uses), or the context's.
func (l *Limits) Reserve(ctx context.Context, who *principal.Principal, req *operation.Request) (*Reservation, error) {
	if len(l.rules) == 0 {
		return &Reservation{}, nil
	}
	r := &Reservation{limits: l, id: l.store.name(), calls: l.calls(req)}
	matched := l.match(r, who)
	if len(matched) == 0 {
		return r, nil
	}
	now := l.now()
	for range 2 { // once more by the store's clock, where it is in another day than ours
		r.charges = l.charges(matched, now)
		if len(r.charges) == 0 {
			return r, nil
		}
		if err := r.visible(); err != nil {
			return r, err
		}
		if err := r.neverFits(); err != nil {
			return r, err
		}
		var taken bool
		var err error
		taken, r.levels, now, err = l.store.take(ctx, r.id, r.charges)
		switch {
		case errors.Is(err, errPeriod):
			continue
		case err != nil && ctx.Err() != nil:
			r.giveBack(err)
			return r, context.Cause(ctx)
		case err != nil:
			return r, r.unavailable(err)
		case !taken:
			return r, r.refuse(now)
		}
		r.open, r.at = true, now
		r.noteBudget(r.charges, r.levels)
		return r, nil
	}
	r.StoreError = errPeriod
	return r, unavailable(r.charges[0].rule.label, errPeriod)
}

// match finds the rules that are about the request, and the group that it is charged to.
func (l *Limits) match(r *Reservation, who *principal.Principal) []matched {
	var found []matched
	for i := range l.rules {
		rule := &l.rules[i]
		if !rule.matchesClient(who) {
			continue
		}
		var calls []*call
		for j := range r.calls {
			if rule.matches(&r.calls[j]) {
				calls = append(calls, &r.calls[j])
			}
		}
		if len(calls) == 0 {
			continue
		}
		if r.Group == "" && rule.Groups != nil {
			r.Group = rule.firstGroupOf(who)
		}
		found = append(found, matched{rule, calls, rule.subjects(who, calls)})
	}
	return found
}

// matched is a rule, the calls that it is about, and whose counts they go to.
type matched struct {
	*rule
	calls    []*call
	subjects []string
}

// charges are what the calls take from each count at that time.
func (l *Limits) charges(all []matched, now time.Time) []charge {
	size := 0
	for _, m := range all {
		size += len(m.subjects) * len(m.bounds)
	}
	charges := make([]charge, 0, size)
	for _, m := range all {
		for _, subject := range m.subjects {
			for _, b := range m.bounds {
				c := m.charge(b, subject, now)
				for _, call := range m.calls {
					if m.Per == config.PerModel && !slices.Contains(call.models, subject) {
						continue
					}
					l.add(&c, call)
				}
				if c.amount > 0 {
					charges = append(charges, c)
				}
			}
		}
	}
	return charges
}

// charge is an empty one for the subject's count.
func (r *rule) charge(b bounds, subject string, now time.Time) charge {
	c := charge{rule: r, kind: b.kind, at: place{of: b.of, subject: subject}, most: b.most}
	if !b.kind.isBudget() {
		return c
	}
	c.period = b.latest.Load()
	if c.period == nil || now.Before(c.from) || !now.Before(c.until) {
		c.period = newPeriod(b.kind, now.In(r.zone))
		b.latest.Store(c.period)
	}
	c.at.period = c.name
	return c
}

// unavailable decides what becomes of a request that could not be counted.
func (r *Reservation) unavailable(err error) error {
	r.StoreError = err
	for _, c := range r.charges {
		if c.rule.OnStoreFailure == config.Deny || c.rule.OnStoreFailure == "" && c.kind.isBudget() {
			r.giveBack(err)
			return unavailable(c.rule.label, err)
		}
	}
	r.open, r.at = true, r.limits.now() // it may have been counted, or be so in the end
	return nil
}

func unavailable(label string, err error) error {
	return apierror.New(apierror.LimitsUnavailable, "the gateway can't count what the limit %s allows; try again", label).
		Because(fmt.Errorf("ask the limits' store: %w", err)).After(time.Second)
}
