// Package upstreamtest is an honest provider on loopback: an OpenAI-compatible API whose model
// echoes what it is told. It checks what it is sent as a provider would, and keeps it, so that a
// test can say what reached the upstream.
package upstreamtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Server is a running provider.
type Server struct {
	// URL is the base URL, /v1 included.
	URL string

	server *httptest.Server
	valid  func(token string) bool

	mu       sync.Mutex
	received []Received
	jobs     map[string]job
}

// Received is one request as it arrived.
type Received struct {
	Method, Path, Query string
	Header              http.Header
	Body                string
	// Refused says that the credential was not valid.
	Refused bool
}

type job struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Model  string `json:"model"`
	Status string `json:"status"`
}

// New starts a provider that serves requests whose bearer token is valid.
func New(valid func(token string) bool) *Server {
	s := &Server{valid: valid, jobs: map[string]job{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	mux.HandleFunc("POST /v1/embeddings", s.embeddings)
	mux.HandleFunc("POST /v1/fine_tuning/jobs", s.createJob)
	mux.HandleFunc("GET /v1/fine_tuning/jobs", s.listJobs)
	mux.HandleFunc("GET /v1/fine_tuning/jobs/{id}", s.job)
	mux.HandleFunc("POST /v1/fine_tuning/jobs/{id}/cancel", s.cancelJob)
	mux.HandleFunc("GET /v1/fine_tuning/jobs/{id}/events", s.ofJob)
	mux.HandleFunc("GET /v1/fine_tuning/jobs/{id}/checkpoints", s.ofJob)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fail(w, 404, "unknown_url", "there is no such path") })
	s.server = httptest.NewServer(s.admit(mux))
	s.URL = s.server.URL + "/v1"
	return s
}

// Close stops the provider, and breaks what it is still answering.
func (s *Server) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// Received lists the requests so far.
func (s *Server) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.received...)
}

// admit keeps the request and checks its credential, as a provider does before anything else.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
		if err != nil {
			return
		}
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		refused := !bearer || !s.valid(token)
		s.mu.Lock()
		s.received = append(s.received, Received{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body), refused})
		s.mu.Unlock()
		if refused {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, 401, "invalid_api_key", "Incorrect API key provided.")
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(w, r)
	})
}

type chatRequest struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	Messages []struct {
		Role    string `json:"role"`
		Content any    `json:"content"`
	} `json:"messages"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// chat answers with the last message's words: one token a word.
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
	words := strings.Fields("You said: " + said)
	u := usage{PromptTokens: len(strings.Fields(said)), CompletionTokens: len(words)}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	const id, created = "chatcmpl-echo", 1735689600
	if !req.Stream {
		answer(w, map[string]any{"id": id, "object": "chat.completion", "created": created, "model": req.Model, "usage": u,
			"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": strings.Join(words, " ")}}}})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	send := func(choices []any, u *usage) {
		chunk := map[string]any{"id": id, "object": "chat.completion.chunk", "created": created, "model": req.Model, "choices": choices}
		if req.StreamOptions != nil && req.StreamOptions.IncludeUsage {
			chunk["usage"] = u
		}
		b, _ := json.Marshal(chunk)
		fmt.Fprintf(w, "data: %s\n\n", b)
		http.NewResponseController(w).Flush()
	}
	for i, word := range words {
		delta := map[string]any{"content": word + " "}
		if i == 0 {
			delta["role"] = "assistant"
		}
		send([]any{map[string]any{"index": 0, "delta": delta, "finish_reason": nil}}, nil)
	}
	send([]any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": "stop"}}, nil)
	if req.StreamOptions != nil && req.StreamOptions.IncludeUsage {
		send([]any{}, &u)
	}
	io.WriteString(w, "data: [DONE]\n\n")
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string `json:"model"`
		Input any    `json:"input"`
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
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": []float64{float64(len(text)), 0.5, -0.5}})
	}
	answer(w, map[string]any{"object": "list", "model": req.Model, "data": data, "usage": usage{PromptTokens: tokens, TotalTokens: tokens}})
}

func (s *Server) createJob(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model        string `json:"model"`
		TrainingFile string `json:"training_file"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.TrainingFile == "" {
		fail(w, 400, "missing_required_parameter", "model and training_file are required")
		return
	}
	s.mu.Lock()
	j := job{fmt.Sprintf("ftjob-%d", len(s.jobs)+1), "fine_tuning.job", req.Model, "queued"}
	s.jobs[j.ID] = j
	s.mu.Unlock()
	answer(w, j)
}

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	list := []job{}
	for _, j := range s.jobs {
		list = append(list, j)
	}
	s.mu.Unlock()
	answer(w, map[string]any{"object": "list", "data": list, "has_more": false})
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) (job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[r.PathValue("id")]
	if !ok {
		fail(w, 404, "fine_tune_not_found", "there is no such job")
	}
	return j, ok
}

func (s *Server) job(w http.ResponseWriter, r *http.Request) {
	if j, ok := s.find(w, r); ok {
		answer(w, j)
	}
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) {
	j, ok := s.find(w, r)
	if !ok {
		return
	}
	j.Status = "cancelled"
	s.mu.Lock()
	s.jobs[j.ID] = j
	s.mu.Unlock()
	answer(w, j)
}

func (s *Server) ofJob(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.find(w, r); ok {
		answer(w, map[string]any{"object": "list", "data": []any{}, "has_more": false})
	}
}

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if r.Header.Get("Content-Type") != "application/json" {
		fail(w, 415, "unsupported_media_type", "send application/json")
		return false
	}
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		fail(w, 400, "invalid_json", "the body is not the JSON that this path takes")
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", "req_upstream")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": code}})
}
