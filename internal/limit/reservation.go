package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
)

// Reservation is what limits took for one request. Settle ends it, once.
type Reservation struct {
	// Group is the first group, in the configuration's order, by which a limit applied.
	Group string
	// Refused is the limit that stopped the request, Kind what of it: requests_per_minute, usd_per_day …
	Refused, Kind string
	// Budget is the budget of which most is used, Used the share: 1 is all of it. Settle tells it anew.
	Budget string
	Used   float64
	// StoreError is why the store could not be asked.
	StoreError error

	limits  *Limits
	id      string
	calls   []call
	charges []charge
	levels  []level
	at      time.Time
	open    bool
}

// Estimate is what an answer that told no usage is taken to have used: the input as it was estimated, and
// of the output what came, where whole says that this is all; else no less than was reserved.
func (r *Reservation) Estimate(output int64, whole bool) Usage {
	own := &r.calls[0]
	u := own.estimate()
	switch {
	case silent[own.operation.Name], media[own.operation.Name]:
	case whole && output > 0:
		u.Output = output
	default:
		u.Output = max(u.Output, output)
	}
	return u
}

// Settles reports whether it matters what the request uses.
func (r *Reservation) Settles() bool {
	for i := range r.charges {
		if k := r.charges[i].kind; k == tokens || k.isBudget() {
			return r.open
		}
	}
	return false
}

// Settle replaces what was reserved by what the request's own call used; what a batch file's lines will
// use stays as it was estimated. It waits for the store at most 50 ms, and not for the client.
func (r *Reservation) Settle(ctx context.Context, u Usage) {
	r.settle(ctx, func(c *charge) int64 {
		switch {
		case c.kind == tokens:
			return min(u.Input+u.Output, maxTokens)
		case c.kind.isBudget():
			var models []string
			if own := &r.calls[0]; c.rule.matches(own) {
				models = own.models
			}
			return min(c.fixed+r.limits.cost(models, u), boundless)
		}
		return 0
	})
}

// maxTokens is more than any call uses.
const maxTokens = 1 << 32

// Cancel gives back what was reserved: the call was not made, or refused.
func (r *Reservation) Cancel(ctx context.Context) {
	r.settle(ctx, func(*charge) int64 { return 0 })
}

const (
	// mostBehind bounds the settlements that nobody waits for: a store that is away must not fill the memory.
	mostBehind = 1000
	// pause is for what may still be on its way to the store when its request has given up: TCP sends a
	// lost packet again after 200 ms at the earliest.
	pause = time.Second
)

// giveBack cancels what may have been taken all the same, when nobody waits any more: the store's answer
// came too late, and its counts would be held until the request's longest time is over.
func (r *Reservation) giveBack(err error) {
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return // it was never asked
	}
	charges := r.settled()
	r.settleBehind(charges, make([]int64, len(charges)))
}

// settleBehind tries once more, when the request is over, what the store did not answer in time.
func (r *Reservation) settleBehind(charges []charge, used []int64) {
	select {
	case r.limits.behind <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-r.limits.behind }()
		time.Sleep(pause)
		r.limits.store.settle(context.Background(), r.id, charges, used, true) // there is nobody left to tell
	}()
}

// settled are the charges that are settled at all.
func (r *Reservation) settled() []charge {
	charges := make([]charge, 0, len(r.charges))
	for _, c := range r.charges {
		if c.kind.settles() {
			charges = append(charges, c)
		}
	}
	return charges
}

func (r *Reservation) settle(ctx context.Context, used func(*charge) int64) {
	if !r.open {
		return
	}
	r.open = false
	charges := r.settled()
	if len(charges) == 0 {
		return
	}
	amounts := make([]int64, len(charges))
	for i := range charges {
		amounts[i] = used(&charges[i])
	}
	levels, err := r.limits.store.settle(context.WithoutCancel(ctx), r.id, charges, amounts, false)
	if err != nil {
		r.StoreError = fmt.Errorf("settle: %w", err)
		r.settleBehind(charges, amounts)
		return
	}
	r.noteBudget(charges, levels)
}

// noteBudget finds the budget of which most is used.
func (r *Reservation) noteBudget(charges []charge, levels []level) {
	r.Budget, r.Used = "", 0
	for i := range charges {
		c := &charges[i]
		if !c.kind.isBudget() || c.most == boundless {
			continue
		}
		if share := float64(levels[i].used) / float64(c.most); r.Budget == "" || share > r.Used {
			r.Budget, r.Used = c.rule.label, math.Round(share*1e4)/1e4
		}
	}
}

// visible refuses a call that limits of tokens or money are about, and that nobody sees the end of: an
// answer in the background tells what it used to whoever fetches it later.
func (r *Reservation) visible() error {
	for i := range r.charges {
		if k := r.charges[i].kind; r.calls[0].background && (k == tokens || k.isBudget()) {
			return apierror.New(apierror.InvalidRequest, "an answer in the background can't be had here, because the limit %s can't see what it uses; ask without background", r.charges[i].rule.label).At("background")
		}
	}
	return nil
}

