package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

// asking is all that a decision may depend on.
type asking struct {
	who                        *principal.Principal
	path, model, stream, bound string
}

func (a *asking) request() string {
	return fmt.Sprintf(`POST %s {"model":%q%s%s}`, a.path, a.model, a.stream, a.bound)
}

// inputs are what policies can read, but for the time: a condition on each, and a change after which it holds. A
// request that is asked without a change meets none of them.
var inputs = []struct {
	name, head, when string
	change           func(*asking)
}{
	{"the client", `principal == Client::"https://id.example.com/realms/r#other", action, resource`, "", func(a *asking) { a.who.ClientID = "other" }},
	{"client_id", "", `principal.client_id like "*/other"`, func(a *asking) { a.who.ClientID += "/other" }},
	{"issuer", "", `principal.issuer != "https://id.example.com/realms/r"`, func(a *asking) { a.who.Issuer = "https://other.example.com" }},
	{"subject", "", `principal.subject == "other"`, func(a *asking) { a.who.Subject = "other" }},
	{"no subject", "", `principal.subject == ""`, func(a *asking) { a.who.Subject = "" }},
	{"groups", `principal in Group::"other", action, resource`, "", func(a *asking) { a.who.Groups = append(a.who.Groups, "other") }},
	{"a group less", "", `!(principal in Group::"g")`, func(a *asking) { a.who.Groups = nil }},
	{"scopes", "", `principal.scopes.contains("other")`, func(a *asking) { a.who.Scopes = append(a.who.Scopes, "other") }},
	{"scopes as a whole", "", `principal.scopes == ["s", "t"]`, func(a *asking) { a.who.Scopes = []string{"t", "s"} }},
	{"a claim's value", "", `principal.claims has repository && principal.claims.repository == "acme/other"`, func(a *asking) { a.who.Claims["repository"] = "acme/other" }},
	{"whether there is a claim", "", `principal.claims has "https://acme.example/team"`, func(a *asking) { a.who.Claims["https://acme.example/team"] = "" }},
	{"action", `principal, action == Action::"completions.create", resource`, "", func(a *asking) { a.path = "/v1/completions" }},
	{"the model", `principal, action, resource == Model::"gpt-4-turbo"`, "", func(a *asking) { a.model = "gpt-4-turbo" }},
	{"stream", "", `context.stream`, func(a *asking) { a.stream = `,"stream":true` }},
	{"whether there is max_output_tokens", "", `context has max_output_tokens`, func(a *asking) { a.bound = `,"max_tokens":0` }},
	{"max_output_tokens", "", `context has max_output_tokens && context.max_output_tokens > 100`, func(a *asking) { a.bound = `,"max_tokens":101` }},
}

// Whatever policies read, what is remembered is what they would say: each input changed, and each two of them, in
// any order, three times over.
func TestWhatIsRememberedIsWhatPoliciesWouldSay(t *testing.T) {
	const reads = "%s(%s) when { %s };\n"
	// It determines nothing, but reads the time: nothing is remembered beside it.
	const forgets = `@id("never") forbid (principal, action, resource) when { context.time < datetime("2020-01-01") };`
	for name, text := range map[string]string{
		// Each permit that holds is among what determined a decision, so that two can't agree by chance.
		"permits": `@id("base") permit (principal, action, resource);`,
		"forbids": `@id("base") permit (principal, action, resource);`,
		// The two targets of a model are decided each by itself.
		"forbids at one upstream": `@id("base") permit (principal, action, resource);`,
		"permits at one upstream": `@id("base") permit (principal, action, resource in Upstream::"openai");`,
	} {
		t.Run(name, func(t *testing.T) {
			effect, _, _ := strings.Cut(name, "s")
			var b strings.Builder
			b.WriteString(text)
			for i, in := range inputs {
				head, when := in.head, in.when
				if head == "" {
					head = "principal, action, resource"
				}
				if when == "" {
					when = "true"
				}
				if strings.HasSuffix(name, "at one upstream") {
					when = "(" + when + `) && resource in Upstream::"azure"`
				}
				fmt.Fprintf(&b, reads, fmt.Sprintf(`@id("%d") %s `, i, effect), head, when)
			}
			remembering, forgetful := load(t, b.String()), load(t, b.String(), forgets)

			var all []asking
			add := func(changes ...int) {
				a := asking{who: client("g"), path: "/v1/chat/completions", model: "gpt-4o"}
				a.who.Scopes, a.who.Claims = []string{"s"}, map[string]string{"repository": "acme/etl"}
				for _, i := range changes {
					inputs[i].change(&a)
				}
				all = append(all, a)
			}
			add()
			for i := range inputs {
				add(i)
				for j := range i {
					add(j, i)
				}
			}
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			ids := map[string]int{}
			for round := range 3 {
				r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, a := range all {
					// Another principal that says the same is the same; and no policy here reads the time.
					who := *a.who
					who.Claims = maps.Clone(a.who.Claims)
					at := noon.Add(time.Duration(r.Int64N(int64(1000 * time.Hour))))
					got, want := remembering.Decide(&who, request(t, a.request()), at), forgetful.Decide(a.who, request(t, a.request()), at)
					if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(policy.Decision{}, "ID", "Remembered"), cmpopts.EquateErrors()); diff != "" {
						t.Fatalf("%+v %s:\n%s", a.who, a.request(), diff)
					}
					if round > 0 && !got.Remembered || want.Remembered {
						t.Fatalf("round %d: %+v %s: remembered %t, and %t beside a policy that reads the time", round, a.who, a.request(), got.Remembered, want.Remembered)
					}
					for _, id := range got.Policies {
						ids[id]++
					}
				}
			}
			for i, in := range inputs {
				// The model that differs has no target in the other upstream.
				if ids[fmt.Sprint(i)] == 0 && !(in.name == "the model" && strings.HasSuffix(name, "at one upstream")) {
					t.Errorf("no decision depended on %s", in.name)
				}
			}
		})
	}
}

