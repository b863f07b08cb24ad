//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/test/corpora"
	"llmgateway.dev/gateway/test/program"
)

// reading is what a reader makes of a body: nil where it refuses.
type reading struct {
	Model  string
	Stream bool
}

// What the gateway accepts, and what it makes of that to send, every reader reads alike. How readers
// differ on what it refuses is counted too: a corpus on which they never differ would show nothing.
func TestEveryReaderReadsTheSameModel(t *testing.T) {
	route, err := operation.Match(&http.Request{Method: "POST", URL: &url.URL{Path: "/v1/chat/completions"}})
	if err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	var want []*reading // nil for what is refused
	for _, body := range corpus(t) {
		req, err := operation.Read(route, body)
		if err != nil {
			bodies, want = append(bodies, body), append(want, nil)
			continue
		}
		names := make([]string, len(req.Refs()))
		for i := range names {
			names[i] = `re"named/` + string(rune('0'+i%10))
		}
		sent := bytes.Join(req.Bytes(names, true), nil)
		bodies = append(bodies, body, sent)
		want = append(want, &reading{req.Models[0].Name, req.Stream}, &reading{names[0], req.Stream})
	}
	readings := map[string][]*reading{
		"encoding/json": readGo(bodies),
		"Python's json": read(t, bodies, "python3", "testdata/reader.py"),
		"one that keeps the first of repeated names": read(t, bodies, "python3", "testdata/reader.py", "first"),
		"JSON.parse": read(t, bodies, "node", "testdata/reader.mjs"),
	}
	accepted, refused, ambiguous := 0, 0, 0
	for i, body := range bodies {
		if want[i] == nil {
			refused++
			for _, got := range readings {
				if !same(got[i], readings["JSON.parse"][i]) {
					ambiguous++
					break
				}
			}
			continue
		}
		accepted++
		for reader, got := range readings {
			if !same(got[i], want[i]) {
				t.Errorf("%s reads %s as %+v, the gateway as %+v", reader, abridged(body), got[i], *want[i])
			}
		}
	}
	t.Logf("%d bodies were accepted or sent, %d refused; readers differ on %d of the latter", accepted, refused, ambiguous)
	if accepted < 2000 || ambiguous < 200 {
		t.Error("the corpus shows too little")
	}
}

func same(a, b *reading) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func abridged(body []byte) string {
	if len(body) > 200 {
		return fmt.Sprintf("%q… (%d bytes)", body[:200], len(body))
	}
	return fmt.Sprintf("%q", body)
}

// readGo reads as an upstream in Go would: names that differ in case are the same to it.
func readGo(bodies [][]byte) []*reading {
	readings := make([]*reading, len(bodies))
	for i, body := range bodies {
		var r struct {
			Model  *string `json:"model"`
			Stream *bool   `json:"stream"`
		}
		if json.Unmarshal(body, &r) == nil && r.Model != nil {
			readings[i] = &reading{*r.Model, r.Stream != nil && *r.Stream}
		}
	}
	return readings
}

// read has a program read the bodies.
func read(t *testing.T, bodies [][]byte, argv ...string) []*reading {
	var in, stderr bytes.Buffer
	for _, body := range bodies {
		in.WriteString(base64.StdEncoding.EncodeToString(body) + "\n")
	}
	cmd := program.Command(t.Context(), argv...)
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", argv[1], err, program.Last(stderr.Bytes()))
	}
	var readings []*reading
	for line := range bytes.Lines(out) {
		var r *reading
		decode(t, line, &r)
		readings = append(readings, r)
	}
	if len(readings) != len(bodies) {
		t.Fatalf("%s read %d of %d bodies", argv[1], len(readings), len(bodies))
	}
	return readings
}

// corpus is JSONTestSuite (github.com/nst/JSONTestSuite) as a body, as a value and as a model; and what the
// generator makes.
func corpus(t *testing.T) [][]byte {
	var bodies [][]byte
	for _, file := range corpora.Files(t, "json-test-suite/test_parsing/*.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 10_000 { // nested deeper than some readers read at all
			continue
		}
		for _, form := range []string{`%s`, `{"model":"m","x":%s}`, `{"x":%s,"model":"m"}`, `{"model":%s}`, `{"model":"m","stream":%s}`} {
			bodies = append(bodies, fmt.Appendf(nil, form, text))
		}
	}
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 10_000 {
		bodies = append(bodies, g.body())
	}
	return bodies
}

// generator writes bodies in all ways that JSON allows, and in some that it doesn't. Most are right but for
// one or two of these.
type generator struct{ *rand.Rand }

