package limit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
)

const issuer = "https://id.example.com"

// configuration is one with these limits; store is its limit_store.
func configuration(t testing.TB, limits, store string) *config.Config {
	t.Helper()
	c, faults := config.Parse("gateway.yaml", []byte(`
issuers: [{url: `+issuer+`, audiences: [a]}]
policies: {files: [gateway.cedar]}
credentials:
  redis: {api_key: {from: {env: REDIS}}}
upstreams:
  openai: {kind: openai, base_url: "http://127.0.0.1:1/v1"}
models:
  gpt: {targets: [{upstream: openai, model: gpt-1}], price: {input: 10, cached_input: 5, output: 30}}
  mini: {targets: [{upstream: openai, model: mini-1}], price: {input: 1, output: 2}, output_estimate: 100}
limits: `+limits+`
limit_store: `+store+`
`))
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// clock is the instances' and the store's.
type clock struct {
	at     time.Time
	server *miniredis.Miniredis
}

func (c *clock) now() time.Time { return c.at }

func (c *clock) forward(d time.Duration) {
	c.at = c.at.Add(d)
	if c.server != nil {
		c.server.SetTime(c.at)
		c.server.FastForward(d)
	}
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// each runs a test over both stores. Budgets accept what the memory forgets.
func each(t *testing.T, limits string, test func(t *testing.T, l *limit.Limits, c *clock)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		c := &clock{at: noon}
		l, err := limit.NewAt(configuration(t, limits, "memory"), c.now, nil)
		if err != nil {
			t.Fatal(err)
		}
		test(t, l, c)
	})
	t.Run("Redis", func(t *testing.T) {
		c := &clock{at: noon, server: miniredis.RunT(t)}
		c.server.SetTime(noon)
		l, err := limit.NewAt(configuration(t, limits, "redis://"+c.server.Addr()), c.now, nil)
		if err != nil {
			t.Fatal(err)
		}
		test(t, l, c)
	})
}

func client(id string, groups ...string) *principal.Principal {
	return &principal.Principal{Issuer: issuer, ClientID: id, Groups: groups}
}

