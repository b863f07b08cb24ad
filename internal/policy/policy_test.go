package policy_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

const document = `
issuers:
  - {url: https://id.example.com/realms/r, audiences: [llm-gateway], claims: [repository, "https://acme.example/team"]}
policies: {files: [%s]}
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

// The two examples of the README, and a permit for the second to override.
const examples = `
@id("enrichment-uses-gpt-4-turbo")
permit (principal in Group::"data-enrichment-team", action in Action::"inference", resource == Model::"gpt-4-turbo");

@id("read-only-never-fine-tunes")
forbid (principal in Group::"read-only-models", action in Action::"fine_tuning", resource);

@id("research-does-everything")
permit (principal in Group::"research", action, resource);
`

// configure writes one file for each text, and the configuration that holds them all.
func configure(t testing.TB, policies ...string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, text := range policies {
		files = append(files, fmt.Sprintf("%d.cedar", i))
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, faults := config.Parse(filepath.Join(dir, "gateway.yaml"), fmt.Appendf(nil, document, strings.Join(files, ", ")))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

func load(t testing.TB, policies ...string) *policy.Policies {
	t.Helper()
	p, faults := policy.Load(configure(t, policies...))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return p
}

// client is a client in the groups.
func client(groups ...string) *principal.Principal {
	return &principal.Principal{Issuer: "https://id.example.com/realms/r", Subject: "s", ClientID: "batch-7", Groups: groups}
}

// request reads "METHOD path body" as the gateway does.
func request(t testing.TB, line string) *operation.Request {
	t.Helper()
	method, rest, _ := strings.Cut(line, " ")
	path, body, _ := strings.Cut(rest, " ")
	route, err := operation.Match(httptest.NewRequest(method, path, nil))
	if err != nil {
		t.Fatal(err)
	}
	contentType := "application/json"
	if route.Body == operation.Multipart {
		contentType, body = "multipart/form-data; boundary=B", form(body)
	}
	if err := route.ReadHead(http.Header{"Content-Type": {contentType}}); err != nil {
		t.Fatal(err)
	}
	req, err := operation.Read(route, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// form writes "name=value name=value" as a form; a file is named file, and | ends its lines.
func form(fields string) string {
	var b strings.Builder
	for field := range strings.FieldsSeq(fields) {
		name, value, _ := strings.Cut(field, "=")
		filename := ""
		if name == "file" {
			filename, value = `; filename="f"`, strings.ReplaceAll(value, "|", "\n")
		}
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=%q%s\r\n\r\n%s\r\n", name, filename, value)
	}
	return b.String() + "--B--\r\n"
}

const (
	chatTurbo  = `POST /v1/chat/completions {"model":"gpt-4-turbo"}`
	chat4o     = `POST /v1/chat/completions {"model":"gpt-4o"}`
	chatNone   = `POST /v1/chat/completions {"model":"no-such-model"}`
	tuneTurbo  = `POST /v1/fine_tuning/jobs {"model":"gpt-4-turbo"}`
	embedEmbed = `POST /v1/embeddings {"model":"embed"}`
	listJobs   = `GET /v1/fine_tuning/jobs`
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// served is the routes in short: upstream=model+model.
func served(d *policy.Decision) string {
	var routes []string
	for _, r := range d.Routes {
		routes = append(routes, strings.TrimSuffix(r.Upstream+"="+strings.Join(r.Models, "+"), "="))
	}
	return strings.Join(routes, " ")
}

func TestGroupsDecide(t *testing.T) {
	p := load(t, examples)
	none, model, op := apierror.Kind{}, apierror.ModelNotAllowed, apierror.OperationNotAllowed
	for _, tt := range []struct {
		name    string
		groups  []string
		request string
		served  string
		refusal apierror.Kind
		by      []string
	}{
		{"the team's model", []string{"data-enrichment-team"}, chatTurbo, "openai=gpt-4-turbo-2024-04-09", none, []string{"enrichment-uses-gpt-4-turbo"}},
		{"another model", []string{"data-enrichment-team"}, chat4o, "", model, nil},
		{"an unknown model", []string{"data-enrichment-team"}, chatNone, "", model, nil},
		{"another operation", []string{"data-enrichment-team"}, tuneTurbo, "", op, nil},
		{"an operation on an upstream", []string{"data-enrichment-team"}, listJobs, "", op, nil},
		{"no groups", nil, chatTurbo, "", op, nil},
		{"no groups and an unknown model", nil, chatNone, "", op, nil},
		{"an empty group", []string{""}, chatTurbo, "", op, nil},
		{"an unknown group", []string{"data-enrichment-team-2"}, chatTurbo, "", op, nil},
		{"a group that differs in case", []string{"Data-Enrichment-Team"}, chatTurbo, "", op, nil},
		{"read-only alone", []string{"read-only-models"}, chatTurbo, "", op, nil},
		{"every target of a model, in order", []string{"research"}, chat4o, "azure=east/gpt-4o openai=gpt-4o-2024-08-06 azure=west/gpt-4o", none, []string{"research-does-everything"}},
		{"an unknown model, to who may use all", []string{"research"}, chatNone, "", model, nil},
		{"the default upstreams, in order", []string{"research"}, listJobs, "openai azure", none, []string{"research-does-everything"}},
		{"a forbid overrides a permit", []string{"read-only-models", "research"}, tuneTurbo, "", op, []string{"read-only-never-fine-tunes"}},
		{"a forbid overrides a permit on upstreams", []string{"read-only-models", "research"}, listJobs, "", op, []string{"read-only-never-fine-tunes"}},
		{"and nothing else", []string{"read-only-models", "research"}, chatTurbo, "openai=gpt-4-turbo-2024-04-09", none, []string{"research-does-everything"}},
		{"two groups add up", []string{"data-enrichment-team", "read-only-models"}, chatTurbo, "openai=gpt-4-turbo-2024-04-09", none, []string{"enrichment-uses-gpt-4-turbo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(client(tt.groups...), request(t, tt.request), noon)
			if got := served(d); got != tt.served || d.Refusal != tt.refusal {
				t.Errorf("served by %q, refusal %v; want %q, %v", got, d.Refusal, tt.served, tt.refusal)
			}
			if !slices.Equal(d.Policies, tt.by) || d.Errors != nil {
				t.Errorf("determined by %q, errors %q; want %q, none", d.Policies, d.Errors, tt.by)
			}
			if (d.Err() == nil) != (tt.served != "") {
				t.Errorf("err %v", d.Err())
			}
		})
	}
}

func TestEveryOperationIsDeniedWithoutAPermitAndAllowedByItsGroups(t *testing.T) {
	nothing := load(t, `@id("elsewhere") permit (principal in Group::"others", action, resource);`)
	everything := load(t, `@id("all") permit (principal, action, resource);`)
	decided := 0
	for _, op := range operation.All() {
		t.Run(string(op.Name), func(t *testing.T) {
			line := op.Method + " " + strings.NewReplacer("{id}", "x-1", "{model...}", "gpt-4-turbo", "{model}", "gpt-4-turbo", "{project}", "p", "{location}", "l").Replace(op.Path)
			switch {
			case op.Body == operation.Multipart:
				line += " model=gpt-4-turbo purpose=user_data"
			case op.Body == operation.JSON && op.Dialect == apierror.Google:
				line += ` {}`
			case op.Body == operation.JSON:
				line += ` {"model":"gpt-4-turbo"}`
			}
			req := request(t, line)
			if d := nothing.Decide(client("g"), req, noon); d.Err() == nil || d.Refusal != apierror.OperationNotAllowed {
				t.Errorf("without a permit: %+v", d)
			}
			if op.IsList() { // has no action; not even a permit for all actions is for it
				if d := everything.Decide(client("g"), req, noon); d.Err() == nil || d.Refusal != apierror.OperationNotAllowed || d.Policies != nil {
					t.Errorf("a list was decided by policies: %+v", d)
				}
				return
			}
			decided++
			for _, text := range []string{
				fmt.Sprintf(`@id("its group") permit (principal, action in Action::%q, resource);`, op.Group),
				fmt.Sprintf(`@id("itself") permit (principal, action == Action::%q, resource);`, op.Name),
			} {
				if d := load(t, text).Decide(client("g"), req, noon); d.Err() != nil {
					t.Errorf("with %s: %+v", text, d)
				}
			}
			for _, other := range operation.Groups() {
				if other == op.Group {
					continue
				}
				text := fmt.Sprintf(`@id("another group") permit (principal, action in Action::%q, resource);`, other)
				if d := load(t, text).Decide(client("g"), req, noon); d.Err() == nil {
					t.Errorf("with %s: %+v", text, d)
				}
			}
		})
	}
	if decided == 0 {
		t.Error("no operation is decided by policies")
	}
}

func TestADeniedTargetIsNeverARoute(t *testing.T) {
	p := load(t, `
