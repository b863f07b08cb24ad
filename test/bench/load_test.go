package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mockServer is an upstream that answers as it is told.
func mockServer(t *testing.T, handler http.HandlerFunc) endpoint {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return endpoint{address: strings.TrimPrefix(server.URL, "http://"), path: chatPath}
}

func TestAnAnswerThatIsNotTheUpstreamsIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		body   string
		want   string // in the error; "" for none
	}{
		"the upstream's": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "bench-answer") }, chat(ordinary, ""), ""},
		"another":        {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }, chat(ordinary, ""), "hello"},
		"a refusal": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "bench-answer", http.StatusServiceUnavailable)
		}, chat(ordinary, ""), "503"},
		"a refused stream": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "too many", http.StatusTooManyRequests) }, streamed(2, 0), "too many"},
		"a whole stream": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "data: bench-event\n\ndata: [DONE]\n\n")
		}, streamed(1, 0), ""},
		"half a stream": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "data: bench-event\n\n") }, streamed(2, 0), "before its end"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := dialAll(mockServer(t, tt.answer).address, 1)
			if err != nil {
				t.Fatal(err)
			}
			_, err = each(all, func(c *conn, l *load) error {
				return l.one(c, newCall(endpoint{path: chatPath}, tt.body), time.Now())
			})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestABodyIsOfTheSizeAskedForAndJSON(t *testing.T) {
	for _, size := range []int{ordinary, 100 << 10, 10 << 20} {
		body := chat(size, `,"max_tokens":1`)
		if !json.Valid([]byte(body)) || len(body) > size || len(body) < size-100 {
			t.Errorf("%d bytes, want %d", len(body), size)
		}
	}
	if body := streamed(100, pace); !json.Valid([]byte(body)) || !strings.Contains(body, `"user":"10ms"`) {
		t.Error(body)
	}
}

// One answer takes as long as ten others were due in; what they waited for counts.
func TestLatencyCountsFromWhenACallWasDue(t *testing.T) {
	var first sync.Once
	e := mockServer(t, func(w http.ResponseWriter, r *http.Request) {
		first.Do(func() { time.Sleep(100 * time.Millisecond) })
		io.WriteString(w, "bench-answer")
	})
	l, err := open(t.Context(), []call{newCall(e, chat(ordinary, ""))}, 1, 100, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.Count != 20 || len(l.Latencies) != 20 || len(l.Dues) != 20 {
		t.Errorf("%d calls", l.Count)
	}
	if l.Latencies[0] < 100*time.Millisecond || l.Latencies[5] < 40*time.Millisecond {
		t.Errorf("a call that was due while another took long waited for nothing: %v", l.Latencies)
	}
}

func TestAStreamsFirstEventAndGapsAreMeasured(t *testing.T) {
	e := mockServer(t, func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			io.WriteString(w, "data: bench-event\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})
	l, err := closed(t.Context(), newCall(e, streamed(3, 0)), 2, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	n := l.Count // on a busy machine a connection may come too late for its call
	if n == 0 || l.Events != 3*n || len(l.Firsts) != n || len(l.Gaps) != 2*n || slices.Min(l.Gaps) < 10*time.Millisecond {
		t.Errorf("%+v", l)
	}
}
