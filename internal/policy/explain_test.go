package policy_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

// told is an explanation in short, one line for each thing it says.
func told(all []policy.Explanation) string {
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s %s allowed=%t\n", e.Upstream, e.Model, e.Allowed)
		for _, w := range e.Determined {
			fmt.Fprintf(&b, "  by %s:%d\n", w.ID, w.Line)
		}
		for _, w := range e.Overridden {
			fmt.Fprintf(&b, "  in vain %s:%d\n", w.ID, w.Line)
		}
		for _, w := range e.Erred {
			fmt.Fprintf(&b, "  erred %s:%d %s\n", w.ID, w.Line, w.Error)
		}
		for _, n := range e.Near {
			fmt.Fprintf(&b, "  near %s:%d\n", n.ID, n.Line)
			for _, part := range n.Failed {
				fmt.Fprintf(&b, "    %s: %s\n", part.Name, part.Text)
				if part.Because != "" {
					fmt.Fprintf(&b, "      because %s\n", part.Because)
				}
				for _, r := range part.Read {
					fmt.Fprintf(&b, "      %s is %s\n", r.Expression, r.Value)
				}
				if part.Error != "" {
					fmt.Fprintf(&b, "      errs: %s\n", part.Error)
				}
			}
		}
	}
	return b.String()
}

