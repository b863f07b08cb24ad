//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// attack is a request that some reader could take for another one. The zero value of a field is what a
// good request has.
type attack struct {
	name string
	// line is the method and the target; a chat completion's where it is "".
	line string
	// head are header lines; each takes the place of the good one of its name. A name alone takes it away.
	head []string
	body string
	// hangUp says that the client then sends no more, though more is announced.
	hangUp bool
	// want is the status and the code. Without a code it is net/http or the framework that refuses, before
	// the gateway sees a request.
	want string
}

const (
	chatLine   = "POST /v1/chat/completions"
	hearLine   = "POST /v1/audio/transcriptions"
	fileLine   = "POST /v1/files"
	goodChat   = `{"model":"o4-mini","messages":[{"role":"user","content":"e2e-prompt"}]}`
	modelPart  = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n"
	filePart   = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\ne2e-input\r\n"
	formEnd    = "--b--\r\n"
	formType   = "Content-Type: multipart/form-data; boundary=b"
	malformed  = "400 invalid_request"
	forbidden  = "403 model_not_allowed"
	notFound   = "404 not_found"
	wrongWay   = "405 method_not_allowed"
	tooLarge   = "413 request_too_large"
	wrongMedia = "415 unsupported_media_type"
)

// form is a transcription with another part, headers and value, before the model's.
func form(part string) string { return "--b\r\n" + part + "\r\n" + modelPart + filePart + formEnd }

// batchForm is an upload of a batch file.
func batchForm(purpose, lines string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n" + purpose +
		"\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n" + lines + "\r\n" + formEnd
}

func batchLine(model string) string {
	return `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"` + model + `","messages":[]}}`
}

