package function_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/function"
)

const (
	twoTargets = `
upstreams:
  first: {kind: openai, base_url: $FIRST}
  second: {kind: openai, base_url: $SECOND}
models:
  gpt-4-turbo: {targets: [{upstream: first, model: a}, {upstream: second, model: b}]}
default_upstream: [first, second]
server: {upstream_header_timeout: 1s}
`
	oneTarget = `
upstreams:
  first: {kind: openai, base_url: $FIRST}
models:
  gpt-4-turbo: {targets: [{upstream: first, model: a}]}
server: {upstream_header_timeout: 1s}
`
	allAllowed = `@id("all") permit (principal, action, resource);`

	// refusing is an address where no connection comes about.
	refusing = "http://127.0.0.1:1/v1"

	response = `{"model":"gpt-4-turbo","input":"hello there"}`
	job      = `{"model":"gpt-4-turbo","training_file":"file-1"}`
)

// provider answers in turn as its script says, and with the last line from then on. A line is a status
// and a Retry-After, or how no answer comes: dead, slow, redirect.
type provider struct {
	URL   string
	calls atomic.Int64

	mu     sync.Mutex
	script []string
}

func newProvider(t testing.TB, script ...string) *provider {
	p := &provider{script: script}
	p.URL = upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		p.calls.Add(1)
		line := p.next()
		switch line {
		case "dead":
			panic(http.ErrAbortHandler)
		case "slow":
			<-r.Context().Done()
			return
		case "redirect":
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
			return
		case "cut":
			w.Header().Set("Content-Type", "text/event-stream")
			flush(w, event("one"))
			panic(http.ErrAbortHandler)
		}
		status, after, _ := strings.Cut(line, " ")
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.Header().Set("Content-Type", "application/json")
		code, _ := strconv.Atoi(status)
		w.WriteHeader(code)
		io.WriteString(w, p.body(status))
	})
	return p
}

func (p *provider) body(status string) string { return `{"said":"` + status + `"}` }

func (p *provider) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := p.script[0]
	if len(p.script) > 1 {
		p.script = p.script[1:]
	}
	return line
}

// from now on the provider answers so.
func (p *provider) from(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = []string{line}
}