// many are policies of that number, in files: the examples, and a permit for each of many teams.
func many(n int) []string {
	files := []string{examples}
	for i := range n - strings.Count(examples, "@id") {
		if i%400 == 0 { // a file holds 64 KiB
			files = append(files, "")
		}
		files[len(files)-1] += fmt.Sprintf("@id(\"team-%d\") permit (principal in Group::\"team-%d\", action in Action::\"inference\", resource == Model::\"gpt-4o\");\n", i, i)
	}
	return files
}

// What is remembered costs the same, however many policies there are; what isn't is evaluated one by one.
//
//	go test -run '^$' -bench Decide ./internal/policy
func BenchmarkDecide(b *testing.B) {
	who, req := client("data-enrichment-team", "staff", "team-7"), request(b, chatTurbo)
	for _, n := range []int{20, 1000} {
		for _, of := range []struct {
			name string
			more []string
		}{
			{"remembered", nil},
			{"evaluated", []string{`@id("now") forbid (principal, action, resource) when { context.time < datetime("2020-01-01") };`}},
		} {
			p := load(b, slices.Concat(many(n), of.more)...)
			b.Run(fmt.Sprintf("%s/policies=%d", of.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := p.Decide(who, req, noon); d.Err() != nil {
						b.Fatal(d)
					}
				}
			})
		}
	}
}

// No time is measured in tests; work that grew with the policies would allocate with them.
func TestARememberedDecisionDoesNotGrowWithThePolicies(t *testing.T) {
	who, req := client("data-enrichment-team", "staff", "team-7"), request(t, chatTurbo)
	var few, thousand float64
	for n, allocations := range map[int]*float64{20: &few, 1000: &thousand} {
		p := load(t, many(n)...)
		p.Decide(who, req, noon)
		*allocations = testing.AllocsPerRun(100, func() {
			if !p.Decide(who, req, noon).Remembered {
				t.Error("decided anew")
			}
		})
	}
	if thousand > few {
		t.Errorf("%v allocations among 20 policies, %v among 1,000", few, thousand)
	}
}

// More clients come than there is room for. Who was forgotten is decided anew, and alike.
func TestTheMemoryOfDecisionsIsBounded(t *testing.T) {
	const room, more = 8192, 100 // docs/architecture.md
	p, req := load(t, examples), request(t, chatTurbo)
	ask := func(i int) *policy.Decision {
		who := client([]string{"data-enrichment-team", "strangers"}[i%2])
		who.ClientID = fmt.Sprint(i)
		d := p.Decide(who, req, noon)
		if d.Denied() != (i%2 == 1) {
			t.Fatalf("client %d: denied %t", i, d.Denied())
		}
		return d
	}
	for i := range room + more {
		if ask(i).Remembered {
			t.Fatalf("client %d is remembered before it came", i)
		}
	}
	for i := range more {
		if !ask(room + i).Remembered {
			t.Errorf("client %d, one of the last, is forgotten", room+i)
		}
		if ask(i).Remembered {
			t.Errorf("client %d, one of the first, is remembered: there is more room than is said", i)
		}
	}
}

// As many as a token may have.
func TestAThousandGroupsAreAllDecidedBy(t *testing.T) {
	var groups []string
	for i := range 998 {
		groups = append(groups, fmt.Sprintf("team-%03d", i))
	}
	p := load(t, examples)
	for _, row := range []struct {
		more   []string
		line   string
		denied bool
	}{
		{nil, chatTurbo, true},
		{[]string{"data-enrichment-team"}, chatTurbo, false},
		{[]string{"research"}, tuneTurbo, false},
		{[]string{"read-only-models", "research"}, tuneTurbo, true},
	} {
		for _, all := range [][]string{slices.Concat(groups, row.more), slices.Concat(row.more, groups)} {
			for range 2 { // then remembered
				if d := p.Decide(client(all...), request(t, row.line), noon); d.Denied() != row.denied || len(d.Errors) > 0 {
					t.Errorf("%v besides, %s: denied %t, %v", row.more, row.line, d.Denied(), d.Errors)
				}
			}
		}
	}
}
