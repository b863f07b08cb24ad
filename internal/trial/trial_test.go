package trial_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/principal"
	"llmgateway.dev/gateway/internal/trial"
)

const (
	keycloak = "https://keycloak.example.com/realms/a"
	github   = "https://token.actions.githubusercontent.com"
)

const two = `
  - {url: ` + keycloak + `, audiences: [llm-gateway, other]}
  - {url: ` + github + `, audiences: [llm-gateway], require: {repository_owner: acme}, group_prefix: "gh:"}`

func configure(t *testing.T, issuers string) *config.Config {
	t.Helper()
	c, faults := config.Parse("gateway.yaml", []byte(`
issuers: `+issuers+`
policies: {files: [gateway.cedar]}
upstreams: {local: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
models:
  a: {targets: [{upstream: local, model: a}]}
  b: {targets: [{upstream: local, model: b}]}
default_upstream: local
`))
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// echo maps claims to a client of their iss, in the group that they are.
type echo struct{}

func (echo) Map(claims []byte) (*principal.Principal, error) {
	var set map[string]any
	if err := json.Unmarshal(claims, &set); err != nil {
		return nil, err
	}
	if set["sub"] == "refused" {
		return nil, errors.New("refused")
	}
	if exp, _ := set["exp"].(float64); exp < float64(time.Now().Unix()) {
		return nil, errors.New("expired")
	}
	return &principal.Principal{Issuer: set["iss"].(string), ClientID: set["sub"].(string), Groups: []string{set["aud"].(string)}}, nil
}

func TestASupposedClientIsOfTheIssuerThatItsGroupsOrClaimsTell(t *testing.T) {
	for _, row := range []struct {
		name string
		who  trial.Who
		want principal.Principal
		err  string
	}{
		{"groups", trial.Who{Groups: []string{"b", "a", "b"}}, principal.Principal{Issuer: keycloak, ClientID: "(any)", Groups: []string{"a", "b"}}, ""},
		{"groups with a prefix", trial.Who{Groups: []string{"gh:acme/docs"}}, principal.Principal{Issuer: github, ClientID: "(any)", Groups: []string{"gh:acme/docs"}}, ""},
		{"a client", trial.Who{Client: keycloak + "#x#y"}, principal.Principal{Issuer: keycloak, ClientID: "x#y"}, ""},
		{"an issuer alone", trial.Who{Issuer: github}, principal.Principal{Issuer: github, ClientID: "(any)"}, ""},
		{"claims", trial.Who{Issuer: keycloak, Claims: []byte(`{"sub": "s"}`)}, principal.Principal{Issuer: keycloak, ClientID: "s", Groups: []string{"llm-gateway"}}, ""},
		{"claims that say all", trial.Who{Claims: []byte(`{"iss": "` + github + `", "sub": "s", "aud": "x", "exp": 99999999999}`)}, principal.Principal{Issuer: github, ClientID: "s", Groups: []string{"x"}}, ""},
		{"nobody", trial.Who{}, principal.Principal{}, "issuer: is missing, and there are several; name one of " + keycloak + ", " + github},
		{"groups of two issuers", trial.Who{Groups: []string{"a", "gh:b"}}, principal.Principal{}, `groups: no client of ` + keycloak + ` can be in "gh:b", which is a group of ` + github},
		{"groups of another issuer", trial.Who{Issuer: github, Groups: []string{"a"}}, principal.Principal{}, `groups: no client of ` + github + ` can be in "a"`},
		{"no such issuer", trial.Who{Issuer: keycloak + "/"}, principal.Principal{}, `issuer: no issuer is called "` + keycloak + `/"; did you mean ` + keycloak + "?"},
		{"a client of another", trial.Who{Issuer: github, Client: keycloak + "#x"}, principal.Principal{}, "client: "},
		{"claims and groups", trial.Who{Groups: []string{"a"}, Claims: []byte("{}")}, principal.Principal{}, "groups: stand beside claims"},
		{"claims and a client", trial.Who{Client: "a", Claims: []byte("{}")}, principal.Principal{}, "client: stands beside claims"},
		{"claims that are none", trial.Who{Claims: []byte("[]")}, principal.Principal{}, "claims: are not one JSON object"},
		{"claims that are null", trial.Who{Claims: []byte("null")}, principal.Principal{}, "claims: are not one JSON object"},
		{"a claim twice", trial.Who{Claims: []byte(`{"iss": "a", "iss": "b"}`)}, principal.Principal{}, "claims: are not one JSON object"},
		{"claims of another issuer", trial.Who{Issuer: github, Claims: []byte(`{"iss": "` + keycloak + `"}`)}, principal.Principal{}, "issuer: is not what the claim iss says"},
		{"claims that are refused", trial.Who{Issuer: github, Claims: []byte(`{"sub": "refused"}`)}, principal.Principal{}, "refused"},
		{"claims that are expired", trial.Who{Issuer: github, Claims: []byte(`{"sub": "s", "exp": 5}`)}, principal.Principal{}, "expired"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.who.Principal(configure(t, two), echo{})
			if row.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), row.err) {
					t.Errorf("%v, want %s", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&row.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestAGroupThatNoIssuerCanGiveIsToldWhichThereAre(t *testing.T) {
	for _, row := range []struct{ issuers, group, want string }{
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], group_prefix: "gh:"}]`, "docs", `groups of ` + github + ` begin with "gh:"`},
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], group_prefix: "gh:"}]`, "gh:", `it is the group_prefix of ` + github + ` alone`},
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], groups: [], group_rules: [{when: {ref: main}, groups: [deploy, docs]}]}]`, "doc",
			`groups of ` + github + ` are those of its group_rules alone; did you mean docs?`},
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], group_prefix: "gh:", groups: [], group_rules: [{when: {ref: main}, groups: [docs]}, {when: {ref: next}, groups: [docs, deploy]}]}]`, "gh:team",
			`groups of ` + github + ` are those of its group_rules alone; known are gh:deploy, gh:docs`},
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], group_prefix: "gh:", groups: []}]`, "gh:team",
			`groups of ` + github + ` are those of its group_rules alone; none is declared`},
		{`[{url: ` + github + `, require: {repository_owner: acme}, audiences: [a], group_prefix: "gh:", groups: [], group_rules: [{when: {ref: main}, groups: [deploy]}]}, {url: ` + keycloak + `, audiences: [a], group_prefix: "kc:"}]`, "gh-deploy",
			`groups of ` + github + ` begin with "gh:", groups of ` + keycloak + ` begin with "kc:"; did you mean gh:deploy?`},
	} {
		_, err := trial.Who{Groups: []string{row.group}}.Principal(configure(t, row.issuers), echo{})
		if want := fmt.Sprintf("groups: no client can be in a group called %q: %s", row.group, row.want); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
