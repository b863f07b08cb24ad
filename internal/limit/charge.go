package limit

import (
	"math"
	"sync"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// kind is what a count counts.
type kind int

const (
	requests   kind = iota // a minute; in requests
	tokens                 // a minute; in tokens
	concurrent             // in requests
	day                    // in nano-USD, as a month's
	month
)

// String is the key that the configuration has for it.
func (k kind) String() string {
	return [...]string{"requests_per_minute", "tokens_per_minute", "concurrent_requests", "usd_per_day", "usd_per_month"}[k]
}

func (k kind) isBudget() bool { return k == day || k == month }
func (k kind) isRate() bool   { return k == requests || k == tokens }

// settles reports whether what is reserved of it is settled after the call.
func (k kind) settles() bool { return k != requests }

// period is a budget's calendar day or month in its zone.
type period struct {
	from, until time.Time
	// name ends the keys of its counts.
	name string
}

func newPeriod(k kind, at time.Time) *period {
	y, m, d := at.Date()
	p := period{begin(y, m, d, at.Location()), begin(y, m, d+1, at.Location()), ""}
	if k == month {
		p.from, p.until = begin(y, m, 1, at.Location()), begin(y, m+1, 1, at.Location())
	}
	p.name = p.from.Format(":2006-01-02")
	return &p
}

// begin is a day's first moment: not midnight where clocks are put forward then (Santiago, Havana).
func begin(y int, m time.Month, d int, zone *time.Location) time.Time {
	y, m, d = time.Date(y, m, d, 12, 0, 0, 0, zone).Date()
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	if t.Day() != d {
		_, t = t.ZoneBounds()
	}
	return t
}

// drain is in what units a rate's bucket is measured: it loses, each microsecond, as many as the limit
// allows of tokens (or requests) a minute, one of which is that many of them. So all is whole numbers,
// which Redis's scripts keep exactly up to 2^53.
const drain = int64(time.Minute / time.Microsecond)

// boundless is more than any count comes to; it is exact in a script.
const boundless = 1<<53 - 1

// unit is how many of a level's units one of the kind is.
func (k kind) unit() int64 {
	if k.isRate() {
		return drain
	}
	return 1
}

// charge is what a reservation takes from one count.
type charge struct {
	rule *rule
	kind kind
	at   place
	// most is what the limit allows, amount what is taken: requests, tokens or nano-USD.
	most, amount int64
	// fixed is that part of amount which no usage is ever told of: a batch's.
	fixed int64
	// period is a budget's.
	*period
}

// place tells a count from all others.
type place struct {
	// of begins its key: the limit's and the kind's.
	of      string
	subject string
	// period is its first day, "" where the kind has none.
	period string
}

// key names the count in a store that others look into, where subjects neither grow nor are read.
func (p place) key() string { return p.of + digest(p.subject) + p.period }

// level is how full a count is. Of a rate, used is in its unit, and drains.
type level struct {
	used int64
	// held is what is reserved and not settled.
	held int64
}

// fits reports whether the count takes the charge.
func (c *charge) fits(l level) bool { return c.over(l) <= 0 }

// over is by how much the count would be overdrawn.
func (c *charge) over(l level) int64 {
	u := c.kind.unit()
	return l.used + (l.held+c.amount-c.most)*u
}

// left is how much of the limit is left, in whole requests and tokens, or nano-USD.
func (c *charge) left(l level) int64 {
	u := c.kind.unit()
	return max(0, c.most-l.held-(l.used+u-1)/u)
}

// refilled is how long it takes until nothing of a rate is used.
func (c *charge) refilled(l level) time.Duration {
	return time.Duration(min((l.used+l.held*c.kind.unit()+c.most-1)/c.most, int64(math.MaxInt64/time.Microsecond))) * time.Microsecond
}

// Usage is in tokens. Input includes Cached.
type Usage struct {
	Input, Cached, Output int64
}

// call is one call that a request makes: its own, or a line of the batch file that it uploads.
type call struct {
	operation *operation.Operation
	models    []string
	// input estimates its input tokens; nil where it uses none. output are those that it may answer with.
	input  func() int64
	output int64
	// background says that its answer is made out of sight.
	background bool
	// line says that nobody will tell what it used: the batch's answers are a file.
	line bool
	// costs says that it costs something that nothing tells: a job's.
	costs bool
}

// free are the operations of inference that cost nothing.
var free = map[operation.Name]bool{
	"moderations.create": true, "messages.count_tokens": true, "models.count_tokens": true, "responses.input_tokens.count": true,
}

// silent are those whose answer holds no output tokens.
var silent = map[operation.Name]bool{"embeddings.create": true, "models.embed_content": true}

// media are those whose answer's size tells nothing of its tokens.
var media = map[operation.Name]bool{
	"images.generate": true, "images.edit": true, "images.create_variation": true, "audio.speech.create": true, "models.predict": true,
}

// jobs begin work that is paid for later.
var jobs = map[operation.Name]bool{"batches.create": true, "fine_tuning.jobs.create": true}

// Generates reports whether the request's answer should tell a usage.
func Generates(req *operation.Request) bool { return generates(req.Operation, req.Ask) }

func generates(op *operation.Operation, ask operation.Ask) bool {
	return op.Group == operation.Inference && len(ask.Models) > 0 && !free[op.Name]
}

// calls are those that the request makes.
func (l *Limits) calls(req *operation.Request) []call {
	own := l.call(req.Operation, req.Ask, sync.OnceValue(req.InputTokens)) // reads the whole body
	own.costs = jobs[req.Name]
	calls := []call{own}
	for _, line := range req.Lines {
		c := l.call(line.Operation, line.Ask, func() int64 { return line.InputTokens })
		c.line = true
		calls = append(calls, c)
	}
	return calls
}

func (l *Limits) call(op *operation.Operation, ask operation.Ask, input func() int64) call {
	c := call{operation: op}
	for _, m := range ask.Models {
		c.models = append(c.models, m.Name)
	}
	if !generates(op, ask) {
		return c
	}
	c.input = input
	c.background = ask.Background
	switch {
	case silent[op.Name]:
	case ask.MaxOutputTokens != nil:
		c.output = *ask.MaxOutputTokens * max(ask.Choices, 1) // at most 2^31 of 128
	default:
		c.output = l.models[c.models[0]].OutputEstimate * max(ask.Choices, 1)
	}
	return c
}

// estimate is what the call may use.
func (c *call) estimate() Usage {
	if c.input == nil {
		return Usage{}
	}
	return Usage{Input: c.input(), Output: c.output}
}

// add adds the call to the charge.
func (l *Limits) add(c *charge, call *call) {
	switch {
	case c.kind == requests, c.kind == concurrent:
		c.amount = 1
	case c.kind == tokens:
		if !call.line { // providers hold batches to other rates
			u := call.estimate()
			c.amount += u.Input + u.Output
		}
	case call.costs:
		c.amount++ // as little as there is: nothing is left of a budget that is used up
		c.fixed++
	default:
		nano := l.cost(call.models, call.estimate())
		c.amount = min(c.amount+nano, boundless)
		if call.line {
			c.fixed = min(c.fixed+nano, boundless)
		}
	}
}

// cost is what the usage costs, in nano-USD, at the highest price of those models that have one.
func (l *Limits) cost(models []string, u Usage) int64 {
	var most float64
	for _, name := range models {
		if p := l.models[name].Price; p != nil {
			most = max(most, price(p, u))
		}
	}
	return int64(min(math.Round(most*1e9), boundless))
}

// price is in USD.
func price(p *config.Price, u Usage) float64 {
	return (float64(u.Input-u.Cached)*p.Input + float64(u.Cached)*p.Cached() + float64(u.Output)*p.Output) / 1e6
}

// Cost is what the usage costs in USD at the price of the dearest model that the request names; priced
// says whether any has one.
func Cost(models map[string]config.Model, req *operation.Request, u Usage) (usd float64, priced bool) {
	for _, m := range req.Models {
		if p := models[m.Name].Price; p != nil {
			usd, priced = max(usd, price(p, u)), true
		}
	}
	return usd, priced
}
