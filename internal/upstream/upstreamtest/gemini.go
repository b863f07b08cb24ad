package upstreamtest

import (
	"net/http"
	"strings"
)

// ai.google.dev/api: generate-content, tokens and embeddings

// NewGemini starts the Gemini API of Google AI Studio, at /v1 and /v1beta, to requests whose
// x-goog-api-key is valid.
func NewGemini(valid func(key string) bool) *Server {
	s := newServer(valid)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/models/{call}", s.gemini)
	mux.HandleFunc("POST /v1beta/models/{call}", s.gemini)
	mux.HandleFunc("/", noSuchMethod)
	s.start(mux, func(r *http.Request) (string, bool) { return alone(r, "X-Goog-Api-Key") }, refuseKey)
	return s
}

// refuseKey says 400 of a key that is not valid: ai.google.dev/gemini-api/docs/troubleshooting.
func refuseKey(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Goog-Api-Key") == "" {
		failGoogle(w, r, 403, "", "Method doesn't allow unregistered callers. Please use API Key.")
		return
	}
	failGoogle(w, r, 400, "API_KEY_INVALID", "API key not valid. Please pass a valid API key.")
}

func (s *Server) gemini(w http.ResponseWriter, r *http.Request) {
	model, method := splitCall(r)
	name := "models/" + model
	switch method {
	case "generateContent":
		s.generate(w, r, name, false)
	case "streamGenerateContent":
		s.generate(w, r, name, true)
	case "countTokens":
		geminiCount(w, r, name)
	case "embedContent":
		if text, ok := embedContent(w, r, name); ok {
			answerGoogle(w, map[string]any{"embedding": embedding(text)})
		}
	case "batchEmbedContents":
		// Here each request names the model, which has to be the path's.
		if texts, ok := batchEmbedContents(w, r, name, true); ok {
			answerGoogle(w, map[string]any{"embeddings": embeddings(texts)})
		}
	default:
		noSuchMethod(w, r)
	}
}

// geminiCount counts either contents or a whole request, which names its model.
func geminiCount(w http.ResponseWriter, r *http.Request, name string) {
	var req struct {
		generateRequest
		Whole *generateRequest `json:"generateContentRequest"`
	}
	if !readGoogle(w, r, &req) {
		return
	}
	counted := &req.generateRequest
	if req.Whole != nil {
		if len(req.Contents) > 0 || req.Whole.Model == "" {
			failGoogle(w, r, 400, "", "send either contents or generateContentRequest, which has a model")
			return
		}
		counted = req.Whole
	}
	if fault := counted.fault(name); fault != "" {
		failGoogle(w, r, 400, "", fault)
		return
	}
	tokens := len(strings.Fields(counted.prompt()))
	answerGoogle(w, map[string]any{"totalTokens": tokens, "promptTokensDetails": []any{map[string]any{"modality": "TEXT", "tokenCount": tokens}}})
}
