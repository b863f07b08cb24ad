package operation

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"llmgateway.dev/gateway/internal/apierror"
)

const (
	batchPurpose = "batch"
	// maxLines is OpenAI's own limit of calls in a batch (platform.openai.com/docs/guides/batch).
	maxLines = 50_000
)

// lineFields is a line of a batch file (platform.openai.com/docs/api-reference/batch/request-input).
var lineFields = fields(map[string]role{"url": lineURL, "method": lineMethod, "body": lineBody})

// purposeOf recognizes a batch file also where an upstream might, and we could not be sure.
func (r *Request) purposeOf(s string) string {
	if strings.EqualFold(strings.TrimSpace(s), batchPurpose) {
		return batchPurpose
	}
	return s
}

// readFile reads an uploaded file if it is for a batch: the models that a batch uses are named
// nowhere else.
func (r *Request) readFile(purpose, file *part) error {
	if purpose == nil {
		return apierror.New(apierror.InvalidRequest, "the form says no purpose; give purpose").At("purpose")
	}
	said := string(r.bytes(purpose.value))
	if r.purposeOf(said) != batchPurpose {
		return nil
	}
	if said != batchPurpose {
		return apierror.New(apierror.InvalidRequest, "the purpose is nearly batch; spell it batch").At("purpose")
	}
	if file == nil {
		return apierror.New(apierror.InvalidRequest, "the form has no file; give file").At("file")
	}
	return r.readLines(file.value)
}

// readLines reads the calls of a batch file. Lines end in LF or CRLF; a CR elsewhere would be a
// line's end to some readers, and none to others.
func (r *Request) readLines(file extent) error {
	at, number := file.start, 0
	var p parser
	for line := range bytes.Lines(r.bytes(file)) {
		number++
		start := at
		at += len(line)
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(bytes.TrimLeft(line, " \t")) == 0 {
			continue
		}
		if len(r.Lines) == maxLines {
			return apierror.New(apierror.InvalidRequest, "the batch file has more than %d lines; make several", maxLines).At("file")
		}
		l, err := p.line(line, start)
		if err != nil {
			e := apierror.From(err)
			return apierror.New(e.Kind, "line %d of the batch file: %s", number, e.Message).At("file").Because(e.Cause)
		}
		l.Number = number
		r.Lines = append(r.Lines, l)
	}
	if len(r.Lines) == 0 {
		return apierror.New(apierror.InvalidRequest, "the batch file is empty").At("file")
	}
	return nil
}

// line reads a line that stands at base.
func (p *parser) line(line []byte, base int) (Line, error) {
	if bytes.IndexByte(line, '\r') >= 0 {
		return Line{}, apierror.New(apierror.InvalidRequest, "a CR stands within the line")
	}
	*p = parser{dec: p.dec}
	if err := p.parse(line, base, lineFields); err != nil {
		return Line{}, err
	}
	op := lineOperation(p.method, p.url)
	if op == nil {
		return Line{}, apierror.New(apierror.InvalidRequest, "its method and url are not those of an operation that a batch can hold")
	}
	call := p.call
	if call.start == call.end {
		return Line{}, apierror.New(apierror.InvalidRequest, "it has no body")
	}
	*p = parser{dec: p.dec}
	if err := p.parse(line[call.start-base:call.end-base], call.start, op.Fields); err != nil {
		return Line{}, err
	}
	ask, err := p.ask(op)
	return Line{Operation: op, Ask: ask, InputTokens: inputTokens(line[call.start-base : call.end-base])}, err
}

// lineOperation is the row of a line's url: an inference operation with a JSON body.
func lineOperation(method, target string) *Operation {
	u, err := url.Parse(target)
	if err != nil || method != http.MethodPost || u.RequestURI() != target || !strings.HasPrefix(target, "/") {
		return nil
	}
	route, err := Match(&http.Request{Method: method, URL: u})
	if err != nil || route.Group != Inference || route.Body != JSON || route.Dialect != apierror.OpenAI {
		return nil
	}
	return route.Operation
}
