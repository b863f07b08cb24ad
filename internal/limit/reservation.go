package limit

import (
	"context"
	"fmt"
	"math"
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
// of the output what came, where it is a stream's and all of it; else no less than was reserved.
func (r *Reservation) Estimate(output int64, stream bool) Usage {
	own := &r.calls[0]
	u := own.estimate()
	switch {
	case silent[own.operation.Name]:
	case stream && output > 0 && !own.background:
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
	r.settle(ctx, r.limits.within, func(c *charge) int64 {
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
	r.settle(ctx, r.limits.within, func(*charge) int64 { return 0 })
}

// giveBack cancels what may have been taken all the same, when nobody waits any more: the store's answer
// came too late, and its counts would be held until the request's longest time is over.
func (r *Reservation) giveBack() {
	gone := *r
	gone.open = true
	go gone.settle(context.Background(), patience, func(*charge) int64 { return 0 })
}

func (r *Reservation) settle(ctx context.Context, within time.Duration, used func(*charge) int64) {
	if !r.open {
		return
	}
	r.open = false
	var charges []charge
	var amounts []int64
	for i := range r.charges {
		if c := &r.charges[i]; c.kind.settles() {
			charges, amounts = append(charges, *c), append(amounts, used(c))
		}
	}
	if len(charges) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	levels, err := r.limits.store.settle(ctx, r.id, charges, amounts)
	if err != nil {
		r.StoreError = fmt.Errorf("settle: %w", err)
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

// bounded refuses a call that limits of tokens or money are about, and which has no end that they could
// reserve for: its answer is made in the background, and what it used is told to whoever asks later.
func (r *Reservation) bounded() error {
	for i := range r.charges {
		if k := r.charges[i].kind; r.calls[0].boundless && (k == tokens || k.isBudget()) {
			return apierror.New(apierror.InvalidRequest, "an answer in the background needs max_output_tokens here, because the limit %s can't see what it uses", r.charges[i].rule.label).At("max_output_tokens")
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
	switch last.kind {
	case requests:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s a minute%s; try again in %s", name, several(last.most, "request"), last.sharers(), again)
	case tokens:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s a minute%s, of which %d are left, and this request may take %d; try again in %s",
			name, several(last.most, "token"), last.sharers(), last.left(at), last.amount, again)
	case concurrent:
		err = apierror.New(apierror.RateLimitExceeded, "the limit %s allows %s at once%s; try again when one has ended", name, several(last.most, "request"), last.sharers())
	default:
		err = apierror.New(apierror.BudgetExceeded, "of the budget %s, %s USD %s%s, %s USD are left, and this request may cost %s USD; it begins anew at %s",
			name, usd(last.most), per(last.kind), last.sharers(), usd(last.left(at)), usd(last.amount), last.until.Format(time.RFC3339))
	}
	return err.After(longest)
}

// wait is how long it takes at least until the charge fits.
func (c *charge) wait(l level, now time.Time) time.Duration {
	switch {
	case c.kind.isBudget():
		return max(c.until.Sub(now), time.Second)
	case c.kind == concurrent:
		return time.Second
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
	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ratelimit-") || strings.HasPrefix(lower, "anthropic-ratelimit-") {
			delete(h, name)
		}
	}
	for _, k := range []struct {
		kind kind
		word string
	}{{requests, "requests"}, {tokens, "tokens"}} {
		c, l := r.least(k.kind)
		if c == nil {
			continue
		}
		most, left := strconv.FormatInt(c.most, 10), strconv.FormatInt(c.left(l), 10)
		if d == apierror.Anthropic {
			h.Set("Anthropic-Ratelimit-"+k.word+"-Limit", most)
			h.Set("Anthropic-Ratelimit-"+k.word+"-Remaining", left)
			h.Set("Anthropic-Ratelimit-"+k.word+"-Reset", r.at.Add(c.refilled(l)).UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339))
			continue
		}
		h.Set("X-Ratelimit-Limit-"+k.word, most)
		h.Set("X-Ratelimit-Remaining-"+k.word, left)
		h.Set("X-Ratelimit-Reset-"+k.word, c.refilled(l).Round(time.Millisecond).String())
	}
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
