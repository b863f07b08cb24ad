package relay_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/relay"
	"llmgateway.dev/gateway/test/bomb"
)

// gateway is a client's side of a relay: a server that sends each request to upstream.
type gateway struct {
	*httptest.Server
	outcomes chan *relay.Outcome
	errs     chan error
}

func newGateway(t *testing.T, upstream string, call relay.Call) *gateway {
	t.Helper()
	return newGatewayThatWaits(t, time.Minute, upstream, call)
}

func newGatewayThatWaits(t *testing.T, wait time.Duration, upstream string, call relay.Call) *gateway {
	t.Helper()
	call.ReadsUsage = true
	rl := relay.New(config.Server{UpstreamHeaderTimeout: wait})
	g := &gateway{outcomes: make(chan *relay.Outcome, 10), errs: make(chan error, 10)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := call
		call.Method, call.URL = r.Method, upstream+r.URL.Path
		if call.Present == nil {
			call.Present = func(h http.Header) { h.Set("Authorization", "Bearer ours") }
		}
		answer, err := rl.Send(r.Context(), r, &call)
		if err != nil {
			g.errs <- err
			apierror.Write(w, apierror.OpenAI, apierror.From(err))
			return
		}
		g.outcomes <- answer.Copy(r.Context(), w)
	}))
	t.Cleanup(g.Close)
	return g
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// raw answers every connection with text as it stands, and closes it.
func raw(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, text)
				c.Close()
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (*http.Response, string, error) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

const (
	chunk1 = "data: {\"id\":\"1\",\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n"
	chunk2 = "event: odd\nid: 7\nretry: 1\n: comment\ndata: {\"choices\":\ndata: [{}]}\n\n"
	usage  = "data: {\"id\":\"1\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n"
	end    = "data: [DONE]\n\n"

	messageEvents = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m-1\",\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\n" +
		"event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n"
	googleEvents = "data: {\"modelVersion\":\"m-1\",\"usageMetadata\":{\"promptTokenCount\":3,\"totalTokenCount\":3}}\r\n\r\n" +
		"data: {\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":1}}\r\n\r\n"
	responseEvents = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"model\":\"m-1\",\"usage\":null}}\n\n" +
		"event: response.completed\ndata: {\"response\":{\"model\":\"m-1\",\"usage\":{\"input_tokens\":3,\"output_tokens\":5}}}\n\n"
)

func sse(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, text)
	}
}

func TestAStreamPassesByteForByteButForTheUsageThatWeAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name, sent, want string
		hides            bool
	}{
		{"our usage chunk is taken out", chunk1 + chunk2 + usage + end, chunk1 + chunk2 + end, true},
		{"the client's is not", chunk1 + usage + end, chunk1 + usage + end, false},
		{"CRLF", strings.ReplaceAll(chunk1+usage+end, "\n", "\r\n"), strings.ReplaceAll(chunk1+end, "\n", "\r\n"), true},
		{"invalid JSON passes", "data: {nonsense\n\n" + end, "data: {nonsense\n\n" + end, true},
		{"a usage beside choices stays", strings.Replace(usage, "[]", "[{}]", 1) + end, strings.Replace(usage, "[]", "[{}]", 1) + end, true},
		{"a streamed response tells its usage unasked", responseEvents, responseEvents, false},
		{"a streamed message tells its usage bit by bit", messageEvents, messageEvents, false},
		{"a stream of Google's tells it with each event", googleEvents, googleEvents, false},
		{"an event of 3 MiB passes unread", "data: " + strings.Repeat("x", 3<<20) + "\n\n" + usage + end, "data: " + strings.Repeat("x", 3<<20) + "\n\n" + end, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, serve(t, sse(tt.sent)), relay.Call{HidesUsage: tt.hides})
			_, body, err := get(t, g.URL)
			if err != nil || body != tt.want {
				t.Errorf("%v, %d bytes: %.300q", err, len(body), body)
			}
			o := <-g.outcomes
			if o.Err != nil || o.Bytes != int64(len(tt.want)) || o.FirstByte.IsZero() {
				t.Errorf("%+v", o)
			}
			if (strings.Contains(tt.sent, "_tokens") || strings.Contains(tt.sent, "TokenCount")) && (o.Usage == nil || o.Usage.Input != 3 || o.Usage.Output != 5) {
				t.Errorf("usage %v", o.Usage)
			}
		})
	}
}

