// Package upstreamtest is honest providers on loopback: an OpenAI-compatible API whose models echo
// what they are told, and which keeps the objects that it is given to store; Azure OpenAI's variant
// of it; and Anthropic's, the Gemini and the Vertex AI API, whose models echo too, and call a tool
// where they are told to "use the tool". Each checks what it is sent as its documentation has it,
// and keeps that too, so that a test can say what reached the upstream.
//
// A token is a word. Errors have the provider's form.
package upstreamtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Server is a running provider.
type Server struct {
	// URL is the base URL: New's and NewAzure's hold the API's /v1, the others' don't.
	URL string

	server *httptest.Server
	valid  func(token string) bool

	mu       sync.Mutex
	received []Received
	// prefixes are what prompts began with that the models have cached.
	prefixes map[string]bool

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
	s := newServer(valid)
	s.start(s.openAI(), bearer, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, 401, "invalid_api_key", "Incorrect API key provided.")
	})
	s.URL += "/v1"
	return s
}

func newServer(valid func(token string) bool) *Server {
	return &Server{
		valid:     valid,
		prefixes:  map[string]bool{},
		jobs:      shelf[job]{kind: "ftjob", noun: "job", missing: "fine_tune_not_found"},
		files:     shelf[file]{kind: "file", noun: "file", missing: "file_not_found"},
		uploads:   shelf[upload]{kind: "upload", noun: "upload", missing: "upload_not_found"},
		parts:     shelf[part]{kind: "part", noun: "part", missing: "part_not_found"},
		batches:   shelf[batch]{kind: "batch", noun: "batch", missing: "batch_not_found"},
		responses: shelf[response]{kind: "resp", noun: "response", missing: "response_not_found"},
	}
}

// openAI is OpenAI's API, at /v1.
func (s *Server) openAI() http.Handler {
	mux := http.NewServeMux()
	s.handleText(mux)
	s.handleMedia(mux)
	s.handleResponses(mux)
	s.handleFiles(mux)
	s.handleUploads(mux)
	s.handleBatches(mux)
	s.handleJobs(mux)
	mux.HandleFunc("/", unknownURL)
	return mux
}

func unknownURL(w http.ResponseWriter, _ *http.Request) {
	fail(w, 404, "unknown_url", "there is no such path")
}

// start serves api to requests that present a valid credential, and refuse to the others.
func (s *Server) start(api http.Handler, credential func(*http.Request) (string, bool), refuse http.HandlerFunc) {
	s.server = httptest.NewServer(s.admit(api, credential, refuse))
	s.URL = s.server.URL
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
func (s *Server) admit(next http.Handler, credential func(*http.Request) (string, bool), refuse http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
		if err != nil {
			return
		}
		token, presented := credential(r)
		refused := !presented || !s.valid(token)
		s.mu.Lock()
		s.received = append(s.received, Received{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body), refused})
		s.mu.Unlock()
		if refused {
			refuse(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// bearer is the token of RFC 6750.
func bearer(r *http.Request) (string, bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// alone is what the header has, where it has it once and no other place has a credential: what
// stands there was meant for somebody else.
func alone(r *http.Request, header string) (string, bool) {
	found := r.Header.Values(header)
	for _, place := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"} {
		if place != header && r.Header.Values(place) != nil {
			return "", false
		}
	}
	query := r.URL.Query()
	if len(found) != 1 || query.Has("key") || query.Has("access_token") {
		return "", false
	}
	return found[0], true
}

// aloneBearer is the bearer token, where it is the only credential.
func aloneBearer(r *http.Request) (string, bool) {
	if _, ok := alone(r, "Authorization"); !ok {
		return "", false
	}
	return bearer(r)
}

// cached reports whether a prompt has begun so before; from now on one has.
func (s *Server) cached(prefix string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.prefixes[prefix]
	s.prefixes[prefix] = true
	return seen
}

// decode reads a body of JSON, and nothing else.
func decode(r *http.Request, v any) error {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return errors.New("send application/json")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, v) != nil {
		return errors.New("the body is not the JSON that this path takes")
	}
	return nil
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