// neverFits refuses what is more than a limit ever allows.
func (r *Reservation) neverFits() error {
	for i := range r.charges {
		c := &r.charges[i]
		if c.amount <= c.most {
			continue
		}
		r.Refused, r.Kind = c.rule.label, c.kind.String()
		if c.kind.isBudget() {
			return apierror.New(apierror.BudgetExceeded, "this request may cost %s USD, and the budget %s is %s USD %s; ask for less, such as fewer output tokens",
				usd(c.amount), c.rule.label, usd(c.most), per(c.kind))
		}
		return apierror.New(apierror.RateLimitExceeded, "this request may take %d tokens, and the limit %s allows %d a minute; ask for less, such as fewer output tokens",
			c.amount, c.rule.label, c.most)
	}
	return nil
}

// refuse says which limit has no room. Where several have none, it is the one that has some last: a
// client that waits for another would be refused again.
func (r *Reservation) refuse(now time.Time) error {
	var last *charge
	var longest time.Duration
	var at level
	for i := range r.charges {
		c := &r.charges[i]
		if wait := c.wait(r.levels[i], now); !c.fits(r.levels[i]) && (last == nil || wait > longest) {
			last, longest, at = c, wait, r.levels[i]
		}
	}
	r.at = now
	r.noteBudget(r.charges, r.levels)
	r.Refused, r.Kind = last.rule.label, last.kind.String()
	name := last.rule.label
	again := (longest + time.Second - 1).Truncate(time.Second)
	var err *apierror.Error
	switch {
	case last.kind == requests:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s a minute%s; try again in %s", name, several(last.most, "request"), last.sharers(), again)
	case last.kind == tokens:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s a minute%s, of which %d are left, and this request may take %d; try again in %s",
			name, several(last.most, "token"), last.sharers(), last.left(at), last.amount, again)
	case last.kind == concurrent:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s at once%s; try again when one has ended", name, several(last.most, "request"), last.sharers())
	case last.heldBack(at):
		err = apierror.New(apierror.RateLimitExceeded, "what is left of the budget %s is reserved by calls that are being answered; try again in %s", name, again)
	default:
		err = apierror.New(apierror.BudgetExceeded, "of the budget %s, %s USD %s%s, %s USD are left, and this request may cost %s USD; it begins anew at %s",
			name, usd(last.most), per(last.kind), last.sharers(), usd(last.left(at)), usd(last.amount), last.until.Format(time.RFC3339))
	}
	return err.After(longest)
}

// wait is how long it takes at least until the charge fits.
func (c *charge) wait(l level, now time.Time) time.Duration {
	switch {
	case c.kind == concurrent, c.kind.isBudget() && c.heldBack(l):
		return time.Second
	case c.kind.isBudget():
		return max(c.until.Sub(now), time.Second)
	}
	// What is held doesn't drain, and is mostly more than will be used: come back soon.
	drained := min(c.over(l), l.used)
	return max(time.Duration((drained+c.most-1)/c.most)*time.Microsecond, time.Millisecond)
}

func several(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

// heldBack reports whether the charge would fit if nothing were reserved.
func (c *charge) heldBack(l level) bool { return c.fits(level{used: l.used}) }

// sharers says who else uses the count.
func (c *charge) sharers() string {
	switch c.rule.Per {
	case "group":
		return ", shared by all of a group"
	case "model":
		return ", shared by all who use the model"
	}
	return ""
}

func per(k kind) string {
	if k == day {
		return "a day"
	}
	return "a month"
}

// usd writes nano-USD in USD, to the hundredth of a cent, or exactly where it is less.
func usd(nano int64) string {
	digits := 4
	if nano != 0 && nano < 100_000 {
		digits = 9
	}
	s := strconv.FormatFloat(float64(nano)/1e9, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Header tells the limits of requests and tokens of which least is left, as the dialect's provider tells
// its own (platform.openai.com/docs/guides/rate-limits, docs.anthropic.com/en/api/rate-limits); the
// provider's, which are of the account that all share, are replaced.
func (r *Reservation) Header(h http.Header, d apierror.Dialect) {
	if len(r.levels) == 0 {
		return
	}
	for name := range h { // net/http made the names canonical
		if strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-") {
			delete(h, name)
		}
	}
	for _, k := range [...]kind{requests, tokens} {
		c, l := r.least(k)
		if c == nil {
			continue
		}
		names := headers[d == apierror.Anthropic][k]
		reset := c.refilled(l).Round(time.Millisecond).String()
		if d == apierror.Anthropic {
			reset = r.at.Add(c.refilled(l)).UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339)
		}
		values := []string{strconv.FormatInt(c.most, 10), strconv.FormatInt(c.left(l), 10), reset}
		for i, name := range names {
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// headers are the names for the limit, what remains, and the reset, canonical: those of Anthropic's (true) and of others.
var headers = map[bool]map[kind][3]string{
	false: {
		requests: {"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		tokens:   {"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	},
	true: {
		requests: {"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"},
		tokens:   {"Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"},
	},
}

// least is the charge of the kind of which least is left; all of a kind are by the minute.
func (r *Reservation) least(k kind) (*charge, level) {
	var least *charge
	var at level
	for i := range r.charges {
		if c := &r.charges[i]; c.kind == k && (least == nil || c.left(r.levels[i]) < least.left(at)) {
			least, at = c, r.levels[i]
		}
	}
	return least, at
}
