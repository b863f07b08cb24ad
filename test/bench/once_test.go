package main

import (
	"slices"
	"testing"
	"time"
)

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
