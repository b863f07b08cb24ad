package relay_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"llmgateway.dev/gateway/internal/relay"
)

// Every rule and example of the WHATWG's text on event streams
// (html.spec.whatwg.org/multipage/server-sent-events.html, sections 9.2.5 and 9.2.6), as far as it is about
// what a reader must see: where an event ends, and what it carries. What event, id and retry are for
// is the client's.
var eventStreams = []struct {
	rule, stream string
	// carried are the data of the events that are fired.
	carried []string
}{
	{"example: three messages", "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n",
		[]string{"This is the first message.", "This is the second message, it\nhas two lines.", "This is the third message."}},
	{"example: event types", "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n", []string{"73857293", "2153", "113411"}},
	{"example: data over several lines", "data: YHOO\ndata: +2\ndata: 10\n\n", []string{"YHOO\n+2\n10"}},
	{"example: a comment, ids, a space more", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []string{"first event", "second event", " third event"}},
	{"example: two events and an unfinished one", "data\n\ndata\ndata\n\ndata:", []string{"", "\n"}},
	{"example: one space is no part of the value", "data:test\n\ndata: test\n\n", []string{"test", "test"}},

	{"an empty stream", "", nil},
	{"one byte order mark at the beginning is passed over", "\ufeffdata: x\n\n", []string{"x"}},
	{"a second one is part of a name", "\ufeff\ufeffdata: x\n\n", nil},
	{"and so is one later", "data: x\n\n\ufeffdata: y\n\n", []string{"x"}},
	{"a part of one is none", "\xef\xbb", nil},
	{"a line may end in LF, CR or CRLF, each time another", "data: a\rdata: b\r\ndata: c\n\r\ndata: d\n\rdata: e\r\rdata: f\r\n\ndata: g\r\r\n", []string{"a\nb\nc", "d", "e", "f", "g"}},
	{"LF CR is two line ends", "data: a\n\rdata: b\n\r", []string{"a", "b"}},
	{"CR LF is one", "data: a\r\ndata: b\r\n\r\n", []string{"a\nb"}},
	{"empty lines beyond the first end nothing", "\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", []string{"a", "b"}},
	{"a line that begins with a colon is a comment", ":\n: data: a\n:data: b\ndata: c\n: d\n\n", []string{"c"}},
	{"a name ends at the first colon", "data: a: b\ndata:: c\n\n", []string{"a: b\n: c"}},
	{"a line without colon is a name with an empty value", "data: a\ndata\ndata: b\n\n", []string{"a\n\nb"}},
	{"one space after the colon is taken away, not a tab", "data:\ta\ndata:   b\ndata: \n\n", []string{"\ta\n  b\n"}},
	{"a name is compared as it is", "Data: a\n data: b\ndata : c\ndat: d\ndataa: e\n\n", nil},
	{"fields of unknown names are passed over", "foo: bar\ndata: a\nfoo\n\n", []string{"a"}},
	{"without data, nothing is fired", "event: a\nid: 1\nretry: 10\n\n: c\n\ndata: x\n\n", []string{"x"}},
	{"an empty data field fires an event", "data:\n\n", []string{""}},
	{"an id with NUL, and a retry that is no number, change nothing", "id: 1\x00\nretry: 1x\ndata: a\n\n", []string{"a"}},
	{"an event without its empty line is not fired", "data: a\n\ndata: b\n", []string{"a"}},
	{"nor is one cut within a line", "data: a\n\ndata: b", []string{"a"}},
	{"other line breaks of Unicode are none", "data: a\u0085b\u2028c\vd\fe\n\n", []string{"a\u0085b\u2028c\vd\fe"}},
	{"lines longer than what is read at a time", "data: " + strings.Repeat("x", 100) + "\n" + strings.Repeat("y", 100) + "\n\n", []string{strings.Repeat("x", 100)}},
}

