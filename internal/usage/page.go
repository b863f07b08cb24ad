package usage

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
	// pagePolicy lets the page do nothing but look as it does, whoever serves it.
	pagePolicy = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// page is what the template shows.
type page struct {
	Style        template.CSS
	Policy       string
	Period       string
	Figures      []figure
	Plots        []plot
	By           string
	Head         []heading
	Rows, Total  [][]string
	Keys         int
	Notes        []string
	Left, Shown  int
	Nothing, Cut bool
}

// figure is one of the numbers on top.
type figure struct{ Name, Value, Unit, More string }

// plot is a part of the page: a picture, and the same as a table.
type plot struct {
	ID, Title, About string
	Whole            bool
	Legend           []entry
	Drawings         []drawing
	Head             []heading
	Rows             [][]string
	// Empty is said where there is nothing to draw.
	Empty string
}

type entry struct{ Name, Class string }

type heading struct {
	Text   string
	Number bool
}

// mostPageRows is as long as a page's table gets; the rest is for CSV.
const mostPageRows = 300

// WritePage writes one HTML document: the totals and the rows of the table, and the plots of the same calls. It asks for
// nothing else, holds no script, and forbids both.
func WritePage(w io.Writer, t *Table, p *Plots) error {
	pg := page{Style: template.CSS(pageStyle), Policy: pagePolicy, Notes: t.notes()[1:], Keys: len(t.By), Nothing: t.Total.Calls == 0}
	pg.Period = t.period()
	pg.Figures = figures(&t.Total)
	if !pg.Nothing {
		s := scaleOf(t.First, t.Last, t.zone)
		pg.Cut = s.cut
		pg.Plots = p.plots(s)
	}
	var by []string
	for _, d := range t.By {
		name := strings.ReplaceAll(string(d), "_", " ")
		by = append(by, name)
		pg.Head = append(pg.Head, heading{name, false})
	}
	pg.By = strings.Join(by, ", ")
	for _, c := range columns {
		if c.title != "" {
			pg.Head = append(pg.Head, heading{c.title, true})
		}
	}
	decimals := t.Total.Cost.decimals()
	for _, r := range t.Rows() {
		if len(pg.Rows) == mostPageRows {
			pg.Left++
			continue
		}
		pg.Rows = append(pg.Rows, append(append([]string{}, r.Values...), r.cells(decimals)...))
	}
	pg.Shown = len(pg.Rows)
	total := append([]string{"Total"}, make([]string, len(t.By)-1)...)
	pg.Total = [][]string{append(total, t.Total.cells(decimals)...)}
	return pageTemplate.Execute(w, pg)
}

// period is the time of the records in words.
func (t *Table) period() string {
	if t.Total.Calls == 0 {
		return t.span()
	}
	first, last := t.First.In(t.zone), t.Last.In(t.zone)
	text := first.Format("2 January 2006") + " – " + last.Format("2 January 2006")
	if first.Format(time.DateOnly) == last.Format(time.DateOnly) {
		text = first.Format("2 January 2006, 15:04") + " – " + last.Format("15:04")
	}
	return text + ", " + t.zone.String()
}

