package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// Warnings tells what is no fault, but may not be meant: policies that can never matter, groups that no
// issuer gives, models that nobody may use, and stored objects that several share. Each but the last is certain,
// whatever tokens clients bring; what it would take a theorem prover to find is not looked for.
func (p *Policies) Warnings() config.Faults {
	var all config.Faults
	granted := map[types.EntityUID]*grants{}
	asked := p.asked()
	for _, a := range asked {
		granted[a.Resource.(types.EntityUID)] = &grants{who: map[string]bool{}}
	}
	for _, id := range p.order {
		ast := p.ast(id)
		never := false
		for _, g := range p.foreign(ast) {
			all = append(all, p.warn(id, g.String(), "no client can be in %s: %s", g, config.NoIssuerOf(string(g.ID), p.config.Issuers)))
			of, ok := groupOf(ast.Principal)
			never = never || ok && of == g
		}
		if why := p.contradiction(ast); why != "" {
			all = append(all, p.warn(id, "", "can never match: %s", why))
			never = true
		}
		var inScope, matches, matters bool
		var overriding []cedar.PolicyID
		for _, a := range asked {
			if _, kept := eval.PartialPolicy(a, ast); !kept {
				bare := *ast
				bare.Conditions = nil
				_, kept = eval.PartialPolicy(a, &bare)
				inScope = inScope || kept
				continue
			}
			matches = true
			if ast.Effect == xast.EffectForbid {
				matters = true
				break
			}
			g := granted[a.Resource.(types.EntityUID)]
			if never {
				g.never = true
			} else if forbid := p.overrides(a, ast.Principal); forbid != "" {
				overriding, g.overriding = append(overriding, forbid), append(g.overriding, forbid)
			} else {
				matters = true
				g.who[clients(id, ast)] = true
			}
		}
		switch {
		case matters, never:
		case matches:
			all = append(all, p.warn(id, "", "allows nothing: %s it wherever it matches", p.override(overriding)))
		case inScope:
			all = append(all, p.warn(id, "", "can never match: its conditions hold for no operation on a configured model or a default upstream"))
		default:
			all = append(all, p.warn(id, "", "can never match: it is for no operation on a target of a configured model or on a default upstream"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.config.Models)) {
		g := granted[types.NewEntityUID(modelType, types.String(name))]
		if g == nil || len(g.who) > 0 { // without a target it is the configuration's own fault
			continue
		}
		why := "no permit is for any operation on it"
		switch {
		case len(g.overriding) > 0 && g.never:
			why = p.override(g.overriding) + " every permit for it that can match"
		case len(g.overriding) > 0:
			why = p.override(g.overriding) + " every permit for it"
		case g.never:
			why = "no permit for it can match"
		}
		all = append(all, p.config.Fault(config.Path("models", name), "nobody may use it: %s", why))
	}
	return append(all, p.shared(granted)...)
}

// grants are what permits come to on one model, or on one upstream itself.
type grants struct {
	// who are let in.
	who map[string]bool
	// overriding are the forbids that keep others out, and never says that there are permits for nobody.
	overriding []cedar.PolicyID
	never      bool
}

// override says in the order of the files which forbids override, for the words that follow.
func (p *Policies) override(forbids []cedar.PolicyID) string {
	var names []string
	for _, id := range p.order {
		if slices.Contains(forbids, id) {
			names = append(names, strconv.Quote(string(id)))
		}
	}
	if len(names) == 1 {
		return "the forbid " + names[0] + " overrides"
	}
	return "the forbids " + strings.Join(names, ", ") + " override"
}

func (p *Policies) ast(id cedar.PolicyID) *xast.Policy { return (*xast.Policy)(p.set.Get(id).AST()) }

// warn is a warning at what stands in the policy's text, or at the policy as a whole.
func (p *Policies) warn(id cedar.PolicyID, at, format string, args ...any) config.Fault {
	return faultAt(p.ast(id), p.written[id].Text, at, format, args...)
}

// asked is everything that policies are ever asked, by a client and in a context that are unknown.
func (p *Policies) asked() []eval.Env {
	resources := p.resources()
	var all []eval.Env
	for _, op := range operation.Decided() {
		for _, r := range resources {
			if op.NeedsModel() != (r.model != "") {
				continue
			}
			e := entities{actions: p.actions, resource: resourceEntity(r)}
			all = append(all, eval.Env{Entities: e, Principal: eval.Variable("principal"), Context: eval.Variable("context"),
				Action: types.NewEntityUID(actionType, types.String(op.Name)), Resource: e.resource.UID})
		}
	}
	return all
}

// overrides finds a forbid that matches whatever is asked of it, for every client that the scope has.
func (p *Policies) overrides(asked eval.Env, of xast.IsPrincipalScopeNode) cedar.PolicyID {
	for _, id := range p.order {
		forbid := p.ast(id)
		if forbid.Effect == xast.EffectForbid && within(of, forbid.Principal) {
			if rest, kept := eval.PartialPolicy(asked, forbid); kept && len(rest.Conditions) == 0 {
				return id
			}
		}
	}
	return ""
}

// within reports whether all clients of the one scope are certainly in the other.
func within(of, other xast.IsPrincipalScopeNode) bool {
	switch other := other.(type) {
	case xast.ScopeTypeAll, xast.ScopeTypeIs: // all principals are clients
		return true
	case xast.ScopeTypeEq:
		return of == xast.IsPrincipalScopeNode(other)
	}
	a, ok := groupOf(of)
	b, also := groupOf(other)
	return ok && also && a == b
}

// groupOf is the entity in which a scope wants its clients.
func groupOf(s xast.IsPrincipalScopeNode) (types.EntityUID, bool) {
	switch s := s.(type) {
	case xast.ScopeTypeIn:
		return s.Entity, true
	case xast.ScopeTypeIsIn:
		return s.Entity, true
	}
	return types.EntityUID{}, false
}

// foreign are the groups in the policy that no issuer gives.
func (p *Policies) foreign(policy *xast.Policy) []types.EntityUID {
	var all []types.EntityUID
	for _, e := range named(policy) {
		if e.Type == groupType && config.IssuerOf(string(e.ID), p.config.Issuers) == nil && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// contradiction says why the policy's conditions can't hold for the clients of its scope, or "". They
// are of one issuer, where the scope has a group or a client; and each operand that all must hold says
// something of it.
func (p *Policies) contradiction(policy *xast.Policy) string {
	is := p.issuerOf(policy.Principal)
	if is == nil {
		return ""
	}
	for _, c := range policy.Conditions {
		if !c.Condition {
			continue
		}
		for _, n := range conjuncts(c.Body) {
			switch n := n.(type) {
			case xast.NodeTypeHas:
				if n.Arg == xast.Principal().Access("claims").AsIsNode() && !slices.Contains(is.Claims, string(n.Value)) {
					return "its clients are of " + is.URL + ", whose claims don't name " + string(n.Value)
				}
			case xast.NodeTypeEquals:
				for _, side := range [][2]xast.IsNode{{n.Left, n.Right}, {n.Right, n.Left}} {
					value, ok := side[0].(xast.NodeValue)
					if ok && isIssuer(side[1]) && value.Value != types.Value(types.String(is.URL)) {
						return "its clients are of " + is.URL + ", and no other issuer"
					}
				}
			}
		}
	}
	return ""
}

func isIssuer(n xast.IsNode) bool {
	access, ok := n.(xast.NodeTypeAccess)
	return ok && access.Value == "issuer" && access.Arg == xast.Principal().AsIsNode()
}

// issuerOf is the one issuer whose clients a scope has, or nil.
func (p *Policies) issuerOf(s xast.IsPrincipalScopeNode) *config.Issuer {
	if g, ok := groupOf(s); ok && g.Type == groupType {
		return config.IssuerOf(string(g.ID), p.config.Issuers)
	}
	if eq, ok := s.(xast.ScopeTypeEq); ok {
		for i, is := range p.config.Issuers {
			if url, _, _ := strings.Cut(string(eq.Entity.ID), "#"); eq.Entity.Type == clientType && url == is.URL {
				return &p.config.Issuers[i]
			}
		}
	}
	return nil
}

// conjuncts are the operands that must all be true for n to be.
func conjuncts(n xast.IsNode) []xast.IsNode {
	if and, ok := n.(xast.NodeTypeAnd); ok {
		return append(conjuncts(and.Left), conjuncts(and.Right)...)
	}
	return []xast.IsNode{n}
}
