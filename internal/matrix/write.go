package matrix

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"llmgateway.dev/gateway/internal/config"
)

// groups are the groups of operations that the columns have, in their order.
func (m *Matrix) groups() []string {
	var groups []string
	for _, c := range m.Columns {
		if !slices.Contains(groups, c.Group) {
			groups = append(groups, c.Group)
		}
	}
	return groups
}

const (
	nothing       = "-"
	everyModel    = "(every model)"
	everyUpstream = "(each)"
	// mostNames is how many models a line names.
	mostNames = 3
)

// line is one of the text: a resource, or several whose cells are the same.
type line struct {
	models   []string
	upstream string
	cells    map[string]*Cell
}

// lines are the row's, but for those on which no policy has a say.
func (m *Matrix) lines(row int) []line {
	all := map[string]int{} // how many models each upstream has
	var lines []line
	for i := 0; i < len(m.Columns); {
		c := m.Columns[i]
		one := line{models: []string{c.Model}, upstream: c.Upstream, cells: map[string]*Cell{}}
		silent := true
		for ; i < len(m.Columns) && m.Columns[i].Model == c.Model && m.Columns[i].Upstream == c.Upstream; i++ {
			cell := m.Cells[row][i]
			one.cells[m.Columns[i].Group] = cell
			silent = silent && cell.Outcome == Deny && len(cell.Parts) == 1 && len(cell.Parts[0].Reasons) == 0
		}
		if c.Model != "" {
			all[c.Upstream]++
		}
		if silent {
			continue
		}
		at := -1
		if c.Model != "" {
			at = slices.IndexFunc(lines, func(l line) bool {
				return l.upstream == c.Upstream && l.models[0] != "" && sameCells(l.cells, one.cells)
			})
		}
		if at < 0 {
			lines = append(lines, one)
		} else {
			lines[at].models = append(lines[at].models, c.Model)
		}
	}
	whole := 0
	for i, l := range lines {
		if l.models[0] != "" && len(l.models) == all[l.upstream] && (len(l.models) > 1 || len(all) == 1) {
			lines[i].models = []string{everyModel}
			whole++
		}
	}
	if whole == len(all) && whole > 1 { // one line for each upstream
		first := slices.IndexFunc(lines, func(l line) bool { return l.models[0] == everyModel })
		same := func(l line) bool { return l.models[0] == everyModel && sameCells(l.cells, lines[first].cells) }
		kept := lines[first]
		kept.upstream = everyUpstream
		if n := len(slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return !same(l) })); n == whole {
			lines = append([]line{kept}, slices.DeleteFunc(lines, same)...)
		}
	}
	return lines
}

func sameCells(a, b map[string]*Cell) bool {
	for group, cell := range a {
		if b[group] != cell {
			return false
		}
	}
	return len(a) == len(b)
}

