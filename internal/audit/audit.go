// Package audit writes one record per request, and the few lines that belong to none, as JSON lines
// in Cloud Logging's form (cloud.google.com/logging/docs/structured-logging), with OpenTelemetry's
// gen_ai.* names for model and usage.
//
// A record tells who asked for what, what was decided and by which policies, what it cost and how
// long it took. It never holds a token, key, assertion, prompt or completion: of the client's token,
// only the first 12 hexadecimal digits of its SHA-256.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// NewLogger returns a logger whose lines Cloud Logging understands. Not funcframework.LogWriter: it
// takes a JSON line for the text of a message, and encodes it again.
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.LevelKey:
			level := a.Value.Any().(slog.Level)
			return slog.String("severity", strings.Replace(level.String(), "WARN", "WARNING", 1))
		case slog.MessageKey:
			a.Key = "message"
		}
		return a
	}}))
}

// Record is what is known of one request. The zero value of a field is left out.
type Record struct {
	RequestID string
	Start     time.Time
	// Request is the request's head; of its headers only the user agent and the trace are written.
	Request *http.Request

	// TokenHash is Hash of the client's token.
	TokenHash     string
	Principal     string
	Subject       string
	Groups        []string
	DroppedGroups int

	Operation string
	// Model is the name that the client used, Upstream and TargetModel what became of it.
	Model       string
	Upstream    string
	Provider    string
	TargetModel string
	Stream      bool

	// Decision is "allow" or "deny"; "" where it did not come to one.
	Decision   string
	DecisionID string
	// LetThrough says that the denial was not enforced: policies.mode is audit.
	LetThrough   bool
	Policies     []string
	PolicyErrors []string

	Status int
	// ErrorCode and ErrorMessage are what the client was told, or ClientLeft; Cause is for the
	// operator alone.
	ErrorCode, ErrorMessage string
	Cause                   error

	BytesIn, BytesOut int64
	// FirstByte is when the first byte of the answer's body went to the client.
	FirstByte time.Time
	Usage     *Usage
	// UsageUnknown says that a call was answered that should have told its usage, and told none, or one
	// that can't be.
	UsageUnknown bool
	// Cost is nil where the model has no price, or nothing is known to have been used.
	Cost *Cost
	// Limits is nil where no limit applied.
	Limits            *Limits
	ResponseModel     string
	UpstreamRequestID string
	// Attempts are what was tried upstream, in order; the last one's answer is the client's.
	Attempts []Attempt

	// Which caches served: the verified token, the decision, the upstream token's state.
	TokenRemembered    bool
	DecisionRemembered bool
	UpstreamToken      string
}

// Attempt is one target that was asked, or why it was not.
type Attempt struct {
	Upstream    string `json:"upstream"`
	TargetModel string `json:"target_model,omitempty"`
	// Status is 0 where no answer came.
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	// Seconds is how long its head, or the failure, took to come.
	Seconds float64 `json:"seconds"`
}

// ClientLeft is the error code of a request whose client did not wait for the end of its answer.
const ClientLeft = "client_closed_request"

// Usage is in tokens.
type Usage struct {
	// Input includes Cached, Output includes Reasoning.
	Input, Cached     int64
	Output, Reasoning int64
	// Partial says that the answer broke off, or the client left, before all was told.
	Partial bool
}

// Cost is in USD, at the model's configured price.
type Cost struct {
	USD float64
	// Estimated says that the usage was not told, and is the gateway's own estimate.
	Estimated bool
}

// Limits is what the configured limits made of the request.
type Limits struct {
	// Group is the first group, in the configuration's order, by which a limit applied.
	Group string
	// Refused is the limit that stopped the request, Kind what of it: requests_per_minute, usd_per_day …
	Refused, Kind string
	// Budget is the budget of which most is used after the request, Used the share: 1 is all of it.
	Budget string
	Used   float64
	// StoreError is why the count could not be kept.
	StoreError error
}

// Hash names a token in a record: enough to find a client's calls, not to use it.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

