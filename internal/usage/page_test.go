package usage_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"llmgateway.dev/gateway/internal/usage"
	"llmgateway.dev/gateway/test/records"
)

// pageOf is the page of an input, as text and parsed.
func pageOf(t *testing.T, in []byte) (string, *html.Node) {
	t.Helper()
	table, plots := usage.NewTable(time.UTC, usage.Group, usage.Model), usage.NewPlots(time.UTC)
	if _, err := usage.Read(bytes.NewReader(in), func(r *usage.Record) { table.Add(r); plots.Add(r) }); err != nil {
		t.Fatal(err)
	}
	text := written(t, func(w io.Writer) error { return usage.WritePage(w, table, plots) })
	doc, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), doc
}

func elements(doc *html.Node, name string) []*html.Node {
	var all []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (n.Data == name || name == "*") {
			all = append(all, n)
		}
	}
	return all
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// inputs are companies of all kinds.
var inputs = sync.OnceValue(func() map[string][]byte {
	start := records.Acme.Start
	var zeros, extremes bytes.Buffer
	for i := range 20 {
		fmt.Fprintf(&zeros, `{"time":"2026-11-%02dT10:00:00Z","request_id":"A","httpRequest":{"status":200}}`+"\n", i+1)
		for g, usd := range []float64{1e-9, 1e6, 3} {
			fmt.Fprintf(&extremes, `{"time":"2026-11-%02dT10:00:00Z","request_id":"A","httpRequest":{"status":200},"charged_group":"group-%d","gen_ai.request.model":"m%d","cost_usd":%g,"gen_ai.usage.input_tokens":%d,"total_seconds":%g}`+"\n",
				i+1, g, g, usd, 1+int64(g)<<38, math.Pow10(4*g-4))
		}
	}
	return map[string][]byte{
		"three weeks":     lines(records.Acme),
		"a day":           lines(records.Company{Start: start, Days: 1, Calls: 200, Teams: 5}),
		"one call":        lines(records.Company{Start: start, Days: 1, Calls: 1, Teams: 1}),
		"forty groups":    lines(records.Company{Start: start, Days: 20, Calls: 60, Teams: 40}),
		"a year":          lines(records.Company{Start: start, Days: 366, Calls: 5, Teams: 12}),
		"zeros":           zeros.Bytes(),
		"extremes":        extremes.Bytes(),
		"a clock amiss":   []byte(record + "\n" + strings.Replace(record, "2026", "0001", 1) + "\n" + strings.Replace(record, "2026", "9999", 1)),
		"nothing at all":  nil,
		"a hostile group": fmt.Appendf(nil, `{"time":"2026-11-22T10:00:00Z","request_id":"A","httpRequest":{"status":403},"charged_group":%s,"gen_ai.request.model":%[1]s,"error_code":%[1]s,"limit":%[1]s,"cost_usd":1,"gen_ai.usage.input_tokens":1}`, hostileJSON()),
	}
})

func hostileJSON() []byte {
	b, _ := json.Marshal(hostile + "javascript:alert(1)//evil.example</title></svg></style>{{.}}")
	return b
}

// Whoever opens it asks nobody else, and runs nothing: also where it is served without a policy, or with a stricter one.
func TestAPageAsksForNothingAndRunsNothing(t *testing.T) {
	for name, in := range inputs() {
		t.Run(name, func(t *testing.T) {
			text, doc := pageOf(t, in)
			known := strings.Fields("html head meta title style body header main section p h1 h2 dl div dt dd span ul li svg rect desc line text path circle g details summary table thead tbody tfoot tr th td")
			ids := map[string]bool{}
			for _, n := range elements(doc, "*") {
				if !slices.Contains(known, n.Data) {
					t.Errorf("<%s>", n.Data)
				}
				for _, a := range n.Attr {
					switch key := strings.ToLower(a.Key); {
					case strings.HasPrefix(key, "on"), key == "style", key == "href", key == "src", key == "xlink:href":
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					case key == "id" && ids[a.Val]:
						t.Errorf("two elements are %s", a.Val)
					case key == "id":
						ids[a.Val] = true
					}
					if strings.Contains(a.Val, "NaN") || strings.Contains(a.Val, "Inf") || strings.Contains(a.Val, "evil") {
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					}
				}
			}
			style := textOf(elements(doc, "style")[0])
			if strings.Contains(style, "url(") || strings.Contains(style, "@import") || strings.Contains(style, "evil") {
				t.Error("the style asks for something")
			}
			sum := sha256.Sum256([]byte(style))
			want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
			if got := attribute(elements(doc, "meta")[1], "content"); got != want {
				t.Errorf("policy %s, want %s", got, want)
			}
			for _, r := range text {
				if r < ' ' && r != '\n' || r == 0x9b || r == 0x202e {
					t.Errorf("the page holds %q", r)
				}
			}
		})
	}
}

