package issuer

import (
	"slices"
	"strconv"
	"strings"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/principal"
)

// maxGroups bounds what policies evaluate for one client. Entra lists at most 200 groups in a token,
// Okta 100.
const maxGroups = 1000

// principal says who a verified claims set speaks of. What can't be understood refuses the token: a
// group left out in silence could be the one that a policy forbids.
func (is *trusted) principal(claims map[string]any) (*principal.Principal, error) {
	p := &principal.Principal{Issuer: is.URL}
	var err error
	if p.Subject, err = text(claims, "sub"); err != nil {
		return nil, err
	}
	present := func(name string) bool { _, ok := claims[name]; return ok }
	if i := slices.IndexFunc(is.ClientID, present); i >= 0 {
		if p.ClientID, err = text(claims, is.ClientID[i]); err != nil {
			return nil, err
		}
	}
	if p.ClientID == "" {
		return nil, refuse("the token names no client; have its issuer set one of the claims %s", public(strings.Join(is.ClientID, ", ")))
	}
	for _, name := range is.Claims {
		if !present(name) {
			continue
		}
		if p.Claims == nil {
			p.Claims = map[string]string{}
		}
		if p.Claims[name], err = text(claims, name); err != nil {
			return nil, err
		}
	}
	if p.Scopes, err = scopes(claims); err != nil {
		return nil, err
	}
	p.Groups, p.DroppedGroups, err = is.groups(claims)
	return p, err
}

// text reads a claim that must be a string where it is present.
func text(claims map[string]any, name string) (string, error) {
	v, ok := claims[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", refuse("the token's claim %s is not a string; have its issuer write one", public(name))
	}
	return s, nil
}

// scopes reads scope (RFC 9068 section 2.2.3) and scp, as Entra (a string) and Okta (an array) call
// it.
func scopes(claims map[string]any) ([]string, error) {
	var all []string
	for _, name := range []string{"scope", "scp"} {
		v, ok := claims[name]
		if !ok {
			continue
		}
		each, ok := texts(v)
		if !ok {
			return nil, refuse("the token's scopes (%s) are not strings; have its issuer write strings", name)
		}
		for _, s := range each {
			all = append(all, strings.Fields(s)...)
		}
	}
	return all, nil
}

// groups is the union of the configured places and of what the issuer's rules give, named so that no
// issuer's groups can read as another's. A claimed group that begins with another issuer's prefix is
// dropped and counted, whether or not this issuer has a prefix of its own to keep them apart: nobody
// calls a group that by honest chance. Of a rule's groups the configuration was refused.
func (is *trusted) groups(claims map[string]any) (groups []string, dropped int, err error) {
	var claimed []string
	for _, place := range is.Groups {
		if elsewhere(claims, place) {
			return nil, 0, refuse("the token's groups are too many for it and are kept elsewhere (Entra's groups overage); have its issuer send only the groups assigned to the application")
		}
		v := at(claims, place)
		if v == nil {
			continue
		}
		each, ok := texts(v)
		if !ok {
			return nil, 0, refuse("the token's groups (at %s) are not strings; have its issuer write strings, or the gateway read groups elsewhere", public(string(place)))
		}
		for _, g := range each {
			if g = strings.TrimPrefix(g, is.GroupTrimPrefix); g != "" {
				claimed = append(claimed, g)
			}
		}
	}
	for _, r := range is.rules {
		matches, err := r.matches(claims)
		if err != nil {
			return nil, 0, err
		}
		if matches {
			claimed = append(claimed, r.groups...)
		}
	}
	slices.Sort(claimed)
	claimed = slices.Compact(claimed)
	if len(claimed) > maxGroups {
		return nil, 0, refuse("the token's groups are more than %d; have its issuer send fewer", maxGroups)
	}
	for _, g := range claimed {
		if slices.ContainsFunc(is.foreign, func(prefix string) bool { return strings.HasPrefix(g, prefix) }) {
			dropped++
			continue
		}
		groups = append(groups, is.GroupPrefix+g)
	}
	return groups, dropped, nil
}

// elsewhere reports whether the claim of the place is not in the token because it would make it too
// large (learn.microsoft.com/entra/identity-platform/id-token-claims-reference, groups overage;
// _claim_names is OpenID Connect Core section 5.6.2).
func elsewhere(claims map[string]any, place config.ClaimPath) bool {
	name := segments(place)[0]
	if has, ok := claims["hasgroups"]; ok && has != false && name == "groups" {
		return true
	}
	names, _ := claims["_claim_names"].(map[string]any)
	_, ok := names[name]
	return ok
}

// at is the value at a place, or nil where there is none, or null.
func at(claims map[string]any, place config.ClaimPath) any {
	var v any = claims
	for _, s := range segments(place) {
		switch container := v.(type) {
		case map[string]any:
			v = container[s]
		case []any:
			i, err := strconv.Atoi(s)
			if err != nil || i < 0 || i >= len(container) || strconv.Itoa(i) != s {
				return nil
			}
			v = container[i]
		default:
			return nil
		}
	}
	return v
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// segments takes a JSON Pointer (RFC 6901) apart; a claim's name, which may hold slashes, is one.
func segments(place config.ClaimPath) []string {
	pointer, ok := strings.CutPrefix(string(place), "/")
	if !ok {
		return []string{string(place)}
	}
	parts := strings.Split(pointer, "/")
	for i, s := range parts {
		parts[i] = unescape.Replace(s)
	}
	return parts
}
