package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/policy"
)

const prefixed = `
issuers:
  - {url: https://id.example.com, audiences: [a], group_prefix: "kc:", claims: [team]}
  - {url: https://ci.example.com, audiences: [a], group_prefix: "ci:", claims: [repository, environment]}
policies: {files: [gateway.cedar]}
credentials: {key: {api_key: {from: {env: KEY}}}}
upstreams:
  openai: {kind: openai, credential: key}
  azure: {kind: openai, base_url: https://azure.example.com/v1, credential: key}
  spare: {kind: openai, base_url: https://spare.example.com/v1, credential: key}
models:
  gpt-4.1: {targets: [{upstream: openai, model: gpt-4.1}, {upstream: azure, model: gpt-4.1}]}
  embed: {targets: [{upstream: openai, model: text-embedding-3-small}]}
default_upstream: openai
`

// everybody keeps the models that a row is not about from being warned of.
const everybody = `@id("everybody") permit (principal in Group::"kc:all", action in Action::"inference", resource is Model);`

func TestWarningsAreOfWhatCanNeverBe(t *testing.T) {
	for _, row := range []struct{ name, policies, want string }{
		{"nothing odd", everybody, ""},
		{"a group without any issuer's prefix", everybody + "\n" + `@id("p") permit (principal in Group::"team", action, resource);`,
			`gateway.cedar:2:31: warning: policy "p": no client can be in Group::"team": groups of https://id.example.com begin with "kc:", groups of https://ci.example.com begin with "ci:"`},
		{"such a group in a condition", `@id("everybody") permit (principal, action in Action::"inference", resource is Model)
when { !(principal in Group::"team") };`,
			`gateway.cedar:2:23: warning: policy "everybody": no client can be in Group::"team": groups of https://id.example.com begin with "kc:", groups of https://ci.example.com begin with "ci:"`},
		{"a model that is not in that upstream", everybody + "\n" + `@id("p") permit (principal, action, resource == Model::"embed") when { resource in Upstream::"azure" };`,
			`gateway.cedar:2:1: warning: policy "p": can never match: its conditions hold for no operation on a configured model or a default upstream`},
		{"an upstream that serves nothing", everybody + "\n" + `@id("p") forbid (principal, action, resource in Upstream::"spare");`,
			`gateway.cedar:2:1: warning: policy "p": can never match: it is for no operation on a target of a configured model or on a default upstream`},
		{"an upstream that is no default", everybody + "\n" + `@id("p") forbid (principal, action in Action::"files", resource in Upstream::"azure");`,
			`gateway.cedar:2:1: warning: policy "p": can never match: it is for no operation on a target of a configured model or on a default upstream`},
		{"a condition that is false", everybody + "\n" + `@id("p") permit (principal, action, resource is Model) when { false };`,
			`gateway.cedar:2:1: warning: policy "p": can never match: its conditions hold for no operation on a configured model or a default upstream`},
		{"another issuer's claim", everybody + "\n" + `@id("p") permit (principal in Group::"kc:all", action, resource is Model) when { context.stream && principal.claims has environment };`,
			`gateway.cedar:2:1: warning: policy "p": can never match: its clients are of https://id.example.com, whose claims don't name environment`},
		{"the issuer's own claim", everybody + "\n" + `@id("p") permit (principal in Group::"ci:x", action, resource is Model) when { principal.claims has environment };`, ""},
		{"another issuer's claim, or else", everybody + "\n" + `@id("p") permit (principal in Group::"kc:all", action, resource is Model) when { context.stream || principal.claims has environment };`, ""},
		{"but for another issuer's claim", everybody + "\n" + `@id("p") permit (principal in Group::"kc:all", action, resource is Model) unless { principal.claims has environment };`, ""},
		{"a client of another issuer", everybody + "\n" + `@id("p") permit (principal == Client::"https://ci.example.com#x", action, resource is Model) when { principal.issuer == "https://id.example.com" };`,
			`gateway.cedar:2:1: warning: policy "p": can never match: its clients are of https://ci.example.com, and no other issuer`},
		{"a permit that a forbid overrides", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action == Action::"embeddings.create", resource == Model::"embed");
@id("f") forbid (principal, action == Action::"embeddings.create", resource in Upstream::"openai");`,
			`gateway.cedar:2:1: warning: policy "p": allows nothing: the forbid "f" overrides it wherever it matches`},
		{"a permit that a forbid overrides at one target", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action == Action::"embeddings.create", resource == Model::"gpt-4.1");
@id("f") forbid (principal, action == Action::"embeddings.create", resource in Upstream::"openai");`, ""},
		{"a forbid for others", everybody + "\n" + `@id("f") forbid (principal in Group::"kc:b", action, resource is Model);`, ""},
		{"a forbid for the same", everybody + "\n" + `@id("f") forbid (principal is Client in Group::"kc:all", action, resource);`,
			`gateway.cedar:1:1: warning: policy "everybody": allows nothing: the forbid "f" overrides it wherever it matches
gateway.yaml:13:10: warning: models.embed: nobody may use it: the forbid "f" overrides every permit for it
gateway.yaml:12:12: warning: models["gpt-4.1"]: nobody may use it: the forbid "f" overrides every permit for it`},
		{"a forbid with a condition", everybody + "\n" + `@id("f") forbid (principal, action, resource) unless { context.stream };`, ""},
		{"a forbid whose condition always holds", everybody + "\n" + `@id("f") forbid (principal, action, resource) when { resource in Upstream::"openai" || resource in Upstream::"azure" };`,
			`gateway.cedar:1:1: warning: policy "everybody": allows nothing: the forbid "f" overrides it wherever it matches
gateway.yaml:13:10: warning: models.embed: nobody may use it: the forbid "f" overrides every permit for it
gateway.yaml:12:12: warning: models["gpt-4.1"]: nobody may use it: the forbid "f" overrides every permit for it`},
		{"a model that nobody may use", `@id("p") permit (principal in Group::"kc:a", action, resource == Model::"embed");`,
			`gateway.yaml:12:12: warning: models["gpt-4.1"]: nobody may use it: no permit is for any operation on it`},
		{"stored objects that several share", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action in Action::"files", resource);
@id("q") permit (principal in Group::"kc:b", action in Action::"files", resource);`,
			`gateway.yaml:8:11: warning: upstreams.openai: its stored files, jobs and responses are shared by Group::"kc:a", Group::"kc:b"; give each team an upstream (a provider project) of its own to keep them apart`},
		{"stored objects from which a forbid keeps all but one", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action in Action::"files", resource);
@id("q") permit (principal in Group::"kc:b", action in Action::"inference", resource);
@id("f") forbid (principal in Group::"kc:b", action, resource is Upstream);`, ""},
		{"stored objects that nobody else can reach", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action in Action::"files", resource);
