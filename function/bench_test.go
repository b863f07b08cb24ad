package function_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"llmgateway.dev/gateway/function"
)

// boundless is limits of every kind that refuse nothing.
const boundless = `[{name: all, groups: [team], requests_per_minute: 1000000, tokens_per_minute: 100000000, concurrent_requests: 100000, usd_per_day: 1000000, accept_reset: true}]`

// The differences are what the gateway costs, and limits in it; all run the double, whose own share is most of each.
//
//	go test -run '^$' -bench Warm ./function
func BenchmarkWarmChat(b *testing.B) {
	for _, body := range []struct{ name, text string }{{"plain", hello}, {"stream", streamed}} {
		s, limited := open(b, setting{}), open(b, setting{config: limited(boundless, "memory")})
		s.want(s.chat("pipeline", hello), 200, "")
		limited.want(limited.chat("pipeline", hello), 200, "")
		direct := strings.TrimPrefix(s.first.Received()[0].Header.Get("Authorization"), "Bearer ")
		for _, way := range []struct{ name, url, token, text string }{
			{"gateway", s.URL + chatPath, s.issuer.Token("pipeline"), body.text},
			{"with limits", limited.URL + chatPath, limited.issuer.Token("pipeline"), body.text},
			{"upstream alone", s.first.URL + strings.TrimPrefix(chatPath, "/v1"), direct, body.text},
		} {
			b.Run(body.name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := post200(way.url, way.token, way.text); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

func post200(url, token, body string) error {
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("%s, %v", resp.Status, err)
	}
	return nil
}

// null is a writer that costs nothing, so that the walk itself is measured.
type null struct{ h http.Header }

func (n *null) Header() http.Header         { return n.h }
func (n *null) WriteHeader(int)             {}
func (n *null) Write(b []byte) (int, error) { return len(b), nil }

// canned is an upstream that costs nothing, nor does the way to it.
type canned struct{}

func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	const answer = `{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-4-turbo-2024-04-09","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":300,"completion_tokens":7,"total_tokens":307,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":0}}}`
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(answer)),
		Header: http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"req_1"}, "Date": {"Thu, 26 Nov 2026 10:00:00 GMT"}},
		Body:   io.NopCloser(strings.NewReader(answer)),
	}, nil
}

// BenchmarkWalk is what the gateway itself costs, all features on, without the network on either side.
func BenchmarkWalk(b *testing.B) {
	walk := warmWalk(b)
	b.ReportAllocs()
	for b.Loop() {
		walk()
	}
}

// warmWalk makes a call that finds everything warm.
func warmWalk(t testing.TB) func() {
	s := open(t, setting{config: limited(boundless, "memory")})
	s.want(s.chat("pipeline", hello), 200, "")
	function.Over(s.handler, canned{})
	s.records.discard = true
	token := "Bearer " + s.issuer.Token("pipeline")
	body := `{"model":"gpt-4-turbo","max_tokens":100,"messages":[{"role":"user","content":"` + strings.Repeat("What is the capital of France? ", 38) + `"}]}`
	return func() {
		req, _ := http.NewRequest("POST", chatPath, strings.NewReader(body))
		req.Header = http.Header{"Authorization": {token}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}}
		s.handler.ServeHTTP(&null{http.Header{}}, req)
	}
}

// docs/hot-path.md lists some 146, and 10 more with the race detector. A few are no fault, a third more is something that grew.
func TestAWarmWalkAllocatesLittle(t *testing.T) {
	walk := warmWalk(t)
	if n := testing.AllocsPerRun(200, walk); n > 200 {
		t.Errorf("a call allocates %v times; docs/hot-path.md says where, and how to see it", n)
	} else {
		t.Logf("%v allocations", n)
	}
}

// BenchmarkWarmList is the walk without an upstream: token, operation, the decisions, the record.
func BenchmarkWarmList(b *testing.B) {
	s := open(b, setting{})
	token := s.issuer.Token("pipeline")
	s.want(s.do(s.request(b.Context(), "GET", "/v1/models", token, "")), 200, "")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest("GET", "/v1/models", http.NoBody)
			req.Header.Set("Authorization", "Bearer "+token)
			s.handler.ServeHTTP(&null{http.Header{}}, req)
		}
	})
}
