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
)

// shared warns of what several share: what is stored upstream (files, batches, jobs, responses) belongs
// to the provider's project, not to a client, so that whoever the policies let in on an upstream reaches
// what everybody else there stored. Where that is more than one group or client, the operator should
// know. What conditions make of it is not weighed.
func (p *Policies) shared(granted map[types.EntityUID]*grants) config.Faults {
	var warnings config.Faults
	for _, upstream := range p.config.DefaultUpstream {
		who := granted[types.NewEntityUID(upstreamType, types.String(upstream))].who
		if len(who) > 1 || who[everyClient] {
			warnings = append(warnings, p.config.Fault(config.Path("upstreams", upstream), "its stored files, jobs and responses are shared by %s; give each team an upstream (a provider project) of its own to keep them apart",
				strings.Join(slices.Sorted(maps.Keys(who)), ", ")))
		}
	}
	return warnings
}

const everyClient = "every client"

// clients says whom a permit is for.
func clients(id cedar.PolicyID, permit *xast.Policy) string {
	if eq, ok := permit.Principal.(xast.ScopeTypeEq); ok {
		return eq.Entity.String()
	}
	if g, ok := groupOf(permit.Principal); ok {
		return g.String()
	}
	if len(permit.Conditions) > 0 {
		return fmt.Sprintf("whom policy %s lets in", id)
	}
	return everyClient
}
