//go:build e2e

// Package usage proves docs/usage.md: each of its queries runs, translated by sqlglot, in DuckDB, over a table with the
// schema of the log sink's in BigQuery, and says what gateway usage says of the same records.
package usage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/pages"
	"llmgateway.dev/gateway/test/records"
)

// The programs come from their registry, in these versions.
var packages = []string{"sqlglot==30.30.0", "duckdb==2.0.1"}

// python returns one that has the packages, installed once into .cache/e2e; another run of this test waits.
func python(t *testing.T, ctx context.Context) string {
	t.Helper()
	dir, err := filepath.Abs("../../.cache/e2e/" + strings.ReplaceAll(strings.Join(packages, "-"), "==", "-"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	interpreter := filepath.Join(dir, "bin", "python")
	complete := filepath.Join(dir, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return interpreter
	}
	for _, argv := range [][]string{{"python3", "-m", "venv", "--clear", dir}, append([]string{interpreter, "-m", "pip", "install", "--quiet"}, packages...)} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	if err := os.WriteFile(complete, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return interpreter
}

// documented are the queries of docs/usage.md by their headings. Now is the end of the records' last day but one: a
// query about this month is asked while the month goes on.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := pages.Read("../../docs", "usage.md")
	if err != nil {
		t.Fatal(err)
	}
	all, queries := page.Of("sql"), map[string]string{}
	for _, b := range all {
		queries[b.Heading] = strings.NewReplacer("CURRENT_DATE()", "DATE '2026-11-20'", "CURRENT_TIMESTAMP()", "TIMESTAMP '2026-11-20 18:00:00'").Replace(b.Text)
	}
	if len(all) != len(queries) {
		t.Fatalf("%d of %d queries have a heading of their own", len(queries), len(all))
	}
	return queries
}

// inserted is a LogEntry as the sink inserts it: names of a payload are spelled anew, at every depth.
func inserted(entry map[string]any) map[string]any {
	for _, name := range []string{"jsonPayload", "labels"} {
		if v, ok := entry[name]; ok {
			entry[name] = spelled(v)
		}
	}
	if r, ok := entry["httpRequest"].(map[string]any); ok {
		latency, _ := time.ParseDuration(r["latency"].(string))
		r["latency"] = latency.Seconds()
	}
	return entry
}

func spelled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for name, member := range v {
			m[records.Column(name)] = spelled(member)
		}
		return m
	case []any:
		for i := range v {
			v[i] = spelled(v[i])
		}
	}
	return v
}

type row map[string]any

// world is the records, and what each side says of them.
type world struct {
	file, gateway string
	entries       []map[string]any
	answers       map[string][]row
}

