package googleapis

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// A fault is an error in the form of Google's APIs (google.aip.dev/193).
type fault struct {
	status  int
	code    string
	message string
	reason  string // of the older APIs, and of ErrorInfo
	details []any
}

func (f *fault) Error() string { return f.message }

func newFault(status int, code, format string, args ...any) *fault {
	return &fault{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// strict refuses what Google's documents don't permit. The APIs word it in many ways; here it is recognised by its
// first word.
func strict(format string, args ...any) error { return invalid("STRICT: "+format, args...) }

func invalid(format string, args ...any) error {
	return newFault(http.StatusBadRequest, "INVALID_ARGUMENT", format, args...)
}

func precondition(format string, args ...any) error {
	return newFault(http.StatusBadRequest, "FAILED_PRECONDITION", format, args...)
}

func notFound(format string, args ...any) error {
	f := newFault(http.StatusNotFound, "NOT_FOUND", format, args...)
	f.reason = "notFound"
	return f
}

func denied(format string, args ...any) error {
	f := newFault(http.StatusForbidden, "PERMISSION_DENIED", format, args...)
	f.reason = "forbidden"
	return f
}

func exists(name string) error {
	f := newFault(http.StatusConflict, "ALREADY_EXISTS", "Resource '%s' already exists.", name)
	f.reason = "alreadyExists"
	return f
}

func conflict(reason, format string, args ...any) error {
	f := newFault(http.StatusConflict, "ABORTED", format, args...)
	f.reason = reason
	return f
}

// unmodelled is for what Google has and this double has not.
func unmodelled(format string, args ...any) error {
	return newFault(http.StatusNotImplemented, "UNIMPLEMENTED", "STRICT: not modelled: "+format, args...)
}

// codes are those of google.rpc.Code, which operations fail with.
var codes = map[string]int{"INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "FAILED_PRECONDITION": 9, "ABORTED": 10, "INTERNAL": 13}

func (f *fault) body() map[string]any {
	reason := f.reason
	if reason == "" {
		reason = "badRequest"
	}
	e := map[string]any{
		"code": f.status, "message": f.message, "status": f.code,
		"errors": []any{map[string]any{"message": f.message, "domain": "global", "reason": reason}},
	}
	if f.details != nil {
		e["details"] = f.details
	}
	return map[string]any{"error": e}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, err error) {
	f, ok := err.(*fault)
	if !ok {
		f = newFault(http.StatusInternalServerError, "INTERNAL", "%v", err)
	}
	answer(w, f.status, f.body())
}
