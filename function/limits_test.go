package function_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// limited is the ordinary gateway with limits, and where they count.
func limited(limits, store string) string {
	return ordinary + "limits: " + limits + "\nlimit_store: " + store + "\n"
}

const dollar = `[{name: dollar, groups: [team], usd_per_month: 1, tokens_per_minute: 100000, concurrent_requests: 2, accept_reset: true}]`

// standing is what /whoami tells of limits.
type standing struct {
	Limits []struct {
		Limit      string
		Requests   struct{ Limit, Remaining int64 } `json:"requests_per_minute"`
		Concurrent struct{ Remaining int64 }        `json:"concurrent_requests"`
		Day        struct {
			Limit, Spent, Remaining float64
			Resets                  time.Time
		} `json:"usd_per_day"`
		Month struct{ Limit, Spent float64 } `json:"usd_per_month"`
	}
}

func (s *scene) standing(id string) (w standing) {
	s.Helper()
	a := s.do(s.request(s.Context(), "GET", "/whoami", s.issuer.Token(id), ""))
	s.want(a, 200, "")
	if err := json.Unmarshal([]byte(a.body), &w); err != nil {
		s.Fatal(err)
	}
	return w
}

// spent waits until nothing is held any more, and wants that to have been spent.
func (s *scene) spent(id string, want float64) {
	s.Helper()
	for range 5000 {
		if w := s.standing(id); w.Limits[0].Concurrent.Remaining == 2 {
			if got := w.Limits[0].Month.Spent; math.Abs(got-want) > 1e-9 {
				s.Fatalf("%v USD spent, not %v", got, want)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	s.Fatal("a reservation is never settled")
}

func TestWhoamiTellsLimitsWhatIsLeftAndWhatWasSpent(t *testing.T) {
	s := open(t, setting{config: limited(`[{name: team, groups: [team], requests_per_minute: 10, usd_per_day: 1, accept_reset: true}]`, "memory")})
	s.want(s.chat("pipeline", hello), 200, "")
	w := s.standing("pipeline")
	if len(w.Limits) != 1 || w.Limits[0].Requests.Limit != 10 || w.Limits[0].Requests.Remaining != 9 ||
		math.Abs(w.Limits[0].Day.Spent-0.00014) > 1e-9 || math.Abs(w.Limits[0].Month.Spent-0.00014) > 1e-9 || w.Limits[0].Day.Remaining >= 1 || !w.Limits[0].Day.Resets.After(time.Now()) {
		t.Errorf("%+v", w)
	}
	if a := s.do(s.request(t.Context(), "GET", "/whoami", s.issuer.Token("stranger"), "")); strings.Contains(a.body, "limits") {
		t.Errorf("a limit of others is told: %s", a.body)
	}
}

// Whatever becomes of a call, it is charged for what was used as far as anybody can know, once.
func TestACallIsChargedByWhatBecameOfIt(t *testing.T) {
	const asked = `{"model":"gpt-4-turbo","max_tokens":1000,"messages":[{"role":"user","content":"hello there"}]}`
	const input = 24 // tokens, as asked is estimated
	const opening = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n"
	in, out := 10/1e6, 30/1e6
	whole := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		}
	}
	stream := func(text string, cut bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			flush(w, text)
			if cut {
				panic(http.ErrAbortHandler)
			}
		}
	}
	for name, row := range map[string]struct {
		serve              http.HandlerFunc
		stream             bool
		spent              float64
		unknown, estimated any // of the record
	}{
		"told":                               {whole(`{"usage":{"prompt_tokens":7,"completion_tokens":11}}`), false, 7*in + 11*out, nil, nil},
		"not told":                           {whole(`{"choices":[]}`), false, input*in + 1000*out, true, true}, // who knows what was made
		"below zero":                         {whole(`{"usage":{"prompt_tokens":7,"completion_tokens":-11}}`), false, input*in + 1000*out, true, true},
		"absurd":                             {whole(`{"usage":{"prompt_tokens":7,"completion_tokens":99999999999}}`), false, input*in + 1000*out, true, true},
		"no number":                          {whole(`{"usage":{"prompt_tokens":7,"completion_tokens":"11"}}`), false, input*in + 1000*out, true, true},
		"an answer without a word":           {whole(""), false, input*in + 1000*out, true, true},
		"refused by the provider":            {func(w http.ResponseWriter, r *http.Request) { http.Error(w, `{"error":{}}`, 400) }, false, 0, nil, nil},
		"failed at the provider":             {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "100"); w.WriteHeader(503) }, false, 0, nil, nil},
		"broken before its head":             {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, false, 0, nil, nil},
		"a whole stream":                     {stream(event("one")+event("two")+usageChunk+"data: [DONE]\n\n", false), true, 7*in + 11*out, nil, nil},
		"a stream that ends after its usage": {stream(event("one")+usageChunk, true), true, 7*in + 11*out, nil, nil},
		"a stream that only began to tell":   {stream(opening+event("one")+event("two")+"data: [DONE]\n\n", false), true, 9*in + 2*out, nil, true},
		"a stream that tells nothing":        {stream(event("one")+event("two")+"data: [DONE]\n\n", false), true, input*in + 2*out, true, true},
		"a stream that breaks off":           {stream(event("one")+event("two")+event("three"), true), true, input*in + 1024*out, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, setting{config: limited(dollar, "memory"), first: upstream(t, row.serve)})
			body := asked
			if row.stream {
				body = strings.Replace(asked, `"max_tokens":1000,`, `"stream":true,    `, 1) // as long
			}
			a := s.chat("pipeline", body)
			s.spent("pipeline", row.spent)
			r := s.record(a)
			if r["usage_unknown"] != row.unknown || r["cost_estimated"] != row.estimated {
				t.Errorf("%v", flat(r))
			}
			if cost, _ := r["cost_usd"].(float64); math.Abs(cost-row.spent) > 1e-9 {
				t.Errorf("the record says %v USD", r["cost_usd"])
			}
		})
	}
}