var (
	modelKeys  = []string{`"model"`, `"\u006dodel"`, `"mod\u0065l"`, `"\u006D\u006f\u0064\u0065\u006C"`}
	streamKeys = []string{`"stream"`, `"\u0073tream"`}
	// nearKeys are names that some reader might take for one of the gateway's.
	nearKeys = []string{`"Model"`, `"MODEL"`, `"mode\u004c"`, `"model "`, `"model\u0000"`, `"\ufeffmodel"`, `"ｍodel"`, `"mоdel"`, "\"model\u200b\"", `"\uD83Dmodel"`,
		`"Stream"`, `"ſtream"`, `"\u017ftream"`, `"streaM"`, `model`, `'model'`, `"mo\del"`, "\"mo\xc3del\"", "\"mod\nel\"", `"model\`, `null`, `0`, `"__proto__"`, `"constructor"`, `""`}
	otherKeys   = []string{`"messages"`, `"n"`, `"x"`, `"user"`, `"metadata"`, `"😀"`, `"\ud83d\ude00"`, `"a.b"`, `"a\u0000b"`, `"\/"`, `"__proto__"`}
	modelValues = []string{`"gpt-4-turbo"`, `"a"`, `"\u0061"`, `"google\/gemini"`, `"google/gemini"`, `"😀"`, `"\uD83D\uDE00"`, `"é"`, `"e\u0301"`, `"a\u0000"`, `" a"`, `"a\\"`, `"\"model\":\"b\""`, "\"\u2028\"", "\"\x7f\"", `"\ufffd"`, `"\uFFFF"`}
	badModels   = []string{`""`, `null`, `1`, `true`, `["a"]`, `{"model":"a"}`, `"\ud800"`, `"\udc00\ud800"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\xf4\x90\x80\x80\"", "\"a\tb\"", `"\x41"`, `"\u00"`, `"a" "b"`, `'a'`, `a`, `NaN`, `"a"/**/`}
	values      = []string{`1`, `-0`, `1.0e0`, `0.1E+2`, `1e400`, `-1e-400`, `123456789012345678901234567890`, `true`, `false`, `null`, `""`, `"\b\f\n\r\t\"\\\/"`, `[]`, `{}`, `[[[{"model":"inner"}]]]`, `{"model":"inner","stream":true}`, `[{"Model":"inner"}]`, `"]}"`, `"{\"model\":1"`, `[1 , 2]`}
	badValues   = []string{`01`, `1.`, `.5`, `+1`, `0x1`, `1_0`, `-`, `1e`, `NaN`, `Infinity`, `-Infinity`, `undefined`, `True`, `[1,]`, `{"a":1,}`, `{"a":1,"a":2}`, `[`, `{`, `"`, `// x`, `/* */1`, `"\ud800"`, `{"a":{"b":1,"\u0062":2}}`}
	spaces      = []string{"", "", "", " ", "\t", "\n", "\r\n", "  "}
	badSpaces   = []string{"\v", "\f", "\u00a0", "\u2028", "\ufeff", "\x00", "//\n", "/**/", ",", "#\n"}
	around      = []string{"\ufeff", "\xff\xfe", "[", "]", "}", "{}", "null", ";", "\x1e", "\x00", `{"model":"b"}`, ",", ")]}'\n"}
	streamFlags = []string{`true`, `false`, `null`}
	badFlags    = []string{`"true"`, `1`, `0`, `[]`, `True`, `TRUE`, `"false"`}
)

func (g generator) of(list []string) string { return list[g.IntN(len(list))] }

func (g generator) oneIn(n int) bool { return g.IntN(n) == 0 }

// usually picks from good, and once in n times from bad.
func (g generator) usually(n int, good, bad []string) string {
	if g.oneIn(n) {
		return g.of(bad)
	}
	return g.of(good)
}

func (g generator) space() string { return g.usually(400, spaces, badSpaces) }

func (g generator) member(name, value string) string {
	return g.space() + name + g.space() + ":" + g.space() + value + g.space()
}

func (g generator) body() []byte {
	members := []string{g.member(g.of(modelKeys), g.usually(8, modelValues, badModels))}
	if g.oneIn(2) {
		members = append(members, g.member(g.of(streamKeys), g.usually(8, streamFlags, badFlags)))
	}
	if g.oneIn(4) {
		members = append(members, g.member(`"stream_options"`, g.of([]string{`null`, `{}`, `{ }`, `{"x":1}`, `{"include_usage":false}`, `{"include_usage":true,"y":[]}`, `{"include_usage":0}`, `[]`})))
	}
	if g.oneIn(8) {
		members = append(members, g.member(`"tools"`, `[{"type":"t","model":`+g.usually(8, modelValues, badModels)+`},{}]`))
	}
	for i := range g.IntN(4) {
		name := g.of(otherKeys)
		members = append(members, g.member(strings.Replace(name, `"`, fmt.Sprintf(`"%d`, i), 1), g.usually(12, values, badValues)))
	}
	if g.oneIn(6) { // a second model, or what looks like one
		members = append(members, g.member(g.usually(2, nearKeys, modelKeys), g.of(modelValues)))
	}
	if g.oneIn(10) {
		members = append(members, g.member(g.of(streamKeys), g.of(streamFlags)))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	text := g.space() + "{" + strings.Join(members, ",") + "}" + g.space()
	switch g.IntN(30) {
	case 0:
		text = g.of(around) + text
	case 1:
		text += g.of(around)
	case 2:
		text = text[:g.IntN(len(text))]
	case 3, 4:
		return g.mutate([]byte(text))
	}
	return []byte(text)
}

// mutate changes a byte, takes one out or puts one in.
func (g generator) mutate(text []byte) []byte {
	at := g.IntN(len(text))
	with := []byte(g.of([]string{`"`, `\`, `{`, `}`, `,`, `:`, " ", "u", "0", "\x00", "\x80", "\xff", "\n", "m"}))
	switch g.IntN(3) {
	case 0:
		return slices.Concat(text[:at], with, text[at+1:])
	case 1:
		return slices.Delete(text, at, at+1)
	}
	return slices.Insert(text, at, with...)
}