// attempts are those of a record: "first 500", "second upstream_error".
func attempts(record map[string]any) []string {
	list, _ := record["attempts"].([]any)
	var lines []string
	for _, a := range list {
		a := a.(map[string]any)
		line := fmt.Sprint(a["upstream"])
		if status, ok := a["status"]; ok {
			line += fmt.Sprint(" ", status)
		}
		if text, ok := a["error"].(string); ok {
			code, _, _ := strings.Cut(text, ": ")
			line += " " + code
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTheTargetsAreAskedInTurnUntilOneAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		first, second string // scripts, | between their lines; first may be an address, second "" for no second target
		path, body    string // default: chat
		status        int
		code          string // ours, or "" for an upstream's own answer
		attempts      []string
	}{
		{name: "a refused connection", first: refusing, second: "200", status: 200, attempts: []string{"first upstream_error", "first upstream_error", "second 200"}},
		{name: "a connection that ends before the head", first: "dead", second: "200", status: 200, attempts: []string{"first upstream_error", "first upstream_error", "second 200"}},
		{name: "a death, and then an answer", first: "dead|200", second: "200", status: 200, attempts: []string{"first upstream_error", "first 200"}},
		{name: "a redirect, which is no answer", first: "redirect", second: "200", status: 200, attempts: []string{"first upstream_error", "first upstream_error", "second 200"}},
		{name: "500, and then an answer", first: "500|200", second: "200", status: 200, attempts: []string{"first 500", "first 200"}},
		{name: "529 is Anthropic's overload", first: "529", second: "200", status: 200, attempts: []string{"first 529", "first 529", "second 200"}},
		{name: "408", first: "408|200", second: "200", status: 200, attempts: []string{"first 408", "first 200"}},
		{name: "429 that is over soon", first: "429 1|200", second: "200", status: 200, attempts: []string{"first 429", "first 200"}},
		{name: "429 for longer", first: "429 30", second: "200", status: 200, attempts: []string{"first 429", "second 200"}},
		{name: "503 for longer", first: "503 3", second: "200", status: 200, attempts: []string{"first 503", "second 200"}},
		{name: "a whole header timeout is not spent twice", first: "slow", second: "200", status: 200, attempts: []string{"first upstream_timeout", "second 200"}},
		{name: "400 is the client's", first: "400", second: "200", status: 400, attempts: []string{"first 400"}},
		{name: "404 is the client's", first: "404", second: "200", status: 404, attempts: []string{"first 404"}},
		{name: "401 is our credential's", first: "401", second: "200", status: 200, attempts: []string{"first 401 upstream_error", "second 200"}},
		{name: "403 is the client's", first: "403", second: "200", status: 403, attempts: []string{"first 403"}},

		{name: "every target's connection is refused", first: refusing, second: "dead", status: 502, code: "upstream_error",
			attempts: []string{"first upstream_error", "first upstream_error", "second upstream_error", "second upstream_error"}},
		{name: "the last answer is the client's, whatever it is", first: refusing, second: "500", status: 500,
			attempts: []string{"first upstream_error", "first upstream_error", "second 500", "second 500"}},
		{name: "an error after an answer is the client's too", first: "429 30", second: "slow", status: 504, code: "upstream_timeout",
			attempts: []string{"first 429", "second upstream_timeout"}},

		{name: "one target: 500, and then an answer", first: "500|200", status: 200, attempts: []string{"first 500", "first 200"}},
		{name: "one target: 500 for ever", first: "500", status: 500, attempts: []string{"first 500", "first 500"}},
		{name: "one target: 429 for longer", first: "429 30", status: 429, attempts: []string{"first 429"}},
		{name: "one target: slow", first: "slow", status: 504, code: "upstream_timeout", attempts: []string{"first upstream_timeout"}},

		{name: "with effects, a refused connection", first: refusing, second: "200", path: "/v1/responses", body: response, status: 200,
			attempts: []string{"first upstream_error", "first upstream_error", "second 200"}},
		{name: "with effects, 401", first: "401", second: "200", path: "/v1/responses", body: response, status: 200,
			attempts: []string{"first 401 upstream_error", "second 200"}},
		{name: "with effects, 500", first: "500", second: "200", path: "/v1/responses", body: response, status: 500, attempts: []string{"first 500"}},
		{name: "with effects, 429", first: "429 1", second: "200", path: "/v1/responses", body: response, status: 429, attempts: []string{"first 429"}},
		{name: "with effects, a death", first: "dead", second: "200", path: "/v1/responses", body: response, status: 502, code: "upstream_error", attempts: []string{"first upstream_error"}},
		{name: "with effects, slow", first: "slow", second: "200", path: "/v1/responses", body: response, status: 504, code: "upstream_timeout", attempts: []string{"first upstream_timeout"}},

		{name: "a job stays where its file is", first: refusing, second: "200", path: "/v1/fine_tuning/jobs", body: job, status: 502, code: "upstream_error",
			attempts: []string{"first upstream_error", "first upstream_error"}},
		{name: "another upstream would say that the job does not exist", first: "500", second: "404", path: "/v1/fine_tuning/jobs/ftjob-1", status: 500,
			attempts: []string{"first 500", "first 500"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			with := setting{config: twoTargets, policy: allAllowed, first: row.first}
			first, second := newProvider(t, strings.Split(row.first, "|")...), newProvider(t, strings.Split(row.second, "|")...)
			if row.first != refusing {
				with.first = first.URL
			}
			with.second = second.URL
			if row.second == "" {
				with.config = oneTarget
			}
			if row.path == "" {
				row.path, row.body = chatPath, hello
			}
			method := "POST"
			if row.body == "" {
				method = "GET"
			}
			s := open(t, with)
			a := s.do(s.request(t.Context(), method, row.path, s.issuer.Token("pipeline"), row.body))
			s.want(a, row.status, row.code)
			if own := a.Header.Get("X-Gateway-Error") == "true"; own != (row.code != "") {
				t.Errorf("the answer is the gateway's: %t", own)
			}
			if row.code == "" && a.body != first.body(strconv.Itoa(row.status)) {
				t.Errorf("body %s", a.body)
			}
			r := s.record(a)
			if got := attempts(r); !slices.Equal(got, row.attempts) {
				t.Errorf("attempts %q, want %q", got, row.attempts)
			}
			last := row.attempts[len(row.attempts)-1]
			if upstream, _, _ := strings.Cut(last, " "); r["upstream"] != upstream {
				t.Errorf("the record's upstream is %v", r["upstream"])
			}
			counted := map[string]int64{}
			for _, line := range row.attempts {
				upstream, _, _ := strings.Cut(line, " ")
				counted[upstream]++
			}
			if row.first != refusing && first.calls.Load() != counted["first"] || second.calls.Load() != counted["second"] {
				t.Errorf("the first got %d requests, the second %d", first.calls.Load(), second.calls.Load())
			}
		})
	}
}

func TestARetryAfterThatNobodyWaitsForIsTheClients(t *testing.T) {
	s := open(t, setting{config: oneTarget, policy: allAllowed, first: newProvider(t, "429 30").URL})
	a := s.chat("pipeline", hello)
	if s.want(a, 429, ""); a.Header.Get("Retry-After") != "30" || a.Header.Get("X-Should-Retry") != "" {
		t.Errorf("headers %v", a.Header)
	}
}

func TestARetryAfterIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := open(t, setting{config: oneTarget, policy: allAllowed, first: newProvider(t, "503 1", "200").URL})
	begin := time.Now()
	s.want(s.chat("pipeline", hello), 200, "")
	if took := time.Since(begin); took < time.Second {
		t.Errorf("asked again after %s", took)
	}
}

