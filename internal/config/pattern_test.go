package config_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"llmgateway.dev/gateway/internal/config"
)

func TestAPatternIsForTheWholeValue(t *testing.T) {
	for _, row := range []struct {
		pattern    config.Pattern
		are, arent string // parted by spaces; ~ is nothing
	}{
		{"acme/app", "acme/app", "acme/app2 xacme/app acme/ap Acme/app ~"},
		{"acme/*", "acme/app acme/", "acme/x/y acme acmeevil/app evil/acme/app"},
		{"acme/**", "acme/app acme/x/y acme/", "acme acmeevil/x"},
		{"**/app", "acme/app a/b/app /app", "app acme/app/x"},
		{"acme/*/app", "acme/x/app acme//app", "acme/app acme/x/y/app"},
		{"acme-*", "acme-a acme-", "acme-a/b acme"},
		{"*-prod", "a-prod -prod", "a/b-prod a-prod2"},
		{"*", "a ~ a:b", "a/b /"},
		{"**", "a ~ a/b a:b", ""},
		{"repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main2 repo:acme/x/y:ref:refs/heads/main repo:evil/acme:ref:refs/heads/main"},
		{"repo:acme/*:ref:refs/**", "repo:acme/app:ref:refs/tags/v1/x", "repo:acme/app:environment:production"},
		{"refs/heads/release/*", "refs/heads/release/1", "refs/heads/release/1/2 refs/heads/release"},
		{"system:serviceaccount:data:*", "system:serviceaccount:data:loader", "system:serviceaccount:database:loader"},
		{"a.c", "a.c", "abc"},
		{"a?[b](c)+{d}|^$\\", `a?[b](c)+{d}|^$\`, "a ab"},
		{"é*", "é éa", "e"},
		{"*\na", "x\na", "x x\na\n"},
	} {
		re := row.pattern.Regexp()
		for want, values := range map[bool]string{true: row.are, false: row.arent} {
			for v := range strings.SplitSeq(values, " ") {
				if v == "" {
					continue
				}
				v = strings.ReplaceAll(v, "~", "")
				if re.MatchString(v) != want {
					t.Errorf("%q of %q: %t", row.pattern, v, !want)
				}
			}
		}
	}
	for _, pattern := range []config.Pattern{"*", "**", "a*b", "a**b", "a*", "**b"} {
		for _, value := range []string{"a\nb", "a\x00b", "a\tb", "a\x7fb", "a\u0085b", "\na\r\nb\n"} {
			if pattern.Regexp().MatchString(value) {
				t.Errorf("%q of %q, which holds control characters", pattern, value)
			}
		}
	}
}

func TestAPatternOfNothingButStarsIsWild(t *testing.T) {
	for p, want := range map[config.Pattern]bool{"*": true, "**": true, "*/*": true, "**/*/": true, "/": false, "a*": false, "": false, "*:*": false} {
		if p.IsWild() != want {
			t.Errorf("%q: %t", p, !want)
		}
	}
}

func TestAPatternTakesNoLongerForAValueMadeToBeSlow(t *testing.T) {
	slow := config.Pattern(strings.Repeat("*a**a", config.MaxPattern/5) + "b")
	// One that tried each way would be ended by Go's own time for a test.
	if slow.Regexp().MatchString(strings.Repeat("a", 16<<10)) {
		t.Error("matches")
	}
}

// matches is what a pattern means, said in the plainest way and in no good time.
func matches(p, value string) bool {
	switch {
	case strings.HasPrefix(p, "**"):
		return matches(p[2:], value) || value != "" && !control(value) && matches(p, rest(value))
	case strings.HasPrefix(p, "*"):
		return matches(p[1:], value) || value != "" && value[0] != '/' && !control(value) && matches(p, rest(value))
	case p == "" || value == "":
		return p == value
	}
	return p[0] == value[0] && matches(p[1:], value[1:])
}

// control reports whether value begins with a control character.
func control(value string) bool {
	r, _ := utf8.DecodeRuneInString(value)
	return unicode.IsControl(r)
}

// rest is value without its first character.
func rest(value string) string {
	_, n := utf8.DecodeRuneInString(value)
	return value[n:]
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"acme/*", "acme/x/y"}, {"**/app", "a/b/app"}, {"*a**b*", "xa/b"}, {"repo:acme/*:**", "repo:acme/a:b/c"}, {"a*/**é", "ab//é"}, {"a**\n*", "a\x7f\n"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, p, value string) {
		if len(p) > 24 || len(value) > 48 || !utf8.ValidString(p) || !utf8.ValidString(value) || strings.Contains(p, "***") || strings.Count(p, "*") > 8 {
			t.Skip() // no pattern, no claim, or too slow a reference
		}
		if got, want := config.Pattern(p).Regexp().MatchString(value), matches(p, value); got != want {
			t.Errorf("%q of %q: %t, want %t", p, value, got, want)
		}
	})
}
