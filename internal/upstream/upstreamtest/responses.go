package upstreamtest

import (
	"net/http"
	"strings"
)

// platform.openai.com/docs/api-reference/responses

type response struct {
	ID         string         `json:"id"`
	Object     string         `json:"object"`
	Created    int            `json:"created_at"`
	Model      string         `json:"model"`
	Status     string         `json:"status"`
	Background bool           `json:"background"`
	Output     []any          `json:"output"`
	Usage      responsesUsage `json:"usage"`
	// text is the output's, and input what it answers.
	text, input string
}

type responsesUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
	Total  int `json:"total_tokens"`
}

func (s *Server) handleResponses(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/responses", s.createResponse)
	mux.HandleFunc("POST /v1/responses/input_tokens", s.countInput)
	mux.HandleFunc("POST /v1/responses/compact", s.compact)
	mux.HandleFunc("GET /v1/responses/{id}", s.responses.retrieve)
	mux.HandleFunc("DELETE /v1/responses/{id}", func(w http.ResponseWriter, r *http.Request) { s.responses.delete(w, r, "response") })
	mux.HandleFunc("POST /v1/responses/{id}/cancel", s.cancelResponse)
	mux.HandleFunc("GET /v1/responses/{id}/input_items", func(w http.ResponseWriter, r *http.Request) {
		if resp, ok := s.responses.find(w, r); ok {
			answerList(w, []any{message("msg-in", "user", "input_text", resp.input)})
		}
	})
}

type responseRequest struct {
	Model      string `json:"model"`
	Input      string `json:"input"`
	Stream     bool   `json:"stream"`
	Background bool   `json:"background"`
	Previous   string `json:"previous_response_id"`
}

func (s *Server) readResponse(w http.ResponseWriter, r *http.Request) (req responseRequest, ok bool) {
	if !read(w, r, &req) {
		return req, false
	}
	if req.Model == "" {
		fail(w, 400, "missing_required_parameter", "model is required")
		return req, false
	}
	if _, known := s.responses.get(req.Previous); req.Previous != "" && !known {
		fail(w, 400, "previous_response_not_found", "there is no such previous response")
		return req, false
	}
	return req, true
}

// createResponse answers with the input's words. One in the background stays in progress.
func (s *Server) createResponse(w http.ResponseWriter, r *http.Request) {
	req, ok := s.readResponse(w, r)
	if !ok {
		return
	}
	resp := s.responses.add(func(id string) response {
		if req.Background {
			return response{ID: id, Object: "response", Created: created, Model: req.Model, Status: "in_progress", Background: true, Output: []any{}, input: req.Input}
		}
		text, u := echo(req.Input)
		return response{id, "response", created, req.Model, "completed", false, []any{message("msg-out", "assistant", "output_text", text)},
			responsesUsage{u.PromptTokens, u.CompletionTokens, u.TotalTokens}, text, req.Input}
	})
	if !req.Stream {
		answer(w, resp)
		return
	}
	begun := resp
	begun.Status, begun.Output, begun.Usage = "in_progress", []any{}, responsesUsage{}
	send, number := events(w), 0
	event := func(kind string, e map[string]any) {
		e["type"], e["sequence_number"] = kind, number
		number++
		send(kind, e)
	}
	event("response.created", map[string]any{"response": begun})
	event("response.output_item.added", map[string]any{"output_index": 0,
		"item": map[string]any{"id": "msg-out", "type": "message", "role": "assistant", "status": "in_progress", "content": []any{}}})
	event("response.content_part.added", map[string]any{"item_id": "msg-out", "output_index": 0, "content_index": 0, "part": textPart("output_text", "")})
	for _, word := range strings.SplitAfter(resp.text, " ") {
		event("response.output_text.delta", map[string]any{"item_id": "msg-out", "output_index": 0, "content_index": 0, "delta": word})
	}
	event("response.output_text.done", map[string]any{"item_id": "msg-out", "output_index": 0, "content_index": 0, "text": resp.text})
	event("response.completed", map[string]any{"response": resp})
}

func (s *Server) cancelResponse(w http.ResponseWriter, r *http.Request) {
	resp, ok := s.responses.find(w, r)
	if !ok {
		return
	}
	if !resp.Background {
		fail(w, 400, "invalid_request_error", "only a response that is made in the background can be cancelled")
		return
	}
	resp.Status = "cancelled"
	s.responses.set(resp.ID, resp)
	answer(w, resp)
}

func (s *Server) countInput(w http.ResponseWriter, r *http.Request) {
	if req, ok := s.readResponse(w, r); ok {
		answer(w, map[string]any{"object": "response.input_tokens", "input_tokens": len(strings.Fields(req.Input))})
	}
}

func (s *Server) compact(w http.ResponseWriter, r *http.Request) {
	if req, ok := s.readResponse(w, r); ok {
		_, u := echo(req.Input)
		answer(w, map[string]any{"id": "resp-compact", "object": "response.compaction", "created_at": created,
			"output": []any{message("msg-in", "user", "input_text", req.Input)}, "usage": responsesUsage{u.PromptTokens, 0, u.PromptTokens}})
	}
}

func message(id, role, kind, text string) map[string]any {
	return map[string]any{"id": id, "type": "message", "role": role, "status": "completed", "content": []any{textPart(kind, text)}}
}

func textPart(kind, text string) map[string]any {
	part := map[string]any{"type": kind, "text": text}
	if kind == "output_text" {
		part["annotations"] = []any{}
	}
	return part
}
