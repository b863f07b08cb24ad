package issuer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/apierror"
)

func TestGroupsAreTheUnionOfTheirPlaces(t *testing.T) {
	for _, row := range []struct {
		name, entry string
		claims      m
		want        []string
	}{
		{"a string", "groups: [groups]", m{"groups": "one"}, []string{"one"}},
		{"an array, sorted, without repeats", "groups: [groups]", m{"groups": []string{"b", "a", "b", ""}}, []string{"a", "b"}},
		{"missing", "groups: [groups, /a/b/0]", m{"groups": nil}, nil},
		{"null", "groups: [groups]", m{"groups": json.RawMessage("null")}, nil},
		{"empty", "groups: [groups]", m{"groups": []string{}}, nil},
		{"the union", "groups: [groups, roles, /realm_access/roles]", m{"groups": "a", "roles": []string{"b"}, "realm_access": m{"roles": []string{"a", "c"}}}, []string{"a", "b", "c"}},
		{"Keycloak: a client's roles", "groups: [/resource_access/llm-gateway/roles]", m{"resource_access": m{"llm-gateway": m{"roles": []string{"invoke"}}}}, []string{"invoke"}},
		{"a claim whose name is a URL", "groups: ['https://acme.example/groups']", m{"https://acme.example/groups": "a"}, []string{"a"}},
		{"RFC 6901: escapes", "groups: [/a~1b/m~0n/1]", m{"a/b": m{"m~n": []string{"x", "y"}}}, []string{"y"}},
		{"RFC 6901: no such element", "groups: [/a/01, /a/-1, /a/2, /a/-, /b/c]", m{"a": []string{"x", "y"}, "b": "c"}, nil},
		{"full paths to names", "groups: [groups], group_trim_prefix: /", m{"groups": []string{"/team/nested", "/", "plain"}}, []string{"plain", "team/nested"}},
		{"trim, then prefix", "groups: [groups], group_trim_prefix: /, group_prefix: 'kc:'", m{"groups": []string{"/b", "/a"}}, []string{"kc:a", "kc:b"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.entry)
			who, _, err := w.Verify(t.Context(), w.token(row.claims))
			if err != nil || !slices.Equal(who.Groups, row.want) || who.DroppedGroups != 0 {
				t.Errorf("got %+v, %v; want %v", who, err, row.want)
			}
		})
	}
}

// A group left out in silence could be the one that a policy forbids.
func TestGroupsThatCantAllBeReadRefuseTheToken(t *testing.T) {
	many := make([]int, maxGroups+1)
	for _, row := range []struct {
		name   string
		claims m
		check  string
	}{
		{"of numbers", m{"groups": []int{1, 2}}, "groups"},
		{"one number among strings", m{"groups": []any{"a", 1}}, "groups"},
		{"a number", m{"groups": 1}, "groups"},
		{"an object", m{"groups": m{"canary": true}}, "groups"},
		{"objects", m{"realm_access": m{"roles": []any{m{"name": "canary"}}}}, "groups"},
		{"Entra: too many to list", m{"_claim_names": m{"groups": "src1"}, "_claim_sources": m{"src1": m{"endpoint": "https://canary.example"}}, "groups": nil}, "groups"},
		{"Entra: has groups", m{"hasgroups": true, "groups": nil}, "groups"},
		{"over a thousand", m{"groups": strings.Fields(strings.Trim(fmt.Sprint(enumerate(many)), "[]"))}, "groups"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, "")
			w.refuses(t, w.token(row.claims), apierror.InvalidToken, row.check)
		})
	}
	w := newWorld(t, "groups: [roles]")
	w.accepts(t, w.token(m{"hasgroups": true})) // groups that nobody reads are nobody's loss
}

func enumerate(n []int) []int {
	for i := range n {
		n[i] = i
	}
	return n
}

