package matrix_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"llmgateway.dev/gateway/internal/matrix"
)

var update = flag.Bool("update", false, "rewrite the expected texts")

var (
	chats   = []string{"chat.completions.create", "completions.create", "embeddings.create", "messages.create"}
	infers  = &matrix.Policy{ID: "team-infers", File: "a.cedar", Line: 3, Text: "@id(\"team-infers\")\npermit (\n\tprincipal, action, resource);", Meaning: "1"}
	bounded = &matrix.Policy{ID: "bounded", Forbids: true, File: "a.cedar", Line: 9, Text: `@id("bounded") forbid (principal, action, resource) unless { context has max_output_tokens };`, Meaning: "2"}
	never   = &matrix.Policy{ID: "never-tunes", Forbids: true, File: "a.cedar", Line: 12, Text: `@id("never-tunes") forbid (principal, action, resource);`, Meaning: "3"}
)

// example has an outcome of each kind. Another is made of it by change.
func example(change func(*matrix.Matrix)) *matrix.Matrix {
	deny := func(ops []string) *matrix.Cell {
		return &matrix.Cell{Outcome: matrix.Deny, Parts: []matrix.Part{{Outcome: matrix.Deny, Operations: ops}}}
	}
	allow := &matrix.Cell{Outcome: matrix.Allow, Parts: []matrix.Part{{Outcome: matrix.Allow, Operations: chats, Reasons: []matrix.Reason{{Policy: infers}}}}}
	some := &matrix.Cell{Outcome: matrix.Some, Parts: []matrix.Part{
		{Outcome: matrix.Depends, Operations: chats[:1], Reasons: []matrix.Reason{{Policy: bounded, Conditional: true, Errs: true, Reads: []string{"max_output_tokens"}}, {Policy: infers}}},
		{Outcome: matrix.Allow, Operations: chats[1:2], Reasons: []matrix.Reason{{Policy: infers}}},
		{Outcome: matrix.Deny, Operations: chats[2:]},
	}}
	tune := []string{"fine_tuning.jobs.create"}
	forbid := &matrix.Cell{Outcome: matrix.Forbid, Parts: []matrix.Part{{Outcome: matrix.Forbid, Operations: tune, Reasons: []matrix.Reason{{Policy: never}, {Policy: infers}}}}}
	depends := &matrix.Cell{Outcome: matrix.Depends, Parts: []matrix.Part{{Outcome: matrix.Depends, Operations: []string{"files.list"}, Reasons: []matrix.Reason{{Policy: infers, Conditional: true, Reads: []string{"claims.environment", "time"}}}}}}
	no, noTune, noFiles := deny(chats), deny(tune), deny([]string{"files.list"})
	m := &matrix.Matrix{
		File: "gateway.yaml", Policies: []*matrix.Policy{bounded, never, infers},
		Rows: []matrix.Row{{}, {Group: "everywhere"}, {Group: "some"}, {Group: "gone-x", Nobody: true}, {Client: "https://id.example.com#nightly", Issuer: "https://id.example.com"}},
		Columns: []matrix.Column{
			{"gpt-4o", "azure", "inference", chats}, {"gpt-4o", "azure", "fine_tuning", tune},
			{"gpt-4o", "openai", "inference", chats}, {"gpt-4o", "openai", "fine_tuning", tune},
			{"mini", "openai", "inference", chats}, {"mini", "openai", "fine_tuning", tune},
			{"", "openai", "files", []string{"files.list"}},
		},
		Cells: [][]*matrix.Cell{
			{no, noTune, no, noTune, no, noTune, noFiles},
			{allow, noTune, allow, noTune, allow, noTune, noFiles},
			{no, noTune, some, forbid, no, noTune, noFiles},
			{no, noTune, no, noTune, no, noTune, noFiles},
			{no, noTune, no, noTune, no, noTune, depends},
		},
	}
	if change != nil {
		change(m)
	}
	return m
}

