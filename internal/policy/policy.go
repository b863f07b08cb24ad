// Package policy decides what a client may do, by the Cedar policies the operator wrote.
//
// Nothing is allowed unless a permit matches, and one matching forbid overrides every permit. The
// decision is made for each place a request could be served, by the names the configuration gives
// to models and upstreams, and a place that is denied is never used. What can't be decided is
// denied: a model or an operation that isn't known, and a request for which any policy's evaluation
// errs (Cedar alone would skip that policy, a forbid too).
//
// Policies are checked when they are loaded, strictly: design section 4. They read only what the
// schema in schema.cedarschema declares, and nothing of a request but its operation, its models,
// stream and max_output_tokens.
package policy

import (
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	lru "github.com/hashicorp/golang-lru/v2"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// Policies are all loaded policies, in force together. They are safe for concurrent use.
type Policies struct {
	config *config.Config
	set    *cedar.PolicySet
	// actions are the entities of all operations that policies decide, with their groups; without
	// them "action in" never matches.
	actions types.EntityMap
	// remembered is nil where a policy reads context.time.
	remembered *lru.Cache[key, verdict]
}

// Decision is the outcome for one request.
type Decision struct {
	// ID is random; it leads from a client's error to the audit record.
	ID string
	// Routes are the allowed ways to serve the request, in the configured order of preference. None
	// is a denial.
	Routes []Route
	// Policies are the ids of the policies that determined the outcome, and Errors those whose
	// evaluation erred, both sorted. They are told to the operator, not to the client.
	Policies []string
	Errors   []string
	// Remembered says that every evaluation was answered from memory.
	Remembered bool
	// Refusal is OperationNotAllowed or ModelNotAllowed where the request is denied.
	Refusal apierror.Kind
}

// Route is one way to serve a request.
type Route struct {
	Upstream string
	// Models are the names that the request's models have at the upstream, in the request's order;
	// nil for operations that name none.
	Models []string
}

// Decide says where the request may be served at the time.
//
// The models that a request names beside its own (fallbacks, a tool's model, graders) go to the
// same upstream with it, so each must have a target there, and be allowed there. An operation that
// names no model goes to one of the default upstreams.
func (p *Policies) Decide(who *principal.Principal, req *operation.Request, at time.Time) *Decision {
	d := &Decision{ID: rand.Text()}
	q := p.inquire(who, req.Operation, req.Stream, req.MaxOutputTokens, at)
	d.Routes = q.routes(req.Models)

	d.Remembered = len(q.verdicts) > 0
	for _, v := range q.verdicts {
		d.Policies = append(d.Policies, v.policies...)
		d.Errors = append(d.Errors, v.errors...)
		d.Remembered = d.Remembered && v.remembered
	}
	d.Policies, d.Errors = sorted(d.Policies), sorted(d.Errors)

	if len(d.Routes) == 0 {
		d.Refusal = apierror.ModelNotAllowed
		if !q.anywhere() {
			d.Refusal = apierror.OperationNotAllowed
		}
	}
	return d
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Err is what the client is told: nil where the request is allowed. It tells an unknown model and a
// forbidden one apart in nothing.
func (d *Decision) Err() error {
	if len(d.Routes) > 0 {
		return nil
	}
	err := apierror.New(apierror.ModelNotAllowed, "this client may not use this model or upstream for this operation; list the models to see those that it may use, or give the operator the decision id")
	if d.Refusal == apierror.OperationNotAllowed {
		err = apierror.New(apierror.OperationNotAllowed, "this client may not use this operation with any model or upstream; give the operator the decision id")
	}
	err.DecisionID = d.ID
	return err
}

// Models lists, sorted, the models on which some inference operation is allowed at the time to a
// request that sets neither stream nor a bound on its output.
func (p *Policies) Models(who *principal.Principal, at time.Time) []string {
	var names []string
	for _, op := range operation.All() {
		if op.Group != operation.Inference || !op.NeedsModel() {
			continue
		}
		q := p.inquire(who, op, false, nil, at)
		for name := range p.config.Models {
			if q.allowsModel(name) {
				names = append(names, name)
			}
		}
	}
	return sorted(names)
}

// routes are the allowed ways to serve the inquiry's operation on the models.
func (q *inquiry) routes(models []operation.ModelRef) []Route {
	// A row that says its models stand in the body must have been read so, and no other.
	if !q.decidable() || q.operation.NeedsModel() != (len(models) > 0) {
		return nil
	}
	var routes []Route
	if !q.operation.NeedsModel() {
		for _, upstream := range q.config.DefaultUpstream {
			if q.allows(resource{upstream: upstream}) {
				routes = append(routes, Route{Upstream: upstream})
			}
		}
		return routes
	}
	for _, m := range models { // before any policy is asked
		if _, known := q.config.Models[m.Name]; !known {
			return nil
		}
	}
	for _, target := range q.config.Models[models[0].Name].Targets {
		if !q.allows(resource{models[0].Name, target.Upstream}) {
			continue
		}
		names := []string{target.Model}
		for _, m := range models[1:] {
			if name, allowed := q.at(target.Upstream, m.Name); allowed {
				names = append(names, name)
			}
		}
		if len(names) == len(models) {
			routes = append(routes, Route{Upstream: target.Upstream, Models: names})
		}
	}
	return routes
}

// at is the name a model has at the upstream, where it has a target there and is allowed there.
func (q *inquiry) at(upstream, model string) (string, bool) {
	for _, target := range q.config.Models[model].Targets {
		if target.Upstream == upstream {
			return target.Model, q.allows(resource{model, upstream})
		}
	}
	return "", false
}

// anywhere reports whether the operation is allowed on any configured model or upstream.
func (q *inquiry) anywhere() bool {
	switch {
	case !q.decidable():
		return false
	case q.operation.NeedsModel():
		return slices.ContainsFunc(slices.Collect(maps.Keys(q.config.Models)), q.allowsModel)
	}
	for upstream := range q.config.Upstreams {
		if q.allows(resource{upstream: upstream}) {
			return true
		}
	}
	return false
}

// allowsModel reports whether any target of a configured model is allowed.
func (q *inquiry) allowsModel(name string) bool {
	return slices.ContainsFunc(q.config.Models[name].Targets, func(t config.Target) bool {
		return q.allows(resource{name, t.Upstream})
	})
}
