// Package records makes the audit records of a company that isn't there, for tests of what reads them. internal/audit
// writes them, so that they are what the gateway's are; and they are the same every time.
package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/hidden"
)

// Company is what makes one differ from another.
type Company struct {
	// Start is when the first day begins, Days how many there are, and Calls how many a day has.
	Start       time.Time
	Days, Calls int
	// Teams is how many groups there are.
	Teams int
}

// Acme is a company of five teams in November.
var Acme = Company{Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Days: 21, Calls: 60, Teams: 5}

var teams = []string{"data-enrichment-team", "search", "support-bots", "research", "ci"}

// models have prices in USD for a million tokens in and out.
var models = []struct {
	name, upstream, provider, target string
	input, output                    float64
}{
	{"gpt-4-turbo", "openai", "openai", "gpt-4-turbo-2024-04-09", 10, 30},
	{"gpt-5-mini", "azure", "azure.ai.openai", "gpt-5-mini", 0.25, 2},
	{"claude-sonnet-4-5", "anthropic", "anthropic", "claude-sonnet-4-5-20250929", 3, 15},
	{"gemini-2.5-flash", "vertex", "gcp.vertex_ai", "google/gemini-2.5-flash", 0.3, 2.5},
	{"text-embedding-3-small", "openai", "openai", "text-embedding-3-small", 0.02, 0},
}

// Write writes the records, a line each, one day after the other.
func (c Company) Write(w io.Writer) {
	log := audit.NewLog(w)
	dice := dice(1)
	for day := range c.Days {
		for call := range c.Calls {
			// Most of it is in the daytime.
			hours := 8 + 10*dice.share()
			if dice.share() < 0.2 {
				hours = 24 * float64(call) / float64(c.Calls)
			}
			r := c.record(&dice)
			r.Start = c.Start.AddDate(0, 0, day).Add(time.Duration(hours * float64(time.Hour))).Truncate(time.Microsecond)
			seconds := 0.0002
			if r.Status != 401 && r.Status != 403 && r.Status != 429 {
				seconds = 0.3 * math.Exp(3*dice.share()*dice.share())
			}
			if r.Stream {
				r.FirstByte = r.Start.Add(200 * time.Millisecond)
			}
			log.Record(r, r.Start.Add(time.Duration(seconds*float64(time.Second))).Truncate(time.Microsecond))
		}
	}
}

