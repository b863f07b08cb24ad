// Package policy decides what a client may do, by the Cedar policies the operator wrote.
//
// Nothing is allowed unless a permit matches, and one matching forbid overrides every permit. The
// decision is made for each place a request could be served, by the names the configuration gives
// to models and upstreams, and a place that is denied is never used. What can't be decided is
// denied: a model or an operation that isn't known, and a request for which any policy's evaluation
// errs (Cedar alone would skip that policy, a forbid too).
//
// Policies are checked when they are loaded, strictly (docs/adr/0002-cedar.md). They read only what the
// schema in schema.cedarschema declares, and nothing of a request but its operation, its models,
// stream and max_output_tokens.
package policy

import (
	"crypto/rand"
	"errors"
	"fmt"
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
	// written are the policies as they were written, and order their ids in that order.
	written map[cedar.PolicyID]*Written
	order   []cedar.PolicyID
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
	// Routes are the ways to serve the request, in the configured order of preference: the allowed
	// ones or, in audit mode where none is, all that are configured. Without one it is refused.
	Routes []Route
	// Policies are the ids of the policies that determined the outcome, and Errors those whose
	// evaluation erred, both sorted. They are told to the operator, not to the client.
	Policies []string
	Errors   []string
	// Remembered says that every evaluation was answered from memory.
	Remembered bool
	// Line is the first denied line of a refused batch file, from 1.
	Line int
	// Cause is why the request was refused where it was not by a policy, or nil.
	Cause error
	// Refusal is OperationNotAllowed or ModelNotAllowed where the policies deny the request.
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
	q := p.inquire(who, req.Operation, req.Ask, at)
	d.Remembered = true
	d.Routes = q.routes(d, req)
	d.note(q)
	d.Policies, d.Errors = sorted(d.Policies), sorted(d.Errors)
	if len(d.Routes) > 0 {
		d.Line = 0 // another upstream may have the file
		return d
	}
	d.Refusal = apierror.ModelNotAllowed
	if !q.anywhere() {
		d.Refusal = apierror.OperationNotAllowed
	}
	if p.config.Policies.Mode == config.Audit {
		q.lenient = true
		d.Routes = q.routes(&Decision{}, req)
	}
	return d
}

// Keep drops routes for another reason than policies. Where none is left, the request is refused as if
// they forbade it.
func (d *Decision) Keep(may func(Route) bool, otherwise error) {
	kept := slices.DeleteFunc(d.Routes, func(r Route) bool { return !may(r) })
	if len(kept) == 0 && len(d.Routes) > 0 && !d.Denied() {
		d.Refusal, d.Cause = apierror.ModelNotAllowed, otherwise
	}
	d.Routes = kept
}

// Denied reports whether the policies deny the request. In audit mode it may be served all the
// same: then there are Routes.
func (d *Decision) Denied() bool { return d.Refusal != apierror.Kind{} }

// note adds what determined the inquiry's verdicts.
func (d *Decision) note(q *inquiry) {
	d.Remembered = d.Remembered && len(q.verdicts) > 0
	for _, v := range q.verdicts {
		d.Policies = append(d.Policies, v.policies...)
		d.Errors = append(d.Errors, v.errors...)
		d.Remembered = d.Remembered && v.remembered
	}
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Err is what the client is told: nil where the request is served. It tells an unknown model and a
// forbidden one apart in nothing.
func (d *Decision) Err() error {
	if len(d.Routes) > 0 {
		return nil
	}
	err := apierror.New(apierror.ModelNotAllowed, "this client may not use this model or upstream for this operation; list the models to see those that it may use, or give the operator the decision id")
	if d.Refusal == apierror.OperationNotAllowed {
		err = apierror.New(apierror.OperationNotAllowed, "this client may not use this operation with any model or upstream; give the operator the decision id")
	} else if d.Line > 0 {
		err.Message = fmt.Sprintf("line %d of the batch file: %s", d.Line, err.Message)
	}
	err.DecisionID = d.ID
	return err.Because(d.Cause)
}

// Models lists, sorted, the models on which some inference operation is allowed at the time to a
// request that sets neither stream nor a bound on its output. In audit mode these are all.
func (p *Policies) Models(who *principal.Principal, at time.Time) []string {
	var names []string
	for _, op := range operation.Decided() {
		if op.Group != operation.Inference || !op.NeedsModel() {
			continue
		}
		q := p.inquire(who, op, operation.Ask{}, at)
		q.lenient = p.config.Policies.Mode == config.Audit
		for name := range p.config.Models {
			if q.allowsModel(name) {
				names = append(names, name)
			}
		}
	}
	return sorted(names)
}

// routes are the allowed ways to serve the request that the inquiry is about.
func (q *inquiry) routes(d *Decision, req *operation.Request) []Route {
	// A row that says its models stand in the body must have been read so, and no other.
	if !q.decidable() || q.operation.NeedsModel() != (len(req.Models) > 0) {
		return nil
	}
	var routes []Route
	if !q.operation.NeedsModel() {
		if len(q.config.DefaultUpstream) == 0 {
			d.Cause = errors.New("no default_upstream is configured, where calls that name no model go")
		}
		for _, upstream := range q.config.DefaultUpstream {
			if !q.allows(resource{upstream: upstream}) {
				continue
			}
			if names, denied := q.lines(d, upstream, req.Lines); denied == 0 {
				routes = append(routes, Route{Upstream: upstream, Models: names})
			} else if d.Line == 0 {
				d.Line = denied
			}
		}
		return routes
	}
	for _, m := range req.Models { // before any policy is asked
		if _, known := q.config.Models[m.Name]; !known {
			d.Cause = errors.New("a model that the request names is not configured")
			return nil
		}
	}
	for _, target := range q.config.Models[req.Models[0].Name].Targets {
		if !q.allows(resource{req.Models[0].Name, target.Upstream}) {
			continue
		}
		further, ok := q.names(target.Upstream, req.Models[1:])
		if ok {
			routes = append(routes, Route{Upstream: target.Upstream, Models: append([]string{target.Model}, further...)})
		}
	}
	return routes
}

// lines decides the calls of a batch file, each as if it were made by itself, for the upstream that
// gets the file. It returns the names of their models there, or the number of the first denied line.
func (q *inquiry) lines(d *Decision, upstream string, lines []operation.Line) (names []string, denied int) {
	for _, line := range lines {
		of := q.inquire(q.who, line.Operation, line.Ask, q.time)
		of.lenient = q.lenient
		at, ok := of.names(upstream, line.Models)
		if d.note(of); !ok || !of.decidable() || len(at) == 0 {
			return nil, line.Number
		}
		names = append(names, at...)
	}
	return names, 0
}

// names are the models' names at the upstream, if each is configured and allowed there.
func (q *inquiry) names(upstream string, models []operation.ModelRef) ([]string, bool) {
	names := make([]string, len(models))
	for i, m := range models {
		name, allowed := q.at(upstream, m.Name)
		if !allowed {
			return nil, false
		}
		names[i] = name
	}
	return names, true
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