// Write writes the record as one line.
func Write(log *slog.Logger, r *Record, end time.Time) {
	level := slog.LevelInfo
	switch {
	case r.ErrorCode == ClientLeft: // nobody's fault here
	case r.Status >= 500, r.Status < 400 && r.ErrorCode != "": // the latter broke off after its head
		level = slog.LevelError
	case r.Status >= 400:
		level = slog.LevelWarn
	}
	total := end.Sub(r.Start)
	attrs := record{}
	attrs.text("request_id", r.RequestID)
	attrs.add(slog.Group("httpRequest",
		slog.String("requestMethod", r.Request.Method),
		slog.String("requestUrl", bounded(r.Request.URL.EscapedPath())), // no query: a client may have put its token there
		slog.Int("status", r.Status),
		slog.Int64("requestSize", r.BytesIn),
		slog.Int64("responseSize", r.BytesOut),
		slog.String("userAgent", bounded(r.Request.UserAgent())),
		slog.String("remoteIp", remoteIP(r.Request)),
		slog.String("protocol", r.Request.Proto),
		slog.String("latency", fmt.Sprintf("%.6fs", total.Seconds()))))
	trace(&attrs, r.Request)

	attrs.text("principal", r.Principal)
	attrs.text("subject", r.Subject)
	attrs.list("groups", r.Groups)
	attrs.number("dropped_groups", int64(r.DroppedGroups))
	attrs.text("token_sha256", r.TokenHash)
	attrs.text("operation", r.Operation)
	attrs.text("gen_ai.request.model", bounded(r.Model))
	attrs.text("upstream", r.Upstream)
	attrs.text("gen_ai.provider.name", r.Provider)
	attrs.text("target_model", r.TargetModel)
	attrs.text("gen_ai.response.model", bounded(r.ResponseModel))
	if r.Operation != "" {
		attrs.add(slog.Bool("stream", r.Stream))
	}
	attrs.text("decision", r.Decision)
	if r.LetThrough {
		attrs.add(slog.Bool("let_through", true))
	}
	attrs.text("decision_id", r.DecisionID)
	attrs.list("policies", r.Policies)
	attrs.list("policy_errors", r.PolicyErrors)
	attrs.text("error_code", r.ErrorCode)
	attrs.text("error_message", r.ErrorMessage)
	if r.Cause != nil {
		attrs.text("cause", r.Cause.Error())
	}
	if u := r.Usage; u != nil {
		attrs.add(slog.Int64("gen_ai.usage.input_tokens", u.Input), slog.Int64("gen_ai.usage.output_tokens", u.Output))
		attrs.number("gen_ai.usage.cache_read.input_tokens", u.Cached)
		attrs.number("gen_ai.usage.reasoning.output_tokens", u.Reasoning)
		if u.Partial {
			attrs.add(slog.Bool("usage_partial", true))
		}
	}
	if r.UsageUnknown {
		attrs.add(slog.Bool("usage_unknown", true))
	}
	if c := r.Cost; c != nil {
		attrs.add(slog.Float64("cost_usd", c.USD))
		if c.Estimated {
			attrs.add(slog.Bool("cost_estimated", true))
		}
	}
	if l := r.Limits; l != nil {
		attrs.text("charged_group", l.Group)
		attrs.text("limit", l.Refused)
		attrs.text("limit_kind", l.Kind)
		if l.Budget != "" {
			attrs.add(slog.String("budget_limit", l.Budget), slog.Float64("budget_used", l.Used))
		}
		if l.StoreError != nil {
			attrs.text("limit_store_error", bounded(l.StoreError.Error()))
		}
	}
	if !r.FirstByte.IsZero() {
		attrs.add(slog.Float64("first_byte_seconds", r.FirstByte.Sub(r.Start).Seconds()))
	}
	attrs.add(slog.Float64("total_seconds", total.Seconds()))
	if len(r.Attempts) > 0 {
		attempts := slices.Clone(r.Attempts)
		for i := range attempts {
			attempts[i].Error = bounded(attempts[i].Error)
		}
		attrs.add(slog.Any("attempts", attempts))
	}
	attrs.text("upstream_request_id", bounded(r.UpstreamRequestID))
	if r.Principal != "" {
		attrs.add(slog.Group("cache", slog.Bool("client_token", r.TokenRemembered), slog.Bool("decision", r.DecisionRemembered),
			slog.String("upstream_token", r.UpstreamToken)))
	}
	log.LogAttrs(context.Background(), level, r.sentence(), attrs...)
}

// sentence is what an operator reads first in a list of records.
func (r *Record) sentence() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.Status)
	if r.ErrorCode != "" {
		b.WriteString(" " + r.ErrorCode)
	}
	if r.Operation != "" {
		b.WriteString(" " + r.Operation)
	} else {
		b.WriteString(" " + r.Request.Method + " " + bounded(r.Request.URL.EscapedPath()))
	}
	if r.Model != "" {
		b.WriteString(" " + bounded(r.Model))
	}
	if r.Principal != "" {
		b.WriteString(" for " + r.Principal)
	}
	return b.String()
}

type record []slog.Attr

func (a *record) add(attrs ...slog.Attr) { *a = append(*a, attrs...) }

func (a *record) text(key, value string) {
	if value != "" {
		a.add(slog.String(key, value))
	}
}

func (a *record) number(key string, value int64) {
	if value != 0 {
		a.add(slog.Int64(key, value))
	}
}

func (a *record) list(key string, values []string) {
	if len(values) > 0 {
		a.add(slog.Any(key, values))
	}
}

// trace adds the ids under which Cloud Logging groups the lines of a request
// (cloud.google.com/trace/docs/trace-context#legacy-http-header).
func trace(attrs *record, r *http.Request) {
	id, _, _ := strings.Cut(r.Header.Get("X-Cloud-Trace-Context"), "/")
	if len(id) == 32 && hexadecimal(id) {
		if project := os.Getenv("GOOGLE_CLOUD_PROJECT"); project != "" {
			id = "projects/" + project + "/traces/" + id
		}
		attrs.text("logging.googleapis.com/trace", id)
	}
	if id := r.Header.Get("Function-Execution-Id"); id != "" {
		attrs.add(slog.Group("logging.googleapis.com/labels", slog.String("execution_id", bounded(id))))
	}
}

func hexadecimal(s string) bool { _, err := hex.DecodeString(s); return err == nil }

// remoteIP is the last address of X-Forwarded-For, which Cloud Run's front end appends; those
// before it are the client's own claim.
func remoteIP(r *http.Request) string {
	if f := r.Header.Values("X-Forwarded-For"); len(f) > 0 {
		last := f[len(f)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		if net.ParseIP(last) != nil {
			return last
		}
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// bounded keeps a text of the client's or an upstream's from filling the log.
func bounded(s string) string {
	const most = 256
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
