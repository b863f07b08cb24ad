package policy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

// Verdict is whether a request may be served at one place.
type Verdict struct {
	Upstream string `json:"upstream"`
	// Model is the name that the request's model has there, or "".
	Model   string `json:"model,omitempty"`
	Allowed bool   `json:"allowed"`
}

// Explanation is why the policies decide as they do on one place where a request could be served.
type Explanation struct {
	Verdict
	// Determined are the policies that determined it: the forbids that match or, where none does, the
	// permits. Where there are none, and no error, nothing permits.
	Determined []Written `json:"determined"`
	// Overridden are permits that match in vain, because of a forbid or an error.
	Overridden []Written `json:"overridden"`
	// Erred are policies whose evaluation erred. One is enough to deny.
	Erred []Erred `json:"erred"`
	// Near are the policies that came nearest to making it otherwise: those of which one requirement alone
	// doesn't hold, forbids where it is allowed and permits where nothing permits it. Where no permit
	// came so near, it is those that came nearest.
	Near []Near `json:"near"`
}

// Erred is a policy whose evaluation erred, and how.
type Erred struct {
	Written
	Error string `json:"error"`
}

// Near is a policy that doesn't match, and what of it doesn't hold.
type Near struct {
	Written
	Failed []Requirement `json:"failed"`
}

// Requirement is one of the things that all must hold for a policy to match.
type Requirement struct {
	// Name is principal, action, resource, when or unless.
	Name string `json:"name"`
	// Text is how it was written.
	Text string `json:"text"`
	// Because is the first operand that decides, where a clause joins several.
	Because string `json:"because,omitempty"`
	// Read is what it, or that operand, reads of the request.
	Read []Reading `json:"read,omitempty"`
	// Error says that its evaluation, which another makes needless, errs.
	Error string `json:"error,omitempty"`
}

// Reading is an expression and what it came to.
type Reading struct {
	Expression string `json:"expression"`
	Value      string `json:"value"`
}

// Verdicts are the policies' own on each place where a request could be served. The places are the targets
// of the request's own model, or the default upstreams; there are none for a model that isn't configured. The
// models that it names beside its own, and the lines of a batch file, are requests of their own to ask
// about. Decide says what becomes of the whole.
func (p *Policies) Verdicts(who *principal.Principal, req *operation.Request, at time.Time) []Verdict {
	q := p.inquire(who, req.Operation, req.Ask, at)
	var all []Verdict
	for _, place := range q.places(req) {
		all = append(all, Verdict{place.upstream, place.name, q.allows(place.resource)})
	}
	return all
}

// Explain says for each of the Verdicts why it is so.
func (p *Policies) Explain(who *principal.Principal, req *operation.Request, at time.Time) []Explanation {
	q := p.inquire(who, req.Operation, req.Ask, at)
	var all []Explanation
	for _, place := range q.places(req) {
		all = append(all, q.explain(place))
	}
	return all
}

// place is a resource, and the name that its model has there.
type place struct {
	resource
	name string
}

// places are those where the request could be served.
func (q *inquiry) places(req *operation.Request) []place {
	var all []place
	if !q.decidable() {
		return nil
	}
	if !req.NeedsModel() {
		for _, upstream := range q.config.DefaultUpstream {
			all = append(all, place{resource{upstream: upstream}, ""})
		}
	} else if len(req.Models) > 0 {
		name := req.Models[0].Name
		for _, target := range q.config.Models[name].Targets {
			all = append(all, place{resource{name, target.Upstream}, target.Model})
		}
	}
	return all
}

func (q *inquiry) explain(at place) Explanation {
	e := Explanation{Verdict: Verdict{Upstream: at.upstream, Model: at.name}, Determined: []Written{}, Overridden: []Written{}, Erred: []Erred{}, Near: []Near{}}
	env := q.env(at.resource)
	decision, reasons := cedar.Authorize(q.set, env.Entities, cedar.Request{
		Principal: env.Principal.(types.EntityUID), Action: env.Action.(types.EntityUID), Resource: env.Resource.(types.EntityUID), Context: env.Context.(types.Record),
	})
	errs := map[cedar.PolicyID]string{}
	for _, err := range reasons.Errors {
		errs[err.PolicyID] = err.Message
	}
	e.Allowed = decision == cedar.Allow && len(errs) == 0
	denying := slices.ContainsFunc(reasons.Reasons, func(r cedar.DiagnosticReason) bool { return q.set.Get(r.PolicyID).Effect() == cedar.Forbid })
	for _, id := range q.order {
		policy, written := q.set.Get(id), *q.written[id]
		permits := policy.Effect() == cedar.Permit
		if message, erred := errs[id]; erred {
			e.Erred = append(e.Erred, Erred{written, message})
			continue
		}
		failed := failures(env, (*xast.Policy)(policy.AST()), written)
		switch {
		case len(failed) > 0:
			if permits != e.Allowed { // another outcome is what it would have made
				e.Near = append(e.Near, Near{written, failed})
			}
		case permits && (denying || len(errs) > 0):
			e.Overridden = append(e.Overridden, written)
		default:
			e.Determined = append(e.Determined, written)
		}
	}
	if e.Near = q.nearest(e.Near, e.Allowed); len(e.Overridden) > 0 {
		e.Near = []Near{} // it is permitted already
	}
	return e
}