// Who can't see a plot, or point at it, has its name, its description, and its numbers.
func TestAPlotCanBeReadWithoutItsPicture(t *testing.T) {
	for name, in := range inputs() {
		t.Run(name, func(t *testing.T) {
			_, doc := pageOf(t, in)
			ids := map[string]*html.Node{}
			for _, n := range elements(doc, "*") {
				if id := attribute(n, "id"); id != "" {
					ids[id] = n
				}
			}
			for _, svg := range elements(doc, "svg") {
				if attribute(svg, "aria-hidden") == "true" {
					continue
				}
				labels := strings.Fields(attribute(svg, "aria-labelledby"))
				if attribute(svg, "role") != "img" || len(labels) != 2 {
					t.Fatalf("a picture without a name: %v", svg.Attr)
				}
				for i, id := range labels {
					if n := ids[id]; n == nil || n.Parent != svg || n.Data != []string{"title", "desc"}[i] || textOf(n) == "" {
						t.Errorf("%s names nothing", id)
					}
				}
			}
			for _, section := range elements(doc, "section") {
				pictures := 0
				for _, svg := range elements(section, "svg") {
					if attribute(svg, "role") == "img" {
						pictures++
					}
				}
				if tables := elements(section, "table"); pictures > 0 && (len(tables) != 1 || len(elements(tables[0], "tr")) < 2 || len(elements(section, "summary")) != 1) {
					t.Errorf("%s has no table", attribute(section, "aria-labelledby"))
				}
			}
			for _, n := range elements(doc, "div") {
				if attribute(n, "class") == "scroll" && (attribute(n, "tabindex") != "0" || attribute(n, "aria-label")+attribute(n, "aria-labelledby") == "") {
					t.Error("a table that keys can't scroll")
				}
			}
		})
	}
}

// section is a part of the page, by its heading's id.
func section(t *testing.T, doc *html.Node, id string) *html.Node {
	t.Helper()
	for _, n := range elements(doc, "section") {
		if attribute(n, "aria-labelledby") == id {
			return n
		}
	}
	t.Fatalf("no section %s", id)
	return nil
}

func TestTheScaleFollowsTheSpan(t *testing.T) {
	for name, want := range map[string]struct {
		title   string
		columns int
	}{
		"a day":         {"Spend per hour by group, in USD", 24},
		"one call":      {"Spend per hour by group, in USD", 1},
		"three weeks":   {"Spend per day by group, in USD", 21},
		"a year":        {"Spend per month by group, in USD", 13},
		"a clock amiss": {"Spend per month by group, in USD", 100},
	} {
		_, doc := pageOf(t, inputs()[name])
		spend := section(t, doc, "spend")
		if got := textOf(elements(spend, "h2")[0]); got != want.title {
			t.Errorf("%s: %s", name, got)
		}
		if got := len(elements(elements(spend, "tbody")[0], "tr")); got != want.columns {
			t.Errorf("%s: %d columns, want %d", name, got, want.columns)
		}
	}
}

func TestOnlyTheLargestGroupsHaveAColour(t *testing.T) {
	_, doc := pageOf(t, inputs()["forty groups"])
	var legend []string
	for _, li := range elements(section(t, doc, "spend"), "li") {
		legend = append(legend, textOf(li))
	}
	if len(legend) != 9 || !strings.HasSuffix(legend[8], " others") {
		t.Error(legend)
	}
}