// before is the example under another configuration: without a model, and with other conditions.
func before() *matrix.Matrix {
	return example(func(m *matrix.Matrix) {
		m.File = "main.yaml"
		m.Cells[1][0], m.Cells[2][2], m.Cells[2][3] = m.Cells[0][0], m.Cells[0][0], m.Cells[0][1]
		m.Cells[2][0] = m.Cells[1][2]
		other := *infers
		other.Meaning = "4"
		m.Cells[4][6] = &matrix.Cell{Outcome: matrix.Depends, Parts: []matrix.Part{{Outcome: matrix.Depends, Operations: []string{"files.list"}, Reasons: []matrix.Reason{{Policy: &other, Conditional: true}}}}}
		m.Columns = slices.Delete(m.Columns, 4, 6)
		for i := range m.Cells {
			m.Cells[i] = slices.Delete(m.Cells[i], 4, 6)
		}
	})
}

func written(t testing.TB, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheFormsAreTheseTexts(t *testing.T) {
	m, from := example(nil), before()
	changes := matrix.Compare(from, m)
	for name, write := range map[string]func(io.Writer) error{
		"matrix.txt":   m.WriteText,
		"matrix.csv":   m.WriteCSV,
		"matrix.json":  m.WriteJSON,
		"changes.txt":  func(w io.Writer) error { return matrix.WriteChanges(w, from, m, changes) },
		"changes.csv":  func(w io.Writer) error { return matrix.WriteChangesCSV(w, changes) },
		"changes.json": func(w io.Writer) error { return matrix.WriteChangesJSON(w, from, m, changes) },
	} {
		got := written(t, write)
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
}

// A review must be told of no change where there is none, and of each where there is one.
func TestOnlyWhatChangesIsToldOf(t *testing.T) {
	if got := string(written(t, func(w io.Writer) error {
		return matrix.WriteChanges(w, example(nil), example(nil), matrix.Compare(example(nil), example(nil)))
	})); got != "from gateway.yaml to gateway.yaml\nnothing changes\n" {
		t.Error(got)
	}
	audit := example(func(m *matrix.Matrix) { m.Audit = true })
	if got := string(written(t, func(w io.Writer) error { return matrix.WriteChanges(w, audit, example(nil), nil) })); strings.Contains(got, "nothing") || !strings.Contains(got, "refused now") {
		t.Error(got)
	}
	renamed := *infers
	renamed.ID, renamed.Text, renamed.Line = "another", "another", 99
	depends := func(p *matrix.Policy, reads ...string) *matrix.Matrix {
		return example(func(m *matrix.Matrix) {
			m.Policies = append(m.Policies, p)
			m.Cells[1][0] = &matrix.Cell{Outcome: matrix.Depends, Parts: []matrix.Part{{Outcome: matrix.Depends, Operations: chats, Reasons: []matrix.Reason{{Policy: p, Conditional: true, Reads: reads}}}}}
		})
	}
	if got := matrix.Compare(depends(infers, "time"), depends(&renamed, "time")); len(got) > 0 {
		t.Errorf("a policy that is called otherwise: %+v", got)
	}
	// A forbid that only clients in further groups meet, and a policy that no row tells of.
	met := example(func(m *matrix.Matrix) {
		m.Cells[1][1] = &matrix.Cell{Outcome: matrix.Deny, Parts: []matrix.Part{{Outcome: matrix.Deny, Operations: m.Columns[1].Operations, Reasons: []matrix.Reason{{Policy: bounded, Conditional: true}}}}}
	})
	if got := matrix.Compare(example(nil), met); len(got) != 1 || got[0].Direction() != matrix.Differs {
		t.Errorf("a forbid under a condition, where nothing is permitted: %+v", got)
	}
	further := example(func(m *matrix.Matrix) {
		m.Policies = append(m.Policies, &matrix.Policy{ID: "both-groups", Meaning: "5"})
	})
	if got := string(written(t, func(w io.Writer) error { return matrix.WriteChanges(w, example(nil), further, nil) })); !strings.Contains(got, "no outcome changes, but policies do") || !strings.Contains(got, "both-groups") {
		t.Error(got)
	}
	for name, to := range map[string]*matrix.Matrix{"another policy": depends(bounded, "time"), "another claim": depends(infers, "claims.x")} {
		if got := matrix.Compare(depends(infers, "time"), to); len(got) != 1 || got[0].Direction() != matrix.Differs || len(got[0].Operations) != len(chats) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, c := range matrix.Compare(before(), example(nil)) {
		if back := matrix.Compare(example(nil), before()); !slices.ContainsFunc(back, func(b matrix.Change) bool {
			return b.Row == c.Row && b.Model == c.Model && b.Upstream == c.Upstream && b.From.Outcome == c.To.Outcome && b.To.Outcome == c.From.Outcome
		}) {
			t.Errorf("there and not back: %+v", c)
		}
	}
}

const hostile = "\"><script>alert(1)</script></style><img src=x>=cmd\x1b[2J\u009b\u202e\r{{.}}' javascript:alert(1)//evil.example"

// hostileExample has it wherever an operator writes.
func hostileExample() *matrix.Matrix {
	return example(func(m *matrix.Matrix) {
		m.File = hostile
		m.Rows[1].Group, m.Rows[4].Client, m.Rows[4].Issuer = "="+hostile, hostile, hostile
		p := &matrix.Policy{ID: hostile, File: hostile, Line: 1, Text: hostile + "\n\t" + hostile, Meaning: hostile}
		for i := range m.Columns {
			if m.Columns[i].Model != "" {
				m.Columns[i].Model += hostile
			}
			m.Columns[i].Upstream += hostile
		}
		m.Policies = append(m.Policies, p)
		m.Cells[1][0] = &matrix.Cell{Outcome: matrix.Depends, Parts: []matrix.Part{{Outcome: matrix.Depends, Operations: chats, Reasons: []matrix.Reason{{Policy: p, Conditional: true, Reads: []string{"claims." + hostile}}}}}}
	})
}

func TestNothingPrintedCommandsATerminalOrASpreadsheet(t *testing.T) {
	m := hostileExample()
	changes := matrix.Compare(before(), m)
	for name, write := range map[string]func(io.Writer) error{
		"text": m.WriteText, "csv": m.WriteCSV, "json": m.WriteJSON,
		"changes":      func(w io.Writer) error { return matrix.WriteChanges(w, before(), m, changes) },
		"changes csv":  func(w io.Writer) error { return matrix.WriteChangesCSV(w, changes) },
		"changes json": func(w io.Writer) error { return matrix.WriteChangesJSON(w, before(), m, changes) },
	} {
		out := written(t, write)
		if i := bytes.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
			t.Errorf("%s prints %q", name, out[i:i+8])
		}
		if strings.HasSuffix(name, "json") {
			var v map[string]any
			if err := json.Unmarshal(out, &v); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if name == "json" && v["config"] != hostile {
				t.Errorf("the file is %q", v["config"])
			}
		}
		if strings.HasSuffix(name, "csv") {
			rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
			if err != nil {
				t.Error(err)
			}
			for _, cell := range slices.Concat(rows...) {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@") {
					t.Errorf("%s has a formula: %s", name, cell)
				}
			}
		}
	}
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

func pages(t *testing.T) map[string]string {
	all := map[string]string{}
	for name, m := range map[string]*matrix.Matrix{"plain": example(nil), "hostile": hostileExample(), "empty": {}} {
		all[name] = string(written(t, func(w io.Writer) error { return matrix.WritePage(w, m, nil) }))
		if name != "empty" {
			c := &matrix.Comparison{From: before(), Changes: matrix.Compare(before(), m)}
			all[name+", compared"] = string(written(t, func(w io.Writer) error { return matrix.WritePage(w, m, c) }))
		}
	}
	same := &matrix.Comparison{From: example(nil)}
	all["no change"] = string(written(t, func(w io.Writer) error { return matrix.WritePage(w, example(nil), same) }))
	return all
}

// Whoever opens it asks nobody else and runs nothing but the page's own script, which is not to be had without its hash.
func TestAPageAsksForNothingAndRunsItsOwnScriptAlone(t *testing.T) {
	for name, text := range pages(t) {
		t.Run(name, func(t *testing.T) {
			doc, err := html.Parse(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			known := strings.Fields("html head meta title style script body header main section article p h1 h2 h3 dl div dt dd span strong ul li b a code pre form label input output button dialog table thead tbody tr th td")
			ids, links := map[string]bool{}, map[string]bool{}
			for _, n := range elements(doc, "*") {
				if !slices.Contains(known, n.Data) {
					t.Errorf("<%s>", n.Data)
				}
				for _, a := range n.Attr {
					switch key := strings.ToLower(a.Key); {
					case strings.HasPrefix(key, "on"), key == "style", key == "src", key == "action", key == "formaction":
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					case key == "href":
						links[strings.TrimPrefix(a.Val, "#")] = true
					case key == "id" && ids[a.Val]:
						t.Errorf("two elements are %s", a.Val)
					case key == "id":
						ids[a.Val] = true
					}
				}
			}
			for link := range links {
				if !ids[link] {
					t.Errorf("a link leads to %q, which is not on the page", link)
				}
			}
			style, script := textOf(elements(doc, "style")[0]), textOf(elements(doc, "script")[0])
			if len(elements(doc, "style")) != 1 || len(elements(doc, "script")) != 1 {
				t.Error("more than one style or script")
			}
			for _, word := range []string{"url(", "@import", "fetch", "XMLHttp", "import(", "eval", "innerHTML", "http"} {
				if strings.Contains(style+script, word) {
					t.Errorf("the page's own parts have %s", word)
				}
			}
			hash := func(s string) string {
				sum := sha256.Sum256([]byte(s))
				return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
			}
			want := "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'"
			if got := attribute(elements(doc, "meta")[1], "content"); got != want {
				t.Errorf("policy %s, want %s", got, want)
			}
			for _, r := range text {
				if r < ' ' && r != '\n' && r != '\t' || r == 0x9b || r == 0x202e {
					t.Fatalf("the page holds %q", r)
				}
			}
		})
	}
}

// Without its script the page is all there: each cell leads to its reasons, and they to the policies' texts.
func TestACellLeadsToItsPolicies(t *testing.T) {
	doc, err := html.Parse(strings.NewReader(pages(t)["plain"]))
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]*html.Node{}
	for _, n := range elements(doc, "*") {
		byID[attribute(n, "id")] = n
	}
	cells := 0
	for _, a := range elements(doc, "a") {
		class := attribute(a, "class")
		if !strings.HasPrefix(class, "cell ") {
			continue
		}
		cells++
		why := byID[attribute(a, "href")[1:]]
		if h := elements(why, "h3")[0]; attribute(h, "class") != class {
			t.Errorf("%s leads to %s", class, attribute(h, "class"))
		}
		if class == "cell forbid" {
			policy := byID[attribute(elements(why, "a")[0], "href")[1:]]
			if text := textOf(policy); !strings.Contains(text, never.Text) || !strings.Contains(text, "a.cedar:12") {
				t.Error(text)
			}
		}
		if textOf(a) == "" {
			t.Error("a cell without a word")
		}
	}
	if cells != 5*7 {
		t.Errorf("%d cells", cells)
	}
}

func TestALongMatrixIsCutOnThePageAlone(t *testing.T) {
	m := example(func(m *matrix.Matrix) {
		for i := range 30_000 {
			m.Rows, m.Cells = append(m.Rows, matrix.Row{Group: fmt.Sprint(i)}), append(m.Cells, m.Cells[0])
		}
	})
	page := written(t, func(w io.Writer) error { return matrix.WritePage(w, m, nil) })
	if len(page) > 20<<20 || !bytes.Contains(page, []byte("more rows are in what --csv writes")) {
		t.Errorf("%d bytes", len(page))
	}
	if n := bytes.Count(written(t, m.WriteCSV), []byte("\n")); n != 1+30_005*16 {
		t.Errorf("%d lines of CSV", n)
	}
}
