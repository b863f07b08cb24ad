//go:build e2e

package faults

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/internal/token/tokentest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
	"llmgateway.dev/gateway/test/leaks"
	"llmgateway.dev/gateway/test/program"
)

const configuration = `
issuers:
  - {url: $ISSUER, audiences: [llm-gateway]}
policies: {files: [gateway.cedar]}
credentials:
  ours:
    service_account_key:
      from: {secret_manager: projects/acme/secrets/key/versions/latest}
      scopes: [https://www.googleapis.com/auth/cloud-platform]
upstreams:
  first: {kind: openai, base_url: "http://$UPSTREAM/v1", credential: ours}
  second: {kind: openai, base_url: "$DIRECT", credential: ours}
models:
  one: {targets: [{upstream: first, model: one}]}
  two: {targets: [{upstream: first, model: two}, {upstream: second, model: two}]}
  paid: {targets: [{upstream: first, model: paid}], price: {input: 1, output: 1}}
limits:
  - {name: "rate-$SCENE", requests_per_minute: 1000000}
  - {name: "budget-$SCENE", models: [paid], usd_per_day: 1000000}
limit_store: redis://$REDIS
server: {request_timeout: $TIMEOUT, upstream_header_timeout: $HEAD}
secret_manager: {endpoint: "http://$SECRETS", refresh: 1s}
`

// scene is an instance of the function, and a front before each of what stands around it.
type scene struct {
	*testing.T
	trouble
	process *program.Logged
	issuer  *issuertest.Issuer
	fronts  map[part]*front
	callers []*caller
	client  *http.Client
	stop    chan struct{}
	running sync.WaitGroup
}