func TestEventsAreReadAsTheSpecificationSays(t *testing.T) {
	for _, row := range eventStreams {
		for name, stream := range map[string]string{
			"":         row.stream,
			" in CR":   strings.ReplaceAll(row.stream, "\n", "\r"),
			" in CRLF": strings.ReplaceAll(row.stream, "\n", "\r\n"),
		} {
			if name != "" && strings.Contains(row.stream, "\r") {
				continue // it is about line ends itself
			}
			for i, reader := range []io.Reader{strings.NewReader(stream), strings.NewReader(stream), iotest.OneByteReader(strings.NewReader(stream)), iotest.DataErrReader(strings.NewReader(stream))} {
				carried, came := relay.Events(reader, []int{4096, 16, 16, 16}[i])
				if !slices.Equal(carried, row.carried) {
					t.Errorf("%s%s: carried %q, want %q", row.rule, name, carried, row.carried)
				}
				if all := strings.Join(came, ""); all != stream {
					t.Errorf("%s%s: %q became %q", row.rule, name, stream, all)
				}
			}
		}
	}
}

// What the gateway makes of a stream: it passes on every byte, but for what is left of an unfinished event, in
// whose place comes an error.
func TestAStreamPassesHoweverItsLinesEnd(t *testing.T) {
	for _, row := range eventStreams {
		g := newGateway(t, serve(t, sse(row.stream)), relay.Call{})
		_, body, err := get(t, g.URL)
		_, came := relay.Events(strings.NewReader(row.stream), 4096)
		unfinished := came[len(came)-1]
		want := strings.TrimSuffix(row.stream, unfinished)
		switch {
		case unfinished == "" && (err != nil || body != want):
			t.Errorf("%s: %v %q", row.rule, err, body)
		case unfinished != "" && (err == nil || !strings.HasPrefix(body, want+"\n\ndata: {\"error\":")):
			t.Errorf("%s: %v %q", row.rule, err, body)
		}
		g.Close()
	}
	for name, lineEnd := range map[string]string{"LF": "\n", "CR": "\r", "CRLF": "\r\n"} {
		ends := func(s string) string { return strings.ReplaceAll(s, "\n", lineEnd) }
		g := newGateway(t, serve(t, sse("\ufeff"+ends(usage+chunk2+end))), relay.Call{HidesUsage: true})
		if _, body, err := get(t, g.URL); err != nil || body != "\ufeff"+ends(chunk2+end) {
			t.Errorf("%s: %v %q", name, err, body)
		}
		if o := <-g.outcomes; o.Usage == nil || *o.Usage != (relay.Usage{Input: 3, Output: 5}) || o.Model != "m-1" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// Whatever ends a line, an event is passed on as soon as it is whole.
func TestAnEventIsPassedOnAtItsEmptyLine(t *testing.T) {
	for _, lineEnd := range []string{"\n", "\r", "\r\n"} {
		next := make(chan bool)
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 3 {
				io.WriteString(w, "data: x"+lineEnd+lineEnd)
				w.(http.Flusher).Flush()
				<-next
			}
		}), relay.Call{})
		resp, err := http.Get(g.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for range 3 {
			got := make([]byte, len("data: x"+lineEnd+lineEnd))
			if _, err := io.ReadFull(resp.Body, got); err != nil {
				t.Fatalf("%q %v", got, err)
			}
			next <- true
		}
	}
}

// reference are the events of a stream by the specification's grammar, for one who has all of it.
func reference(stream string) (carried []string) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(stream)
	lines := strings.Split(stream, "\n")
	var data []string
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if data != nil {
				carried = append(carried, strings.Join(data, "\n"))
			}
			data = nil
		} else if line == "data" {
			data = append(data, "")
		} else if value, ok := strings.CutPrefix(line, "data:"); ok {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return carried
}

// FuzzEvents: however a stream comes in pieces, the events in it are those of the specification, and no byte is lost.
func FuzzEvents(f *testing.F) {
	for _, row := range eventStreams {
		f.Add(row.stream, 7)
	}
	f.Fuzz(func(t *testing.T, stream string, at int) {
		at = max(0, min(at, len(stream)))
		for i, reader := range []io.Reader{
			io.MultiReader(strings.NewReader(stream[:at]), strings.NewReader(stream[at:])),
			io.MultiReader(strings.NewReader(stream[:at]), strings.NewReader(stream[at:])),
			iotest.OneByteReader(strings.NewReader(stream)),
		} {
			carried, came := relay.Events(reader, []int{4096, 16, 16}[i])
			if want := reference(stream); !slices.Equal(carried, want) {
				t.Errorf("%q carries %q, want %q", stream, carried, want)
			}
			if all := strings.Join(came, ""); all != stream {
				t.Errorf("%q became %q", stream, all)
			}
		}
	})
}