func TestEachEventIsFlushedAtOnce(t *testing.T) {
	next := make(chan bool)
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for range next {
			io.WriteString(w, chunk1)
			w.(http.Flusher).Flush()
		}
	}), relay.Call{})
	resp, err := http.Get(g.URL) // the head comes before the first event
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, len(chunk1))
	for range 3 {
		next <- true
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != chunk1 {
			t.Fatalf("%q %v", buf, err)
		}
	}
	close(next)
}

func TestAnEventBeforeAHiddenOneIsNotHeldBack(t *testing.T) {
	finish := make(chan bool)
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		sse(chunk1+usage)(w, r)
		w.(http.Flusher).Flush()
		<-finish
		io.WriteString(w, end)
	}), relay.Call{HidesUsage: true})
	resp, err := http.Get(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, len(chunk1))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != chunk1 {
		t.Fatalf("%q %v", got, err)
	}
	close(finish)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != end {
		t.Errorf("%q %v", rest, err)
	}
}

func TestUsageIsReadFromAnAnswerThatPassesUnchanged(t *testing.T) {
	large := `{"object":"list", "data":["` + strings.Repeat("x", 20<<20) + `"],"model":"m-2","usage":{"prompt_tokens":9,"total_tokens":9}}` + " \n"
	for name, body := range map[string]string{"20 MiB": large, "small": `{"usage":{"prompt_tokens":9},"model":"m-2"}`} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		}), relay.Call{})
		if _, got, err := get(t, g.URL); err != nil || got != body {
			t.Errorf("%s: %v, %d bytes", name, err, len(got))
		}
		if o := <-g.outcomes; o.Usage == nil || *o.Usage != (relay.Usage{Input: 9}) || o.Model != "m-2" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestAnAnswerThatIsNotWhatItSaysPassesUnchanged(t *testing.T) {
	for name, body := range map[string]string{"empty": "", "no object": "[1,2]", "cut short": `{"model":"m","usage":{"prompt`, "text": "Internal Server Error", "usage of another type": `{"usage":"much","model":7}`} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		}), relay.Call{})
		if _, got, err := get(t, g.URL); err != nil || got != body {
			t.Errorf("%s: %v %q", name, err, got)
		}
		if o := <-g.outcomes; o.Usage != nil || o.Err != nil {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestAnUpstreamThatDiesLooksBrokenToTheClient(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n"
	chunked := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	for _, tt := range []struct {
		name, answer string
		// event says that the client is told in the stream.
		event bool
	}{
		{"chunked, mid-event", fmt.Sprintf(head, "text/event-stream", "Transfer-Encoding: chunked\r\n") + chunked(chunk1) + chunked("data: {\"cho"), true},
		{"chunked, between events", fmt.Sprintf(head, "text/event-stream", "Transfer-Encoding: chunked\r\n") + chunked(chunk1), true},
		{"chunked cleanly, mid-event", fmt.Sprintf(head, "text/event-stream", "Transfer-Encoding: chunked\r\n") + chunked(chunk1) + chunked("data: {\"cho") + "0\r\n\r\n", true},
		{"ended by closing, without [DONE]", fmt.Sprintf(head, "text/event-stream", "Connection: close\r\n") + chunk1, true},
		{"before the first event", fmt.Sprintf(head, "text/event-stream", "Transfer-Encoding: chunked\r\n"), true},
		{"JSON, shorter than its length", fmt.Sprintf(head, "application/json", "Content-Length: 100\r\n") + `{"model":"m"`, false},
		{"JSON, one byte short", fmt.Sprintf(head, "application/json", "Content-Length: 3\r\n") + `{}`, false},
		{"chunked JSON", fmt.Sprintf(head, "application/json", "Transfer-Encoding: chunked\r\n") + chunked(`{"model":"m"}`), false},
		{"JSON ended by closing, cut", fmt.Sprintf(head, "application/json", "Connection: close\r\n") + `{"model":"m","choices":[{"me`, false},
		{"audio", fmt.Sprintf(head, "audio/mpeg", "Transfer-Encoding: chunked\r\n") + chunked("abc"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, raw(t, tt.answer), relay.Call{})
			_, body, err := get(t, g.URL)
			if err == nil {
				t.Errorf("the answer ended cleanly: %q", body)
			}
			if told := strings.Contains(body, `"code":"upstream_error"`); told != tt.event {
				t.Errorf("error event %v, want %v: %q", told, tt.event, body)
			}
			if tt.event && !strings.Contains(body, "\n\ndata: {\"error\"") {
				t.Errorf("the error is no event of its own: %q", body)
			}
			if o := <-g.outcomes; apierror.From(o.Err).Kind != apierror.UpstreamError {
				t.Errorf("%+v", o)
			}
		})
	}
}

