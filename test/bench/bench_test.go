package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestQuantilesAreOfTheNearestRank(t *testing.T) {
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := quantile(all, q); got != want {
			t.Errorf("of 1 to 100, %v is %d, want %d", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
	if all[0] != 100 {
		t.Error("the values were moved")
	}
}

func TestMedians(t *testing.T) {
	for _, tt := range []struct {
		all  []float64
		want float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{7}, 7}, {[]float64{math.NaN(), 5}, 5}} {
		if got := median(tt.all); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.all, got, tt.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
	got := medians([]map[string]figures{{"a": {"x": 1}}, {"a": {"x": 3, "y": 5}}, {"a": {"x": 2}}})
	if got["a"]["x"] != 2 || got["a"]["y"] != 5 {
		t.Errorf("%v", got)
	}
}

func TestEachRoundBeginsWithAnother(t *testing.T) {
	for round, want := range []string{"abc", "bca", "cab", "abc"} {
		if got := string(rotated([]byte("abc"), round)); got != want {
			t.Errorf("round %d: %s, want %s", round, got, want)
		}
	}
}

func TestAProcessIsFoundByItsParent(t *testing.T) {
	pid, of, ok := parent([]byte("4711 (a) 1 (b c) S 42 4711 4711 0 -1"))
	if pid != 4711 || of != 42 || !ok {
		t.Errorf("%d, %d, %t", pid, of, ok)
	}
	if _, _, ok := parent([]byte("")); ok {
		t.Error("an empty file was read")
	}
	got := descendants(2, map[int]int{2: 1, 3: 1, 4: 2, 5: 4, 6: 3})
	slices.Sort(got)
	if !slices.Equal(got, []int{2, 4, 5}) {
		t.Errorf("below 2: %v", got)
	}
}

func TestMemoryIsReadInBytes(t *testing.T) {
	const status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n"
	if field(status, "VmHWM") != 300<<10 || field(status, "VmRSS") != 200<<10 || field(status, "VmSwap") != 0 {
		t.Errorf("%d, %d", field(status, "VmHWM"), field(status, "VmRSS"))
	}
}

// A shell and the loop below it: what both compute is the tree's.
func TestATreesProcessorTimeIsItsChildrensToo(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'while :; do :; done' & wait")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	all := tree(cmd.Process.Pid)
	defer func() {
		for _, pid := range all.pids() {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		cmd.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); all.cpu() < 20*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a busy loop has computed for %s", all.cpu())
		}
	}
	if len(all.pids()) != 2 || all.rss() < 100<<10 || all.peak() < all.rss() {
		t.Errorf("%v, %d, %d", all.pids(), all.rss(), all.peak())
	}
}

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
	l, err := closed(t.Context(), newCall(e, streamed(3, 0)), 2, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.Count != 2 || l.Events != 6 || len(l.Firsts) != 2 || len(l.Gaps) != 4 || slices.Min(l.Gaps) < 10*time.Millisecond {
		t.Errorf("%+v", l)
	}
}

func TestTheLongestChainIsNotTheSum(t *testing.T) {
	waits := []wait{{waitDiscovery, 10, 30}, {waitSecret, 10, 35}, {waitKeys, 31, 51}, {waitExchange, 36, 58}, {waitUpstream, 60, 61}}
	if got := longestChain(waits); got != 25+22+1 {
		t.Errorf("%v", got)
	}
}

func TestInitTimesAreRead(t *testing.T) {
	got := readInits([]byte("init internal/bytealg @0.008 ms, 0 ms clock, 0 bytes, 0 allocs\n{\"severity\":\"INFO\"}\ninit a.b/c @1.2 ms, 0.5 ms clock, 2048 bytes, 9 allocs\n"))
	want := []initTime{{"a.b/c", 0.5, 2}, {"internal/bytealg", 0, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestWhatWaitedForARenewalIsFound(t *testing.T) {
	begun := time.Now()
	var through, straight load
	for i := range 6500 { // 100 a second
		due := begun.Add(time.Duration(i) * 10 * time.Millisecond)
		took := time.Millisecond
		if i == 1001 { // while the token is exchanged
			took = 80 * time.Millisecond
		}
		through.Dues, through.Latencies = append(through.Dues, due), append(through.Latencies, took)
		straight.Dues, straight.Latencies = append(straight.Dues, due), append(straight.Latencies, time.Millisecond)
	}
	waits := []wait{{waitExchange, 10000, 10100}, {waitSecret, 20000, 20100}, {waitExchange, 21000, 21100}, {waitExchange, 21050, 21150}, {waitKeys, 60000, 60100}}
	r, err := summarize(through, straight, begun, waits)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Events[0]; e.Worst != 80 || e.Fetches != 1 || e.Direct != 1 || r.Steady != 1 {
		t.Errorf("%+v, steady %v", e, r.Steady)
	}
	if e := r.Events[1]; e.Worst != 1 || e.Fetches != 2 || e.At != 21000 {
		t.Errorf("%+v", e)
	}
	if len(r.Worst) != 650 || r.Worst[100] != 80 {
		t.Errorf("%d tenths of a second", len(r.Worst))
	}
	if _, err := summarize(through, straight, begun, waits[:1]); err == nil {
		t.Error("a run without a rotation was judged")
	}
}

func TestBarsCompareWithinARound(t *testing.T) {
	r := &results{
		Rounds: []map[string]figures{ // the machine was slow in the second
			{"bare": {"request_cpu_us": 100}, "gateway": {"request_cpu_us": 90}},
			{"bare": {"request_cpu_us": 300}, "gateway": {"request_cpu_us": 285}},
			{"bare": {"request_cpu_us": 100}, "gateway": {"request_cpu_us": 110}},
		},
		Cold: &coldStart{Own: 61},
	}
	r.Medians = medians(r.Rounds)
	got := r.judge()
	if len(got) != 2 || math.Abs(got[0].Is-0.95) > 1e-9 || !got[0].Kept || got[1].Kept {
		t.Errorf("%v", got)
	}
}

// whole has every figure.
func whole() *results {
	r := &results{
		Cold:    &coldStart{Runs: []coldRun{{Listening: 20, Total: 65, Own: 24, Waits: []wait{{waitKeys, 21, 41}}}}, Total: 65, Own: 24, Inits: []initTime{{"a", 1, 2}}},
		Refresh: &refreshed{Rate: 200, Steady: 1, Events: []renewal{{"key set ages", 60000, 3, 1, 1}}, Worst: []float64{1, 2, 1}},
	}
	for i := range 3 {
		round := map[string]figures{}
		for n, c := range candidates() {
			round[c.key] = figures{}
			for _, name := range []string{"request_cpu_us", "requests_per_second", "added_p50_ms", "added_p99_ms", "idle_rss_mib", "load_rss_mib", "streams_rss_mib", "streams_held", "stream_kib"} {
				round[c.key][name] = float64((i + 1) * (n*n*100 + 10))
			}
		}
		r.Rounds = append(r.Rounds, round)
	}
	for _, c := range candidates() {
		r.Candidates = append(r.Candidates, described{c.letter, c.key, c.name, c.short, "1 <2>"})
	}
	r.Medians = medians(r.Rounds)
	r.Bars = r.judge()
	return r
}

func TestPlotsAreWellFormedAndWithinTheirFrames(t *testing.T) {
	all := whole().plots()
	if len(all) != 5 {
		t.Errorf("%d plots", len(all))
	}
	for name, text := range all {
		if !strings.Contains(text, "@media (prefers-color-scheme: dark)") {
			t.Errorf("%s has no dark colours", name)
		}
		d := xml.NewDecoder(strings.NewReader(text))
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			element, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			for _, a := range element.Attr {
				v, err := strconv.ParseFloat(a.Value, 64)
				if err == nil && (v < 0 || strings.HasSuffix(a.Name.Local, "x") && v > pictureWidth) || a.Value == "NaN" {
					t.Errorf("%s: <%s %s=%q> is out of the picture", name, element.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	if got := (&results{}).plots(); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestThePageHasWhatWasMeasuredAndDashesForWhatWasNot(t *testing.T) {
	page := whole().page()
	for _, want := range []string{"| this gateway | 820 µs | 41 × |", "](cold-start.svg)", "](refresh.svg)", "| – µs |", "1 <2>"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "<no value>") {
		t.Error(page)
	}
	if page := (&results{}).page(); strings.Contains(page, ".svg") || strings.Contains(page, "## What it is held to") {
		t.Errorf("of nothing:\n%s", page)
	}
}

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123: "0.012", 1: "1", 0.204: "0.204", 34.85: "34.9", 123.4: "123", 9999: "9999", 12345: "12.3k", 2.5e6: "2.5M", -0.5419: "-0.542"} {
		if got := short(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestAnAxisHoldsItsValues(t *testing.T) {
	a := logAxis(16, 8000, 100, 500)
	if a.low != 10 || a.high != 10000 || a.at(10) != 100 || a.at(10000) != 500 || a.at(1) != 100 || len(a.ticks()) != 4 {
		t.Errorf("%+v, %v", a, a.ticks())
	}
	b := axis{low: 0, high: 68, left: 0, right: 680}
	if b.at(34) != 340 || !slices.Equal(b.ticks(), []float64{0, 20, 40, 60}) {
		t.Errorf("%v", b.ticks())
	}
}

func TestIdleProcessorsAreNotBusy(t *testing.T) {
	idle, all := processors("cpu  10 1 5 100 20 3 2 1 7 0\ncpu0 1 2 3 4\n")
	if idle != 120 || all != 142 {
		t.Errorf("%v of %v", idle, all)
	}
}

func TestWhatIsUnknownIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "g"}, {"-steps", "a"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	o, err := parse([]string{"-quick", "-rounds", "3", "-only", "a,gateway", "-steps", "requests,cold"})
	if err != nil || o.rounds != 3 || o.duration != 500*time.Millisecond || !wanted(o.only, "c", "gateway") || wanted(o.only, "b", "framework") {
		t.Errorf("%+v, %v", o, err)
	}
}