func open(t *testing.T, tr trouble, function, redisPort string) *scene {
	s := &scene{T: t, trouble: tr, issuer: issuertest.New(), fronts: map[part]*front{}, stop: make(chan struct{})}
	secrets, tokens := secrettest.New(), tokentest.New()
	model := upstreamtest.New(tokens.Valid)
	for _, end := range []func(){s.issuer.Close, secrets.Close, tokens.Close, model.Close} {
		t.Cleanup(end)
	}
	for p, behind := range map[part]string{issuer: s.issuer.URL, secretManager: secrets.URL, tokenEndpoint: tokens.URL, redis: "redis://127.0.0.1:" + redisPort, upstream: model.URL} {
		u, err := url.Parse(behind)
		if err != nil {
			t.Fatal(err)
		}
		s.fronts[p] = newFront(t, u.Host, paces[p])
		switch p {
		case issuer:
			s.issuer.URL = "http://" + s.fronts[p].address() + u.Path
		case tokenEndpoint:
			tokens.URL = "http://" + s.fronts[p].address()
		}
	}
	s.issuer.AddClient(issuertest.Client{ID: "pipeline", Audience: []string{"llm-gateway"}, Lifetime: time.Hour})
	secrets.Add("projects/acme/secrets/key", tokens.ServiceAccountKey())
	if life := tr.life(); life > 0 {
		tokens.ExpiresIn(int(life.Seconds()))
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"gateway.yaml": strings.NewReplacer("$ISSUER", s.issuer.URL, "$UPSTREAM", s.fronts[upstream].address(), "$DIRECT", model.URL, "$SCENE", rand.Text(),
			"$REDIS", s.fronts[redis].address(), "$TIMEOUT", tr.request().String(), "$HEAD", headTimeout.String(), "$SECRETS", s.fronts[secretManager].address()).Replace(configuration),
		"gateway.cedar": `@id("all") permit (principal, action, resource);`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s.process, err = program.Log(t, "function", []string{"K_SERVICE=gateway", "K_REVISION=gateway-00001-faults", "K_CONFIGURATION=gateway",
		"FUNCTION_TARGET=Gateway", "FUNCTION_SIGNATURE_TYPE=http", "PORT=" + port, "GATEWAY_CONFIG=" + filepath.Join(dir, "gateway.yaml")}, function)
	if err != nil {
		t.Fatal(err)
	}
	at := "http://127.0.0.1:" + port
	if err := s.process.Ready(t.Context(), at+"/health"); err != nil {
		t.Fatal(err)
	}
	old := s.issuer.Key()
	token := func() string { return old.Sign(nil, s.issuer.Claims("pipeline")) }
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	t.Cleanup(s.client.CloseIdleConnections)
	for _, k := range s.kinds() {
		for _, stream := range []bool{false, true} {
			c := &caller{kind: k, stream: stream, url: at, token: token, client: s.client, bound: s.within() + grace}
			if k == newcomer {
				c.token = func() string { return s.issuer.Token("pipeline") }
			}
			s.callers = append(s.callers, c)
		}
	}
	return s
}

// limitPause is how long after its request a settlement is tried again that Redis didn't answer.
const limitPause = time.Second

// figures are what was measured.
type figures struct {
	longest, recovery time.Duration
	calls             int
}

// moments are when a trouble is about to begin and has begun, and when its first part is about to end and all has ended.
type moments struct{ before, begun, first, ended time.Time }

// play lets the trouble begin, last and end while calls are made, and judges them.
func (s *scene) play() figures {
	var at moments
	begin := func() {
		at.before = time.Now()
		for i, of := range s.situations {
			s.fronts[of.of].begin(s.faults[i])
		}
		s.issuer.Rotate() // which only newcomers know
		at.begun = time.Now()
	}
	if s.cold() {
		begin()
	}
	for _, c := range s.callers {
		s.running.Go(func() { c.run(s.T, s.stop) })
	}
	if !s.cold() {
		time.Sleep(s.wait()) // not for anything to happen: so that something has become old
		s.until("all is well", 3*grace, func(c *caller) bool {
			return slices.ContainsFunc(c.since(time.Time{}), func(made call) bool { return made.answer == ok && made.wrong == "" })
		})
		begin()
	}
	s.until("the fault is felt", s.within()+s.life()+2*grace, func(c *caller) bool {
		made := c.since(at.begun)
		return time.Since(at.begun) > time.Second+s.life() && len(made) > 0 && (len(s.situations) > 1 || ends(made, s.want(c.kind)[0]))
	})
	at.first = time.Now()
	s.fronts[s.situations[0].of].begin(none)
	if len(s.situations) > 1 { // what the first has hidden so far is felt too
		next, f := s.situations[1], s.faults[1]
		s.until("the second fault is felt", s.situations[0].recovers+next.within(f)+s.request()+grace, func(c *caller) bool {
			return s.fronts[next.of].met() > 0 && ends(c.since(at.first), next.want(f, c.kind)[0])
		})
		s.fronts[next.of].begin(none)
	}
	at.ended = time.Now()
	s.until("recovery", s.recovers()+s.within()+grace, func(c *caller) bool { return recovered(c, at.ended) != nil })
	time.Sleep(500 * time.Millisecond) // of calls as ever
	close(s.stop)
	s.running.Wait()
	s.client.CloseIdleConnections()

	f := figures{}
	for _, c := range s.callers {
		if made := recovered(c, at.ended); made != nil {
			f.recovery = max(f.recovery, made.ended.Sub(at.ended))
		}
	}
	if f.recovery > s.recovers()+grace {
		s.Errorf("recovered after %s, for which there are %s", f.recovery, s.recovers())
	}
	s.letGo()
	select {
	case <-s.process.Ended:
		s.Fatal("the function has ended")
	default:
	}
	records, shown := s.ends(), 0
	for _, c := range s.callers {
		for _, made := range c.since(time.Time{}) {
			f.calls++
			if made.began.After(at.begun) && made.ended.Before(at.first) {
				f.longest = max(f.longest, made.ended.Sub(made.began))
			}
			if wrong := s.judge(made, records[made.id], at); wrong != "" && shown < 5 {
				shown++ // some say it all
				s.Errorf("%s after the fault's begin, %s after its end: %s: %s", made.began.Sub(at.begun).Round(time.Millisecond), made.ended.Sub(at.ended).Round(time.Millisecond), made, wrong)
			}
			delete(records, made.id)
		}
	}
	for id := range records {
		s.Errorf("request %s has a record, and was never made", id)
	}
	return f
}

// ends reports whether one of the calls ended so, as far as its client can tell.
func ends(made []call, so answer) bool {
	return slices.ContainsFunc(made, func(made call) bool {
		return made.answer.status == so.status && made.answer.broken == so.broken
	})
}

// recovered is the first call that ended well of those that began after the end.
func recovered(c *caller, ended time.Time) *call {
	made := c.since(ended)
	if at := slices.IndexFunc(made, func(made call) bool { return made.answer == ok && made.wrong == "" }); at >= 0 {
		return &made[at]
	}
	return nil
}

// until waits for it to be true of all callers.
func (s *scene) until(what string, bound time.Duration, is func(*caller) bool) {
	s.Helper()
	for deadline := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		at := slices.IndexFunc(s.callers, func(c *caller) bool { return !is(c) })
		if at < 0 {
			return
		}
		if time.Now().After(deadline) {
			s.Errorf("%s: after %s it is not so for %s, whose last calls are %v", what, bound, s.callers[at], s.callers[at].last())
			return
		}
	}
}

