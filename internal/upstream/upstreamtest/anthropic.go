package upstreamtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// docs.anthropic.com/en/api: messages, messages-count-tokens, messages-streaming, versioning and errors

// NewAnthropic starts Anthropic's API, with /v1/messages and its count_tokens, to requests whose
// x-api-key is valid.
func NewAnthropic(valid func(key string) bool) *Server {
	s := newServer(valid)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, r *http.Request) {
		if req, ok := readDirect(w, r); ok {
			s.createMessage(w, req, "msg_echo", *req.Model)
		}
	})
	mux.HandleFunc("POST /v1/messages/count_tokens", func(w http.ResponseWriter, r *http.Request) {
		if req, ok := readDirect(w, r); ok {
			countMessage(w, req)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { failAnthropic(w, 404, "there is no such path") })
	s.start(versioned(mux), func(r *http.Request) (string, bool) { return alone(r, "X-Api-Key") },
		func(w http.ResponseWriter, _ *http.Request) { failAnthropic(w, 401, "invalid x-api-key") })
	return s
}

// versioned wants anthropic-version, a date.
func versioned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Values("Anthropic-Version")
		if len(version) != 1 {
			failAnthropic(w, 400, "anthropic-version: header is required, once")
			return
		}
		if _, err := time.Parse(time.DateOnly, version[0]); err != nil {
			failAnthropic(w, 400, "anthropic-version: is not a version")
			return
		}
		next.ServeHTTP(w, r)
	})
}

type messageRequest struct {
	// Model and Version are in the body for one API and forbidden there for the other.
	Model     *string `json:"model"`
	Version   *string `json:"anthropic_version"`
	MaxTokens int     `json:"max_tokens"`
	System    blocks  `json:"system"`
	Messages  []struct {
		Role    string `json:"role"`
		Content blocks `json:"content"`
	} `json:"messages"`
	Tools []struct {
		Type   string          `json:"type"`
		Name   string          `json:"name"`
		Schema json.RawMessage `json:"input_schema"`
	} `json:"tools"`
	Stream bool `json:"stream"`
}

// blocks are content; a string is one block of text.
type blocks []block

