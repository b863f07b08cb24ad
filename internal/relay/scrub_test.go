package relay_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/relay"
)

const ours = "ya29.c.ya29.canary-in-a-coal-mine"

// presents is a call with a credential.
func presents(credential string) relay.Call {
	return relay.Call{Credential: hidden.New(credential), Present: func(h http.Header) { h.Set("Authorization", "Bearer "+credential) }}
}

var masked = strings.Repeat("*", len(ours))

func TestAnErrorThatQuotesOurCredentialReachesTheClientWithoutIt(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for _, tt := range []struct {
		name, body, want string
		echoed           bool
	}{
		{"nothing", `{"error":"no"}`, `{"error":"no"}`, false},
		{"once", `{"error":"Incorrect API key: ` + ours + `."}`, `{"error":"Incorrect API key: ` + masked + `."}`, true},
		{"again and again", ours + ours + " " + ours, masked + masked + " " + masked, true},
		{"after a false start", "ya29.c." + ours, "ya29.c." + masked, true},
		{"but for its end", ours[:len(ours)-1] + "!", ours[:len(ours)-1] + "!", false},
		{"far behind", long + ours + long + ours, long + masked + long + masked, true},
		{"all but its last byte, at the end", "token " + ours[:len(ours)-1], "token " + masked[1:], true},
		{"a few bytes of it, at the end", "we are at ya29", "we are at ya29", false},
	} {
		for _, status := range []int{400, 401, 403, 404, 429, 500, 503, 599} {
			for _, media := range []string{"application/json", "text/plain", "text/event-stream", ""} {
				g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", media)
					w.Header().Set("Content-Length", fmt.Sprint(len(tt.body)))
					w.Header().Set("X-Echo", "got "+r.Header.Get("Authorization"))
					w.Header().Set("X-Other", "stays")
					w.Header().Set("X-Request-Id", ours)
					w.WriteHeader(status)
					io.WriteString(w, tt.body)
				}), presents(ours))
				resp, body, err := get(t, g.URL)
				o := <-g.outcomes
				if media == "text/event-stream" { // none that ends: it is cut as any other is
					if strings.Contains(body, ours) || resp.StatusCode != status || resp.ContentLength >= 0 {
						t.Fatalf("%s, %d %s: %d, %v", tt.name, status, media, resp.StatusCode, err)
					}
				} else if body != tt.want || err != nil || resp.StatusCode != status || resp.ContentLength != int64(len(tt.body)) || o.Err != nil {
					t.Fatalf("%s, %d %s: %d, %d bytes, %v, %v: %.200q", tt.name, status, media, resp.StatusCode, resp.ContentLength, err, o.Err, body)
				}
				if resp.Header.Get("X-Echo") != "" || resp.Header.Get("X-Upstream-Request-Id") != "" || resp.Header.Get("X-Other") != "stays" || o.UpstreamRequestID != "" {
					t.Errorf("%s: %v, request id %q", tt.name, resp.Header, o.UpstreamRequestID)
				}
				if media != "text/event-stream" && o.Echoed != tt.echoed {
					t.Errorf("%s: echoed %t", tt.name, o.Echoed)
				}
			}
		}
	}
}

// However the answer comes, in one piece, byte by byte or cut within the credential, it is scrubbed alike.
func TestACredentialIsFoundAcrossReads(t *testing.T) {
	text := "ya29.c." + ours + ` and "` + ours + `"` + strings.Repeat("y", 5000) + ours
	want := strings.ReplaceAll(text, ours, masked)
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "byte by byte": iotest.OneByteReader, "the end with the data": iotest.DataErrReader,
	} {
		got, err := io.ReadAll(relay.Scrubbed(reader(strings.NewReader(text)), ours))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v", name, err)
		}
		if err := iotest.TestReader(relay.Scrubbed(reader(strings.NewReader(text)), ours), []byte(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for cut := range text {
		split := io.MultiReader(strings.NewReader(text[:cut]), strings.NewReader(text[cut:]))
		if got, err := io.ReadAll(relay.Scrubbed(split, ours)); err != nil || string(got) != want {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	died := errors.New("died")
	got, err := io.ReadAll(relay.Scrubbed(io.MultiReader(strings.NewReader("token "+ours[:20]), iotest.ErrReader(died)), ours))
	if err != died || string(got) != "token "+masked[:20] {
		t.Errorf("%v: %s", err, got)
	}
}

func TestACredentialIsFoundInTheFormsOfJSONAndURLs(t *testing.T) {
	const odd = `sk/"a\b<c>&d+e=f`
	for _, form := range []string{odd, `sk/\"a\\b\u003cc\u003e\u0026d+e=f`, `sk\/\"a\\b\u003cc\u003e\u0026d+e=f`, "sk%2F%22a%5Cb%3Cc%3E%26d%2Be%3Df"} {
		got, err := io.ReadAll(relay.Scrubbed(strings.NewReader("<"+form+">"), odd))
		if err != nil || string(got) != "<"+strings.Repeat("*", len(form))+">" {
			t.Errorf("%s: %s, %v", form, got, err)
		}
	}
}

func TestAnErrorThatCannotBeReadIsNotPassedOn(t *testing.T) {
	g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(403)
		z := gzip.NewWriter(w)
		io.WriteString(z, r.Header.Get("Authorization"))
		z.Close()
	}), presents(ours))
	resp, body, err := get(t, g.URL)
	if resp.StatusCode != 403 || body != "" || err != nil || resp.Header.Get("Content-Encoding") != "" || resp.ContentLength != 0 {
		t.Errorf("%d %q %v %v", resp.StatusCode, body, err, resp.Header)
	}
}

// What isn't an error passes byte for byte, and so does all of an upstream whose key is none.
func TestOnlyErrorsAreScrubbed(t *testing.T) {
	for _, tt := range []struct {
		status     int
		credential string
	}{{200, ours}, {400, "ollama"}, {400, ""}} {
		g := newGateway(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, "here you are: "+tt.credential)
		}), presents(tt.credential))
		if resp, body, err := get(t, g.URL); resp.StatusCode != tt.status || body != "here you are: "+tt.credential || err != nil {
			t.Errorf("%d %q: %s, %v", tt.status, tt.credential, body, err)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("a ya29.abcabcabcd", "ya29.abcabcabc", uint8(3))
	f.Add("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "aaaaaaaaaaaaab", uint8(1))
	f.Fuzz(func(t *testing.T, text, credential string, piece uint8) {
		if len(credential) < 12 || strings.ContainsFunc(credential, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
			return
		}
		var pieces []io.Reader
		for rest := text; rest != ""; {
			n := min(int(piece)+1, len(rest))
			pieces = append(pieces, strings.NewReader(rest[:n]))
			rest = rest[n:]
		}
		got, err := io.ReadAll(relay.Scrubbed(io.MultiReader(pieces...), credential))
		if err != nil || len(got) != len(text) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(text), err)
		}
		// Of what stood before it, asterisks may make one that has asterisks itself: nothing is told by that.
		if strings.Contains(string(got), credential) && !strings.Contains(credential, "*") {
			t.Fatalf("%q is left in %q", credential, got)
		}
		for i := range got {
			if got[i] != text[i] && got[i] != '*' {
				t.Fatalf("%q became %q", text, got)
			}
		}
	})
}
