package usage

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dimension is what calls are told apart by.
type Dimension string

const (
	Hour      Dimension = "hour"
	Day       Dimension = "day"
	Month     Dimension = "month"
	Group     Dimension = "group"
	Model     Dimension = "model"
	Client    Dimension = "client"
	Upstream  Dimension = "upstream"
	Operation Dimension = "operation"
	Status    Dimension = "status"
	Error     Dimension = "error"
	Limit     Dimension = "limit"
	// Claimed is each of the groups that the client's token names, so that a call is counted under several.
	Claimed Dimension = "claimed_group"
)

// Dimensions are all there are.
var Dimensions = []Dimension{Hour, Day, Month, Group, Model, Client, Upstream, Operation, Status, Error, Limit, Claimed}

// ParseDimensions reads a list such as "group,model".
func ParseDimensions(list string) ([]Dimension, error) {
	var by []Dimension
	for name := range strings.SplitSeq(list, ",") {
		d := Dimension(strings.TrimSpace(name))
		switch {
		case !slices.Contains(Dimensions, d):
			names := strings.Trim(fmt.Sprint(Dimensions), "[]")
			return nil, fmt.Errorf("%q is none of %s", name, strings.ReplaceAll(names, " ", ", "))
		case slices.Contains(by, d):
			return nil, fmt.Errorf("%s is there twice", d)
		}
		by = append(by, d)
	}
	return by, nil
}

// isTime reports whether the values follow each other.
func (d Dimension) isTime() bool { return d == Hour || d == Day || d == Month }

const (
	// None is the value of a call that has none, Others of those that came after a table was full.
	None   = "(none)"
	Others = "(others)"

	// Clients choose models' names, so a table of them must end somewhere. A year of a hundred groups has room.
	mostValues = 1000
	mostRows   = 50_000
)

// of are the record's values; all but Claimed have one.
func (d Dimension) of(r *Record, zone *time.Location) []string {
	var v string
	switch d {
	case Hour:
		v = r.Time.In(zone).Format("2006-01-02T15")
	case Day:
		v = r.Time.In(zone).Format(time.DateOnly)
	case Month:
		v = r.Time.In(zone).Format("2006-01")
	case Group:
		v = r.Charged
	case Model:
		v = r.Model
	case Client:
		v = r.Client
	case Upstream:
		v = r.Upstream
	case Operation:
		v = r.Operation
	case Status:
		v = strconv.Itoa(r.Status)
	case Error:
		v = r.Error
	case Limit:
		v = r.Limit
	case Claimed:
		groups := slices.Clone(r.Groups)
		slices.Sort(groups)
		if groups = slices.Compact(groups); len(groups) > 0 {
			return groups
		}
	}
	return []string{cmp.Or(v, None)}
}

// Sums are of a number of calls.
type Sums struct {
	Calls, Refused, Failed int64
	// Input includes Cached.
	Input, Cached, Output int64
	// Cost includes Estimated.
	Cost, Estimated USD
	// Unknown is how many calls did not tell their usage.
	Unknown int64
	// Latencies are of the calls that were answered.
	Latencies Latencies
}

func (s *Sums) add(r *Record) {
	s.Calls++
	if r.Refused() {
		s.Refused++
	}
	if r.Failed() {
		s.Failed++
	}
	s.Input += r.Input
	s.Cached += r.Cached
	s.Output += r.Output
	s.Cost = s.Cost.plus(r.Cost)
	if r.Estimated {
		s.Estimated = s.Estimated.plus(r.Cost)
	}
	if r.Unknown {
		s.Unknown++
	}
	if r.Answered() {
		s.Latencies.add(r.Seconds)
	}
}

func (s *Sums) merge(o *Sums) {
	s.Calls += o.Calls
	s.Refused += o.Refused
	s.Failed += o.Failed
	s.Input += o.Input
	s.Cached += o.Cached
	s.Output += o.Output
	s.Cost = s.Cost.plus(o.Cost)
	s.Estimated = s.Estimated.plus(o.Estimated)
	s.Unknown += o.Unknown
	s.Latencies.merge(&o.Latencies)
}

// Row is the calls of one value of each dimension of its table.
type Row struct {
	Values []string
	Sums
}

// Table sums records. Its memory is bounded by its rows, and those by mostRows.
type Table struct {
	By []Dimension
	// Total is of every record once, even where rows overlap.
	Total Sums
	// First and Last are the times of the records.
	First, Last time.Time
	// Full says that some rows are of Others.
	Full bool

	zone *time.Location
	rows map[string]*Row
	// values are those of each dimension that have rows of their own.
	values []map[string]bool
}

// NewTable returns an empty table; days begin in the zone.
func NewTable(zone *time.Location, by ...Dimension) *Table {
	t := &Table{By: by, zone: zone, rows: map[string]*Row{}}
	for range by {
		t.values = append(t.values, map[string]bool{})
	}
	return t
}

// Overlap reports whether a call may be in several rows, so that they don't add up.
func (t *Table) Overlap() bool { return slices.Contains(t.By, Claimed) }

// Add counts a record.
func (t *Table) Add(r *Record) {
	if t.Total.Calls == 0 || r.Time.Before(t.First) {
		t.First = r.Time
	}
	if r.Time.After(t.Last) {
		t.Last = r.Time
	}
	t.Total.add(r)
	combinations := [][]string{nil}
	for i, d := range t.By {
		var longer [][]string
		var before string
		for _, v := range d.of(r, t.zone) {
			if v = t.bounded(i, v); v == Others && before == Others {
				continue // a call with several groups that have no row is one call
			}
			before = v
			for _, c := range combinations {
				longer = append(longer, append(slices.Clone(c), v))
			}
		}
		combinations = longer
	}
	for _, values := range combinations {
		t.row(values).add(r)
	}
}

// bounded is v, or Others where dimension i has enough values.
func (t *Table) bounded(i int, v string) string {
	if !t.values[i][v] {
		if len(t.values[i]) == mostValues {
			t.Full = true
			return Others
		}
		t.values[i][v] = true
	}
	return v
}

func (t *Table) row(values []string) *Row {
	key := strings.Join(values, "\x00") // which no value holds: it isn't printable
	row := t.rows[key]
	if row == nil && len(t.rows) >= mostRows {
		t.Full = true
		values = slices.Repeat([]string{Others}, len(values))
		key = strings.Join(values, "\x00")
		row = t.rows[key]
	}
	if row == nil {
		row = &Row{Values: values}
		t.rows[key] = row
	}
	return row
}

// Rows are in the order of time, where that is the first dimension; else the dearest come first.
func (t *Table) Rows() []*Row {
	rows := make([]*Row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *Row) int {
		inTime := 0
		if t.By[0].isTime() {
			// ( sorts before a digit
			inTime = cmp.Or(compare(a.Values[0] == Others, b.Values[0] == Others), cmp.Compare(a.Values[0], b.Values[0]))
		}
		return cmp.Or(inTime, compare(a.Values[0] == Others, b.Values[0] == Others),
			cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Calls, a.Calls), slices.Compare(a.Values, b.Values))
	})
	return rows
}

// compare puts false before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
