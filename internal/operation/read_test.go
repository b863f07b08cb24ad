package operation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/test/corpora"
)

func route(t testing.TB, method, target string) operation.Route {
	t.Helper()
	r, err := operation.Match(httptest.NewRequest(method, target, nil))
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	if r.Body == operation.JSON {
		if err := r.ReadHead(http.Header{"Content-Type": {"application/json"}}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func kind(err error) apierror.Kind {
	if e, ok := errors.AsType[*apierror.Error](err); ok {
		return e.Kind
	}
	return apierror.Kind{}
}

func join(parts [][]byte) string { return string(bytes.Join(parts, nil)) }

const chat = "/v1/chat/completions"

// What two readers might read in two ways is refused, and the refusal names nothing of the body.
func TestAmbiguousBodiesAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                    ``,
		"no object":                `["model"]`,
		"a string":                 `"model"`,
		"no model":                 `{"messages":[]}`,
		"model twice":              `{"model":"a","model":"b"}`,
		"model twice, escaped":     `{"model":"a","\u006dodel":"b"}`,
		"model in another case":    `{"model":"a","Model":"b"}`,
		"only in another case":     `{"MODEL":"a"}`,
		"a fold beyond ASCII":      `{"model":"a","stream":true,"ſtream":false}`,
		"model a number":           `{"model":1}`,
		"model null":               `{"model":null}`,
		"model an array":           `{"model":["a"]}`,
		"model empty":              `{"model":""}`,
		"stream a string":          `{"model":"a","stream":"true"}`,
		"stream a number":          `{"model":"a","stream":1}`,
		"stream in another case":   `{"model":"a","Stream":true}`,
		"twice deep inside":        `{"model":"a","x":{"y":[{"z":1,"z":2}]}}`,
		"trailing data":            `{"model":"a"}{"model":"b"}`,
		"trailing word":            `{"model":"a"} x`,
		"cut short":                `{"model":"a"`,
		"BOM":                      "\xef\xbb\xbf" + `{"model":"a"}`,
		"invalid UTF-8":            "{\"model\":\"a\",\"x\":\"\xff\"}",
		"invalid UTF-8 in a name":  "{\"model\":\"a\",\"\xff\":1}",
		"lone surrogate":           `{"model":"a","x":"\ud800"}`,
		"lone surrogate in model":  `{"model":"\udc00"}`,
		"comment":                  `{"model":"a"/**/}`,
		"single quotes":            `{'model':'a'}`,
		"NaN":                      `{"model":"a","temperature":NaN}`,
		"100,000 deep":             `{"model":"a","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"UTF-16":                   "{\x00\"\x00",
		"max_tokens a string":      `{"model":"a","max_tokens":"9"}`,
		"max_tokens fractional":    `{"model":"a","max_tokens":1.5}`,
		"max_tokens exponential":   `{"model":"a","max_tokens":1e3}`,
		"max_tokens negative":      `{"model":"a","max_tokens":-1}`,
		"max_tokens huge":          `{"model":"a","max_tokens":99999999999999999999}`,
		"n a string":               `{"model":"a","n":"2"}`,
		"n exponential":            `{"model":"a","n":1e2}`,
		"n of nothing":             `{"model":"a","n":0}`,
		"n beyond number":          `{"model":"a","n":129}`,
		"two bounds of output":     `{"model":"a","max_tokens":1,"max_completion_tokens":2}`,
		"models a string":          `{"model":"a","models":"b"}`,
		"models of numbers":        `{"model":"a","models":[1]}`,
		"a tool's model a number":  `{"model":"a","tools":[{"model":1}]}`,
		"a tool's Model":           `{"model":"a","tools":[{"Model":"b"}]}`,
		"tools an object":          `{"model":"a","tools":{"model":"b"}}`,
		"stream_options a list":    `{"model":"a","stream":true,"stream_options":[]}`,
		"include_usage a string":   `{"model":"a","stream":true,"stream_options":{"include_usage":"yes"}}`,
		"stream_options twice":     `{"model":"a","stream_options":{},"stream_options":{}}`,
		"Stream_Options":           `{"model":"a","Stream_Options":{}}`,
		"Include_usage":            `{"model":"a","stream_options":{"Include_usage":true}}`,
		"models beyond number":     `{"model":"a","models":[` + strings.Repeat(`"b",`, 40) + `"b"]}`,
		"fallbacks a string":       `{"model":"a","fallbacks":"b"}`,
		"a preset":                 `{"model":"a","preset":"b"}`,
		"another address":          `{"model":"a","api_base":"https://example.com"}`,
		"fallbacks by model":       `{"model":"a","context_window_fallbacks":[{"a":["b"]}]}`,
		"control character inside": "{\"model\":\"a\nb\"}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := operation.Read(route(t, "POST", chat), []byte(body))
			if kind(err) != apierror.InvalidRequest {
				t.Fatalf("got %v, want invalid_request", err)
			}
			if msg := apierror.From(err).Message; strings.ContainsAny(msg, "\"\\") {
				t.Errorf("message %q holds characters that RFC 6750 does not allow", msg)
			}
		})
	}
}

func TestBodyBytesAreKeptButForTheSplices(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		rename     map[string]string
		usage      bool
		want       string
	}{
		{"nothing to do", "{ \"model\" :\t\"a\", \"top_p\": 1.0e0 }", nil, true, "{ \"model\" :\t\"a\", \"top_p\": 1.0e0 }"},
		{"the model's name, white space and number forms kept", "{\"top_p\":1.00, \"model\" : \"a\",\n\"x\":\"\\u0041\"}", map[string]string{"a": "b/c"}, true, "{\"top_p\":1.00, \"model\" : \"b/c\",\n\"x\":\"\\u0041\"}"},
		{"an escaped name", `{"mod\u0065l":"\u0061"}`, map[string]string{"a": "b"}, true, `{"mod\u0065l":"b"}`},
		{"a name that needs escapes", `{"model":"a"}`, map[string]string{"a": "q\"\\"}, true, `{"model":"q\"\\"}`},
		{"usage is asked for", `{"model":"a","stream":true}`, nil, true, `{"stream_options":{"include_usage":true},"model":"a","stream":true}`},
		{"usage is not asked for where the upstream does not know it", `{"model":"a","stream":true}`, nil, false, `{"model":"a","stream":true}`},
		{"no stream, no usage", `{"model":"a","stream":false}`, nil, true, `{"model":"a","stream":false}`},
		{"among other options", `{"model":"a","stream":true,"stream_options":{"x":1}}`, nil, true, `{"model":"a","stream":true,"stream_options":{"include_usage":true,"x":1}}`},
		{"empty options", `{"stream_options":{ },"model":"a","stream":true}`, nil, true, `{"stream_options":{"include_usage":true },"model":"a","stream":true}`},
		{"null options", `{"stream_options":null,"model":"a","stream":true}`, nil, true, `{"stream_options":{"include_usage":true},"model":"a","stream":true}`},
		{"usage declined", `{"stream_options":{"y":[],"include_usage": false},"model":"a","stream":true}`, nil, true, `{"stream_options":{"y":[],"include_usage": true},"model":"a","stream":true}`},
		{"usage asked for by the client", `{"stream_options":{"include_usage":true},"model":"a","stream":true}`, nil, true, `{"stream_options":{"include_usage":true},"model":"a","stream":true}`},
		{"every model, wherever it stands", `{"models":["b","a"],"model":"a","tools":[{"type":"t","model":"b"},{"parameters":{"properties":{"model":1}}}]}`, map[string]string{"a": "A", "b": "BB"}, true,
			`{"models":["BB","A"],"model":"A","tools":[{"type":"t","model":"BB"},{"parameters":{"properties":{"model":1}}}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := operation.Read(route(t, "POST", chat), []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, m := range req.Models {
				name := m.Name
				if to, ok := tt.rename[name]; ok {
					name = to
				}
				names = append(names, name)
			}
			if got := join(req.Bytes(names, tt.usage)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// A field of a server in front of several providers names a model as much as model does, whatever
// the operation.
func TestEveryFieldThatNamesAModelIsFound(t *testing.T) {
	for _, target := range []string{chat, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations", "/v1/images/generations", "/v1/audio/speech"} {
		for field, count := range map[string]int{
			`"models":["x","y"]`:                              2,
			`"fallbacks":["x",{"model":"y","temperature":1}]`: 2,
			`"plugins":[{"id":"fusion","model":"x","models":["y"],"analysis_models":["z"]}]`:                              3,
			`"tools":[{"type":"image_generation","model":"x"}]`:                                                           1,
			`"tools":[{"type":"openrouter:fusion","parameters":{"model":"x","analysis_models":["y"]}}]`:                   2,
			`"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{"model":{"type":"x"}}}}]`: 0,
		} {
			req, err := operation.Read(route(t, "POST", target), []byte(`{"model":"m",`+field+`}`))
			if err != nil || len(req.Models) != count+1 {
				t.Errorf("%s %s: %+v, %v", target, field, req, err)
			}
		}
	}
}

func TestFieldsAreRead(t *testing.T) {
	req, err := operation.Read(route(t, "POST", chat), []byte(`{"stream":true,"max_completion_tokens":7,"models":["x"],"model":"m","stream_options":{"include_usage":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !req.Stream || *req.MaxOutputTokens != 7 || req.AsksUsage() || len(req.Models) != 2 || req.Models[0].Name != "m" || req.Models[1].Name != "x" {
		t.Errorf("%+v", req)
	}
	req, err = operation.Read(route(t, "POST", "/v1/fine_tuning/jobs"), []byte(`{"model":"m","method":{"type":"reinforcement","reinforcement":{"grader":{"graders":{"a":{"model":"judge"},"b":{"name":1}}}}}}`))
	if err != nil || len(req.Models) != 2 || req.Models[1].Name != "judge" {
		t.Errorf("a grader's model is not decided on: %+v %v", req, err)
	}
}

func TestHowManyAnswersAreMadeIsRead(t *testing.T) {
	for _, tt := range []struct {
		target, body string
		want         int64
	}{
		{chat, `{"model":"m"}`, 1},
		{chat, `{"model":"m","n":null}`, 1},
		{chat, `{"model":"m","n":5}`, 5},
		{"/v1/completions", `{"model":"m","n":2,"best_of":7}`, 7},
		{"/v1/completions", `{"model":"m","best_of":7,"n":2}`, 7},
		{"/v1/completions", `{"model":"m","prompt":"one"}`, 1},
		{"/v1/completions", `{"model":"m","prompt":[1,2,3]}`, 1},
		{"/v1/completions", `{"model":"m","n":2,"prompt":["one","two","three"]}`, 6},
		{"/v1/completions", `{"model":"m","prompt":[[1,2],[3]]}`, 2},
		{"/v1/completions", `{"model":"m","prompt":[]}`, 1},
		{"/v1/images/generations", `{"model":"m","n":4}`, 4},
		{"/v1beta/models/m:predict", `{"parameters":{"sampleCount":3}}`, 3},
		{"/v1beta/models/m:generateContent", `{"generationConfig":{"candidateCount":3}}`, 3},
		{"/v1beta/models/m:generateContent", `{"generation_config":{"candidate_count":4}}`, 4},
	} {
		req, err := operation.Read(route(t, "POST", tt.target), []byte(tt.body))
		if err != nil || req.Choices != tt.want {
			t.Errorf("%s %s: %+v %v", tt.target, tt.body, req, err)
		}
	}
}

func TestABackgroundIsABoolean(t *testing.T) {
	for body, want := range map[string]bool{`{"model":"m"}`: false, `{"model":"m","background":true}`: true, `{"model":"m","background":null}`: false} {
		req, err := operation.Read(route(t, "POST", "/v1/responses"), []byte(body))
		if err != nil || req.Background != want {
			t.Errorf("%s: %+v %v", body, req, err)
		}
	}
	for _, body := range []string{`{"model":"m","background":"true"}`, `{"model":"m","background":1}`, `{"model":"m","Background":true}`} {
		if _, err := operation.Read(route(t, "POST", "/v1/responses"), []byte(body)); kind(err) != apierror.InvalidRequest {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestInputIsEstimatedFromItsText(t *testing.T) {
	words := strings.Repeat("words and more words, ", 400) // 8,800 bytes
	image := strings.Repeat("iVBORw0KGgo", 100_000)
	for _, tt := range []struct {
		name, body  string
		least, most int64
	}{
		{"a line", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`, 10, 20},
		{"text", `{"model":"m","messages":[{"role":"user","content":"` + words + `"}]}`, 2200, 2300},
		{"two images", `{"model":"m","messages":[{"content":[{"url":"data:image/png;base64,` + image + `"},{"url":"data:image/png;base64,` + image + `"}]}]}`, 2048, 2100},
		{"a word that is no image", `{"model":"m","x":"` + strings.Repeat("a", 40_000) + `"}`, 10_000, 10_020},
		{"Anthropic's", `{"model":"m","source":{"media_type":"image/png","data": "` + image + `"}}`, 1024, 1060},
		{"Google's", `{"model":"m","inlineData":{"data":"` + image + `"}}`, 1024, 1060},
		{"a short one", `{"model":"m","inlineData":{"data":"` + image[:400] + `"}}`, 100, 130},
	} {
		req, err := operation.Read(route(t, "POST", chat), []byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := req.InputTokens(); got < tt.least || got > tt.most {
			t.Errorf("%s: %d tokens", tt.name, got)
		}
	}
}

// What is looked at of a body is one byte in many: where an attachment stands must not matter.
func TestAnAttachmentIsFoundWhereverItStands(t *testing.T) {
	for size := 505; size < 1100; size += 3 {
		before, after := strings.Repeat("x ", size), strings.Repeat("A", size)
		body := `{"model":"m","a":"` + before + `","data":"` + after + `","b":[{"data":"` + after + `"}]}`
		want := operation.TextTokens(int64(len(body)))
		if size > 512 {
			want = 2*1024 + operation.TextTokens(int64(len(body)-2*size))
		}
		req, err := operation.Read(route(t, "POST", chat), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := req.InputTokens(); got != want {
			t.Fatalf("%d bytes: %d tokens, want %d", size, got, want)
		}
	}
}

func TestAnOperationWithoutABodyTakesNone(t *testing.T) {
	r := route(t, "POST", "/v1/fine_tuning/jobs/ftjob-1/cancel")
	if _, err := operation.Read(r, nil); err != nil {
		t.Error(err)
	}
	if _, err := operation.Read(r, []byte(`{}`)); kind(err) != apierror.InvalidRequest {
		t.Errorf("got %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		method, target string
		want           operation.Name
		path, query    string
	}{
		{"POST", "/v1/chat/completions", "chat.completions.create", "/v1/chat/completions", ""},
		{"POST", "/v1/embeddings", "embeddings.create", "/v1/embeddings", ""},
		{"GET", "/v1/models", "models.list", "/v1/models", ""},
		{"GET", "/v1/models/gpt-4", "models.retrieve", "/v1/models/gpt-4", ""},
		{"GET", "/v1/models/google/gemini", "models.retrieve", "/v1/models/google/gemini", ""},
		{"POST", "/v1/fine_tuning/jobs", "fine_tuning.jobs.create", "/v1/fine_tuning/jobs", ""},
		{"GET", "/v1/fine_tuning/jobs?limit=2&after=ftjob-1", "fine_tuning.jobs.list", "/v1/fine_tuning/jobs", "after=ftjob-1&limit=2"},
		{"GET", "/v1/fine_tuning/jobs?metadata%5Bteam%5D=a%26b", "fine_tuning.jobs.list", "/v1/fine_tuning/jobs", "metadata%5Bteam%5D=a%26b"},
		{"GET", "/v1/fine_tuning/jobs/ftjob-1", "fine_tuning.jobs.retrieve", "/v1/fine_tuning/jobs/ftjob-1", ""},
		{"GET", "/v1/responses/resp_1?include%5B%5D=a&include%5B%5D=b", "responses.retrieve", "/v1/responses/resp_1", "include%5B%5D=a&include%5B%5D=b"},
		{"POST", "/v1/fine_tuning/jobs/ftjob-1/cancel", "fine_tuning.jobs.cancel", "/v1/fine_tuning/jobs/ftjob-1/cancel", ""},
		{"GET", "/v1/fine_tuning/jobs/ftjob-1/events", "fine_tuning.jobs.list_events", "/v1/fine_tuning/jobs/ftjob-1/events", ""},
		{"GET", "/v1/fine_tuning/jobs/ftjob-1/checkpoints", "fine_tuning.jobs.checkpoints.list", "/v1/fine_tuning/jobs/ftjob-1/checkpoints", ""},
	} {
		r, err := operation.Match(httptest.NewRequest(tt.method, tt.target, nil))
		if err != nil || r.Name != tt.want || r.Path != tt.path || r.Query != tt.query {
			t.Errorf("%s %s: %+v %v", tt.method, tt.target, r, err)
		}
	}
	if r := route(t, "GET", "/v1/models/a%2Fb%20c"); r.Model != "a/b c" {
		t.Errorf("model %q", r.Model)
	}
}

func TestWhatIsNotInTheTableIsRefused(t *testing.T) {
	for _, tt := range []struct {
		method, target string
		want           apierror.Kind
	}{
		{"POST", "/v1/completions/", apierror.NotFound},
		{"POST", "/v1/chat/completions/", apierror.NotFound},
		{"POST", "/v1/chat//completions", apierror.NotFound},
		{"POST", "/V1/chat/completions", apierror.NotFound},
		{"POST", "/v1/chat%2Fcompletions", apierror.NotFound},
		{"POST", "/v1/chat/completions;x=1", apierror.NotFound},
		{"POST", "/v1/%63hat/completions", apierror.NotFound},
		{"POST", "/chat/completions", apierror.NotFound},
		{"GET", "/v1/models/", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs/%2e%2e", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs/..", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs/a%2Fevents", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs/a%00", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs//events", apierror.NotFound},
		{"GET", "/v1/fine_tuning/jobs/" + strings.Repeat("a", 257), apierror.NotFound},
		{"GET", "/v1/chat/completions", apierror.MethodNotAllowed},
		{"post", "/v1/chat/completions", apierror.MethodNotAllowed},
		{"DELETE", "/v1/fine_tuning/jobs", apierror.MethodNotAllowed},
		{"POST", "/v1/chat/completions?model=x", apierror.InvalidRequest},
		{"GET", "/v1/fine_tuning/jobs?limit=1&limit=2", apierror.InvalidRequest},
		{"GET", "/v1/fine_tuning/jobs?limit=1;after=2", apierror.InvalidRequest},
		{"GET", "/v1/fine_tuning/jobs?%zz", apierror.InvalidRequest},
		{"GET", "/v1/fine_tuning/jobs?after=a&after%5B0%5D=b", apierror.InvalidRequest},
		{"GET", "/v1/fine_tuning/jobs?metadata%5Ba%5D=1&metadata%5Ba%5D=2", apierror.InvalidRequest},
	} {
		_, err := operation.Match(httptest.NewRequest(tt.method, tt.target, nil))
		if kind(err) != tt.want {
			t.Errorf("%s %s: %v, want %v", tt.method, tt.target, err, tt.want)
		}
	}
	_, err := operation.Match(httptest.NewRequest("PUT", "/v1/fine_tuning/jobs", nil))
	if allow := apierror.From(err).Allow; allow != "GET, POST" {
		t.Errorf("Allow: %s", allow)
	}
}

// A row added to the table must be decidable: named, grouped or a list, and reachable.
func TestEveryRowIsWhole(t *testing.T) {
	seen := map[operation.Name]*operation.Operation{}
	for _, op := range operation.All() {
		// Google's API has an operation under several paths; to policies they are one.
		if first := seen[op.Name]; op.Name == "" || first != nil && (op.Dialect != apierror.Google || first.Dialect != op.Dialect || first.Group != op.Group) {
			t.Errorf("%s %s: name %q is empty or repeated", op.Method, op.Path, op.Name)
		}
		seen[op.Name] = op
		if op.IsList() && (op.Method != http.MethodGet || op.Fields != nil) {
			t.Errorf("%s needs a group: what changes something or takes a body must be decided on", op.Name)
		}
		if op.Group != "" && op.Method != http.MethodGet && op.Group != operation.Inference && !op.Effects {
			t.Errorf("%s changes something upstream and must say so", op.Name)
		}
		path := strings.NewReplacer("{id}", "x-1", "{model...}", "m", "{model}", "m", "{project}", "p", "{location}", "l").Replace(op.Path)
		if r, err := operation.Match(httptest.NewRequest(op.Method, path, nil)); err != nil || r.Operation != op {
			t.Errorf("%s: %s %s matches %v, %v", op.Name, op.Method, path, r.Operation, err)
		}
	}
}

// JSONTestSuite (github.com/nst/JSONTestSuite): wrapped as a member, what must be rejected is, and what
// must be accepted is, but for repeated names, which are refused here.
func TestJSONTestSuite(t *testing.T) {
	r := route(t, "POST", chat)
	for _, file := range corpora.Files(t, "json-test-suite/test_parsing/*.json") {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		_, err = operation.Read(r, []byte(`{"model":"m","x":`+string(doc)+`}`))
		switch {
		case strings.HasPrefix(name, "y_object_duplicated_key"), strings.HasPrefix(name, "n_"):
			// Wrapping completes a few documents; those must still not be read otherwise than by encoding/json.
			if err == nil && !json.Valid([]byte(`{"model":"m","x":`+string(doc)+`}`)) {
				t.Errorf("%s was accepted", name)
			}
			if _, err := operation.Read(r, doc); err == nil {
				t.Errorf("%s was accepted as a body", name)
			}
		case strings.HasPrefix(name, "y_"):
			if err != nil {
				t.Errorf("%s was refused: %v", name, err)
			}
		}
	}
}

// Whatever is accepted, another reader reads as the same model and stream; so too what is sent.
func FuzzRead(f *testing.F) {
	for _, s := range []string{`{"model":"a"}`, `{"stream":true,"model":"\u0061","stream_options":{"x":{}}}`, `{"model":"a","models":["b"],"tools":[{"model":"c"}],"max_tokens":3}`, `{"Model":"x"}`} {
		f.Add([]byte(s))
	}
	r := route(f, "POST", chat)
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := operation.Read(r, body)
		if err != nil {
			return
		}
		var got struct {
			Model  string `json:"model"`
			Stream bool   `json:"stream"`
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Model != req.Models[0].Name || got.Stream != req.Stream {
			t.Fatalf("encoding/json reads %+v (%v), we read %q %v", got, err, req.Models[0].Name, req.Stream)
		}
		names := make([]string, len(req.Models))
		for i := range names {
			names[i] = "renamed"
		}
		sent := []byte(join(req.Bytes(names, true)))
		again, err := operation.Read(r, sent)
		if err != nil {
			t.Fatalf("what is sent is not what may be received: %v", err)
		}
		for _, m := range again.Models {
			if m.Name != "renamed" {
				t.Fatalf("a model went through unnamed: %q", m.Name)
			}
		}
		if again.Stream != req.Stream || again.AsksUsage() {
			t.Fatalf("stream %v, usage asked %v", again.Stream, !again.AsksUsage())
		}
	})
}

// patterns are the table's paths as expressions: a second reading of what they match.
func patterns() map[*operation.Operation]*regexp.Regexp {
	const id = `[-\w:@][-\w.:@]{0,255}`
	of := map[*operation.Operation]*regexp.Regexp{}
	for _, op := range operation.All() {
		of[op] = regexp.MustCompile("^" + strings.NewReplacer("{id}", id, "{project}", id, "{location}", id, "{model}", strings.ReplaceAll(id, ":", ""), "{model...}", `(?s:.+)`).Replace(op.Path) + "$")
	}
	return of
}

// FuzzMatch: a request is of the one operation whose path and method it has, and what is sent is the path and
// the query that were read, once more.
func FuzzMatch(f *testing.F) {
	for _, op := range operation.All() {
		f.Add(op.Method, strings.NewReplacer("{id}", "x-1", "{model...}", "a%2Fb", "{model}", "m", "{project}", "p", "{location}", "l").Replace(op.Path), "limit=1&alt=sse")
	}
	for _, target := range []string{"/v1//chat/completions", "/v1/chat%2fcompletions", "/v1/files/..", "/v1/files/%2e%2e", "/v1/models/", "/v1/models/..%2f", "/v1/files/a;b", "*", ""} {
		f.Add("GET", target, "include[]=a&include[]=b&metadata[k]=v")
	}
	all := patterns()
	f.Fuzz(func(t *testing.T, method, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.RawQuery != "" || u.Host != "" || u.Scheme != "" {
			return // not what net/http gives to a handler
		}
		u.RawQuery = query
		r, err := operation.Match(&http.Request{Method: method, URL: u, Header: http.Header{}})
		if err != nil {
			if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind.Status < 400 || e.Kind.Status > 405 {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if !all[r.Operation].MatchString(path) || r.Method != method {
			t.Fatalf("%s %s is no %s", method, path, r.Name)
		}
		for op, pattern := range all {
			if op != r.Operation && op.Method == method && !op.IsList() && pattern.MatchString(path) {
				t.Errorf("%s %s is %s and %s", method, path, r.Name, op.Name)
			}
		}
		if r.IsList() {
			return // nothing is sent
		}
		if r.Path != path || strings.Contains(path, "..") && strings.Contains(path, "/..") || strings.ContainsAny(path, "%\\;?#") {
			t.Errorf("%s would be sent for %s", r.Path, path)
		}
		sent, err := url.ParseRequestURI(r.Path + "?" + r.Query)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range sent.Query() {
			base, _, list := strings.Cut(name, "[")
			if list {
				base += "[]"
			}
			if !slices.Contains(r.Operation.Query, base) || len(values) > 1 && name != base {
				t.Errorf("%s=%q would be sent", name, values)
			}
		}
		if again, err := operation.Match(&http.Request{Method: method, URL: sent, Header: http.Header{}}); err != nil || again.Operation != r.Operation || again.Query != r.Query {
			t.Errorf("what is sent for %s?%s is not what may be received: %v", path, query, err)
		}
	})
}

// FuzzReadEvery: of every operation's body, whatever is accepted has each of its models replaced, and nothing else.
func FuzzReadEvery(f *testing.F) {
	var routes []operation.Route
	for _, op := range operation.All() {
		if op.Body == operation.JSON && !op.IsList() {
			routes = append(routes, route(f, op.Method, strings.NewReplacer("{id}", "x-1", "{model}", "m", "{project}", "p", "{location}", "l").Replace(op.Path)))
		}
	}
	for i := range routes {
		f.Add(byte(i), []byte(`{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"t","model":"n"}]}`))
		f.Add(byte(i), []byte(`{"model":"models/m","requests":[{"model":"models/m"}],"contents":[],"generationConfig":{"maxOutputTokens":1}}`))
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		r := routes[int(which)%len(routes)]
		req, err := operation.Read(r, body)
		if err != nil {
			return
		}
		names := make([]string, len(req.Refs()))
		same := make([]string, len(names))
		for i, m := range req.Refs() {
			names[i], same[i] = "renamed", m.Name
		}
		if got := join(req.Bytes(same, false)); got != string(body) {
			t.Errorf("%s: %q became %q", r.Name, body, got)
		}
		again, err := operation.Read(r, []byte(join(req.Bytes(names, true))))
		if err != nil {
			t.Fatalf("%s: what is sent is not what may be received: %v", r.Name, err)
		}
		for i, m := range again.Refs() {
			if m.Name != "renamed" && !(i == 0 && strings.Contains(r.Operation.Path, "{model}")) {
				t.Errorf("%s: a model went through unnamed: %q", r.Name, m.Name)
			}
		}
		if len(again.Refs()) != len(names) || again.Stream != req.Stream || again.Choices != req.Choices || again.Background != req.Background {
			t.Errorf("%s: %+v was read, %+v would be sent", r.Name, req.Ask, again.Ask)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	r := route(b, "POST", chat)
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KiB", 1 << 10}, {"100KiB", 100 << 10}, {"10MiB", 10 << 20}} {
		head, tail := `{"model":"gpt-4-turbo","stream":true,"messages":[{"role":"user","content":"`, `"}]}`
		text := strings.Repeat("all work and no play ", size.bytes/21+1)
		body := []byte(head + text[:size.bytes-len(head)-len(tail)] + tail)
		b.Run(size.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := operation.Read(r, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, request := range []struct{ name, method, target string }{
		{"a path of the table", "POST", chat},
		{"a pattern", "POST", "/v1/projects/acme/locations/europe-west4/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"},
	} {
		r := httptest.NewRequest(request.method, request.target, nil)
		r.Header.Set("Content-Type", "application/json")
		b.Run(request.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				route, err := operation.Match(r)
				if err == nil {
					err = route.ReadHead(r.Header)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What an operation can't ask for, no policy needs to be asked about.
func TestOperationsSayWhatTheyMayAskFor(t *testing.T) {
	for _, tt := range []struct {
		request         string
		streams, bounds bool
	}{
		{"POST /v1/chat/completions", true, true},
		{"POST /v1/embeddings", true, false}, // a stream is read in every body that has a model
		{"POST /v1/audio/transcriptions", true, false},
		{"POST /v1beta/models/gemini:generateContent", false, true},
		{"POST /v1beta/models/gemini:streamGenerateContent", true, true},
		{"POST /v1/files", false, false},
		{"GET /v1/files", false, false},
		{"POST /v1/batches", false, false},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		route, err := operation.Match(httptest.NewRequest(method, path, nil))
		if err != nil {
			t.Fatal(err)
		}
		if s, b := route.CanStream(), route.CanBound(); s != tt.streams || b != tt.bounds {
			t.Errorf("%s: streams %t, bounds %t", tt.request, s, b)
		}
	}
}
