package token

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"

	"llmgateway.dev/gateway/internal/egress"
)

// maxAnswer bounds a token endpoint's answer. Google's have about one KiB.
const maxAnswer = 64 << 10

var errNoAnswer = fmt.Errorf("no answer from the token endpoint within %s", attempt)

// newTransport keeps no connection: exchanges are most of an hour apart, and a connection doesn't
// survive its instance being frozen.
//
// It connects to no metadata server, wherever the name in a key file or in the configuration leads.
func newTransport() *http.Transport {
	return egress.Configured.Transport(&http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswer,
	})
}

// newOwnTransport is for Application Default Credentials, which only the environment configures, and which may well
// be the metadata server's.
func newOwnTransport() *http.Transport {
	t := newTransport()
	t.Proxy, t.DialContext = http.ProxyFromEnvironment, nil
	return t
}

// exchange is one call of a token endpoint by a library: x/oauth2 posts without a context, and all report
// transport errors as text and put the endpoint's answer into their own.
type exchange struct {
	ctx  context.Context
	base http.RoundTripper
	sent bool
	err  error // the transport's
}

// client follows no redirect: it would carry the assertion or token elsewhere (307, 308).
func (x *exchange) client() *http.Client {
	return &http.Client{
		Transport:     x,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip puts our context into the request, whose end ends the reading of the answer too, and
// cuts the answer short at maxAnswer; what is left is not JSON any more.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	x.sent = true
	resp, err := x.base.RoundTrip(req.WithContext(x.ctx))
	if err != nil {
		x.err = err
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// refusal says what went wrong in words of our own: err may hold the answer, and the answer what was
// sent.
func (x *exchange) refusal(err error) error {
	if x.ctx.Err() != nil {
		return errNoAnswer
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil {
		return answered(e.Response.StatusCode, e.Body)
	}
	if e, ok := errors.AsType[*auth.Error](err); ok && e.Response != nil {
		return answered(e.Response.StatusCode, e.Body)
	}
	if e, ok := errors.AsType[*metadata.Error](err); ok {
		return fmt.Errorf("the metadata server answered %d", e.Code)
	}
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		return errors.New("the metadata server knows no service account; deploy with one")
	}
	// The text of these is the operating system's and TLS's own.
	if e, ok := errors.AsType[*net.OpError](errors.Join(x.err, err)); ok {
		return fmt.Errorf("no answer from the token endpoint: %w", e)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](x.err); ok {
		return fmt.Errorf("no answer from the token endpoint: %w", e)
	}
	if x.err != nil {
		return errors.New("no usable answer from the token endpoint")
	}
	return errors.New("the token endpoint's answer is not a token response")
}

// answered is an answer that isn't a token, by its status and its code: {"error":"invalid_grant"} of OAuth,
// {"error":{"status":"NOT_FOUND"}} of Google's APIs.
func answered(status int, body []byte) error {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var code string
	var google struct {
		Status string `json:"status"`
	}
	json.Unmarshal(body, &answer) // best effort: the status says it too
	if json.Unmarshal(answer.Error, &code) != nil && json.Unmarshal(answer.Error, &google) == nil {
		code = google.Status
	}
	if meaning, registered := codes[code]; registered {
		return fmt.Errorf("the token endpoint answered %d %s%s", status, code, meaning)
	}
	return fmt.Errorf("the token endpoint answered %d", status)
}

// codes are the only text of an answer that is repeated: the registered error codes of a token
// endpoint (RFC 6749 section 5.2 and 4.1.2.1), and of Google's (google.rpc.Code).
var codes = map[string]string{
	"invalid_request":         "",
	"invalid_client":          "; the client id or the secret is wrong, or the secret has expired",
	"invalid_grant":           "; the key may be disabled or deleted, or the clock wrong",
	"unauthorized_client":     "",
	"unsupported_grant_type":  "",
	"invalid_scope":           "",
	"access_denied":           "",
	"server_error":            "",
	"temporarily_unavailable": "",

	"CANCELLED":           "",
	"UNKNOWN":             "",
	"INVALID_ARGUMENT":    "",
	"DEADLINE_EXCEEDED":   "",
	"NOT_FOUND":           "; there is no such service account",
	"ALREADY_EXISTS":      "",
	"PERMISSION_DENIED":   "; the gateway's own account needs roles/iam.serviceAccountTokenCreator on the other, and its project the IAM Credentials API",
	"RESOURCE_EXHAUSTED":  "",
	"FAILED_PRECONDITION": "",
	"ABORTED":             "",
	"OUT_OF_RANGE":        "",
	"UNIMPLEMENTED":       "",
	"INTERNAL":            "",
	"UNAVAILABLE":         "",
	"DATA_LOSS":           "",
	"UNAUTHENTICATED":     "",
}
