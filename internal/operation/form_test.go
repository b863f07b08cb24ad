package operation_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/operation"
)

func form(t testing.TB, target string, contentType ...string) operation.Route {
	t.Helper()
	r := route(t, "POST", target)
	if err := r.ReadHead(http.Header{"Content-Type": contentType}); err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	transcriptions = "/v1/audio/transcriptions"
	withB          = "multipart/form-data; boundary=B"
)

// parts writes a form with the boundary B: each pair is a part's header, without its first words, and its value.
func parts(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n", pairs[i], pairs[i+1])
	}
	return b.String() + "--B--\r\n"
}

const (
	modelPart  = `name="model"`
	filePart   = "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav"
	streamPart = `name="stream"`
)

func TestTheModelOfAFormIsFoundWhereverItStands(t *testing.T) {
	for name, body := range map[string]string{
		"first":                 parts(modelPart, "whisper", filePart, "RIFF\r\n\x00\xff"),
		"last":                  parts(filePart, "RIFF\r\n\x00\xff", `name="language"`, "en", modelPart, "whisper"),
		"with a type":           parts(modelPart+"\r\nContent-Type: text/plain; charset=utf-8", "whisper"),
		"with a length":         parts(modelPart+"\r\nContent-Length: 7", "whisper"),
		"header in lower case":  strings.ReplaceAll(parts(modelPart, "whisper"), "Content-Disposition", "content-disposition"),
		"no CRLF at the end":    strings.TrimSuffix(parts(modelPart, "whisper"), "\r\n"),
		"empty other parts":     parts(`name="prompt"`, "", modelPart, "whisper"),
		"names of arrays":       parts(`name="timestamp_granularities[]"`, "word", `name="timestamp_granularities[]"`, "segment", modelPart, "whisper"),
		"a filename in UTF-8":   parts("name=\"file\"; filename=\"é.wav\"; filename*=utf-8''%C3%A9.wav", "x", modelPart, "whisper"),
		"a stream is asked for": parts(streamPart, "true", modelPart, "whisper"),
	} {
		t.Run(name, func(t *testing.T) {
			req, err := operation.Read(form(t, transcriptions, withB), []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if len(req.Models) != 1 || req.Models[0].Name != "whisper" || req.Stream != strings.Contains(body, "stream") {
				t.Errorf("%+v", req.Ask)
			}
			if got, want := join(req.Bytes([]string{"whisper-large-v3"}, true)), strings.Replace(body, "\r\n\r\nwhisper\r\n", "\r\n\r\nwhisper-large-v3\r\n", 1); got != want {
				t.Errorf("sent %q\nwant %q", got, want)
			}
			if req.ContentType != `multipart/form-data; boundary="B"` {
				t.Errorf("content type %s", req.ContentType)
			}
		})
	}
}

func TestAmbiguousFormsAreRefused(t *testing.T) {
	good := parts(modelPart, "whisper")
	for name, body := range map[string]string{
		"empty":                           "",
		"no parts":                        "--B--\r\n",
		"no model":                        parts(filePart, "x"),
		"model empty":                     parts(modelPart, ""),
		"two models":                      parts(modelPart, "a", modelPart, "b"),
		"two models, one a file":          parts(modelPart, "a", `name="model"; filename="m"`, "b"),
		"Model":                           parts(modelPart, "a", `name="Model"`, "b"),
		"model[]":                         parts(modelPart, "a", `name="model[]"`, "b"),
		"model a file":                    parts(`name="model"; filename="m"`, "a"),
		"model not UTF-8":                 parts(modelPart, "\xff"),
		"model of another type":           parts(modelPart+"\r\nContent-Type: application/json", `"a"`),
		"model in UTF-16":                 parts(modelPart+"\r\nContent-Type: text/plain; charset=utf-16", "a"),
		"model in base64":                 parts(modelPart+"\r\nContent-Transfer-Encoding: base64", "YQ=="),
		"a file in quoted-printable":      parts(modelPart, "a", filePart+"\r\nContent-Transfer-Encoding: quoted-printable", "=4D"),
		"a preamble":                      "x\r\n" + good,
		"an epilogue":                     good + "x",
		"a second form":                   good + good,
		"lines end in LF":                 strings.ReplaceAll(good, "\r\n", "\n"),
		"cut short":                       good[:len(good)-8],
		"no last boundary":                strings.TrimSuffix(good, "--B--\r\n"),
		"the boundary within a part":      parts(modelPart, "a", filePart, "x--By"),
		"an LF boundary within a part":    parts(modelPart, "a", filePart, "x\n--B\nContent-Disposition: form-data; name=\"model\"\n\nb\n--B--"),
		"white space after a boundary":    strings.Replace(good, "--B\r\n", "--B \r\n", 1),
		"a longer boundary":               strings.Replace(good, "--B--", "--BB--", 1),
		"no header":                       "--B\r\n\r\nx\r\n--B--\r\n",
		"no name":                         parts(`filename="x"`, "x", modelPart, "a"),
		"a name without quotes":           parts(`name=model`, "a"),
		"an escaped quote in a name":      parts(`name="x\"; name=\"model"`, "a", modelPart, "b"),
		"an escaped quote in a filename":  parts(`name="file"; filename="x\"; name=\"model"`, "a", modelPart, "b"),
		"name twice":                      parts(`name="x"; name="model"`, "a", modelPart, "b"),
		"name*":                           parts(`name="x"; name*=utf-8''model`, "a", modelPart, "b"),
		"a percent-encoded name":          parts(`name="%6dodel"`, "a", modelPart, "b"),
		"two dispositions":                parts("name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"", "a", modelPart, "b"),
		"another disposition":             strings.ReplaceAll(good, "form-data", "attachment"),
		"a folded header":                 parts("name=\"x\"\r\n ; name=\"model\"", "a", modelPart, "b"),
		"a bare LF in a header":           parts("name=\"x\"\nContent-Disposition: form-data; name=\"model\"", "a", modelPart, "b"),
		"a bare CR in a header":           parts("name=\"x\"\rX: y", "a", modelPart, "b"),
		"NUL in a header":                 parts("name=\"x\"\r\nX: \x00", "a", modelPart, "b"),
		"an unknown header":               parts("name=\"x\"\r\nX-Name: model", "a", modelPart, "b"),
		"a header that never ends":        "--B\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("x", 10<<10),
		"a lying length":                  parts(modelPart+"\r\nContent-Length: 1", "ab"),
		"stream neither true nor false":   parts(modelPart, "a", streamPart, "True"),
		"a boundary as a header's name":   "--B\r\n--B: x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--B--\r\n",
		"a nested form":                   parts(modelPart, "a", "name=\"x\"\r\nContent-Type: multipart/mixed; boundary=B", "--B--"),
		"fallbacks":                       parts(modelPart, "a", `name="fallbacks"`, `["b"]`),
		"models[]":                        parts(modelPart, "a", `name="models[]"`, "b"),
		"Models":                          parts(modelPart, "a", `name="Models"`, "b"),
		"another address":                 parts(modelPart, "a", `name="api_base"`, "https://example.com"),
		"a preset":                        parts(modelPart, "a", `name="preset"`, "b"),
		"parts beyond number":             strings.Repeat("--B\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n", 1001) + good,
		"a name in UTF-8 with look-alike": parts(`name="mоdel"`, "a", modelPart, "b"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := operation.Read(form(t, transcriptions, withB), []byte(body))
			if kind(err) != apierror.InvalidRequest {
				t.Fatalf("got %v, want invalid_request", err)
			}
			if msg := apierror.From(err).Message; strings.ContainsAny(msg, "\"\\\r\n") {
				t.Errorf("message %q holds characters that RFC 6750 does not allow", msg)
			}
		})
	}
}

func TestHeadsOfAnotherFormAreRefused(t *testing.T) {
	jsonRoute, formRoute := route(t, "POST", chat), route(t, "POST", transcriptions)
	for _, tt := range []struct {
		route operation.Route
		head  http.Header
		want  apierror.Kind
	}{
		{jsonRoute, http.Header{}, apierror.UnsupportedMediaType},
		{jsonRoute, http.Header{"Content-Type": {"text/plain"}}, apierror.UnsupportedMediaType},
		{jsonRoute, http.Header{"Content-Type": {"application/json; charset=utf-16"}}, apierror.UnsupportedMediaType},
		{jsonRoute, http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, apierror.UnsupportedMediaType},
		{jsonRoute, http.Header{"Content-Type": {"application/json", "text/plain"}}, apierror.InvalidRequest},
		{jsonRoute, http.Header{"Content-Type": {withB}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {"application/json"}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {"multipart/form-data"}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {"multipart/form-data; boundary=a; boundary=b"}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {`multipart/form-data; boundary="a b"`}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {"multipart/form-data; boundary=" + strings.Repeat("a", 71)}}, apierror.UnsupportedMediaType},
		{formRoute, http.Header{"Content-Type": {"multipart/mixed; boundary=B"}}, apierror.UnsupportedMediaType},
	} {
		if err := tt.route.ReadHead(tt.head); kind(err) != tt.want {
			t.Errorf("%v: got %v, want %v", tt.head, err, tt.want)
		}
	}
}

const purposePart = `name="purpose"`

func batch(lines ...string) string {
	return parts(purposePart, "batch", `name="file"; filename="b.jsonl"`, strings.Join(lines, "\n"))
}

const (
	line1 = `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"a","max_tokens":5,"messages":[]}}`
	line2 = `{"body": {"input":"x","model":"\u0062"}, "url":"/v1/embeddings", "method":"POST", "custom_id":"2"}`
)

func TestEachLineOfABatchFileIsACallOfItsOwn(t *testing.T) {
	body := batch(line1+"\r", "", line2, "")
	req, err := operation.Read(form(t, "/v1/files", withB), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Lines) != 2 || len(req.Models) != 0 {
		t.Fatalf("%+v", req.Lines)
	}
	l := req.Lines[0]
	if l.Name != "chat.completions.create" || l.Models[0].Name != "a" || *l.MaxOutputTokens != 5 || l.Number != 1 || l.InputTokens != 11 {
		t.Errorf("line 1: %+v", l)
	}
	if l = req.Lines[1]; l.Name != "embeddings.create" || l.Models[0].Name != "b" || l.Number != 3 {
		t.Errorf("line 3: %+v", l)
	}
	want := strings.Replace(strings.Replace(body, `"model":"a"`, `"model":"A-1"`, 1), `"model":"\u0062"`, `"model":"B-1"`, 1)
	if got := join(req.Bytes([]string{"A-1", "B-1"}, true)); got != want {
		t.Errorf("sent %q\nwant %q", got, want)
	}
}

func TestAFileForAnotherPurposeIsNotRead(t *testing.T) {
	body := parts(purposePart, "fine-tune", `name="file"; filename="b.jsonl"`, "{not JSON\xff")
	req, err := operation.Read(form(t, "/v1/files", withB), []byte(body))
	if err != nil || len(req.Lines) != 0 || join(req.Bytes(nil, true)) != body {
		t.Errorf("%v %+v", err, req)
	}
}

func TestBadBatchFilesAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no purpose":                parts(`name="file"; filename="b.jsonl"`, line1),
		"no file":                   parts(purposePart, "batch"),
		"a file that is none":       parts(purposePart, "batch", `name="file"`, line1),
		"two files":                 parts(purposePart, "batch", `name="file"; filename="b"`, line1, `name="file"; filename="c"`, line2),
		"two purposes":              parts(purposePart, "fine-tune", purposePart, "batch", `name="file"; filename="b"`, line1),
		"Batch":                     parts(purposePart, "Batch", `name="file"; filename="b"`, line1),
		"batch with a line's end":   parts(purposePart, "batch\n", `name="file"; filename="b"`, line1),
		"empty":                     batch(""),
		"not JSON":                  batch(line1, "{"),
		"no object":                 batch("[" + line1 + "]"),
		"no body":                   batch(`{"method":"POST","url":"/v1/embeddings"}`),
		"no url":                    batch(`{"method":"POST","body":{"model":"a"}}`),
		"no method":                 batch(`{"url":"/v1/embeddings","body":{"model":"a"}}`),
		"url twice":                 batch(`{"method":"POST","url":"/v1/embeddings","url":"/v1/chat/completions","body":{"model":"a"}}`),
		"Body":                      batch(`{"method":"POST","url":"/v1/embeddings","Body":{"model":"a"},"body":{"model":"b"}}`),
		"a body that is a string":   batch(`{"method":"POST","url":"/v1/embeddings","body":"{}"}`),
		"a body without model":      batch(`{"method":"POST","url":"/v1/embeddings","body":{}}`),
		"a body with two models":    batch(`{"method":"POST","url":"/v1/embeddings","body":{"model":"a","model":"b"}}`),
		"an unknown url":            batch(`{"method":"POST","url":"/v1/nothing","body":{"model":"a"}}`),
		"another host's url":        batch(`{"method":"POST","url":"https://example.com/v1/embeddings","body":{"model":"a"}}`),
		"a url with a query":        batch(`{"method":"POST","url":"/v1/embeddings?x=1","body":{"model":"a"}}`),
		"a url of no inference":     batch(`{"method":"POST","url":"/v1/fine_tuning/jobs","body":{"model":"a"}}`),
		"a url of a form":           batch(`{"method":"POST","url":"/v1/images/edits","body":{"model":"a"}}`),
		"another method":            batch(`{"method":"GET","url":"/v1/embeddings","body":{"model":"a"}}`),
		"a CR within a line":        batch(`{"x":` + "\r" + line2 + "\r" + `,"method":"POST","url":"/v1/embeddings","body":{"model":"a"}}`),
		"two objects in a line":     batch(line1 + line2),
		"a BOM":                     batch("\xef\xbb\xbf" + line1),
		"a second line not allowed": batch(line1, `{"method":"POST","url":"/v1/embeddings","body":{"model":7}}`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := operation.Read(form(t, "/v1/files", withB), []byte(body)); kind(err) != apierror.InvalidRequest {
				t.Fatalf("got %v, want invalid_request", err)
			}
		})
	}
	many := strings.Repeat(line2+"\n", 50_001)
	if _, err := operation.Read(form(t, "/v1/files", withB), []byte(batch(many))); kind(err) != apierror.InvalidRequest {
		t.Errorf("50,001 lines: %v", err)
	}
}

