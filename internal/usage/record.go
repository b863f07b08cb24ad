package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"llmgateway.dev/gateway/internal/config"
)

// Record is what a summary takes from an audit record. Its texts can be shown: what isn't printable in
// them is written as an escape.
type Record struct {
	Time time.Time
	// Client is the principal, Model the name that the client used.
	Client, Operation, Model, Upstream string
	// Groups are what the client's token claims, Charged the one of them by which a limit applied.
	Groups  []string
	Charged string

	Status int
	Error  string
	// Limit is the limit that refused the request.
	Limit string

	Input, Cached, Output int64
	// Unknown says that the answer should have told its usage, and did not.
	Unknown bool
	Cost    USD
	// Estimated says that Cost is the gateway's own estimate.
	Estimated bool
	Seconds   float64
}

// Refused reports whether the gateway turned the client away: no good token, no permission, or a limit.
// A provider's own 403 or 429 is none of it, and has no error code.
func (r *Record) Refused() bool {
	return r.Error != "" && (r.Status == 401 || r.Status == 403 || r.Status == 429)
}

// clientLeft is the error code of a request whose client did not wait; nobody failed.
const clientLeft = "client_closed_request"

// Failed reports whether the client was owed an answer and got none, or one that broke off after its head.
func (r *Record) Failed() bool {
	return r.Status >= 500 || r.Answered() && r.Error != "" && r.Error != clientLeft
}

// Answered reports whether an answer was begun. Others end within a millisecond or with a timeout; among
// the latencies they would tell of neither.
func (r *Record) Answered() bool { return r.Status < 400 }

// fields are the members of a record, as internal/audit names them.
type fields struct {
	RequestID    string   `json:"request_id"`
	Principal    string   `json:"principal"`
	Groups       []string `json:"groups"`
	Operation    string   `json:"operation"`
	Model        string   `json:"gen_ai.request.model"`
	Upstream     string   `json:"upstream"`
	ErrorCode    string   `json:"error_code"`
	Input        count    `json:"gen_ai.usage.input_tokens"`
	Cached       count    `json:"gen_ai.usage.cache_read.input_tokens"`
	Output       count    `json:"gen_ai.usage.output_tokens"`
	UsageUnknown bool     `json:"usage_unknown"`
	CostUSD      USD      `json:"cost_usd"`
	Estimated    bool     `json:"cost_estimated"`
	ChargedGroup string   `json:"charged_group"`
	Limit        string   `json:"limit"`
	TotalSeconds float64  `json:"total_seconds"`
}

// line is one JSON object: a record as the gateway wrote it, or Cloud Logging's LogEntry around it, which
// keeps httpRequest and the time outside
// (cloud.google.com/logging/docs/agent/logging/configuration#special-fields).
type line struct {
	fields
	Time        string  `json:"time"`
	HTTPRequest request `json:"httpRequest"`
	Timestamp   string  `json:"timestamp"`
	Payload     *fields `json:"jsonPayload"`
}

type request struct {
	Status count `json:"status"`
}

// errOther is a line of somebody else's.
var errOther = errors.New("no audit record")

func parse(b []byte) (*Record, error) {
	var l line
	err := json.Unmarshal(b, &l)
	f, when := &l.fields, l.Time
	if l.Payload != nil {
		f, when = l.Payload, l.Timestamp
	}
	var mistyped *json.UnmarshalTypeError
	switch {
	case err != nil && !errors.As(err, &mistyped):
		return nil, errors.New("is no JSON object")
	case f.RequestID == "": // whatever the types of the rest are
		return nil, errOther
	case err != nil:
		return nil, fmt.Errorf("has a request_id, but a %s where a record has none", config.Printable(mistyped.Value))
	}
	if min(f.Input, f.Cached, f.Output, l.HTTPRequest.Status) < 0 || f.CostUSD < 0 || f.TotalSeconds < 0 {
		return nil, errors.New("has a count, an amount or a duration that can't be")
	}
	t, err := time.Parse(time.RFC3339Nano, when)
	if err != nil || t.Year() < 1 { // years have four digits
		return nil, errors.New("has no time in the form of RFC 3339")
	}
	r := &Record{
		Time: t, Client: config.Printable(f.Principal), Operation: config.Printable(f.Operation), Model: config.Printable(f.Model), Upstream: config.Printable(f.Upstream),
		Charged: config.Printable(f.ChargedGroup), Status: int(l.HTTPRequest.Status), Error: config.Printable(f.ErrorCode), Limit: config.Printable(f.Limit),
		Input: int64(f.Input), Cached: int64(f.Cached), Output: int64(f.Output), Unknown: f.UsageUnknown,
		Cost: f.CostUSD, Estimated: f.Estimated, Seconds: f.TotalSeconds,
	}
	for _, g := range f.Groups {
		r.Groups = append(r.Groups, config.Printable(g))
	}
	return r, nil
}

// impossible stands for a number that can be no count and no amount. It is no error yet: whether the line is a record
// is known only when all of it is read.
const impossible = -1

// number is a JSON number from 0 to most. Cloud Logging keeps every number of a payload as a double, and may write
// 1000000 as 1e+06.
func number(b []byte, most float64) float64 {
	if string(b) == "null" {
		return 0
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && f >= 0 && f <= most {
		return f
	}
	return impossible
}

// count is a whole number, of no more than a call can have: sums of as many calls as there may be fit 64 bits.
type count int64

const mostCounted = 1 << 40

func (c *count) UnmarshalJSON(b []byte) error {
	f := number(b, mostCounted)
	if f != math.Trunc(f) {
		f = impossible
	}
	*c = count(f)
	return nil
}