// env is what Cedar evaluates in.
func (q *inquiry) env(r resource) eval.Env {
	e := entities{actions: q.actions, client: clientEntity(q.who), resource: resourceEntity(r)}
	return eval.Env{Entities: e, Principal: e.client.UID, Action: q.action(), Resource: e.resource.UID, Context: q.context()}
}

// nearest keeps those of which the fewest requirements failed: the ones for this very client first, and last
// those for clients of another issuer.
func (q *inquiry) nearest(near []Near, allowed bool) []Near {
	fewest := 1
	if len(near) > 0 && !allowed {
		fewest = len(slices.MinFunc(near, func(a, b Near) int { return cmp.Compare(len(a.Failed), len(b.Failed)) }).Failed)
	}
	near = slices.DeleteFunc(near, func(n Near) bool { return len(n.Failed) > fewest })
	distance := func(n Near) int {
		if n.Failed[0].Name != "principal" {
			return 0
		}
		of := q.issuerOf((*xast.Policy)(q.set.Get(cedar.PolicyID(n.ID)).AST()).Principal)
		if of == nil || of.URL == q.who.Issuer {
			return 1
		}
		return 2
	}
	slices.SortStableFunc(near, func(a, b Near) int { return cmp.Compare(distance(a), distance(b)) })
	return near
}

// failures are the requirements of the policy that don't hold. Each is evaluated as a policy of its own, since
// the whole is no further evaluated than to the first that fails.
func failures(env eval.Env, policy *xast.Policy, written Written) []Requirement {
	var failed []Requirement
	check := func(name, text string, part *xast.Policy, body xast.IsNode) {
		holds, err := matches(env, part)
		switch {
		case err != nil:
			failed = append(failed, Requirement{Name: name, Text: text, Error: err.Error()})
		case !holds:
			p := Requirement{Name: name, Text: text}
			if body != nil {
				operand, within := deciding(env, body, name == "when")
				if within {
					p.Because = expression(operand)
				}
				p.Read = readings(env, operand)
			}
			failed = append(failed, p)
		}
	}
	part := xast.Permit()
	part.Principal = policy.Principal
	check("principal", written.scope[0], part, nil)
	part = xast.Permit()
	part.Action = policy.Action
	check("action", written.scope[1], part, nil)
	part = xast.Permit()
	part.Resource = policy.Resource
	check("resource", written.scope[2], part, nil)
	for i, c := range policy.Conditions {
		part := xast.Permit()
		part.Conditions = []xast.ConditionType{c}
		name := "unless"
		if c.Condition {
			name = "when"
		}
		check(name, written.conditions[i], part, c.Body)
	}
	return failed
}

// matches evaluates a policy; partially, so that it need not be one of a set.
func matches(env eval.Env, policy *xast.Policy) (bool, error) {
	left, kept := eval.PartialPolicy(env, policy)
	if !kept {
		return false, nil
	}
	for _, c := range left.Conditions { // nothing is unknown, so that what is left is an error
		if err, erred := eval.ToPartialError(c.Body); erred {
			return false, err
		}
	}
	return true, nil
}

// deciding finds the operand by which a clause fails: the first false one of a conjunction that should
// be true, or the first true one of a disjunction that should be false; within says that it has others
// beside it.
func deciding(env eval.Env, n xast.IsNode, want bool) (operand xast.IsNode, within bool) {
	for ; ; within = true {
		var operands xast.BinaryNode
		switch n := n.(type) {
		case xast.NodeTypeAnd:
			if !want {
				return n, within
			}
			operands = n.BinaryNode
		case xast.NodeTypeOr:
			if want {
				return n, within
			}
			operands = n.BinaryNode
		default:
			return n, within
		}
		v, err := eval.Eval(operands.Left, env)
		if n = operands.Left; err == nil && v == types.Boolean(want) {
			n = operands.Right
		}
	}
}

// readings are the attributes that an expression reads, with their values. One that can't be read is
// left out: an operand before it says so.
func readings(env eval.Env, n xast.IsNode) []Reading {
	var all []Reading
	xast.Inspect(xast.NewNode(n), func(n xast.IsNode) bool {
		arg, isHas := n.(xast.NodeTypeHas)
		if isHas {
			n = arg.Arg
		}
		if _, ok := n.(xast.NodeTypeAccess); !ok {
			return !isHas
		}
		if v, err := eval.Eval(n, env); err == nil {
			r := Reading{expression(n), string(v.MarshalCedar())}
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
		return false
	})
	return all
}

// expression is a node in Cedar's own form.
func expression(n xast.IsNode) string {
	policy := xast.Permit().When(xast.NewNode(n))
	_, text, _ := strings.Cut(string(cedar.NewPolicyFromAST((*ast.Policy)(policy)).MarshalCedar()), "when { ")
	return strings.TrimSuffix(text, " };")
}
