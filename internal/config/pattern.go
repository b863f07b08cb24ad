package config

import (
	"regexp"
	"strings"
)

const (
	// maxGroupRules bounds what is asked of each token of an issuer.
	maxGroupRules = 100
	// maxWhen bounds the claims of one rule, and maxGiven its groups.
	maxWhen, maxGiven = 16, 32
	// maxPattern is in characters; refs and repositories are shorter.
	maxPattern = 256
)

// patternForm knows no third star in a row: which two of the three would be the pair?
var patternForm = regexp.MustCompile(`^([^*]|\*\*?([^*]|$))+$`)

// A slash parts an organization from a repository, and a group from its subgroup, so that a star
// which crossed it would let in more than the eye sees: acme/* is not acme/contractors/app. Control characters
// are in no honest name, and what reads a value up to one would read another value.
var stars = strings.NewReplacer(`\*\*`, `\P{Cc}*`, `\*`, `[^/\p{Cc}]*`)

// Regexp is the pattern as a regular expression, which takes time linear in a value's length
// whatever the pattern (RE2): values are what clients made them.
func (p Pattern) Regexp() *regexp.Regexp {
	return regexp.MustCompile(`\A` + stars.Replace(regexp.QuoteMeta(string(p))) + `\z`)
}

// IsWild reports whether the pattern holds nothing but stars, and slashes between: it says little
// more of a value than that there is one.
func (p Pattern) IsWild() bool {
	return strings.Contains(string(p), "*") && strings.Trim(string(p), "*/") == ""
}
