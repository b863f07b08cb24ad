// Package upstream knows how each kind of provider is addressed: where an operation's path stands
// under its base URL, and in which header its credential goes.
package upstream

import (
	"net/http"
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
}

// NewCall puts req, with models[i] for the i-th of its Refs, into the form of the upstream.
//
// Both kinds speak OpenAI's API below their base: what follows /v1 in the client's path
// (platform.openai.com/docs/api-reference; for Vertex AI
// cloud.google.com/vertex-ai/generative-ai/docs/start/openai).
func NewCall(up config.Upstream, models []string, req *operation.Request) *Call {
	call := &Call{
		Credential:  up.Credential,
		Method:      req.Method,
		URL:         up.ServesAt() + strings.TrimPrefix(req.Route.Path, "/v1"),
		Body:        req.Bytes(models, up.AsksUsage()),
		ContentType: req.ContentType,
		HidesUsage:  up.AsksUsage() && req.AsksUsage(),
	}
	if req.Query != "" {
		call.URL += "?" + req.Query
	}
	return call
}

// Present puts the credential where the upstream looks for it: both kinds take a bearer token
// (RFC 6750), be it an access token or a key.
func (c *Call) Present(h http.Header, token string) {
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
}

// Dialects are those in which an upstream of the kind can be called.
func Dialects(kind config.Kind) []apierror.Dialect {
	return []apierror.Dialect{apierror.OpenAI}
}
