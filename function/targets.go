package function

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/relay"
	"llmgateway.dev/gateway/internal/upstream"
)

const (
	// tries is how often one target is asked: once, and once more.
	tries = 2
	// longest is the longest Retry-After that is waited for; the SDKs wait as well.
	longest = 2 * time.Second
	// trip is how many failures in a row open a target's circuit, and rest how long it stays open.
	trip = 5
	rest = 30 * time.Second
)

// address keeps of the allowed routes those whose upstream can be called as the client calls.
func (x *exchange) address() error {
	var others []apierror.Dialect
	for _, route := range x.decision.Routes {
		dialects := upstream.Dialects(x.config.Upstreams[route.Upstream].Kind)
		if slices.Contains(dialects, x.request.Dialect) {
			x.targets = append(x.targets, route)
		}
		others = append(others, dialects...)
	}
	if len(x.targets) == 0 {
		return otherDialect(x.request, others)
	}
	if !movable(x.request) {
		x.targets = x.targets[:1]
	}
	return nil
}

func otherDialect(req *operation.Request, others []apierror.Dialect) error {
	if len(req.Models) == 0 {
		return apierror.New(apierror.InvalidRequest, "no upstream for calls that name no model has %s's API; ask the gateway's operator for one", req.Dialect)
	}
	slices.Sort(others)
	var names []string
	for _, d := range slices.Compact(others) {
		names = append(names, d.String()+"'s")
	}
	return apierror.New(apierror.InvalidRequest, "this model is served in %s API, not in %s's; call it there", strings.Join(names, " and "), req.Dialect).At("model")
}

// movable reports whether any of the targets may serve the request. What is stored is not: another
// upstream would say that the file or the job does not exist, or keep it where nobody looks for it.
func movable(req *operation.Request) bool {
	return req.Group == operation.Inference && len(req.Models) > 0
}

// firstAnswer asks the targets in order until one has an answer for the client; where none has, it is
// the last one's failure: an answer as it came, or an error.
func (x *exchange) firstAnswer() (*relay.Answer, error) {
	var o outcome
	asked := false
	var skipped []policy.Route
	for _, t := range x.targets {
		var pause time.Duration
		for range tries {
			leave, ok := x.circuits.enter(x.request, t)
			if !ok {
				x.record.Attempts = append(x.record.Attempts, audit.Attempt{Upstream: t.Upstream, TargetModel: modelOf(t), Error: "skipped: circuit open"})
				skipped = append(skipped, t)
				break
			}
			o.drop()
			o = x.try(t, pause, leave)
			if o.verdict == final {
				return o.answer, o.err
			}
			asked = asked || o.verdict != unasked
			if o.verdict != again {
				break
			}
			pause = o.pause
		}
	}
	if !asked && len(skipped) > 0 {
		// A circuit spares a target while another serves. It must not make an outage last longer.
		o = x.try(skipped[0], 0, func(error) {})
	}
	return o.answer, o.err
}

// outcome is what came of one try, and what follows from it.
type outcome struct {
	answer  *relay.Answer
	err     error
	verdict verdict
	// pause is how long to wait, where the verdict is again.
	pause time.Duration
}

type verdict int

const (
	final     verdict = iota // it is the client's
	unasked                  // the target could not be asked: there is no credential for it
	elsewhere                // another target may serve the request
	again                    // and so may this one
)

// drop closes an answer that another one replaces. It is not drained for the sake of its connection:
// an upstream that lets its error trickle would hold the request.
func (o *outcome) drop() {
	if o.answer != nil {
		o.answer.Body.Close()
	}
}

// try asks the target after the pause, and tells its circuit how that went.
func (x *exchange) try(t policy.Route, pause time.Duration, leave func(error)) (o outcome) {
	health := errUnknown
	defer func() { leave(health) }() // after a panic too, or a half-open circuit would wait for it for ever
	if pause > 0 {
		select {
		case <-x.ctx.Done():
			return outcome{err: context.Cause(x.ctx)}
		case <-time.After(pause):
		}
	}
	o.answer, o.err = x.ask(t)
	health = x.health(o)
	o.verdict, o.pause = x.judge(o)
	if o.verdict != final && x.ctx.Err() != nil {
		o.drop()
		return outcome{err: context.Cause(x.ctx)}
	}
	return o
}