func (c *caller) last() (answers []string) {
	all := c.since(time.Time{})
	for _, made := range all[max(0, len(all)-5):] {
		answers = append(answers, made.String())
	}
	return answers
}

func (made call) String() string {
	text := fmt.Sprintf("%s (%s) in %s", made.answer, made.by, made.ended.Sub(made.began).Round(time.Millisecond))
	if made.wrong != "" {
		text += ": " + made.wrong
	}
	return text
}

// letGo makes sure that the fault was met where it should have been, and that the gateway holds on to no connection over
// which nothing comes any more.
func (s *scene) letGo() {
	for i, of := range s.situations {
		front := s.fronts[of.of]
		if !of.unmet && front.met() == 0 {
			s.Errorf("the %s's fault (%s) was never met", of.of, s.faults[i])
		}
		for deadline := time.Now().Add(s.request() + grace); front.hangs() > 0; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.Errorf("%d connections to the %s are still open, over which nothing comes any more", front.hangs(), of.of)
				break
			}
		}
	}
}

// record is what the audit record of a request says.
type record struct {
	ID         string               `json:"request_id"`
	Request    struct{ Status int } `json:"httpRequest"`
	ErrorCode  string               `json:"error_code"`
	StoreError string               `json:"limit_store_error"`
}

// ends ends the function, so that it tells what it is still doing, and returns its records by their requests.
func (s *scene) ends() map[string]*record {
	time.Sleep(limitPause + 500*time.Millisecond)
	syscall.Kill(s.process.Pid(), syscall.SIGQUIT)
	<-s.process.Ended
	all := map[string]*record{}
	for _, file := range []string{s.process.Stdout, s.process.Stderr} {
		text, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		for _, where := range leaks.In(filepath.Base(file), text, canaries...) {
			s.Errorf("a credential is in %s", where)
		}
		lines, dump, quit := bytes.Cut(text, []byte("SIGQUIT"))
		if quit {
			s.idle(dump)
		} else if file == s.process.Stderr {
			s.Errorf("the function ended without a word: %s", s.process.State())
		}
		for line := range bytes.Lines(lines) {
			var r record
			if err := json.Unmarshal(line, &r); err != nil {
				s.Errorf("a line that isn't JSON: %s", line)
			}
			if r.ID == "" {
				continue
			}
			if all[r.ID] != nil {
				s.Errorf("request %s has two records", r.ID)
			}
			all[r.ID] = &r
		}
	}
	return all
}

// idle makes sure that of the goroutines none is the gateway's but those of an instance that has nothing to do: main,
// and the one that waits for SIGTERM.
func (s *scene) idle(dump []byte) {
	for _, g := range bytes.Split(dump, []byte("\n\n")) {
		if bytes.Contains(g, []byte("llmgateway.dev/gateway/")) && !bytes.Contains(g, []byte("main.main()")) && !bytes.Contains(g, []byte("created by llmgateway.dev/gateway/function.init")) {
			s.Errorf("the function still does something when all is over:\n%s", g)
		}
	}
}

// judge holds a call against what may be before, during and after the trouble, and says what is wrong with it.
func (s *scene) judge(made call, r *record, at moments) string {
	is := made.answer
	switch {
	case made.wrong != "":
		return "which is no answer"
	case r == nil:
		return "there is no record"
	case r.Request.Status != is.status, is.code != "" && is.code != r.ErrorCode, is.status == http.StatusOK && is.broken != (r.ErrorCode != ""):
		return fmt.Sprintf("the record says %d %q", r.Request.Status, r.ErrorCode)
	}
	is.code = r.ErrorCode
	may := slices.Clone(s.want(made.by.kind))
	well := recovered(made.by, at.ended)
	switch {
	case made.ended.Before(at.before), well != nil && made.began.After(well.ended):
		may = onlyOK
	case made.began.Before(at.begun): // it was in the middle of something
		may = append(may, ok)
		if slices.ContainsFunc(s.situations, func(of situation) bool { return of.of == upstream }) {
			may = append(may, brokenOff, brokenByTheBound)
		}
	case made.ended.After(at.first):
		may = append(may, ok)
	case len(s.situations) == 1 && s.situations[0].of == redis && s.faults[0] != late && r.StoreError == "":
		return "the record has no limit_store_error"
	}
	if !slices.Contains(may, is) && (made.by.kind != paid || is != lateByTheMachine) {
		return fmt.Sprintf("may be none but %v", may)
	}
	return ""
}
