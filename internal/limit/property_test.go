package limit_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/principal"
)

// The limits that random clients are held to.
const (
	perMinute      = 20
	tokensAMinute  = 5000
	atOnce         = 7
	usdADay        = 2.0
	usdAMonth      = 9.0
	propertyLimits = `
  - {name: own, requests_per_minute: 20, tokens_per_minute: 5000, concurrent_requests: 7, usd_per_day: 2, usd_per_month: 9, accept_reset: true}
  - {name: team, per: group, groups: [blue, red], requests_per_minute: 30, tokens_per_minute: 8000, concurrent_requests: 9, usd_per_day: 3, accept_reset: true}
  - {name: model, per: model, tokens_per_minute: 20000, usd_per_month: 20, accept_reset: true}
`
)

// world is some instances over one store.
type world struct {
	instances []*limit.Limits
	clock     *clock
}

func memoryWorld(t *testing.T) *world {
	c := &clock{at: noon}
	l, err := limit.NewAt(configuration(t, propertyLimits, "memory"), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &world{[]*limit.Limits{l}, c}
}

// redisWorld is three instances whose clocks are apart by minutes.
func redisWorld(t *testing.T) *world {
	c := &clock{at: noon, server: miniredis.RunT(t)}
	c.server.SetTime(noon)
	w := &world{clock: c}
	for _, skew := range []time.Duration{0, -7 * time.Minute, 11 * time.Minute} {
		l, err := limit.NewAt(configuration(t, propertyLimits, "redis://"+c.server.Addr()), func() time.Time { return c.now().Add(skew) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.instances = append(w.instances, l)
	}
	return w
}

// step is one thing that happens.
type step struct {
	after    time.Duration
	instance int
	// A reservation is made by a client for a model and so many output tokens, or the i-th of those
	// that are open is ended.
	who   *principal.Principal
	model string
	most  int
	end   int
	// share of most is used; none at all where it is below zero.
	share float64
}

// steps are random, and at most as much is used as was reserved.
func steps(r *rand.Rand, n int) []step {
	clients := []*principal.Principal{client("a", "blue"), client("b", "blue", "red"), client("c", "red"), client("d")}
	all := make([]step, n)
	for i := range all {
		s := step{instance: r.IntN(3)}
		switch r.IntN(40) {
		case 0:
			s.after = time.Duration(r.IntN(int(8 * time.Hour)))
		default:
			s.after = time.Duration(r.IntN(int(3 * time.Second)))
		}
		if r.IntN(2) == 0 {
			s.who, s.model, s.most = clients[r.IntN(len(clients))], []string{"gpt", "mini"}[r.IntN(2)], 1+r.IntN(1500)
		} else {
			s.end, s.share = r.IntN(100), r.Float64()*1.1-0.1
		}
		all[i] = s
	}
	return all
}

// openCall is a reservation that isn't ended.
type openCall struct {
	r     *limit.Reservation
	who   *principal.Principal
	model string
	most  int
	began time.Time
}

// used is something that a call used, at a time.
type used struct {
	at     time.Time
	amount float64
}

// ledger is what was let through, by whose count it is in; the test's own sums.
type ledger struct {
	requests, tokens, spent map[string][]used
	open                    map[string]int
}

func subjects(who *principal.Principal, model string) []string {
	s := []string{"own " + who.ClientID, "model " + model}
	for _, g := range who.Groups {
		s = append(s, "team "+g)
	}
	return s
}

// play makes the steps happen, and returns what came of each, and the books.
func (w *world) play(t *testing.T, all []step) (outcomes []string, books *ledger) {
	t.Helper()
	books = &ledger{requests: map[string][]used{}, tokens: map[string][]used{}, spent: map[string][]used{}, open: map[string]int{}}
	var open []openCall
	end := func(i int, share float64) string {
		c := open[i]
		open = slices.Delete(open, i, i+1)
		for _, s := range subjects(c.who, c.model) {
			books.open[s]--
		}
		if share < 0 {
			c.r.Cancel(context.Background())
			return "cancelled"
		}
		out := int64(share * float64(c.most))
		c.r.Settle(context.Background(), limit.Usage{Input: 20, Output: out})
		usd := float64(20*10+out*30) / 1e6
		if c.model == "mini" {
			usd = float64(20*1+out*2) / 1e6
		}
		for _, s := range subjects(c.who, c.model) {
			books.tokens[s] = append(books.tokens[s], used{w.clock.at, float64(20 + out)})
			books.spent[s] = append(books.spent[s], used{c.began, usd})
		}
		return fmt.Sprintf("used %d: %s %.4f %v", out, c.r.Budget, c.r.Used, c.r.StoreError)
	}
	for _, s := range all {
		// No request lasts longer than request_timeout: those that would are ended before.
		for i := 0; i < len(open); {
			if w.clock.at.Add(s.after).Sub(open[i].began) > 55*time.Minute {
				outcomes = append(outcomes, end(i, 1))
				continue
			}
			i++
		}
		w.clock.forward(s.after)
		if s.who == nil {
			if len(open) > 0 {
				outcomes = append(outcomes, end(s.end%len(open), s.share))
			}
			continue
		}
		r, err := w.instances[s.instance%len(w.instances)].Reserve(t.Context(), s.who, chat(t, s.model, s.most))
		if err != nil {
			outcomes = append(outcomes, err.Error())
			continue
		}
		outcomes = append(outcomes, "reserved")
		open = append(open, openCall{r: r, who: s.who, model: s.model, most: s.most, began: w.clock.at})
		for _, subject := range subjects(s.who, s.model) {
			books.requests[subject] = append(books.requests[subject], used{w.clock.at, 1})
			books.open[subject]++
			if n := books.open[subject]; subject[:3] == "own" && n > atOnce {
				t.Errorf("%s has %d requests at once", subject, n)
			}
		}
	}
	for len(open) > 0 {
		outcomes = append(outcomes, end(0, 1))
	}
	return outcomes, books
}

// within fails where in any stretch of time more went through than a bucket lets.
func within(t *testing.T, what string, all []used, perMinute float64) {
	t.Helper()
	slices.SortFunc(all, func(a, b used) int { return cmp.Compare(a.at.UnixMicro(), b.at.UnixMicro()) })
	for i := range all {
		sum := 0.0
		for j := i; j < len(all); j++ {
			sum += all[j].amount
			if elapsed := all[j].at.Sub(all[i].at); sum > perMinute*(1+elapsed.Minutes())+1e-6 {
				t.Fatalf("%s: %v in %s, of %v a minute", what, sum, elapsed, perMinute)
			}
		}
	}
}

// periods sums by calendar day, or month.
func periods(all []used, form string) map[string]float64 {
	sums := map[string]float64{}
	for _, u := range all {
		sums[u.at.Format(form)] += u.amount
	}
	return sums
}

// Whatever the order in which calls are reserved, settled and given up, nothing goes beyond a limit; and
// when all is over the counts say what the test's own books say, to the last token and nano-USD.
func TestNoInterleavingOverdrawsALimitOrDrifts(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 100
	}
	for seed := range uint64(4) {
		all := steps(rand.New(rand.NewPCG(seed, 7)), n)
		var first []string
		for name, w := range map[string]*world{"memory": memoryWorld(t), "Redis": redisWorld(t)} {
			outcomes, books := w.play(t, all)
			let := 0
			for _, o := range outcomes {
				if o == "reserved" {
					let++
				}
			}
			if let < n/20 || let > n*9/10 {
				t.Errorf("seed %d: %d of %d let through: this shows nothing", seed, let, n)
			}
			for _, c := range []string{"own a", "own b", "own c", "own d"} {
				within(t, c+" requests", books.requests[c], perMinute)
				within(t, c+" tokens", books.tokens[c], tokensAMinute)
				for day, usd := range periods(books.spent[c], time.DateOnly) {
					if usd > usdADay+1e-9 {
						t.Errorf("%s spent %v USD on %s", c, usd, day)
					}
				}
				for m, usd := range periods(books.spent[c], "2006-01") {
					if usd > usdAMonth+1e-9 {
						t.Errorf("%s spent %v USD in %s", c, usd, m)
					}
				}
			}
			for _, team := range []string{"team blue", "team red"} {
				within(t, team+" requests", books.requests[team], 30)
				within(t, team+" tokens", books.tokens[team], 8000)
			}
			w.agreesWith(t, name, books)
			if first == nil {
				first = outcomes
			} else if i := firstDifference(first, outcomes); i >= 0 {
				t.Errorf("seed %d: the stores part at outcome %d: %q, %q", seed, i, at(first, i), at(outcomes, i))
			}
		}
	}
}

// agreesWith compares what is left and spent with the books.
func (w *world) agreesWith(t *testing.T, name string, books *ledger) {
	t.Helper()
	now := w.clock.at
	for _, who := range []*principal.Principal{client("a", "blue"), client("b", "blue", "red"), client("c", "red"), client("d")} {
		shown, err := w.instances[0].Show(t.Context(), who, []string{"gpt", "mini"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shown {
			subject := s.Limit + " " + cmp.Or(s.Group, s.Model, who.ClientID)
			if s.Concurrent != nil && *s.Concurrent.Remaining != s.Concurrent.Limit {
				t.Errorf("%s, %s: %d of %d requests at once are left when none is open", name, subject, *s.Concurrent.Remaining, s.Concurrent.Limit)
			}
			for _, b := range []struct {
				is   *limit.Budget
				form string
			}{{s.Day, time.DateOnly}, {s.Month, "2006-01"}} {
				if b.is == nil {
					continue
				}
				want := periods(books.spent[subject], b.form)[now.Format(b.form)]
				if got := *b.is.Spent; got < want-1e-9 || got > want+1e-9 {
					t.Errorf("%s, %s: %v USD spent, by the books %v", name, subject, got, want)
				}
			}
		}
	}
	w.clock.forward(time.Minute)
	shown, err := w.instances[0].Show(t.Context(), client("b", "blue", "red"), []string{"gpt", "mini"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shown {
		for kind, room := range map[string]*limit.Room{"requests": s.Requests, "tokens": s.Tokens} {
			if room != nil && *room.Remaining != room.Limit {
				t.Errorf("%s: a minute after the last call %d of %d %s of %s are left", name, *room.Remaining, room.Limit, kind, s.Limit)
			}
		}
	}
}

func firstDifference(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if at(a, i) != at(b, i) {
			return i
		}
	}
	return -1
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "nothing"
}