// judge says what follows from a try.
func (x *exchange) judge(o outcome) (verdict, time.Duration) {
	if o.err != nil {
		switch kind := apierror.From(o.err).Kind; {
		case kind == apierror.CredentialUnavailable:
			return unasked, 0
		case errors.Is(o.err, errCredentialRefused):
			return elsewhere, 0 // nothing was done
		case x.request.Effects && !neverSent(o.err):
			return final, 0
		case kind == apierror.UpstreamTimeout:
			return elsewhere, 0 // a whole header timeout is gone: not another one at the same target
		case kind == apierror.UpstreamError:
			return again, jitter()
		}
		return final, 0
	}
	switch status := o.answer.StatusCode; {
	case x.request.Effects:
		return final, 0
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		after := retryAfter(o.answer.Header)
		if after > longest {
			return elsewhere, 0
		}
		return again, after + jitter()
	}
	return final, 0
}

// neverSent reports whether no connection came about that the request could have been sent over.
func neverSent(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// jitter keeps requests that failed together from coming back together.
func jitter() time.Duration {
	var b [1]byte
	rand.Read(b[:])
	return 100*time.Millisecond + time.Duration(b[0])*300*time.Millisecond/255
}

// retryAfter reads the header (RFC 9110 section 10.2.3): seconds or a date. What is neither says nothing.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 3600)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}

// circuits spare targets that fail: while one is open, its target is skipped, so that a dead target
// costs one request in half a minute its time, and not each. There is one for each target of the
// configuration, and so never more.
//
// gobreaker measures the pause by the monotonic clock, which stands still while the instance is frozen. A
// pause can so only last longer, and never costs an answer: a target is only skipped for one that
// is asked instead.
type circuits map[config.Target]*gobreaker.TwoStepCircuitBreaker[any]

func newCircuits(models map[string]config.Model, rest time.Duration) circuits {
	c := circuits{}
	for _, m := range models {
		for _, t := range m.Targets {
			c[t] = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
				MaxRequests: 1, // the probe
				Timeout:     rest,
				ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= trip },
				IsExcluded:  func(err error) bool { return err == errUnknown },
			})
		}
	}
	return c
}

// enter reports whether the target may be asked. Who enters must leave, with the target's health.
func (c circuits) enter(req *operation.Request, t policy.Route) (leave func(health error), ok bool) {
	if !movable(req) || req.Effects { // there is nothing to spare it for, or it must not move for so little
		return func(error) {}, true
	}
	leave, err := c[config.Target{Upstream: t.Upstream, Model: modelOf(t)}].Allow()
	return leave, err == nil
}

// errUnknown is the health of a target that a try tells nothing about.
var errUnknown = errors.New("not known")

// health says what a try tells about its target: nil for one that works. An answer that is no 5xx
// comes from one that does: a 429 is quick, says itself when to come back, and is about our quota.
func (x *exchange) health(o outcome) error {
	switch {
	case errors.Is(x.ctx.Err(), context.Canceled):
		return errUnknown // the client left
	case o.err == nil && (o.answer.StatusCode == http.StatusInternalServerError || o.answer.StatusCode == http.StatusNotImplemented):
		return errUnknown // a request can cause these by itself, and must not close the target to others
	case o.err == nil && o.answer.StatusCode >= 500:
		return errors.New(o.answer.Status)
	case o.err == nil, errors.Is(o.err, errCredentialRefused):
		return nil
	}
	if kind := apierror.From(o.err).Kind; kind == apierror.UpstreamError || kind == apierror.UpstreamTimeout {
		return o.err
	}
	return errUnknown
}

func modelOf(t policy.Route) string {
	if len(t.Models) == 0 {
		return ""
	}
	return t.Models[0]
}