func TestADeniedTargetIsNotUsedEvenWhenTheAllowedOneIsDead(t *testing.T) {
	for _, denied := range []string{"first", "second"} {
		t.Run(denied, func(t *testing.T) {
			dead, well := newProvider(t, "dead"), newProvider(t, "200")
			with := setting{config: twoTargets, policy: allAllowed + ` @id("not") forbid (principal, action, resource in Upstream::"` + denied + `");`}
			with.first, with.second = well.URL, dead.URL
			if denied == "second" {
				with.first, with.second = dead.URL, well.URL
			}
			s := open(t, with)
			for range 4 { // enough to open a circuit
				s.want(s.chat("pipeline", hello), 502, "upstream_error")
			}
			if n := well.calls.Load(); n != 0 {
				t.Errorf("the denied target got %d requests", n)
			}
		})
	}
}

func TestADeadTargetIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"dead", "503"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			first, second := newProvider(t, script), newProvider(t, "200")
			s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: second.URL})
			function.Rest(s.handler, time.Hour)
			var a *answer
			for range 20 {
				a = s.chat("pipeline", hello)
				s.want(a, 200, "")
			}
			if f, n := first.calls.Load(), second.calls.Load(); f != 5 || n != 20 {
				t.Errorf("20 requests cost %d attempts at the dead target and %d at the other", f, n)
			}
			if got := attempts(s.record(a)); !slices.Equal(got, []string{"first skipped", "second 200"}) {
				t.Errorf("attempts %q", got)
			}
		})
	}
}

func TestAnAnswerThatIsNo5xxKeepsTheCircuitClosed(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"429 30", "408 30", "400", "401"} {
		t.Run(script, func(t *testing.T) {
			first := newProvider(t, script)
			s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: newProvider(t, "200").URL})
			for range 10 {
				s.chat("pipeline", hello)
			}
			if n := first.calls.Load(); n != 10 {
				t.Errorf("%d of 10 requests reached the first target", n)
			}
		})
	}
}

