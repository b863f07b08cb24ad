package main

import (
	"math"
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