func (l line) model() string {
	if len(l.models) <= mostNames {
		return strings.Join(l.models, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(l.models[:mostNames-1], ", "), len(l.models)-mostNames+1)
}

// say is a cell in a word.
func (c *Cell) say() string {
	switch {
	case c == nil:
		return ""
	case c.Outcome == Deny:
		return nothing
	case c.Outcome == Some:
		n, of := 0, 0
		for _, p := range c.Parts {
			of += len(p.Operations)
			if p.Outcome == Allow {
				n += len(p.Operations)
			}
		}
		return fmt.Sprintf("%d of %d", n, of)
	}
	return string(c.Outcome)
}

// ids are the policies' of the parts; one that matches only some requests has a ? after it.
func ids(parts ...Part) []string {
	var all []string
	for _, p := range parts {
		for _, r := range p.Reasons {
			id := config.Printable(r.ID)
			if r.Conditional {
				id += "?"
			}
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// WriteText writes the matrix for a terminal. Resources on which no policy has a say for a row are left out.
func (m *Matrix) WriteText(w io.Writer) error {
	groups := m.groups()
	table := [][]string{append(append([]string{"group", "model", "upstream"}, groups...), "policies")}
	for i, r := range m.Rows {
		lines := m.lines(i)
		if len(lines) == 0 {
			why := "(nothing)"
			if r.Nobody {
				why = "(nobody)"
			}
			table = append(table, []string{r.label(), why})
		}
		for n, l := range lines {
			row := []string{"", config.Printable(l.model()), config.Printable(l.upstream)}
			if n == 0 {
				row[0] = r.label()
			}
			var parts []Part
			for _, g := range groups {
				row = append(row, l.cells[g].say())
				if l.cells[g] != nil {
					parts = append(parts, l.cells[g].Parts...)
				}
			}
			table = append(table, append(row, strings.Join(ids(parts...), ", ")))
		}
	}
	b := bufio.NewWriter(w)
	writeTable(b, table)
	b.WriteString("\n" + legend)
	if m.Audit {
		b.WriteString("policies.mode is audit: what is denied here is recorded, and let through.\n")
	}
	return b.Flush()
}

// label is the row's name in a table, where no group is called like it.
func (r Row) label() string {
	if r.Group != "" {
		return config.Printable(r.Group)
	}
	if r.Client != "" {
		return "client " + config.Printable(r.Client)
	}
	return "(" + config.Printable(r.Name()) + ")"
}

const legend = `allow: all operations; 3 of 19: so many of the operations; forbid: denied whatever else permits; -: denied, as nothing permits it;
depends: on the request or the token, by the policies with ?. A line without a model is of calls that name none (files, jobs).
A row is of clients in that group and no other; one in several has what any permits and none forbids.
`

func writeTable(b *bufio.Writer, table [][]string) {
	widths := map[int]int{}
	for _, row := range table {
		for i, cell := range row {
			if i < len(row)-1 || len(row) < len(table[0]) && i == 0 {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, row := range table {
		var text strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&text, "%-*s  ", widths[i], cell)
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
}

// WriteChanges writes what changes for a terminal.
func WriteChanges(w io.Writer, from, to *Matrix, changes []Change) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "from %s to %s\n", config.Printable(from.File), config.Printable(to.File))
	if still := unseen(from, to); len(changes) == 0 && still != "" {
		b.WriteString(still + "\n")
	} else if len(changes) == 0 && from.Audit == to.Audit {
		b.WriteString("nothing changes\n")
	}
	for _, note := range notes(from, to) {
		b.WriteString(note + "\n")
	}
	for _, d := range []Direction{Gains, Loses, Differs} {
		var table [][]string
		for _, c := range changes {
			if c.Direction() == d {
				table = append(table, []string{c.Row.label(), config.Printable(c.Model), config.Printable(c.Upstream), c.operations(), string(c.From.Outcome) + " → " + string(c.To.Outcome), c.by()})
			}
		}
		if len(table) > 0 {
			fmt.Fprintf(b, "\n%s\n", titles[d])
			writeTable(b, append([][]string{{"group", "model", "upstream", "operations", "outcome", "policies"}}, table...))
		}
	}
	return b.Flush()
}

var titles = map[Direction]string{Gains: "Who gains", Loses: "Who loses", Differs: "What else differs: conditions, and forbids that clients in further groups meet"}

// notes say what changes for all.
func notes(from, to *Matrix) []string {
	switch {
	case from.Audit && !to.Audit:
		return []string{"policies.mode was audit: what was denied was let through, and is refused now"}
	case to.Audit && !from.Audit:
		return []string{"policies.mode is audit now: what is denied is let through"}
	case to.Audit:
		return []string{"policies.mode is audit: what is denied is recorded, and let through"}
	}
	return nil
}

func (c Change) operations() string {
	if len(c.Operations) > mostNames {
		return fmt.Sprintf("%s (%d)", c.Group, len(c.Operations))
	}
	return strings.Join(c.Operations, ", ")
}

// by are the policies on both sides; none is said where there are none.
func (c Change) by() string {
	list := func(p Part) string {
		if l := ids(p); len(l) > 0 {
			return strings.Join(l, ", ")
		}
		return "none"
	}
	return list(c.From) + " → " + list(c.To)
}

// WriteCSV writes a row for each operation on each resource.
func (m *Matrix) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"group", "client", "issuer", "model", "upstream", "operation_group", "operation", "outcome", "policies", "depends_on"})
	for i, r := range m.Rows {
		for j, column := range m.Columns {
			parts := m.Cells[i][j].byOperation()
			for _, op := range column.Operations {
				c.Write(append(cells(r.Group, r.Client, r.Issuer, column.Model, column.Upstream, column.Group, op, string(parts[op].Outcome)), cells(parts[op].told()...)...))
			}
		}
	}
	c.Flush()
	return c.Error()
}

// WriteChangesCSV writes a row for each operation whose outcome changes.
func WriteChangesCSV(w io.Writer, changes []Change) error {
	c := csv.NewWriter(w)
	c.Write([]string{"direction", "group", "client", "issuer", "model", "upstream", "operation_group", "operation", "from", "to", "from_policies", "to_policies"})
	for _, ch := range changes {
		for _, op := range ch.Operations {
			c.Write(cells(string(ch.Direction()), ch.Row.Group, ch.Row.Client, ch.Row.Issuer, ch.Model, ch.Upstream, ch.Group, op,
				string(ch.From.Outcome), string(ch.To.Outcome), ch.From.told()[0], ch.To.told()[0]))
		}
	}
	c.Flush()
	return c.Error()
}

// told are the part's policies, and what those that don't always match read.
func (p *Part) told() []string {
	var reads []string
	for _, r := range p.Reasons {
		reads = append(reads, r.Reads...)
	}
	slices.Sort(reads)
	return []string{strings.Join(ids(*p), "; "), strings.Join(slices.Compact(reads), "; ")}
}

// cells keep a spreadsheet from taking a value for a formula (owasp.org/www-community/attacks/CSV_Injection).
func cells(values ...string) []string {
	for i, v := range values {
		if v = config.Printable(v); v != "" && strings.ContainsAny(v[:1], "=+-@") {
			v = "'" + v
		}
		values[i] = v
	}
	return values
}

type jsonReason struct {
	ID          string   `json:"id"`
	Conditional bool     `json:"conditional,omitempty"`
	Errs        bool     `json:"errs,omitempty"`
	Reads       []string `json:"reads,omitempty"`
}

type jsonPart struct {
	Outcome    Outcome      `json:"outcome"`
	Operations []string     `json:"operations,omitempty"`
	Policies   []jsonReason `json:"policies"`
}

type jsonPolicy struct {
	ID     string `json:"id"`
	Effect string `json:"effect"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Text   string `json:"text"`
}

type jsonRow struct {
	Group  string `json:"group,omitempty"`
	Client string `json:"client,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	Nobody bool   `json:"nobody,omitempty"`
}

func (r Row) json() jsonRow { return jsonRow(r) }

func (p Part) json() jsonPart {
	j := jsonPart{p.Outcome, p.Operations, []jsonReason{}}
	for _, r := range p.Reasons {
		j.Policies = append(j.Policies, jsonReason{r.ID, r.Conditional, r.Errs, r.Reads})
	}
	return j
}

// WriteJSON writes the matrix as one JSON object, a cell a line, with the policies' texts.
func (m *Matrix) WriteJSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "{\n  \"config\": %s,\n  \"audit\": %t,\n  \"cells\": [", marshal(m.File), m.Audit)
	comma := ""
	for i, r := range m.Rows {
		for j, c := range m.Columns {
			cell := struct {
				jsonRow
				Model    string     `json:"model,omitempty"`
				Upstream string     `json:"upstream"`
				Group    string     `json:"operation_group"`
				Outcome  Outcome    `json:"outcome"`
				Parts    []jsonPart `json:"parts"`
			}{r.json(), c.Model, c.Upstream, c.Group, m.Cells[i][j].Outcome, nil}
			for _, p := range m.Cells[i][j].Parts {
				cell.Parts = append(cell.Parts, p.json())
			}
			fmt.Fprintf(b, "%s\n    %s", comma, marshal(cell))
			comma = ","
		}
	}
	writePolicies(b, m.Policies)
	return b.Flush()
}

