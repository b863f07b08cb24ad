package upstreamtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// cloud.google.com/vertex-ai/generative-ai/docs: reference/rest, partner-models/claude/use-claude,
// partner-models/claude/count-tokens and migrate/openai/overview;
// docs.anthropic.com/en/api/claude-on-vertex-ai

// NewVertex starts Vertex AI as one project has it in one location: Google's and Anthropic's models
// and the OpenAI-compatible endpoint, at /v1 and /v1beta1, to requests whose bearer token is valid.
// Whatever project or location else a request names, be it one to bill, is denied.
func NewVertex(valid func(token string) bool, project, location string) *Server {
	s := newServer(valid)
	mux := http.NewServeMux()
	for _, version := range []string{"v1", "v1beta1"} {
		handle := func(path string, h http.HandlerFunc) {
			mux.HandleFunc("POST /"+version+"/projects/{project}/locations/{location}/"+path, within(project, location, h))
		}
		handle("publishers/google/models/{call}", s.googleModel)
		handle("publishers/anthropic/models/{call}", s.anthropicModel)
		handle("endpoints/openapi/chat/completions", publisherModel(s.chat))
		handle("endpoints/openapi/embeddings", publisherModel(s.embed))
	}
	mux.HandleFunc("/", noSuchMethod)
	s.start(mux, aloneBearer, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/"`)
		failGoogle(w, r, 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED", "Request had invalid authentication credentials. Expected OAuth 2 access token.")
	})
	return s
}

// within denies what is of another project or location, or to be billed to another project
// (cloud.google.com/apis/docs/system-parameters).
func within(project, location string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("project") != project || r.PathValue("location") != location {
			failGoogle(w, r, 403, "IAM_PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist).")
			return
		}
		for _, billed := range r.Header.Values("X-Goog-User-Project") {
			if billed != project {
				failGoogle(w, r, 403, "USER_PROJECT_DENIED", "Caller does not have required permission to use the project.")
				return
			}
		}
		next(w, r)
	}
}

func (s *Server) googleModel(w http.ResponseWriter, r *http.Request) {
	model, method := splitCall(r)
	name := fmt.Sprintf("projects/%s/locations/%s/publishers/google/models/%s", r.PathValue("project"), r.PathValue("location"), model)
	switch method {
	case "generateContent":
		s.generate(w, r, name, false)
	case "streamGenerateContent":
		s.generate(w, r, name, true)
	case "countTokens":
		vertexCount(w, r, name)
	case "embedContent":
		if text, ok := embedContent(w, r, name); ok {
			answerGoogle(w, map[string]any{"embedding": embedding(text), "truncated": false, "usageMetadata": embeddingUsage(text)})
		}
	case "batchEmbedContents":
		if texts, ok := batchEmbedContents(w, r, name, false); ok {
			answerGoogle(w, map[string]any{"embeddings": embeddings(texts), "usageMetadata": embeddingUsage(texts...)})
		}
	case "predict":
		predict(w, r)
	default:
		noSuchMethod(w, r)
	}
}

func embeddingUsage(texts ...string) map[string]int {
	tokens := len(strings.Fields(strings.Join(texts, " ")))
	return map[string]int{"promptTokenCount": tokens, "totalTokenCount": tokens}
}

func vertexCount(w http.ResponseWriter, r *http.Request, name string) {
	var req generateRequest
	if !readGoogle(w, r, &req) {
		return
	}
	if fault := req.fault(name); fault != "" {
		failGoogle(w, r, 400, "", fault)
		return
	}
	words := strings.Fields(req.prompt())
	answerGoogle(w, map[string]any{"totalTokens": len(words), "totalBillableCharacters": utf8.RuneCountInString(strings.Join(words, ""))})
}

// predict embeds texts (…/model-reference/text-embeddings-api).
func predict(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Instances []struct {
			Content string `json:"content"`
		} `json:"instances"`
	}
	if !readGoogle(w, r, &req) {
		return
	}
	var predictions []any
	characters := 0
	for _, instance := range req.Instances {
		if instance.Content == "" {
			failGoogle(w, r, 400, "", "an instance has no content")
			return
		}
		characters += utf8.RuneCountInString(strings.Join(strings.Fields(instance.Content), ""))
		predictions = append(predictions, map[string]any{"embeddings": map[string]any{"values": vector(instance.Content),
			"statistics": map[string]any{"truncated": false, "token_count": len(strings.Fields(instance.Content))}}})
	}
	if predictions == nil {
		failGoogle(w, r, 400, "", "instances is not specified")
		return
	}
	answerGoogle(w, map[string]any{"predictions": predictions, "metadata": map[string]any{"billableCharacterCount": characters}})
}

// vertexVersions are the versions of Anthropic's API that Vertex AI has. The guide names the first,
// which is 2023-06-01 under a name of its own; the second is available there too
// (platform.claude.com/docs/en/api/versioning), and is what Anthropic's SDK sends since its 2.12.
var vertexVersions = []string{"vertex-2023-10-16", "2026-10-21"}

// anthropicModel takes the bodies of Anthropic's own API, but for the version in them and the model
// in the path. What is wrong with a body it says as Anthropic does.
func (s *Server) anthropicModel(w http.ResponseWriter, r *http.Request) {
	model, method := splitCall(r)
	if method != "rawPredict" && (method != "streamRawPredict" || model == "count-tokens") {
		noSuchMethod(w, r)
		return
	}
	req, ok := readMessage(w, r)
	if !ok {
		return
	}
	switch counts := model == "count-tokens"; {
	case req.Version != nil && !slices.Contains(vertexVersions, *req.Version) || req.Version == nil && !counts:
		failAnthropic(w, 400, "anthropic_version: must be one of "+strings.Join(vertexVersions, ", "))
	case counts && (req.Model == nil || *req.Model == ""):
		failAnthropic(w, 400, "model: Field required")
	case counts:
		countMessage(w, req)
	case req.Model != nil:
		failAnthropic(w, 400, "model: Extra inputs are not permitted")
	case req.Stream && method != "streamRawPredict":
		failAnthropic(w, 400, "stream: rawPredict answers at once")
	default:
		// The answer has the model's name as Anthropic's own API has it.
		s.createMessage(w, req, "msg_vrtx_echo", strings.ReplaceAll(model, "@", "-"))
	}
}

var publisherSlashModel = regexp.MustCompile(`^[a-z0-9-]+/[A-Za-z0-9][A-Za-z0-9._@-]*$`)

// publisherModel wants the model to be named with its publisher, such as google/gemini-2.5-flash.
func publisherModel(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req struct {
			Model string `json:"model"`
		}
		if err != nil || json.Unmarshal(body, &req) != nil || !publisherSlashModel.MatchString(req.Model) {
			failGoogle(w, r, 400, "", "Malformed publisher model: expected publisher/model.")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next(w, r)
	}
}
