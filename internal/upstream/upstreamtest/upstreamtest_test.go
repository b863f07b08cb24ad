package upstreamtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

const form = "multipart/form-data; boundary=b"

// fields is a form; a value that begins with @ is a file's.
func fields(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		disposition := fmt.Sprintf("form-data; name=%q", name)
		if content, isFile := strings.CutPrefix(value, "@"); isFile {
			disposition, value = disposition+`; filename="f"`, content
		}
		fmt.Fprintf(&b, "--b\r\nContent-Disposition: %s\r\n\r\n%s\r\n", disposition, value)
	}
	return b.String() + "--b--\r\n"
}

// A story of what is stored, and what is refused on the way.
func TestTheProviderStoresWhatIsSoundAndRefusesTheRest(t *testing.T) {
	s := upstreamtest.New(func(token string) bool { return token == "good" })
	defer s.Close()
	const line = `{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}`
	for i, row := range []struct {
		line, contentType, body string
		status                  int
		holds                   string
	}{
		{"POST /chat/completions", "application/json", `{"messages":[{}]}`, 400, "model"},
		{"POST /chat/completions", "text/plain", `{}`, 415, ""},
		{"POST /images/edits", form, fields("model", "m", "model", "n", "prompt", "p", "image", "@i"), 400, "model must be given once"},
		{"POST /images/edits", form, fields("model", "m", "prompt", "p", "image", "@i"), 200, "b64_json"},
		{"POST /audio/transcriptions", form, fields("model", "m", "file", "@heard"), 200, "heard"},
		{"POST /files", form, fields("file", "@x"), 400, "purpose"},
		{"POST /files", form, fields("purpose", "batch", "file", "@"+line), 200, "file-1"},
		{"POST /files", form, fields("purpose", "user_data", "file", "@x"), 200, "file-2"},
		{"GET /files/file-2/content", "", "", 200, "x"},
		{"POST /batches", "application/json", `{"input_file_id":"file-2","endpoint":"/v1/embeddings"}`, 400, "purpose"},
		{"POST /batches", "application/json", `{"input_file_id":"file-1","endpoint":"/v1/responses"}`, 400, "endpoint"},
		{"POST /batches", "application/json", `{"input_file_id":"file-1","endpoint":"/v1/embeddings"}`, 200, `"total":1`},
		{"DELETE /files/file-1", "", "", 200, "deleted"},
		{"GET /files/file-1", "", "", 404, "file_not_found"},
		{"POST /uploads", "application/json", `{"bytes":2,"filename":"f","mime_type":"t","purpose":"p"}`, 200, "upload-1"},
		{"POST /uploads/upload-1/parts", form, fields("data", "@a"), 200, "part-1"},
		{"POST /uploads/upload-1/complete", "application/json", `{"part_ids":["part-1"]}`, 400, "announced"},
		{"POST /uploads/upload-1/complete", "application/json", `{"part_ids":["part-1","part-1"]}`, 200, "file-3"},
		{"POST /responses", "application/json", `{"model":"m","input":"hi","previous_response_id":"resp-9"}`, 400, "previous"},
		{"POST /responses", "application/json", `{"model":"m","input":"hi","stream":true}`, 200, "event: response.completed\n"},
		{"POST /responses/resp-1/cancel", "", "", 400, "background"},
		{"POST /fine_tuning/jobs", "application/json", `{"model":"m"}`, 400, "training_file"},
		{"GET /assistants", "", "", 404, "unknown_url"},
	} {
		method, path, _ := strings.Cut(row.line, " ")
		req, err := http.NewRequest(method, s.URL+path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", row.contentType)
		req.Header.Set("Authorization", "Bearer good")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != row.status || !strings.Contains(string(body), row.holds) {
			t.Errorf("%s: %d %s, want %d and %q", row.line, resp.StatusCode, body, row.status, row.holds)
		}
		if got := s.Received(); len(got) != i+1 || got[i].Body != row.body || got[i].Refused {
			t.Errorf("%s: received %+v", row.line, got[len(got)-1])
		}
	}
}

// exchange is one request and what its answer has to be.
type exchange struct {
	// line is the method and the path.
	line string
	// header is a list of names and values.
	header []string
	body   string
	status int
	// holds are what the answer's body has, in this order.
	holds []string
}

// hold makes the exchanges in turn, in JSON where no row says otherwise, and checks that each was kept as it was sent.
func hold(t *testing.T, s *upstreamtest.Server, exchanges []exchange) {
	t.Helper()
	for i, row := range exchanges {
		method, path, _ := strings.Cut(row.line, " ")
		req, err := http.NewRequest(method, s.URL+path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for h := row.header; len(h) > 0; h = h[2:] {
			if h[0] == "Content-Type" {
				req.Header.Del(h[0])
			}
			req.Header.Add(h[0], h[1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != row.status {
			t.Errorf("%s %s: %d, want %d: %s", row.line, row.body, resp.StatusCode, row.status, body)
		}
		rest := string(body)
		for _, part := range row.holds {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s %s: want %q (in order) in\n%s", row.line, row.body, part, body)
				break
			}
			rest = after
		}
		got := s.Received()
		if len(got) != i+1 || got[i].Body != row.body || got[i].Method != method {
			t.Fatalf("%s: received %+v", row.line, got[len(got)-1])
		}
		if credential := row.status == 401 || strings.Contains(string(body), "API_KEY_INVALID") || strings.Contains(string(body), "unregistered"); got[i].Refused != credential {
			t.Errorf("%s %s: refused is %v", row.line, row.body, got[i].Refused)
		}
	}
}

func good(credential string) bool { return credential == "good" }

// with adds to a list of headers.
func with(header []string, more ...string) []string {
	return append(append([]string(nil), header...), more...)
}

func TestAnthropicTakesItsOwnKeyVersionAndBodies(t *testing.T) {
	s := upstreamtest.NewAnthropic(good)
	defer s.Close()
	const messages, count = "POST /v1/messages", "POST /v1/messages/count_tokens"
	key := []string{"X-Api-Key", "good"}
	sound := with(key, "Anthropic-Version", "2023-06-01")
	hi := func(fields string) string {
		return `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi you"}]` + fields + `}`
	}
	content := func(c string) string {
		return `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":` + c + `}]}`
	}
	cached := hi(`,"system":[{"type":"text","text":"be very kind","cache_control":{"type":"ephemeral"}}]`)
	const tools = `,"tools":[{"name":"say","input_schema":{"type":"object"}}]`
	hold(t, s, []exchange{
		{messages, sound, hi(""), 200, []string{`"content":[{"text":"You said: hi you","type":"text"}]`, `"model":"m"`, `"stop_reason":"end_turn"`, `"input_tokens":2`, `"output_tokens":4`}},
		{messages, sound, hi(`,"stream":true`), 200, []string{"event: message_start\ndata: ", `"usage":{"input_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}`,
			"event: content_block_start\n", "event: ping\n", `"text":"You "`, "event: content_block_stop\n", "event: message_delta\n", `"stop_reason":"end_turn"`, `"usage":{"output_tokens":4}`, "event: message_stop\n"}},
		{messages, sound, cached, 200, []string{`"input_tokens":2,"cache_creation_input_tokens":3,"cache_read_input_tokens":0`}},
		{messages, sound, cached, 200, []string{`"input_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":3`}},
		{count, sound, cached, 200, []string{`{"input_tokens":5}`}},
		{messages, sound, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Use the tool"}]` + tools + `}`, 200,
			[]string{`"id":"toolu_echo","input":{"said":"Use the tool"},"name":"say","type":"tool_use"`, `"stop_reason":"tool_use"`}},
		{messages, sound, `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"use the tool"}]` + tools + `}`, 200,
			[]string{`"input":{},"name":"say","type":"tool_use"`, `"delta":{"partial_json":"{`, `"type":"input_json_delta"`, `"stop_reason":"tool_use"`}},
		{messages, sound, content(`[{"type":"tool_result","tool_use_id":"t","content":"sunny"}]`), 200, []string{"You said: sunny"}},
		{messages, sound, content(`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}},{"type":"text","text":"what"}]`), 200, []string{"You said: [image/png] what"}},
		{messages, sound, content(`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"?"}}]`), 400, []string{"messages.0.content.0"}},
		{messages, sound, content(`[{"type":"image","source":{"type":"url","url":"https://example.com/i"}}]`), 200, []string{"You said: [image]"}},
		{messages, sound, content(`[{"type":"image"}]`), 400, []string{"messages.0.content.0"}},
		{messages, sound, `{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t"}]}]}`, 400, []string{"messages.0.content.0"}},
		{messages, sound, content(`[{"type":"tool_result","content":"sunny"}]`), 400, []string{"messages.0.content.0"}},
		{messages, sound, content(`[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image"}]}]`), 400, []string{"messages.0.content.0"}},
		{messages, sound, hi(`,"system":[{"type":"image"}]`), 400, []string{"system.0"}},
		{messages, sound, content(`[]`), 400, []string{"messages.0.content"}},
		{messages, sound, `{"model":"m","max_tokens":9,"messages":[{"role":"system","content":"hi"}]}`, 400, []string{"messages.0.role"}},
		{messages, sound, `{"model":"m","max_tokens":9,"messages":[]}`, 400, []string{"messages: "}},
		{messages, sound, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, 400, []string{"max_tokens: "}},
		{count, sound, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, 200, []string{`{"input_tokens":1}`}},
		{messages, sound, `{"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, 400, []string{"model: "}},
		{messages, sound, hi(`,"anthropic_version":"vertex-2023-10-16"`), 400, []string{"anthropic_version: "}},
		{messages, sound, hi(`,"tools":[{"name":"say"}]`), 400, []string{"tools.0: "}},
		{messages, sound, hi(`} {`), 400, []string{"not the JSON"}},
		{messages, with(sound, "Content-Type", "text/plain"), hi(""), 400, []string{"application/json"}},
		{messages, key, hi(""), 400, []string{"anthropic-version: "}},
		{messages, with(key, "Anthropic-Version", "vertex-2023-10-16"), hi(""), 400, []string{"anthropic-version: "}},
		{messages, []string{"Anthropic-Version", "2023-06-01", "X-Api-Key", "bad"}, hi(""), 401, []string{`{"error":{"message":"invalid x-api-key","type":"authentication_error"},"request_id":"req_upstream","type":"error"}`}},
		{messages, []string{"Anthropic-Version", "2023-06-01", "Authorization", "Bearer good"}, hi(""), 401, nil},
		{messages, with(sound, "Authorization", "Bearer good"), hi(""), 401, nil},
		{messages, with(sound, "X-Api-Key", "good"), hi(""), 401, nil},
		{"GET /v1/messages", sound, "", 404, []string{"not_found_error"}},
	})
}

const contents = `"contents":[{"role":"user","parts":[{"text":"hi you"}]}]`

func TestGeminiTakesItsOwnKeyPathsAndBodies(t *testing.T) {
	s := upstreamtest.NewGemini(good)
	defer s.Close()
	const generate, stream, count, embed, batch = "POST /v1beta/models/m-1.5:generateContent", "POST /v1beta/models/m-1.5:streamGenerateContent",
		"POST /v1beta/models/m-1.5:countTokens", "POST /v1beta/models/m-1.5:embedContent", "POST /v1beta/models/m-1.5:batchEmbedContents"
	key := []string{"X-Goog-Api-Key", "good"}
	const said, hi = `"content":{"parts":[{"text":"You said: hi you"}],"role":"model"}`, `"content":{"parts":[{"text":"hi"}]}`
	const system = `{` + contents + `,"system_instruction":{"parts":[{"text":"be kind"}]}}`
	const tool = `{"contents":[{"parts":[{"text":"use the tool"}]}],"tools":[{"functionDeclarations":[{"name":"say"}]}]}`
	hold(t, s, []exchange{
		{generate, key, `{` + contents + `}`, 200, []string{said, `"finishReason":"STOP"`, `"modelVersion":"m-1.5"`, `"usageMetadata":{"candidatesTokenCount":4,"promptTokenCount":2,"totalTokenCount":6}`}},
		{"POST /v1/models/m-1.5:generateContent", key, `{` + contents + `}`, 200, []string{said}},
		{stream, key, `{` + contents + `}`, 200, []string{`[{"candidates":[{`, `"text":"You "`, `"candidatesTokenCount":1`, "},\r\n{", `"text":"you"`, `"finishReason":"STOP"`, `"candidatesTokenCount":4`, "}]"}},
		{stream + "?alt=sse", key, `{` + contents + `}`, 200, []string{`data: {"candidates":`, `"text":"You "`, "}\r\n\r\ndata: {", `"finishReason":"STOP"`, `"totalTokenCount":6}}` + "\r\n\r\n"}},
		{generate, key, system, 200, []string{`"usageMetadata":{"candidatesTokenCount":4,"promptTokenCount":4,"totalTokenCount":8}`}},
		{generate, key, system, 200, []string{`"usageMetadata":{"cachedContentTokenCount":2,"candidatesTokenCount":4,"promptTokenCount":4,"totalTokenCount":8}`}},
		{stream, key, `{` + contents + `,"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}`, 200, []string{`"thought":true`, `"candidatesTokenCount":0`, `"candidatesTokenCount":4,"promptTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":9`}},
		{generate, key, `{` + contents + `,"generationConfig":{"thinkingConfig":{"thinkingBudget":5}}}`, 200, []string{`"parts":[{"text":"You said: hi you"}]`, `"thoughtsTokenCount":3,"totalTokenCount":9`}},
		{generate, key, `{` + contents + `,"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}`, 200, []string{`"promptTokenCount":2,"totalTokenCount":6`}},
		{generate, key, tool, 200, []string{`"functionCall":{"args":{"said":"use the tool"},"name":"say"}`}},
		{stream + "?alt=sse", key, tool, 200, []string{`"functionCall":{"args":{"said":"use the tool"},"name":"say"}`}},
		{generate, key, `{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"_-8"}},{"text":"what"}]}]}`, 200, []string{"You said: [image/png] what"}},
		{generate, key, `{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"?"}}]}]}`, 400, []string{"part"}},
		{generate, key, `{"contents":[{"role":"model","parts":[{"functionCall":{"name":"say"}}]},{"role":"user","parts":[{"functionResponse":{"name":"say","response":{"sky":"blue"}}}]}]}`, 200, []string{`You said: {\"sky\":\"blue\"}`}},
		{generate, key, `{"contents":[{"parts":[{"fileData":{"fileUri":"https://example.com/f"}}]}]}`, 200, []string{"You said: [file]"}},
		{generate, key, `{"contents":"hi"}`, 400, []string{"JSON payload"}},
		{generate, key, `{"contents":[{"role":"assistant","parts":[{"text":"hi"}]}]}`, 400, []string{"valid role"}},
		{generate, key, `{"contents":[{"parts":[]}]}`, 400, []string{"parts must"}},
		{generate, key, `{}`, 400, []string{`{"error":{"code":400,"message":"contents is not specified","status":"INVALID_ARGUMENT"}}`}},
		{generate, key, `{"model":"models/other",` + contents + `}`, 400, []string{"models/m-1.5"}},
		{stream, key, `{}`, 400, []string{`[{"error":`, "}]"}},
		{generate, key, `{` + contents + `} {}`, 400, []string{"not the JSON"}},
		{generate, with(key, "Content-Type", "text/plain"), `{` + contents + `}`, 400, []string{"application/json"}},
		{count, key, `{` + contents + `}`, 200, []string{`"totalTokens":2`}},
		{count, key, `{"generateContentRequest":{"model":"models/m-1.5","systemInstruction":{"parts":[{"text":"be kind"}]},` + contents + `}}`, 200, []string{`"totalTokens":4`}},
		{count, key, `{"generateContentRequest":{` + contents + `}}`, 400, []string{"has a model"}},
		{count, key, `{"generateContentRequest":{"model":"models/other",` + contents + `}}`, 400, []string{"models/m-1.5"}},
		{count, key, `{"generateContentRequest":{"model":"models/m-1.5",` + contents + `},` + contents + `}`, 400, []string{"either"}},
		{embed, key, `{` + hi + `}`, 200, []string{`{"embedding":{"values":[2,0.5,-0.5]}}`}},
		{embed, key, `{"model":"models/m-1.5",` + hi + `}`, 200, nil},
		{embed, key, `{"model":"m-1.5",` + hi + `}`, 400, []string{"models/m-1.5"}},
		{embed, key, `{}`, 400, nil},
		{batch, key, `{"requests":[{"model":"models/m-1.5",` + hi + `},{"model":"models/m-1.5",` + hi + `}]}`, 200, []string{`{"embeddings":[{"values":[2,0.5,-0.5]},{"values":[2,0.5,-0.5]}]}`}},
		{batch, key, `{"requests":[{"model":"models/m-1.5",` + hi + `},{"model":"models/other",` + hi + `}]}`, 400, []string{"models/m-1.5"}},
		{batch, key, `{"requests":[{` + hi + `}]}`, 400, []string{"requests.model"}},
		{batch, key, `{}`, 400, []string{"requests"}},
		{generate + "?foo=sse", key, `{` + contents + `}`, 400, []string{"query"}},
		{generate + "?alt=xml", key, `{` + contents + `}`, 400, []string{"query"}},
		{generate + "?api-version=preview", key, `{` + contents + `}`, 400, []string{"query"}},
		{generate + "?key=good", key, `{` + contents + `}`, 400, []string{"API_KEY_INVALID"}},
		{generate + "?key=good", nil, `{` + contents + `}`, 403, []string{"unregistered"}},
		{stream, []string{"X-Goog-Api-Key", "bad"}, `{` + contents + `}`, 400, []string{`[{"error":`, `"reason":"API_KEY_INVALID"`}},
		{generate, with(key, "Authorization", "Bearer good"), `{` + contents + `}`, 400, []string{"API_KEY_INVALID"}},
		{"POST /v1beta/models/a%2Fb:generateContent", key, `{` + contents + `}`, 404, []string{"NOT_FOUND"}},
		{"POST /v1beta/models/m:predict", key, `{` + contents + `}`, 404, []string{"NOT_FOUND"}},
		{"POST /v1beta/models/m", key, `{` + contents + `}`, 404, []string{"NOT_FOUND"}},
		{"POST /v1beta1/models/m:generateContent", key, `{` + contents + `}`, 404, []string{"NOT_FOUND"}},
	})
}

func TestVertexServesOneProjectAndLocationWithThreeFaces(t *testing.T) {
	s := upstreamtest.NewVertex(good, "acme", "europe-west4")
	defer s.Close()
	const at = "POST /v1/projects/acme/locations/europe-west4/"
	const gemini, claude, counting, chat, embeddings = at + "publishers/google/models/gemini-2.5-flash:", at + "publishers/anthropic/models/claude-sonnet-4-5@20250929:",
		at + "publishers/anthropic/models/count-tokens:", at + "endpoints/openapi/chat/completions", at + "endpoints/openapi/embeddings"
	const name = "projects/acme/locations/europe-west4/publishers/google/models/gemini-2.5-flash"
	token := []string{"Authorization", "Bearer good"}
	claudes := func(fields string) string {
		return `{"max_tokens":9,"messages":[{"role":"user","content":"hi you"}]` + fields + `}`
	}
	const version = `,"anthropic_version":"vertex-2023-10-16"`
	chats := func(model string) string {
		return `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
	}
	hold(t, s, []exchange{
		{gemini + "generateContent", token, `{` + contents + `}`, 200, []string{"You said: hi you", `"modelVersion":"gemini-2.5-flash"`, `"totalTokenCount":6`}},
		{"POST /v1beta1/projects/acme/locations/europe-west4/publishers/google/models/m:streamGenerateContent?alt=sse", token, `{` + contents + `}`, 200, []string{"data: {", "STOP"}},
		{gemini + "streamGenerateContent", token, `{` + contents + `}`, 200, []string{"[{", "}]"}},
		{gemini + "generateContent", token, `{"model":"models/gemini-2.5-flash",` + contents + `}`, 400, []string{name}},
		{gemini + "countTokens", token, `{"model":"` + name + `",` + contents + `}`, 200, []string{`"totalBillableCharacters":5,"totalTokens":2`}},
		{gemini + "countTokens", token, `{"model":"projects/other/locations/europe-west4/publishers/google/models/gemini-2.5-flash",` + contents + `}`, 400, []string{name}},
		{gemini + "embedContent", token, `{"content":{"parts":[{"text":"hi"}]}}`, 200, []string{`"values":[2,0.5,-0.5]`, `"promptTokenCount":1`}},
		{gemini + "predict", token, `{"instances":[{"content":"hi you","task_type":"RETRIEVAL_QUERY"}]}`, 200, []string{`"billableCharacterCount":5`, `"statistics":{"token_count":2,"truncated":false},"values":[6,0.5,-0.5]`}},
		{gemini + "predict", token, `{"instances":[{}]}`, 400, []string{"content"}},
		{gemini + "predict", token, `{}`, 400, []string{"instances"}},
		{gemini + "batchEmbedContents", token, `{"requests":[{"content":{"parts":[{"text":"hi"}]}},{"model":"` + name + `","content":{"parts":[{"text":"you"}]}}]}`, 200,
			[]string{`{"embeddings":[{"values":[2,0.5,-0.5]},{"values":[3,0.5,-0.5]}],"usageMetadata":{"promptTokenCount":2,"totalTokenCount":2}}`}},
		{gemini + "batchEmbedContents", token, `{"requests":[{"model":"models/gemini-2.5-flash","content":{"parts":[{"text":"hi"}]}}]}`, 400, []string{name}},
		{gemini + "batchEmbedContents", token, `{"requests":[{"content":{"parts":[{}]}}]}`, 400, []string{"part"}},
		{gemini + "rawPredict", token, claudes(version), 404, nil},

		{claude + "rawPredict", token, claudes(version), 200, []string{`"id":"msg_vrtx_echo","model":"claude-sonnet-4-5-20250929"`, `"input_tokens":2`}},
		{claude + "streamRawPredict", token, claudes(version + `,"stream":true`), 200, []string{"event: message_start\n", "event: message_stop\n"}},
		{claude + "streamRawPredict", token, claudes(version), 200, []string{`"type":"message"`}},
		{claude + "rawPredict", token, claudes(version + `,"stream":true`), 400, []string{"stream: "}},
		{claude + "rawPredict", token, claudes(version + `,"model":"claude-sonnet-4-5@20250929"`), 400, []string{"model: Extra inputs", "invalid_request_error"}},
		{claude + "rawPredict", token, claudes(""), 400, []string{"anthropic_version: "}},
		{claude + "rawPredict", token, claudes(`,"anthropic_version":"2026-10-21"`), 200, []string{"You said: hi you"}},
		{claude + "rawPredict", token, claudes(`,"anthropic_version":"2023-06-01"`), 400, []string{"anthropic_version: "}},
		{claude + "rawPredict", token, `{"messages":[{"role":"user","content":"hi"}]` + version + `}`, 400, []string{"max_tokens: "}},
		{claude + "generateContent", token, `{` + contents + `}`, 404, nil},
		{counting + "rawPredict", token, claudes(`,"model":"claude-sonnet-4-5@20250929"`), 200, []string{`{"input_tokens":2}`}},
		{counting + "rawPredict", token, claudes(version + `,"model":"claude-sonnet-4-5@20250929"`), 200, []string{`{"input_tokens":2}`}},
		{counting + "rawPredict", token, claudes(version), 400, []string{"model: "}},
		{counting + "rawPredict", token, claudes(`,"anthropic_version":"2023-06-01","model":"m"`), 400, []string{"anthropic_version: "}},
		{counting + "streamRawPredict", token, claudes(version + `,"model":"m"`), 404, nil},

		{chat, token, chats("google/gemini-2.5-flash"), 200, []string{"You said: hi"}},
		{chat, token, chats("gemini-2.5-flash"), 400, []string{"publisher/model"}},
		{chat, token, chats("google/models/gemini"), 400, []string{"publisher/model"}},
		{embeddings, token, `{"model":"google/gemini-embedding-001","input":"hi"}`, 200, []string{`"embedding":[2,0.5,-0.5]`}},
		{at + "endpoints/openapi/completions", token, `{"model":"google/m","prompt":"hi"}`, 404, nil},

		{"POST /v1/projects/other/locations/europe-west4/publishers/google/models/m:generateContent", token, `{` + contents + `}`, 403, []string{"PERMISSION_DENIED"}},
		{"POST /v1/projects/acme/locations/us-central1/publishers/anthropic/models/m:rawPredict", token, claudes(version), 403, []string{"PERMISSION_DENIED"}},
		{"POST /v1/projects/other/locations/europe-west4/endpoints/openapi/chat/completions", token, chats("google/m"), 403, []string{"PERMISSION_DENIED"}},
		{gemini + "generateContent", with(token, "X-Goog-User-Project", "other"), `{` + contents + `}`, 403, []string{"USER_PROJECT_DENIED"}},
		{gemini + "generateContent", with(token, "X-Goog-User-Project", "acme"), `{` + contents + `}`, 200, nil},
		{gemini + "generateContent", []string{"Authorization", "Bearer bad"}, `{` + contents + `}`, 401, []string{"UNAUTHENTICATED"}},
		{gemini + "generateContent", []string{"X-Goog-Api-Key", "good"}, `{` + contents + `}`, 401, []string{"UNAUTHENTICATED"}},
		{gemini + "generateContent", with(token, "X-Goog-Api-Key", "good"), `{` + contents + `}`, 401, nil},
		{claude + "rawPredict", with(token, "X-Api-Key", "good"), claudes(version), 401, nil},
		{chat + "?access_token=good", token, chats("google/m"), 401, nil},
		{"POST /v1/publishers/google/models/m:generateContent", token, `{` + contents + `}`, 404, nil},
	})
}

func TestAzureTakesAKeyOrATokenForTheV1API(t *testing.T) {
	s := upstreamtest.NewAzure(good)
	defer s.Close()
	const chat, body = "POST /chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	key, token := []string{"Api-Key", "good"}, []string{"Authorization", "Bearer good"}
	hold(t, s, []exchange{
		{chat, key, body, 200, []string{"You said: hi"}},
		{chat, token, body, 200, []string{"You said: hi"}},
		{chat + "?api-version=preview", key, body, 200, nil},
		{chat + "?api-version=2024-10-21", key, body, 400, []string{"API version not supported"}},
		{"POST /responses", key, `{"model":"m","input":"hi"}`, 200, []string{"resp-1"}},
		{"GET /responses/resp-1", token, "", 200, []string{"You said: hi"}},
		{chat, with(key, token...), body, 401, nil},
		{chat, []string{"Api-Key", "bad"}, body, 401, []string{"Access denied"}},
		{chat, []string{"Authorization", "Bearer bad"}, body, 401, nil},
		{chat, nil, body, 401, nil},
		{"POST /deployments/m/chat/completions", key, body, 404, []string{"unknown_url"}},
	})
}
