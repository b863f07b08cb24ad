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

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
)

// maxAnswer bounds a token endpoint's answer. Google's have about one KiB.
const maxAnswer = 64 << 10

var errNoAnswer = fmt.Errorf("no answer from the token endpoint within %s", attempt)

// newTransport keeps no connection: exchanges are most of an hour apart, and a connection doesn't
// survive its instance being frozen.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswer,
	}
}

// exchange is one call of a token endpoint by x/oauth2, which posts without a context, reports
// transport errors as text, and puts the endpoint's answer into its own.
type exchange struct {
	ctx  context.Context
	base http.RoundTripper
	sent bool
	err  error // the transport's
}

// context is what x/oauth2 takes its client from. A redirect isn't followed: it would carry the
// assertion elsewhere (307, 308).
func (x *exchange) context() context.Context {
	return context.WithValue(x.ctx, oauth2.HTTPClient, &http.Client{
		Transport:     x,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
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
		var answer struct {
			Error string `json:"error"`
		}
		json.Unmarshal(e.Body, &answer) // best effort: the status says it too
		if meaning, registered := codes[answer.Error]; registered {
			return fmt.Errorf("the token endpoint answered %d %s%s", e.Response.StatusCode, answer.Error, meaning)
		}
		return fmt.Errorf("the token endpoint answered %d", e.Response.StatusCode)
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

// codes are the registered error codes of a token endpoint (RFC 6749 section 5.2 and 4.1.2.1), the only text of
// its answer that is repeated.
var codes = map[string]string{
	"invalid_request":         "",
	"invalid_client":          "",
	"invalid_grant":           "; the key may be disabled or deleted, or the clock wrong",
	"unauthorized_client":     "",
	"unsupported_grant_type":  "",
	"invalid_scope":           "",
	"access_denied":           "",
	"server_error":            "",
	"temporarily_unavailable": "",
}
