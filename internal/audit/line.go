package audit

import (
	"encoding/hex"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// line is a JSON object that grows member by member. Names are the gateway's own; values are anybody's.
type line []byte

// name begins a member, or where it is "" an element.
func (l *line) name(name string) {
	if n := len(*l); n > 0 && (*l)[n-1] != '{' && (*l)[n-1] != '[' {
		*l = append(*l, ',')
	}
	if name != "" {
		*l = append(*l, '"')
		*l = append(*l, name...)
		*l = append(*l, '"', ':')
	}
}

func (l *line) open(name string) {
	l.name(name)
	*l = append(*l, '{')
}

func (l *line) close() { *l = append(*l, '}') }

// value adds a text, "" too.
func (l *line) value(name, value string) {
	l.name(name)
	*l, _ = jsontext.AppendQuote(*l, value) // what is no UTF-8 becomes U+FFFD, and an error
}

// text adds a text unless there is none.
func (l *line) text(name, value string) {
	if value != "" {
		l.value(name, value)
	}
}

func (l *line) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	l.name(name)
	*l = append(*l, '[')
	for _, v := range values {
		l.value("", v)
	}
	*l = append(*l, ']')
}

func (l *line) int(name string, value int64) {
	l.name(name)
	*l = strconv.AppendInt(*l, value, 10)
}

// count adds a number unless it is 0.
func (l *line) count(name string, value int64) {
	if value != 0 {
		l.int(name, value)
	}
}

// float adds a number. JSON has none that isn't finite.
func (l *line) float(name string, value float64) {
	l.name(name)
	if math.IsNaN(value) || math.IsInf(value, 0) {
		*l = append(*l, "null"...)
		return
	}
	*l = strconv.AppendFloat(*l, value, 'f', -1, 64)
}

func (l *line) bool(name string, value bool) {
	l.name(name)
	*l = strconv.AppendBool(*l, value)
}

// mark adds true, or nothing.
func (l *line) mark(name string, value bool) {
	if value {
		l.bool(name, true)
	}
}

func (l *line) time(name string, at time.Time) {
	l.name(name)
	*l = append(*l, '"')
	*l = at.AppendFormat(*l, time.RFC3339Nano)
	*l = append(*l, '"')
}

// latency adds a duration in the form of google.protobuf.Duration.
func (l *line) latency(name string, d time.Duration) {
	l.name(name)
	*l = append(*l, '"')
	*l = strconv.AppendFloat(*l, d.Seconds(), 'f', 6, 64)
	*l = append(*l, 's', '"')
}

// message adds what an operator reads first in a list of records.
func (l *line) message(r *Record, path string) {
	var room [512]byte
	s := strconv.AppendInt(room[:0], int64(r.Status), 10)
	add := func(words ...string) {
		for _, w := range words {
			s = append(append(s, ' '), w...)
		}
	}
	if r.ErrorCode != "" {
		add(r.ErrorCode)
	}
	if r.Operation != "" {
		add(r.Operation)
	} else {
		add(r.Request.Method, path)
	}
	if r.Model != "" {
		add(bounded(r.Model))
	}
	if r.Principal != "" {
		add("for", r.Principal)
	}
	l.name("message")
	*l, _ = jsontext.AppendQuote(*l, s)
}

// trace adds the ids under which Cloud Logging groups the lines of a request
// (cloud.google.com/trace/docs/trace-context#legacy-http-header).
func (l *line) trace(r *http.Request) {
	id, _, _ := strings.Cut(r.Header.Get("X-Cloud-Trace-Context"), "/")
	if len(id) == 32 && hexadecimal(id) {
		if project := os.Getenv("GOOGLE_CLOUD_PROJECT"); project != "" {
			id = "projects/" + project + "/traces/" + id
		}
		l.value("logging.googleapis.com/trace", id)
	}
	if id := r.Header.Get("Function-Execution-Id"); id != "" {
		l.open("logging.googleapis.com/labels")
		l.value("execution_id", bounded(id))
		l.close()
	}
}

func hexadecimal(s string) bool { _, err := hex.DecodeString(s); return err == nil }

func (l *line) attempts(attempts []Attempt) {
	if len(attempts) == 0 {
		return
	}
	l.name("attempts")
	*l = append(*l, '[')
	for _, a := range attempts {
		l.open("")
		l.value("upstream", a.Upstream)
		l.text("target_model", a.TargetModel)
		l.count("status", int64(a.Status))
		l.text("error", bounded(a.Error))
		l.float("seconds", a.Seconds)
		l.close()
	}
	*l = append(*l, ']')
}