// Only OpenAI's chat ends in [DONE]; each of the others has a last event of its own.
func TestEveryDialectsStreamMayEndByClosing(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
	for _, last := range []string{
		end,
		"event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n",
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n",
		"data: {\"candidates\":[{\"content\":{},\"finishReason\":\"STOP\"}]}\r\n\r\n",
	} {
		g := newGateway(t, raw(t, head+chunk1+last), relay.Call{})
		if _, body, err := get(t, g.URL); err != nil || body != chunk1+last {
			t.Errorf("%q %v", body, err)
		}
	}
	for _, cut := range []string{
		"data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"{\\\"type\\\":\\\"message_stop\\\"}\"}}\n\n",
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"finishReason\"}]}}]}\n\n",
	} {
		g := newGateway(t, raw(t, head+cut), relay.Call{})
		if _, body, err := get(t, g.URL); err == nil {
			t.Errorf("it ended cleanly: %q", body)
		}
	}
}

func TestAStreamMayLeaveOutItsLastEmptyLine(t *testing.T) {
	for _, last := range []string{"data: [DONE]\n", "data: [DONE]"} {
		g := newGateway(t, serve(t, sse(chunk1+last)), relay.Call{})
		if _, body, err := get(t, g.URL); err != nil || body != chunk1+last {
			t.Errorf("%q %v", body, err)
		}
	}
}

func TestAStreamThatEndsByClosingAfterDoneIsComplete(t *testing.T) {
	g := newGateway(t, raw(t, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+chunk1+end), relay.Call{})
	if _, body, err := get(t, g.URL); err != nil || body != chunk1+end {
		t.Errorf("%q %v", body, err)
	}
}

func TestAClientThatLeavesCancelsTheUpstream(t *testing.T) {
	for _, stage := range []string{"before the head", "mid-stream"} {
		t.Run(stage, func(t *testing.T) {
			arrived, cancelled := make(chan bool), make(chan time.Time, 1)
			g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				if stage == "mid-stream" {
					sse(chunk1)(w, r)
					w.(http.Flusher).Flush()
				}
				close(arrived)
				<-r.Context().Done()
				cancelled <- time.Now()
			}), relay.Call{})
			ctx, leave := context.WithCancel(context.Background())
			req, _ := http.NewRequestWithContext(ctx, "GET", g.URL, nil)
			headed := make(chan bool)
			go func() {
				if resp, err := http.DefaultClient.Do(req); err == nil {
					close(headed)
					io.Copy(io.Discard, resp.Body)
				}
			}()
			<-arrived
			if stage == "mid-stream" {
				<-headed
			}
			left := time.Now()
			leave()
			select {
			case at := <-cancelled:
				t.Logf("cancelled after %v", at.Sub(left))
			case <-time.After(time.Second):
				t.Fatal("the upstream still works a second later")
			}
			var err error
			if stage == "mid-stream" {
				err = (<-g.outcomes).Err
			} else {
				err = <-g.errs
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// openai for Python closes the connection once it has read [DONE], before the upstream's body ends.
func TestAClientThatLeavesAfterTheLastEventHasItsWholeAnswer(t *testing.T) {
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		sse(chunk1+end)(w, r)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}), relay.Call{})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "GET", g.URL, nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len(chunk1+end))); err != nil {
		t.Fatal(err)
	}
	leave()
	if o := <-g.outcomes; o.Err != nil {
		t.Errorf("%v", o.Err)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	refused, _ := net.Listen("tcp", "127.0.0.1:0")
	refused.Close()
	for _, tt := range []struct {
		name, upstream string
		want           apierror.Kind
	}{
		{"connection refused", "http://" + refused.Addr().String(), apierror.UpstreamError},
		{"dies before its head", raw(t, "HTTP/1.1 200 OK\r\nConte"), apierror.UpstreamError},
		{"no HTTP", raw(t, "SSH-2.0-OpenSSH_9.2\r\n"), apierror.UpstreamError},
		{"stalls", serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), apierror.UpstreamTimeout},
		{"redirects", serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}), apierror.UpstreamError},
		{"switches protocols", raw(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), apierror.UpstreamError},
		{"status 999", raw(t, "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), apierror.UpstreamError},
		{"wants a proxy's password", raw(t, "HTTP/1.1 407 Proxy\r\nContent-Length: 0\r\n\r\n"), apierror.UpstreamError},
		{"echoes our credential as a status", raw(t, "HTTP/1.1 Bearer ours\r\n\r\n"), apierror.UpstreamError},
		{"echoes it as a header", raw(t, "HTTP/1.1 200 OK\r\nBearer ours\r\n\r\n"), apierror.UpstreamError},
		{"echoes it as a length", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: ours\r\n\r\n"), apierror.UpstreamError},
		{"a head of 1 MiB", raw(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"), apierror.UpstreamError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wait := time.Minute
			if tt.want == apierror.UpstreamTimeout {
				wait = 100 * time.Millisecond
			}
			g := newGatewayThatWaits(t, wait, tt.upstream, relay.Call{})
			resp, body, _ := get(t, g.URL)
			if resp.StatusCode != tt.want.Status || !strings.Contains(body, tt.want.Code) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if err := <-g.errs; strings.Contains(err.Error(), "ours") {
				t.Errorf("the credential is in %q", err)
			}
		})
	}
}

// Nobody asked for it, and nobody here unpacks it: an answer passes as it came, an error that can't be read doesn't.
func TestACompressedAnswerIsNotUnpacked(t *testing.T) {
	for _, status := range []int{200, 400, 500} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) { bomb.Answer(w, status) }), presents(ours))
		bomb.Disarmed(t, func() {
			req, err := http.NewRequest("GET", g.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", "gzip") // or the client would unpack it
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			passed := resp.Header.Get("Content-Encoding") == "gzip" && bytes.Equal(body, bomb.Packed())
			if err != nil || resp.StatusCode != status || passed != (status == 200) || !passed && len(body) > 0 {
				t.Errorf("%d: %s, %d bytes, %v", status, resp.Status, len(body), err)
			}
		})
	}
}

