package main

import (
	"math"
	"os"
	"os/exec"
	"slices"
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
