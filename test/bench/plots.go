package main

import (
	"fmt"
	"math"
)

// plots are the pictures that the results have figures for, by file name.
func (r *results) plots() map[string]string {
	all := map[string]string{}
	add := func(name string, p *picture) {
		if p != nil {
			all[name] = p.String()
		}
	}
	add("cpu.svg", r.plotCPU())
	add("latency.svg", r.plotLatency())
	add("memory.svg", r.plotMemory())
	if r.Cold != nil {
		add("cold-start.svg", r.Cold.plot())
	}
	if r.Refresh != nil {
		add("refresh.svg", r.Refresh.plot())
	}
	return all
}

// with are the candidates that have the figure, and its least and most.
func (r *results) with(name string) (all []described, least, most float64) {
	least, most = math.Inf(1), 0
	for _, c := range r.Candidates {
		if v, ok := r.Medians[c.Key][name]; ok {
			all = append(all, c)
			least, most = min(least, v), max(most, v)
		}
	}
	return all, least, most
}

const ours = "gateway"

// class sets the gateway apart.
func (c described) class() string {
	if c.Key == ours {
		return "s1"
	}
	return "s0"
}

// name writes the name before a row.
func (p *picture) name(c described, y float64) {
	class := ""
	if c.Key == ours {
		class = "ours"
	}
	p.text(labels-12, y, "end", class, c.Short)
}

// plotCPU has a bar a candidate, and a line from the least to the most of the rounds.
func (r *results) plotCPU() *picture {
	const figure, row = "request_cpu_us", 30
	all, least, most := r.with(figure)
	if len(all) == 0 {
		return nil
	}
	bottom := float64(top + row*len(all))
	p := newPicture("Processor time per request", bottom+30)
	a := logAxis(least, most, labels, pictureWidth-numbers)
	p.across(a, bottom, " µs")
	base := r.Medians["bare"][figure]
	for i, c := range all {
		y := float64(top + i*row)
		v := r.Medians[c.Key][figure]
		low, high := r.spread(c.Key, figure)
		text := short(v) + " µs"
		if base > 0 {
			text = short(v/base) + " ×"
		}
		p.name(c, y+16)
		p.rect(a.left, y+3, a.at(v)-a.left, 18, c.class(), fmt.Sprintf("%s: %s µs; rounds from %s to %s", c.Name, short(v), short(low), short(high)))
		p.line(a.at(low), y+12, a.at(high), y+12, "thin")
		p.text(max(a.at(v), a.at(high))+8, y+16, "start", "", text)
	}
	return p
}