func TestNoUpstreamIsAtTheMetadataServer(t *testing.T) {
	for _, address := range []string{"http://169.254.169.254", "http://[::ffff:169.254.169.254]", "http://[fd20:ce::254]", "http://0.0.0.0:1"} {
		g := newGateway(t, address, relay.Call{})
		if resp, body, _ := get(t, g.URL); resp.StatusCode != 502 || !strings.Contains(body, "upstream_error") {
			t.Errorf("%s: %d %s", address, resp.StatusCode, body)
		}
		if err := <-g.errs; !strings.Contains(fmt.Sprint(errors.Unwrap(err)), "is an address of the platform's own") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Of a request with every header a client might abuse, exactly the allowed ones reach the upstream.
func TestOnlyAllowedHeadersReachTheUpstream(t *testing.T) {
	var got http.Header
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header }), relay.Call{Body: [][]byte{[]byte(`{"a":`), []byte(`1}`)}, ContentType: "application/json"})
	req, _ := http.NewRequest("POST", g.URL, strings.NewReader("the client's own"))
	for _, h := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-Ip",
		"X-Serverless-Authorization", "Openai-Organization", "Openai-Project", "X-Http-Method-Override", "X-Original-Url", "X-Rewrite-Url", "X-Goog-User-Project",
		"Proxy-Authorization", "Te", "Keep-Alive", "Content-Encoding", "Range", "If-None-Match", "X-Stainless-Lang", "X-Whatever", "Idempotency-Key", "Origin", "Referer"} {
		req.Header.Set(h, "abuse")
	}
	req.Header.Set("Connection", "Accept")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "client/1")
	req.Header.Set("OpenAI-Beta", "assistants=v2")
	req.Header.Set("X-Client-Request-Id", "7")
	req.Header.Set("Traceparent", "00-1-2-01")
	req.Header.Set("Content-Type", "text/plain")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := http.Header{"Authorization": {"Bearer ours"}, "Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"client/1"}, "Openai-Beta": {"assistants=v2"},
		"X-Client-Request-Id": {"7"}, "Traceparent": {"00-1-2-01"}, "Content-Type": {"application/json"}, "Content-Length": {"7"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("upstream saw (-want +got):\n%s", diff)
	}
}

