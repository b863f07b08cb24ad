package limit_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/limit"
)

// providers is what a provider's answer brings, about the account that all share.
func providers() http.Header {
	return http.Header{
		"X-Ratelimit-Limit-Requests": {"10000"}, "X-Ratelimit-Remaining-Tokens": {"1"}, "X-Ratelimit-Limit-Project-Tokens": {"5"},
		"Anthropic-Ratelimit-Input-Tokens-Limit": {"9"}, "Anthropic-Ratelimit-Requests-Reset": {"2026-01-01T00:00:00Z"}, "X-Request-Id": {"kept"},
	}
}

func TestHeadersAreThoseOfTheDialectsProviderAndReplaceItsOwn(t *testing.T) {
	const limits = `
  - {name: wide, requests_per_minute: 600, tokens_per_minute: 3000}
  - {name: narrow, requests_per_minute: 60, groups: [g]}
  - {name: budget, usd_per_day: 0.5, accept_reset: true}`
	each(t, limits, func(t *testing.T, l *limit.Limits, c *clock) {
		r := reserved(t, l, client("a", "g"), chat(t, "gpt", 480))
		h := providers()
		r.Header(h, apierror.OpenAI)
		want := http.Header{
			"X-Ratelimit-Limit-Requests": {"60"}, "X-Ratelimit-Remaining-Requests": {"59"}, "X-Ratelimit-Reset-Requests": {"1s"},
			"X-Ratelimit-Limit-Tokens": {"3000"}, "X-Ratelimit-Remaining-Tokens": {"2500"}, "X-Ratelimit-Reset-Tokens": {"10s"}, "X-Request-Id": {"kept"},
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		h = providers()
		r.Header(h, apierror.Anthropic)
		want = http.Header{
			"Anthropic-Ratelimit-Requests-Limit": {"60"}, "Anthropic-Ratelimit-Requests-Remaining": {"59"}, "Anthropic-Ratelimit-Requests-Reset": {"2026-11-26T12:00:02Z"},
			"Anthropic-Ratelimit-Tokens-Limit": {"3000"}, "Anthropic-Ratelimit-Tokens-Remaining": {"2500"}, "Anthropic-Ratelimit-Tokens-Reset": {"2026-11-26T12:00:11Z"}, "X-Request-Id": {"kept"},
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}

		for range 5 {
			reserved(t, l, client("a", "g"), chat(t, "gpt", 480))
		}
		r, err := l.Reserve(t.Context(), client("a", "g"), chat(t, "gpt", 480))
		if err == nil {
			t.Fatal("let through")
		}
		h = http.Header{}
		r.Header(h, apierror.OpenAI)
		if h.Get("X-Ratelimit-Remaining-Tokens") != "0" || h.Get("X-Ratelimit-Reset-Tokens") != "1m0s" || h.Get("X-Ratelimit-Remaining-Requests") != "54" {
			t.Errorf("%v", h)
		}
	})
}

func TestAClientSeesItsLimitsAndWhatIsLeft(t *testing.T) {
	const limits = `
  - {name: own, models: ["*"], operations: [inference], requests_per_minute: 10, tokens_per_minute: 1000, concurrent_requests: 3, usd_per_day: 1, accept_reset: true}
  - {name: team, per: group, groups: [blue, red], usd_per_month: 100, time_zone: Europe/Amsterdam, accept_reset: true}
  - {per: model, models: [gpt, mini], requests_per_minute: 5}
  - {name: others, groups: [green], requests_per_minute: 5}`
	each(t, limits, func(t *testing.T, l *limit.Limits, c *clock) {
		who := client("a", "blue", "purple")
		settle(t, reserved(t, l, who, chat(t, "gpt", 80)), limit.Usage{Input: 20, Output: 80})
		reserved(t, l, who, chat(t, "gpt", 80))
		shown, err := l.Show(t.Context(), who, []string{"gpt"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(shown, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		const want = `[
 {
  "limit": "own",
  "models": [
   "*"
  ],
  "operations": [
   "inference"
  ],
  "per": "client",
  "requests_per_minute": {
   "limit": 10,
   "remaining": 8
  },
  "tokens_per_minute": {
   "limit": 1000,
   "remaining": 800
  },
  "concurrent_requests": {
   "limit": 3,
   "remaining": 2
  },
  "usd_per_day": {
   "limit": 1,
   "spent": 0.0026,
   "remaining": 0.9948,
   "resets": "2026-11-27T00:00:00Z"
  },
  "usd_per_month": {
   "spent": 0.0026,
   "resets": "2026-12-01T00:00:00Z"
  }
 },
 {
  "limit": "team",
  "per": "group",
  "group": "blue",
  "usd_per_day": {
   "spent": 0.0026,
   "resets": "2026-11-27T00:00:00+01:00"
  },
  "usd_per_month": {
   "limit": 100,
   "spent": 0.0026,
   "remaining": 99.9948,
   "resets": "2026-12-01T00:00:00+01:00"
  }
 },
 {
  "limit": "limits[2]",
  "models": [
   "gpt",
   "mini"
  ],
  "per": "model",
  "model": "gpt",
  "requests_per_minute": {
   "limit": 5,
   "remaining": 3
  }
 }
]`
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

func TestLookingTakesNothing(t *testing.T) {
	each(t, `[{name: one, requests_per_minute: 1, tokens_per_minute: 100}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		for range 5 {
			if _, err := l.Show(t.Context(), client("a"), nil); err != nil {
				t.Fatal(err)
			}
		}
		reserved(t, l, client("a"), chat(t, "gpt", 80))
	})
}

func TestTheBudgetThatIsUsedMostIsTold(t *testing.T) {
	each(t, `[{name: big, usd_per_month: 10, accept_reset: true}, {name: small, usd_per_day: 0.01, usd_per_month: 1, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		r := reserved(t, l, client("a"), chat(t, "gpt", 100))
		settle(t, r, limit.Usage{Input: 800}) // 0.008
		if r.Budget != "small" || r.Used != 0.8 {
			t.Errorf("%s %v", r.Budget, r.Used)
		}
		r, err := l.Reserve(t.Context(), client("a"), chat(t, "gpt", 100))
		if err == nil || r.Refused != "small" || r.Kind != "usd_per_day" || r.Budget != "small" || r.Used != 0.8 {
			t.Errorf("%+v %v", r, err)
		}
	})
}

func TestReservationsAreNamedApart(t *testing.T) {
	each(t, `[{name: two, concurrent_requests: 2}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		a, b := reserved(t, l, client("a"), chat(t, "gpt", 1)), reserved(t, l, client("a"), chat(t, "gpt", 1))
		a.Cancel(context.Background())
		reserved(t, l, client("a"), chat(t, "gpt", 1))
		b.Cancel(context.Background())
		reserved(t, l, client("a"), chat(t, "gpt", 1))
		refused(t, l, client("a"), chat(t, "gpt", 1), "two", "concurrent_requests")
	})
}

func TestUnknownOperationsAreFaultsAndLimitsOfNothingAreWarnedOf(t *testing.T) {
	c, faults := config.Parse("gateway.yaml", []byte(`
issuers:
  - {url: https://id.example.com, audiences: [a], group_prefix: "id:"}
  - {url: https://token.actions.githubusercontent.com, audiences: [a], require: {repository_owner: acme}}
  - {url: https://gitlab.com, audiences: [a], require: {namespace_path: acme}, group_prefix: "gl:", groups: [], group_rules: [{when: {ref: main}, groups: [ci, main]}]}
policies: {files: [gateway.cedar]}
upstreams: {local: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
models: {m: {targets: [{upstream: local, model: m}]}}
limits:
  - {operations: [inferense], requests_per_minute: 1}
  - {operations: [models.list, chat.completions.create], requests_per_minute: 1}
  - {name: fine, operations: [files, chat.completions.create], groups: ["id:a"], clients: ["https://id.example.com#x"], issuers: [https://id.example.com], models: [m], requests_per_minute: 1}
  - {name: fine-too, groups: [a], issuers: [https://token.actions.githubusercontent.com], requests_per_minute: 1}
  - {name: other-issuer, clients: ["https://id.example.com#x"], issuers: [https://token.actions.githubusercontent.com], requests_per_minute: 1}
  - {name: prefix-missing, groups: [a], issuers: [https://id.example.com], requests_per_minute: 1}
  - {name: of-another, groups: ["id:a"], issuers: [https://token.actions.githubusercontent.com], requests_per_minute: 1}
  - {name: fine-by-rule, groups: ["gl:main"], requests_per_minute: 1}
  - {name: of-no-rule, groups: ["gl:mian", main], issuers: [https://gitlab.com], requests_per_minute: 1}
  - {name: no-model, operations: [batches], models: ["*"], requests_per_minute: 1}
  - {name: no-model-either, operations: [batches.list], per: model, requests_per_minute: 1}
`))
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	faults = limit.Check(c)
	if len(faults) != 2 || !strings.HasPrefix(faults[0].String(), `gateway.yaml:10:19: limits[0].operations[0]: no operation or group of operations is called "inferense"; did you mean inference?`) ||
		!strings.HasPrefix(faults[1].String(), `gateway.yaml:11:19: limits[1].operations[0]: no operation or group of operations is called "models.list"`) {
		t.Errorf("%v", faults)
	}
	var got []string
	for _, w := range limit.Warnings(c) {
		got = append(got, w.Message)
		if w.Line == 0 || w.Path == "" {
			t.Errorf("%v has no place", w)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"limit no-model matches no request: its operations name no model",
		"limit no-model-either matches no request: its operations name no model",
		"limit of-another matches no request: \"id:a\" is a group of https://id.example.com",
		"limit of-no-rule matches no request: no client can be in \"gl:mian\": groups of https://gitlab.com are those of its group_rules alone; did you mean gl:main?; \"main\" is a group of https://token.actions.githubusercontent.com",
		"limit other-issuer matches no request: its clients are of none of its issuers",
		"limit prefix-missing matches no request: \"a\" is a group of https://token.actions.githubusercontent.com",
	}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
