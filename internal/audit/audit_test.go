package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/hidden"
)

var update = flag.Bool("update", false, "write the golden anew")

var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// full is a record in which everything is said.
func full() *audit.Record {
	r := httptest.NewRequest("POST", "/v1/chat/completions?user=secret-in-the-query", nil)
	r.Header.Set("User-Agent", "OpenAI/Python 2.0")
	r.Header.Set("Authorization", "Bearer secret-token")
	r.Header.Set("X-Forwarded-For", "203.0.113.66, 198.51.100.7")
	r.Header.Set("X-Cloud-Trace-Context", "4bf92f3577b34da6a3ce929d0e0e4736/1;o=1")
	r.Header.Set("Function-Execution-Id", "abc")
	return &audit.Record{
		RequestID: "REQUEST", Start: start, Request: r,
		Token: hidden.New("secret-token"), Principal: "https://idp#pipeline", Subject: "sub", Groups: []string{"a", "b"}, DroppedGroups: 1,
		Operation: "chat.completions.create", Model: "gpt-4-turbo", Upstream: "openai", Provider: "openai", TargetModel: "gpt-4-turbo-2024-04-09", Stream: true,
		Decision: "allow", DecisionID: "DECISION", Policies: []string{"p"}, PolicyErrors: []string{"q"},
		Status: 200, ErrorCode: "upstream_error", Cause: errors.New("the upstream died"),
		BytesIn: 10, BytesOut: 20, FirstByte: start.Add(250 * time.Millisecond), Usage: &audit.Usage{Input: 7, Output: 11},
		Cost:          &audit.Cost{USD: 0.0004, Estimated: true},
		UsageUnknown:  true,
		Limits:        &audit.Limits{Group: "a", Refused: "research", Kind: "usd_per_day", Budget: "research", Used: 0.83, StoreError: errors.New("i/o timeout")},
		ResponseModel: "gpt-4-turbo-2024-04-09", UpstreamRequestID: "req_1",
		Attempts: []audit.Attempt{
			{Upstream: "vertex", TargetModel: "turbo", Error: "skipped: circuit open"},
			{Upstream: "azure", TargetModel: "turbo", Error: "upstream_timeout", Seconds: 0.0625},
			{Upstream: "openai", TargetModel: "gpt-4-turbo-2024-04-09", Status: 200, Seconds: 0.125},
		},
		TokenRemembered: true, DecisionRemembered: true, UpstreamToken: "fresh",
	}
}

func write(r *audit.Record) string {
	var out bytes.Buffer
	audit.NewLog(&out).Record(r, start.Add(1500*time.Millisecond))
	return out.String()
}

func member(t *testing.T, line, name string) any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatal(err)
	}
	return m[name]
}

func TestARecordIsOneLineInCloudLoggingsForm(t *testing.T) {
	t.Setenv("GOOGLE_CLOUD_PROJECT", "acme")
	line := write(full())
	if strings.Count(line, "\n") != 1 {
		t.Errorf("%q is not one line", line)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, []byte(strings.TrimSpace(line)), "", "  "); err != nil {
		t.Fatal(err)
	}
	now, _ := member(t, line, "time").(string)
	if _, err := time.Parse(time.RFC3339Nano, now); err != nil {
		t.Errorf("time: %v", err)
	}
	plain := strings.Replace(got.String(), now, "TIME", 1) + "\n"
	if *update {
		if err := os.WriteFile("testdata/record.json", []byte(plain), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/record.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), plain); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(line, "secret") {
		t.Error("the query or a credential stands in the record")
	}
}

func TestARecordOfNothingHasNothingInVain(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	var m map[string]any
	if err := json.Unmarshal([]byte(write(&audit.Record{RequestID: "R", Start: start, Request: r, Status: 401, ErrorCode: "missing_token"})), &m); err != nil {
		t.Fatal(err)
	}
	for name := range m {
		switch name {
		case "time", "severity", "message", "request_id", "httpRequest", "error_code", "total_seconds":
		default:
			t.Errorf("%s = %v", name, m[name])
		}
	}
	if m["message"] != "401 missing_token GET /" || m["severity"] != "WARNING" {
		t.Errorf("%v", m)
	}
}