func TestOnlyHarmlessHeadersReachTheClient(t *testing.T) {
	g := newGateway(t, raw(t, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nX-Ratelimit-Remaining-Requests: 0\r\nContent-Type: text/plain\r\n"+
		"Connection: X-Hop, Keep-Alive\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Bearer\r\nOpenai-Organization: acme\r\nX-Request-Id: theirs\r\nAlt-Svc: h3\r\nAccess-Control-Allow-Origin: *\r\n"+
		"X-Gateway-Error: true\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-Late: 1\r\n\r\n"), relay.Call{})
	resp, body, err := get(t, g.URL)
	if err != nil || resp.StatusCode != 429 || body != "no" {
		t.Fatalf("%d %q %v", resp.StatusCode, body, err)
	}
	var names []string
	for name := range resp.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"Content-Type", "Date", "Retry-After", "X-Content-Type-Options", "X-Ratelimit-Remaining-Requests", "X-Upstream-Request-Id"}, names); diff != "" {
		t.Errorf("client saw (-want +got):\n%s", diff)
	}
	if len(resp.Trailer) > 0 {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

// An instance that was frozen finds its pooled connections dead.
func TestADeadPooledConnectionIsReplaced(t *testing.T) {
	var calls atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { c.Close() })()
				br := bufio.NewReader(c)
				for i := 0; ; i++ {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					if calls.Add(1); i == 1 {
						return // the second request of a connection finds it dead
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	for _, effects := range []bool{false, true} {
		calls.Store(0)
		g := newGateway(t, "http://"+l.Addr().String(), relay.Call{Body: [][]byte{[]byte("{}")}, Effects: effects})
		for i := range 2 {
			resp, err := http.Post(g.URL, "application/json", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			want := 200
			if effects && i == 1 {
				want = 502 // it may have had its effect: never sent twice
			}
			if resp.StatusCode != want {
				t.Errorf("effects %v, call %d: status %d, want %d", effects, i, resp.StatusCode, want)
			}
		}
		if want := map[bool]int32{false: 3, true: 2}[effects]; calls.Load() != want {
			t.Errorf("effects %v: the upstream got %d requests, want %d", effects, calls.Load(), want)
		}
	}
}

// The upstream's own errors, and answers that can't be read on the way, are the client's as they are.
func TestOtherAnswersPassAsTheyAre(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.WriteString(z, chunk1+usage+end)
	z.Close()
	for _, tt := range []struct {
		name   string
		status int
		header map[string]string
		body   string
	}{
		{"400 as JSON", 400, map[string]string{"Content-Type": "application/json"}, `{"error":{"message":"no"}}`},
		{"429", 429, map[string]string{"Content-Type": "application/json", "Retry-After": "7"}, `{"error":{}}`},
		{"500 as HTML", 500, map[string]string{"Content-Type": "text/html"}, "<h1>no</h1>"},
		{"503 without a body", 503, nil, ""},
		{"a compressed stream", 200, map[string]string{"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, zipped.String()},
		{"compressed JSON", 200, map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}, zipped.String()},
		{"audio", 200, map[string]string{"Content-Type": "audio/mpeg"}, "ID3\x00\xff"},
		{"no content", 204, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				for name, value := range tt.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}), relay.Call{HidesUsage: true})
			req, _ := http.NewRequest("GET", g.URL, nil)
			req.Header.Set("Accept-Encoding", "gzip") // or the test's client would unpack what comes
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || string(body) != tt.body {
				t.Errorf("%d %q %v", resp.StatusCode, body, err)
			}
			for name, value := range tt.header {
				if resp.Header.Get(name) != value {
					t.Errorf("%s: %q", name, resp.Header.Get(name))
				}
			}
			if o := <-g.outcomes; o.Err != nil || o.Status != tt.status {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestALargeEventOfManyLinesIsReadInLinearTime(t *testing.T) {
	event := strings.Repeat("data:x\n", 140_000) + "\n" // just under 1 MiB; a copy a line took 20 s
	g := newGateway(t, serve(t, sse(event+end)), relay.Call{})
	if _, body, err := get(t, g.URL); err != nil || body != event+end {
		t.Errorf("%v, %d bytes", err, len(body))
	}
}

func TestAnAnswerWithoutATypeGetsNone(t *testing.T) {
	g := newGateway(t, raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<script></script>"[:len("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")+15]), relay.Call{})
	if resp, _, err := get(t, g.URL); err != nil || resp.Header["Content-Type"] != nil {
		t.Errorf("%v %v", resp.Header, err)
	}
}

// No context reaches a write that a client's full window blocks.
func TestAClientThatDoesNotReadIsLeftAtTheEndOfTheRequest(t *testing.T) {
	rl := relay.New(config.Server{UpstreamHeaderTimeout: time.Minute})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "audio/mpeg")
		for r.Context().Err() == nil {
			w.Write(make([]byte, 1<<20))
		}
	})
	outcome := make(chan *relay.Outcome, 1)
	gateway := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), 100*time.Millisecond, apierror.New(apierror.UpstreamTimeout, "too long"))
		defer cancel()
		answer, err := rl.Send(ctx, r, &relay.Call{Method: "GET", URL: url, Present: func(http.Header) {}})
		if err != nil {
			t.Error(err)
			return
		}
		outcome <- answer.Copy(ctx, w)
	})
	resp, err := http.Get(gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case o := <-outcome:
		if apierror.From(o.Err).Kind != apierror.UpstreamTimeout {
			t.Errorf("%v", o.Err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the answer is still being written")
	}
}

// A stream that stalls, or never ends, is ended by the bound on the whole request, visibly.
func TestAStreamThatNeverEndsIsBrokenOff(t *testing.T) {
	for name, upstream := range map[string]http.HandlerFunc{
		"stalls": func(w http.ResponseWriter, r *http.Request) {
			sse(chunk1)(w, r)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"never ends": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				sse(chunk1)(w, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			rl := relay.New(config.Server{UpstreamHeaderTimeout: time.Minute})
			url := serve(t, upstream)
			outcome := make(chan *relay.Outcome, 1)
			gateway := serve(t, func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeoutCause(r.Context(), 100*time.Millisecond, apierror.New(apierror.UpstreamTimeout, "too long"))
				defer cancel()
				answer, err := rl.Send(ctx, r, &relay.Call{Method: "GET", URL: url, Present: func(http.Header) {}})
				if err != nil {
					t.Error(err)
					return
				}
				outcome <- answer.Copy(ctx, w)
			})
			_, body, err := get(t, gateway)
			if err == nil || !strings.Contains(body, `"code":"upstream_timeout"`) {
				t.Errorf("%v: %.200q", err, body[max(0, len(body)-200):])
			}
			if o := <-outcome; apierror.From(o.Err).Kind != apierror.UpstreamTimeout {
				t.Errorf("%v", o.Err)
			}
		})
	}
}

