package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/matrix"
	"llmgateway.dev/gateway/internal/policy"
)

// showMatrix shows what policies let each group do, or what changes against another configuration.
func showMatrix(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	file := configFlag(flags)
	against := flags.String("against", "", "configuration `file` to compare with, such as the main branch's: who gains, who loses")
	asJSON := flags.Bool("json", false, "write JSON")
	asCSV := flags.Bool("csv", false, "write CSV")
	page := flags.String("html", "", "write a page to this `file` too")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := needConfig(*file, stderr); err != nil {
		return err
	}
	if *asJSON && *asCSV {
		fmt.Fprintln(stderr, "--csv: --json is there too; leave out one")
		return errUsage
	}
	c, policies, _, err := function.Read(*file)
	if err != nil {
		return err
	}
	named := policies.Named()
	if *against == "" {
		m := fill(c, policies.Matrix(named))
		if err := writeMatrix(m, *asJSON, *asCSV, stdout); err != nil || *page == "" {
			return err
		}
		return writeFile(*page, func(w io.Writer) error { return matrix.WritePage(w, m, nil) })
	}
	other, otherPolicies, _, err := function.Read(*against)
	if err != nil {
		return err
	}
	named = named.With(otherPolicies.Named()) // a group that only one of them names is in both like any other
	from, to := fill(other, otherPolicies.Matrix(named)), fill(c, policies.Matrix(named))
	changes := matrix.Compare(from, to)
	switch {
	case *asJSON:
		err = matrix.WriteChangesJSON(stdout, from, to, changes)
	case *asCSV:
		err = matrix.WriteChangesCSV(stdout, changes)
	default:
		err = matrix.WriteChanges(stdout, from, to, changes)
	}
	if err != nil || *page == "" {
		return err
	}
	return writeFile(*page, func(w io.Writer) error {
		return matrix.WritePage(w, to, &matrix.Comparison{From: from, Changes: changes})
	})
}

func writeMatrix(m *matrix.Matrix, asJSON, asCSV bool, w io.Writer) error {
	switch {
	case asJSON:
		return m.WriteJSON(w)
	case asCSV:
		return m.WriteCSV(w)
	}
	return m.WriteText(w)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// fill puts what policies say into what is shown. Cells that are one stay one.
func fill(c *config.Config, from *policy.Matrix) *matrix.Matrix {
	m := &matrix.Matrix{File: c.File, Audit: c.Policies.Mode == config.Audit}
	for _, col := range from.Columns {
		m.Columns = append(m.Columns, matrix.Column{Model: col.Model, Upstream: col.Upstream, Group: string(col.Group), Operations: texts(col.Operations)})
	}
	cells, policies := map[*policy.Cell]*matrix.Cell{}, map[*policy.Written]*matrix.Policy{}
	for _, s := range from.Policies {
		p := &matrix.Policy{ID: s.ID, Forbids: s.Forbids, File: s.File, Line: s.Line, Text: s.Text, Meaning: s.Meaning}
		policies[s] = p
		m.Policies = append(m.Policies, p)
	}
	for i, r := range from.Rows {
		m.Rows = append(m.Rows, matrix.Row(r))
		row := make([]*matrix.Cell, len(m.Columns))
		for j := range row {
			was := from.Cell(i, j)
			if cells[was] == nil {
				cells[was] = fillCell(was, policies)
			}
			row[j] = cells[was]
		}
		m.Cells = append(m.Cells, row)
	}
	return m
}

func fillCell(was *policy.Cell, policies map[*policy.Written]*matrix.Policy) *matrix.Cell {
	cell := &matrix.Cell{Outcome: matrix.Outcome(was.Outcome)}
	for _, p := range was.Parts {
		part := matrix.Part{Outcome: matrix.Outcome(p.Outcome), Operations: texts(p.Operations)}
		for _, r := range p.Reasons {
			part.Reasons = append(part.Reasons, matrix.Reason{Policy: policies[r.Written], Conditional: r.Conditional, Errs: r.Errs, Reads: r.Reads})
		}
		cell.Parts = append(cell.Parts, part)
	}
	return cell
}

func texts[T ~string](names []T) []string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = string(n)
	}
	return all
}