type block struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Source *struct {
		Type      string `json:"type"`
		MediaType string `json:"media_type"`
		Data      string `json:"data"`
		URL       string `json:"url"`
	} `json:"source"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	ToolUseID string          `json:"tool_use_id"`
	Content   blocks          `json:"content"`
	Cache     json.RawMessage `json:"cache_control"`
}

func (b *blocks) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		if text != "" {
			*b = blocks{{Type: "text", Text: text}}
		}
		return nil
	}
	return json.Unmarshal(data, (*[]block)(b))
}

// readDirect reads a request of Anthropic's own API.
func readDirect(w http.ResponseWriter, r *http.Request) (*messageRequest, bool) {
	req, ok := readMessage(w, r)
	switch {
	case !ok:
		return nil, false
	case req.Model == nil || *req.Model == "":
		failAnthropic(w, 400, "model: Field required")
		return nil, false
	case req.Version != nil:
		failAnthropic(w, 400, "anthropic_version: Extra inputs are not permitted")
		return nil, false
	}
	return req, true
}

func readMessage(w http.ResponseWriter, r *http.Request) (*messageRequest, bool) {
	var req messageRequest
	if err := decode(r, &req); err != nil {
		failAnthropic(w, 400, err.Error())
		return nil, false
	}
	if fault := req.fault(); fault != "" {
		failAnthropic(w, 400, fault)
		return nil, false
	}
	return &req, true
}

func (m *messageRequest) fault() string {
	if len(m.Messages) == 0 {
		return "messages: at least one message is required"
	}
	for i, message := range m.Messages {
		if message.Role != "user" && message.Role != "assistant" {
			return fmt.Sprintf("messages.%d.role: must be user or assistant", i)
		}
		if len(message.Content) == 0 {
			return fmt.Sprintf("messages.%d.content: must not be empty", i)
		}
		if j := message.Content.unsound(); j >= 0 {
			return fmt.Sprintf("messages.%d.content.%d: is not a block of its type", i, j)
		}
	}
	if i := m.System.unsound(); i >= 0 {
		return fmt.Sprintf("system.%d: is not a block of its type", i)
	}
	for i, tool := range m.Tools {
		if custom := tool.Type == "" || tool.Type == "custom"; tool.Name == "" || custom && tool.Schema == nil {
			return fmt.Sprintf("tools.%d: a tool has a name and an input_schema", i)
		}
	}
	return ""
}

// unsound is the first block that isn't of its type, or -1.
func (b blocks) unsound() int {
	return slices.IndexFunc(b, func(each block) bool { return !each.sound() })
}

func (b block) sound() bool {
	switch b.Type {
	case "text":
		return b.Text != ""
	case "image":
		if b.Source == nil {
			return false
		}
		switch b.Source.Type {
		case "base64":
			_, err := base64.StdEncoding.DecodeString(b.Source.Data)
			return err == nil && b.Source.Data != "" && slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, b.Source.MediaType)
		case "url":
			return b.Source.URL != ""
		}
		return b.Source.Type == "file"
	case "tool_use":
		return b.ID != "" && b.Name != ""
	case "tool_result":
		return b.ToolUseID != "" && b.Content.unsound() < 0
	}
	return b.Type != ""
}

// said are the words that the model takes a block for: an image is one, such as [image/png].
func (b block) said() string {
	switch {
	case b.Type == "image":
		if b.Source.Type != "base64" {
			return "[image]"
		}
		return "[" + b.Source.MediaType + "]"
	case b.Type == "tool_result":
		return b.Content.said()
	}
	return b.Text
}

func (b blocks) said() string {
	var said []string
	for _, each := range b {
		said = append(said, each.said())
	}
	return strings.Join(said, " ")
}

type messageUsage struct {
	Input         int `json:"input_tokens"`
	CacheCreation int `json:"cache_creation_input_tokens"`
	CacheRead     int `json:"cache_read_input_tokens"`
	Output        int `json:"output_tokens"`
}

// prompt is everything the model reads, and that part of it which ends with the last block that has
// cache_control (docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
func (m *messageRequest) prompt() (all, cacheable string) {
	content := []blocks{m.System}
	for _, message := range m.Messages {
		content = append(content, message.Content)
	}
	for _, b := range slices.Concat(content...) {
		all += b.said() + " "
		if b.Cache != nil {
			cacheable = all
		}
	}
	return all, cacheable
}

// createMessage answers with the last words of the user, or says them to the first tool.
func (s *Server) createMessage(w http.ResponseWriter, req *messageRequest, id, model string) {
	if req.MaxTokens < 1 {
		failAnthropic(w, 400, "max_tokens: Field required")
		return
	}
	all, cacheable := req.prompt()
	u := messageUsage{Input: len(strings.Fields(all)) - len(strings.Fields(cacheable))}
	if cacheable != "" && s.cached(model+" "+cacheable) {
		u.CacheRead = len(strings.Fields(cacheable))
	} else {
		u.CacheCreation = len(strings.Fields(cacheable))
	}
	var said string
	for _, message := range req.Messages {
		if message.Role == "user" {
			said = message.Content.said()
		}
	}
	text, echoed := echo(said)
	u.Output = echoed.CompletionTokens
	content, stop := map[string]any{"type": "text", "text": text}, "end_turn"
	if len(req.Tools) > 0 && callsTool(said) {
		content = map[string]any{"type": "tool_use", "id": "toolu_echo", "name": req.Tools[0].Name, "input": map[string]any{"said": said}}
		stop = "tool_use"
	}
	message := map[string]any{"id": id, "type": "message", "role": "assistant", "model": model, "stop_sequence": nil}
	w.Header().Set("Request-Id", "req_upstream")
	if !req.Stream {
		message["content"], message["stop_reason"], message["usage"] = []any{content}, stop, u
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(message)
		return
	}
	send := events(w)
	event := func(kind string, e map[string]any) {
		e["type"] = kind
		send(kind, e)
	}
	begun := u
	begun.Output = 1
	message["content"], message["stop_reason"], message["usage"] = []any{}, nil, begun
	event("message_start", map[string]any{"message": message})
	key, value, delta := "text", text, "text_delta"
	if stop == "tool_use" {
		input, _ := json.Marshal(content["input"])
		content["input"] = map[string]any{}
		key, value, delta = "partial_json", string(input), "input_json_delta"
	} else {
		content["text"] = ""
	}
	event("content_block_start", map[string]any{"index": 0, "content_block": content})
	event("ping", map[string]any{})
	for _, word := range strings.SplitAfter(value, " ") {
		event("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": delta, key: word}})
	}
	event("content_block_stop", map[string]any{"index": 0})
	event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": map[string]any{"output_tokens": u.Output}})
	event("message_stop", map[string]any{})
}

func countMessage(w http.ResponseWriter, req *messageRequest) {
	all, _ := req.prompt()
	w.Header().Set("Request-Id", "req_upstream")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"input_tokens": len(strings.Fields(all))})
}

// callsTool reports whether a model that has a tool is told to use it.
func callsTool(said string) bool {
	return strings.Contains(strings.ToLower(said), "use the tool")
}

func failAnthropic(w http.ResponseWriter, status int, message string) {
	kind := map[int]string{400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}[status]
	w.Header().Set("Request-Id", "req_upstream")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": "req_upstream"})
}