// The difference is what the relay costs a stream of 200 events over loopback; both run the double.
func BenchmarkStream(b *testing.B) {
	chunk := strings.Repeat(chunk1, 200) + usage + end
	upstream := httptest.NewServer(sse(chunk))
	defer upstream.Close()
	rl := relay.New(config.Server{})
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := rl.Send(r.Context(), r, &relay.Call{Method: "GET", URL: upstream.URL, Present: func(http.Header) {}, HidesUsage: true})
		if err == nil {
			answer.Copy(r.Context(), w)
		}
	}))
	defer gateway.Close()
	for _, way := range []struct{ name, url string }{{"direct", upstream.URL}, {"relayed", gateway.URL}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				resp, err := http.Get(way.url)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

// canned is an upstream without a network: its answer comes a read at a time, in pieces.
type canned struct {
	media  string
	pieces []string
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, TransferEncoding: []string{"chunked"},
		Header: http.Header{"Content-Type": {c.media}, "X-Request-Id": {"req_1"}},
		Body:   &inPieces{left: c.pieces},
	}, nil
}

// inPieces shares its pieces with others.
type inPieces struct {
	left []string
	now  string
}

func (p *inPieces) Close() error { return nil }

func (p *inPieces) Read(b []byte) (int, error) {
	if p.now == "" {
		if len(p.left) == 0 {
			return 0, io.EOF
		}
		p.now, p.left = p.left[0], p.left[1:]
	}
	n := copy(b, p.now)
	p.now = p.now[n:]
	return n, nil
}

// nowhere takes what is written to it.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) Flush()                      {}

func (n nowhere) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkSendAndCopy is the relay without a network on either side. The stream has 200 events, each of which
// comes by itself.
func BenchmarkSendAndCopy(b *testing.B) {
	events := slices.Repeat([]string{chunk1}, 200)
	for _, answer := range []struct {
		name string
		canned
	}{
		{"plain", canned{"application/json", []string{`{"id":"1","model":"m-1","choices":[{"message":{"content":"` + strings.Repeat("x", 500) + `"}}],"usage":{"prompt_tokens":3,"completion_tokens":5}}`}}},
		{"stream", canned{"text/event-stream", append(events, usage, end)}},
	} {
		rl := relay.Over(answer.canned)
		client := httptest.NewRequest("POST", "/", nil)
		client.Header.Set("User-Agent", "bench")
		body := [][]byte{[]byte(`{"model":"`), []byte("m-1"), []byte(`","messages":[{"role":"user","content":"` + strings.Repeat("x", 1000) + `"}]}`)}
		b.Run(answer.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := rl.Send(b.Context(), client, &relay.Call{
					Method: "POST", URL: "https://upstream.example.com/v1", Body: body, ContentType: "application/json",
					Present: func(http.Header) {}, HidesUsage: true, ReadsUsage: true,
				})
				if err != nil {
					b.Fatal(err)
				}
				if o := a.Copy(b.Context(), nowhere{http.Header{}}); o.Err != nil || o.Usage == nil {
					b.Fatalf("%+v", o)
				}
			}
		})
	}
}

