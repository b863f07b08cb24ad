package relay_test

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/relay"
)

// Only members of the answer itself tell its usage: a client can see to it that the word stands in others.
func TestUsageIsTheAnswersOwn(t *testing.T) {
	for body, want := range map[string]relay.Usage{
		`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`:                                                                     {Input: 1, Output: 2},
		`{"metadata":{"usage":{"prompt_tokens":9}},"usage":{"prompt_tokens":1},"x":[{"usage":{"prompt_tokens":9}}]}`:              {Input: 1},
		`{"a":"\"usage\":{\"prompt_tokens\":9}","usage" : {"prompt_tokens":1} }`:                                                  {Input: 1},
		`{"a":"\\","usage":{"prompt_tokens":1}}`:                                                                                  {Input: 1},
		`[{"usageMetadata":{"promptTokenCount":1}},{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":5}}]`:            {Input: 1, Output: 5},
		`[[{"usageMetadata":{"promptTokenCount":9}}],{"candidates":[{"usage":{"prompt_tokens":9}}],"usage":{"prompt_tokens":1}}]`: {Input: 1},
		" \n{\"model\":\"m\",\"usage\":null}":                                                                                     {},
		`{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":3}}`:                                                               {Input: 3},
		`"usage"`:                           {},
		`not {"usage":{"prompt_tokens":9}}`: {},
	} {
		for cut := range len(body) {
			o, open := relay.Scan([]byte(body[:cut]), []byte(body[cut:]))
			if o.Usage == nil {
				o.Usage = &relay.Usage{}
			}
			if *o.Usage != want || open {
				t.Fatalf("%s in two pieces, %d bytes first: %+v, cut short: %v", body, cut, *o.Usage, open)
			}
		}
	}
}

func TestAnAnswerThatIsCutIsSeenAsCut(t *testing.T) {
	body := `{"model":"m","choices":[{"a":"}]\"}"}],"usage":{"prompt_tokens":1}}`
	for n := 1; n < len(body); n++ {
		if _, cut := relay.Scan([]byte(body[:n])); !cut {
			t.Errorf("%s passes for whole", body[:n])
		}
	}
}

func TestNothingLargeIsHeldOfAnAnswer(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, body := range []string{`{"model":"` + long + `"}`, `{"` + long + `":1,"model":"m"}`, `{"usage":{"` + long + `":1}}`, strings.Repeat("[", 1<<20)} {
		bytes := []byte(body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		relay.Scan(bytes)
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 512<<10 {
			t.Errorf("%.20s…: %d bytes", body, allocated)
		}
	}
}

// FuzzScan compares with a decoder that holds the whole answer.
func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}`), 7)
	f.Add([]byte(`{"modelVersion":"m","usageMetadata":{"promptTokenCount":3},"a":"\"\\"}`), 1)
	f.Add([]byte(`{"usage":{"input_tokens":-1}}`), 30)
	f.Fuzz(func(t *testing.T, body []byte, at int) {
		value := jsontext.Value(body)
		whole := value.IsValid() && len(bytes.TrimSpace(body)) > 0 && value.Kind() == '{' // names don't repeat
		at = max(0, min(at, len(body)))
		o, cut := relay.Scan(body[:at], body[at:])
		if !whole {
			return
		}
		if cut {
			t.Errorf("%q is whole", body)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q: %v", body, err) // jsontext is the stricter one
		}
		// An answer of these members alone, in a fixed order, tells the same.
		plain := map[string]json.RawMessage{}
		for _, name := range []string{"model", "modelVersion", "usage", "usageMetadata"} {
			if v, ok := members[name]; ok {
				plain[name] = v
			}
		}
		again, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := relay.Scan(again)
		if bytes.Contains(body, []byte(`\u`)) { // escaped names are not read
			return
		}
		if diff := cmp.Diff(want.Usage, o.Usage); diff != "" {
			t.Errorf("%q: %s", body, diff)
		}
		var model string
		if json.Unmarshal(members["modelVersion"], &model) == nil && model != "" && members["model"] == nil && o.Model != model {
			t.Errorf("%q: model %q", body, o.Model)
		}
	})
}
