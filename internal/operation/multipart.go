package operation

import (
	"bytes"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"llmgateway.dev/gateway/internal/apierror"
)

// ReadHead checks that the body will be of the operation's form, before any of it is read.
func (r *Route) ReadHead(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return apierror.New(apierror.UnsupportedMediaType, "the body is compressed; send it without Content-Encoding")
	}
	if len(h["Content-Type"]) > 1 {
		return apierror.New(apierror.InvalidRequest, "the header Content-Type is sent twice; send one")
	}
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch r.Body {
	case JSON:
		if charset := params["charset"]; err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return apierror.New(apierror.UnsupportedMediaType, "the body must be JSON in UTF-8; send Content-Type: application/json")
		}
		r.ContentType = "application/json"
	case Multipart:
		boundary := params["boundary"]
		if err != nil || media != "multipart/form-data" || !boundaryForm.MatchString(boundary) {
			return apierror.New(apierror.UnsupportedMediaType, "the body must be a form with files; send Content-Type: multipart/form-data with a boundary of letters, digits and -_.'+")
		}
		r.boundary = boundary
		r.ContentType = `multipart/form-data; boundary="` + boundary + `"`
	}
	return nil
}

// boundaryForm is less than RFC 2046 section 5.1.1 allows: the characters that need no second look.
var boundaryForm = regexp.MustCompile(`^[A-Za-z0-9'+_.-]{1,70}$`)

// dispositionForm is how the SDKs, browsers and curl write it (RFC 7578 section 4.2). What is written in
// another way is refused: readers of forms differ most in this line.
var dispositionForm = regexp.MustCompile(`^form-data; ?name="([A-Za-z0-9_.\[\]-]{1,128})"(; ?filename="[^"\\]*")?(; ?filename\*=(?i:utf-8)'[a-z-]*'[A-Za-z0-9!#$&+.^_|~%-]+)?$`)

// part is one part of a form.
type part struct {
	name string
	file bool
	// text says that the part's header leaves no doubt that its bytes are UTF-8 as they are.
	text  bool
	value extent
}

// readParts reads a form. The model stands in one part, wherever; its value is replaced in place.
func (r *Request) readParts() error {
	parts, err := r.parts()
	if err != nil {
		return err
	}
	read := map[role]*part{}
	for i := range parts {
		p := &parts[i]
		if r.Fields == nil {
			continue
		}
		f := r.Fields.members[p.name]
		if f == nil {
			// model[] and Model are the model to some readers.
			base, _, _ := strings.Cut(p.name, "[")
			if like := r.Fields.like(base); like != "" {
				return apierror.New(apierror.InvalidRequest, "a part's name is nearly %s; name it %s", like, like).At(like)
			}
			continue
		}
		if f.role == undecidable {
			return refuseUndecidable(p.name)
		}
		if read[f.role] != nil {
			return apierror.New(apierror.InvalidRequest, "the form has the part %s twice; keep one", p.name).At(p.name)
		}
		if isFile := f.role == batchFile; isFile != p.file {
			return apierror.New(apierror.InvalidRequest, "the part %s must have a filename if it is a file, and none if it is not", p.name).At(p.name)
		}
		if f.role != batchFile && (!p.text || !utf8.Valid(r.bytes(p.value))) {
			return apierror.New(apierror.InvalidRequest, "the part %s must be plain text in UTF-8", p.name).At(p.name)
		}
		read[f.role] = p
	}
	if p := read[streamFlag]; p != nil {
		switch s := string(r.bytes(p.value)); s {
		case "true", "false":
			r.Stream = s == "true"
		default:
			return wrongType("stream", "true or false")
		}
	}
	if r.NeedsModel() {
		p := read[modelName]
		if p == nil || p.value.start == p.value.end {
			return noModel()
		}
		r.Models = []ModelRef{{Name: string(r.bytes(p.value)), start: p.value.start, end: p.value.end, form: plain}}
	}
	if r.Operation.Fields == fileFields {
		return r.readFile(read[purpose], read[batchFile])
	}
	return nil
}

func (r *Request) bytes(e extent) []byte { return r.body[e.start:e.end] }

const (
	// maxPartHeader bounds one part's header.
	maxPartHeader = 8 << 10
	// maxParts bounds a form: an image edit has some twenty.
	maxParts = 1000
)

// parts cuts a form (RFC 2046 section 5.1.1) where every reader cuts it: nothing stands before the
// first boundary or after the last, lines end in CRLF, and the boundary occurs nowhere else.
func (r *Request) parts() ([]part, error) {
	delimiter := []byte("--" + r.boundary)
	rest, ok := bytes.CutPrefix(r.body, delimiter)
	if !ok {
		return nil, badForm("it does not begin with its boundary")
	}
	var parts []part
	for {
		at := len(r.body) - len(rest)
		if string(rest) == "--" || string(rest) == "--\r\n" {
			return parts, nil
		}
		if !bytes.HasPrefix(rest, []byte("\r\n")) {
			return nil, badForm("a boundary is not followed by a line's end (CRLF)")
		}
		head, _, ok := bytes.Cut(rest[2:min(len(rest), maxPartHeader)], []byte("\r\n\r\n"))
		if !ok {
			return nil, badForm("a part has no header, or one larger than 8 KiB")
		}
		value := extent{start: at + 2 + len(head) + 4}
		n := bytes.Index(r.body[value.start:], delimiter)
		if n < 2 || string(r.body[value.start+n-2:value.start+n]) != "\r\n" {
			return nil, badForm("it is cut short, or its boundary stands within a part")
		}
		value.end = value.start + n - 2
		if len(parts) == maxParts {
			return nil, apierror.New(apierror.InvalidRequest, "the form has more than %d parts; send fewer", maxParts)
		}
		p, err := readPart(string(head), value)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		rest = r.body[value.start+n+len(delimiter):]
	}
}

func readPart(head string, value extent) (part, error) {
	p := part{value: value, text: true}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(head, "\r\n") {
		name, content, ok := strings.Cut(line, ":")
		name, content = strings.ToLower(name), strings.Trim(content, " \t")
		if !ok || seen[name] || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return p, badForm("a part's header is malformed or repeats a line")
		}
		seen[name] = true
		switch name {
		case "content-disposition":
			m := dispositionForm.FindStringSubmatch(content)
			if m == nil {
				return p, badForm(`a part's Content-Disposition is not of the form form-data; name=...; filename=..., with quotes`)
			}
			p.name, p.file = m[1], m[2] != "" || m[3] != ""
		case "content-type":
			media, params, err := mime.ParseMediaType(content)
			charset := params["charset"]
			p.text = err == nil && media == "text/plain" && (charset == "" || strings.EqualFold(charset, "utf-8"))
		case "content-transfer-encoding":
			if e := strings.ToLower(content); e != "binary" && e != "8bit" && e != "7bit" {
				return p, badForm("a part has a Content-Transfer-Encoding; send it as it is")
			}
		case "content-length":
			if n, err := strconv.Atoi(content); err != nil || n != value.end-value.start {
				return p, badForm("a part's Content-Length is not its length")
			}
		default:
			return p, badForm("a part's header has a line beside Content-Disposition and Content-Type")
		}
	}
	if p.name == "" {
		return p, badForm("a part has no name")
	}
	return p, nil
}

func badForm(what string) error {
	return apierror.New(apierror.InvalidRequest, "the form is not one that every reader reads alike: %s", what)
}