func TestCachedAndReasoningTokensAreTold(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want relay.Usage
	}{
		"chat":                                {`{"usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}`, relay.Usage{Input: 10, Cached: 4, Output: 7, Reasoning: 3}},
		"responses":                           {`{"usage":{"input_tokens":10,"output_tokens":7,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":3}}}`, relay.Usage{Input: 10, Cached: 4, Output: 7, Reasoning: 3}},
		"messages":                            {`{"usage":{"input_tokens":5,"cache_read_input_tokens":4,"cache_creation_input_tokens":1,"output_tokens":7}}`, relay.Usage{Input: 10, Cached: 4, Output: 7}},
		"no more of a part than of the whole": {`{"usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":900000000},"completion_tokens_details":{"reasoning_tokens":8}}}`, relay.Usage{Input: 10, Cached: 10, Output: 7, Reasoning: 7}},
		"a tool's input":                      {`{"usageMetadata":{"promptTokenCount":4,"toolUsePromptTokenCount":6,"candidatesTokenCount":7}}`, relay.Usage{Input: 10, Output: 7}},
		"Google":                              {`{"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":4,"thoughtsTokenCount":3}}`, relay.Usage{Input: 10, Cached: 4, Output: 7, Reasoning: 3}},
		"an array of Google's": {`[{"usageMetadata":{"promptTokenCount":10}},
			{"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":7}}]`, relay.Usage{Input: 10, Cached: 4, Output: 7}},
	} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=UTF-8")
			io.WriteString(w, tt.body)
		}), relay.Call{})
		if _, body, err := get(t, g.URL); err != nil || body != tt.body {
			t.Errorf("%s: %v %q", name, err, body)
		}
		if o := <-g.outcomes; o.Usage == nil || *o.Usage != tt.want {
			t.Errorf("%s: %+v", name, o.Usage)
		}
	}
}

// A number that can't be makes the others doubtful: nothing is known then, and limits estimate.
func TestAbsurdUsageIsNone(t *testing.T) {
	for _, body := range []string{
		`{"usage":{"prompt_tokens":10,"completion_tokens":-5}}`,
		`{"usage":{"prompt_tokens":-1,"completion_tokens":5}}`,
		`{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}}`,
		`{"usage":{"input_tokens":9223372036854775807,"cache_read_input_tokens":9223372036854775807,"output_tokens":5}}`,
		`{"usage":{"prompt_tokens":10,"completion_tokens":100000000000}}`,
		`[{"usageMetadata":{"promptTokenCount":10}},{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":-7}},{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":7}}]`,
		`{"usage":{"prompt_tokens":"many"}}`,
		`{"usage":{"prompt_tokens":1e99,"completion_tokens":5}}`,
	} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		}), relay.Call{})
		if _, got, err := get(t, g.URL); err != nil || got != body {
			t.Errorf("%v %q", err, got)
		}
		if o := <-g.outcomes; o.Usage != nil {
			t.Errorf("%s: %+v", body, o.Usage)
		}
	}
}

// Whether the usage that was told is the last word, or only the first.
func TestAUsageIsFinalOrAnOpening(t *testing.T) {
	for name, tt := range map[string]struct {
		media, body    string
		final, opening bool
	}{
		"an answer at once":    {"application/json", `{"usage":{"prompt_tokens":1,"completion_tokens":1}}`, true, false},
		"the last chunk":       {"text/event-stream", "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n", true, false},
		"a count so far":       {"text/event-stream", "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n", false, false},
		"a response":           {"text/event-stream", "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n", true, false},
		"a message's start":    {"text/event-stream", "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n", false, true},
		"a message":            {"text/event-stream", "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\n", true, false},
		"Google, in its midst": {"text/event-stream", "data: {\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":1}}\n\n", false, false},
		"Google, at its end":   {"text/event-stream", "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":1}}\n\n", true, false},
	} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", tt.media)
			io.WriteString(w, tt.body)
		}), relay.Call{})
		get(t, g.URL)
		if o := <-g.outcomes; o.Usage == nil || o.Final != tt.final || o.Opening != tt.opening {
			t.Errorf("%s: %+v", name, o)
		}
	}
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":1000.5}}\n\n")
	}), relay.Call{})
	get(t, g.URL)
	if o := <-g.outcomes; o.Usage != nil {
		t.Errorf("half a token: %+v", o.Usage)
	}
}

