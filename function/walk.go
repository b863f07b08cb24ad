package function

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/bearer"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
	"llmgateway.dev/gateway/internal/relay"
	"llmgateway.dev/gateway/internal/token"
	"llmgateway.dev/gateway/internal/upstream"
)

// exchange is one request on its way. Each step of the walk fills what the next ones need.
type exchange struct {
	*gateway
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	record *audit.Record

	token    hidden.Text
	who      *principal.Principal
	request  *operation.Request
	release  func()
	decision *policy.Decision
	// reservation is what limits took for the request; nil until they were asked.
	reservation *limit.Reservation
	// targets are the routes that can serve the request, in order of preference; call is the attempt's.
	targets []policy.Route
	call    *upstream.Call
	// outcome is what became of the answer; nil where there was none. unheard says that an attempt
	// may have made an upstream work, though no answer came.
	outcome *relay.Outcome
	unheard bool
	// answered says that the answer's head is written, or that none is wanted any more.
	answered bool
}

// walk is the way of a request. A step that refuses it, or answers it, is the last.
func (x *exchange) walk() error {
	for _, step := range []func() error{
		x.takeToken,    // bearer: the client's token
		x.verify,       // issuer: who is this?
		x.read,         // operation: what is asked for?
		x.decide,       // policy: may they?
		x.address,      // upstream: where may it go?
		x.reserve,      // limit: is there enough left?
		x.sendAndRelay, // token, relay: with our credential, to one after the other, and the answer back
	} {
		if err := step(); err != nil || x.answered {
			return err
		}
	}
	return nil
}

var errTooLong error = apierror.New(apierror.UpstreamTimeout, "the request took longer than the gateway allows; ask for less")

// ServeHTTP is where each request begins (limits of time) and ends (errors, the audit record).
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), g.config.Server.RequestTimeout, errTooLong)
	defer cancel()
	x := &exchange{gateway: g, w: w, r: r, ctx: ctx, release: func() {}, record: &audit.Record{RequestID: rand.Text(), Start: time.Now(), Request: r}}
	w.Header().Set("X-Request-Id", x.record.RequestID)
	if r.Body != http.NoBody {
		// Until it is read: net/http reads the rest of a refused body, and it would do so before it sends
		// the refusal were the connection to be used again.
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(x.record.Start.Add(min(bodyTimeout, g.config.Server.RequestTimeout)))
	}
	if g.own(w, r) {
		return
	}
	g.warmth.start(g)
	defer func() {
		if v := recover(); v != nil {
			x.fail(panicked(v))
		}
		x.release()
		x.settle()
		g.log.Record(x.record, time.Now())
	}()
	if err := x.walk(); err != nil {
		x.fail(err)
	}
}

// takeToken takes the client's token from the request.
func (x *exchange) takeToken() (err error) {
	x.token, err = bearer.Token(x.r)
	x.record.Token = x.token
	return err
}

// verify makes the token a principal.
func (x *exchange) verify() (err error) {
	x.who, x.record.TokenRemembered, err = x.issuers.Verify(x.ctx, x.token)
	if err != nil {
		return err
	}
	x.record.Principal = x.who.ID()
	x.record.Subject = x.who.Subject
	x.record.Groups = x.who.Groups
	x.record.DroppedGroups = x.who.DroppedGroups
	return nil
}

// read finds the operation, and its model in the body. Until here no body was read.
func (x *exchange) read() error {
	if x.r.URL.Path == whoamiPath {
		return x.whoami()
	}
	route, err := operation.Match(x.r)
	if err != nil {
		return err
	}
	x.record.Operation = string(route.Name)
	if route.IsList() {
		if x.r.Body != http.NoBody {
			return unwantedBody()
		}
		return x.list(route)
	}
	if x.r.Body != http.NoBody {
		if err := route.ReadHead(x.r.Header); err != nil {
			return err
		}
	}
	body, release, err := x.bodies.read(x.w, x.r)
	x.release = release
	if err != nil {
		return err
	}
	x.record.BytesIn = int64(len(body))
	if len(body) > large {
		select {
		case x.bodies.parsing <- struct{}{}:
			defer func() { <-x.bodies.parsing }()
		case <-x.ctx.Done():
			return context.Cause(x.ctx)
		}
	}
	x.request, err = operation.Read(route, body)
	if err != nil {
		return err
	}
	x.record.Stream = x.request.Stream
	if len(x.request.Models) > 0 {
		x.record.Model = x.request.Models[0].Name
	}
	return nil
}

