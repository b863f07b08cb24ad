package usage_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none
	"unicode"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/usage"
	"llmgateway.dev/gateway/test/records"
)

var update = flag.Bool("update", false, "write the goldens anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// lines are a made-up company's records.
func lines(c records.Company) []byte {
	var b bytes.Buffer
	c.Write(&b)
	return b.Bytes()
}

// sum reads an input into a table by these dimensions.
func sum(t *testing.T, in []byte, by string) (*usage.Table, usage.Tally) {
	t.Helper()
	dimensions, err := usage.ParseDimensions(by)
	if err != nil {
		t.Fatal(err)
	}
	table := usage.NewTable(time.UTC, dimensions...)
	tally, err := usage.Read(bytes.NewReader(in), table.Add)
	if err != nil {
		t.Fatal(err)
	}
	return table, tally
}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func TestATableIsWrittenAsTextCSVAndJSON(t *testing.T) {
	table, tally := sum(t, lines(records.Acme), "group,model")
	golden(t, "table.txt", written(t, table.WriteText))
	golden(t, "table.csv", written(t, table.WriteCSV))
	text := written(t, func(w io.Writer) error { return table.WriteJSON(w, tally) })
	golden(t, "table.json", text)
	if !json.Valid(text) {
		t.Error("no JSON")
	}
	overlapping, _ := sum(t, lines(records.Acme), "claimed_group")
	golden(t, "overlap.txt", written(t, overlapping.WriteText))
}

// The same calls, however they come.
func TestEveryFormOfTheInputSaysTheSame(t *testing.T) {
	own := lines(records.Acme)
	var entries bytes.Buffer // as a storage sink writes them
	for line := range bytes.Lines(own) {
		b, _ := json.Marshal(records.Entry(line))
		entries.Write(append(b, '\n'))
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, records.Entries(own)); err != nil {
		t.Fatal(err)
	}
	doubles := bytes.ReplaceAll(own, []byte(`"gen_ai.usage.input_tokens":1124,`), []byte(`"gen_ai.usage.input_tokens":1.124e+03,`))
	if bytes.Equal(doubles, own) {
		t.Fatal("no record has 1124 tokens")
	}
	half := bytes.Index(own[len(own)/2:], []byte("\n")) + len(own)/2 + 1
	table, _ := sum(t, own, "day,client")
	want := written(t, table.WriteCSV)
	for name, in := range map[string][]byte{
		"a sink's lines":         entries.Bytes(),
		"gcloud's array":         records.Entries(own),
		"an array on one line":   compact.Bytes(),
		"two arrays":             append(records.Entries(own[:half]), records.Entries(own[half:])...),
		"an array, then lines":   append(records.Entries(own[:half]), own[half:]...),
		"lines, then an array":   append(slices.Clone(own[:half]), records.Entries(own[half:])...),
		"objects over lines":     bytes.NewBuffer(bytes.ReplaceAll(bytes.Trim(records.Entries(own), "[]\n"), []byte("\n  },"), []byte("\n  }\n"))).Bytes(),
		"gzip":                   compressed(own),
		"two files of gzip":      append(compressed(own[:half]), compressed(own[half:])...),
		"without a last newline": bytes.TrimSpace(own),
		"of an editor":           append([]byte("\ufeff"), bytes.ReplaceAll(own, []byte("\n"), []byte("\r\n"))...),
		"doubles":                doubles,
	} {
		t.Run(name, func(t *testing.T) {
			table, tally := sum(t, in, "day,client")
			if tally.Records != 1260 || tally.Others != 0 || tally.Broken != 0 {
				t.Errorf("%+v", tally)
			}
			if diff := cmp.Diff(string(want), string(written(t, table.WriteCSV))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const record = `{"time":"2026-11-22T10:00:00Z","request_id":"A","httpRequest":{"status":200},"cost_usd":0.5}`

func TestLinesThatAreNoRecordsAreToldApart(t *testing.T) {
	long := `{"request_id":"` + strings.Repeat("a", 1<<20) + `"}`
	for name, row := range map[string]struct {
		in                      string
		records, others, broken int64
		fault                   string
	}{
		"other programs":         {"serving gateway.yaml on :8080\n[GIN] 200\n\n" + `{"message":"token refresh failed","status":"x"}` + "\n" + record, 1, 3, 0, ""},
		"an export's other logs": {`[{"timestamp":"2026-11-22T10:00:00Z","textPayload":"hello"},{"jsonPayload":{"groups":7}}]`, 0, 2, 0, ""},
		"a cut line":             {record[:50] + "\n" + record, 1, 0, 1, "1: is no JSON object"},
		"two on one line":        {record + record, 0, 0, 1, "1: is no JSON object"},
		"a cut array":            {"[\n" + record + ",\n" + record[:50], 1, 0, 1, "3: ends in the middle of a record"},
		"an array of anything":   {"[" + record + ",\n7,\n" + record, 2, 0, 1, "2: is no object, in an array of records"},
		"a long line":            {long + "\n" + record, 1, 0, 1, "1: is longer than 1 MiB, as no record is"},
		"a long element":         {"[" + long + ",\n" + record + "]", 1, 0, 1, "1: is longer than 1 MiB, as no record is"},
		"another type":           {`{"model":1,"request_id":"A","principal":7,"time":"2026-11-22T10:00:00Z"}`, 0, 0, 1, "1: has a request_id, but a number where a record has none"},
		"a negative amount":      {strings.Replace(record, "0.5", "-0.5", 1), 0, 0, 1, "1: has a count, an amount or a duration that can't be"},
		"an endless amount":      {strings.Replace(record, "0.5", "1e999", 1), 0, 0, 1, "1: has a count, an amount or a duration that can't be"},
		"an amount before an id": {`{"jsonPayload":{"cost_usd":-1,"request_id":"A"}}`, 0, 0, 1, "1: has a count, an amount or a duration that can't be"},
		"a text for a number":    {strings.Replace(record, "0.5", `"0.5"`, 1), 0, 0, 1, "1: has a count, an amount or a duration that can't be"},
		"half a call":            {strings.Replace(record, "200", "200.5", 1), 0, 0, 1, "1: has a count, an amount or a duration that can't be"},
		"no time":                {strings.Replace(record, "time", "when", 1), 0, 0, 1, "1: has no time in the form of RFC 3339"},
		"null":                   {strings.Replace(record, "0.5", "null", 1), 1, 0, 0, ""},
		"nothing":                {"", 0, 0, 0, ""},
		"no array":               {"[", 0, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, tally := sum(t, []byte(row.in), "group")
			if tally.Records != row.records || tally.Others != row.others || tally.Broken != row.broken {
				t.Errorf("%+v", tally)
			}
			var first string
			if len(tally.Faults) > 0 {
				first = fmt.Sprintf("%d: %s", tally.Faults[0].Line, tally.Faults[0].Why)
			}
			if first != row.fault {
				t.Errorf("fault %q, want %q", first, row.fault)
			}
		})
	}
}

func TestACutFileOfGzipIsAnError(t *testing.T) {
	whole := compressed(lines(records.Acme))
	for _, in := range [][]byte{whole[:len(whole)/2], append([]byte{0x1f, 0x8b}, "no gzip"...)} {
		if _, err := usage.Read(bytes.NewReader(in), func(*usage.Record) {}); err == nil {
			t.Error("half a file is a sum")
		}
	}
}

// Each name that Read looks for is one that the gateway writes.
func TestARecordIsReadAsItIsWritten(t *testing.T) {
	text, err := os.ReadFile("../audit/testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range bytes.Lines(append(lines(records.Acme), bytes.ReplaceAll(text, []byte("\n"), nil)...)) {
		var members map[string]any
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			known[name] = true
		}
	}
	for _, name := range usage.Names() {
		if !known[name] {
			t.Errorf("no record has %s", name)
		}
	}

	var got []usage.Record
	text = bytes.Replace(text, []byte(`"TIME"`), []byte(`"2026-11-22T10:00:01.5Z"`), 1)
	if _, err := usage.Read(bytes.NewReader(text), func(r *usage.Record) { got = append(got, *r) }); err != nil {
		t.Fatal(err)
	}
	want := []usage.Record{{
		Time: time.Date(2026, 11, 22, 10, 0, 1, 5e8, time.UTC), Client: "https://idp#pipeline", Operation: "chat.completions.create",
		Model: "gpt-4-turbo", Upstream: "openai", Groups: []string{"a", "b"}, Charged: "a", Status: 200, Error: "upstream_error",
		Limit: "research", Input: 7, Output: 11, Unknown: true, Cost: 400_000, Estimated: true, Seconds: 1.5,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhoIsRefusedAndWhatFailed(t *testing.T) {
	for _, row := range []struct {
		status                    int
		code                      string
		refused, failed, answered bool
	}{
		{200, "", false, false, true},
		{200, "upstream_error", false, true, true},
		{200, "client_closed_request", false, false, true},
		{400, "invalid_request", false, false, false},
		{401, "expired_token", true, false, false},
		{403, "model_not_allowed", true, false, false},
		{403, "", false, false, false}, // the provider's
		{429, "budget_exceeded", true, false, false},
		{429, "", false, false, false},
		{500, "", false, true, false},
		{502, "upstream_error", false, true, false},
	} {
		r := usage.Record{Status: row.status, Error: row.code}
		if r.Refused() != row.refused || r.Failed() != row.failed || r.Answered() != row.answered {
			t.Errorf("%d %s: refused %t, failed %t, answered %t", row.status, row.code, r.Refused(), r.Failed(), r.Answered())
		}
	}
}

func TestMoneyIsSummedExactly(t *testing.T) {
	table := usage.NewTable(time.UTC, usage.Group)
	in := strings.NewReader(strings.Repeat(strings.Replace(record, "0.5", "0.1", 1)+"\n", 10_000) + strings.Replace(record, "0.5", "4.0000000000000003e-08", 1))
	if _, err := usage.Read(in, table.Add); err != nil {
		t.Fatal(err)
	}
	if got := table.Total.Cost.String(); got != "1000.00000004" {
		t.Error(got)
	}
	for range 10_000 { // and stops at the end
		table.Add(&usage.Record{Cost: 1e15})
	}
	if got := table.Total.Cost; got != math.MaxInt64 {
		t.Error(got)
	}
}

func TestAQuantileIsWithin2Percent(t *testing.T) {
	table := usage.NewTable(time.UTC, usage.Group)
	for i := range 10_000 {
		table.Add(&usage.Record{Status: 200, Seconds: 0.0002 * math.Pow(1.0012, float64(i*7919%10_000))}) // to 32 s, in no order
	}
	for _, share := range []float64{0, 0.01, 0.5, 0.95, 1} {
		want := 0.0002 * math.Pow(1.0012, max(math.Ceil(share*10_000), 1)-1)
		got, ok := table.Total.Latencies.Quantile(share)
		if !ok || math.Abs(got/want-1) > 0.02 {
			t.Errorf("p%g is %g s, want %g", 100*share, got, want)
		}
	}
	var none usage.Latencies
	if _, ok := none.Quantile(0.5); ok {
		t.Error("nothing has a quantile")
	}
}

// A client names a model as it likes.
const hostile = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202eevil\u2028</script><script>alert(1)</script>\"'><img src=x onerror=y>\t\n=cmd|' /C calc'!A0\x00"

func TestNothingThatAClientNamesCommandsATerminal(t *testing.T) {
	name, _ := json.Marshal(hostile)
	in := fmt.Appendf(nil, `{"time":"2026-11-22T10:00:00Z","request_id":"A","httpRequest":{"status":200},"gen_ai.request.model":%s,"charged_group":%[1]s,"groups":[%[1]s],`+
		`"principal":%[1]s,"operation":%[1]s,"upstream":%[1]s,"limit":%[1]s,"error_code":%[1]s,"cost_usd":1}`, name)
	table, tally := sum(t, in, "group,model,client,upstream,operation,error,limit,claimed_group")
	if tally.Records != 1 {
		t.Fatalf("%+v", tally)
	}
	for _, out := range [][]byte{written(t, table.WriteText), written(t, table.WriteCSV), written(t, func(w io.Writer) error { return table.WriteJSON(w, tally) })} {
		if i := bytes.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
			t.Errorf("%q", out[i:min(len(out), i+20)])
		}
	}
	if !strings.Contains(string(written(t, table.WriteCSV)), `\x1b]0;owned\a`) {
		t.Error("what it was is lost")
	}
}

func TestNothingInCSVIsAFormula(t *testing.T) {
	table := usage.NewTable(time.UTC, usage.Model)
	for _, name := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "gpt"} {
		table.Add(&usage.Record{Model: name})
	}
	rows, err := csv.NewReader(bytes.NewReader(written(t, table.WriteCSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, row[0])
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"'+1", "'-1", "'=1+1", "'@SUM(A1)", "gpt"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheRestIsSummedWhereATableIsFull(t *testing.T) {
	table := usage.NewTable(time.UTC, usage.Model)
	for i := range 1500 {
		table.Add(&usage.Record{Model: fmt.Sprint(i), Cost: 1})
	}
	rows := table.Rows()
	last := rows[len(rows)-1]
	if len(rows) != 1001 || last.Values[0] != usage.Others || last.Calls != 500 || table.Total.Calls != 1500 || !table.Full {
		t.Errorf("%d rows, the last %v with %d calls", len(rows), last.Values, last.Calls)
	}
	if text := string(written(t, table.WriteText)); !strings.Contains(text, "(others): what came after 1,000 values of a column") {
		t.Error("nobody is told")
	}

	table = usage.NewTable(time.UTC, usage.Model, usage.Client)
	for i := range 60_000 {
		table.Add(&usage.Record{Model: fmt.Sprint(i % 200), Client: fmt.Sprint(i / 200)})
	}
	if rows := table.Rows(); len(rows) != 50_001 || rows[50_000].Calls != 10_000 {
		t.Errorf("%d rows", len(rows))
	}

	// A call of many groups is one call of the others.
	table = usage.NewTable(time.UTC, usage.Claimed)
	r := usage.Record{}
	for i := range 1200 {
		r.Groups = append(r.Groups, fmt.Sprintf("%04d", i), fmt.Sprintf("%04d", i))
	}
	table.Add(&r)
	rows = table.Rows()
	if len(rows) != 1001 || rows[1000].Values[0] != usage.Others || rows[1000].Calls != 1 || rows[0].Calls != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestDaysBeginInTheZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	table := usage.NewTable(berlin, usage.Month, usage.Day, usage.Hour)
	table.Add(&usage.Record{Time: time.Date(2026, 10, 31, 23, 30, 0, 0, time.UTC)})
	if diff := cmp.Diff([]string{"2026-11", "2026-11-01", "2026-11-01T00"}, table.Rows()[0].Values); diff != "" {
		t.Error(diff)
	}
}

func TestADimensionIsKnownAndThereOnce(t *testing.T) {
	for list, want := range map[string]string{
		"group, model": "",
		"":             `"" is none of hour, day, month, group, model, client, upstream, operation, status, error, limit, claimed_group`,
		"team":         `"team" is none of hour, day, month, group, model, client, upstream, operation, status, error, limit, claimed_group`,
		"day,day":      "day is there twice",
	} {
		_, err := usage.ParseDimensions(list)
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%q: %s", list, got)
		}
	}
}

// FuzzRead: whatever comes is counted, can be printed, and adds up.
func FuzzRead(f *testing.F) {
	own := lines(records.Company{Start: records.Acme.Start, Days: 1, Calls: 3, Teams: 5})
	f.Add(own)
	f.Add(records.Entries(own))
	f.Add(compressed(own))
	for _, seed := range []string{record + "\n[" + record + "]", `[{"jsonPayload":{"request_id":"A"}}`, "{\n}", "[[", `{"request_id":"\ud800"}`, "\x1f\x8b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		table := usage.NewTable(time.UTC, usage.Day, usage.Model, usage.Claimed)
		plots := usage.NewPlots(time.UTC)
		tally, err := usage.Read(bytes.NewReader(in), func(r *usage.Record) { table.Add(r); plots.Add(r) })
		if err != nil {
			return
		}
		if table.Total.Calls != tally.Records || int64(len(tally.Faults)) > tally.Broken {
			t.Errorf("%d calls of %+v", table.Total.Calls, tally)
		}
		text := written(t, func(w io.Writer) error { return table.WriteJSON(w, tally) })
		if !json.Valid(text) {
			t.Errorf("no JSON: %s", text)
		}
		for _, out := range [][]byte{text, written(t, table.WriteText)} {
			if i := bytes.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
				t.Errorf("%q", out[i:min(len(out), i+20)])
			}
		}
		written(t, func(w io.Writer) error { return usage.WritePage(w, table, plots) })
	})
}
