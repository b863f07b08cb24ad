package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// shared warns of what several share: what is stored upstream (files, batches, jobs, responses) belongs
// to the provider's project, not to a client, so that whoever the policies let in on an upstream reaches
// what everybody else there stored. Where that is more than one group or client, the operator should
// know. Conditions and forbids are not weighed.
func (p *Policies) shared() config.Faults {
	var warnings config.Faults
	for _, upstream := range p.config.DefaultUpstream {
		who := map[string]bool{}
		for id, policy := range p.set.All() {
			if ast := (*xast.Policy)(policy.AST()); policy.Effect() == cedar.Permit && reachesStored(ast.Action) && covers(ast.Resource, upstream) {
				name := clients(ast.Principal)
				if name == everyClient && len(ast.Conditions) > 0 {
					name = fmt.Sprintf("whom policy %s lets in", id)
				}
				who[name] = true
			}
		}
		if len(who) > 1 || who[everyClient] {
			warnings = append(warnings, p.config.Fault(config.Path("upstreams", upstream), "its stored files, jobs and responses are shared by %s; give each team an upstream (a provider project) of its own to keep them apart",
				strings.Join(slices.Sorted(maps.Keys(who)), ", ")))
		}
	}
	return warnings
}

const everyClient = "every client"

// clients says whom a permit is for.
func clients(s xast.IsScopeNode) string {
	switch s := s.(type) {
	case xast.ScopeTypeEq:
		return s.Entity.String()
	case xast.ScopeTypeIn:
		return s.Entity.String()
	case xast.ScopeTypeIsIn:
		return s.Entity.String()
	}
	return everyClient
}

// reachesStored reports whether the scope has an operation on stored objects: one that is decided
// without a model.
func reachesStored(s xast.IsScopeNode) bool {
	return slices.ContainsFunc(operation.All(), func(op *operation.Operation) bool {
		if op.IsList() || op.NeedsModel() {
			return false
		}
		of := func(e types.EntityUID) bool { return e.ID == types.String(op.Name) || e.ID == types.String(op.Group) }
		switch s := s.(type) {
		case xast.ScopeTypeEq:
			return of(s.Entity)
		case xast.ScopeTypeIn:
			return of(s.Entity)
		case xast.ScopeTypeInSet:
			return slices.ContainsFunc(s.Entities, of)
		}
		return true
	})
}

// covers reports whether the scope has the upstream itself.
func covers(s xast.IsScopeNode, upstream string) bool {
	uid := types.NewEntityUID(upstreamType, types.String(upstream))
	switch s := s.(type) {
	case xast.ScopeTypeEq:
		return s.Entity == uid
	case xast.ScopeTypeIn:
		return s.Entity == uid
	case xast.ScopeTypeIs:
		return s.Type == upstreamType
	case xast.ScopeTypeIsIn:
		return s.Type == upstreamType && s.Entity == uid
	}
	return true
}
