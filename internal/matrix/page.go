package matrix

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/config"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
	// pagePolicy lets the page look as it does, and run its own script and nothing else, whoever serves it. The script
	// asks for nothing: there is no connect-src.
	pagePolicy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", hash(pageStyle), hash(pageScript))
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Comparison is what a page shows of another configuration.
type Comparison struct {
	From    *Matrix
	Changes []Change
}

// mostPageCells is how many cells a page has, at some 70 bytes each: a browser has that many in a few seconds. The rest is
// for CSV.
const mostPageCells = 40_000

// page is what the template shows.
type page struct {
	Style        template.CSS
	Script       template.JS
	Policy, File string
	About        string
	Notes        []string
	Against      string
	Compared     bool
	Figures      []figure
	Changes      []changes
	Tables       []table
	Whys         []why
	Policies     []shownPolicy
	Left         int
}

type figure struct {
	Class, Name string
	Count       int
}

type changes struct {
	ID, Title string
	Rows      []changed
}

type changed struct {
	Who, About, Model, Upstream, Group string
	Operations, From, To               string
	FromClass, ToClass                 string
	Was, Is                            int
}

type table struct {
	ID, Title, About, Of string
	// Few says that the columns' names have room to lie.
	Few  bool
	Head []heading
	Rows []tableRow
}

type heading struct{ Name, More string }

type tableRow struct {
	Name, More string
	Cells      []tableCell
}

type tableCell struct {
	Class Outcome
	Say   string
	Why   int
	// Changed says what it does, where the outcome was another.
	Changed Direction
}

// why is what stands behind cells: outcomes by operations, and policies by their places on the page.
type why struct {
	Class, Title string
	Parts        []whyPart
}

type whyPart struct {
	Class, Title, Operations string
	Reasons                  []whyReason
}

type whyReason struct {
	Policy               int
	ID, Effect, At, When string
}

type shownPolicy struct{ ID, Effect, At, Text string }

// maker numbers what several cells share.
type maker struct {
	*page
	policies map[*Policy]int
	whys     map[string]int
	cells    map[*Cell]int
}

// WritePage writes one HTML document: the matrix, and beneath it each outcome's reasons and each policy's text. Cells lead
// there; the script that the page holds opens them in place, and searches. Without it nothing is missing but that.
func WritePage(w io.Writer, m *Matrix, against *Comparison) error {
	pg := &page{Style: template.CSS(pageStyle), Script: template.JS(pageScript), Policy: pagePolicy, File: config.Printable(m.File)}
	mk := &maker{pg, map[*Policy]int{}, map[string]int{}, map[*Cell]int{}}
	if m.Audit {
		pg.Notes = append(pg.Notes, "policies.mode is audit: what is denied is recorded, and let through.")
	}
	moved := map[[2]int]Direction{}
	if against != nil {
		pg.Compared, pg.Against = true, config.Printable(against.From.File)
		pg.Notes = notes(against.From, m)
		if still := unseen(against.From, m); len(against.Changes) == 0 && still != "" {
			pg.Notes = append(pg.Notes, still)
		}
		mk.changes(against.Changes, moved)
	}
	groups, models := 0, map[string]bool{}
	for _, r := range m.Rows {
		if r.Group != "" {
			groups++
		}
	}
	for _, c := range m.Columns {
		if c.Model != "" {
			models[c.Model] = true
		}
	}
	pg.About = counted(groups, "group") + ", " + counted(len(models), "model") + ", " + counted(len(m.Policies), "policy")
	for _, p := range m.Policies {
		mk.policy(p)
	}
	rows := len(m.Rows)
	if most := max(1, mostPageCells/max(1, len(m.Columns))); rows > most {
		pg.Left, rows = rows-most, most
	}
	for _, g := range m.groups() {
		mk.table(m, rows, g, true, moved)
	}
	mk.table(m, rows, "", false, moved)
	return pageTemplate.Execute(w, pg)
}

func counted(n int, what string) string {
	if n != 1 {
		what = strings.TrimSuffix(what, "y") + map[bool]string{true: "ies", false: "s"}[strings.HasSuffix(what, "y")]
	}
	return fmt.Sprintf("%d %s", n, what)
}

var words = map[string]string{"inference": "Inference", "fine_tuning": "Fine-tuning", "files": "Files", "batches": "Batches"}

func word(group string) string {
	if w := words[group]; w != "" {
		return w
	}
	return group
}

// table adds one group's operations on models or, where group is "", all on upstreams.
func (mk *maker) table(m *Matrix, rows int, group string, models bool, moved map[[2]int]Direction) {
	t := table{ID: "on-upstreams", Title: "Calls that name no model", About: "Stored files, batches, jobs and responses, on the upstreams such calls go to.", Of: "upstream"}
	if models {
		t = table{ID: "on-models-" + group, Title: word(group), Of: "model"}
	}
	var columns []int
	for i, c := range m.Columns {
		if (c.Model != "") != models || models && c.Group != group {
			continue
		}
		columns = append(columns, i)
		h := heading{config.Printable(c.Model), config.Printable(c.Upstream)}
		if !models {
			h = heading{config.Printable(c.Upstream), word(c.Group)}
		} else if t.About == "" {
			t.About = counted(len(c.Operations), "operation") + ": " + strings.Join(c.Operations, ", ")
		}
		t.Head = append(t.Head, h)
	}
	if len(columns) == 0 {
		return
	}
	t.Few = len(columns) <= 8
	for i := range rows {
		r := tableRow{}
		r.Name, r.More = heads(m.Rows[i])
		for _, j := range columns {
			cell := m.Cells[i][j]
			say := cell.say()
			if cell.Outcome == Deny {
				say = "deny"
			}
			at, known := mk.cells[cell]
			if !known {
				at = mk.why(cell.Outcome, cell.Parts)
				mk.cells[cell] = at
			}
			r.Cells = append(r.Cells, tableCell{cell.Outcome, say, at, moved[[2]int{i, j}]})
		}
		t.Rows = append(t.Rows, r)
	}
	mk.Tables = append(mk.Tables, t)
}