// A client could leave each time just before the usage comes. It pays for what it got.
func TestAClientThatLeavesPaysForWhatItGot(t *testing.T) {
	for name, row := range map[string]struct {
		begun string
		spent float64
	}{
		"before the answer": {"", (25*10 + 1024*30) / 1e6},                                  // the upstream works on all of it
		"within a stream":   {strings.Repeat(event("word"), 1100), (25*10 + 1100*30) / 1e6}, // more than was reserved
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			s := open(t, setting{config: limited(dollar, "memory"), first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if row.begun != "" {
					w.Header().Set("Content-Type", "text/event-stream")
					flush(w, row.begun)
				} else {
					close(arrived)
				}
				<-r.Context().Done()
			})})
			ctx, leave := context.WithCancel(t.Context())
			go func() {
				resp, err := client.Do(s.request(ctx, "POST", chatPath, s.issuer.Token("pipeline"), `{"model":"gpt-4-turbo","stream":true,        "messages":[{"role":"user","content":"hello there"}]}`))
				if err == nil {
					io.ReadFull(resp.Body, make([]byte, len(row.begun)))
					close(arrived)
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-arrived
			if w := s.standing("pipeline"); w.Limits[0].Concurrent.Remaining != 1 {
				t.Errorf("the open request does not count: %+v", w)
			}
			leave()
			s.spent("pipeline", row.spent)
		})
	}
}

// Where no limit applies, nothing is estimated: the record has what was told.
func TestWithoutLimitsAnAnswerThatBreaksOffCostsWhatItTold(t *testing.T) {
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush(w, event("one")+"data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n")
		panic(http.ErrAbortHandler)
	})})
	a := s.chat("pipeline", streamed)
	if r := s.record(a); math.Abs(r["cost_usd"].(float64)-(3*10+1*30)/1e6) > 1e-12 || r["usage_partial"] != true {
		t.Errorf("%v", flat(r))
	}
}