// spread is the least and the most of all rounds.
func (r *results) spread(key, figure string) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, round := range r.Rounds {
		if v, ok := round[key][figure]; ok {
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// plotLatency has two dots a candidate.
func (r *results) plotLatency() *picture {
	const row, least = 30, 0.01
	all, _, most := r.with("added_p99_ms")
	if len(all) == 0 {
		return nil
	}
	bottom := float64(top + row*len(all))
	p := newPicture("Latency added at half load", bottom+30)
	a := logAxis(least, max(most, 1), labels, pictureWidth-numbers)
	p.across(a, bottom, " ms")
	p.text(pictureWidth-margin, 26, "end", "soft", "median and 99th percentile")
	for i, c := range all {
		y := float64(top + i*row + 12)
		p50, p99 := r.Medians[c.Key]["added_p50_ms"], r.Medians[c.Key]["added_p99_ms"]
		p.name(c, y+4)
		p.line(a.at(p50), y, a.at(p99), y, "thin")
		p.dot(a.at(p50), y, c.class(), fmt.Sprintf("%s, median: %s ms", c.Name, short(p50)))
		p.dot(a.at(p99), y, "s2", fmt.Sprintf("%s, 99th percentile: %s ms", c.Name, short(p99)))
		p.text(max(a.at(p99), a.at(p50))+10, y+4, "start", "soft", short(p50)+" · "+short(p99))
	}
	return p
}

// plotMemory has three bars a candidate.
func (r *results) plotMemory() *picture {
	const row, thick = 58, 14
	all, least, most := r.with("idle_rss_mib")
	if len(all) == 0 {
		return nil
	}
	kinds := []struct{ figure, class, name string }{
		{"idle_rss_mib", "s0", "idle"}, {"load_rss_mib", "s1", "under load"}, {"streams_rss_mib", "s3", "with streams"},
	}
	for _, k := range kinds {
		_, _, m := r.with(k.figure)
		most = max(most, m)
	}
	bottom := float64(top + row*len(all))
	p := newPicture("Memory (RSS of the process tree)", bottom+30)
	a := logAxis(least, most, labels, pictureWidth-numbers)
	p.across(a, bottom, " MiB")
	x := float64(pictureWidth - margin)
	for i := len(kinds) - 1; i >= 0; i-- {
		p.text(x, 26, "end", "soft", kinds[i].name)
		x -= 6.6*float64(len(kinds[i].name)) + 4
		p.rect(x-10, 16, 10, 10, kinds[i].class, "")
		x -= 24
	}
	for i, c := range all {
		y := float64(top + i*row)
		p.name(c, y+28)
		for n, k := range kinds {
			v, ok := r.Medians[c.Key][k.figure]
			if !ok {
				continue
			}
			at := y + float64(n*(thick+2))
			text := short(v)
			title := fmt.Sprintf("%s, %s: %s MiB", c.Name, k.name, short(v))
			if held := r.Medians[c.Key]["streams_held"]; k.figure == "streams_rss_mib" {
				text += fmt.Sprintf(" (%.0f)", held)
				title += fmt.Sprintf(" with %.0f open", held)
			}
			p.rect(a.left, at, a.at(v)-a.left, thick, k.class, title)
			p.text(a.at(v)+6, at+11, "start", "soft", text)
		}
	}
	return p
}

// plot is the timeline of the run that took the median time.
func (c *coldStart) plot() *picture {
	r := c.typical()
	type stretch struct {
		name, class string
		start, end  float64
	}
	rows := []stretch{{"process starts", "s1", 0, r.Listening}}
	for _, w := range r.Waits {
		rows = append(rows, stretch{"wait: " + w.For, "s4", w.Start, w.End})
	}
	const row = 26
	bottom := float64(top + row*len(rows))
	p := newPicture(fmt.Sprintf("Cold start: %s ms, of which %s ms are the gateway's own", short(r.Total), short(r.Own)), bottom+34)
	a := axis{low: 0, high: r.Total * 1.02, left: labels, right: pictureWidth - numbers}
	p.across(a, bottom, " ms")
	for i, s := range rows {
		y := float64(top + i*row)
		p.text(labels-12, y+14, "end", "", s.name)
		p.rect(a.at(s.start), y+2, max(a.at(s.end)-a.at(s.start), 2), 16, s.class, fmt.Sprintf("%s: from %s to %s ms", s.name, short(s.start), short(s.end)))
		if s.start > r.Total/2 {
			p.text(a.at(s.start)-6, y+14, "end", "soft", short(s.end-s.start)+" ms")
		} else {
			p.text(a.at(s.end)+6, y+14, "start", "soft", short(s.end-s.start)+" ms")
		}
	}
	p.line(a.at(r.Total), top-8, a.at(r.Total), bottom, "mark")
	return p
}

// typical is the run whose total is nearest to the median.
func (c *coldStart) typical() coldRun {
	best := c.Runs[0]
	for _, r := range c.Runs {
		if math.Abs(r.Total-c.Total) < math.Abs(best.Total-c.Total) {
			best = r
		}
	}
	return best
}

// plot is the worst latency over time, with a mark where something is renewed.
func (f *refreshed) plot() *picture {
	const height, left, below = 260, 64, 40
	p := newPicture(fmt.Sprintf("Worst latency while credentials are renewed, at %s requests a second", short(f.Rate)), height)
	most := 0.0
	for _, v := range f.Worst {
		most = max(most, v)
	}
	x := axis{low: 0, high: float64(len(f.Worst)) / 10, left: left, right: pictureWidth - margin}
	y := axis{low: 0, high: max(most*1.1, 1), left: height - below, right: top + 26}
	for _, v := range x.ticks() {
		p.text(x.at(v), height-below+16, "middle", "soft", short(v)+" s")
	}
	for _, v := range y.ticks() {
		p.line(x.left, y.at(v), x.right, y.at(v), "grid")
		p.text(left-8, y.at(v)+4, "end", "soft", short(v)+" ms")
	}
	for _, e := range f.Events {
		at := x.at(e.At / 1000)
		p.line(at, top+20, at, height-below, "mark")
		anchor := "middle"
		if at > pictureWidth-140 {
			anchor = "end"
		}
		p.text(min(at, pictureWidth-margin), top+12, anchor, "soft", e.Name)
	}
	var points [][2]float64
	for i, v := range f.Worst {
		points = append(points, [2]float64{x.at((float64(i) + 0.5) / 10), y.at(v)})
	}
	p.path(points, "line")
	return p
}
