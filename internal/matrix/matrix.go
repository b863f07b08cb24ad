// Package matrix shows people what policies let each group do, on which model and upstream: as text,
// CSV, JSON or a page, and what a change of them changes. It decides nothing: whoever fills a Matrix has
// asked the policies.
//
// What operators wrote (ids, names of groups, policies) is not trusted: nothing that is printed commands
// a terminal, a browser or a spreadsheet.
package matrix

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/config"
)

// Matrix is a configuration's outcomes, a cell for each row and column.
type Matrix struct {
	// File is the configuration's.
	File string
	// Audit says that denials are recorded and let through.
	Audit   bool
	Rows    []Row
	Columns []Column
	// Policies are all in force, by their ids.
	Policies []*Policy
	// Cells are those of each row, in the order of Columns.
	Cells [][]*Cell
}

// Row is a kind of clients: those in one group, one by its name or, where both are "", those in no group.
type Row struct {
	Group, Client, Issuer string
	// Nobody says that there are none.
	Nobody bool
}

// Name is how the row is called.
func (r Row) Name() string {
	switch {
	case r.Group != "":
		return r.Group
	case r.Client != "":
		return r.Client
	case r.Issuer != "":
		return "any client of " + r.Issuer
	}
	return "any client"
}

// Column is a group of operations on a model in an upstream or, where Model is "", on the upstream.
type Column struct {
	Model, Upstream, Group string
	Operations             []string
}

// Outcome is what becomes of requests.
type Outcome string

const (
	Allow   Outcome = "allow"
	Some    Outcome = "some"
	Depends Outcome = "depends"
	Deny    Outcome = "deny"
	Forbid  Outcome = "forbid"
	// Absent is an outcome's place where the configuration has no such model or upstream.
	Absent Outcome = "not configured"
)

// Cell is the outcome of a column's operations for a row, and of each part of them.
type Cell struct {
	Outcome Outcome
	Parts   []Part
}

// Part is operations on which the same policies have the same say.
type Part struct {
	Outcome    Outcome
	Operations []string
	Reasons    []Reason
}

// Reason is a policy that has a say, on all requests or, where it is Conditional, by what it Reads of them.
type Reason struct {
	*Policy
	Conditional, Errs bool
	Reads             []string
}

// Policy is one as it was written. Two whose Meaning is the same differ in nothing that decides.
type Policy struct {
	ID      string
	Forbids bool
	File    string
	Line    int
	Text    string
	Meaning string
}

// Effect is the policy's first word.
func (p *Policy) Effect() string {
	if p.Forbids {
		return "forbid"
	}
	return "permit"
}

// At is where the policy stands.
func (p *Policy) At() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Change is operations whose outcome is another under another configuration.
type Change struct {
	Row                    Row
	Model, Upstream, Group string
	Operations             []string
	// Row and column are its places in the matrix that it leads to, or -1.
	row, column int
	From, To    Part
}

// Direction is what a change does.
type Direction string

const (
	Gains Direction = "gains"
	Loses Direction = "loses"
	// Differs is a change between two denials, or of the conditions that the outcome depends on.
	Differs Direction = "differs"
)

// Direction says who gains and who loses.
func (c Change) Direction() Direction {
	rank := map[Outcome]int{Depends: 1, Allow: 2}
	switch cmp.Compare(rank[c.To.Outcome], rank[c.From.Outcome]) {
	case 1:
		return Gains
	case -1:
		return Loses
	}
	return Differs
}

// Compare lists what changes on the way from one matrix to the other, which have the same rows. An outcome is another too
// where it depends on other conditions, and a denial where a forbid comes or goes, which a client meets in further groups.
func Compare(from, to *Matrix) []Change {
	type place struct{ model, upstream, group string }
	places := func(m *Matrix) map[place]int {
		at := map[place]int{}
		for i, c := range m.Columns {
			at[place{c.Model, c.Upstream, c.Group}] = i
		}
		return at
	}
	before, after := places(from), places(to)
	var all []place
	seen := map[place]bool{}
	for _, c := range append(slices.Clone(to.Columns), from.Columns...) {
		p := place{c.Model, c.Upstream, c.Group}
		if !seen[p] {
			all = append(all, p)
		}
		seen[p] = true
	}
	var changes []Change
	unchanged := map[[2]*Cell]bool{} // most are
	for i, row := range to.Rows {
		for _, p := range all {
			f, inFrom := before[p]
			t, inTo := after[p]
			column := -1
			var cells [2]*Cell
			var operations []string
			if inFrom {
				cells[0], operations = from.Cells[i][f], from.Columns[f].Operations
			}
			if inTo {
				cells[1], operations, column = to.Cells[i][t], to.Columns[t].Operations, t
			}
			if unchanged[cells] {
				continue
			}
			was, is := cells[0].byOperation(), cells[1].byOperation()
			first := len(changes)
			for _, op := range operations {
				a, b := was[op], is[op]
				if a == nil {
					a = &Part{Outcome: Absent}
				}
				if b == nil {
					b = &Part{Outcome: Absent}
				}
				if a.alike(b) {
					continue
				}
				at := slices.IndexFunc(changes[first:], func(c Change) bool { return c.From.same(a) && c.To.same(b) })
				if at < 0 {
					at = len(changes) - first
					changes = append(changes, Change{Row: row, Model: p.model, Upstream: p.upstream, Group: p.group, row: i, column: column, From: *a, To: *b})
				}
				changes[first+at].Operations = append(changes[first+at].Operations, op)
			}
			unchanged[cells] = len(changes) == first
		}
	}
	return changes
}

// unseen says, where there are no changes, of which policies that are not on both sides no row tells: those for clients in
// several groups, or for nobody.
func unseen(from, to *Matrix) string {
	missing := func(m, in *Matrix) (ids []string) {
		for _, p := range m.Policies {
			if !slices.ContainsFunc(in.Policies, func(o *Policy) bool { return o.Meaning == p.Meaning }) {
				ids = append(ids, config.Printable(p.ID))
			}
		}
		return ids
	}
	ids := append(missing(from, to), missing(to, from)...)
	if len(ids) == 0 {
		return ""
	}
	slices.Sort(ids)
	return "no outcome changes, but policies do, which a client in several groups may feel: " + strings.Join(slices.Compact(ids), ", ")
}

func (c *Cell) byOperation() map[string]*Part {
	of := map[string]*Part{}
	if c == nil {
		return of
	}
	for i := range c.Parts {
		for _, op := range c.Parts[i].Operations {
			of[op] = &c.Parts[i]
		}
	}
	return of
}

// alike reports whether the outcomes are one to a reader who asks what changes.
func (p *Part) alike(o *Part) bool {
	none := func(o Outcome) bool { return o == Absent || o == Deny }
	switch {
	case none(p.Outcome) && none(o.Outcome), p.Outcome == Depends && o.Outcome == Depends:
		return slices.Equal(p.conditions(), o.conditions())
	}
	return p.Outcome == o.Outcome
}

// same reports whether the same policies come to the same.
func (p *Part) same(o *Part) bool {
	return p.Outcome == o.Outcome && slices.EqualFunc(p.Reasons, o.Reasons, func(a, b Reason) bool {
		return a.ID == b.ID && a.Conditional == b.Conditional && a.Errs == b.Errs
	})
}

// conditions are what the outcome depends on, whatever its policies are called and in whatever order they stand.
func (p *Part) conditions() []string {
	var all []string
	for _, r := range p.Reasons {
		all = append(all, fmt.Sprint(r.Meaning, r.Conditional, r.Errs, r.Reads))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