// record is a call of anybody's.
func (c Company) record(dice *dice) *audit.Record {
	team := int(float64(c.Teams) * dice.share() * dice.share())
	group := fmt.Sprintf("team-%02d", team)
	if team < len(teams) {
		group = teams[team]
	}
	m := models[(team+int(2.3*dice.share()))%len(models)]
	request, _ := http.NewRequest("POST", "https://gateway.example/v1/chat/completions", nil)
	request.RemoteAddr = "198.51.100.7:1234"
	r := &audit.Record{
		RequestID: dice.id(), Request: request, Token: hidden.New(group), Status: 200, BytesIn: 1000, BytesOut: 2000,
		Principal: "https://keycloak.example.com/realms/acme#" + group + "-" + string(rune('a'+int(2*dice.share()))), Subject: group,
		Groups: []string{group, "everybody"}, Operation: "chat.completions.create", Model: m.name, Stream: dice.share() < 0.5,
		Decision: "allow", DecisionID: dice.id(), Policies: []string{"enrichment"},
		Limits: &audit.Limits{Group: group}, UpstreamToken: "fresh",
	}
	if m.output == 0 {
		r.Operation, r.Stream = "embeddings.create", false
	}
	refuse := func(status int, code string) {
		r.Status, r.ErrorCode, r.ErrorMessage, r.Stream = status, code, "ask the operator", false
	}
	switch luck := dice.share(); {
	case luck < 0.02:
		refuse(401, "expired_token")
		r.Principal, r.Subject, r.Groups, r.Limits, r.Decision, r.Operation, r.Model, r.UpstreamToken = "", "", nil, nil, "", "", "", ""
		return r
	case luck < 0.05:
		refuse(403, "model_not_allowed")
		r.Decision, r.Limits = "deny", nil
		return r
	case luck < 0.08:
		refuse(429, "budget_exceeded")
		r.Limits.Refused, r.Limits.Kind, r.Limits.Budget, r.Limits.Used = group+"-budget", "usd_per_day", group+"-budget", 1.01
		return r
	case luck < 0.1:
		refuse(429, "rate_limit_exceeded")
		r.Limits.Refused, r.Limits.Kind = "everybody", "requests_per_minute"
		return r
	}
	r.Upstream, r.Provider, r.TargetModel, r.ResponseModel = m.upstream, m.provider, m.target, m.target
	r.Attempts = []audit.Attempt{{Upstream: m.upstream, TargetModel: m.target, Status: 200, Seconds: 0.2}}
	switch luck := dice.share(); {
	case luck < 0.01:
		r.Status, r.ErrorCode, r.Cause = 502, "upstream_error", errors.New("connection reset by peer")
		r.Attempts[0].Status, r.Attempts[0].Error = 0, "connection reset by peer"
		return r
	case luck < 0.015: // the provider's own, passed on
		r.Status, r.Attempts[0].Status = 429, 429
		return r
	case luck < 0.02:
		r.ErrorCode, r.UsageUnknown = "upstream_error", true
	case luck < 0.03:
		r.ErrorCode, r.UsageUnknown = audit.ClientLeft, true
	}
	u := &audit.Usage{Input: 200 + int64(4000*dice.share()*dice.share()), Output: 20 + int64(900*dice.share())}
	if m.output == 0 {
		u.Output = 0
	}
	if dice.share() < 0.4 {
		u.Cached = u.Input / 2
	}
	r.Cost = &audit.Cost{USD: (float64(u.Input-u.Cached)*m.input + float64(u.Cached)*m.input/10 + float64(u.Output)*m.output) / 1e6, Estimated: r.UsageUnknown}
	if !r.UsageUnknown {
		r.Usage = u
	}
	r.Limits.Budget, r.Limits.Used = group+"-budget", dice.share()
	return r
}

// dice fall the same way in every run: splitmix64.
type dice uint64

func (d *dice) roll() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// share is from 0 to 1.
func (d *dice) share() float64 { return float64(d.roll()>>11) / (1 << 53) }

func (d *dice) id() string { return strings.ToUpper(fmt.Sprintf("%016X%010X", d.roll(), d.roll()>>24)) }

// Entry is the LogEntry that Cloud Logging makes of a line on standard error
// (cloud.google.com/logging/docs/structured-logging#special-payload-fields): it takes some members out of the payload.
func Entry(line []byte) map[string]any {
	var payload map[string]any
	if err := json.Unmarshal(line, &payload); err != nil {
		panic(err)
	}
	entry := map[string]any{
		"insertId": payload["request_id"], "logName": "projects/acme/logs/run.googleapis.com%2Fstderr", "receiveTimestamp": payload["time"],
		"resource": map[string]any{"type": "cloud_run_revision", "labels": map[string]any{
			"service_name": "gateway", "revision_name": "gateway-00001-abc", "location": "europe-west4", "project_id": "acme", "configuration_name": "gateway"}},
	}
	for from, to := range map[string]string{"time": "timestamp", "severity": "severity", "httpRequest": "httpRequest",
		"logging.googleapis.com/trace": "trace", "logging.googleapis.com/labels": "labels"} {
		if v, ok := payload[from]; ok {
			entry[to] = v
		}
		delete(payload, from)
	}
	if r, ok := entry["httpRequest"].(map[string]any); ok { // 64-bit integers are strings in protobuf's JSON
		for _, name := range []string{"requestSize", "responseSize"} {
			r[name] = fmt.Sprint(r[name])
		}
	}
	entry["jsonPayload"] = payload
	return entry
}

// Entries are lines as `gcloud logging read --format=json` writes them: an array, with spaces.
func Entries(lines []byte) []byte {
	all := []map[string]any{}
	for line := range bytes.Lines(lines) {
		all = append(all, Entry(line))
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}

var unsupported = regexp.MustCompile(`[^A-Za-z0-9_]`)

// Column is the name that a member has in BigQuery (cloud.google.com/logging/docs/export/bigquery#bq-schema).
func Column(name string) string {
	return strings.TrimLeft(unsupported.ReplaceAllString(strings.ToLower(name), "_"), "_")
}
