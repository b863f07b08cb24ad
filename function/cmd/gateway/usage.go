package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
	_ "time/tzdata" // not every machine has zones

	"llmgateway.dev/gateway/internal/usage"
)

// sumUsage sums audit records in a table, and on a page.
func sumUsage(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("usage", flag.ContinueOnError)
	by := flags.String("by", "group,model", "`list` of what calls are told apart by: hour, day, month, group, model, client, upstream, operation, status, error, limit, claimed_group")
	since := flags.String("since", "", "leave out what is before this `time`, in RFC 3339, or this date")
	until := flags.String("until", "", "leave out what is at this `time` or later, or after this date")
	zoneName := flags.String("time-zone", "UTC", "`zone` in which days begin, such as Europe/Berlin")
	asJSON := flags.Bool("json", false, "write JSON")
	asCSV := flags.Bool("csv", false, "write CSV")
	page := flags.String("html", "", "write a page with plots to this `file` too")
	files, err := parseMixed(flags, args, stderr)
	if err != nil {
		return err
	}
	wrong := func(flag string, err error) error {
		fmt.Fprintf(stderr, "--%s: %v\n", flag, err)
		return errUsage
	}
	dimensions, err := usage.ParseDimensions(*by)
	if err != nil {
		return wrong("by", err)
	}
	zone, err := time.LoadLocation(*zoneName)
	if err != nil {
		return wrong("time-zone", err)
	}
	from, err := moment(*since, zone, 0)
	if err != nil {
		return wrong("since", err)
	}
	to, err := moment(*until, zone, 1)
	if err != nil {
		return wrong("until", err)
	}
	if *asJSON && *asCSV {
		return wrong("csv", errors.New("--json is there too; leave out one"))
	}

	table, plots := usage.NewTable(zone, dimensions...), usage.NewPlots(zone)
	var tally usage.Tally
	read := make(chan error, 1)
	go func() {
		var err error
		tally, err = readUsage(files, stderr, func(r *usage.Record) {
			if r.Time.Before(from) || !to.IsZero() && !r.Time.Before(to) {
				return
			}
			table.Add(r)
			if *page != "" {
				plots.Add(r)
			}
		})
		read <- err
	}()
	select {
	case <-ctx.Done(): // nothing else ends the wait for a terminal
		return context.Cause(ctx)
	case err = <-read:
	}
	if tally.Records == 0 {
		return err
	}
	if werr := writeUsage(table, tally, *asJSON, *asCSV, stdout, stderr); werr != nil {
		return werr
	}
	if *page != "" {
		if werr := writePage(*page, table, plots); werr != nil {
			return werr
		}
	}
	return err
}

// moment reads a time, or a date as the beginning of the day so many days later.
func moment(text string, zone *time.Location, days int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return t.AddDate(0, 0, days), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is neither a date as 2026-11-22 nor a time as 2026-11-22T10:00:00Z", text)
	}
	return t, nil
}

// readUsage reads the files, or standard input, and says on stderr what it could not understand. The error is also one where
// a file has no record.
func readUsage(files []string, stderr io.Writer, each func(*usage.Record)) (usage.Tally, error) {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var all usage.Tally
	var empty []error
	for _, name := range files {
		in := os.Stdin
		if name == "-" {
			name = "standard input"
		} else {
			var err error
			if in, err = os.Open(name); err != nil {
				return usage.Tally{}, err
			}
		}
		t, err := usage.Read(in, each)
		in.Close()
		if err != nil { // half a file would be a wrong sum
			return usage.Tally{}, fmt.Errorf("%s: %w", name, err)
		}
		for _, f := range t.Faults {
			fmt.Fprintf(stderr, "%s:%d: %s\n", name, f.Line, f.Why)
		}
		if more := t.Broken - int64(len(t.Faults)); more > 0 {
			fmt.Fprintf(stderr, "%s: and %d more lines that can't be read\n", name, more)
		}
		if t.Records == 0 {
			empty = append(empty, fmt.Errorf("%s holds no audit record, which is a JSON object with a request_id; give the gateway's standard error, or what `gcloud logging read 'jsonPayload.request_id:*' --format=json` prints", name))
		}
		all.Records += t.Records
		all.Others += t.Others
		all.Broken += t.Broken
	}
	return all, errors.Join(empty...)
}

func writeUsage(table *usage.Table, tally usage.Tally, asJSON, asCSV bool, stdout, stderr io.Writer) error {
	if asJSON {
		return table.WriteJSON(stdout, tally)
	}
	if tally.Others+tally.Broken > 0 {
		fmt.Fprintf(stderr, "lines left out: %d that are no audit records, %d that can't be read\n", tally.Others, tally.Broken)
	}
	if asCSV {
		return table.WriteCSV(stdout)
	}
	return table.WriteText(stdout)
}

func writePage(name string, table *usage.Table, plots *usage.Plots) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(usage.WritePage(f, table, plots), f.Close())
}
