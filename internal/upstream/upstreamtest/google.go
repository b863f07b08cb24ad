package upstreamtest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// What the Gemini API and Vertex AI have in common: ai.google.dev/api/generate-content,
// cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference and
// cloud.google.com/apis/design/errors

// modelMethod is the last segment of a path.
var modelMethod = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._@-]*):([A-Za-z]+)$`)

// splitCall returns the model and the method that the path's {call} names, or neither.
func splitCall(r *http.Request) (model, method string) {
	if m := modelMethod.FindStringSubmatch(r.PathValue("call")); m != nil {
		model, method = m[1], m[2]
	}
	return model, method
}

type generateRequest struct {
	Model    string `json:"model"`
	Contents []turn `json:"contents"`
	System   turn   `json:"systemInstruction"`
	Tools    []struct {
		Functions []struct {
			Name string `json:"name"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	Config struct {
		Thinking *struct {
			Include bool `json:"includeThoughts"`
			Budget  *int `json:"thinkingBudget"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
}

type turn struct {
	Role  string  `json:"role"`
	Parts []piece `json:"parts"`
}

type piece struct {
	Text       *string `json:"text"`
	InlineData *struct {
		MIMEType string `json:"mimeType"`
		Data     string `json:"data"`
	} `json:"inlineData"`
	FileData *struct {
		URI string `json:"fileUri"`
	} `json:"fileData"`
	Call *struct {
		Name string `json:"name"`
	} `json:"functionCall"`
	Response *struct {
		Name     string         `json:"name"`
		Response map[string]any `json:"response"`
	} `json:"functionResponse"`
}

// base64Bytes are bytes as protocol buffers' JSON has them: of either alphabet, padded or not.
var base64Bytes = regexp.MustCompile(`^[A-Za-z0-9+/_-]+={0,2}$`)

func (p piece) sound() bool {
	switch {
	case p.InlineData != nil:
		return p.InlineData.MIMEType != "" && base64Bytes.MatchString(p.InlineData.Data)
	case p.FileData != nil:
		return p.FileData.URI != ""
	case p.Call != nil:
		return p.Call.Name != ""
	case p.Response != nil:
		return p.Response.Name != "" && p.Response.Response != nil
	}
	return p.Text != nil
}

// said are the words that the model takes a part for: an image is one, such as [image/png].
func (p piece) said() string {
	switch {
	case p.InlineData != nil:
		return "[" + p.InlineData.MIMEType + "]"
	case p.FileData != nil:
		return "[file]"
	case p.Call != nil:
		return p.Call.Name
	case p.Response != nil:
		b, _ := json.Marshal(p.Response.Response)
		return string(b)
	}
	return *p.Text
}

func (t turn) said() string {
	var said []string
	for _, p := range t.Parts {
		said = append(said, p.said())
	}
	return strings.Join(said, " ")
}

func (t turn) fault() string {
	if len(t.Parts) == 0 {
		return "parts must not be empty."
	}
	if slices.ContainsFunc(t.Parts, func(p piece) bool { return !p.sound() }) {
		return "a part is not of its kind"
	}
	return ""
}

// fault is what is wrong with a request for the model that has the resource name.
func (g *generateRequest) fault(name string) string {
	if g.Model != "" && g.Model != name {
		return "model must be that of the path, " + name
	}
	if len(g.Contents) == 0 {
		return "contents is not specified"
	}
	for _, t := range g.Contents {
		if !slices.Contains([]string{"", "user", "model", "function"}, t.Role) {
			return "Please use a valid role: user, model."
		}
		if fault := t.fault(); fault != "" {
			return fault
		}
	}
	if len(g.System.Parts) > 0 {
		return g.System.fault()
	}
	return ""
}

// prompt is everything the model reads.
func (g *generateRequest) prompt() string {
	all := g.System.said()
	for _, t := range g.Contents {
		all += " " + t.said()
	}
	return all
}

// tool is the first function that the request declares, or "".
func (g *generateRequest) tool() string {
	for _, tool := range g.Tools {
		for _, f := range tool.Functions {
			return f.Name
		}
	}
	return ""
}

// reply is what the model answers and how many tokens that is, one of them in each of a stream's
// parts: the last content's words, or a call of the first function with them. It is after a thought
// where one is asked for.
func (g *generateRequest) reply(stream bool) (parts []map[string]any, tokens int) {
	if g.thinks() && g.Config.Thinking.Include {
		parts = append(parts, map[string]any{"text": thought, "thought": true})
	}
	said := g.Contents[len(g.Contents)-1].said()
	text, u := echo(said)
	switch tool := g.tool(); {
	case tool != "" && callsTool(said):
		parts = append(parts, map[string]any{"functionCall": map[string]any{"name": tool, "args": map[string]any{"said": said}}})
	case stream:
		for _, word := range strings.SplitAfter(text, " ") {
			parts = append(parts, map[string]any{"text": word})
		}
	default:
		parts = append(parts, map[string]any{"text": text})
	}
	return parts, u.CompletionTokens
}

const thought = "They said something."

func (g *generateRequest) thinks() bool {
	t := g.Config.Thinking
	return t != nil && (t.Budget == nil || *t.Budget != 0)
}

// generate answers as the model that has the resource name. It caches the system instruction, with
// which a prompt begins.
func (s *Server) generate(w http.ResponseWriter, r *http.Request, name string, stream bool) {
	var req generateRequest
	if !readGoogle(w, r, &req) {
		return
	}
	if fault := req.fault(name); fault != "" {
		failGoogle(w, r, 400, "", fault)
		return
	}
	u := map[string]int{"promptTokenCount": len(strings.Fields(req.prompt()))}
	if system := req.System.said(); system != "" && s.cached(name+" "+system) {
		u["cachedContentTokenCount"] = len(strings.Fields(system))
	}
	if req.thinks() {
		u["thoughtsTokenCount"] = len(strings.Fields(thought))
	}
	// answer has some of the parts, with which the model has said so many tokens.
	answer := func(parts []map[string]any, tokens int, last bool) map[string]any {
		u["candidatesTokenCount"] = tokens
		u["totalTokenCount"] = u["promptTokenCount"] + u["thoughtsTokenCount"] + tokens
		candidate := map[string]any{"index": 0, "content": map[string]any{"role": "model", "parts": parts}}
		if last {
			candidate["finishReason"] = "STOP"
		}
		return map[string]any{"candidates": []any{candidate}, "usageMetadata": u, "modelVersion": name[strings.LastIndex(name, "/")+1:], "responseId": "echo"}
	}
	parts, tokens := req.reply(stream)
	if !stream {
		answerGoogle(w, answer(parts, tokens, true))
		return
	}
	send, end := chunks(w, r.URL.Query().Get("alt") == "sse")
	for i := range parts {
		left := len(parts) - 1 - i
		send(answer(parts[i:i+1], max(tokens-left, 0), left == 0))
	}
	end()
}

// chunks begins a stream, of server-sent events or a JSON array, and returns what sends an element,
// flushed, and what ends it. Google ends its lines with CRLF.
func chunks(w http.ResponseWriter, sse bool) (send func(any), end func()) {
	before, between, after, final := "[", ",\r\n", "", "]"
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if sse {
		before, between, after, final = "data: ", "data: ", "\r\n\r\n", ""
		w.Header().Set("Content-Type", "text/event-stream")
	}
	send = func(v any) {
		b, _ := json.Marshal(v)
		io.WriteString(w, before+string(b)+after)
		http.NewResponseController(w).Flush()
		before = between
	}
	return send, func() { io.WriteString(w, final) }
}

type embedRequest struct {
	Model   string `json:"model"`
	Content turn   `json:"content"`
}

// fault is what is wrong with a request for the model that has the resource name.
func (e *embedRequest) fault(name string) string {
	if e.Model != "" && e.Model != name {
		return "model must be that of the path, " + name
	}
	return e.Content.fault()
}

func embedding(text string) map[string]any {
	return map[string]any{"values": vector(text)}
}

func embeddings(texts []string) []any {
	var all []any
	for _, text := range texts {
		all = append(all, embedding(text))
	}
	return all
}

// embedContent reads a request for one embedding; each API has its own answer.
func embedContent(w http.ResponseWriter, r *http.Request, name string) (text string, ok bool) {
	var req embedRequest
	if !readGoogle(w, r, &req) {
		return "", false
	}
	if fault := req.fault(name); fault != "" {
		failGoogle(w, r, 400, "", fault)
		return "", false
	}
	return req.Content.said(), true
}

// batchEmbedContents reads a request for several embeddings, each of which names the model where
// that is wanted; each API has its own answer.
func batchEmbedContents(w http.ResponseWriter, r *http.Request, name string, named bool) (texts []string, ok bool) {
	var req struct {
		Requests []embedRequest `json:"requests"`
	}
	if !readGoogle(w, r, &req) {
		return nil, false
	}
	fault := ""
	if len(req.Requests) == 0 {
		fault = "requests is not specified"
	}
	for _, each := range req.Requests {
		if fault = each.fault(name); named && each.Model == "" {
			fault = "requests.model is not specified"
		}
		if fault != "" {
			break
		}
		texts = append(texts, each.Content.said())
	}
	if fault != "" {
		failGoogle(w, r, 400, "", fault)
	}
	return texts, fault == ""
}

// readGoogle reads a body whose fields have their names in either spelling, as protocol buffers'
// JSON has them (protobuf.dev/programming-guides/json), of a request whose query is known.
func readGoogle(w http.ResponseWriter, r *http.Request, v any) bool {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for name, values := range query {
		if name != "alt" || len(values) != 1 || values[0] != "json" && values[0] != "sse" {
			err = errors.New("cannot bind a query parameter")
		}
	}
	var body map[string]any
	if err == nil {
		err = decode(r, &body)
	}
	if err == nil {
		b, _ := json.Marshal(camelCase(body))
		if json.Unmarshal(b, v) != nil {
			err = errors.New("invalid JSON payload received")
		}
	}
	if err != nil {
		failGoogle(w, r, 400, "", err.Error())
	}
	return err == nil
}

var snake = regexp.MustCompile(`_[a-z]`)

func camelCase(v any) any {
	switch v := v.(type) {
	case map[string]any:
		fields := map[string]any{}
		for name, value := range v {
			fields[snake.ReplaceAllStringFunc(name, func(s string) string { return strings.ToUpper(s[1:]) })] = camelCase(value)
		}
		return fields
	case []any:
		for i := range v {
			v[i] = camelCase(v[i])
		}
	}
	return v
}

func answerGoogle(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	json.NewEncoder(w).Encode(v)
}

// failGoogle answers with an error; a stream that is a JSON array is one of it. The reason may be "".
func failGoogle(w http.ResponseWriter, r *http.Request, code int, reason, message string) {
	status := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}[code]
	e := map[string]any{"code": code, "message": message, "status": status}
	if reason != "" {
		e["details"] = []any{map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}}
	}
	var body any = map[string]any{"error": e}
	if strings.HasSuffix(r.URL.Path, ":streamGenerateContent") && r.URL.Query().Get("alt") != "sse" {
		body = []any{body}
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}

func noSuchMethod(w http.ResponseWriter, r *http.Request) {
	failGoogle(w, r, 404, "", "there is no such method, model or path")
}