func TestADeadTargetIsAskedAgainAfterAPause(t *testing.T) {
	t.Parallel()
	const rest = 300 * time.Millisecond
	first, second := newProvider(t, "503"), newProvider(t, "200")
	s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: second.URL})
	function.Rest(s.handler, rest)
	for first.calls.Load() < 5 {
		s.want(s.chat("pipeline", hello), 200, "")
	}
	ask := func(want ...string) {
		t.Helper()
		a := s.chat("pipeline", hello)
		s.want(a, 200, "")
		if got := attempts(s.record(a)); !slices.Equal(got, want) {
			t.Errorf("attempts %q, want %q", got, want)
		}
	}
	time.Sleep(rest + time.Millisecond)
	ask("first 503", "first skipped", "second 200") // one probe, and no retry

	// A probe whose client leaves tells nothing: the next request probes.
	first.from("slow")
	time.Sleep(rest + time.Millisecond)
	ctx, leave := context.WithCancel(t.Context())
	before := first.calls.Load()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := client.Do(s.request(ctx, "POST", chatPath, s.issuer.Token("pipeline"), hello)); err == nil {
			resp.Body.Close()
		}
	}()
	s.eventually("the probe", func() bool { return first.calls.Load() > before })
	ask("first skipped", "second 200") // there is one probe at a time
	leave()
	<-done
	s.eventually("the record of the client that left", func() bool { return s.records.find("error_code", "client_closed_request") != nil })

	first.from("200")
	ask("first 200")
	ask("first 200")
}

func TestALoneTargetIsAskedThoughItsCircuitIsOpen(t *testing.T) {
	t.Parallel()
	first := newProvider(t, "503")
	s := open(t, setting{config: oneTarget, policy: allAllowed, first: first.URL})
	function.Rest(s.handler, time.Hour)
	for first.calls.Load() < 5 {
		s.want(s.chat("pipeline", hello), 503, "")
	}
	a := s.chat("pipeline", hello)
	s.want(a, 503, "")
	if got := attempts(s.record(a)); !slices.Equal(got, []string{"first skipped", "first 503"}) {
		t.Errorf("attempts %q", got)
	}
	first.from("200")
	s.want(s.chat("pipeline", hello), 200, "")
}

func TestOfTargetsThatAreAllDeadTheFirstIsAsked(t *testing.T) {
	t.Parallel()
	first, second := newProvider(t, "503"), newProvider(t, "503")
	s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: second.URL})
	function.Rest(s.handler, time.Hour)
	for range 3 {
		s.want(s.chat("pipeline", hello), 503, "")
	}
	first.from("200")
	a := s.chat("pipeline", hello)
	s.want(a, 200, "")
	if got := attempts(s.record(a)); !slices.Equal(got, []string{"first skipped", "second skipped", "first 200"}) {
		t.Errorf("attempts %q", got)
	}
}

func TestAClientThatLeavesWhileItWaitsIsNotServedFurther(t *testing.T) {
	t.Parallel()
	first, second := newProvider(t, "503 2"), newProvider(t, "200")
	s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: second.URL})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req := s.request(ctx, "POST", chatPath, s.issuer.Token("pipeline"), hello)
	go func() {
		s.eventually("the first attempt", func() bool { return first.calls.Load() > 0 })
		leave()
	}()
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("an answer came")
	}
	var r map[string]any
	s.eventually("the record", func() bool { r = s.records.find("error_code", "client_closed_request"); return r != nil })
	if first.calls.Load() != 1 || second.calls.Load() != 0 {
		t.Errorf("the first got %d requests, the second %d; attempts %q", first.calls.Load(), second.calls.Load(), attempts(r))
	}
}

func TestClientsThatLeaveDoNotOpenACircuit(t *testing.T) {
	t.Parallel()
	first := newProvider(t, "slow")
	s := open(t, setting{config: strings.Replace(twoTargets, "1s", "1m", 1), policy: allAllowed, first: first.URL, second: newProvider(t, "200").URL})
	for i := range int64(8) {
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			s.eventually("the attempt", func() bool { return first.calls.Load() > i })
			leave()
		}()
		if resp, err := client.Do(s.request(ctx, "POST", chatPath, s.issuer.Token("pipeline"), hello)); err == nil {
			resp.Body.Close()
			t.Fatalf("request %d was answered %d", i, resp.StatusCode)
		}
	}
}

