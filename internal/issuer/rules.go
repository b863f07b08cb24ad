package issuer

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/config"
)

// rule is one of an issuer's group_rules.
type rule struct {
	// when are its conditions in the order of their claims, so that a token is refused alike every time.
	when   []condition
	groups []string
}

type condition struct {
	claim   config.ClaimPath
	pattern *regexp.Regexp
}

func newRules(of []config.GroupRule) []rule {
	rules := make([]rule, len(of))
	for i, r := range of {
		rules[i].groups = r.Groups
		for _, claim := range slices.Sorted(maps.Keys(r.When)) {
			rules[i].when = append(rules[i].when, condition{claim, r.When[claim].Regexp()})
		}
	}
	return rules
}

// matches reports whether all of the rule's conditions hold. A claim that is missing, or is neither a
// string nor a list of strings, holds none. One that the issuer keeps elsewhere refuses the token, as
// it does among groups: nobody can tell what it would have matched.
func (r rule) matches(claims map[string]any) (bool, error) {
	all := true
	for _, c := range r.when {
		if elsewhere(claims, c.claim) {
			return false, refuse("the token's claim %s, by which this gateway gives groups, is kept elsewhere (_claim_names); have its issuer put it into the token", public(string(c.claim)))
		}
		values, _ := texts(at(claims, c.claim))
		all = all && slices.ContainsFunc(values, c.pattern.MatchString)
	}
	return all, nil
}

// Warnings are of group_rules that may not be meant: they match nothing, or more than they seem to, or
// say twice what one could.
func Warnings(c *config.Config) (warnings config.Faults) {
	for i, is := range c.Issuers {
		first := map[string]string{}
		for j, r := range is.GroupRules {
			path := fmt.Sprintf("issuers[%d].group_rules[%d]", i, j)
			warn := func(format string, args ...any) {
				warnings = append(warnings, c.Fault(path, format, args...))
			}
			var conditions strings.Builder
			for _, claim := range slices.Sorted(maps.Keys(r.When)) {
				pattern := r.When[claim]
				fmt.Fprintf(&conditions, "%q: %q\n", claim, pattern)
				if pattern.IsWild() {
					warn("wants nothing of %s but that it is there: %q admits whatever the issuer or its client wrote; name what you mean, or leave the claim out", claim, pattern)
				}
				if must, ok := is.Require[string(claim)]; ok && !pattern.Regexp().MatchString(must) {
					warn("never matches: every token must have %s: %s (require), which %q does not match", claim, must, pattern)
				}
			}
			if other, again := first[conditions.String()]; again {
				warn("matches exactly what %s does; merge the two", other)
			} else {
				first[conditions.String()] = path
			}
			for _, g := range r.Groups {
				if is.GroupPrefix != "" && strings.HasPrefix(g, is.GroupPrefix) {
					warn("gives the group %q, which policies see as %q, because group_prefix is put before it", g, is.GroupPrefix+g)
				}
			}
		}
	}
	return warnings
}