var errElsewhere = errors.New("the path names another project or location than the upstream's")

// decide asks the policies.
func (x *exchange) decide() error {
	d := x.policies.Decide(x.who, x.request, time.Now())
	d.Keep(func(r policy.Route) bool { return upstream.IsOf(x.config.Upstreams[r.Upstream], x.request) }, errElsewhere)
	x.decision = d
	x.record.DecisionID, x.record.Policies, x.record.PolicyErrors, x.record.DecisionRemembered = d.ID, d.Policies, d.Errors, d.Remembered
	x.record.Decision = "allow"
	if d.Denied() {
		x.record.Decision, x.record.LetThrough = "deny", len(d.Routes) > 0
	}
	return d.Err()
}

// sendAndRelay asks the targets, and passes the first answer on. From its head on there is no other.
func (x *exchange) sendAndRelay() error {
	answer, err := x.firstAnswer()
	if err != nil {
		return err
	}
	x.answered = true
	if answer.StatusCode < http.StatusBadRequest {
		x.reservation.Header(answer.Header, x.request.Dialect)
	}
	x.note(answer.Copy(x.ctx, x.w))
	return nil
}

// ask sends the request to a target with a token of ours. A 401 is about that token, not the client's:
// it is renewed once, and the client never sees it.
func (x *exchange) ask(t policy.Route) (*relay.Answer, error) {
	up := x.config.Upstreams[t.Upstream]
	x.call = upstream.NewCall(up, t.Models, x.request)
	x.record.Upstream, x.record.Provider, x.record.TargetModel, x.record.UpstreamToken = t.Upstream, string(up.Kind), modelOf(t), ""
	var ours token.Token
	if x.call.Credential != "" {
		var err error
		begin := time.Now()
		if ours, err = x.tokens.Token(x.ctx, x.call.Credential); err != nil {
			x.noteAttempt(begin, nil, err)
			return nil, err
		}
		x.record.UpstreamToken = ours.State.String()
	}
	answer, err := x.send(ours)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	answer.Body.Close()
	if answer, err = x.sendAgain(ours); err != nil {
		x.record.Attempts[len(x.record.Attempts)-1].Error = told(err)
	}
	return answer, err
}

func (x *exchange) send(ours token.Token) (*relay.Answer, error) {
	begin := time.Now()
	answer, err := x.relay.Send(x.ctx, x.r, &relay.Call{
		Method:      x.call.Method,
		URL:         x.call.URL,
		Body:        x.call.Body,
		ContentType: x.call.ContentType,
		Present: func(h http.Header) {
			x.call.Present(h, ours.Value.Reveal(), x.config.Credentials[x.call.Credential].APIKey != nil)
		},
		Credential:   ours.Value,
		HidesUsage:   x.call.HidesUsage,
		ReadsUsage:   x.request.Group == operation.Inference,
		CountsOutput: x.reservation.Settles(),
		Effects:      x.request.Effects,
		Dialect:      x.request.Dialect,
	})
	x.noteAttempt(begin, answer, err)
	x.unheard = x.unheard || err != nil && (x.ctx.Err() != nil || apierror.From(err).Kind == apierror.UpstreamTimeout) && !neverSent(err)
	return answer, err
}

// errCredentialRefused is why an upstream that did nothing has no answer for the client.
var errCredentialRefused = errors.New("the upstream refused the gateway's credential")

