package policy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

const threeIssuers = `
issuers:
  - {url: https://id.example.com/realms/r, audiences: [llm-gateway], claims: [repository, "https://acme.example/team"]}
  - {url: https://token.actions.githubusercontent.com, audiences: [llm-gateway], group_prefix: "gh-", require: {repository_owner: acme}, claims: [repository, repository_owner]}
  - {url: https://id.example.com/b, audiences: [llm-gateway], group_prefix: "b-"}
policies: {files: [0.cedar]}
credentials: {key: {api_key: {from: {env: KEY}}}}
upstreams:
  openai: {kind: openai, credential: key}
  azure: {kind: openai, base_url: https://azure.example.com/v1, credential: key}
models:
  gpt-4-turbo: {targets: [{upstream: openai, model: gpt-4-turbo-2024-04-09}]}
  gpt-4o: {targets: [{upstream: azure, model: east/gpt-4o}, {upstream: openai, model: gpt-4o-2024-08-06}, {upstream: azure, model: west/gpt-4o}]}
  embed: {targets: [{upstream: openai, model: text-embedding-3-small}]}
default_upstream: [openai, azure]
`

func loadText(t testing.TB, document, policies string) (*config.Config, *policy.Policies) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0.cedar"), []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Parse(filepath.Join(dir, "gateway.yaml"), []byte(document))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	p, faults := policy.Load(c)
	if len(faults) > 0 {
		t.Fatalf("%v\n%s", faults, policies)
	}
	return c, p
}