func figures(s *Sums) []figure {
	percent := func(part, of int64) string {
		if of == 0 || part == 0 {
			return "none"
		}
		if p := 100 * float64(part) / float64(of); p >= 0.1 {
			return significant(math.Round(10*p)/10) + " %"
		}
		return "under 0.1 %"
	}
	spent := figure{Name: "Spent", Value: money(s.Cost.dollars()), Unit: "USD"}
	if s.Cost > 0 && s.Cost < dollar/10_000 {
		spent.Value = "<0.0001" // the table has all of it
	}
	if s.Estimated > 0 {
		spent.More = "of it " + money(s.Estimated.dollars()) + " estimated"
	}
	calls := figure{Name: "Calls", Value: compact(float64(s.Calls))}
	if s.Unknown > 0 {
		calls.More = counted(s.Unknown, "call") + " of unknown usage"
	}
	in := figure{Name: "Tokens in", Value: compact(float64(s.Input))}
	if s.Cached > 0 {
		in.More = percent(s.Cached, s.Input) + " from caches"
	}
	latency := figure{Name: "Latency p95", Value: "–"}
	if p95, ok := s.Latencies.Quantile(0.95); ok {
		p50, _ := s.Latencies.Quantile(0.5)
		latency.Value, latency.Unit, latency.More = seconds(p95), "s", "half within "+seconds(p50)+" s"
	}
	return []figure{spent, calls, in, {Name: "Tokens out", Value: compact(float64(s.Output))},
		{Name: "Refused", Value: compact(float64(s.Refused)), More: shareOf(percent(s.Refused, s.Calls))},
		{Name: "Failed", Value: compact(float64(s.Failed)), More: shareOf(percent(s.Failed, s.Calls))}, latency}
}

func shareOf(percent string) string {
	if percent == "none" {
		return ""
	}
	return percent + " of the calls"
}

// plots are drawn on the scale.
func (p *Plots) plots(s scale) []plot {
	groups, refused := p.days, p.refusedDays
	if s.unit == Hour {
		groups, refused = p.hours, p.refusedHours
	}
	dollars := func(v float64) string { return money(v) + " USD" }
	calls := func(v float64) string { return counted(int64(v), "call") }

	spend := overTime(s, wholeSizes, seriesOf(s, groups, func(sums *Sums) float64 { return sums.Cost.dollars() }), false, money, dollars)
	spend.ID, spend.Title, spend.Whole = "spend", fmt.Sprintf("Spend per %s by group, in USD", s.unit), true
	spend.About = "A call is its first limited group's; (none) is of calls by which no limit applied."
	if len(spend.Rows) == 0 {
		spend.Empty = "Nothing was spent: no model that was called has a price."
	}

	denied := overTime(s, halfSizes, seriesOf(s, refused, func(sums *Sums) float64 { return float64(sums.Refused) }), true, compact, calls)
	denied.ID, denied.Title = "refused", fmt.Sprintf("Refused calls per %s by reason", s.unit)
	denied.About = "Answered 401, 403 or 429 by the gateway itself."
	if len(denied.Rows) == 0 {
		denied.Empty = "No call was refused."
	}
	return []plot{spend, p.latency(s, groups), p.tokens(), denied, p.limited()}
}

// overTime is stacked series, and their table with a row for each time.
func overTime(s scale, sizes []size, all []series, whole bool, cell, amount func(float64) string) plot {
	p := plot{Head: []heading{{string(s.unit), false}}}
	if len(all) == 0 {
		return p
	}
	for _, one := range all {
		p.Legend = append(p.Legend, entry{one.Name, one.Class})
		p.Head = append(p.Head, heading{one.Name, true})
	}
	p.Head = append(p.Head, heading{"total", true})
	for i, start := range s.starts {
		row, sum := []string{s.full(start)}, 0.0
		for _, one := range all {
			row = append(row, cell(one.values[i]))
			sum += one.values[i]
		}
		p.Rows = append(p.Rows, append(row, cell(sum)))
	}
	for _, z := range sizes {
		p.Drawings = append(p.Drawings, stacked(z, s, all, whole, amount))
	}
	return p
}

