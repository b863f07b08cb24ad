// Package relay sends one authorized request upstream and streams the answer back.
//
// Send makes one attempt and returns with the head of the answer; Answer.Copy passes the answer on as
// it comes. Nothing is re-marshalled: bytes go through as they are, one server-sent event at a time
// where the answer is a stream of them. The one thing taken out is the usage chunk that the gateway
// itself asked for.
//
// An answer that breaks off looks broken to the client too. A clean end would pass for a complete answer with
// every provider's SDK, so a stream first gets an error event, and then the connection is cut.
package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/egress"
	"llmgateway.dev/gateway/internal/hidden"
)

// Relay sends requests over pooled connections. It is safe for concurrent use.
type Relay struct {
	transport http.RoundTripper
}

// New returns a Relay that waits at most s.UpstreamHeaderTimeout for the head of an answer.
func New(s config.Server) *Relay {
	return Over(egress.Configured.Transport(&http.Transport{
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: s.UpstreamHeaderTimeout,
		MaxIdleConnsPerHost:   100, // an instance's concurrency: each of its requests may hold one
		// An instance that was frozen finds its idle connections dead; few are kept for long.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // bytes are passed as they come
	}))
}

// Over returns a Relay over another transport.
func Over(transport http.RoundTripper) *Relay { return &Relay{transport: transport} }

// Call is what is sent.
type Call struct {
	Method string
	URL    string
	// Body is sent part by part; nil is none. It is not changed, so a Call may be sent again.
	Body        [][]byte
	ContentType string
	// Present adds the upstream's credential.
	Present func(http.Header)
	// Credential is what Present adds. An error that quotes it reaches the client without it.
	Credential hidden.Text
	// HidesUsage says that the body asked for a stream's usage on the gateway's behalf.
	HidesUsage bool
	// ReadsUsage says that the answer may tell a usage: that of inference.
	ReadsUsage bool
	// CountsOutput says that somebody wants to know what an answer comes to that tells no usage.
	CountsOutput bool
	// Effects says that the call may have its effect even when its answer is lost: it is not sent again
	// over another connection.
	Effects bool
	Dialect apierror.Dialect
}

// Answer is an upstream's answer whose head has come.
type Answer struct {
	*http.Response
	call *Call
	// scrubbed is Body where it may quote our credential, else nil.
	scrubbed *scrubber
}

// Send makes one attempt. client is the client's request: the allowed ones of its headers go along.
// ctx bounds the whole call, the answer's body included; ending it ends the upstream's work.
//
// The error is an *apierror.Error (upstream_error, upstream_timeout), or the cause of ctx's end.
// Redirects and upgrades are no answers.
func (r *Relay) Send(ctx context.Context, client *http.Request, call *Call) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, call.Method, call.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("build upstream request: %w", err)
	}
	setBody(req, call.Body)
	req.Header = requestHeader(client.Header, call)
	if !call.Effects {
		// Present but empty: the transport may send again over a fresh connection when a pooled one
		// turns out to be dead, and the header itself is not sent (net/http.Transport).
		req.Header["Idempotency-Key"] = []string{}
	}
	call.Present(req.Header)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, sendError(ctx, err)
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified:
		resp.Body.Close()
		return nil, apierror.New(apierror.UpstreamError, "the upstream answered with a redirect, which is not followed; its base_url may be wrong").
			Because(fmt.Errorf("status %d", resp.StatusCode))
	case resp.StatusCode < 200, resp.StatusCode > 599, resp.StatusCode == http.StatusProxyAuthRequired:
		resp.Body.Close()
		return nil, apierror.New(apierror.UpstreamError, "the upstream answered with a status that no API has; its base_url may be wrong").
			Because(fmt.Errorf("status %d", resp.StatusCode))
	}
	return &Answer{Response: resp, call: call, scrubbed: scrub(resp, call.Credential)}, nil
}

// joined is the size up to which a body is sent from one piece: net/http then sends the head along with
// it, in one packet, and the copy costs less than another write.
const joined = 64 << 10

func setBody(req *http.Request, parts [][]byte) {
	if len(parts) == 0 {
		return
	}
	req.ContentLength = 0
	for _, p := range parts {
		req.ContentLength += int64(len(p))
	}
	if req.ContentLength <= joined {
		body := bytes.Join(parts, nil)
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		return
	}
	req.GetBody = func() (io.ReadCloser, error) {
		b := net.Buffers(slices.Clone(parts)) // reading consumes it
		return io.NopCloser(&b), nil
	}
	req.Body, _ = req.GetBody()
}

// sendError classifies what kept the head of an answer from coming.
func sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return apierror.New(apierror.UpstreamTimeout, "the upstream did not answer in time; try again, or ask for less").Because(cause(err))
	}
	return apierror.New(apierror.UpstreamError, "the upstream could not be reached, or its answer is not HTTP; try again").Because(cause(err))
}

// cause is what the operator may read of an error. net/http quotes malformed heads and trailers,
// in which an upstream may have echoed our credential or a completion: only the errors of connections
// and certificates are known to hold neither.
func cause(err error) error {
	var (
		dial        *net.OpError
		timeout     net.Error
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &dial), errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &timeout) && timeout.Timeout():
		return err
	case errors.As(err, &record):
		return errors.New("the upstream does not speak TLS")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("the connection ended early")
	}
	return fmt.Errorf("the upstream's answer is malformed (%T)", err)
}
