package function_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// chat of n bytes in all.
func sized(n int) string {
	const head, tail = `{"model":"gpt-4-turbo","messages":[{"role":"user","content":"`, `"}]}`
	return head + strings.Repeat("a", n-len(head)-len(tail)) + tail
}

// chunked hides the body's size.
type chunked struct{ io.Reader }

func TestMaxBodyIsTheLargestThatIsTaken(t *testing.T) {
	s := open(t, setting{config: ordinary + "server: {max_body: 100KiB, max_buffered: 100KiB}\n"})
	token := s.issuer.Token("pipeline")
	send := func(size int, declared bool) *answer {
		req := s.request(t.Context(), "POST", chatPath, token, sized(size))
		if !declared {
			req.Body, req.ContentLength, req.GetBody = io.NopCloser(chunked{strings.NewReader(sized(size))}), -1, nil
		}
		return s.do(req)
	}
	for _, declared := range []bool{true, false} {
		s.want(send(100<<10, declared), 200, "")
		a := send(100<<10+1, declared)
		s.want(a, 413, "request_too_large")
		if a.Header.Get("X-Should-Retry") != "false" || !strings.Contains(a.body, "100KiB") {
			t.Errorf("%v %s", a.Header, a.body)
		}
		s.want(send(40<<10, declared), 200, "") // what the refused one held was given back
	}
	for _, r := range s.first.Received() {
		if len(r.Body) > 101<<10 {
			t.Errorf("%d bytes reached the upstream", len(r.Body))
		}
	}
}

// Bodies are held until their answers are complete: a retry may need them, and the transport keeps them.
func TestMaxBufferedBoundsAllBodiesTogether(t *testing.T) {
	answer, arrived := make(chan struct{}), make(chan struct{})
	s := open(t, setting{
		config: ordinary + "server: {max_body: 40KiB, max_buffered: 100KiB}\n",
		first: upstream(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			arrived <- struct{}{}
			<-answer
			io.WriteString(w, "ok")
		}),
	})
	token := s.issuer.Token("pipeline")
	send := func(size int) *http.Request { return s.request(t.Context(), "POST", chatPath, token, sized(size)) }
	var group sync.WaitGroup
	for range 2 {
		req := send(40 << 10)
		group.Go(func() {
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%d", resp.StatusCode)
			}
		})
		<-arrived
	}
	for range 3 { // refused again and again: refusing holds nothing
		a := s.do(send(30 << 10))
		s.want(a, 503, "overloaded")
		if a.Header.Get("Retry-After") != "1" || a.Header.Get("X-Should-Retry") != "" {
			t.Errorf("%v", a.Header)
		}
	}
	s.want(s.do(s.request(t.Context(), "GET", "/v1/models", token, "")), 200, "") // what has no body still goes
	answer <- struct{}{}
	answer <- struct{}{}
	group.Wait()
	go func() { <-arrived; answer <- struct{}{} }()
	s.want(s.do(send(40<<10)), 200, "")
}

func TestABodyMayComeInManyPieces(t *testing.T) {
	s := open(t, setting{})
	in, out := io.Pipe()
	req := s.request(t.Context(), "POST", chatPath, s.issuer.Token("pipeline"), hello)
	req.Body, req.ContentLength, req.GetBody = in, -1, nil
	go func() {
		for i := range hello {
			io.WriteString(out, hello[i:i+1])
		}
		out.Close()
	}()
	s.want(s.do(req), 200, "")
	if got := s.first.Received()[0].Body; got != strings.Replace(hello, "gpt-4-turbo", "gpt-4-turbo-2024-04-09", 1) {
		t.Errorf("the upstream got %s", got)
	}
}

// Six one-byte bodies that declared 32 MiB each would else lock out everybody for two minutes.
func TestWhatIsOnlyDeclaredIsNotHeld(t *testing.T) {
	s := open(t, setting{})
	token := s.issuer.Token("pipeline")
	for range 8 {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", chatPath, token, 32<<20)
		line, err := bufio.NewReader(c).ReadString('\n') // the gateway has begun to read
		if err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q %v", line, err)
		}
	}
	s.want(s.chat("pipeline", hello), 200, "")
}
