// Package upstream knows how each kind of provider is addressed: which dialects it speaks, where an
// operation stands, in which form its model and its credential go.
package upstream

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
)

// Call is one operation as one upstream takes it.
type Call struct {
	// Credential is the name of the credential to present, or "" for an upstream without.
	Credential string
	Method     string
	URL        string
	// Body is sent part by part; nil is no body.
	Body        [][]byte
	ContentType string
	// HidesUsage says that Body asks for a stream's usage on the gateway's own behalf, so that the
	// chunk that answers it is not the client's.
	HidesUsage bool

	keyHeader, query string
}

// face is one API of a kind of upstream.
type face struct {
	kind    config.Kind
	dialect apierror.Dialect
	call    func(c *Call, up config.Upstream, models []string, req *operation.Request)
}

// faces is which kind speaks which dialect, and how.
var faces = []face{
	{config.OpenAI, apierror.OpenAI, openAI},
	{config.Azure, apierror.OpenAI, openAI},
	{config.Vertex, apierror.OpenAI, vertexOpenAI},
	{config.Anthropic, apierror.Anthropic, anthropic},
	{config.Vertex, apierror.Anthropic, vertexAnthropic},
	{config.Gemini, apierror.Google, gemini},
	{config.Vertex, apierror.Google, vertexGemini},
}

// Dialects are those in which an upstream of the kind can be called.
func Dialects(kind config.Kind) []apierror.Dialect {
	var dialects []apierror.Dialect
	for _, f := range faces {
		if f.kind == kind {
			dialects = append(dialects, f.dialect)
		}
	}
	return dialects
}

// IsOf reports whether a request that names a Vertex AI project and location names the upstream's. A
// token of ours must never be sent to somebody else's project.
func IsOf(up config.Upstream, req *operation.Request) bool {
	return req.Project == "" || up.Kind == config.Vertex && up.Project == req.Project && up.Location == req.Location
}

// NewCall puts req, with models[i] for the i-th of its Refs, into the form of the upstream, which must
// speak its dialect.
func NewCall(up config.Upstream, models []string, req *operation.Request) *Call {
	call := &Call{
		Credential:  up.Credential,
		Method:      req.Method,
		ContentType: req.ContentType,
		keyHeader:   keyHeaders[up.Kind],
		query:       req.Query,
	}
	i := slices.IndexFunc(faces, func(f face) bool { return f.kind == up.Kind && f.dialect == req.Dialect })
	faces[i].call(call, up, models, req)
	if call.query != "" {
		call.URL += "?" + call.query
	}
	return call
}

// keyHeaders are where each kind looks for an API key. Access tokens go to Authorization everywhere.
var keyHeaders = map[config.Kind]string{
	config.Azure:     "Api-Key",
	config.Anthropic: "X-Api-Key",
	config.Gemini:    "X-Goog-Api-Key",
}

// Present puts the credential where the upstream looks for it. isKey says that it is an API key.
func (c *Call) Present(h http.Header, credential string, isKey bool) {
	switch {
	case credential == "":
	case isKey && c.keyHeader != "":
		h.Set(c.keyHeader, credential)
	default:
		h.Set("Authorization", "Bearer "+credential)
	}
}

// openAI: what follows /v1 in the client's path stands below the base
// (platform.openai.com/docs/api-reference, learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle).
func openAI(c *Call, up config.Upstream, models []string, req *operation.Request) {
	c.URL = up.Base() + strings.TrimPrefix(req.Route.Path, "/v1")
	c.Body = req.Bytes(models, up.AsksUsage())
	c.HidesUsage = up.AsksUsage() && req.AsksUsage()
}

// vertexOpenAI: cloud.google.com/vertex-ai/generative-ai/docs/start/openai
func vertexOpenAI(c *Call, up config.Upstream, models []string, req *operation.Request) {
	openAI(c, up, models, req)
	c.URL = vertexBase(up, "v1") + "/endpoints/openapi" + strings.TrimPrefix(req.Route.Path, "/v1")
}

// anthropic: docs.anthropic.com/en/api/messages
func anthropic(c *Call, up config.Upstream, models []string, req *operation.Request) {
	c.URL = up.Base() + req.Route.Path
	c.Body = req.Bytes(models, false)
}

// vertexAnthropic: the model stands in the path and the version in the body
// (docs.anthropic.com/en/api/claude-on-vertex-ai,
// cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens).
func vertexAnthropic(c *Call, up config.Upstream, models []string, req *operation.Request) {
	version := req.Version
	if version == "" || version == "2023-06-01" {
		version = "vertex-2023-10-16" // Vertex AI's name of it; later versions have one name everywhere
	}
	member := `"anthropic_version":"` + version + `"`
	models = trimmed(models, "anthropic/")
	c.query = "" // beta=true is for Anthropic's own address
	base := vertexBase(up, "v1") + "/publishers/anthropic/models/"
	if req.Name == "messages.count_tokens" {
		c.URL = base + "count-tokens:rawPredict"
		c.Body = req.BytesWith(models, member)
		return
	}
	verb := "rawPredict"
	if req.Stream {
		verb = "streamRawPredict"
	}
	c.URL = base + url.PathEscape(models[0]) + ":" + verb
	c.Body = req.BytesWithout(models, member)
}

// gemini: ai.google.dev/api/generate-content
func gemini(c *Call, up config.Upstream, models []string, req *operation.Request) {
	c.URL = up.Base() + "/" + apiVersion(req) + "/models/" + url.PathEscape(models[0]) + ":" + req.Verb
	c.Body = req.Bytes(models, false)
}

// vertexGemini: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
func vertexGemini(c *Call, up config.Upstream, models []string, req *operation.Request) {
	models = trimmed(models, "google/")
	v := apiVersion(req)
	if v == "v1beta" { // Vertex AI's name of it
		v = "v1beta1"
	}
	c.URL = vertexBase(up, v) + "/publishers/google/models/" + url.PathEscape(models[0]) + ":" + req.Verb
	c.Body = req.Bytes(models, false)
}

// trimmed are the models without the publisher that OpenAI's face wants before their names.
func trimmed(models []string, publisher string) []string {
	short := make([]string, len(models))
	for i, m := range models {
		short[i] = strings.TrimPrefix(m, publisher)
	}
	return short
}

// apiVersion is the first element of the client's path.
func apiVersion(req *operation.Request) string {
	v, _, _ := strings.Cut(strings.TrimPrefix(req.Route.Path, "/"), "/")
	return v
}

func vertexBase(up config.Upstream, version string) string {
	return up.Base() + "/" + version + "/projects/" + url.PathEscape(up.Project) + "/locations/" + url.PathEscape(up.Location)
}