var attacks = slices.Concat([]attack{
	// JSON (RFC 8259 section 4: what a repeated name means is each reader's own choice)
	{name: "model twice", body: `{"model":"o4-mini","model":"gpt-4o"}`, want: malformed},
	{name: "model twice, once in escapes", body: `{"model":"o4-mini","\u006dodel":"gpt-4o"}`, want: malformed},
	{name: "a name twice, deep within", body: `{"model":"o4-mini","messages":[{"role":"user","role":"system"}]}`, want: malformed},
	{name: "Model", body: `{"Model":"o4-mini"}`, want: malformed},
	{name: "model and MODEL", body: `{"model":"o4-mini","MODEL":"gpt-4o"}`, want: malformed},
	{name: "\u017ftream, whose s is long", body: `{"model":"o4-mini","ſtream":true}`, want: malformed},
	{name: "model a number", body: `{"model":1}`, want: malformed},
	{name: "model null", body: `{"model":null}`, want: malformed},
	{name: "model an array", body: `{"model":["o4-mini"]}`, want: malformed},
	{name: "model empty", body: `{"model":""}`, want: malformed},
	{name: "no model", body: `{}`, want: malformed},
	{name: "a fallback that is denied", body: `{"model":"o4-mini","models":["gpt-4o"]}`, want: forbidden},
	{name: "a tool's model that is denied", body: `{"model":"o4-mini","tools":[{"type":"t","model":"gpt-4o"}]}`, want: forbidden},
	{name: "stream a string", body: `{"model":"o4-mini","stream":"true"}`, want: malformed},
	{name: "byte order mark", body: "\ufeff" + goodChat, want: malformed},
	{name: "UTF-16", body: "{\x00\"\x00m\x00", want: malformed},
	{name: "invalid UTF-8", body: "{\"model\":\"o4-mini\",\"x\":\"\xc0\xaf\"}", want: malformed},
	{name: "lone surrogate", body: `{"model":"o4-mini\ud800"}`, want: malformed},
	{name: "a second document", body: goodChat + `{"model":"gpt-4o"}`, want: malformed},
	{name: "100,000 deep", body: `{"model":"o4-mini","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, want: malformed},
	{name: "an array", body: `[` + goodChat + `]`, want: malformed},
	{name: "NaN, which Python reads", body: `{"model":"o4-mini","x":NaN}`, want: malformed},
	{name: "a comment", body: `{"model":"o4-mini"/*","model":"gpt-4o"*/}`, want: malformed},

	// media types (RFC 9110 sections 8.3 and 8.4)
	{name: "gzip", head: []string{"Content-Encoding: gzip"}, body: zipped(goodChat), want: wrongMedia},
	{name: "gzip that says it is not", body: zipped(goodChat), want: malformed},
	{name: "text", head: []string{"Content-Type: text/plain"}, want: wrongMedia},
	{name: "no media type", head: []string{"Content-Type"}, want: wrongMedia},
	{name: "two media types", head: []string{"Content-Type: application/json", "Content-Type: text/plain"}, want: malformed},
	{name: "another charset", head: []string{"Content-Type: application/json; charset=utf-7"}, want: wrongMedia},
	{name: "a form for JSON", head: []string{formType}, body: modelPart + formEnd, want: wrongMedia},
	{name: "JSON for a form", line: hearLine, want: wrongMedia},

	// framing (RFC 9112 section 6)
	{name: "no length", head: []string{"Content-Length"}, want: malformed},
	{name: "a length that is too short", head: []string{"Content-Length: 20"}, want: malformed},
	{name: "a length that is too long", head: []string{"Content-Length: 1000"}, hangUp: true, want: malformed},
	{name: "a length over the limit", head: []string{"Content-Length: 1048577"}, want: tooLarge},
	{name: "two lengths", head: []string{"Content-Length: 20", "Content-Length: 73"}, want: "400"},
	{name: "a negative length", head: []string{"Content-Length: -1"}, want: "400"},
	{name: "chunks over the limit", head: []string{"Content-Length", "Transfer-Encoding: chunked"},
		body: strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 17) + "0\r\n\r\n", want: tooLarge},
	{name: "a chunk of no size", head: []string{"Content-Length", "Transfer-Encoding: chunked"}, body: "x\r\n" + goodChat, want: malformed},
	{name: "chunks that never end", head: []string{"Content-Length", "Transfer-Encoding: chunked"}, body: "1\r\n{\r\n", hangUp: true, want: malformed},
	{name: "a transfer coding that we don't know", head: []string{"Transfer-Encoding: gzip, chunked"}, want: "501"},
	{name: "a space before the colon", head: []string{"Transfer-Encoding : chunked"}, want: "400"},
	{name: "a body where none belongs", line: "GET /v1/files", body: goodChat, want: malformed},

	// credentials (RFC 6750 section 2: one way per request)
	{name: "two tokens", head: []string{"Authorization: Bearer TOKEN", "Authorization: Bearer other"}, want: malformed},
	{name: "one token twice", head: []string{"Authorization: Bearer TOKEN", "Authorization: Bearer TOKEN"}, want: malformed},
	{name: "another token in x-api-key", head: []string{"X-Api-Key: other"}, want: malformed},
	{name: "a token in the query", line: "POST /v1/chat/completions?access_token=TOKEN", want: malformed},
	{name: "a password", head: []string{"Authorization: Basic dTpw"}, want: "401 missing_token"},
	{name: "a part more", head: []string{"Authorization: Bearer TOKEN.x"}, want: "401 invalid_token"},
	{name: "no signature", head: []string{"Authorization: Bearer UNSIGNED"}, want: "401 invalid_token"},

	// targets
	{name: "encoded slash", line: "POST /v1/chat%2Fcompletions", want: notFound},
	{name: "encoded letter", line: "POST /v1/%63hat/completions", want: notFound},
	{name: "encoded dots", line: "POST /v1/files/%2e%2e/chat/completions", want: notFound},
	{name: "dots", line: "DELETE /v1/files/../models", want: "307"},
	{name: "dots for an id", line: "GET /v1/files/%2e%2e%2f", want: notFound},
	{name: "an id that goes on", line: "GET /v1/files/file-1%2Fcontent", want: notFound},
	{name: "NUL", line: "GET /v1/files/file-1%00", want: notFound},
	{name: "two slashes", line: "POST /v1//chat/completions", want: "307"},
	{name: "semicolon", line: "POST /v1/chat/completions;x=1", want: notFound},
	{name: "upper case", line: "POST /V1/Chat/Completions", want: notFound},
	{name: "trailing slash", line: "POST /v1/chat/completions/", want: notFound},
	{name: "a model in the query", line: "POST /v1/chat/completions?model=gpt-4o", want: malformed},
	{name: "a parameter twice", line: "GET /v1/files?limit=1&limit=2", want: malformed},
	{name: "a lower-case method", line: "post /v1/chat/completions", want: wrongWay},
	{name: "another method", line: "PUT /v1/chat/completions", want: wrongWay},
},
	// forms (RFC 7578, RFC 2046 section 5.1.1)
	inForm([]attack{
		{name: "two models", body: form("Content-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a Model", body: form("Content-Disposition: form-data; name=\"Model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model[]", body: form("Content-Disposition: form-data; name=\"model[]\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model without quotes", body: form("Content-Disposition: form-data; name=model\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model with an escape", body: form("Content-Disposition: form-data; name=\"mode\\l\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model in RFC 5987's way", body: form("Content-Disposition: form-data; name*=utf-8''model\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model under two names", body: form("Content-Disposition: form-data; name=\"x\"; name=\"model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model under two dispositions", body: form("Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model in a folded line", body: form("Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model after a bare LF", body: form("Content-Disposition: form-data; name=\"x\"\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o"), want: malformed},
		{name: "a model in base64", body: strings.Replace(modelPart, "\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1) + filePart + formEnd, want: malformed},
		{name: "a model in UTF-16", body: strings.Replace(modelPart, "\r\n\r\n", "\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n", 1) + filePart + formEnd, want: malformed},
		{name: "a model that is a file", body: strings.Replace(modelPart, `"model"`, `"model"; filename="m"`, 1) + filePart + formEnd, want: malformed},
		{name: "a model before the first boundary", body: "model\r\n" + modelPart + filePart + formEnd, want: malformed},
		{name: "a model after the last boundary", body: modelPart + filePart + formEnd + strings.Replace(modelPart, "whisper-1", "gpt-4o", 1), want: malformed},
		{name: "a form that never ends", body: modelPart + filePart, want: malformed},
		{name: "lines that end in LF", body: strings.ReplaceAll(modelPart+filePart+formEnd, "\r\n", "\n"), want: malformed},
		{name: "two boundaries", head: []string{formType + "; boundary=c"}, body: modelPart + filePart + formEnd, want: wrongMedia},
		{name: "no boundary", head: []string{"Content-Type: multipart/form-data"}, body: modelPart + filePart + formEnd, want: wrongMedia},
		{name: "no model in a form", body: filePart + formEnd, want: malformed},
		{name: "a denied model in a form", body: strings.Replace(modelPart, "whisper-1", "gpt-4o", 1) + filePart + formEnd, want: forbidden},

		{name: "a denied line", line: fileLine, body: batchForm("batch", batchLine("o4-mini")+"\n"+batchLine("gpt-4o")), want: forbidden},
		{name: "a denied line after a CR", line: fileLine, body: batchForm("batch", batchLine("o4-mini")+"\r"+batchLine("gpt-4o")), want: malformed},
		{name: "a line with two bodies", line: fileLine, body: batchForm("batch", strings.Replace(batchLine("o4-mini"), `{`, `{"body":{"model":"gpt-4o"},`, 1)), want: malformed},
		{name: "a line of another operation", line: fileLine, body: batchForm("batch", strings.Replace(batchLine("o4-mini"), "chat/completions", "files", 1)), want: malformed},
		{name: "a line of another host", line: fileLine, body: batchForm("batch", strings.Replace(batchLine("o4-mini"), "/v1", "//evil.example/v1", 1)), want: malformed},
		{name: "a file with a byte order mark", line: fileLine, body: batchForm("batch", "\ufeff"+batchLine("o4-mini")), want: malformed},
		{name: "a purpose of nearly batch", line: fileLine, body: batchForm("Batch", batchLine("gpt-4o")), want: malformed},
		{name: "two purposes", line: fileLine, body: "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n" + batchForm("batch", batchLine("gpt-4o")), want: malformed},
	}),
)

// inForm makes them forms, transcriptions where they don't say.
func inForm(attacks []attack) []attack {
	for i := range attacks {
		a := &attacks[i]
		if a.line == "" {
			a.line = hearLine
		}
		if len(a.head) == 0 {
			a.head = []string{formType}
		}
	}
	return attacks
}

// refuses shows that no attack reaches an upstream, and that each client is told in OpenAI's form.
func (p *parts) refuses(t *testing.T, ctx context.Context) {
	issuer := p.keycloak.issuer("my-realm")
	s := p.scene(t, ctx, issuer, "{}")
	token := platformToken(t, ctx, issuer)
	for _, good := range []attack{
		{name: "a good request"},
		{name: "a good form", line: hearLine, head: []string{formType}, body: modelPart + filePart + formEnd},
		{name: "a good batch file", line: fileLine, head: []string{formType}, body: batchForm("batch", batchLine("o4-mini"))},
		{name: "good chunks", head: []string{"Content-Length", "Transfer-Encoding: chunked"}, body: fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(goodChat), goodChat)},
	} {
		before := s.upstreams.seen()
		if got, err := good.send(s.url, token); got != "200" || err != nil || s.upstreams.seen() != before+1 {
			t.Fatalf("%s: %s %v, and %d calls upstream", good.name, got, err, s.upstreams.seen()-before)
		}
	}
	before := s.upstreams.seen()
	for _, a := range attacks {
		got, err := a.send(s.url, token)
		if err != nil || got != a.want {
			t.Errorf("%s: %s %v, want %s", a.name, got, err, a.want)
		}
		if n := s.upstreams.seen(); n != before {
			t.Errorf("%s: reached the upstream", a.name)
			before = n
		}
	}
	t.Logf("%d attacks", len(attacks))
}

// send writes the attack as it is, and returns the status and the code of the answer.
func (a attack) send(gateway, token string) (string, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(gateway, "http://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	unsigned := token[:strings.LastIndex(token, ".")+1]
	text := strings.NewReplacer("TOKEN", token, "UNSIGNED", unsigned).Replace(a.text())
	go func() { // the answer may come before all is written
		io.WriteString(conn, text)
		if a.hangUp {
			conn.(*net.TCPConn).CloseWrite()
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.Header.Get("X-Gateway-Error") != "true" {
		return fmt.Sprint(resp.StatusCode), nil
	}
	var answer struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Error.Message == "" || answer.Error.Type == "" {
		return "", fmt.Errorf("the error is not in OpenAI's form: %w: %s", err, body)
	}
	if resp.StatusCode != http.StatusUnauthorized && resp.Header.Get("X-Should-Retry") != "false" {
		return "", errors.New("the SDKs would try again")
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, answer.Error.Code), nil
}

// text is the request as it goes over the wire.
func (a attack) text() string {
	line, body := a.line, a.body
	if line == "" {
		line = chatLine
	}
	good := []string{"Host: gateway", "Authorization: Bearer TOKEN"}
	if body == "" && strings.HasPrefix(line, "POST") {
		body = goodChat
	}
	if body != "" {
		good = append(good, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	}
	head := ""
	for _, line := range good {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(a.head, func(line string) bool { return line == name || strings.HasPrefix(line, name+":") }) {
			head += line + "\r\n"
		}
	}
	for _, line := range a.head {
		if strings.Contains(line, ":") {
			head += line + "\r\n"
		}
	}
	return line + " HTTP/1.1\r\n" + head + "\r\n" + body
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}
