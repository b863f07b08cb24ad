package limit

import (
	"fmt"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// Check finds limits on operations that aren't there, and warns of limits that match no request.
func Check(c *config.Config) (warnings, faults config.Faults) {
	var known []string
	for _, op := range operation.All() {
		if !op.IsList() { // which nothing limits
			known = append(known, string(op.Name))
		}
	}
	for _, g := range operation.Groups() {
		known = append(known, string(g))
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for i, r := range newRules(c) {
		path := fmt.Sprintf("limits[%d]", i)
		for j, name := range r.Operations {
			if name != "" && !slices.Contains(known, name) {
				faults = append(faults, c.Fault(fmt.Sprintf("%s.operations[%d]", path, j), "no operation or group of operations is called %q; %s", name, config.Suggest(name, known)))
			}
		}
		if why := r.nothing(c.Issuers); why != "" {
			warnings = append(warnings, c.Fault(path, "limit %s matches no request: %s", r.label, why))
		}
	}
	return warnings, faults
}

// nothing says why the rule matches no request, or "".
func (r *rule) nothing(issuers []config.Issuer) string {
	may := slices.DeleteFunc(slices.Clone(issuers), func(is config.Issuer) bool {
		return r.Issuers != nil && !slices.Contains(r.Issuers, is.URL)
	})
	if r.Clients != nil && !slices.ContainsFunc(r.Clients, func(client string) bool {
		issuer, _, _ := strings.Cut(client, "#")
		return slices.ContainsFunc(may, func(is config.Issuer) bool { return is.URL == issuer })
	}) {
		return "its clients are of none of its issuers"
	}
	if r.Groups != nil && !slices.ContainsFunc(r.Groups, func(g string) bool {
		of := config.IssuerOf(g, issuers)
		return of != nil && slices.ContainsFunc(may, func(is config.Issuer) bool { return is.URL == of.URL })
	}) {
		return "its groups are of none of its issuers: theirs begin with their group_prefix, and where no claim is read for groups, they are those of group_rules"
	}
	named := r.Models != nil || r.Per == config.PerModel
	if named && r.operations != nil && len(r.operations) > 0 && !slices.ContainsFunc(operation.All(), func(op *operation.Operation) bool {
		return r.operations[op.Name] && op.NeedsModel()
	}) {
		return "its operations name no model"
	}
	return ""
}