// ask is a request of the gateway's table.
func ask(t testing.TB, path, body string) *operation.Request {
	t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	route, err := operation.Match(httptest.NewRequest(method, path, nil))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		if err := route.ReadHead(http.Header{"Content-Type": {"application/json"}}); err != nil {
			t.Fatal(err)
		}
	}
	req, err := operation.Read(route, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// chat asks for at most that many tokens; its body comes to 20 more.
func chat(t testing.TB, model string, most int) *operation.Request {
	body := fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[],"x":"`, model, most)
	return ask(t, "/v1/chat/completions", body+strings.Repeat(".", 78-len(body))+`"}`)
}

// file is an upload of a batch of two calls to gpt, of 15 and 1000 tokens each.
func file(t testing.TB) *operation.Request {
	t.Helper()
	line := `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt","max_tokens":1000,"messages":[],"x":"123"}}` + "\n"
	body := "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.jsonl\"\r\n\r\n" + line + line + "\r\n--B--\r\n"
	route, err := operation.Match(httptest.NewRequest(http.MethodPost, "/v1/files", nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := route.ReadHead(http.Header{"Content-Type": {"multipart/form-data; boundary=B"}}); err != nil {
		t.Fatal(err)
	}
	req, err := operation.Read(route, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Lines) != 2 || req.Lines[0].InputTokens != 15 {
		t.Fatalf("%+v", req.Lines)
	}
	return req
}

// reserved wants the request let through.
func reserved(t testing.TB, l *limit.Limits, who *principal.Principal, req *operation.Request) *limit.Reservation {
	t.Helper()
	r, err := l.Reserve(t.Context(), who, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// refused wants it refused by that limit, and returns what the client is told.
func refused(t testing.TB, l *limit.Limits, who *principal.Principal, req *operation.Request, name, kind string) *apierror.Error {
	t.Helper()
	r, err := l.Reserve(t.Context(), who, req)
	if err == nil {
		t.Fatalf("the limit %s let it through", name)
	}
	e := apierror.From(err)
	if e.Kind.Status != 429 || r.Refused != name || r.Kind != kind || !strings.Contains(e.Message, name) {
		t.Fatalf("refused by %q for %q: %v", r.Refused, r.Kind, err)
	}
	if strings.ContainsAny(e.Message, "\"\\") {
		t.Errorf("%q is not in RFC 6750's characters", e.Message)
	}
	return e
}

func settle(t testing.TB, r *limit.Reservation, u limit.Usage) {
	t.Helper()
	r.Settle(context.Background(), u)
	if r.StoreError != nil {
		t.Fatal(r.StoreError)
	}
}

func TestARateLetsThroughWhatItSaysAtOnceAndThenAsMuchAgainEachMinute(t *testing.T) {
	each(t, `[{name: few, requests_per_minute: 6}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		pipeline := client("pipeline")
		for range 6 {
			reserved(t, l, pipeline, chat(t, "gpt", 1))
		}
		if e := refused(t, l, pipeline, chat(t, "gpt", 1), "few", "requests_per_minute"); e.Kind != apierror.RateLimitExceeded || e.RetryAfter != 10*time.Second || e.RetryUseless() {
			t.Errorf("%+v", e)
		}
		c.forward(10*time.Second - time.Microsecond)
		refused(t, l, pipeline, chat(t, "gpt", 1), "few", "requests_per_minute")
		c.forward(time.Microsecond)
		reserved(t, l, pipeline, chat(t, "gpt", 1))
		refused(t, l, pipeline, chat(t, "gpt", 1), "few", "requests_per_minute")
		reserved(t, l, client("another"), chat(t, "gpt", 1))
		c.forward(time.Hour)
		for range 6 { // and no more than that, however long nobody asked
			reserved(t, l, pipeline, chat(t, "gpt", 1))
		}
		refused(t, l, pipeline, chat(t, "gpt", 1), "few", "requests_per_minute")
	})
}

func TestTokensAreReservedByTheirBoundAndSettledByTheirUse(t *testing.T) {
	each(t, `[{name: small, tokens_per_minute: 1000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("pipeline")
		first := reserved(t, l, who, chat(t, "gpt", 480)) // 500 with its input
		second := reserved(t, l, who, chat(t, "gpt", 480))
		e := refused(t, l, who, chat(t, "gpt", 480), "small", "tokens_per_minute")
		if !strings.Contains(e.Message, "of which 0 are left, and this request may take 500") {
			t.Error(e.Message)
		}
		c.forward(time.Minute) // what is held doesn't drain: it may still be used
		refused(t, l, who, chat(t, "gpt", 480), "small", "tokens_per_minute")
		settle(t, first, limit.Usage{Input: 15, Output: 85})
		reserved(t, l, who, chat(t, "gpt", 380)).Cancel(context.Background())
		refused(t, l, who, chat(t, "gpt", 381), "small", "tokens_per_minute")
		second.Cancel(context.Background())
		reserved(t, l, who, chat(t, "gpt", 880))
	})
}

func TestUseBeyondTheReservationIsPaidBack(t *testing.T) {
	each(t, `[{name: small, tokens_per_minute: 1000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("pipeline")
		settle(t, reserved(t, l, who, chat(t, "gpt", 80)), limit.Usage{Input: 100, Output: 2900})
		if e := refused(t, l, who, chat(t, "gpt", 480), "small", "tokens_per_minute"); e.RetryAfter != 150*time.Second {
			t.Errorf("3000 of 1000 used, 500 wanted: again in %s", e.RetryAfter)
		}
		c.forward(149 * time.Second)
		refused(t, l, who, chat(t, "gpt", 480), "small", "tokens_per_minute")
		c.forward(time.Second)
		reserved(t, l, who, chat(t, "gpt", 480))
	})
}

func TestWhatNeverFitsIsRefusedAtOnceWithTheReason(t *testing.T) {
	each(t, `[{name: small, tokens_per_minute: 1000, usd_per_day: 0.02, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		e := refused(t, l, client("a"), chat(t, "gpt", 5000), "small", "tokens_per_minute")
		if !e.RetryUseless() || e.Message != "this request may take 5020 tokens, and the limit small allows 1000 a minute; ask for less, such as fewer output tokens" {
			t.Error(e)
		}
		e = refused(t, l, client("a"), chat(t, "gpt", 900), "small", "usd_per_day")
		if e.Kind != apierror.BudgetExceeded || e.Message != "this request may cost 0.0272 USD, and the budget small is 0.02 USD a day; ask for less, such as fewer output tokens" {
			t.Error(e)
		}
		refused(t, l, client("a"), ask(t, "/v1/chat/completions", `{"model":"gpt","n":128,"max_tokens":2147483647}`), "small", "tokens_per_minute")
	})
}

func TestNothingIsTakenFromAnyLimitByARequestThatOneRefuses(t *testing.T) {
	each(t, `[{name: wide, requests_per_minute: 10, tokens_per_minute: 10000}, {name: narrow, models: [gpt], requests_per_minute: 1}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		reserved(t, l, who, chat(t, "gpt", 1))
		for range 20 {
			refused(t, l, who, chat(t, "gpt", 1), "narrow", "requests_per_minute")
		}
		for range 9 {
			reserved(t, l, who, chat(t, "mini", 1))
		}
		refused(t, l, who, chat(t, "mini", 1), "wide", "requests_per_minute")
	})
}

// The one that has room last is named: to wait for another would be in vain.
func TestOfSeveralThatRefuseTheOneThatLastsLongestIsNamed(t *testing.T) {
	each(t, `[{name: quick, requests_per_minute: 60}, {name: daily, usd_per_day: 0.0309, accept_reset: true}, {name: slow, requests_per_minute: 60, groups: [g]}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a", "g")
		for range 60 { // 20 tokens in, 10 out: 0.0005 USD each
			settle(t, reserved(t, l, who, chat(t, "gpt", 10)), limit.Usage{Input: 20, Output: 10})
		}
		e := refused(t, l, who, chat(t, "gpt", 100), "daily", "usd_per_day")
		if e.RetryAfter != 12*time.Hour || e.Message != "of the budget daily, 0.0309 USD a day, 0.0009 USD are left, and this request may cost 0.0032 USD; it begins anew at 2026-11-27T00:00:00Z" {
			t.Error(e.RetryAfter, e)
		}
	})
}

func TestRequestsAtOnceAreCountedUntilTheyEnd(t *testing.T) {
	each(t, `[{name: two, concurrent_requests: 2}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		first, second := reserved(t, l, who, chat(t, "gpt", 1)), reserved(t, l, who, chat(t, "gpt", 1))
		if e := refused(t, l, who, chat(t, "gpt", 1), "two", "concurrent_requests"); e.RetryAfter != time.Second {
			t.Error(e.RetryAfter)
		}
		settle(t, first, limit.Usage{Output: 1000})
		third := reserved(t, l, who, chat(t, "gpt", 1))
		second.Cancel(context.Background())
		second.Cancel(context.Background()) // once is enough
		settle(t, second, limit.Usage{})
		reserved(t, l, who, chat(t, "gpt", 1))
		refused(t, l, who, chat(t, "gpt", 1), "two", "concurrent_requests")
		settle(t, third, limit.Usage{})
	})
}

func TestBudgetsAreOfACalendarDayAndMonthInTheirTimeZone(t *testing.T) {
	each(t, `[{name: nl, usd_per_day: 0.001, usd_per_month: 0.0025, time_zone: Europe/Amsterdam, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		c.forward(time.Date(2026, 11, 28, 22, 59, 59, 0, time.UTC).Sub(c.at)) // 23:59:59 there
		spend := func() { settle(t, reserved(t, l, who, chat(t, "gpt", 10)), limit.Usage{Input: 100}) }
		spend() // 0.001
		if e := refused(t, l, who, chat(t, "gpt", 10), "nl", "usd_per_day"); e.RetryAfter != time.Second || !e.RetryUseless() {
			t.Error(e.RetryAfter, e)
		}
		c.forward(time.Second)
		spend()
		c.forward(24 * time.Hour) // the 30th
		e := refused(t, l, who, chat(t, "gpt", 20), "nl", "usd_per_month")
		if !strings.Contains(e.Message, "begins anew at 2026-12-01T00:00:00+01:00") || e.RetryAfter != 24*time.Hour {
			t.Error(e.RetryAfter, e)
		}
		c.forward(24 * time.Hour)
		spend()
	})
}

func TestACallBelongsToTheDayInWhichItBegan(t *testing.T) {
	each(t, `[{name: b, usd_per_day: 0.001, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		c.forward(12*time.Hour - time.Second)
		r := reserved(t, l, who, chat(t, "gpt", 10))
		c.forward(30 * time.Minute)
		settle(t, r, limit.Usage{Input: 100})
		if r.Budget != "b" || r.Used != 1 {
			t.Errorf("%s %v", r.Budget, r.Used)
		}
		reserved(t, l, who, chat(t, "gpt", 10))
	})
}

func TestACountIsSharedAsPerSays(t *testing.T) {
	each(t, `
  - {name: client, models: [gpt], requests_per_minute: 4}
  - {name: group, per: group, groups: [blue, red], requests_per_minute: 2}
  - {name: model, per: model, requests_per_minute: 5}
`, func(t *testing.T, l *limit.Limits, c *clock) {
		reserved(t, l, client("a", "blue"), chat(t, "gpt", 1))
		reserved(t, l, client("b", "blue"), chat(t, "gpt", 1))
		refused(t, l, client("c", "blue"), chat(t, "gpt", 1), "group", "requests_per_minute")
		refused(t, l, client("c", "blue", "red"), chat(t, "gpt", 1), "group", "requests_per_minute") // for both of its groups
		reserved(t, l, client("c", "green", "red"), chat(t, "gpt", 1))
		reserved(t, l, client("c"), chat(t, "gpt", 1))
		reserved(t, l, client("d"), chat(t, "gpt", 1))
		refused(t, l, client("e"), chat(t, "gpt", 1), "model", "requests_per_minute")
		for range 5 {
			reserved(t, l, client("e"), chat(t, "mini", 1))
		}
		refused(t, l, client("f"), ask(t, "/v1/chat/completions", `{"model":"gpt","models":["mini"]}`), "model", "requests_per_minute")
		reserved(t, l, client("f"), ask(t, "/v1/files", "")) // names no model
	})
}

func TestALimitIsAboutWhatItsListsHold(t *testing.T) {
	const limits = `
  - {name: group, groups: [blue], requests_per_minute: 1}
  - {name: client, clients: ["` + issuer + `#c"], requests_per_minute: 1}
  - {name: models, models: [gpt], requests_per_minute: 1}
  - {name: any-model, models: ["*"], groups: [named], requests_per_minute: 1}
  - {name: operation, operations: [embeddings.create], groups: [op], requests_per_minute: 1}
  - {name: operations, operations: [files], requests_per_minute: 1}
  - {name: both, groups: [red], models: [mini], requests_per_minute: 1}
  - {name: issuer, issuers: ["` + issuer + `"], groups: [theirs], requests_per_minute: 1}
`
	embed := func(t testing.TB) *operation.Request { return ask(t, "/v1/embeddings", `{"model":"mini","input":"x"}`) }
	each(t, limits, func(t *testing.T, l *limit.Limits, c *clock) {
		for _, row := range []struct {
			who   *principal.Principal
			req   *operation.Request
			limit string // "" is none
		}{
			{client("1", "blue"), chat(t, "mini", 1), "group"},
			{client("2", "bluer"), chat(t, "mini", 1), ""},
			{client("c"), chat(t, "mini", 1), "client"},
			{&principal.Principal{Issuer: "https://other.example.com", ClientID: "c"}, chat(t, "mini", 1), ""},
			{client("3"), chat(t, "gpt", 1), "models"},
			{client("4"), ask(t, "/v1/chat/completions", `{"model":"mini","models":["gpt"]}`), "models"},
			{client("5", "named"), chat(t, "mini", 1), "any-model"},
			{client("6", "named"), ask(t, "/v1/batches", ""), ""},
			{client("7", "op"), embed(t), "operation"},
			{client("8", "op"), chat(t, "mini", 1), ""},
			{client("9"), ask(t, "/v1/files", ""), "operations"},
			{client("10", "red"), chat(t, "mini", 1), "both"},
			{client("11", "red"), embed(t), "both"},
			{client("12", "red"), ask(t, "/v1/batches", ""), ""},
			{client("13"), file(t), "models"}, // by its lines
			{client("14", "theirs"), chat(t, "mini", 1), "issuer"},
			{&principal.Principal{Issuer: "https://other.example.com", ClientID: "15", Groups: []string{"theirs"}}, chat(t, "mini", 1), ""},
		} {
			reserved(t, l, row.who, row.req)
			if row.limit == "" {
				for range 3 {
					reserved(t, l, row.who, row.req)
				}
				continue
			}
			refused(t, l, row.who, row.req, row.limit, "requests_per_minute")
		}
	})
}

func TestAThousandGroupsCountNoMoreThanTheLimitsSay(t *testing.T) {
	var groups, few []string
	for i := range 1000 {
		groups = append(groups, fmt.Sprintf("team-%04d", i))
	}
	for i := range 64 {
		few = append(few, groups[i*15])
	}
	each(t, `[{name: teams, per: group, groups: [`+strings.Join(few, ", ")+`], requests_per_minute: 2, tokens_per_minute: 1000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("everywhere", groups...)
		if r := reserved(t, l, who, chat(t, "gpt", 1)); r.Group != few[0] {
			t.Errorf("charged to %q", r.Group)
		}
		reserved(t, l, client("one", groups[15]), chat(t, "gpt", 1))
		refused(t, l, who, chat(t, "gpt", 1), "teams", "requests_per_minute")
		reserved(t, l, client("two", groups[30]), chat(t, "gpt", 1))
	})
}

func TestABatchIsChargedByItsLinesWhenItsFileComes(t *testing.T) {
	// Two lines of 15 tokens in and 1000 out: 0.0603 USD.
	each(t, `[{name: b, usd_per_day: 0.1, tokens_per_minute: 100, requests_per_minute: 10, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		r := reserved(t, l, who, file(t)) // no rate is about what a batch takes
		settle(t, r, limit.Usage{})
		if r.Budget != "b" || r.Used != 0.603 {
			t.Errorf("%s %v", r.Budget, r.Used)
		}
		refused(t, l, who, file(t), "b", "usd_per_day")
		c.forward(24 * time.Hour)
		reserved(t, l, who, file(t)).Cancel(context.Background()) // the upload failed
		reserved(t, l, who, file(t))
	})
}

func TestWorkWhoseCostNobodyTellsNeedsABudgetThatIsNotUsedUp(t *testing.T) {
	each(t, `[{name: b, usd_per_day: 0.001, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a")
		job := ask(t, "/v1/fine_tuning/jobs", `{"model":"gpt","training_file":"file-1"}`)
		settle(t, reserved(t, l, who, job), limit.Usage{})
		settle(t, reserved(t, l, who, chat(t, "gpt", 10)), limit.Usage{Input: 100})
		refused(t, l, who, job, "b", "usd_per_day")
		refused(t, l, who, ask(t, "/v1/batches", `{"input_file_id":"file-1"}`), "b", "usd_per_day")
		for _, costless := range []*operation.Request{ask(t, "/v1/batches", ""), ask(t, "/v1/moderations", `{"model":"gpt","input":"x"}`), ask(t, "/v1/responses/input_tokens", `{"model":"gpt","input":"x"}`)} {
			reserved(t, l, who, costless)
		}
	})
}

func TestCostIsAtThePriceOfTheDearestModelThatIsNamed(t *testing.T) {
	each(t, `[{name: b, usd_per_day: 1, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		c1 := configuration(t, `[]`, "memory")
		for body, want := range map[string]float64{
			`{"model":"mini"}`:                            0.0012, // 1000 in at 1, 100 out at 2
			`{"model":"gpt"}`:                             0.011,  // 600 at 10, 400 cached at 5, 100 out at 30
			`{"model":"mini","models":["gpt"]}`:           0.011,
			`{"model":"gpt","models":["mini"]}`:           0.011,
			`{"model":"mini","fallbacks":["mini","gpt"]}`: 0.011,
		} {
			req := ask(t, "/v1/chat/completions", body)
			u := limit.Usage{Input: 1000, Cached: 400, Output: 100}
			if usd, priced := limit.Cost(c1.Models, req, u); !priced || usd < want-1e-12 || usd > want+1e-12 {
				t.Errorf("%s costs %v, not %v", body, usd, want)
			}
			r := reserved(t, l, client(body), req)
			settle(t, r, u)
			if r.Used < want-1e-4 || r.Used > want+1e-4 {
				t.Errorf("%s: %v of 1 USD used", body, r.Used)
			}
		}
	})
}

func TestWhatIsReservedIsWhatMayBeUsed(t *testing.T) {
	each(t, `[{name: t, tokens_per_minute: 100000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		for body, want := range map[string]int64{
			`{"model":"gpt","max_tokens":500}`:        508,
			`{"model":"gpt","max_tokens":500,"n":4}`:  2010,
			`{"model":"gpt","messages":["whatever"]}`: 1024 + 10, // as the model's output_estimate says
			`{"model":"mini","n":2}`:                  206,
		} {
			who := client(body)
			reserved(t, l, who, ask(t, "/v1/chat/completions", body))
			shown, err := l.Show(t.Context(), who, nil)
			if err != nil || len(shown) != 1 || *shown[0].Tokens.Remaining != 100000-want {
				t.Errorf("%s: %v %v", body, *shown[0].Tokens.Remaining, err)
			}
		}
	})
}

func TestAnEstimateIsByWhatCameWhereThatIsAll(t *testing.T) {
	each(t, `[{name: t, tokens_per_minute: 100000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		for _, row := range []struct {
			req    *operation.Request
			output int64
			stream bool
			want   limit.Usage
		}{
			{chat(t, "gpt", 80), 0, false, limit.Usage{Input: 20, Output: 80}},
			{chat(t, "gpt", 80), 7, false, limit.Usage{Input: 20, Output: 80}}, // who knows what was made
			{chat(t, "gpt", 80), 700, false, limit.Usage{Input: 20, Output: 700}},
			{chat(t, "gpt", 80), 0, true, limit.Usage{Input: 20, Output: 80}},
			{chat(t, "gpt", 80), 7, true, limit.Usage{Input: 20, Output: 7}},
			{ask(t, "/v1/images/generations", `{"model":"gpt"}`), 700_000, false, limit.Usage{Input: 4, Output: 1024}}, // its size tells nothing
			{ask(t, "/v1/embeddings", `{"model":"mini","input":"x"}`), 7000, false, limit.Usage{Input: 7}},             // numbers, not tokens
		} {
			if got := reserved(t, l, client("a"), row.req).Estimate(row.output, row.stream); got != row.want {
				t.Errorf("%+v: %+v, not %+v", row, got, row.want)
			}
		}
	})
}

// Its use is told to whoever fetches it, as often as they like; nobody would be charged.
func TestAnAnswerInTheBackgroundIsRefusedWhereTokensOrMoneyAreLimited(t *testing.T) {
	for limits, refuses := range map[string]bool{
		`[{name: t, tokens_per_minute: 100000}]`:                 true,
		`[{name: t, usd_per_day: 1, accept_reset: true}]`:        true,
		`[{name: t, requests_per_minute: 100}]`:                  false,
		`[{name: t, tokens_per_minute: 1, groups: [elsewhere]}]`: false,
	} {
		each(t, limits, func(t *testing.T, l *limit.Limits, c *clock) {
			_, err := l.Reserve(t.Context(), client("a"), ask(t, "/v1/responses", `{"model":"gpt","background":true,"max_output_tokens":100}`))
			if e := apierror.From(err); (err != nil) != refuses || err != nil && (e.Kind != apierror.InvalidRequest || e.Param != "background") {
				t.Errorf("%s: %v", limits, err)
			}
		})
	}
}

// A client that left while its request was refused must not give back what others hold.
func TestWhoLeavesGivesBackNothingOfOthers(t *testing.T) {
	each(t, `[{name: two, per: model, concurrent_requests: 2, tokens_per_minute: 1000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		reserved(t, l, client("a"), chat(t, "gpt", 80))
		reserved(t, l, client("a"), chat(t, "gpt", 80))
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range 3 {
			if _, err := l.Reserve(gone, client("b"), chat(t, "gpt", 80)); err == nil {
				t.Fatal("let through")
			}
		}
		shown, err := l.Show(t.Context(), client("b"), []string{"gpt"})
		if err != nil || *shown[0].Concurrent.Remaining != 0 || *shown[0].Tokens.Remaining != 800 {
			t.Errorf("%d slots and %d tokens are left: %v", *shown[0].Concurrent.Remaining, *shown[0].Tokens.Remaining, err)
		}
	})
}

func TestADayBeginsWhereClocksArePutForwardAtMidnight(t *testing.T) {
	each(t, `[{name: cl, usd_per_day: 0.001, time_zone: America/Santiago, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		spend := func() { settle(t, reserved(t, l, client("a"), chat(t, "gpt", 10)), limit.Usage{Input: 100}) }
		c.forward(time.Date(2027, 9, 5, 3, 30, 0, 0, time.UTC).Sub(c.at)) // 23:30 there, of the day before
		spend()
		if e := refused(t, l, client("a"), chat(t, "gpt", 10), "cl", "usd_per_day"); e.RetryAfter != 30*time.Minute {
			t.Error(e.RetryAfter, e)
		}
		c.forward(30 * time.Minute) // 01:00
		spend()
		if e := refused(t, l, client("a"), chat(t, "gpt", 10), "cl", "usd_per_day"); e.RetryAfter != 23*time.Hour {
			t.Error(e.RetryAfter, e)
		}
		c.forward(23 * time.Hour)
		spend()
	})
}

// What is only reserved may be free again in a moment.
func TestABudgetThatIsReservedButNotSpentMayBeTriedAgain(t *testing.T) {
	each(t, `[{name: b, usd_per_day: 0.01, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		open := reserved(t, l, client("a"), chat(t, "gpt", 300))
		if e := refused(t, l, client("a"), chat(t, "gpt", 300), "b", "usd_per_day"); e.RetryAfter != time.Second || e.RetryUseless() || e.Kind != apierror.RateLimitExceeded {
			t.Error(e.RetryAfter, e)
		}
		settle(t, open, limit.Usage{Input: 20, Output: 10})
		settle(t, reserved(t, l, client("a"), chat(t, "gpt", 300)), limit.Usage{Input: 20, Output: 300})
		if e := refused(t, l, client("a"), chat(t, "gpt", 300), "b", "usd_per_day"); !e.RetryUseless() || e.Kind != apierror.BudgetExceeded {
			t.Error(e)
		}
	})
}

func TestCountingCostsNothingAndEmbeddingAnswersNone(t *testing.T) {
	each(t, `[{name: t, tokens_per_minute: 100000}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		for path, want := range map[string]int64{
			"/v1/messages/count_tokens":       100000,
			"/v1beta/models/gpt:countTokens":  100000,
			"/v1/responses/input_tokens":      100000,
			"/v1beta/models/gpt:embedContent": 100000 - 4,
			"/v1/embeddings":                  100000 - 4,
		} {
			reserved(t, l, client(path), ask(t, path, map[bool]string{true: `{"contents":{}}`, false: `{"model":"gpt"}`}[strings.Contains(path, "models")]))
			shown, err := l.Show(t.Context(), client(path), nil)
			if err != nil || *shown[0].Tokens.Remaining != want {
				t.Errorf("%s: %d are left: %v", path, *shown[0].Tokens.Remaining, err)
			}
		}
	})
}

func TestWhatIsLeftIsWhole(t *testing.T) {
	each(t, `[{name: t, requests_per_minute: 60}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		reserved(t, l, client("a"), chat(t, "gpt", 1))
		c.forward(500 * time.Millisecond) // half a request is still used
		shown, err := l.Show(t.Context(), client("a"), nil)
		if err != nil || *shown[0].Requests.Remaining != 59 {
			t.Errorf("%d are left: %v", *shown[0].Requests.Remaining, err)
		}
		c.forward(400 * 24 * time.Hour) // and a long time makes no more of it than there is
		reserved(t, l, client("a"), chat(t, "gpt", 1))
		if shown, err := l.Show(t.Context(), client("a"), nil); err != nil || *shown[0].Requests.Remaining != 59 {
			t.Errorf("%d are left: %v", *shown[0].Requests.Remaining, err)
		}
	})
}

func TestOutOfLimitsNothingIsCounted(t *testing.T) {
	for _, limits := range []string{`[]`, `[{name: others, groups: [others], tokens_per_minute: 1, concurrent_requests: 1}]`} {
		each(t, limits, func(t *testing.T, l *limit.Limits, c *clock) {
			for range 3 {
				r := reserved(t, l, client("a"), chat(t, "gpt", 1000))
				h := http.Header{"X-Ratelimit-Limit-Requests": {"provider's"}}
				r.Header(h, apierror.OpenAI)
				if h.Get("X-Ratelimit-Limit-Requests") != "provider's" || r.Settles() || r.Group != "" {
					t.Errorf("%v %+v", h, r)
				}
				settle(t, r, limit.Usage{Output: 5000})
			}
			if shown, err := l.Show(t.Context(), client("a"), []string{"gpt"}); err != nil || len(shown) != 0 {
				t.Errorf("%+v %v", shown, err)
			}
		})
	}
}
