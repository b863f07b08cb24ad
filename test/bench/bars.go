package main

import (
	"fmt"
	"math"
	"strings"
)

// bar is what the gateway is held to.
type bar struct {
	What string  `json:"what"`
	Is   float64 `json:"is"`
	Most float64 `json:"at_most"`
	Unit string  `json:"unit"`
	Kept bool    `json:"kept"`
}

// String says it in a line.
func (b bar) String() string {
	verdict := "kept"
	if !b.Kept {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%-6s %s: %s, at most %s", verdict, b.What, b.With(b.Is), b.With(b.Most))
}

// With puts the unit after a number.
func (b bar) With(v float64) string { return strings.TrimSpace(short(v) + " " + b.Unit) }

// judge holds what was measured against the bars. What wasn't measured has none.
func (r *results) judge() (all []bar) {
	add := func(what string, is, most float64, unit string) {
		if !math.IsNaN(is) {
			all = append(all, bar{what, is, most, unit, is <= most})
		}
	}
	ratio := func(figure string) float64 {
		return r.compare(figure, func(gateway, bare float64) float64 { return gateway / bare })
	}
	add("CPU per request, beside the bare proxy", ratio("request_cpu_us"), 1, "×")
	add("CPU per event of an unpaced stream, beside the bare proxy", ratio("event_cpu_us"), 1, "×")
	add("CPU per event of a paced stream, beside the bare proxy", ratio("paced_event_cpu_us"), 1, "×")
	add("memory of a stream, of 1,000 at once, beside the bare proxy", ratio("stream_kib"), 1.3, "×")
	add("median latency added at half load", r.figure("added_p50_ms"), 0.3, "ms")
	add("99th percentile of latency added at half load", r.figure("added_p99_ms"), 2, "ms")
	// One copy: what else the first call of a process touches, its own buffers and stacks, is some hundredths.
	add("memory for a body of 10 MiB, beyond the bare proxy's", r.compare("body_10m_copies", func(gateway, bare float64) float64 { return gateway - bare }), 1.05, "copies")
	if r.Cold != nil {
		add("own time of a cold start on one processor", r.Cold.Own, 60, "ms")
	}
	if r.Refresh != nil {
		for _, e := range r.Refresh.Events {
			add("worst latency beyond the steady 99th percentile, when the "+e.Name, e.Worst-max(r.Refresh.Steady, e.Direct), 5, "ms")
			add("fetches, when the "+e.Name, float64(e.Fetches), 1, "")
		}
	}
	return all
}

// compare is the median over the rounds of a figure of the gateway's and the bare proxy's in one round.
func (r *results) compare(figure string, by func(gateway, bare float64) float64) float64 {
	var all []float64
	for _, round := range r.Rounds {
		gateway, measured := round[ours][figure]
		bare, too := round["bare"][figure]
		if measured && too {
			all = append(all, by(gateway, bare))
		}
	}
	return median(all)
}

// figure is the gateway's median, or NaN.
func (r *results) figure(name string) float64 {
	if v, ok := r.Medians[ours][name]; ok {
		return v
	}
	return math.NaN()
}
