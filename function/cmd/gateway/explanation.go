package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
)

// maxNear is how many policies that nearly matched a person reads of one place.
const maxNear = 5

// write writes the answer for people.
func (a answer) write(w io.Writer) error {
	var b bytes.Buffer
	a.client.write(&b)
	fmt.Fprintf(&b, "asks for    %s%s\n", a.Operation, on(a.Model))
	context := []string{fmt.Sprintf("stream %t", a.Stream)}
	if a.MaxOutputTokens != nil {
		context = append(context, fmt.Sprintf("max_output_tokens %d", *a.MaxOutputTokens))
	}
	fmt.Fprintf(&b, "with        %s, at %s\n\n", strings.Join(context, ", "), a.Time.Format(time.RFC3339))

	b.WriteString(a.Decision)
	switch {
	case a.Code != "":
		fmt.Fprintf(&b, ": the client gets %d %s", a.Status, a.Code)
	case a.Decision == "deny":
		fmt.Fprintf(&b, ": recorded and let through, as policies.mode is %s", a.Mode)
	}
	b.WriteString("\n")
	if len(a.Places) == 0 {
		b.WriteString("\nThere is no default_upstream, where calls that name no model go.\n")
	}
	for i := 0; i < len(a.Places); {
		why, names := a.Places[i].why(), []string{a.Places[i].name()}
		for i++; i < len(a.Places) && a.Places[i].why() == why; i++ {
			names = append(names, a.Places[i].name())
		}
		fmt.Fprintf(&b, "\nAt %s: %s", strings.Join(names, ", "), why)
	}
	_, err := io.WriteString(w, config.PrintableText(b.String()))
	return err
}

// write is what is known of the client.
func (c client) write(b *bytes.Buffer) {
	list := func(values []string) string { return cmp.Or(strings.Join(printable(values), ", "), "none") }
	var claims []string
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		claims = append(claims, name+"="+c.Claims[name])
	}
	if c.Unverified {
		b.WriteString("unverified  the token's signature was not checked: anybody may have written what follows\n")
	}
	fmt.Fprintf(b, "client      %s\n", config.Printable(c.Client))
	if c.Subject != "" {
		fmt.Fprintf(b, "subject     %s\n", config.Printable(c.Subject))
	}
	fmt.Fprintf(b, "groups      %s\n", list(c.Groups))
	if c.Dropped > 0 {
		fmt.Fprintf(b, "            and %d dropped, which begin with another issuer's group_prefix\n", c.Dropped)
	}
	if len(c.Scopes) > 0 {
		fmt.Fprintf(b, "scopes      %s\n", list(c.Scopes))
	}
	if len(claims) > 0 {
		fmt.Fprintf(b, "claims      %s\n", list(claims))
	}
}

func printable(values []string) []string {
	shown := make([]string, len(values))
	for i, v := range values {
		shown[i] = config.Printable(v)
	}
	return shown
}

func on(model string) string {
	if model == "" {
		return ""
	}
	return " on " + model
}

func (p place) name() string {
	if p.Model == "" {
		return p.Upstream
	}
	return fmt.Sprintf("%s (%s)", p.Upstream, p.Model)
}

// why is the decision on a place, and its reasons.
func (p place) why() string {
	var b strings.Builder
	b.WriteString(verdict(p.Allowed))
	if len(p.Determined)+len(p.Erred) == 0 {
		b.WriteString(", because nothing permits it")
	}
	b.WriteString("\n")
	for _, e := range p.Erred {
		show(&b, "because of an error in", e.Written)
		fmt.Fprintf(&b, "    %s\n", e.Error)
	}
	for _, w := range p.Determined {
		show(&b, "by", w)
	}
	for _, w := range p.Overridden {
		show(&b, "in spite of", w)
	}
	nearly := "nearly permitted by"
	if p.Allowed {
		nearly = "nearly forbidden by"
	}
	for _, n := range p.Near[:min(len(p.Near), maxNear)] {
		show(&b, nearly, n.Written)
		b.WriteString("    where this does not hold:\n")
		for _, part := range n.Failed {
			writeRequirement(&b, part)
		}
	}
	if more := len(p.Near) - maxNear; more > 0 {
		fmt.Fprintf(&b, "  %s %d more, which --json lists\n", nearly, more)
	}
	if p.Unused != "" {
		fmt.Fprintf(&b, "  never called, for %s\n", p.Unused)
	}
	return b.String()
}

// writeRequirement says what of a requirement decides, and what it came to.
func writeRequirement(b *strings.Builder, p policy.Requirement) {
	indent(b, p.Text)
	if p.Because != "" {
		fmt.Fprintf(b, "      because of %s\n", p.Because)
	}
	for _, r := range p.Read {
		fmt.Fprintf(b, "      where %s is %s\n", r.Expression, r.Value)
	}
	if p.Error != "" {
		fmt.Fprintf(b, "      whose evaluation errs: %s\n", p.Error)
	}
}