// outcomes are the cells that are not denied for want of a permit, each in a line: whom, what, the outcome, and why.
func outcomes(m *policy.Matrix) string {
	var b strings.Builder
	for i, r := range m.Rows {
		for j, c := range m.Columns {
			cell := m.Cell(i, j)
			if cell.Outcome == policy.Deny && len(cell.Parts[0].Reasons) == 0 {
				continue
			}
			who := strings.TrimSpace(r.Group + r.Client)
			if who == "" {
				who = strings.TrimSpace("any " + r.Issuer)
			}
			fmt.Fprintf(&b, "%s | %s@%s %s: %s\n", who, c.Model, c.Upstream, c.Group, cell.Outcome)
			for _, p := range cell.Parts {
				fmt.Fprintf(&b, "\t%d %s", len(p.Operations), p.Outcome)
				for _, reason := range p.Reasons {
					fmt.Fprintf(&b, " %s", reason.ID)
					if reason.Conditional {
						fmt.Fprintf(&b, "?%s", strings.Join(reason.Reads, ","))
					}
					if reason.Errs {
						b.WriteString("!")
					}
				}
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

func matrixOf(t testing.TB, policies string) string {
	t.Helper()
	_, p := loadText(t, threeIssuers, policies)
	return outcomes(p.Matrix(p.Named()))
}

// Each is some policies, and all cells on which they have a say.
func TestTheMatrixTellsOutcomesApart(t *testing.T) {
	for _, tt := range []struct{ name, policies, want string }{
		{"all operations, some, and a forbid without a permit", `
@id("embeds") permit (principal in Group::"a", action == Action::"embeddings.create", resource == Model::"embed");
@id("infers") permit (principal in Group::"b", action in Action::"inference", resource == Model::"embed");
@id("never") forbid (principal in Group::"c", action in Action::"fine_tuning", resource == Model::"embed");`, `
a | embed@openai inference: some
	18 deny
	1 allow embeds
b | embed@openai inference: allow
	19 allow infers
c | embed@openai fine_tuning: forbid
	1 forbid never
`},
		{"a forbid overrides; a permit that it overrides is told", `
@id("tunes") permit (principal, action in Action::"fine_tuning", resource == Model::"embed");
@id("never") forbid (principal in Group::"c", action in Action::"fine_tuning", resource);`, `
any | embed@openai fine_tuning: allow
	1 allow tunes
c | embed@openai fine_tuning: forbid
	1 forbid never tunes
c | gpt-4-turbo@openai fine_tuning: forbid
	1 forbid never
c | gpt-4o@azure fine_tuning: forbid
	1 forbid never
c | gpt-4o@openai fine_tuning: forbid
	1 forbid never
c | @openai fine_tuning: forbid
	7 forbid never
c | @azure fine_tuning: forbid
	7 forbid never
`},
		{"what a request says", `
@id("streams") permit (principal in Group::"a", action in [Action::"chat.completions.create", Action::"embeddings.create", Action::"moderations.create"], resource == Model::"embed") when { context.stream };
@id("short") forbid (principal in Group::"a", action == Action::"chat.completions.create", resource) unless { context has max_output_tokens && context.max_output_tokens < 9 };
@id("tunes") permit (principal in Group::"a", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { context.time < datetime("2030-01-01") };
@id("either") permit (principal in Group::"b", action == Action::"chat.completions.create", resource == Model::"embed") when { context.stream };
@id("or") permit (principal in Group::"b", action == Action::"chat.completions.create", resource == Model::"embed") unless { context.stream };`, `
a | embed@openai inference: depends
	1 depends short?max_output_tokens streams?stream
	16 deny
	2 depends streams?stream
a | embed@openai fine_tuning: depends
	1 depends tunes?time
a | gpt-4-turbo@openai inference: deny
	1 deny short?max_output_tokens
	18 deny
a | gpt-4o@azure inference: deny
	1 deny short?max_output_tokens
	18 deny
a | gpt-4o@openai inference: deny
	1 deny short?max_output_tokens
	18 deny
b | embed@openai inference: some
	1 allow either?stream or?stream
	18 deny
`},
		{"what a token says, where the issuer's tokens can say it", `
@id("main") permit (principal in Group::"a", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { principal.claims has repository && principal.claims.repository == "x" };
@id("none") permit (principal in Group::"b-c", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { principal.claims has repository };
@id("acme") permit (principal in Group::"gh-x", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { principal.claims has repository_owner && principal.claims.repository_owner == "acme" };
@id("scope") permit (principal in Group::"s", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { principal.scopes.contains("tune") };`, `
a | embed@openai fine_tuning: depends
	1 depends main?claims.repository
gh-x | embed@openai fine_tuning: allow
	1 allow acme
s | embed@openai fine_tuning: depends
	1 depends scope?scopes
`},
		{"clients by their names, and issuers", `
@id("seven") permit (principal == Client::"https://id.example.com/realms/r#seven", action == Action::"fine_tuning.jobs.create", resource == Model::"embed");
@id("b") permit (principal, action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { principal.issuer == "https://id.example.com/b" };`, `
any https://id.example.com/b | embed@openai fine_tuning: allow
	1 allow b
https://id.example.com/realms/r#seven | embed@openai fine_tuning: allow
	1 allow seven
`},
		{"an error denies", `
@id("tunes") permit (principal in Group::"a", action == Action::"fine_tuning.jobs.create", resource == Model::"embed");
@id("errs") permit (principal in Group::"a", action == Action::"fine_tuning.jobs.create", resource == Model::"embed") when { 9223372036854775807 + 1 > 0 };
@id("chats") permit (principal in Group::"b", action == Action::"chat.completions.create", resource == Model::"embed");
@id("overflows") forbid (principal in Group::"b", action == Action::"chat.completions.create", resource == Model::"embed") when { context has max_output_tokens && context.max_output_tokens * 2 < 0 };`, `
a | embed@openai fine_tuning: forbid
	1 forbid errs! tunes
b | embed@openai inference: depends
	1 depends chats overflows?max_output_tokens!
	18 deny
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), matrixOf(t, tt.policies)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

var rounds = flag.Int("rounds", 150, "how many random policies the matrix is compared with decisions over")

// author writes random policies.
type author struct{ *rand.Rand }

func (a author) of(choices ...string) string { return choices[a.IntN(len(choices))] }

var randomGroups = []string{"a", "b-c", "gh-acme/etl", "gh-", "z"}

func (a author) condition(depth int) string {
	if depth > 0 && a.IntN(3) > 0 {
		left, right := a.condition(depth-1), a.condition(depth-1)
		return a.of("("+left+" && "+right+")", "("+left+" || "+right+")", "!("+left+")", "(if "+left+" then "+right+" else "+a.condition(depth-1)+")")
	}
	group := a.of(randomGroups...)
	return a.of(
		fmt.Sprintf("principal in Group::%q", group),
		fmt.Sprintf("principal in [Group::%q, Group::%q]", group, a.of(randomGroups...)),
		`principal == Client::"https://id.example.com/realms/r#batch-7"`,
		`principal.client_id like "batch-*"`,
		`principal.subject == ""`,
		`principal.issuer == "https://id.example.com/b"`,
		`{who: principal.issuer}.who == "https://id.example.com/b"`,
		`{who: principal}.who.issuer == "https://id.example.com/b"`,
		`principal.scopes.contains("llm:write")`,
		`principal has claims`,
		`principal.claims has repository`,
		`(principal.claims has repository && principal.claims.repository == "acme/etl")`,
		`(principal.claims has repository_owner && principal.claims.repository_owner == "acme")`,
		`context.stream`,
		`context has max_output_tokens`,
		`(context has max_output_tokens && context.max_output_tokens < 100)`,
		`(context has max_output_tokens && context.max_output_tokens * 9223372036854775807 > 0)`,
		`context.time < datetime("2026-05-04T12:00:00Z")`,
		`context.time.toTime() > duration("11h")`,
		`context has time`,
		`resource in Upstream::"openai"`,
		`action in Action::"inference"`,
		`action in [Action::"files", Action::"chat.completions.create"]`,
		`Client::"https://id.example.com/realms/r#batch-7".subject == "s"`,
		`9223372036854775807 + 1 > 0`,
		`true`, `false`,
	)
}

func (a author) policies() string {
	var b strings.Builder
	for i := range 1 + a.IntN(5) {
		group := a.of(randomGroups...)
		fmt.Fprintf(&b, "@id(\"p%d\") %s (%s, %s, %s)", i, a.of("permit", "permit", "forbid"),
			a.of("principal", fmt.Sprintf("principal in Group::%q", group), fmt.Sprintf("principal is Client in Group::%q", group), `principal == Client::"https://id.example.com/realms/r#batch-7"`),
			a.of("action", `action in Action::"inference"`, `action in [Action::"files", Action::"fine_tuning"]`, `action == Action::"chat.completions.create"`),
			a.of("resource", "resource", `resource in Upstream::"azure"`))
		if a.IntN(2) > 0 {
			fmt.Fprintf(&b, " %s { %s }", a.of("when", "unless"), a.condition(3))
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// someone is a random client of the row's.
func (a author) someone(c *config.Config, r policy.Row) *principal.Principal {
	who := &principal.Principal{Issuer: r.Issuer, ClientID: a.of("batch-8", "x"), Subject: a.of("", "s"), Claims: map[string]string{}}
	if r.Client != "" {
		_, who.ClientID, _ = strings.Cut(r.Client, "#")
	}
	if r.Group != "" {
		who.Groups = []string{r.Group}
	}
	if a.IntN(2) > 0 {
		who.Scopes = []string{"llm:write"}
	}
	i := slices.IndexFunc(c.Issuers, func(is config.Issuer) bool { return is.URL == r.Issuer })
	if r.Issuer == "" {
		i = a.IntN(len(c.Issuers))
		who.Issuer = c.Issuers[i].URL
	}
	for _, claim := range c.Issuers[i].Claims {
		if value, required := c.Issuers[i].Require[claim]; required {
			who.Claims[claim] = value
		} else if a.IntN(2) > 0 {
			who.Claims[claim] = a.of("acme/etl", "acme/docs")
		}
	}
	return who
}

// A group that an issuer's tokens can't name has nobody in it.
func TestARowIsOfClientsThatCanBe(t *testing.T) {
	_, p := loadText(t, threeIssuers, `@id("p") permit (principal, action, resource) when { principal.claims has repository && principal in Group::"gh-" };`)
	var got []string
	for _, r := range p.Matrix(p.Named().With(policy.Named{Groups: []string{"", "gh-x", "b-x", "x"}, Clients: []string{"https://gone.example#c"}})).Rows {
		got = append(got, fmt.Sprintf("%s%s of %s %t", r.Group, r.Client, r.Issuer, r.Nobody))
	}
	want := []string{
		" of https://id.example.com/b false", " of https://id.example.com/realms/r false", " of https://token.actions.githubusercontent.com false",
		" of  true", "b-x of https://id.example.com/b false", "gh- of  true", "gh-x of https://token.actions.githubusercontent.com false", "x of https://id.example.com/realms/r false",
		"https://gone.example#c of https://gone.example true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What is shown of a policy is its text alone, whatever stands around it and in it.
func TestAMatrixShowsPoliciesAsTheyWereWritten(t *testing.T) {
	first := "@id(\"a;b\") // not its end; nor is this\npermit (principal in Group::\"x \\\"; y\", action, resource);"
	second := "@id(\"c\")\nforbid (principal, action, resource)\n  when { principal.client_id like \"*;*\" };"
	_, p := loadText(t, threeIssuers, "// The first.\n"+first+" // of it;\n\n// The second's.\n"+second+"\n// The end.")
	m := p.Matrix(p.Named())
	for i, want := range []string{first, second} {
		if got := m.Policies[i]; got.Text != want || got.Line != []int{2, 6}[i] {
			t.Errorf("%s in line %d, want %s", got.Text, got.Line, want)
		}
	}
	if m.Policies[0].Forbids || !m.Policies[1].Forbids || strings.Contains(m.Policies[0].Meaning, "@id") {
		t.Errorf("%+v", m.Policies)
	}
}

// The largest policies that a file holds, and a hundred models.
func BenchmarkMatrix(b *testing.B) {
	models := &strings.Builder{}
	for i := range 100 {
		fmt.Fprintf(models, "\n  model-%d: {targets: [{upstream: openai, model: a}, {upstream: azure, model: b}]}", i)
	}
	head, tail, _ := strings.Cut(threeIssuers, "\n  gpt-4-turbo")
	_, tail, _ = strings.Cut(tail, "\ndefault")
	for name, policy := range map[string]string{
		"groups":     "@id(\"%[1]d\") permit (principal in Group::\"%[1]d\", action in Action::\"inference\", resource == Model::\"model-%[2]d\");\n",
		"conditions": "@id(\"%[1]d\") permit (principal, action, resource) when { principal in Group::\"%[1]d\" && context.stream };\n",
		"worst":      "@id(\"%[1]d\") permit (principal, action, resource) when { principal in Group::\"%[1]d\" && resource in Upstream::\"openai\" && action in Action::\"files\" };\n",
	} {
		b.Run(name, func(b *testing.B) {
			text := &strings.Builder{}
			for i := 0; text.Len() < config.MaxFile-200; i++ {
				fmt.Fprintf(text, policy, i, i%100)
			}
			_, p := loadText(b, head+models.String()+"\ndefault"+tail, text.String())
			for b.Loop() {
				m := p.Matrix(p.Named())
				b.ReportMetric(float64(len(m.Rows)*len(m.Columns)), "cells")
			}
		})
	}
}

// The point of the matrix: it never says otherwise than the gateway.
func TestTheMatrixAgreesWithDecisions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	a := author{rand.New(rand.NewPCG(seed, 0))}
	seen := map[policy.Outcome]int{}
	both := 0
	for range *rounds {
		text := a.policies()
		c, p := loadText(t, threeIssuers, text)
		m := p.Matrix(p.Named())
		for i, row := range m.Rows {
			if row.Nobody {
				if row.Group != "gh-" {
					t.Errorf("nobody is in %+v", row)
				}
				continue
			}
			for j, column := range m.Columns {
				for _, part := range m.Cell(i, j).Parts {
					seen[part.Outcome]++
					allowed, denied := false, false
					for range 12 {
						who := a.someone(c, row)
						op := part.Operations[a.IntN(len(part.Operations))]
						req := a.request(op, column.Model)
						d := p.Decide(who, req, noon.Add(time.Duration(a.IntN(48)-24)*time.Hour/2))
						served := slices.ContainsFunc(d.Routes, func(r policy.Route) bool { return r.Upstream == column.Upstream })
						allowed, denied = allowed || served, denied || !served
						if (part.Outcome == policy.Allow) != served && part.Outcome != policy.Depends {
							t.Fatalf("%+v %+v: %s is %s, and Decide says %+v of %+v\n%s", row, column, op, part.Outcome, d, who, text)
						}
						// Each policy that determined the decision has a say here.
						if column.Model == "" && len(c.DefaultUpstream) > 1 || column.Model == "gpt-4o" {
							continue // determined by two upstreams together
						}
						for _, id := range slices.Concat(d.Policies, d.Errors) {
							if !slices.ContainsFunc(part.Reasons, func(r policy.Reason) bool { return r.ID == id }) && served {
								t.Fatalf("%+v %+v: %s is not among the reasons of %s\n%s", row, column, id, op, text)
							}
						}
						for _, r := range part.Reasons {
							if part.Outcome == policy.Allow && !r.Conditional && !r.Forbids && !slices.Contains(d.Policies, r.ID) {
								t.Fatalf("%+v %+v: %s is a reason of %s, but not of %+v\n%s", row, column, r.ID, op, d, text)
							}
						}
					}
					if part.Outcome == policy.Depends && allowed && denied {
						both++
					}
				}
			}
		}
	}
	t.Logf("%v, of depends %d were seen both ways", seen, both)
	for _, o := range []policy.Outcome{policy.Allow, policy.Depends, policy.Deny, policy.Forbid} {
		if seen[o] == 0 {
			t.Errorf("no part was %s", o)
		}
	}
	if 3*both < seen[policy.Depends] { // by rounds it is half to three quarters, now and then less
		t.Errorf("of %d outcomes that depend only %d were seen both ways", seen[policy.Depends], both)
	}
}

// request is a random one for the operation.
func (a author) request(name operation.Name, model string) *operation.Request {
	rows := slices.DeleteFunc(slices.Clone(operation.All()), func(op *operation.Operation) bool { return op.Name != name })
	op := rows[a.IntN(len(rows))]
	req := &operation.Request{Route: operation.Route{Operation: op}}
	if model != "" {
		req.Models = []operation.ModelRef{{Name: model}}
	}
	req.Stream = op.CanStream() && a.IntN(2) > 0
	if op.CanBound() && a.IntN(2) > 0 {
		most := int64(1 + 200*a.IntN(2))
		req.MaxOutputTokens = &most
	}
	return req
}