func TestAnExplanationNamesWhatDeterminedAndWhatNearlyDid(t *testing.T) {
	p := load(t, examples, `
@id("ci") @reason("a ; in a string, (and a paren")
permit (
  principal in Group::"ci", // who; when
  action in [Action::"embeddings.create", Action::"chat.completions.create"],
  resource in Upstream::"azure"
)
when { principal.claims has repository && principal.claims.repository == "acme/web" && context.stream }
unless { context has max_output_tokens && context.max_output_tokens > 100 || principal.subject == "s" };

@id("big-errs")
forbid (principal in Group::"big", action, resource)
when { context has max_output_tokens && context.max_output_tokens * 9223372036854775807 > 0 };
`)
	for _, tt := range []struct {
		name, request string
		groups        []string
		claims        map[string]string
		want          string
	}{
		{"allowed", chatTurbo, []string{"data-enrichment-team"}, nil, `
openai gpt-4-turbo-2024-04-09 allowed=true
  by enrichment-uses-gpt-4-turbo:2
`},
		{"another model", `POST /v1/embeddings {"model":"embed"}`, []string{"data-enrichment-team"}, nil, `
openai text-embedding-3-small allowed=false
  near enrichment-uses-gpt-4-turbo:2
    resource: resource == Model::"gpt-4-turbo"
  near research-does-everything:8
    principal: principal in Group::"research"
`},
		{"a forbid", tuneTurbo, []string{"research", "read-only-models"}, nil, `
openai gpt-4-turbo-2024-04-09 allowed=false
  by read-only-never-fine-tunes:5
  in vain research-does-everything:8
`},
		{"a forbid that nearly matched", tuneTurbo, []string{"research"}, nil, `
openai gpt-4-turbo-2024-04-09 allowed=true
  by research-does-everything:8
  near read-only-never-fine-tunes:5
    principal: principal in Group::"read-only-models"
`},
		{"each target by itself", `POST /v1/chat/completions {"model":"gpt-4o","stream":true}`, []string{"ci"}, map[string]string{"repository": "acme/docs"}, `
azure east/gpt-4o allowed=false
  near research-does-everything:8
    principal: principal in Group::"research"
openai gpt-4o-2024-08-06 allowed=false
  near research-does-everything:8
    principal: principal in Group::"research"
azure west/gpt-4o allowed=false
  near research-does-everything:8
    principal: principal in Group::"research"
`},
		{"an error", `POST /v1/chat/completions {"model":"gpt-4-turbo","max_tokens":2}`, []string{"research", "big"}, nil, `
openai gpt-4-turbo-2024-04-09 allowed=false
  in vain research-does-everything:8
  erred big-errs:11 integer overflow while attempting to multiply ` + "`2` by `9223372036854775807`" + `
`},
		{"an unknown model", chatNone, []string{"research"}, nil, "\n"},
		{"no model", listJobs, []string{"research", "read-only-models"}, nil, `
openai  allowed=false
  by read-only-never-fine-tunes:5
  in vain research-does-everything:8
azure  allowed=false
  by read-only-never-fine-tunes:5
  in vain research-does-everything:8
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			who := client(tt.groups...)
			who.Claims = tt.claims
			if diff := cmp.Diff(tt.want[1:], told(p.Explain(who, request(t, tt.request), noon))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestAClauseIsShownWithTheOperandThatDecidesAndWhatItReads(t *testing.T) {
	const head = `@id("p") permit (principal, action, resource) `
	for _, tt := range []struct{ clause, want string }{
		{`when { context.stream }`, "when: when { context.stream }\n      context.stream is false\n"},
		{`when { principal.claims has repository && principal.claims.repository == "acme/web" && context.stream }`,
			"when: when { principal.claims has repository && principal.claims.repository == \"acme/web\" && context.stream }\n" +
				"      because principal.claims.repository == \"acme/web\"\n      principal.claims.repository is \"acme/docs\"\n"},
		{`when { principal.claims has "https://acme.example/team" && context.stream }`,
			"when: when { principal.claims has \"https://acme.example/team\" && context.stream }\n      because principal.claims has \"https://acme.example/team\"\n      principal.claims is {\"repository\":\"acme/docs\"}\n"},
		{`unless { context has max_output_tokens || principal.client_id like "batch-*" }`,
			"unless: unless { context has max_output_tokens || principal.client_id like \"batch-*\" }\n      because principal.client_id like \"batch-*\"\n      principal.client_id is \"batch-7\"\n"},
		{`unless { principal.subject == "s" && resource == Model::"gpt-4-turbo" }`, "unless: unless { principal.subject == \"s\" && resource == Model::\"gpt-4-turbo\" }\n      principal.subject is \"s\"\n"},
		{`when { context.stream || context.time < datetime("2026-01-01") }`,
			"when: when { context.stream || context.time < datetime(\"2026-01-01\") }\n      context.stream is false\n      context.time is datetime(\"2026-05-04T12:00:00.000Z\")\n"},
		{`when { principal.scopes.contains("write") }`, "when: when { principal.scopes.contains(\"write\") }\n      principal.scopes is [\"read\"]\n"},
		{`when { principal in Group::"b" }`, "when: when { principal in Group::\"b\" }\n"},
	} {
		who := client("a")
		who.Claims, who.Scopes = map[string]string{"repository": "acme/docs"}, []string{"read"}
		got := told(load(t, head+tt.clause+";").Explain(who, request(t, chatTurbo), noon))
		want := "openai gpt-4-turbo-2024-04-09 allowed=false\n  near p:1\n    " + tt.want
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.clause, diff)
		}
	}
}

func TestAPolicyIsShownAsItWasWritten(t *testing.T) {
	const first, second = "@id(\"a\")\n// why; who\n@reason(\"\\\"; when {\")\npermit (principal, action, resource) // all\nwhen { true };", `@id("b") forbid(principal,action,resource)unless{context.stream};`
	var got []string
	for _, w := range load(t, "// A file; of policies.\n"+first+"\n\n// The next; one.\n"+second+"\n// The end;").Written() {
		got = append(got, fmt.Sprintf("%s %d %s", w.ID, w.Line, w.Text))
	}
	if diff := cmp.Diff([]string{"a 2 " + first, "b 9 " + second}, got); diff != "" {
		t.Error(diff)
	}
}

// What is explained must be what is decided, by the same policies.
func TestAnExplanationAgreesWithTheDecision(t *testing.T) {
	p := load(t, examples, `
@id("streams") permit (principal in Group::"streaming", action, resource) when { context.stream };
@id("azure") forbid (principal in Group::"at-home", action, resource in Upstream::"azure");
@id("bounded") permit (principal in Group::"bounded", action in Action::"inference", resource is Model) when { context has max_output_tokens && context.max_output_tokens < 100 };
@id("errs") forbid (principal in Group::"big", action, resource) when { context has max_output_tokens && context.max_output_tokens * 9223372036854775807 > 0 };`)
	random := rand.New(rand.NewPCG(1, 2))
	groups := []string{"data-enrichment-team", "read-only-models", "research", "streaming", "at-home", "bounded", "big", "none"}
	for range 500 {
		var mine []string
		for _, g := range groups {
			if random.IntN(3) == 0 {
				mine = append(mine, g)
			}
		}
		op := operation.All()[random.IntN(len(operation.All()))]
		ask := operation.Ask{Stream: random.IntN(2) == 0}
		if random.IntN(2) == 0 {
			most := random.Int64N(200)
			ask.MaxOutputTokens = &most
		}
		req := operation.Suppose(op, []string{"gpt-4-turbo", "gpt-4o", "embed", "none"}[random.IntN(4)], ask)
		d := p.Decide(client(mine...), req, noon)
		allowed, by, errs := 0, []string{}, []string{}
		for _, e := range p.Explain(client(mine...), req, noon) {
			if e.Allowed {
				allowed++
			}
			for _, w := range e.Determined {
				by = append(by, w.ID)
			}
			for _, w := range e.Erred {
				errs = append(errs, w.ID)
			}
			for _, n := range e.Near {
				if len(n.Failed) == 0 {
					t.Errorf("%s is near, and nothing failed", n.ID)
				}
			}
		}
		slices.Sort(errs)
		errs = slices.Compact(errs)
		if allowed != len(d.Routes) || !slices.Equal(errs, d.Errors) {
			t.Errorf("%v %s: explained as allowed at %d with errors %v, decided for %d with %v", mine, op.Name, allowed, errs, len(d.Routes), d.Errors)
		}
		for _, id := range by {
			if !slices.Contains(d.Policies, id) {
				t.Errorf("%v %s: explained by %v, decided by %v", mine, op.Name, by, d.Policies)
			}
		}
	}
}

// A group of another issuer is one that this client can't join.
func TestWhatIsForAnotherIssuersClientsIsToldLast(t *testing.T) {
	dir := t.TempDir()
	policies := `@id("ci") permit (principal in Group::"ci:x", action, resource == Model::"embed");
@id("kc") permit (principal in Group::"kc:x", action, resource == Model::"embed");`
	if err := os.WriteFile(filepath.Join(dir, "gateway.cedar"), []byte(policies), 0o600); err != nil {
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
	who := &principal.Principal{Issuer: "https://id.example.com", ClientID: "c"}
	near := p.Explain(who, request(t, embedEmbed), noon)[0].Near
	if len(near) != 2 || near[0].ID != "kc" || near[1].ID != "ci" {
		t.Errorf("%+v", near)
	}
}
