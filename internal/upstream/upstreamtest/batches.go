package upstreamtest

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// platform.openai.com/docs/api-reference/batch

type batch struct {
	ID        string         `json:"id"`
	Object    string         `json:"object"`
	Endpoint  string         `json:"endpoint"`
	InputFile string         `json:"input_file_id"`
	Window    string         `json:"completion_window"`
	Status    string         `json:"status"`
	Created   int            `json:"created_at"`
	Counts    map[string]int `json:"request_counts"`
}

func (s *Server) handleBatches(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/batches", s.createBatch)
	mux.HandleFunc("GET /v1/batches", s.batches.list)
	mux.HandleFunc("GET /v1/batches/{id}", s.batches.retrieve)
	mux.HandleFunc("POST /v1/batches/{id}/cancel", func(w http.ResponseWriter, r *http.Request) {
		if b, ok := s.batches.find(w, r); ok {
			b.Status = "cancelling"
			s.batches.set(b.ID, b)
			answer(w, b)
		}
	})
}

func (s *Server) createBatch(w http.ResponseWriter, r *http.Request) {
	var req struct {
		InputFile string `json:"input_file_id"`
		Endpoint  string `json:"endpoint"`
		Window    string `json:"completion_window"`
	}
	if !read(w, r, &req) {
		return
	}
	f, ok := s.files.get(req.InputFile)
	if !ok || f.Purpose != "batch" {
		fail(w, 400, "invalid_input_file", "input_file_id must be that of a file with the purpose batch")
		return
	}
	lines := 0
	for line := range bytes.Lines(f.content) {
		var call struct {
			CustomID string `json:"custom_id"`
			Method   string `json:"method"`
			URL      string `json:"url"`
			Body     struct {
				Model string `json:"model"`
			} `json:"body"`
		}
		if json.Unmarshal(line, &call) != nil || call.CustomID == "" || call.Method != "POST" || call.URL != req.Endpoint || call.Body.Model == "" {
			fail(w, 400, "invalid_json_line", "a line is not a call of the batch's endpoint")
			return
		}
		lines++
	}
	answer(w, s.batches.add(func(id string) batch {
		return batch{id, "batch", req.Endpoint, req.InputFile, req.Window, "validating", created,
			map[string]int{"total": lines, "completed": 0, "failed": 0}}
	}))
}
