package upstreamtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// platform.openai.com/docs/api-reference/chat, …/completions, …/embeddings and …/moderations

// created is when everything was made.
const created = 1735689600

func (s *Server) handleText(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	mux.HandleFunc("POST /v1/completions", s.complete)
	mux.HandleFunc("POST /v1/embeddings", s.embed)
	mux.HandleFunc("POST /v1/moderations", s.moderate)
}

type chatRequest struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string `json:"role"`
		Content any    `json:"content"`
	} `json:"messages"`
	streaming
}

type streaming struct {
	Stream        bool `json:"stream"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// echo is what the models say: one token a word.
func echo(said string) (text string, u usage) {
	words := strings.Fields("You said: " + said)
	u = usage{PromptTokens: len(strings.Fields(said)), CompletionTokens: len(words)}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return strings.Join(words, " "), u
}

// chat answers with the last message's words.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	var req chatRequest
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || len(req.Messages) == 0 {
		fail(w, 400, "missing_required_parameter", "model and messages are required")
		return
	}
	said, _ := req.Messages[len(req.Messages)-1].Content.(string)
	text, u := echo(said)
	completion := map[string]any{"id": "chatcmpl-echo", "object": "chat.completion", "created": created, "model": req.Model}
	if !req.Stream {
		completion["usage"] = u
		completion["choices"] = []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": text}}}
		answer(w, completion)
		return
	}
	completion["object"] = "chat.completion.chunk"
	var choices []any
	for i, word := range strings.Fields(text) {
		delta := map[string]any{"content": word + " "}
		if i == 0 {
			delta["role"] = "assistant"
		}
		choices = append(choices, map[string]any{"index": 0, "delta": delta, "finish_reason": nil})
	}
	choices = append(choices, map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": "stop"})
	req.stream(w, completion, choices, u)
}

// complete answers with the prompt's words.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model  string `json:"model"`
		Prompt string `json:"prompt"`
		streaming
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.Prompt == "" {
		fail(w, 400, "missing_required_parameter", "model and prompt are required")
		return
	}
	text, u := echo(req.Prompt)
	completion := map[string]any{"id": "cmpl-echo", "object": "text_completion", "created": created, "model": req.Model}
	if !req.Stream {
		completion["usage"] = u
		completion["choices"] = []any{map[string]any{"index": 0, "finish_reason": "stop", "text": text, "logprobs": nil}}
		answer(w, completion)
		return
	}
	var choices []any
	for _, word := range strings.Fields(text) {
		choices = append(choices, map[string]any{"index": 0, "text": word + " ", "finish_reason": nil, "logprobs": nil})
	}
	choices = append(choices, map[string]any{"index": 0, "text": "", "finish_reason": "stop", "logprobs": nil})
	req.stream(w, completion, choices, u)
}

// stream sends each choice as a chunk and, where the request asks for it, the usage as one without
// choices.
func (o streaming) stream(w http.ResponseWriter, chunk map[string]any, choices []any, u usage) {
	asked := o.StreamOptions != nil && o.StreamOptions.IncludeUsage
	send := events(w)
	for _, choice := range choices {
		chunk["choices"] = []any{choice}
		if asked {
			chunk["usage"] = nil
		}
		send("", chunk)
	}
	if asked {
		chunk["choices"], chunk["usage"] = []any{}, u
		send("", chunk)
	}
	io.WriteString(w, "data: [DONE]\n\n")
}

// events begins a stream of server-sent events, and returns what sends one, flushed. The name may be "".
func events(w http.ResponseWriter) (send func(name string, data any)) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	return func(name string, data any) {
		if name != "" {
			fmt.Fprintf(w, "event: %s\n", name)
		}
		b, _ := json.Marshal(data)
		fmt.Fprintf(w, "data: %s\n\n", b)
		http.NewResponseController(w).Flush()
	}
}

// embed makes each text a vector of three, whose first is its length.
func (s *Server) embed(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model    string `json:"model"`
		Input    any    `json:"input"`
		Encoding string `json:"encoding_format"`
	}
	if !read(w, r, &req) {
		return
	}
	inputs, ok := req.Input.([]any)
	if !ok {
		inputs = []any{req.Input}
	}
	var data []any
	tokens := 0
	for i, in := range inputs {
		text, _ := in.(string)
		tokens += len(strings.Fields(text))
		values := vector(text)
		var embedding any = values
		if req.Encoding == "base64" {
			var b bytes.Buffer
			binary.Write(&b, binary.LittleEndian, values)
			embedding = b.Bytes() // which JSON has as base64
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": embedding})
	}
	answer(w, map[string]any{"object": "list", "model": req.Model, "data": data, "usage": usage{PromptTokens: tokens, TotalTokens: tokens}})
}

// vector is the embedding of a text.
func vector(text string) []float32 {
	return []float32{float32(len(text)), 0.5, -0.5}
}

// moderate finds nothing to object to.
func (s *Server) moderate(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
		Input any    `json:"input"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.Input == nil {
		fail(w, 400, "missing_required_parameter", "model and input are required")
		return
	}
	answer(w, map[string]any{"id": "modr-echo", "model": req.Model,
		"results": []any{map[string]any{"flagged": false, "categories": map[string]bool{}, "category_scores": map[string]float64{}}}})
}
