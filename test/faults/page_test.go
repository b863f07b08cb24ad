//go:build e2e

package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	page  = "../../docs/reliability.md"
	begin = "<!-- written by go test -tags e2e ./test/faults -update -->\n"
	end   = "<!-- until here -->\n"
)

// tables are what the page has between its marks. measured is what was seen, by the names of troubles.
func tables(measured map[string]figures) string {
	var b strings.Builder
	b.WriteString("| fault | what happens to connections |\n| --- | --- |\n")
	for _, f := range faults {
		fmt.Fprintf(&b, "| %s | %s |\n", f, faultMeanings[f])
	}
	b.WriteString("\n| in trouble | fault | a call gets | within | well again within | measured |\n| --- | --- | --- | ---: | ---: | --- |\n")
	for _, s := range situations {
		for _, line := range s.lines() {
			first := trouble{[]situation{s}, line[:1]}
			var names []string
			var seen []figures
			for _, f := range line {
				names = append(names, f.String())
				seen = append(seen, measured[trouble{[]situation{s}, []fault{f}}.name()])
			}
			what := string(s.of)
			if s.when != "" {
				what += "; " + s.when
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", what, strings.Join(names, ", "), first.gets(), seconds(s.within(line[0])), seconds(s.recovers), sum(seen))
		}
	}
	b.WriteString("\n| in trouble together, nine times | a call gets | within | well again within | measured |\n| --- | --- | ---: | ---: | --- |\n")
	for at, all := 0, pairs(); at < len(all); at += len(faults) {
		var may []answer
		var seen []figures
		for _, tr := range all[at : at+len(faults)] {
			for _, k := range tr.kinds() {
				may = append(may, tr.want(k)...)
			}
			seen = append(seen, measured[tr.name()])
		}
		tr := all[at]
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %s | %s |\n", tr.situations[0].of, tr.situations[1].of, list(unique(may)), seconds(tr.within()), seconds(tr.recovers()), sum(seen))
	}
	fmt.Fprintf(&b, "\nThese are %d troubles.\n", len(singles())+len(pairs()))
	return b.String()
}

// lines are the faults that a situation answers alike, together.
func (s situation) lines() (lines [][]fault) {
	alike := func(f fault) string {
		return fmt.Sprint(trouble{[]situation{s}, []fault{f}}.gets(), s.within(f))
	}
	for _, f := range faults {
		at := slices.IndexFunc(lines, func(line []fault) bool { return alike(line[0]) == alike(f) })
		if at < 0 {
			lines = append(lines, []fault{f})
		} else {
			lines[at] = append(lines[at], f)
		}
	}
	return lines
}

// gets says how calls may end, for each kind where they differ.
func (tr trouble) gets() string {
	var all []string
	for _, k := range tr.kinds() {
		all = append(all, list(tr.want(k)))
	}
	if len(slices.Compact(slices.Clone(all))) == 1 {
		return all[0]
	}
	for i, k := range tr.kinds() {
		all[i] = tr.situations[0].kinds[k] + ": " + all[i]
	}
	return strings.Join(all, "; ")
}

func list(answers []answer) string {
	var names []string
	for _, a := range answers {
		names = append(names, a.String())
	}
	slices.Sort(names)
	return strings.Join(names, " or ")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

// sum is the worst of what was measured.
func sum(all []figures) string {
	var worst figures
	for _, f := range all {
		worst.calls += f.calls
		worst.longest, worst.recovery = max(worst.longest, f.longest), max(worst.recovery, f.recovery)
	}
	return fmt.Sprintf("%d calls, longest %.1f s, well after %.1f s", worst.calls, worst.longest.Seconds(), worst.recovery.Seconds())
}

// comparable is the tables without what was measured.
func comparable(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if at := strings.LastIndex(strings.TrimSuffix(line, " |\n"), " | "); at >= 0 && strings.Contains(line, " calls, longest ") {
			line = line[:at] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// checkPage holds the page's tables against the test's own, or writes them.
func checkPage(t *testing.T, measured map[string]figures, write bool) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	is, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no marks for the tables", page)
	}
	want := tables(measured)
	if write {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if comparable(is) != comparable(want) {
		t.Errorf("the tables of docs/reliability.md aren't this test's; go test -tags e2e ./test/faults -update writes them:\n%s", comparable(want))
	}
}
