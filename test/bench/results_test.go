package main

import (
	"encoding/xml"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

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
