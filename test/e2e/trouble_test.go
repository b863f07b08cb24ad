//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing/iotest"
)

// trouble stands before the upstreams, as what happens to a provider at times: it happens to the
// calls of models with these names.
//
//   - limited answers 429, and to come back in a second;
//   - failing answers 500, which a request may have caused itself, and closed 503, which none has;
//   - faltering answers 500 the first time;
//   - dying breaks off in the middle of its answer.
type trouble struct {
	mu       sync.Mutex
	faltered bool
}

// troubled is where providers read the model from a body, and from a path.
var troubled = regexp.MustCompile(`"model": ?"(?:google/)?(limited|failing|closed|faltering|dying)"|/models/(limited|failing|closed|faltering|dying):`)

// troubledModel is the name of such a model that is called, or "".
func troubledModel(r *http.Request, body []byte) string {
	m := troubled.FindSubmatch(append([]byte(r.URL.Path+"\n"), body...))
	if m == nil {
		return ""
	}
	return string(m[1]) + string(m[2])
}

// answers reports whether the trouble with the model is that it has answered.
func (tr *trouble) answers(w http.ResponseWriter, r *http.Request, model string) bool {
	switch model {
	case "limited":
		w.Header().Set("Retry-After", "1")
		fail(w, r, 429)
	case "failing":
		fail(w, r, 500)
	case "closed":
		fail(w, r, 503)
	case "faltering":
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if tr.faltered {
			return false
		}
		tr.faltered = true
		fail(w, r, 500)
	default:
		return false
	}
	return true
}

// fail answers as the provider whose path it is would.
func fail(w http.ResponseWriter, r *http.Request, status int) {
	types := map[int]string{429: "rate_limit_error", 500: "api_error", 503: "overloaded_error"}
	form := `{"error":{"message":"e2e-trouble","type":"%[2]s","param":null,"code":"%[2]s"}}`
	switch {
	case strings.HasSuffix(r.URL.Path, "/messages"), strings.HasSuffix(r.URL.Path, "awPredict"):
		form = `{"type":"error","error":{"type":"%[2]s","message":"e2e-trouble"},"request_id":"req_e2e"}`
	case strings.Contains(r.URL.Path, "enerateContent"):
		types = map[int]string{429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
		form = `{"error":{"code":%[1]d,"message":"e2e-trouble","status":"%[2]s"}}`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, form, status, types[status])
}

// die makes an answer break off: a stream after its first event, another in the middle.
func die(answer *http.Response) error {
	lasts := answer.ContentLength / 2
	if answer.ContentLength < 0 {
		lasts = 400
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(answer.Body, lasts), iotest.ErrReader(io.ErrUnexpectedEOF)), answer.Body}
	return nil
}
