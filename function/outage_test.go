package function_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

func TestAHundredFirstRequestsShareEachFetch(t *testing.T) {
	s := open(t, setting{})
	release := s.tokens.Hold() // so that all of them come before the first exchange has ended
	var group sync.WaitGroup
	var ok atomic.Int64
	for range 100 {
		req := s.request(t.Context(), "POST", chatPath, s.issuer.Token("pipeline"), hello)
		group.Go(func() {
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode == 200 {
				ok.Add(1)
			}
		})
	}
	s.eventually("an exchange", func() bool { return s.tokens.Exchanges() > 0 })
	release()
	group.Wait()
	if ok.Load() != 100 {
		t.Errorf("%d were answered 200", ok.Load())
	}
	if d, k, r, e := s.issuer.Discoveries(), s.issuer.KeyFetches(), s.secrets.Reads(secretName), s.tokens.Exchanges(); d != 1 || k != 1 || r != 1 || e != 1 {
		t.Errorf("%d discoveries, %d key fetches, %d secret reads, %d exchanges; want one of each", d, k, r, e)
	}
}

// eventually waits for what another goroutine is about to do.
func (s *scene) eventually(what string, is func() bool) {
	s.Helper()
	for range 5000 {
		if is() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	s.Fatalf("%s did not come", what)
}

// What can't be reached is never the client's fault: no 401, and a Retry-After that tells the truth.
func TestAnOutageIs503AndEndsWithRetryAfter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, code, cause string
		down              func(s *scene, is bool)
	}{
		{"token endpoint", "credential_unavailable", "503", func(s *scene, is bool) { s.tokens.Down(is) }},
		{"Secret Manager", "credential_unavailable", "vertex-key", func(s *scene, is bool) { s.secrets.Down(is) }},
		{"Secret Manager says no", "credential_unavailable", "vertex-key", func(s *scene, is bool) { s.secrets.Deny(secretName, is) }},
		{"issuer", "issuer_unavailable", "500", func(s *scene, is bool) {
			s.issuer.SetOutage(map[bool]issuertest.Outage{true: issuertest.Failing, false: issuertest.Up}[is])
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, setting{})
			row.down(s, true)
			a := s.chat("pipeline", hello)
			s.want(a, 503, row.code)
			after, err := strconv.Atoi(a.Header.Get("Retry-After"))
			if err != nil || after < 1 || after > 10 {
				t.Fatalf("Retry-After %q", a.Header.Get("Retry-After"))
			}
			if a.Header.Get("X-Should-Retry") != "" || a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("headers %v", a.Header)
			}
			if cause, _ := s.record(a)["cause"].(string); cause == "" || !strings.Contains(cause, row.cause) {
				t.Errorf("the record's cause is %q", cause)
			} else if strings.Contains(a.body, cause) {
				t.Error("the client is told the cause")
			}
			row.down(s, false)
			time.Sleep(time.Duration(after) * time.Second) // what the header promises
			s.want(s.chat("pipeline", hello), 200, "")
			s.want(s.do(s.request(t.Context(), "GET", "/health?ready", "", "")), 200, "")
		})
	}
}

func TestAnUpstreamsOutageIs502WithoutItsAddress(t *testing.T) {
	s := open(t, setting{first: "http://127.0.0.1:1/v1"})
	a := s.chat("pipeline", hello)
	s.want(a, 502, "upstream_error")
	if strings.Contains(a.body, "127.0.0.1") || !strings.Contains(s.record(a)["cause"].(string), "127.0.0.1:1") {
		t.Errorf("the client got %s; the operator %v", a.body, s.record(a)["cause"])
	}
}

func TestARejectedAccessTokenIsRenewedOnce(t *testing.T) {
	s := open(t, setting{})
	s.want(s.chat("pipeline", hello), 200, "")
	first := s.first.Received()[0].Header.Get("Authorization")
	s.tokens.Revoke(strings.TrimPrefix(first, "Bearer "))

	a := s.chat("pipeline", hello)
	s.want(a, 200, "")
	if r := s.record(a); len(r["attempts"].([]any)) != 2 || r["cache"].(map[string]any)["upstream_token"] != "exchanged" {
		t.Errorf("record %v", flat(r))
	}
	got := s.first.Received()
	if len(got) != 3 || !got[1].Refused || got[2].Refused || got[1].Body != got[2].Body || got[2].Header.Get("Authorization") == first {
		t.Errorf("the upstream got %d requests, the second refused %t, the third %t", len(got), got[1].Refused, got[2].Refused)
	}
	if n := s.tokens.Exchanges(); n != 2 {
		t.Errorf("%d exchanges", n)
	}
}

// A POST that may have had an effect is sent again too: the upstream refused it before it did anything.
func TestAJobIsSentAgainAfterA401(t *testing.T) {
	s := open(t, setting{})
	s.want(s.chat("tuner", hello), 200, "")
	s.tokens.Revoke(strings.TrimPrefix(s.first.Received()[0].Header.Get("Authorization"), "Bearer "))
	a := s.do(s.request(t.Context(), "POST", "/v1/fine_tuning/jobs", s.issuer.Token("tuner"), `{"model":"gpt-4-turbo","training_file":"file-1"}`))
	s.want(a, 200, "")
	if r := s.record(a); len(r["attempts"].([]any)) != 2 {
		t.Errorf("record %v", flat(r))
	}
}

func TestAnUpstreamThatRefusesEveryTokenCausesNoStormOfExchanges(t *testing.T) {
	s := open(t, setting{})
	s.want(s.chat("pipeline", hello), 200, "") // warm
	s.revoked.Store(true)
	for i := range 5 {
		a := s.chat("pipeline", hello)
		s.want(a, 502, "upstream_error")
		if a.Header.Get("WWW-Authenticate") != "" {
			t.Error("our own credential's trouble is told to the client as a challenge")
		}
		want := 1
		if i == 0 {
			want = 2
		}
		if attempts := s.record(a)["attempts"].([]any); len(attempts) != want {
			t.Errorf("request %d: attempts %v", i, attempts)
		}
	}
	if n := s.tokens.Exchanges(); n != 2 {
		t.Errorf("%d exchanges for 6 requests, want 2", n)
	}
}

func TestProbesOfHealthCauseOneAttemptIn10Seconds(t *testing.T) {
	s := open(t, setting{})
	s.issuer.SetOutage(issuertest.Failing)
	ready := func() *answer { return s.do(s.request(t.Context(), "GET", "/health?ready", "", "")) }
	s.want(s.do(s.request(t.Context(), "GET", "/health", "", "")), 200, "")
	if s.issuer.Discoveries()+s.tokens.Exchanges() != 0 {
		t.Error("asking whether the process is up reached for the network")
	}
	for range 20 {
		a := ready()
		s.want(a, 503, "")
		if a.body != `{"status":"ok","ready":false}`+"\n" {
			t.Errorf("%s tells more than it should", a.body)
		}
	}
	if d, e := s.issuer.Discoveries(), s.tokens.Exchanges(); d != 1 || e != 1 {
		t.Errorf("%d discoveries and %d exchanges for 20 probes", d, e)
	}
}