// sendAgain answers an upstream's 401 to our credential.
func (x *exchange) sendAgain(rejected token.Token) (*relay.Answer, error) {
	refused := func(why error) error {
		return apierror.New(apierror.UpstreamError, "the upstream refused the gateway's own credential; tell the gateway's operator").
			Because(fmt.Errorf("%w: %w", errCredentialRefused, why))
	}
	if x.call.Credential == "" {
		return nil, refused(errors.New("none is configured"))
	}
	renewed, err := x.tokens.Renew(x.ctx, x.call.Credential, rejected)
	if errors.Is(err, token.ErrNoOther) {
		return nil, refused(err)
	}
	if err != nil {
		return nil, err
	}
	x.record.UpstreamToken = renewed.State.String()
	answer, err := x.send(renewed)
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		answer.Body.Close()
		return nil, refused(errors.New("the renewed one as well"))
	}
	return answer, err
}

// noteAttempt keeps for the record what was tried since begin.
func (x *exchange) noteAttempt(begin time.Time, answer *relay.Answer, err error) {
	a := audit.Attempt{Upstream: x.record.Upstream, TargetModel: x.record.TargetModel, Seconds: time.Since(begin).Seconds()}
	if err != nil {
		a.Error = told(err)
	} else {
		a.Status = answer.StatusCode
	}
	x.record.Attempts = append(x.record.Attempts, a)
}

// told is an error as an attempt tells it to the operator.
func told(err error) string {
	if errors.Is(err, context.Canceled) {
		return audit.ClientLeft
	}
	e := apierror.From(err)
	if e.Cause == nil {
		return e.Kind.Code
	}
	return e.Kind.Code + ": " + e.Cause.Error()
}

// note keeps for the record what became of the answer.
func (x *exchange) note(o *relay.Outcome) {
	x.record.Status = o.Status
	x.record.BytesOut = o.Bytes
	x.record.FirstByte = o.FirstByte
	x.record.ResponseModel = o.Model
	x.record.UpstreamRequestID = o.UpstreamRequestID
	x.outcome = o
	if u := o.Usage; u != nil {
		x.record.Usage = &audit.Usage{Input: u.Input, Cached: u.Cached, Output: u.Output, Reasoning: u.Reasoning, Partial: o.Err != nil}
	}
	if o.Err != nil {
		x.noteError(apierror.From(o.Err), o.Err)
	} else if o.Echoed {
		x.record.Cause = errEchoed
	}
}

// errEchoed is for the operator: what an upstream quotes to its clients, it may have in its logs.
var errEchoed = errors.New("the upstream's error quotes the credential that it was sent; it was taken out of the answer")

// fail is the one place that answers with an error.
func (x *exchange) fail(err error) {
	err = x.whyEnded(err)
	e := apierror.From(err)
	x.noteError(e, err)
	if x.answered {
		// Too late to say so: break the connection, as the framework would end the answer cleanly.
		http.NewResponseController(x.w).SetWriteDeadline(time.Unix(1, 0))
		return
	}
	x.record.Status = e.Kind.Status
	if errors.Is(err, context.Canceled) {
		x.record.Status = statusClientClosedRequest
	}
	if e.Kind.Status == http.StatusTooManyRequests {
		x.reservation.Header(x.w.Header(), x.request.Dialect)
	}
	bearer.Challenge(x.w.Header(), e, bearer.Resource(x.config.Server.URL, x.r)+bearer.MetadataPath)
	x.record.BytesOut = apierror.Write(x.w, operation.Dialect(x.r), e)
}

// whyEnded replaces the error of an ended context by what ended it: the client left
// (context.Canceled), the request took too long, or the instance is shut down.
func (x *exchange) whyEnded(err error) error {
	if x.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return context.Cause(x.ctx)
	}
	return err
}

// statusClientClosedRequest is nginx's, which log readers know; the client is no longer there to see it.
const statusClientClosedRequest = 499

func (x *exchange) noteError(e *apierror.Error, err error) {
	if errors.Is(err, context.Canceled) {
		x.record.ErrorCode = audit.ClientLeft
		return
	}
	x.record.ErrorCode, x.record.ErrorMessage, x.record.Cause = e.Kind.Code, e.Message, e.Cause
}

// panicked makes a recovered panic an error. Its value may hold anything, a token too, so that only
// the runtime's own errors are kept.
func panicked(v any) error {
	if e, ok := v.(runtime.Error); ok {
		return fmt.Errorf("panic: %w\n%s", e, debug.Stack())
	}
	return fmt.Errorf("panic of type %T\n%s", v, debug.Stack())
}