// What was passed on is estimated, so that a client that leaves before the usage pays for what it got.
func TestOutputIsEstimatedWhereNoUsageTellsIt(t *testing.T) {
	long := strings.Repeat("words, ", 100) // 700 bytes
	event := func(data string) string { return "data: " + data + "\n\n" }
	for name, tt := range map[string]struct {
		media, body string
		least, most int64
	}{
		"chat, a token an event": {"text/event-stream", strings.Repeat(event(`{"id":"chatcmpl-0123456789","model":"m","obfuscation":"0123456789","choices":[{"index":0,"delta":{"content":"a"}}]}`), 50), 50, 50},
		"chat, many an event":    {"text/event-stream", strings.Repeat(event(`{"choices":[{"delta":{"content":"`+long+`"}}]}`), 4), 700, 720},
		"a role is no text":      {"text/event-stream", event(`{"choices":[{"delta":{"role":"assistant","content":""}}]}`), 0, 0},
		"a tool's arguments":     {"text/event-stream", event(`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"` + long + `"}}]}}]}`), 175, 185},
		"reasoning":              {"text/event-stream", event(`{"choices":[{"delta":{"reasoning_content":"` + long + `"}}]}`), 175, 185},
		"messages":               {"text/event-stream", "event: content_block_delta\n" + event(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"`+long+`"}}`), 175, 185},
		"responses":              {"text/event-stream", event(`{"type":"response.output_text.delta","delta":"` + long + `"}`), 175, 185},
		"Google":                 {"text/event-stream", event(`{"candidates":[{"content":{"parts":[{"text":"` + long + `"}]}}]}`), 175, 185},
		"no JSON":                {"text/event-stream", event("[DONE]"), 0, 0},
		"an answer at once":      {"application/json", `{"choices":[{"message":{"content":"` + long + `"}}]}`, 175, 200},
		"a tool's input":         {"text/event-stream", "event: content_block_delta\n" + event(`{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"`+long+`"}}`), 175, 185},
		"a list is no text":      {"text/event-stream", event(`{"content":["text",{"text":"` + long + `"}],"ids":["text","` + long + `"]}`), 175, 185},
		"a response's end":       {"text/event-stream", event(`{"type":"response.output_text.delta","delta":"`+long+`"}`) + event(`{"type":"response.output_text.done","text":"`+long+`"}`) + "event: response.completed\n" + event(`{"response":{"output":[{"content":[{"text":"`+long+`"}]}]}}`), 175, 185},
		"escaped characters":     {"text/event-stream", event(`{"choices":[{"delta":{"content":"` + strings.Repeat(`\u4e2d\u00e9\ud83d\ude00\n`, 100) + `"}}]}`), 250, 250}, // 3, 2, 4 and 1 bytes
		"audio":                  {"audio/mpeg", long, 0, 0},
	} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", tt.media)
			io.WriteString(w, tt.body)
		}), relay.Call{CountsOutput: true})
		if _, body, err := get(t, g.URL); err != nil || body != tt.body {
			t.Errorf("%s: %v %q", name, err, body)
		}
		if o := <-g.outcomes; o.OutputTokens < tt.least || o.OutputTokens > tt.most {
			t.Errorf("%s: %d tokens", name, o.OutputTokens)
		}
	}
}

func TestAnArrayThatIsAStreamTrickles(t *testing.T) {
	next := make(chan bool)
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, s := range []string{"[{}", ",{}", "]"} {
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
			<-next
		}
	}), relay.Call{Dialect: apierror.Google})
	resp, err := http.Get(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, want := range []string{"[{}", ",{}", "]"} {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q %v", got, err)
		}
		next <- true
	}
}

func TestAnthropicsOwnHeadersGoAlongInItsDialect(t *testing.T) {
	var got http.Header
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header }), relay.Call{Dialect: apierror.Anthropic})
	req, _ := http.NewRequest("GET", g.URL, nil)
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header["Anthropic-Beta"] = []string{"oauth-2025-04-20, a-1", "b-2"}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if v, b := got.Get("Anthropic-Version"), got.Get("Anthropic-Beta"); v != "2023-06-01" || b != "a-1,b-2" {
		t.Errorf("version %q, betas %q", v, b)
	}
}
