package function

import (
	"context"
	"net/http"

	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/token"
)

// newLimits makes the limits; what AUTH takes is a credential's token, as an upstream's is.
func newLimits(c *config.Config, tokens *token.Cache) (*limit.Limits, error) {
	return limit.New(c, func(ctx context.Context) (string, error) {
		ours, err := tokens.Token(ctx, c.LimitStore.Credential)
		return ours.Value.Reveal(), err
	})
}

// reserve takes from the limits what the call may cost.
func (x *exchange) reserve() (err error) {
	x.reservation, err = x.limits.Reserve(x.ctx, x.who, x.request)
	return err
}

// settle replaces what was reserved by what was used, and keeps for the record what limits made of the
// request. An answer that is an error cost nothing; one that told no usage, or whose end nobody saw, is
// charged by estimate, and so is a call that was given up while the upstream worked on it.
func (x *exchange) settle() {
	if x.reservation == nil {
		return
	}
	r, o := x.reservation, x.outcome
	var used limit.Usage
	estimates := r.Settles()
	known := o != nil && o.Usage != nil && !o.Opening && (o.Final || o.Err == nil)
	switch {
	case !x.unheard && (o == nil || o.Status >= http.StatusBadRequest):
		r.Cancel(x.ctx)
		x.noteLimits()
		return
	case known:
		used = limit.Usage{Input: o.Usage.Input, Cached: o.Usage.Cached, Output: o.Usage.Output}
	case !limit.Generates(x.request):
	case !estimates: // nobody asked for more than was told
		if o != nil && o.Usage != nil {
			used = limit.Usage{Input: o.Usage.Input, Cached: o.Usage.Cached, Output: o.Usage.Output}
		}
	case o == nil || o.Status >= http.StatusBadRequest:
		used = r.Estimate(0, false)
	default:
		used = r.Estimate(o.OutputTokens, x.request.Stream && o.Err == nil)
		if o.Usage != nil { // as far as it was told
			used = limit.Usage{Input: o.Usage.Input, Cached: o.Usage.Cached, Output: max(o.Usage.Output, used.Output)}
		}
	}
	r.Settle(x.ctx, used)
	x.noteLimits()
	if !limit.Generates(x.request) {
		return
	}
	x.record.UsageUnknown = o != nil && o.Status < http.StatusBadRequest && o.Usage == nil
	if !known && !estimates && (o == nil || o.Usage == nil) {
		return // nothing is known to have been used
	}
	if usd, priced := limit.Cost(x.config.Models, x.request, used); priced {
		x.record.Cost = &audit.Cost{USD: usd, Estimated: !known}
	}
}

func (x *exchange) noteLimits() {
	r := x.reservation
	if r.Group == "" && r.Refused == "" && r.Budget == "" && r.StoreError == nil {
		return
	}
	x.record.Limits = &audit.Limits{Group: r.Group, Refused: r.Refused, Kind: r.Kind, Budget: r.Budget, Used: r.Used, StoreError: r.StoreError}
}