func build(t *testing.T) *world {
	ctx := t.Context()
	interpreter := python(t, ctx)
	w := &world{file: filepath.Join(t.TempDir(), "records.jsonl"), gateway: filepath.Join(t.TempDir(), "gateway")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", w.gateway, "../../function/cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var lines bytes.Buffer
	records.Acme.Write(&lines)
	if err := os.WriteFile(w.file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(lines.Bytes()) {
		w.entries = append(w.entries, inserted(records.Entry(line)))
	}
	asked, err := json.Marshal(map[string]any{"table": "acme.gateway_audit.run_googleapis_com_stderr", "rows": w.entries,
		"queries": documented(t), "scratch": filepath.Join(t.TempDir(), "rows.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	var out, diagnosis bytes.Buffer
	cmd := exec.CommandContext(ctx, interpreter, "testdata/query.py")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(asked), &out, &diagnosis
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &diagnosis)
	}
	dec := json.NewDecoder(&out)
	dec.UseNumber()
	if err := dec.Decode(&w.answers); err != nil {
		t.Fatal(err)
	}
	return w
}

// usage is what gateway usage --json says.
func (w *world) usage(t *testing.T, args ...string) (rows []row, total row) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), w.gateway, append(append([]string{"usage", "--json"}, args...), w.file)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Rows  []row
		Total row
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	if err := dec.Decode(&said); err != nil {
		t.Fatal(err)
	}
	return said.Rows, said.Total
}

func (r row) key(names []string) string {
	var values []string
	for _, n := range names {
		values = append(values, fmt.Sprint(r[n]))
	}
	return strings.Join(values, " | ")
}

func number(t *testing.T, v any) *big.Rat {
	t.Helper()
	n, ok := new(big.Rat).SetString(fmt.Sprint(v))
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return n
}

// near reports whether two numbers differ by no more than that part of the second.
func near(t *testing.T, a, b any, part float64) bool {
	x, _ := number(t, a).Float64()
	y, _ := number(t, b).Float64()
	return math.Abs(x-y) <= part*math.Abs(y)
}

func TestTheQueriesSayWhatTheCommandSays(t *testing.T) {
	w := build(t)
	told := map[string]bool{}
	answer := func(t *testing.T, heading string) []row {
		t.Helper()
		told[heading] = true
		rows := w.answers[heading]
		if len(rows) == 0 {
			t.Fatalf("no row for %q", heading)
		}
		return rows
	}

	// Sums by some dimensions: every row of one side is on the other.
	for _, q := range []struct {
		heading, by string
		// keys are the query's columns for the dimensions, sums its columns for the command's.
		keys []string
		sums map[string]string
		// within is how much quantiles may differ: both sides estimate, and the rarest model has but 60 answers.
		within float64
		// but are the command's rows that the query leaves out.
		but func(row) bool
	}{
		{"Spend per group and month", "month,group", []string{"month", "team"}, map[string]string{"calls": "calls", "usd": "usd"}, 0, nil},
		{"Spend per client and day", "day,client", []string{"day", "client"}, map[string]string{"calls": "calls", "usd": "usd"}, 0, nil},
		{"Tokens and spend per model", "model", []string{"model"}, map[string]string{"calls": "calls", "input_tokens": "input_tokens", "output_tokens": "output_tokens", "usd": "usd"}, 0, nil},
		{"How much of it is estimated, and how much unknown", "model", []string{"model"}, map[string]string{"usd_estimated": "usd_estimated", "calls_unknown": "usage_unknown"}, 0, nil},
		{"How much input came from caches", "model", []string{"model"}, map[string]string{"cached_tokens": "cached_tokens"}, 0, func(r row) bool { return r["model"] == "(none)" }},
		{"Who was refused by which limit", "limit,client", []string{"limit_name", "client"}, map[string]string{"refused": "refused"}, 0, func(r row) bool { return r["limit"] == "(none)" }},
		{"Latency per model", "model", []string{"model"}, map[string]string{"p50_seconds": "p50_seconds", "p95_seconds": "p95_seconds"}, 0.1, func(r row) bool { return r["p50_seconds"] == nil }},
	} {
		t.Run(q.heading, func(t *testing.T) {
			got := map[string]row{}
			for _, r := range answer(t, q.heading) {
				if k := r.key(q.keys); got[k] != nil {
					t.Errorf("%s is there twice", k)
				} else {
					got[k] = r
				}
			}
			rows, _ := w.usage(t, "--by", q.by)
			for _, want := range rows {
				if q.but != nil && q.but(want) {
					continue
				}
				k := want.key(strings.Split(q.by, ","))
				r := got[k]
				if r == nil {
					t.Errorf("the query has no %s", k)
					continue
				}
				delete(got, k)
				for mine, its := range q.sums {
					if q.within == 0 && number(t, r[mine]).Cmp(number(t, want[its])) != 0 || !near(t, r[mine], want[its], max(q.within, 1e-12)) {
						t.Errorf("%s: the query's %s is %v, the command's %s %v", k, mine, r[mine], its, want[its])
					}
				}
			}
			for k := range got {
				t.Errorf("the command has no %s", k)
			}
		})
	}

	t.Run("shares", func(t *testing.T) {
		rows, _ := w.usage(t, "--by", "model")
		by := map[any]row{}
		for _, r := range rows {
			by[r["model"]] = r
		}
		share := func(got any, part, of any) {
			t.Helper()
			if number(t, of).Sign() == 0 {
				if got != nil {
					t.Errorf("%v of nothing", got)
				}
			} else if want, _ := new(big.Rat).Quo(number(t, part), number(t, of)).Float64(); !near(t, got, want, 1e-9) {
				t.Errorf("share %v, want %g", got, want)
			}
		}
		for _, r := range answer(t, "How much of it is estimated, and how much unknown") {
			want := by[r["model"]]
			if want["usd"].(json.Number) == "0" {
				continue
			}
			share(r["share_estimated"], want["usd_estimated"], want["usd"])
			share(r["share_unknown"], want["usage_unknown"], want["calls"])
		}
		for _, r := range answer(t, "How much input came from caches") {
			share(r["share_cached"], by[r["model"]]["cached_tokens"], by[r["model"]]["input_tokens"])
		}
	})

	t.Run("What this month will cost", func(t *testing.T) {
		rows := answer(t, "What this month will cost")
		_, total := w.usage(t, "--by", "group", "--since", "2026-11-01", "--until", "2026-11-19")
		if len(rows) != 1 || number(t, rows[0]["usd"]).Cmp(number(t, total["usd"])) != 0 || fmt.Sprint(rows[0]["days"]) != "19" {
			t.Errorf("%v, want %v", rows, total["usd"])
		}
		if want, _ := new(big.Rat).Mul(number(t, total["usd"]), big.NewRat(30, 19)).Float64(); !near(t, rows[0]["forecast"], want, 1e-9) {
			t.Errorf("forecast %v, want %g", rows[0]["forecast"], want)
		}
	})

	payload := func(e map[string]any, name string) any { return e["jsonPayload"].(map[string]any)[name] }

	t.Run("The most expensive calls", func(t *testing.T) {
		rows := answer(t, "The most expensive calls")
		var costs []float64
		by := map[any]map[string]any{}
		for _, e := range w.entries {
			if usd, ok := payload(e, "cost_usd").(float64); ok {
				costs = append(costs, usd)
			}
			by[payload(e, "request_id")] = e
		}
		slices.SortFunc(costs, func(a, b float64) int { return cmp.Compare(b, a) })
		if len(rows) != 20 {
			t.Fatalf("%d rows", len(rows))
		}
		for i, r := range rows {
			e := by[r["request_id"]]
			if e == nil || !near(t, r["usd"], costs[i], 1e-12) || !near(t, payload(e, "cost_usd"), costs[i], 1e-12) || r["client"] != payload(e, "principal") || r["model"] != payload(e, "gen_ai_request_model") {
				t.Errorf("row %d is %v, of %v", i, r, e)
			}
		}
	})

	t.Run("How far budgets are used", func(t *testing.T) {
		used, full := map[string]float64{}, map[string]string{}
		for _, e := range w.entries {
			if payload(e, "budget_limit") == nil {
				continue
			}
			when := e["timestamp"].(string)
			k, u := fmt.Sprint(when[:10], " | ", payload(e, "budget_limit")), payload(e, "budget_used").(float64)
			used[k] = max(used[k], u)
			if at := strings.TrimRight(strings.TrimSuffix(when, "Z"), "0"); u >= 1 && (full[k] == "" || at < full[k]) {
				full[k] = at
			}
		}
		rows := answer(t, "How far budgets are used")
		if len(rows) != len(used) || len(full) == 0 {
			t.Errorf("%d rows, want %d", len(rows), len(used))
		}
		for _, r := range rows {
			k := r.key([]string{"day", "budget_limit"})
			at := ""
			if r["used_up_at"] != nil {
				at = strings.TrimRight(fmt.Sprint(r["used_up_at"]), "0")
			}
			if !near(t, r["used"], used[k], 1e-12) || at != full[k] {
				t.Errorf("%s: %v, want %g, %s", k, r, used[k], full[k])
			}
		}
	})

	for heading := range w.answers {
		if !told[heading] {
			t.Errorf("nothing was compared of %q", heading)
		}
	}
}
