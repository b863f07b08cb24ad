package function_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// event is one chunk of a stream.
func event(text string) string {
	return `data: {"id":"1","model":"m-1","choices":[{"index":0,"delta":{"content":"` + text + `"}}]}` + "\n\n"
}

const usageChunk = `data: {"id":"1","model":"m-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":11}}` + "\n\n"

func flush(w http.ResponseWriter, text string) {
	io.WriteString(w, text)
	http.NewResponseController(w).Flush()
}

func TestAStreamsBytesArePassedOnAsTheyAreButForTheUsageAskedFor(t *testing.T) {
	const odd = ": a comment\r\n\r\nevent: ping\ndata: {\"type\": \"ping\"}\n\n" // an upstream's own ways
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush(w, odd+event("one")+event("two"))
		flush(w, usageChunk+"data: [DONE]\n\n")
	})})
	a := s.chat("pipeline", streamed)
	s.want(a, 200, "")
	if want := odd + event("one") + event("two") + "data: [DONE]\n\n"; a.err != nil || a.body != want {
		t.Errorf("%v, got\n%s\nwant\n%s", a.err, a.body, want)
	}
	r := s.record(a)
	if r["gen_ai.usage.input_tokens"] != 7.0 || r["gen_ai.usage.output_tokens"] != 11.0 || r["cost_usd"] != (7*10+11*30)/1e6 || r["error_code"] != nil {
		t.Errorf("record %v", flat(r))
	}
}

func TestAnEventIsWithTheClientBeforeTheNextIsWritten(t *testing.T) {
	read := make(chan struct{})
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			flush(w, event(fmt.Sprint(i)))
			select {
			case <-read:
			case <-r.Context().Done():
				return
			}
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})})
	resp, err := client.Do(s.request(t.Context(), "POST", chatPath, s.issuer.Token("pipeline"), streamed))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for i := range 3 { // a gateway that held an event back would hold this loop for ever
		line, err := lines.ReadString('\n')
		if empty, _ := lines.ReadString('\n'); err != nil || line+empty != event(fmt.Sprint(i)) {
			t.Fatalf("%v %q", err, line)
		}
		read <- struct{}{}
	}
}

func TestAClientThatLeavesEndsTheUpstreamsWork(t *testing.T) {
	// Some providers count with every chunk, so that what a client got is known although it left.
	begun := event("one") + "data: {\"model\":\"m\",\"choices\":[{}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n"
	for _, row := range []struct {
		name    string
		begin   bool // the upstream has begun its answer
		status  float64
		message string
	}{
		{"before the answer", false, 499, "499 client_closed_request"},
		{"within a stream", true, 200, "200 client_closed_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			arrived, ended := make(chan struct{}), make(chan struct{})
			s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if row.begin {
					w.Header().Set("Content-Type", "text/event-stream")
					flush(w, begun)
				} else {
					close(arrived)
				}
				<-r.Context().Done()
				close(ended)
			})})
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			req := s.request(ctx, "POST", chatPath, s.issuer.Token("pipeline"), streamed)
			go func() {
				if resp, err := client.Do(req); err == nil {
					io.ReadFull(resp.Body, make([]byte, len(begun)))
					close(arrived)
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-arrived
			leave()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatal("the upstream still works for a client that is gone")
			}
			var r map[string]any
			s.eventually("a record", func() bool {
				r = s.records.find("error_code", "client_closed_request")
				return r != nil
			})
			if r["httpRequest"].(map[string]any)["status"] != row.status || !strings.HasPrefix(r["message"].(string), row.message) {
				t.Errorf("record %v", flat(r))
			}
			if row.begin && (r["usage_partial"] != true || r["gen_ai.usage.input_tokens"] != 3.0 || r["gen_ai.usage.output_tokens"] != 1.0) {
				t.Errorf("usage so far: %v", flat(r))
			}
		})
	}
}