func TestAGroupBorrowedFromAnotherIssuerIsDroppedAndCounted(t *testing.T) {
	for _, row := range []struct {
		prefix string
		want   []string
	}{
		{"", []string{"kc:own", "team", "xgh:b"}},
		{"kc:", []string{"kc:kc:own", "kc:team", "kc:xgh:b"}},
	} {
		w := newWorld(t, "")
		w.Issuers = w.trust(t,
			fmt.Sprintf("{url: %q, audiences: [llm-gateway], groups: [groups, roles], group_trim_prefix: /, group_prefix: %q}", w.idp.URL, row.prefix),
			"{url: 'https://token.actions.githubusercontent.com', audiences: [llm-gateway], group_prefix: 'gh:'}",
			"{url: 'https://a.example', audiences: [llm-gateway], group_prefix: 'az:'}")
		who, _, err := w.Verify(t.Context(), w.token(m{"groups": []string{"gh:admins", "/gh:owners", "team", "kc:own", "az:", "xgh:b"}, "roles": "gh:admins"}))
		if err != nil || !slices.Equal(who.Groups, row.want) || who.DroppedGroups != 3 {
			t.Errorf("prefix %q: got %+v, %v; want %v", row.prefix, who, err, row.want)
		}
	}
}

func TestRulesGiveGroupsByClaims(t *testing.T) {
	const entry = `group_rules: [
		{when: {repository: "acme/*", environment: production}, groups: [ci-production, ci]},
		{when: {repository: "acme/*"}, groups: [ci]},
		{when: {sub: "repo:acme/*:ref:refs/heads/**"}, groups: [branches]},
		{when: {/kubernetes.io/namespace: data}, groups: [data]},
		{when: {amr: "m*"}, groups: [mfa]}]`
	for _, row := range []struct {
		name, more string
		claims     m
		want       []string
	}{
		{"no claim", "", m{}, nil},
		{"one rule", "", m{"repository": "acme/app"}, []string{"ci"}},
		{"all rules that match, sorted, without repeats", "", m{"repository": "acme/app", "environment": "production"}, []string{"ci", "ci-production"}},
		{"every claim of a rule must match", "", m{"environment": "production"}, nil},
		{"another value", "", m{"repository": "acme/app", "environment": "production-2"}, []string{"ci"}},
		{"another owner", "", m{"repository": "acme2/app"}, nil},
		{"a slash more than the pattern's", "", m{"repository": "acme/x/y"}, nil},
		{"two stars go over slashes", "", m{"sub": "repo:acme/app:ref:refs/heads/feature/x"}, []string{"branches"}},
		{"one doesn't", "", m{"sub": "repo:acme/app/x:ref:refs/heads/main"}, nil},
		{"a JSON Pointer", "", m{"kubernetes.io": m{"namespace": "data"}}, []string{"data"}},
		{"one string of a list", "", m{"amr": []string{"pwd", "mfa"}}, []string{"mfa"}},
		{"a list without it", "", m{"amr": []string{"pwd"}}, nil},
		{"a list of more than strings", "", m{"amr": []any{"mfa", 1}}, nil},
		{"no string", "", m{"repository": true, "amr": 1, "kubernetes.io": "data"}, nil},
		{"null", "", m{"repository": json.RawMessage("null")}, nil},
		{"an object", "", m{"amr": m{"mfa": "mfa"}}, nil},
		{"an empty string", "", m{"repository": ""}, nil},
		{"beside claimed groups", "groups: [groups]", m{"repository": "acme/app", "groups": []string{"ci", "team"}}, []string{"ci", "team"}},
		{"the prefix is put before them, and nothing trimmed", "group_prefix: 'gh:', group_trim_prefix: c", m{"repository": "acme/app"}, []string{"gh:ci"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.more == "" || !strings.Contains(row.more, "groups:") {
				row.more = strings.TrimPrefix(row.more+", groups: []", ", ")
			}
			w := newWorld(t, row.more+", "+strings.ReplaceAll(entry, "\t", " "))
			claims := m{"groups": nil}
			maps.Copy(claims, row.claims)
			who, _, err := w.Verify(t.Context(), w.token(claims))
			if err != nil || !slices.Equal(who.Groups, row.want) {
				t.Errorf("got %+v, %v; want %v", who, err, row.want)
			}
		})
	}
}