func (p *Plots) latency(s scale, t *Table) plot {
	pl := plot{ID: "latency", Title: "Latency of answers", About: "To the end of answers with a status below 400. Half of them took no longer than p50, 19 of 20 no longer than p95.",
		Legend: []entry{{"p95", "s2"}, {"p50", "s1"}}, Head: []heading{{string(s.unit), false}, {"answers", true}, {"p50 s", true}, {"p95 s", true}}}
	at := s.each(t)
	p50, p95 := curve{name: "p50", class: "s1"}, curve{name: "p95", class: "s2"}
	for _, start := range s.starts {
		var all Latencies
		for _, sums := range at[s.key(start)] {
			all.merge(&sums.Latencies)
		}
		half, ok := all.Quantile(0.5)
		most, _ := all.Quantile(0.95)
		row := []string{s.full(start), separated(all.calls), "-", "-"}
		if !ok {
			half, most = math.NaN(), math.NaN()
		} else {
			row[2], row[3] = seconds(half), seconds(most)
			pl.Empty = "drawn"
		}
		p50.values, p95.values = append(p50.values, half), append(p95.values, most)
		pl.Rows = append(pl.Rows, row)
	}
	if pl.Empty == "" {
		pl.Empty, pl.Rows, pl.Legend = "No call was answered.", nil, nil
		return pl
	}
	pl.Empty = ""
	for _, z := range halfSizes {
		pl.Drawings = append(pl.Drawings, curves(z, s, []curve{p95, p50}))
	}
	return pl
}

// firstRows are the rows for which measure is largest, and the others as one.
func firstRows(t *Table, measure func(*Sums) int64) []*Row {
	rows := t.Rows()
	slices.SortStableFunc(rows, func(a, b *Row) int {
		return cmp.Or(compare(a.Values[0] == Others, b.Values[0] == Others), cmp.Compare(measure(&b.Sums), measure(&a.Sums)))
	})
	if len(rows) <= mostSeries {
		return rows
	}
	rest := &Row{Values: []string{fmt.Sprintf("%d others", len(rows)-mostSeries)}}
	for _, r := range rows[mostSeries:] {
		rest.merge(&r.Sums)
	}
	return append(rows[:mostSeries:mostSeries], rest)
}

func (p *Plots) tokens() plot {
	pl := plot{ID: "tokens", Title: "Tokens by model", About: "Cached tokens are those of the input that the provider had already.",
		Legend: []entry{{"input", "s1"}, {"cached input", "s2"}, {"output", "s3"}},
		Head:   []heading{{"model", false}, {"input", true}, {"of it cached", true}, {"output", true}}}
	var bars []share
	for _, r := range firstRows(p.models, func(s *Sums) int64 { return s.Input + s.Output }) {
		if r.Input+r.Output == 0 {
			continue
		}
		name := r.Values[0]
		bars = append(bars, share{name: name, parts: []float64{float64(max(r.Input-r.Cached, 0)), float64(min(r.Cached, r.Input)), float64(r.Output)},
			label: compact(float64(r.Input + r.Output)),
			title: fmt.Sprintf("%s\n%s input tokens, %s of them cached\n%s output tokens", name, separated(r.Input), separated(r.Cached), separated(r.Output))})
		pl.Rows = append(pl.Rows, []string{name, separated(r.Input), separated(r.Cached), separated(r.Output)})
	}
	return pl.lying(bars, "No token was used, or none was told.")
}

func (p *Plots) limited() plot {
	pl := plot{ID: "limits", Title: "Refused by limit", About: "The limit's name, and how many calls it refused.", Head: []heading{{"limit", false}, {"refused", true}}}
	var bars []share
	for i, r := range firstRows(p.limits, func(s *Sums) int64 { return s.Refused }) {
		bars = append(bars, share{name: r.Values[0], parts: []float64{float64(r.Refused)}, label: compact(float64(r.Refused)),
			title: r.Values[0] + "\n" + counted(r.Refused, "call") + " refused", rest: i == mostSeries})
		pl.Rows = append(pl.Rows, []string{r.Values[0], separated(r.Refused)})
	}
	return pl.lying(bars, "No limit refused a call.")
}

func (pl plot) lying(bars []share, empty string) plot {
	if len(bars) == 0 {
		pl.Empty, pl.Legend = empty, nil
		return pl
	}
	for _, z := range halfSizes {
		pl.Drawings = append(pl.Drawings, lying(z, bars))
	}
	return pl
}
