// Package upstreamtest is an honest provider on loopback: an OpenAI-compatible API whose models
// echo what they are told, and which keeps the objects that it is given to store. It checks what it
// is sent as a provider would, and keeps that too, so that a test can say what reached the upstream.
package upstreamtest

import (
	"encoding/json"
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

	jobs      shelf[job]
	files     shelf[file]
	uploads   shelf[upload]
	parts     shelf[part]
	batches   shelf[batch]
	responses shelf[response]
}

// Received is one request as it arrived.
type Received struct {
	Method, Path, Query string
	Header              http.Header
	Body                string
	// Refused says that the credential was not valid.
	Refused bool
}

// New starts a provider that serves requests whose bearer token is valid.
func New(valid func(token string) bool) *Server {
	s := &Server{
		valid:     valid,
		jobs:      shelf[job]{kind: "ftjob", noun: "job", missing: "fine_tune_not_found"},
		files:     shelf[file]{kind: "file", noun: "file", missing: "file_not_found"},
		uploads:   shelf[upload]{kind: "upload", noun: "upload", missing: "upload_not_found"},
		parts:     shelf[part]{kind: "part", noun: "part", missing: "part_not_found"},
		batches:   shelf[batch]{kind: "batch", noun: "batch", missing: "batch_not_found"},
		responses: shelf[response]{kind: "resp", noun: "response", missing: "response_not_found"},
	}
	mux := http.NewServeMux()
	s.handleText(mux)
	s.handleMedia(mux)
	s.handleResponses(mux)
	s.handleFiles(mux)
	s.handleUploads(mux)
	s.handleBatches(mux)
	s.handleJobs(mux)
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