func TestATimeoutIsChargedByEstimate(t *testing.T) {
	s := open(t, setting{config: limited(dollar, "memory") + "server: {upstream_header_timeout: 1s}\n", first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})})
	a := s.chat("pipeline", `{"model":"gpt-4-turbo","max_tokens":100,"messages":[]}`)
	s.want(a, 504, "upstream_timeout")
	s.spent("pipeline", (14*10+100*30)/1e6)
	if r := s.record(a); r["cost_estimated"] != true {
		t.Errorf("%v", flat(r))
	}
}

func TestAProvidersOwnRefusalKeepsItsHeaders(t *testing.T) {
	s := open(t, setting{config: limited(`[{name: all, requests_per_minute: 10}]`, "memory"), first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ratelimit-Limit-Requests", "3")
		w.Header().Set("X-Ratelimit-Reset-Requests", "7s")
		w.Header().Set("Retry-After", "77")
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.Header.Get("User-Agent"), "fine") {
			io.WriteString(w, `{}`)
			return
		}
		w.WriteHeader(429)
	})})
	a := s.chat("pipeline", hello)
	if a.StatusCode != 429 || a.Header.Get("Retry-After") != "77" || a.Header.Get("X-Ratelimit-Limit-Requests") != "3" || a.Header.Get("X-Gateway-Error") != "" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	req := s.request(t.Context(), "POST", chatPath, s.issuer.Token("pipeline"), hello)
	req.Header.Set("User-Agent", "fine")
	if a := s.do(req); a.StatusCode != 200 || a.Header.Get("X-Ratelimit-Limit-Requests") != "10" || len(a.Header["X-Ratelimit-Limit-Requests"]) != 1 {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

func TestWithoutTheirStoreBudgetsDenyAndRatesLetThrough(t *testing.T) {
	redis := miniredis.RunT(t)
	s := open(t, setting{config: limited(`[{name: rate, requests_per_minute: 10}, {name: budget, groups: [tuners], usd_per_day: 1}]`, "redis://"+redis.Addr())})
	redis.Close()
	a := s.chat("pipeline", hello)
	s.want(a, 200, "")
	if r := s.record(a); r["limit_store_error"] == nil {
		t.Errorf("it isn't recorded: %v", flat(r))
	}
	a = s.chat("tuner", hello)
	s.want(a, 503, "limits_unavailable")
	if r := s.record(a); r["limit_store_error"] == nil || a.Header.Get("Retry-After") != "1" || fmt.Sprint(r["cause"]) == "" {
		t.Errorf("%v %v", a.Header, flat(r))
	}
	if len(s.first.Received()) != 1 {
		t.Error("what is denied was sent")
	}
	if w := s.standing("tuner"); len(w.Limits) != 2 || w.Limits[1].Day.Limit != 1 {
		t.Errorf("%+v", w)
	}
}

func TestTheStoresPasswordIsReadFromItsSecret(t *testing.T) {
	redis := miniredis.RunT(t)
	redis.RequireAuth("hunter2")
	s := open(t, setting{
		config:      limited(`[{name: budget, usd_per_day: 1}]`, "{url: redis://"+redis.Addr()+", credential: store}"),
		credentials: "  store:\n    api_key: {from: {secret_manager: projects/acme/secrets/store/versions/latest}}",
	})
	s.secrets.Add("projects/acme/secrets/store", []byte("hunter2"))
	for range 1000 { // on a machine that is busy the store's time may be over before it answers
		if a := s.chat("pipeline", hello); a.StatusCode == 200 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the store is never reached")
}

func TestARequestThatPoliciesDenyTakesNothingFromLimits(t *testing.T) {
	s := open(t, setting{config: limited(`[{name: one, requests_per_minute: 1}]`, "memory")})
	for range 3 {
		s.want(s.chat("pipeline", `{"model":"unknown","messages":[]}`), 403, "model_not_allowed")
		s.want(s.chat("pipeline", `{"model":1}`), 400, "invalid_request")
	}
	s.want(s.chat("pipeline", hello), 200, "")
	s.want(s.chat("pipeline", hello), 429, "rate_limit_exceeded")
}