// A rule can give the group that a policy forbids.
func TestAClaimOfARuleThatIsKeptElsewhereRefusesTheToken(t *testing.T) {
	w := newWorld(t, `groups: [], group_rules: [{when: {department: x, azp: nobody}, groups: [a]}]`)
	sources := m{"src1": m{"endpoint": "https://canary.example"}}
	w.refuses(t, w.token(m{"_claim_names": m{"department": "src1"}, "_claim_sources": sources}), apierror.InvalidToken, "department")
	w.accepts(t, w.token(m{"_claim_names": m{"groups": "src1"}, "_claim_sources": sources, "hasgroups": true}))
}

func TestCheckWarnsOfRulesThatMayNotBeMeant(t *testing.T) {
	warnings := Warnings(parseConfig(t, `{url: 'https://a.example', audiences: [a], require: {repository_owner: acme}, group_prefix: 'gh:', group_rules: [
		{when: {repository: "*/*", ref: "refs/heads/**"}, groups: [a]},
		{when: {repository_owner: "ac?e"}, groups: [a]},
		{when: {repository_owner: "ac*", environment: production}, groups: [ci, 'gh:ci']},
		{when: {environment: production, repository_owner: "ac*"}, groups: [b]}]}`,
		`{url: 'https://b.example', audiences: [a], group_rules: [{when: {environment: production, repository_owner: "ac*"}, groups: [b]}]}`))
	got := warnings.Error()
	want := `gateway.yaml:2:3: issuers[0].group_rules[0]: wants nothing of repository but that it is there: "*/*" admits whatever the issuer or its client wrote; name what you mean, or leave the claim out
gateway.yaml:3:3: issuers[0].group_rules[1]: never matches: every token must have repository_owner: acme (require), which "ac?e" does not match
gateway.yaml:4:3: issuers[0].group_rules[2]: gives the group "gh:ci", which policies see as "gh:gh:ci", because group_prefix is put before it
gateway.yaml:5:3: issuers[0].group_rules[3]: matches exactly what issuers[0].group_rules[2] does; merge the two`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheClientIsTheFirstClaimPresent(t *testing.T) {
	w := newWorld(t, "client_id: [client_id, azp, sub]")
	for want, claims := range map[string]m{
		"a": {"client_id": "a", "azp": "b"},
		"b": {"azp": "b"},
		w.idp.Claims("data-pipeline")["sub"].(string): {"azp": nil},
	} {
		if who, _, err := w.Verify(t.Context(), w.token(claims)); err != nil || who.ClientID != want {
			t.Errorf("got %v, %v; want %s", who, err, want)
		}
	}
	w.refuses(t, w.token(m{"client_id": ""}), apierror.InvalidToken, "client")
	w.refuses(t, w.token(m{"client_id": []string{"canary"}}), apierror.InvalidToken, "client_id")
}

func TestScopesAndFurtherClaimsAreStrings(t *testing.T) {
	w := newWorld(t, "claims: [repository, head_ref]")
	for _, row := range []struct {
		claims m
		want   string
	}{
		{m{"scope": nil}, "[] map[]"},
		{m{"scope": "a  b"}, "[a b] map[]"},
		{m{"scope": nil, "scp": "a b"}, "[a b] map[]"},
		{m{"scope": nil, "scp": []string{"a", "b"}}, "[a b] map[]"},
		{m{"scope": "a", "repository": "acme/x", "head_ref": ""}, "[a] map[head_ref: repository:acme/x]"},
	} {
		who, _, err := w.Verify(t.Context(), w.token(row.claims))
		if err != nil || fmt.Sprint(who.Scopes, who.Claims) != row.want {
			t.Errorf("%v: got %+v, %v", row.claims, who, err)
		}
	}
	w.refuses(t, w.token(m{"repository": 1}), apierror.InvalidToken, "repository")
	w.refuses(t, w.token(m{"scp": []any{"canary", 1}}), apierror.InvalidToken, "scp")
}