@id("everything") permit (principal, action, resource);
@id("azure-only") forbid (principal in Group::"outside", action, resource in Upstream::"azure");`)
	d := p.Decide(client("outside"), request(t, chat4o), noon)
	if got, want := served(d), "openai=gpt-4o-2024-08-06"; got != want {
		t.Errorf("served by %q, want %q", got, want)
	}
	if want := []string{"azure-only", "everything"}; !slices.Equal(d.Policies, want) {
		t.Errorf("determined by %q, want %q", d.Policies, want)
	}
	if got := served(p.Decide(client("outside"), request(t, listJobs), noon)); got != "openai" {
		t.Errorf("a list of jobs is served by %q", got)
	}
}

// An upstream that answers for a fallback that was not decided would be a way around the decision.
func TestEveryModelOfARequestIsDecided(t *testing.T) {
	p := load(t, `
@id("all") permit (principal in Group::"all", action, resource);
@id("turbo") permit (principal in Group::"turbo", action, resource == Model::"gpt-4-turbo");
@id("some") permit (principal in Group::"some", action, resource);
@id("not-embed") forbid (principal in Group::"some", action, resource == Model::"embed");`)
	for _, tt := range []struct{ name, group, request, served string }{
		{"fallbacks that are allowed", "all", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["gpt-4o","embed"]}`, "openai=gpt-4-turbo-2024-04-09+gpt-4o-2024-08-06+text-embedding-3-small"},
		{"only upstreams that serve all of them", "all", `POST /v1/chat/completions {"model":"gpt-4o","models":["gpt-4-turbo"]}`, "openai=gpt-4o-2024-08-06+gpt-4-turbo-2024-04-09"},
		{"the same model again", "all", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["gpt-4-turbo"]}`, "openai=gpt-4-turbo-2024-04-09+gpt-4-turbo-2024-04-09"},
		{"a fallback that isn't permitted", "turbo", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["gpt-4o"]}`, ""},
		{"a fallback that is forbidden", "some", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["embed"]}`, ""},
		{"a fallback that is unknown", "all", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["no-such-model"]}`, ""},
		{"a tool's model", "some", `POST /v1/chat/completions {"model":"gpt-4-turbo","tools":[{"model":"embed"}]}`, ""},
		{"a grader's model", "some", `POST /v1/fine_tuning/jobs {"model":"gpt-4-turbo","method":{"reinforcement":{"grader":{"model":"embed"}}}}`, ""},
		{"a model that is known in place of one that isn't", "all", `POST /v1/chat/completions {"model":"no-such-model","models":["gpt-4o"]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(client(tt.group), request(t, tt.request), noon)
			if got := served(d); got != tt.served {
				t.Errorf("served by %q, want %q", got, tt.served)
			}
			if strings.Contains(tt.request, "no-such-model") && d.Policies != nil {
				t.Errorf("policies were asked about an unknown model: %q", d.Policies)
			}
		})
	}
}

// cedar-go skips a policy whose evaluation errs, so that an erring forbid would allow.
func TestErrorsDeny(t *testing.T) {
	const all = `@id("all") permit (principal, action, resource);`
	overflow := `when { context has max_output_tokens && context.max_output_tokens * 9223372036854775807 > 0 };`
	absent := `when { Client::"https://id.example.com/realms/r#nobody".subject == "x" };`
	for name, tt := range map[string]struct {
		text          string
		errs, decided []string
	}{
		"a permit that overflows beside one that allows": {all + `@id("broken") permit (principal, action, resource) ` + overflow, []string{"broken"}, nil},
		"a forbid that overflows":                        {all + `@id("broken") forbid (principal, action, resource) ` + overflow, []string{"broken"}, nil},
		"a forbid that reads an absent entity":           {all + `@id("broken") forbid (principal, action, resource) ` + absent, []string{"broken"}, nil},
		"two that err, and a forbid that doesn't": {all + `@id("stop") forbid (principal, action, resource);
			@id("b") forbid (principal, action, resource) ` + overflow + `@id("a") permit (principal, action, resource) ` + overflow, []string{"a", "b"}, []string{"stop"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, tt.text)
			req := request(t, `POST /v1/chat/completions {"model":"gpt-4-turbo","max_tokens":2}`)
			for range 2 { // the second is remembered
				d := p.Decide(client("g"), req, noon)
				if d.Err() == nil || !slices.Equal(d.Errors, tt.errs) || !slices.Equal(d.Policies, tt.decided) {
					t.Errorf("served by %q, errors %q, determined by %q", served(d), d.Errors, d.Policies)
				}
				if d.Refusal != apierror.OperationNotAllowed {
					t.Errorf("refusal %v", d.Refusal)
				}
			}
		})
	}
	// Out of its scope, a policy isn't evaluated and can't err.
	p := load(t, all+`@id("broken") forbid (principal in Group::"other", action, resource) `+absent)
	if d := p.Decide(client("g"), request(t, chatTurbo), noon); d.Err() != nil || d.Errors != nil {
		t.Errorf("out of scope: %+v", d)
	}
}

// Merged as cedar-go numbers them, both policies would be policy0 and the second replace the first.
func TestAllFilesAreInForce(t *testing.T) {
	permit := `@id("all") permit (principal, action, resource);`
	forbid := `@id("none-of-it") forbid (principal, action, resource == Model::"gpt-4-turbo");`
	for _, files := range [][]string{{permit, forbid}, {forbid, permit}} {
		p := load(t, files...)
		if d := p.Decide(client("g"), request(t, chatTurbo), noon); d.Err() == nil {
			t.Errorf("the forbid is not in force: %+v", d)
		}
		if d := p.Decide(client("g"), request(t, chat4o), noon); d.Err() != nil {
			t.Errorf("the permit is not in force: %+v", d)
		}
	}
}

func TestPoliciesReadThePrincipalAndTheContext(t *testing.T) {
	who := func(change func(*principal.Principal)) *principal.Principal {
		p := client("g")
		p.Scopes, p.Claims = []string{"llm:read", "llm:write"}, map[string]string{"repository": "acme/etl", "https://acme.example/team": "etl"}
		if change != nil {
			change(p)
		}
		return p
	}
	const plain, bounded = chatTurbo, `POST /v1/chat/completions {"model":"gpt-4-turbo","stream":true,"max_tokens":10}`
	for _, tt := range []struct {
		when    string
		yes, no *principal.Principal
	}{
		{`principal == Client::"https://id.example.com/realms/r#batch-7"`, who(nil), who(func(p *principal.Principal) { p.ClientID = "batch-8" })},
		{`principal.issuer == "https://id.example.com/realms/r"`, who(nil), who(func(p *principal.Principal) { p.Issuer = "https://id.example.com/realms/r/" })},
		{`principal.client_id like "batch-*"`, who(nil), who(func(p *principal.Principal) { p.ClientID = "x" })},
		{`principal.subject == "s"`, who(nil), who(func(p *principal.Principal) { p.Subject = "" })},
		{`principal.scopes.contains("llm:write")`, who(nil), who(func(p *principal.Principal) { p.Scopes = []string{"llm:read llm:write"} })},
		{`principal.claims has repository && principal.claims.repository == "acme/etl"`, who(nil), who(func(p *principal.Principal) { p.Claims = nil })},
		{`principal.claims has "https://acme.example/team"`, who(nil), who(func(p *principal.Principal) { p.Claims = nil })},
	} {
		p := load(t, fmt.Sprintf("@id(\"p\") permit (principal, action, resource) when { %s };", tt.when))
		for who, want := range map[*principal.Principal]bool{tt.yes: true, tt.no: false} {
			if d := p.Decide(who, request(t, plain), noon); (d.Err() == nil) != want {
				t.Errorf("%s: %+v allowed = %t", tt.when, who, !want)
			}
		}
	}
	for when, allowed := range map[string]string{
		`context.stream`:  bounded,
		`!context.stream`: plain,
		`context has max_output_tokens && context.max_output_tokens == 10`: bounded,
		`!(context has max_output_tokens)`:                                 plain,
	} {
		p := load(t, fmt.Sprintf("@id(\"p\") permit (principal, action, resource) when { %s };", when))
		for _, line := range []string{plain, bounded} {
			if d := p.Decide(who(nil), request(t, line), noon); (d.Err() == nil) != (line == allowed) {
				t.Errorf("%s: %s: %+v", when, line, d)
			}
		}
	}
}

func TestDecisionsAreRememberedUnlessAPolicyReadsTheTime(t *testing.T) {
	const until = `context.time < datetime("2026-05-04T18:00:00Z")`
	for name, tt := range map[string]struct {
		when       string
		remembered bool
	}{
		"no condition":           {`true`, true},
		"the rest of context":    {`!context.stream && !(context has max_output_tokens)`, true},
		"another's time":         {`{time: 1}.time == 1`, true},
		"access":                 {until, false},
		"access by string":       {strings.Replace(until, "context.time", `context["time"]`, 1), false},
		"within an expression":   {`if context.stream then false else (` + until + ` || false)`, false},
		"has":                    {`context has time`, false},
		"has by string":          {`context has "time"`, false},
		"the context as a whole": {`{c: context} has c`, false},
		"by way of a record":     {`{c: context}.c.time < datetime("2026-05-04T18:00:00Z")`, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, `@id("p") permit (principal, action, resource) when { `+tt.when+` };`)
			for i := range 3 {
				d := p.Decide(client("g"), request(t, chat4o), noon)
				if d.Err() != nil || d.Remembered != (tt.remembered && i > 0) {
					t.Errorf("decision %d: remembered = %t, served by %q", i, d.Remembered, served(d))
				}
			}
			if tt.remembered || !strings.Contains(tt.when, "18:00") {
				return
			}
			if d := p.Decide(client("g"), request(t, chat4o), noon.Add(6*time.Hour)); d.Err() == nil {
				t.Error("still allowed when the time is over")
			}
		})
	}
	p := load(t, `@id("p") permit (principal, action, resource);`)
	a, b := p.Decide(client("g"), request(t, chat4o), noon), p.Decide(client("g"), request(t, chat4o), noon)
	if a.ID == b.ID || len(a.ID) < 22 {
		t.Errorf("a decision's id is to be its own and beyond guessing: %q, %q", a.ID, b.ID)
	}
	a.ID, a.Remembered = b.ID, true
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("a remembered decision differs:\n%s", diff)
	}
}

// Whether a name is configured is nothing that a client who may not use it should learn.
func TestUnknownAndForbiddenModelsLookAlike(t *testing.T) {
	p := load(t, examples)
	for _, groups := range [][]string{nil, {"data-enrichment-team"}} {
		var bodies [2][]byte
		for i, line := range []string{chat4o, chatNone} {
			d := p.Decide(client(groups...), request(t, line), noon)
			var e *apierror.Error
			if !errors.As(d.Err(), &e) || e.DecisionID != d.ID || e.Kind != d.Refusal {
				t.Fatalf("err %#v", d.Err())
			}
			if strings.ContainsFunc(e.Message, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
				t.Errorf("message beyond RFC 6750 section 3: %q", e.Message)
			}
			bodies[i] = bytes.ReplaceAll(apierror.Body(apierror.OpenAI, "R", e), []byte(d.ID), []byte("ID"))
		}
		if !bytes.Equal(bodies[0], bodies[1]) {
			t.Errorf("forbidden: %s\nunknown:   %s", bodies[0], bodies[1])
		}
	}
}

func TestTheTwoRefusalsAreTold(t *testing.T) {
	p := load(t, `
@id("chat-on-azure") permit (principal in Group::"azure", action == Action::"chat.completions.create", resource in Upstream::"azure");
@id("jobs-on-azure") permit (principal in Group::"azure", action == Action::"fine_tuning.jobs.list", resource == Upstream::"azure");
@id("short-answers") permit (principal in Group::"short", action, resource) when { context has max_output_tokens };`)
	for _, tt := range []struct {
		name, group, request string
		want                 apierror.Kind
	}{
		{"allowed on another model", "azure", chatTurbo, apierror.ModelNotAllowed},
		{"allowed on another model, unknown model", "azure", chatNone, apierror.ModelNotAllowed},
		{"another operation of the same group", "azure", embedEmbed, apierror.OperationNotAllowed},
		{"allowed nowhere in this context", "short", chatTurbo, apierror.OperationNotAllowed},
		{"allowed somewhere in this context", "short", `POST /v1/chat/completions {"model":"no-such-model","max_tokens":1}`, apierror.ModelNotAllowed},
		{"allowed on one of the default upstreams", "azure", listJobs, apierror.Kind{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := p.Decide(client(tt.group), request(t, tt.request), noon); d.Refusal != tt.want {
				t.Errorf("refusal %v, want %v", d.Refusal, tt.want)
			}
		})
	}

	// An upstream that no default leads to is configured all the same.
	c := configure(t, `@id("p") permit (principal, action, resource == Upstream::"azure");`)
	c.DefaultUpstream = config.Names{"openai"}
	q, faults := policy.Load(c)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if d := q.Decide(client(), request(t, listJobs), noon); d.Refusal != apierror.ModelNotAllowed {
		t.Errorf("allowed on an upstream that is no default: %+v", d)
	}
	c.DefaultUpstream = nil
	if d := q.Decide(client(), request(t, listJobs), noon); d.Err() == nil {
		t.Errorf("no default upstream: %+v", d)
	}
}

func TestModelsAreThoseOnWhichInferenceIsAllowedNow(t *testing.T) {
	p := load(t, examples, `
@id("embeds") permit (principal in Group::"embedding", action == Action::"embeddings.create", resource == Model::"embed");
@id("one-target") permit (principal in Group::"azure", action in Action::"inference", resource in Upstream::"azure");
@id("tunes") permit (principal in Group::"tuning", action in Action::"fine_tuning", resource);
@id("streams") permit (principal in Group::"streaming", action, resource) when { context.stream };
@id("mornings") permit (principal in Group::"mornings", action, resource) when { context.time < datetime("2026-05-04T12:00:00Z") };`)
	for _, tt := range []struct {
		groups []string
		at     time.Time
		want   []string
	}{
		{nil, noon, nil},
		{[]string{"data-enrichment-team"}, noon, []string{"gpt-4-turbo"}},
		{[]string{"embedding", "data-enrichment-team"}, noon, []string{"embed", "gpt-4-turbo"}},
		{[]string{"research"}, noon, []string{"embed", "gpt-4-turbo", "gpt-4o"}},
		{[]string{"azure"}, noon, []string{"gpt-4o"}},
		{[]string{"tuning"}, noon, nil},
		{[]string{"streaming"}, noon, nil},
		{[]string{"mornings"}, noon, nil},
		{[]string{"mornings"}, noon.Add(-time.Minute), []string{"embed", "gpt-4-turbo", "gpt-4o"}},
	} {
		if got := p.Models(client(tt.groups...), tt.at); !slices.Equal(got, tt.want) {
			t.Errorf("%q at %s: %q, want %q", tt.groups, tt.at.Format("15:04"), got, tt.want)
		}
	}
}

// batchOf is a request that uploads the calls for a batch.
func batchOf(lines ...string) string {
	return "POST /v1/files purpose=batch file=" + strings.Join(lines, "|")
}

const (
	lineTurbo = `{"method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4-turbo"}}`
	line4o    = `{"method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o"}}`
	lineEmbed = `{"method":"POST","url":"/v1/embeddings","body":{"model":"embed"}}`
	lineNone  = `{"method":"POST","url":"/v1/embeddings","body":{"model":"no-such-model"}}`
)

// One denied line refuses the file; each is decided for the upstream that gets it.
func TestABatchFileIsDecidedLineByLine(t *testing.T) {
	p := load(t, `