// heads are a row's name, and what else it says.
func heads(r Row) (name, more string) {
	switch {
	case r.Group != "":
		name = r.Group
	case r.Client != "":
		name = strings.TrimPrefix(r.Client, r.Issuer+"#")
		more = "client of " + host(r.Issuer)
	case r.Issuer != "":
		name, more = "any client", "of "+host(r.Issuer)+", in no group"
	default:
		name, more = "any client", "in no group"
	}
	if r.Nobody {
		more = strings.TrimPrefix(more+"; nobody: no issuer gives it", "; ")
	}
	return config.Printable(name), config.Printable(more)
}

// host is an issuer without what they all begin with.
func host(issuer string) string { return strings.TrimPrefix(issuer, "https://") }

func (mk *maker) changes(all []Change, moved map[[2]int]Direction) {
	for _, d := range []Direction{Gains, Loses, Differs} {
		part := changes{ID: string(d), Title: map[Direction]string{Gains: "Who gains", Loses: "Who loses", Differs: "What else differs"}[d]}
		for _, c := range all {
			if c.Direction() != d {
				continue
			}
			operations := strings.Join(c.Operations, ", ")
			if len(c.Operations) > mostNames {
				operations = fmt.Sprintf("%d operations", len(c.Operations))
			}
			name, about := heads(c.Row)
			part.Rows = append(part.Rows, changed{name, about, config.Printable(c.Model), config.Printable(c.Upstream), word(c.Group), operations, string(c.From.Outcome), string(c.To.Outcome),
				class(c.From.Outcome), class(c.To.Outcome), mk.why(c.From.Outcome, []Part{c.From}), mk.why(c.To.Outcome, []Part{c.To})})
			if c.column >= 0 {
				at := [2]int{c.row, c.column}
				if before := moved[at]; before == "" || before == d {
					moved[at] = d
				} else { // some operations gain, some lose
					moved[at] = Differs
				}
			}
		}
		mk.Figures = append(mk.Figures, figure{string(d), map[Direction]string{Gains: "gains", Loses: "losses", Differs: "other differences"}[d], len(part.Rows)})
		if len(part.Rows) > 0 {
			mk.Changes = append(mk.Changes, part)
		}
	}
}

func class(o Outcome) string {
	if o == Absent {
		return "absent"
	}
	return string(o)
}

var sentences = map[Outcome]string{
	Allow:   "Allowed",
	Some:    "Some operations are allowed",
	Depends: "It depends",
	Deny:    "Denied: no policy permits it",
	Forbid:  "Forbidden, whatever else permits it",
	Absent:  "Not configured",
}

// why is the place of what stands behind an outcome, the same for all that say the same.
func (mk *maker) why(o Outcome, parts []Part) int {
	w := why{Class: class(o), Title: sentences[o]}
	order := []Outcome{Allow, Depends, Forbid, Deny, Absent}
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b Part) int {
		return cmp.Compare(slices.Index(order, a.Outcome), slices.Index(order, b.Outcome))
	})
	for _, p := range parts {
		part := whyPart{Class: class(p.Outcome), Title: sentences[p.Outcome], Operations: strings.Join(p.Operations, ", ")}
		for _, r := range p.Reasons {
			part.Reasons = append(part.Reasons, whyReason{mk.policy(r.Policy), config.Printable(r.ID), r.Effect(), config.Printable(r.At()), r.when(p.Outcome)})
		}
		w.Parts = append(w.Parts, part)
	}
	key := fmt.Sprintf("%#v", w)
	i, known := mk.whys[key]
	if !known {
		i = len(mk.Whys)
		mk.whys[key] = i
		mk.Whys = append(mk.Whys, w)
	}
	return i
}

// when says to which requests the policy applies.
func (r Reason) when(o Outcome) string {
	reads := slices.Clone(r.Reads)
	for i, name := range reads {
		reads[i] = config.Printable(name)
	}
	var say string
	switch {
	case r.Errs && !r.Conditional:
		say = "its evaluation errs, which denies"
	case r.Conditional && len(reads) > 0:
		say = "depending on " + strings.Join(reads, ", ")
	case r.Conditional:
		say = "depending on the request"
	case o == Forbid && !r.Forbids:
		return "overridden"
	default:
		return "always"
	}
	if r.Errs && r.Conditional {
		say += "; its evaluation may err, which denies"
	}
	return say
}

func (mk *maker) policy(p *Policy) int {
	i, known := mk.policies[p]
	if !known {
		i = len(mk.Policies)
		mk.policies[p] = i
		mk.Policies = append(mk.Policies, shownPolicy{config.Printable(p.ID), p.Effect(), config.Printable(p.At()), config.PrintableText(p.Text)})
	}
	return i
}
