package function

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/relay"
)

// flying serves upstream's answer through a relay and flights, as a gateway does, and returns when its
// first line is with the client.
func flying(t *testing.T, upstream http.HandlerFunc) (*flights, *http.Response, *bufio.Reader) {
	t.Helper()
	up := httptest.NewServer(upstream)
	r := relay.New(config.Server{UpstreamHeaderTimeout: time.Minute})
	f := newFlights(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := r.Send(req.Context(), req, &relay.Call{Method: "GET", URL: up.URL, Present: func(http.Header) {}})
		if err != nil {
			t.Error(err)
			return
		}
		answer.Copy(req.Context(), w)
	}))
	server := httptest.NewServer(f)
	t.Cleanup(func() { up.CloseClientConnections(); up.Close(); server.CloseClientConnections(); server.Close() })
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return f, resp, body
}

func stream(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, text)
	http.NewResponseController(w).Flush()
}

func TestLandingWaitsForWhatEndsInTime(t *testing.T) {
	more := make(chan struct{})
	f, _, body := flying(t, func(w http.ResponseWriter, r *http.Request) {
		stream(w, "data: 1\n\n")
		<-more
		stream(w, "data: [DONE]\n\n")
	})
	landed := make(chan struct{})
	go func() { f.land(time.Minute); close(landed) }()
	close(more)
	rest, err := io.ReadAll(body)
	if err != nil || string(rest) != "\ndata: [DONE]\n\n" {
		t.Errorf("%q, %v", rest, err)
	}
	select {
	case <-landed:
	case <-time.After(10 * time.Second):
		t.Error("still waiting though nothing flies")
	}
}

func TestLandingBreaksTheRestVisibly(t *testing.T) {
	f, _, body := flying(t, func(w http.ResponseWriter, r *http.Request) {
		stream(w, "data: 1\n\n")
		<-r.Context().Done()
	})
	began := time.Now()
	f.land(20 * time.Millisecond)
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("landed after %s", took)
	}
	rest, err := io.ReadAll(body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(string(rest), `data: {"error":`) || !strings.Contains(string(rest), `"code":"overloaded"`) {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestLandingWithNothingInTheAirIsImmediate(t *testing.T) {
	f := newFlights(http.NotFoundHandler())
	f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	f.land(time.Hour)
}

// The count must come down with a panic too, or the instance would wait for nobody.
func TestARequestThatPanicsHasLanded(t *testing.T) {
	f := newFlights(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() { recover() }()
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}()
	f.land(time.Hour)
}