func TestSeveritySaysWhoMustAct(t *testing.T) {
	for _, row := range []struct {
		status int
		code   string
		want   string
	}{
		{200, "", "INFO"}, {403, "model_not_allowed", "WARNING"}, {401, "expired_token", "WARNING"}, {503, "overloaded", "ERROR"},
		{200, "upstream_error", "ERROR"}, {499, audit.ClientLeft, "INFO"}, {200, audit.ClientLeft, "INFO"},
	} {
		r := full()
		r.Status, r.ErrorCode = row.status, row.code
		if got := member(t, write(r), "severity"); got != row.want {
			t.Errorf("%d %s: %v", row.status, row.code, got)
		}
	}
	var out bytes.Buffer
	log := audit.NewLog(&out)
	log.Debug("no")
	log.Warn("yes", slog.Group("g", slog.String("level", "kept"), slog.String("msg", "kept")))
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"severity":"WARNING","message":"yes","g":{"level":"kept","msg":"kept"}`) {
		t.Error(got)
	}
}

func TestACostIsOnlyToldWhereThereIsAPrice(t *testing.T) {
	r := full()
	r.Cost = nil
	line := write(r)
	if member(t, line, "cost_usd") != nil || member(t, line, "gen_ai.usage.output_tokens") != 11.0 {
		t.Error(line)
	}
}

func TestATraceIsOnlyTakenInItsOwnForm(t *testing.T) {
	for header, want := range map[string]any{
		"4bf92f3577b34da6a3ce929d0e0e4736/1;o=1": "4bf92f3577b34da6a3ce929d0e0e4736",
		"4bf92f3577b34da6a3ce929d0e0e4736":       "4bf92f3577b34da6a3ce929d0e0e4736",
		"4bf92f3577b34da6a3ce929d0e0e473":        nil,
		"zzf92f3577b34da6a3ce929d0e0e4736/1":     nil,
		"../../projects/other/traces/1234567890": nil,
		"":                                       nil,
	} {
		t.Setenv("GOOGLE_CLOUD_PROJECT", "")
		r := full()
		r.Request.Header.Set("X-Cloud-Trace-Context", header)
		if got := member(t, write(r), "logging.googleapis.com/trace"); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// Cloud Run appends the peer's address; what stands before it is the client's own claim.
func TestTheRemoteAddressIsTheOneThatCloudRunSaw(t *testing.T) {
	for _, row := range []struct {
		forwarded []string
		want      string
	}{
		{[]string{"203.0.113.66, 198.51.100.7"}, "198.51.100.7"},
		{[]string{"198.51.100.7"}, "198.51.100.7"},
		{[]string{"203.0.113.66", "2001:db8::1"}, "2001:db8::1"},
		{[]string{"203.0.113.66, <script>"}, "192.0.2.1"},
		{nil, "192.0.2.1"},
	} {
		r := full()
		r.Request.RemoteAddr = "192.0.2.1:1234"
		r.Request.Header["X-Forwarded-For"] = row.forwarded
		if got := member(t, write(r), "httpRequest").(map[string]any)["remoteIp"]; got != row.want {
			t.Errorf("%q: %v", row.forwarded, got)
		}
	}
}

func TestAClientCantFillTheLogNorBreakItsLines(t *testing.T) {
	const most = 4200
	long := strings.Repeat("é", 100<<10)
	r := full()
	r.Request = httptest.NewRequest("POST", "/"+strings.Repeat("a", 100<<10), nil)
	r.Request.Header.Set("User-Agent", long)
	r.Request.Header.Set("Function-Execution-Id", long)
	r.Attempts[1].Error, r.Limits.StoreError = long, errors.New(long)
	r.Model, r.ResponseModel, r.UpstreamRequestID = long, long, long+"\n{\"severity\":\"ALERT\"}"
	if line := write(r); len(line) > most || strings.Count(line, "\n") != 1 {
		t.Errorf("%d bytes, %d lines", len(line), strings.Count(line, "\n"))
	}
	r.Request = httptest.NewRequest("POST", "/a%0Ab", nil)
	r.Model = "a\nb\xff\u2028"
	if line := write(r); strings.Count(line, "\n") != 1 || !json.Valid([]byte(line)) {
		t.Errorf("%q", line)
	}
}

// Texts of clients and upstreams stand in a record: whatever they are, it stays one line, and tells them as they came.
func FuzzRecord(f *testing.F) {
	f.Add("gpt-4", "team", "POST", "agent", 0.25)
	f.Add("\"},\n{\"", "\x00\u2028\xff", "GET /\r\n", "\\", 1e-9)
	f.Fuzz(func(t *testing.T, model, group, method, cause string, usd float64) {
		r := full()
		r.Model, r.Groups, r.Request.Method, r.Cause, r.Cost.USD = model, []string{group, group}, method, errors.New(cause), usd
		line := write(r)
		if strings.Count(line, "\n") != 1 || strings.ContainsRune(line, '\r') {
			t.Fatalf("no one line: %q", line)
		}
		value := jsontext.Value(line)
		if err := value.Canonicalize(); err != nil { // duplicate names are an error
			t.Fatalf("%v: %q", err, line)
		}
		if got, want := member(t, line, "cause"), strings.ToValidUTF8(cause, "\ufffd"); got != want && utf8.ValidString(cause) {
			t.Errorf("cause %q, want %q", got, want)
		}
		if got := member(t, line, "groups"); utf8.ValidString(group) && !cmp.Equal(got, []any{group, group}) {
			t.Errorf("groups %q", got)
		}
	})
}

// go test -run '^$' -bench . ./internal/audit
func BenchmarkRecord(b *testing.B) {
	log, r := audit.NewLog(io.Discard), full()
	b.ReportAllocs()
	for b.Loop() {
		log.Record(r, start.Add(time.Second))
	}
}
