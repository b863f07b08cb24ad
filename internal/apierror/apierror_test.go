package apierror_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
)

var kinds = []apierror.Kind{
	apierror.InvalidRequest, apierror.MissingToken, apierror.InvalidToken, apierror.ExpiredToken, apierror.OperationNotAllowed,
	apierror.ModelNotAllowed, apierror.NotFound, apierror.ModelNotFound, apierror.MethodNotAllowed, apierror.RequestTimeout, apierror.TooLarge,
	apierror.UnsupportedMediaType, apierror.Internal, apierror.UpstreamError, apierror.IssuerUnavailable, apierror.CredentialUnavailable,
	apierror.Overloaded, apierror.UpstreamTimeout, apierror.RateLimitExceeded, apierror.BudgetExceeded, apierror.LimitsUnavailable,
}

// A rate is worth another try, unless the request never fits; a budget is not.
func TestOnlyARateIsWorthAnotherTry(t *testing.T) {
	for _, row := range []struct {
		err  *apierror.Error
		want string
	}{
		{apierror.New(apierror.RateLimitExceeded, "x").After(time.Second), "true"},
		{apierror.New(apierror.RateLimitExceeded, "x"), "false"},
		{apierror.New(apierror.BudgetExceeded, "x").After(time.Hour), "false"},
		{apierror.New(apierror.LimitsUnavailable, "x").After(time.Second), ""},
	} {
		w := httptest.NewRecorder()
		apierror.Write(w, apierror.OpenAI, row.err)
		if got := w.Header().Get("X-Should-Retry"); got != row.want {
			t.Errorf("%v: %q", row.err, got)
		}
	}
}

// type is what OpenAI's own API sends with such a status; SDKs pick their exception by the status.
func TestEachKindIsWrittenInOpenAIsForm(t *testing.T) {
	types := map[int]string{401: "authentication_error", 403: "permission_error", 400: "invalid_request_error", 404: "invalid_request_error",
		405: "invalid_request_error", 408: "invalid_request_error", 413: "invalid_request_error", 415: "invalid_request_error", 429: "rate_limit_error",
		500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
	seen := map[string]bool{}
	for _, kind := range kinds {
		t.Run(kind.Code, func(t *testing.T) {
			if seen[kind.Code] {
				t.Error("the code has two meanings")
			}
			seen[kind.Code] = true
			w := httptest.NewRecorder()
			n := apierror.Write(w, apierror.OpenAI, apierror.New(kind, "what was wrong").Because(errors.New("for the operator")))
			want := fmt.Sprintf(`{"error":{"message":"what was wrong","type":"%s","param":null,"code":"%s"}}`+"\n", types[kind.Status], kind.Code)
			if w.Code != kind.Status || w.Body.String() != want || n != int64(len(want)) {
				t.Errorf("%d, %d bytes: %s, want %s", w.Code, n, w.Body, want)
			}
			h := w.Header()
			retry := ""
			if kind.Status < 500 && kind.Status != 401 && kind.Status != 408 {
				retry = "false"
			}
			if h.Get("X-Should-Retry") != retry || h.Get("X-Gateway-Error") != "true" || h.Get("Cache-Control") != "no-store" ||
				h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != fmt.Sprint(len(want)) || h.Get("Retry-After") != "" {
				t.Errorf("%v", h)
			}
		})
	}
}

func TestWhatAnErrorKnowsBesidesGoesWhereItBelongs(t *testing.T) {
	err := apierror.New(apierror.ModelNotAllowed, "no").At("model").After(1001 * time.Millisecond)
	err.DecisionID, err.Allow = "ABC", "GET, HEAD"
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "kept")
	apierror.Write(w, apierror.OpenAI, err)
	if got, want := w.Body.String(), `{"error":{"message":"no","type":"permission_error","param":"model","code":"model_not_allowed","decision_id":"ABC"}}`+"\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if h := w.Header(); h.Get("Retry-After") != "2" || h.Get("Allow") != "GET, HEAD" || h.Get("X-Request-Id") != "kept" {
		t.Errorf("%v", h)
	}
}

func TestAnEventIsOneWholeServerSentEvent(t *testing.T) {
	e := string(apierror.Event(apierror.OpenAI, "R", apierror.New(apierror.UpstreamError, "a\n\ndata: b")))
	body, ok := strings.CutPrefix(e, "data: ")
	if body, ended := strings.CutSuffix(body, "\n\n"); !ok || !ended || strings.Contains(body, "\n") || !json.Valid([]byte(body)) {
		t.Errorf("%q", e)
	}
}

func TestTheClientLearnsNothingOfAFaultOfOurOwn(t *testing.T) {
	secret := errors.New("open /etc/gateway/key: permission denied")
	e := apierror.From(fmt.Errorf("load: %w", secret))
	if e.Kind != apierror.Internal || strings.Contains(string(apierror.Body(apierror.OpenAI, "R", e)), "key") {
		t.Errorf("%s", apierror.Body(apierror.OpenAI, "R", e))
	}
	if !errors.Is(e, secret) || !strings.Contains(e.Error(), "permission denied") {
		t.Errorf("the operator does not either: %v", e)
	}
	inner := apierror.New(apierror.Overloaded, "later")
	if apierror.From(fmt.Errorf("wrapped: %w", inner)) != inner {
		t.Error("an Error within another was not found")
	}
}
