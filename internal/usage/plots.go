package usage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plots are the sums that a page draws.
type Plots struct {
	zone *time.Location
	// Which one is drawn is known at the end: hours of a few days, days, or months of many.
	hours, days *Table
	// refusedHours and refusedDays are of refused calls alone, limits of those that a limit refused.
	refusedHours, refusedDays, limits *Table
	models                            *Table
}

// NewPlots returns empty ones.
func NewPlots(zone *time.Location) *Plots {
	return &Plots{zone: zone, hours: NewTable(zone, Hour, Group), days: NewTable(zone, Day, Group), models: NewTable(zone, Model),
		refusedHours: NewTable(zone, Hour, Error), refusedDays: NewTable(zone, Day, Error), limits: NewTable(zone, Limit)}
}

// Add counts a record.
func (p *Plots) Add(r *Record) {
	p.hours.Add(r)
	p.days.Add(r)
	p.models.Add(r)
	if r.Refused() {
		p.refusedHours.Add(r)
		p.refusedDays.Add(r)
		if r.Limit != "" {
			p.limits.Add(r)
		}
	}
}

// scale is an axis of time: one of Hour, Day and Month, and the times at which each of them begins.
type scale struct {
	unit   Dimension
	starts []time.Time
	// cut says that there are earlier ones.
	cut bool
}

const (
	hoursBelow  = 72 * time.Hour
	mostColumns = 100
)

// scaleOf has every hour, day or month from the first call to the last, empty ones too.
func scaleOf(first, last time.Time, zone *time.Location) scale {
	first, last = first.In(zone), last.In(zone)
	s := scale{unit: Day}
	// Noon stands for the day: not every zone's days all have a midnight.
	begin := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, zone) }
	before := func(t time.Time) time.Time { return t.AddDate(0, 0, -1) }
	switch {
	case last.Sub(first) < hoursBelow:
		s.unit = Hour
		begin = func(t time.Time) time.Time {
			return t.Truncate(time.Minute).Add(-time.Duration(t.Minute()) * time.Minute)
		}
		before = func(t time.Time) time.Time { return t.Add(-time.Hour) }
	case last.Sub(first) > (mostColumns-1)*24*time.Hour:
		s.unit = Month
		begin = func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 12, 0, 0, 0, zone) }
		before = func(t time.Time) time.Time { return t.AddDate(0, -1, 0) }
	}
	for t := begin(last); !t.Before(begin(first)); t = before(t) {
		if s.cut = len(s.starts) == mostColumns; s.cut {
			break
		}
		if n := len(s.starts); n > 0 && s.key(s.starts[n-1]) == s.key(t) {
			continue // the hour that a clock shows twice
		}
		s.starts = append(s.starts, t)
	}
	slices.Reverse(s.starts)
	return s
}

// key is the value that a table has for the time.
func (s scale) key(t time.Time) string {
	switch s.unit {
	case Hour:
		return t.Format("2006-01-02T15")
	case Day:
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01")
}

// full names the time beyond doubt.
func (s scale) full(t time.Time) string {
	switch s.unit {
	case Hour:
		return t.Format("Mon 2 Jan 2006, 15:04")
	case Day:
		return t.Format("Mon 2 Jan 2006")
	}
	return t.Format("January 2006")
}

// label is what stands under a column that is as wide as slot; most have none.
func (s scale) label(i int, slot float64) string {
	const room = 52
	step := func(steps ...int) int {
		for _, n := range steps {
			if float64(n)*slot >= room {
				return n
			}
		}
		return steps[len(steps)-1]
	}
	t := s.starts[i]
	switch s.unit {
	case Hour:
		n := step(1, 2, 3, 6, 12, 24)
		switch {
		case t.Hour() == 0:
			return t.Format("2 Jan")
		case t.Hour()%n == 0:
			return t.Format("15:04")
		}
	case Day:
		if i%step(1, 2, 7, 14, 28) == 0 {
			return t.Format("2 Jan")
		}
	case Month:
		if i%step(1, 2, 3, 6, 12, 24) == 0 {
			return t.Format("Jan 06")
		}
	}
	return ""
}

// each is a table's rows on the scale: for each of its times, the sums by the second dimension.
func (s scale) each(t *Table) map[string]map[string]*Sums {
	all := map[string]map[string]*Sums{}
	for _, r := range t.Rows() {
		at := r.Values[0]
		if s.unit == Month && len(at) > len("2006-01") {
			at = at[:len("2006-01")]
		}
		if all[at] == nil {
			all[at] = map[string]*Sums{}
		}
		if all[at][r.Values[1]] == nil {
			all[at][r.Values[1]] = &Sums{}
		}
		all[at][r.Values[1]].merge(&r.Sums)
	}
	return all
}

// mostSeries is how many colours people tell apart.
const mostSeries = 8

// series is what has a colour.
type series struct {
	Name, Class string
	// values are on a scale.
	values []float64
	total  float64
}

// seriesOf are the largest series of a measure, and the others as one.
func seriesOf(s scale, t *Table, measure func(*Sums) float64) []series {
	at := s.each(t)
	byName := map[string]*series{}
	for i, start := range s.starts {
		for name, sums := range at[s.key(start)] {
			v := measure(sums)
			if v == 0 {
				continue
			}
			if byName[name] == nil {
				byName[name] = &series{Name: name, values: make([]float64, len(s.starts))}
			}
			byName[name].values[i] += v
			byName[name].total += v
		}
	}
	var all []series
	for _, one := range byName {
		all = append(all, *one)
	}
	slices.SortFunc(all, func(a, b series) int {
		return cmp.Or(compare(a.Name == Others, b.Name == Others), cmp.Compare(b.total, a.total), strings.Compare(a.Name, b.Name))
	})
	if n := len(all); n > mostSeries || n > 0 && all[n-1].Name == Others {
		keep := min(mostSeries, n-1)
		rest := series{Name: fmt.Sprintf("%d others", n-keep), Class: "s0", values: make([]float64, len(s.starts))}
		if n-keep == 1 || all[n-1].Name == Others {
			rest.Name = "others"
		}
		for _, one := range all[keep:] {
			for i, v := range one.values {
				rest.values[i] += v
			}
			rest.total += one.total
		}
		all = append(all[:keep], rest)
	}
	for i := range all {
		if all[i].Class == "" {
			all[i].Class = fmt.Sprintf("s%d", i+1)
		}
	}
	return all
}
