package usage

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// columns are the sums as people read them, each with its name in CSV and JSON.
var columns = []struct{ title, name string }{
	{"calls", "calls"}, {"refused", "refused"}, {"failed", "failed"},
	{"input", "input_tokens"}, {"cached", "cached_tokens"}, {"output", "output_tokens"},
	{"USD", "usd"}, {"", "usd_estimated"}, {"p50 s", "p50_seconds"}, {"p95 s", "p95_seconds"}, {"unknown", "usage_unknown"},
}

// exact are the sums in the order of columns.
func (s *Sums) exact() []string {
	cells := []string{}
	for _, n := range []int64{s.Calls, s.Refused, s.Failed, s.Input, s.Cached, s.Output} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return append(cells, s.Cost.String(), s.Estimated.String(), s.quantile(0.5), s.quantile(0.95), strconv.FormatInt(s.Unknown, 10))
}

func (s *Sums) quantile(share float64) string {
	q, ok := s.Latencies.Quantile(share)
	if !ok {
		return ""
	}
	return strconv.FormatFloat(q, 'g', 3, 64)
}

// cells are the sums for the eye, with so many decimals of a dollar.
func (s *Sums) cells(decimals int) []string {
	cells := []string{}
	for _, n := range []int64{s.Calls, s.Refused, s.Failed, s.Input, s.Cached, s.Output} {
		cells = append(cells, separated(n))
	}
	cost := s.Cost.round(decimals)
	if s.Estimated > 0 {
		cost = "~" + cost
	}
	cells = append(cells, cost)
	for _, share := range []float64{0.5, 0.95} {
		cell := "-"
		if q, ok := s.Latencies.Quantile(share); ok {
			cell = seconds(q)
		}
		cells = append(cells, cell)
	}
	return append(cells, separated(s.Unknown))
}

// seconds has as many decimals as a histogram's precision is worth.
func seconds(s float64) string {
	switch {
	case s >= 99.95:
		return separated(int64(math.Round(s)))
	case s >= 10:
		return strconv.FormatFloat(s, 'f', 1, 64)
	case s >= 0.1:
		return strconv.FormatFloat(s, 'f', 2, 64)
	}
	return strconv.FormatFloat(s, 'f', 4, 64)
}

// widest is how much of a value a terminal's row has room for.
const widest = 60

// shortened takes the middle out: of an issuer's URL and a client, both ends tell.
func shortened(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	head := (most - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(most-1-head):])
}

// WriteText writes the table for a terminal, and beneath it what a reader must know of it.
func (t *Table) WriteText(w io.Writer) error {
	var head []string
	for _, d := range t.By {
		head = append(head, string(d))
	}
	for _, c := range columns {
		if c.title != "" {
			head = append(head, c.title)
		}
	}
	decimals := t.Total.Cost.decimals()
	lines := [][]string{head}
	for _, r := range t.Rows() {
		line := []string{}
		for _, v := range r.Values {
			line = append(line, shortened(v, widest))
		}
		lines = append(lines, append(line, r.cells(decimals)...))
	}
	total := append([]string{"total"}, slices.Repeat([]string{""}, len(t.By)-1)...)
	lines = append(lines, append(total, t.Total.cells(decimals)...))

	widths := make([]int, len(head))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			if i > 0 {
				row.WriteString("  ")
			}
			if i < len(t.By) {
				fmt.Fprintf(&row, "%-*s", widths[i], cell)
			} else {
				fmt.Fprintf(&row, "%*s", widths[i], cell)
			}
		}
		if n == len(lines)-1 && n > 1 {
			b.WriteString(strings.Repeat("─", utf8.RuneCountInString(row.String())) + "\n")
		}
		b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	b.WriteString("\n")
	for _, note := range t.notes() {
		b.WriteString(note + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// notes say over what the table is, and what its numbers are not.
func (t *Table) notes() []string {
	notes := []string{t.span()}
	if t.Overlap() {
		notes = append(notes, "each call is under each group that its client's token claims: rows overlap and don't add up to the total")
	}
	if t.Total.Estimated > 0 {
		notes = append(notes, fmt.Sprintf("~ in part the gateway's own estimate: %s USD of %s", t.Total.Estimated.round(t.Total.Estimated.decimals()), t.Total.Cost.round(t.Total.Cost.decimals())))
	}
	if t.Total.Unknown > 0 {
		notes = append(notes, "unknown: calls that should have told what they used, and did not")
	}
	if t.Total.Latencies.calls > 0 {
		notes = append(notes, "p50, p95: seconds to the end of answers with a status below 400, within 2 %")
	}
	if t.Full {
		notes = append(notes, fmt.Sprintf("%s: what came after %s values of a column, or %s rows", Others, separated(mostValues), separated(mostRows)))
	}
	return notes
}

func (t *Table) span() string {
	if t.Total.Calls == 0 {
		return "no call in this time"
	}
	const minute = "2006-01-02 15:04"
	return fmt.Sprintf("%s from %s to %s, %s", counted(t.Total.Calls, "call"), t.First.In(t.zone).Format(minute), t.Last.In(t.zone).Format(minute), t.zone)
}

func counted(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return separated(n) + " " + what
}

// WriteCSV writes the rows with exact numbers, and no total: whoever reads CSV sums.
func (t *Table) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	var head []string
	for _, d := range t.By {
		head = append(head, string(d))
	}
	for _, col := range columns {
		head = append(head, col.name)
	}
	c.Write(head)
	for _, r := range t.Rows() {
		var row []string
		for _, v := range r.Values {
			row = append(row, cellText(v))
		}
		c.Write(append(row, r.exact()...))
	}
	c.Flush()
	return c.Error()
}

// cellText keeps a spreadsheet from taking a value for a formula (owasp.org/www-community/attacks/CSV_Injection).
func cellText(v string) string {
	if strings.ContainsAny(v[:1], "=+-@") {
		return "'" + v
	}
	return v
}

// WriteJSON writes the table as one JSON object, with exact numbers, and what was read for it.
func (t *Table) WriteJSON(w io.Writer, read Tally) error {
	// The members are in order, for people read this too.
	sums := func(s *Sums) string {
		var b strings.Builder
		for i, cell := range s.exact() {
			if cell == "" {
				cell = "null"
			}
			fmt.Fprintf(&b, ", %q: %s", columns[i].name, cell)
		}
		return b.String()[2:]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"time_zone\": %s,\n", quoted(t.zone.String()))
	if t.Total.Calls > 0 {
		fmt.Fprintf(&b, "  \"first\": %s,\n  \"last\": %s,\n", quoted(t.First.In(t.zone).Format(time.RFC3339Nano)), quoted(t.Last.In(t.zone).Format(time.RFC3339Nano)))
	}
	fmt.Fprintf(&b, "  \"rows_overlap\": %t,\n  \"rows_cut\": %t,\n  \"rows\": [", t.Overlap(), t.Full)
	for i, r := range t.Rows() {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    {")
		for j, v := range r.Values {
			fmt.Fprintf(&b, "%q: %s, ", t.By[j], quoted(v))
		}
		b.WriteString(sums(&r.Sums) + "}")
	}
	fmt.Fprintf(&b, "\n  ],\n  \"total\": {%s},\n", sums(&t.Total))
	fmt.Fprintf(&b, "  \"records\": %d,\n  \"other_lines\": %d,\n  \"broken_lines\": %d\n}\n", read.Records, read.Others, read.Broken)
	_, err := io.WriteString(w, b.String())
	return err
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