// dies begins an answer and breaks the connection.
func dies(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		flush(w, text)
		panic(http.ErrAbortHandler)
	}
}

func TestAnUpstreamThatDiesLooksBrokenToTheClient(t *testing.T) {
	for _, row := range []struct {
		name, contentType string
		// text comes from the upstream, and passed of it to the client.
		text, passed string
		event        bool
	}{
		{"between events", "text/event-stream", event("one"), event("one"), true},
		{"within an event, which no SDK could parse", "text/event-stream", event("one") + `data: {"id":"1","cho`, event("one"), true},
		{"before the first event", "text/event-stream", "", "", true},
		{"within JSON", "application/json", `{"id":"1","choices":[`, `{"id":"1","choices":[`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, setting{first: upstream(t, dies(row.contentType, row.text))})
			a := s.chat("pipeline", streamed)
			if !errors.Is(a.err, io.ErrUnexpectedEOF) {
				t.Errorf("the body ended with %v, as if it were whole", a.err)
			}
			rest, begins := strings.CutPrefix(a.body, row.passed)
			if !begins {
				t.Errorf("what came was changed: %q", a.body)
			}
			if row.event && !(strings.HasPrefix(rest, "\n\ndata: {\"error\":{") && strings.Contains(rest, `"code":"upstream_error"`) && strings.HasSuffix(strings.TrimSpace(rest), "}}")) {
				t.Errorf("no error event follows: %q", rest)
			}
			if !row.event && rest != "" {
				t.Errorf("something was put behind the answer: %q", rest)
			}
			if r := s.record(a); r["error_code"] != "upstream_error" || r["severity"] != "ERROR" || r["httpRequest"].(map[string]any)["status"] != 200.0 {
				t.Errorf("record %v", flat(r))
			}
		})
	}
}

func TestARequestThatTakesTooLongIs504(t *testing.T) {
	t.Parallel()
	hangs := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	s := open(t, setting{first: hangs, config: ordinary + "server: {request_timeout: 1s}\n"})
	a := s.chat("pipeline", hello)
	s.want(a, 504, "upstream_timeout")
	s = open(t, setting{first: hangs, config: ordinary + "server: {upstream_header_timeout: 1s}\n"})
	s.want(s.chat("pipeline", hello), 504, "upstream_timeout")
}

func TestARedirectIsNotFollowed(t *testing.T) {
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1"+strings.TrimPrefix(chatPath, "/v1") {
			t.Errorf("%s was asked for", r.URL.Path)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})})
	a := s.chat("pipeline", hello)
	s.want(a, 502, "upstream_error")
	if a.Header.Get("Location") != "" {
		t.Error("the client is told where to")
	}
}

func TestAnUpstreamsHeadersThatActInTheGatewaysNameAreDropped(t *testing.T) {
	s := open(t, setting{first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Set-Cookie": "a=b", "Www-Authenticate": "Bearer", "Openai-Organization": "acme", "X-Gateway-Error": "true",
			"Strict-Transport-Security": "max-age=1", "Access-Control-Allow-Origin": "*", "Connection": "X-Hop", "X-Hop": "1",
			"X-Ratelimit-Remaining-Requests": "9", "Retry-After": "3", "X-Request-Id": "req_1"} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(429)
		io.WriteString(w, "slow down")
	})})
	a := s.chat("pipeline", hello)
	s.want(a, 429, "")
	for _, name := range []string{"Set-Cookie", "Www-Authenticate", "Openai-Organization", "X-Gateway-Error", "Strict-Transport-Security", "Access-Control-Allow-Origin", "X-Hop"} {
		if v := a.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	if a.body != "slow down" || a.Header.Get("Retry-After") != "3" || a.Header.Get("X-Ratelimit-Remaining-Requests") != "9" ||
		a.Header.Get("X-Upstream-Request-Id") != "req_1" || len(a.Header.Get("X-Request-Id")) != 26 {
		t.Errorf("%v %q", a.Header, a.body)
	}
	s.record(a)
}