// What a plot's table says adds up to what is on top.
func TestThePlotsAreOfTheSameCalls(t *testing.T) {
	_, doc := pageOf(t, lines(records.Acme))
	sum := func(id string, column int) (sum float64) {
		for _, tr := range elements(elements(section(t, doc, id), "tbody")[0], "tr") {
			cells := append(elements(tr, "th"), elements(tr, "td")...)
			var v float64
			fmt.Sscan(strings.ReplaceAll(textOf(cells[(column+len(cells))%len(cells)]), ",", ""), &v)
			sum += v
		}
		return sum
	}
	if got := sum("spend", -1); math.Abs(got-9.749) > 0.01 {
		t.Errorf("%g USD", got)
	}
	if got := sum("refused", -1); got != 114 {
		t.Errorf("%g refused", got)
	}
	if got := sum("tokens", 1); got != 1274204 {
		t.Errorf("%g tokens in", got)
	}
	if got := sum("latency", 1); got != 1125 {
		t.Errorf("%g answers", got)
	}
	figures := textOf(elements(doc, "dl")[0])
	for _, want := range []string{"Spent9.75 USDof it 0.185 estimated", "Calls1,26022 calls of unknown usage", "Tokens in1.27M21.2 % from caches", "Refused1149 % of the calls"} {
		if !strings.Contains(figures, want) {
			t.Errorf("%s is not in %s", want, figures)
		}
	}
}

// An hour that a clock shows twice is one column, and counted once.
func TestTheEndOfSummerTimeIsCountedOnce(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	table, plots := usage.NewTable(berlin, usage.Hour), usage.NewPlots(berlin)
	for i := range 6 {
		r := &usage.Record{Time: time.Date(2026, 10, 24, 22+i, 30, 0, 0, time.UTC), Cost: 1e9, Status: 200}
		table.Add(r)
		plots.Add(r)
	}
	doc, err := html.Parse(bytes.NewReader(written(t, func(w io.Writer) error { return usage.WritePage(w, table, plots) })))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range elements(elements(section(t, doc, "spend"), "tbody")[0], "tr") {
		got = append(got, strings.ReplaceAll(strings.TrimPrefix(textOf(tr), "Sun 25 Oct 2026, "), "\n", " "))
	}
	if want := []string{"00:001.001.00", "01:001.001.00", "02:002.002.00", "03:001.001.00", "04:001.001.00"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNumbersHaveSensibleDigits(t *testing.T) {
	for _, row := range []struct {
		v              float64
		compact, money string
	}{
		{0, "0", "0"}, {3e-8, "3e-08", "3e-08"}, {0.00018, "0.00018", "0.00018"}, {0.1234567, "0.123", "0.123"}, {9.749, "9.75", "9.75"},
		{12, "12", "12.00"}, {999.6, "1,000", "999.60"}, {1234.5, "1,235", "1,234.50"}, {12345, "12.3k", "12.3k"}, {999499, "999k", "999k"}, {999600, "1M", "1M"},
		{1234567, "1.23M", "1.23M"}, {4.2e9, "4.2B", "4.2B"}, {1.8e13, "18T", "18T"},
	} {
		if c, m := usage.Compact(row.v), usage.Money(row.v); c != row.compact || m != row.money {
			t.Errorf("%g is %s, %s USD; want %s, %s", row.v, c, m, row.compact, row.money)
		}
	}
	for _, row := range []struct {
		usd      usage.USD
		decimals int
		want     string
	}{
		{0, 2, "0.00"}, {1, 9, "0.000000001"}, {1, 2, "<0.01"}, {4_999_999, 2, "<0.01"}, {5_000_000, 2, "0.01"}, {1_234_567_891, 2, "1.23"}, {999_999_999, 2, "1.00"},
		{1234567 * 1e9, 2, "1,234,567.00"}, {math.MaxInt64, 4, "9,223,372,036.8547"},
	} {
		if got := row.usd.Round(row.decimals); got != row.want {
			t.Errorf("%d rounded to %d is %s, want %s", row.usd, row.decimals, got, row.want)
		}
	}
}