// An upload's parts are never seen together, so that a batch file can't come in parts.
func TestABatchFileCannotBeUploadedInParts(t *testing.T) {
	for _, purpose := range []string{"batch", "Batch", " batch "} {
		body := fmt.Sprintf(`{"purpose":%q,"filename":"b","bytes":1,"mime_type":"x"}`, purpose)
		if _, err := operation.Read(route(t, "POST", "/v1/uploads"), []byte(body)); kind(err) != apierror.InvalidRequest {
			t.Errorf("%q: %v", purpose, err)
		}
	}
	if _, err := operation.Read(route(t, "POST", "/v1/uploads"), []byte(`{"purpose":"fine-tune"}`)); err != nil {
		t.Error(err)
	}
	if _, err := operation.Read(form(t, "/v1/uploads/upload_1/parts", withB), []byte(parts(`name="data"; filename="p"`, "bytes"))); err != nil {
		t.Error(err)
	}
}

// Whatever form is accepted, another reader finds the same parts in it.
func FuzzReadForm(f *testing.F) {
	f.Add([]byte(parts(modelPart, "whisper", filePart, "RIFF")))
	f.Add([]byte(parts(`name="model"; filename="x"`, "a")))
	f.Add([]byte(parts(modelPart, "a", `name="x"`, "\n--B\n")))
	r := form(f, transcriptions, withB)
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := operation.Read(r, body)
		if err != nil {
			return
		}
		var models []string
		mr := multipart.NewReader(bytes.NewReader(body), "B")
		for {
			p, err := mr.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("mime/multipart refuses what we accept: %v", err)
			}
			value, _ := io.ReadAll(p)
			if p.FormName() == "model" {
				models = append(models, string(value))
			}
		}
		if !slices.Equal(models, []string{req.Models[0].Name}) {
			t.Fatalf("mime/multipart reads the models %q, we %q", models, req.Models[0].Name)
		}
	})
}

func FuzzReadBatch(f *testing.F) {
	f.Add([]byte(line1 + "\n" + line2))
	r := form(f, "/v1/files", withB)
	f.Fuzz(func(t *testing.T, file []byte) {
		req, err := operation.Read(r, []byte(batch(string(file))))
		if err != nil {
			return
		}
		names := make([]string, len(req.Refs()))
		for i := range names {
			names[i] = "renamed"
		}
		again, err := operation.Read(r, []byte(join(req.Bytes(names, true))))
		if err != nil {
			t.Fatalf("what is sent is not what may be received: %v", err)
		}
		for _, m := range again.Refs() {
			if m.Name != "renamed" {
				t.Fatalf("a model went through unnamed: %q", m.Name)
			}
		}
	})
}
