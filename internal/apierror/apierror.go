// Package apierror is what a client is told when the gateway itself says no.
//
// An Error keeps two audiences apart: Message and Param go to the client, Cause goes to the
// operator's log and nowhere else. Neither may hold a token, key, assertion, prompt or completion,
// nor text copied from one. Every error the gateway answers with is written by Write, in the
// dialect of the endpoint, so that the provider's own SDK raises its own typed exception.
package apierror

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is the stable reason of an error: the code that clients match on, and the status it has.
type Kind struct {
	Status int
	Code   string
}

// A code is part of the gateway's interface: it never changes
// its meaning.
var (
	InvalidRequest        = Kind{400, "invalid_request"}
	MissingToken          = Kind{401, "missing_token"}
	InvalidToken          = Kind{401, "invalid_token"}
	ExpiredToken          = Kind{401, "expired_token"}
	OperationNotAllowed   = Kind{403, "operation_not_allowed"}
	ModelNotAllowed       = Kind{403, "model_not_allowed"}
	NotFound              = Kind{404, "not_found"}
	ModelNotFound         = Kind{404, "model_not_found"}
	MethodNotAllowed      = Kind{405, "method_not_allowed"}
	RequestTimeout        = Kind{408, "request_timeout"}
	TooLarge              = Kind{413, "request_too_large"}
	UnsupportedMediaType  = Kind{415, "unsupported_media_type"}
	RateLimitExceeded     = Kind{429, "rate_limit_exceeded"}
	BudgetExceeded        = Kind{429, "budget_exceeded"}
	Internal              = Kind{500, "internal_error"}
	UpstreamError         = Kind{502, "upstream_error"}
	IssuerUnavailable     = Kind{503, "issuer_unavailable"}
	CredentialUnavailable = Kind{503, "credential_unavailable"}
	Overloaded            = Kind{503, "overloaded"}
	LimitsUnavailable     = Kind{503, "limits_unavailable"}
	UpstreamTimeout       = Kind{504, "upstream_timeout"}
)

// Error is one refusal or failure. It is returned up to the one place that writes responses.
type Error struct {
	Kind Kind
	// Message tells the client what was wrong and what to do, in RFC 6750's characters
	// (%x20-21 / %x23-5B / %x5D-7E), because a 401 and a 403 carry it in a challenge as well.
	Message string
	// Param is the field of the request at fault ("model"), or "".
	Param string
	// Cause is for the operator. It never reaches the client.
	Cause error
	// RetryAfter is sent, rounded up to whole seconds, where it is positive.
	RetryAfter time.Duration
	// DecisionID leads from a denial to its audit record.
	DecisionID string
	// Allow lists the methods of a path on a 405.
	Allow string
}

// New returns an Error of the kind with a message for the client.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// WrongMethod returns the error of a path that takes only the methods of allow, in order.
func WrongMethod(allow ...string) *Error {
	err := New(MethodNotAllowed, "this path takes %s", strings.Join(allow, " or "))
	err.Allow = strings.Join(allow, ", ")
	return err
}

// From returns err as an *Error. Anything else is a fault of our own: the client learns nothing
// of it, the operator all.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(Internal, "the gateway failed; the operator finds the cause under the request id").Because(err)
}

// Because adds what the operator should know.
func (e *Error) Because(cause error) *Error { e.Cause = cause; return e }

// At names the request's field at fault.
func (e *Error) At(param string) *Error { e.Param = param; return e }

// After tells the client when to come back.
func (e *Error) After(d time.Duration) *Error { e.RetryAfter = d; return e }

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Kind.Code, e.Message, e.Cause)
	}
	return e.Kind.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// RetryUseless reports whether the same request can't succeed later without somebody acting:
// denials and malformed requests. Provider SDKs obey x-should-retry. A 401 is not among them:
// its remedy, a new token, is the SDK's own to fetch.
func (e *Error) RetryUseless() bool {
	switch e.Kind.Status {
	case 400, 403, 404, 405, 413, 415:
		return true
	case 429: // a budget lasts longer than any client waits, and some requests fit into no limit
		return e.Kind == BudgetExceeded || e.RetryAfter == 0
	}
	return false
}