@id("q") permit (principal in Group::"kc:b", action in Action::"files", resource) when { principal.issuer == "https://ci.example.com" };
@id("r") permit (principal in Group::"b", action in Action::"files", resource);`,
			`gateway.cedar:3:1: warning: policy "q": can never match: its clients are of https://id.example.com, and no other issuer
gateway.cedar:4:31: warning: policy "r": no client can be in Group::"b": groups of https://id.example.com begin with "kc:", groups of https://ci.example.com begin with "ci:"`},
		{"a permit that several forbids override", everybody + "\n" + `@id("p") permit (principal in Group::"kc:a", action == Action::"embeddings.create", resource == Model::"gpt-4.1");
@id("f") forbid (principal, action == Action::"embeddings.create", resource in Upstream::"openai");
@id("g") forbid (principal, action == Action::"embeddings.create", resource in Upstream::"azure");`,
			`gateway.cedar:2:1: warning: policy "p": allows nothing: the forbids "f", "g" override it wherever it matches`},
		{"a model whose permits are for nobody", `@id("all") permit (principal in Group::"kc:a", action, resource == Model::"embed");
@id("p") permit (principal in Group::"a", action, resource == Model::"gpt-4.1");`,
			`gateway.cedar:2:31: warning: policy "p": no client can be in Group::"a": groups of https://id.example.com begin with "kc:", groups of https://ci.example.com begin with "ci:"
gateway.yaml:12:12: warning: models["gpt-4.1"]: nobody may use it: no permit for it can match`},
		{"a model whose permits are for nobody or overridden", `@id("all") permit (principal in Group::"kc:a", action in Action::"inference", resource is Model);
@id("p") permit (principal in Group::"a", action, resource == Model::"embed");
@id("f") forbid (principal, action, resource) when { resource == Model::"embed" };`,
			`gateway.cedar:2:31: warning: policy "p": no client can be in Group::"a": groups of https://id.example.com begin with "kc:", groups of https://ci.example.com begin with "ci:"
gateway.yaml:13:10: warning: models.embed: nobody may use it: the forbid "f" overrides every permit for it that can match`},
		{"an evaluation that errs", everybody + "\n" + `@id("p") permit (principal, action, resource is Model) when { 9223372036854775807 + 1 > 0 };`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "gateway.cedar"), []byte(row.policies), 0o600); err != nil {
				t.Fatal(err)
			}
			c, faults := config.Parse(filepath.Join(dir, "gateway.yaml"), []byte(prefixed))
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			p, faults := policy.Load(c)
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range p.Warnings() {
				got = append(got, strings.ReplaceAll(w.Warning(), dir+"/", ""))
			}
			if diff := cmp.Diff(row.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What is warned of is never what decides: a policy that can never match determines nothing.
func TestNoPolicyThatIsWarnedOfEverDecides(t *testing.T) {
	p := load(t, examples, `
@id("false") permit (principal, action, resource) when { false };
@id("elsewhere") permit (principal, action, resource == Model::"embed") when { resource in Upstream::"azure" };
@id("overridden") permit (principal in Group::"staff", action == Action::"embeddings.create", resource);
@id("no-embeddings") forbid (principal, action == Action::"embeddings.create", resource);`)
	warned := map[string]bool{}
	for _, w := range p.Warnings() {
		if id, ok := strings.CutPrefix(w.Path, "policy "); ok {
			warned[id] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{`"false"`: true, `"elsewhere"`: true, `"overridden"`: true}, warned); diff != "" {
		t.Fatal(diff)
	}
	for _, groups := range [][]string{nil, {"staff"}, {"research"}, {"staff", "research", "data-enrichment-team"}} {
		for _, line := range []string{chatTurbo, chat4o, tuneTurbo, embedEmbed, listJobs} {
			for _, id := range p.Decide(client(groups...), request(t, line), noon).Policies {
				if warned[fmt.Sprintf("%q", id)] {
					t.Errorf("%v %s: decided by %s", groups, line, id)
				}
			}
		}
	}
}
