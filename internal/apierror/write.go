package apierror

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Dialect is the form of the API that an endpoint speaks, errors included.
type Dialect int

const (
	// OpenAI is {"error":{message,type,param,code}}; also the form of unknown paths and of the
	// gateway's own endpoints (platform.openai.com/docs/guides/error-codes).
	OpenAI Dialect = iota
	// Anthropic is {"type":"error","error":{type,message},"request_id"}
	// (docs.anthropic.com/en/api/errors).
	Anthropic
	// Google is {"error":{code,message,status}} (cloud.google.com/apis/design/errors).
	Google
)

func (d Dialect) String() string {
	return [...]string{"OpenAI", "Anthropic", "Google"}[d]
}

// Write answers a request with err. It must be the first write to w. Headers that others set
// before (x-request-id, WWW-Authenticate) are kept. It returns the size of the body it wrote.
func Write(w http.ResponseWriter, d Dialect, err *Error) int64 {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Gateway-Error", "true")
	if err.RetryUseless() {
		h.Set("X-Should-Retry", "false")
	} else if err.Kind == RateLimitExceeded {
		h.Set("X-Should-Retry", "true")
	}
	if err.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((err.RetryAfter+time.Second-1)/time.Second)))
	}
	if err.Allow != "" {
		h.Set("Allow", err.Allow)
	}
	body := append(Body(d, h.Get("X-Request-Id"), err), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(err.Kind.Status)
	n, _ := w.Write(body) // a client that left is no error of ours
	return int64(n)
}

// Event returns err as the server-sent event that an SDK of the dialect raises on when a stream
// breaks after its first byte: a stream that merely stops looks complete to most of them.
func Event(d Dialect, requestID string, err *Error) []byte {
	var b []byte
	if d == Anthropic {
		b = append(b, "event: error\n"...)
	}
	b = append(b, "data: "...)
	b = append(b, Body(d, requestID, err)...)
	return append(b, "\n\n"...)
}

// Body returns err in the form of the dialect. Each form has the code and, for a denial, the
// decision's id beside what its SDK looks for.
func Body(d Dialect, requestID string, err *Error) []byte {
	var body any
	switch d {
	case Anthropic:
		type detail struct {
			Type       string `json:"type"`
			Message    string `json:"message"`
			Code       string `json:"code"`
			DecisionID string `json:"decision_id,omitempty"`
		}
		body = struct {
			Type      string `json:"type"`
			Error     detail `json:"error"`
			RequestID string `json:"request_id"`
		}{"error", detail{anthropicType(err.Kind), err.Message, err.Kind.Code, err.DecisionID}, requestID}
	case Google:
		// google.rpc.ErrorInfo (cloud.google.com/apis/design/errors#error_info)
		type info struct {
			Type     string            `json:"@type"`
			Reason   string            `json:"reason"`
			Domain   string            `json:"domain"`
			Metadata map[string]string `json:"metadata,omitempty"`
		}
		type detail struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Status  string `json:"status"`
			Details []info `json:"details"`
		}
		i := info{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: err.Kind.Code, Domain: "llmgateway.dev"}
		if err.DecisionID != "" {
			i.Metadata = map[string]string{"decision_id": err.DecisionID}
		}
		body = map[string]detail{"error": {err.Kind.Status, err.Message, googleStatus(err.Kind), []info{i}}}
	default:
		type detail struct {
			Message    string  `json:"message"`
			Type       string  `json:"type"`
			Param      *string `json:"param"`
			Code       string  `json:"code"`
			DecisionID string  `json:"decision_id,omitempty"`
		}
		e := detail{Message: err.Message, Type: openAIType(err.Kind), Code: err.Kind.Code, DecisionID: err.DecisionID}
		if err.Param != "" {
			e.Param = &err.Param
		}
		body = map[string]detail{"error": e}
	}
	b, _ := json.Marshal(body) // strings and numbers only: can't fail
	return b
}

// openAIType is the type that OpenAI itself sends with such a status.
func openAIType(k Kind) string {
	switch k.Status {
	case 401:
		return "authentication_error"
	case 403:
		return "permission_error"
	case 429:
		return "rate_limit_error"
	}
	if k.Status >= 500 {
		return "server_error"
	}
	return "invalid_request_error"
}

// anthropicType is Anthropic's own type of such a status.
func anthropicType(k Kind) string {
	switch k.Status {
	case 401:
		return "authentication_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 413:
		return "request_too_large"
	case 429:
		return "rate_limit_error"
	case 503:
		return "overloaded_error"
	case 504:
		return "timeout_error"
	}
	if k.Status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// googleStatus is the google.rpc.Code of such a status.
func googleStatus(k Kind) string {
	switch k.Status {
	case 401:
		return "UNAUTHENTICATED"
	case 403:
		return "PERMISSION_DENIED"
	case 404:
		return "NOT_FOUND"
	case 408, 504:
		return "DEADLINE_EXCEEDED"
	case 429:
		return "RESOURCE_EXHAUSTED"
	case 500:
		return "INTERNAL"
	case 502, 503:
		return "UNAVAILABLE"
	}
	return "INVALID_ARGUMENT"
}
