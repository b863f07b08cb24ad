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
	// gateway's own endpoints.
	OpenAI Dialect = iota
)

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
	}
	if err.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((err.RetryAfter+time.Second-1)/time.Second)))
	}
	if err.Allow != "" {
		h.Set("Allow", err.Allow)
	}
	body := append(Body(d, err), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(err.Kind.Status)
	n, _ := w.Write(body) // a client that left is no error of ours
	return int64(n)
}

// Event returns err as the server-sent event that an SDK of the dialect raises on when a stream
// breaks after its first byte: a stream that merely stops looks complete to most of them.
func Event(d Dialect, err *Error) []byte {
	b := append([]byte("data: "), Body(d, err)...)
	return append(b, "\n\n"...)
}

// Body returns err in the form of the dialect.
func Body(_ Dialect, err *Error) []byte {
	type openAI struct {
		Message    string  `json:"message"`
		Type       string  `json:"type"`
		Param      *string `json:"param"`
		Code       string  `json:"code"`
		DecisionID string  `json:"decision_id,omitempty"`
	}
	e := openAI{Message: err.Message, Type: openAIType(err.Kind), Code: err.Kind.Code, DecisionID: err.DecisionID}
	if err.Param != "" {
		e.Param = &err.Param
	}
	b, _ := json.Marshal(map[string]openAI{"error": e}) // strings only: can't fail
	return b
}

// openAIType is the type that OpenAI itself sends with such a status
// (platform.openai.com/docs/guides/error-codes).
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