// WriteChangesJSON writes the changes as one JSON object.
func WriteChangesJSON(w io.Writer, from, to *Matrix, changes []Change) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "{\n  \"from\": {\"config\": %s, \"audit\": %t},\n  \"to\": {\"config\": %s, \"audit\": %t},\n  \"changes\": [", marshal(from.File), from.Audit, marshal(to.File), to.Audit)
	for i, c := range changes {
		if i > 0 {
			b.WriteString(",")
		}
		from, to := c.From.json(), c.To.json()
		from.Operations, to.Operations = nil, nil
		fmt.Fprintf(b, "\n    %s", marshal(struct {
			Direction Direction `json:"direction"`
			jsonRow
			Model      string   `json:"model,omitempty"`
			Upstream   string   `json:"upstream"`
			Group      string   `json:"operation_group"`
			Operations []string `json:"operations"`
			From       jsonPart `json:"from"`
			To         jsonPart `json:"to"`
		}{c.Direction(), c.Row.json(), c.Model, c.Upstream, c.Group, c.Operations, from, to}))
	}
	b.WriteString("\n  ]\n}\n")
	return b.Flush()
}

func writePolicies(b *bufio.Writer, policies []*Policy) {
	b.WriteString("\n  ],\n  \"policies\": [")
	for i, p := range policies {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(b, "\n    %s", marshal(jsonPolicy{p.ID, p.Effect(), p.File, p.Line, p.Text}))
	}
	b.WriteString("\n  ]\n}\n")
}

// marshal is a value on one line that can be looked at.
func marshal(v any) string {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.Encode(v)
	return config.PrintableJSON(strings.TrimSuffix(text.String(), "\n"))
}
