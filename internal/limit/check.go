package limit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// Check finds limits on operations that aren't there, and what is wrong with the store's address and
// certificates as far as they are known here: the environment and the files may be other ones where the
// gateway runs. New wants both.
func Check(c *config.Config) (faults config.Faults) {
	var known []string
	for _, op := range operation.Decided() {
		known = append(known, string(op.Name))
	}
	for _, g := range operation.Groups() {
		known = append(known, string(g))
	}
	slices.Sort(known)
	for i, l := range c.Limits {
		for j, name := range l.Operations {
			if name != "" && !slices.Contains(known, name) {
				faults = append(faults, c.Fault(fmt.Sprintf("limits[%d].operations[%d]", i, j), "no operation or group of operations is called %q; %s", name, config.Suggest(name, known)))
			}
		}
	}
	if name := c.LimitStore.URLEnv; name != "" && os.Getenv(name) != "" {
		if _, err := address(c); err != nil {
			faults = append(faults, *err)
		}
	}
	if ca := c.LimitStore.CA; ca != nil && (ca.Env == "" || os.Getenv(ca.Env) != "") {
		if _, err := roots(ca); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, c.Fault("limit_store.ca", "%v", err))
		}
	}
	return faults
}

// Warnings are of limits that match no request.
func Warnings(c *config.Config) (warnings config.Faults) {
	for i, r := range newRules(c) {
		if why := r.nothing(c.Issuers); why != "" {
			warnings = append(warnings, c.Fault(fmt.Sprintf("limits[%d]", i), "limit %s matches no request: %s", r.label, why))
		}
	}
	return warnings
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
	var strangers []string
	for _, g := range r.Groups {
		of := config.IssuerOf(g, issuers)
		switch {
		case of == nil:
			strangers = append(strangers, fmt.Sprintf("no client can be in %q: %s", g, config.NoIssuerOf(g, issuers)))
		case !slices.ContainsFunc(may, func(is config.Issuer) bool { return is.URL == of.URL }):
			strangers = append(strangers, fmt.Sprintf("%q is a group of %s", g, of.URL))
		}
	}
	if r.Groups != nil && len(strangers) == len(r.Groups) {
		return strings.Join(strangers, "; ")
	}
	named := r.Models != nil || r.Per == config.PerModel
	if named && r.operations != nil && len(r.operations) > 0 && !slices.ContainsFunc(operation.Decided(), func(op *operation.Operation) bool {
		return r.operations[op.Name] && op.NeedsModel()
	}) {
		return "its operations name no model"
	}
	return ""
}