func TestNoTargetIsAskedWhenTheRequestsTimeIsOver(t *testing.T) {
	t.Parallel()
	first, second := newProvider(t, "slow"), newProvider(t, "200")
	s := open(t, setting{config: strings.Replace(twoTargets, "upstream_header_timeout", "request_timeout", 1), policy: allAllowed, first: first.URL, second: second.URL})
	a := s.chat("pipeline", hello)
	s.want(a, 504, "upstream_timeout")
	if got := attempts(s.record(a)); !slices.Equal(got, []string{"first upstream_timeout"}) {
		t.Errorf("attempts %q", got)
	}
}

func TestAStreamThatBeganIsNotBegunAgainElsewhere(t *testing.T) {
	first, second := newProvider(t, "cut"), newProvider(t, "200")
	s := open(t, setting{config: twoTargets, policy: allAllowed, first: first.URL, second: second.URL})
	a := s.chat("pipeline", streamed)
	s.want(a, 200, "")
	if a.err == nil || !strings.HasPrefix(a.body, event("one")) || first.calls.Load() != 1 || second.calls.Load() != 0 {
		t.Errorf("%v %q; the first got %d requests, the second %d", a.err, a.body, first.calls.Load(), second.calls.Load())
	}
	if got := attempts(s.record(a)); !slices.Equal(got, []string{"first 200"}) {
		t.Errorf("attempts %q", got)
	}
}

// An own key for the first target; the second has none.
func keyed(t testing.TB, second string) *scene {
	s := open(t, setting{
		credentials: "  key:\n    api_key: {from: {secret_manager: projects/acme/secrets/key/versions/latest}}",
		config:      strings.Replace(twoTargets, "$FIRST}", "$FIRST, credential: key}", 1),
		policy:      allAllowed, second: second,
	})
	s.secrets.Add("projects/acme/secrets/key", []byte("sk-key"))
	s.secrets.Deny("projects/acme/secrets/key", true)
	return s
}

func TestATargetWithoutItsCredentialIsPassedOver(t *testing.T) {
	for path, body := range map[string]string{chatPath: hello, "/v1/responses": response} {
		s := keyed(t, newProvider(t, "200").URL)
		a := s.do(s.request(t.Context(), "POST", path, s.issuer.Token("pipeline"), body))
		s.want(a, 200, "")
		if got := attempts(s.record(a)); !slices.Equal(got, []string{"first credential_unavailable", "second 200"}) {
			t.Errorf("attempts %q", got)
		}
		if n := len(s.first.Received()); n != 0 {
			t.Errorf("the first got %d requests without a credential", n)
		}
	}
}

func TestATargetWhoseCircuitIsOpenIsAskedWhereTheOthersLackTheirCredential(t *testing.T) {
	t.Parallel()
	second := newProvider(t, "503")
	s := keyed(t, second.URL)
	function.Rest(s.handler, time.Hour)
	for second.calls.Load() < 5 {
		s.want(s.chat("pipeline", hello), 503, "")
	}
	second.from("200")
	a := s.chat("pipeline", hello)
	s.want(a, 200, "")
	if got := attempts(s.record(a)); !slices.Equal(got, []string{"first credential_unavailable", "second skipped", "second 200"}) {
		t.Errorf("attempts %q", got)
	}
}

func TestWhereNoTargetHasItsCredentialTheClientIsToldSo(t *testing.T) {
	s := keyed(t, refusing)
	s.want(s.do(s.request(t.Context(), "GET", "/v1/files", s.issuer.Token("pipeline"), "")), 503, "credential_unavailable")
}

func TestARetryAfterIsReadAsSecondsOrADate(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "30": 30 * time.Second, "-1": 0, "soon": 0, "1.5": 0, "1e9": 0,
		"9223372036854775807":           time.Hour, // no overflow
		"99999999999999999999999":       0,
		"Wed, 21 Oct 2015 07:28:00 GMT": 0,
	} {
		if got := function.RetryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	soon := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	if got := function.RetryAfter(http.Header{"Retry-After": {soon}}); got < 50*time.Second || got > time.Minute {
		t.Errorf("a minute is %s", got)
	}
}