// show is a policy with where it stands.
func show(b *strings.Builder, how string, w policy.Written) {
	fmt.Fprintf(b, "  %s %s, %s:%d\n", how, config.Printable(w.ID), w.File, w.Line)
	indent(b, w.Text)
}

func indent(b *strings.Builder, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(b, "      %s\n", line)
	}
}

// table is what a client may do, by operation and by where.
type table struct {
	client
	Time time.Time   `json:"time"`
	Mode config.Mode `json:"mode"`
	// Models are the operations on models, and Upstreams those that name none.
	Models    []row `json:"models"`
	Upstreams []row `json:"upstreams"`
	// Unused are for each upstream the forms of API in which calls are allowed and that it lacks.
	Unused map[string][]string `json:"unused"`

	models, upstreams []string
}

// row is one operation: allow or deny for each model or upstream or, where a model's targets differ, how
// many of them are allowed.
type row struct {
	Operation operation.Name    `json:"operation"`
	Group     operation.Group   `json:"group"`
	On        map[string]string `json:"on"`
}

func newTable(c *config.Config, policies *policy.Policies, who *principal.Principal, q question) table {
	t := table{client: newClient(who, q.unverified), Time: q.at, Mode: c.Policies.Mode, Unused: map[string][]string{}, models: slices.Sorted(maps.Keys(c.Models)), upstreams: c.DefaultUpstream}
	for _, name := range operations() {
		op := operation.Named(operation.Name(name))
		r := row{Operation: op.Name, Group: op.Group, On: map[string]string{}}
		verdicts := func(model string) []policy.Verdict {
			all := policies.Verdicts(who, operation.Suppose(op, model, q.ask), q.at)
			for _, v := range all {
				if unused, form := t.Unused[v.Upstream], op.Dialect.String(); v.Allowed && !speaks(c, v.Upstream, op.Dialect) && !slices.Contains(unused, form) {
					t.Unused[v.Upstream] = append(unused, form)
				}
			}
			return all
		}
		if !op.NeedsModel() {
			for _, v := range verdicts("") {
				r.On[v.Upstream] = verdict(v.Allowed)
			}
			t.Upstreams = append(t.Upstreams, r)
			continue
		}
		for _, model := range t.models {
			targets := verdicts(model)
			denied := slices.DeleteFunc(slices.Clone(targets), func(v policy.Verdict) bool { return v.Allowed })
			r.On[model] = verdict(len(denied) < len(targets))
			if 0 < len(denied) && len(denied) < len(targets) {
				r.On[model] = fmt.Sprintf("%d of %d targets", len(targets)-len(denied), len(targets))
			}
		}
		t.Models = append(t.Models, r)
	}
	return t
}

func verdict(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}

// write writes a table for the operations on models, and one for the others.
func (t table) write(w io.Writer) error {
	var b bytes.Buffer
	t.client.write(&b)
	fmt.Fprintf(&b, "at          %s\n", t.Time.Format(time.RFC3339))
	for _, part := range []struct {
		head    string
		rows    []row
		columns []string
	}{{"on models", t.Models, t.models}, {"on upstreams", t.Upstreams, t.upstreams}} {
		if len(part.columns) == 0 {
			continue
		}
		b.WriteString("\n")
		tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tab, part.head+"\t"+strings.Join(part.columns, "\t"))
		for _, line := range collapse(part.rows, part.columns) {
			fmt.Fprintln(tab, strings.Join(line, "\t"))
		}
		tab.Flush()
	}
	notes := "\n"
	if t.Mode == config.Audit {
		b.WriteString("\npolicies.mode is audit: what is denied here is recorded, and let through.\n")
		notes = ""
	}
	for _, upstream := range slices.Sorted(maps.Keys(t.Unused)) {
		fmt.Fprintf(&b, "%s%s %s: such calls are never made there, though they are allowed.\n", notes, upstream, lacks(t.Unused[upstream]...))
		notes = ""
	}
	_, err := io.WriteString(w, config.PrintableText(b.String()))
	return err
}

// collapse makes one line of a group's operations where all come out alike.
func collapse(rows []row, columns []string) [][]string {
	lines := map[operation.Group][][]string{}
	for _, r := range rows {
		line := []string{string(r.Operation)}
		for _, c := range columns {
			line = append(line, r.On[c])
		}
		lines[r.Group] = append(lines[r.Group], line)
	}
	var all [][]string
	for _, g := range operation.Groups() {
		of := lines[g]
		alike := !slices.ContainsFunc(of, func(line []string) bool { return !slices.Equal(line[1:], of[0][1:]) })
		if len(of) > 1 && alike {
			of = [][]string{append([]string{fmt.Sprintf("%s (all %d)", g, len(of))}, of[0][1:]...)}
		}
		all = append(all, of...)
	}
	return all
}