@id("files") permit (principal, action in Action::"files", resource);
@id("embed") permit (principal, action == Action::"embeddings.create", resource == Model::"embed");
@id("chat") permit (principal in Group::"chat", action == Action::"chat.completions.create", resource);
@id("not-4o-at-openai") forbid (principal in Group::"outside", action, resource == Model::"gpt-4o") when { resource in Upstream::"openai" };`)
	for _, tt := range []struct {
		name, request string
		groups        []string
		served        string
		line          int
	}{
		{"all lines allowed", batchOf(lineTurbo, lineEmbed), []string{"chat"}, "openai=gpt-4-turbo-2024-04-09+text-embedding-3-small", 0},
		{"one line of another operation denied", batchOf(lineEmbed, lineTurbo, lineEmbed), nil, "", 2},
		{"an unknown model", batchOf(lineEmbed, lineNone), []string{"chat"}, "", 2},
		{"served by every default upstream that may serve all lines", batchOf(line4o), []string{"chat"}, "openai=gpt-4o-2024-08-06 azure=east/gpt-4o", 0},
		{"denied at one of them", batchOf(line4o), []string{"chat", "outside"}, "azure=east/gpt-4o", 0},
		{"no one upstream serves all lines", batchOf(line4o, lineTurbo), []string{"chat", "outside"}, "", 1},
		{"another purpose is not read", "POST /v1/files purpose=user_data file=" + lineNone, nil, "openai azure", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(client(tt.groups...), request(t, tt.request), noon)
			if got := served(d); got != tt.served || d.Line != tt.line {
				t.Errorf("served by %q, line %d; want %q, %d", got, d.Line, tt.served, tt.line)
			}
			if tt.served == "" {
				if d.Refusal != apierror.ModelNotAllowed || !strings.Contains(d.Err().Error(), fmt.Sprintf("line %d ", tt.line)) {
					t.Errorf("%v", d.Err())
				}
			}
		})
	}
}

// A policy's denial of what is configured is let through and told; nothing else is let through.
func TestAuditModeLetsThroughWhatPoliciesDeny(t *testing.T) {
	c := configure(t, examples, `@id("errs") forbid (principal in Group::"big", action, resource) when { context has max_output_tokens && context.max_output_tokens * 9223372036854775807 > 0 };`)
	c.Policies.Mode = config.Audit
	p, faults := policy.Load(c)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, tt := range []struct {
		name, request string
		groups        []string
		served        string
		denied        bool
	}{
		{"allowed", chatTurbo, []string{"data-enrichment-team"}, "openai=gpt-4-turbo-2024-04-09", false},
		{"no permit", chatTurbo, nil, "openai=gpt-4-turbo-2024-04-09", true},
		{"a forbid", tuneTurbo, []string{"research", "read-only-models"}, "openai=gpt-4-turbo-2024-04-09", true},
		{"every target", chat4o, nil, "azure=east/gpt-4o openai=gpt-4o-2024-08-06 azure=west/gpt-4o", true},
		{"an erring policy", `POST /v1/chat/completions {"model":"gpt-4-turbo","max_tokens":2}`, []string{"research", "big"}, "openai=gpt-4-turbo-2024-04-09", true},
		{"no model, no permit", listJobs, nil, "openai azure", true},
		{"a batch file", batchOf(lineTurbo), nil, "openai=gpt-4-turbo-2024-04-09", true},
		{"an unknown model", chatNone, []string{"research"}, "", true},
		{"an unknown model in a batch file", batchOf(lineNone), []string{"research"}, "", true},
		{"an unknown fallback", `POST /v1/chat/completions {"model":"gpt-4-turbo","models":["no-such-model"]}`, []string{"research"}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(client(tt.groups...), request(t, tt.request), noon)
			if got := served(d); got != tt.served || d.Denied() != tt.denied || (d.Err() == nil) != (tt.served != "") {
				t.Errorf("served by %q, denied %v, err %v; want %q, %v", got, d.Denied(), d.Err(), tt.served, tt.denied)
			}
		})
	}
	if got := p.Models(client(), noon); !slices.Equal(got, []string{"embed", "gpt-4-turbo", "gpt-4o"}) {
		t.Errorf("models %q", got)
	}
}

func TestSharedStoredObjectsAreWarnedAbout(t *testing.T) {
	for _, tt := range []struct {
		name, policies string
		shared         []string
	}{
		{"one group", `@id("1") permit (principal in Group::"a", action in Action::"files", resource);`, nil},
		{"one group, twice", `@id("1") permit (principal in Group::"a", action in Action::"files", resource);
			@id("2") permit (principal in Group::"a", action == Action::"batches.list", resource == Upstream::"openai");`, nil},
		{"two groups", `@id("1") permit (principal in Group::"a", action in Action::"files", resource);
			@id("2") permit (principal in Group::"b", action == Action::"batches.list", resource == Upstream::"openai");`, []string{`openai: its stored files, jobs and responses are shared by Group::"a", Group::"b"`}},
		{"two groups, each its upstream", `@id("1") permit (principal in Group::"a", action, resource in Upstream::"azure");
			@id("2") permit (principal in Group::"b", action in [Action::"files", Action::"batches"], resource is Upstream in Upstream::"openai");`, nil},
		{"models only", `@id("1") permit (principal, action == Action::"chat.completions.create", resource);
			@id("2") permit (principal, action, resource is Model);`, nil},
		{"everybody", `@id("1") permit (principal, action in Action::"inference", resource is Upstream);`,
			[]string{"openai: its stored files, jobs and responses are shared by every client", "azure: its stored files, jobs and responses are shared by every client"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, w := range load(t, tt.policies).Warnings() {
				if upstream, ok := strings.CutPrefix(w.Path, "upstreams."); ok {
					got = append(got, upstream+": "+strings.Split(w.Message, ";")[0])
				}
			}
			if !slices.Equal(got, tt.shared) {
				t.Errorf("warned of %q, want %q", got, tt.shared)
			}
		})
	}
}
