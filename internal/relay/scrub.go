package relay

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/hidden"
)

// leastSecret is the length from which a credential is taken for one. What is shorter is a word that a local server
// wants to have (EMPTY, ollama), and stands in its errors for other reasons.
const leastSecret = 12

// forms are how an upstream may write our credential when it quotes it: as it is, and as JSON's strings and URLs have it.
// Most credentials look the same in all of them.
func forms(credential hidden.Text) [][]byte {
	text := credential.Reveal()
	quoted, _ := json.Marshal(text) // a string: can't fail
	inJSON := string(quoted[1 : len(quoted)-1])
	var all [][]byte
	for _, form := range []string{text, inJSON, strings.ReplaceAll(inJSON, "/", `\/`), url.QueryEscape(text), url.PathEscape(text)} {
		if !slices.ContainsFunc(all, func(b []byte) bool { return string(b) == form }) {
			all = append(all, []byte(form))
		}
	}
	return all
}

// scrub takes our credential out of an answer's head and, where the answer is an error, out of its body: that is where
// servers quote what they were sent. What can't be read, because it is compressed though nobody asked for that, isn't
// passed on: the status has to do.
func scrub(resp *http.Response, credential hidden.Text) (body *scrubber) {
	text := credential.Reveal()
	if len(text) < leastSecret {
		return nil
	}
	for name, values := range resp.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, text) }) {
			delete(resp.Header, name)
		}
	}
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		resp.Body.Close()
		resp.Body, resp.ContentLength, resp.TransferEncoding = http.NoBody, 0, nil
		resp.Header.Del("Content-Encoding")
		return nil
	}
	body = &scrubber{ReadCloser: resp.Body, forms: forms(credential)}
	resp.Body = body
	return body
}

// scrubber puts asterisks in the place of a credential, as many as it is long: a declared length stays true, and JSON
// JSON. It holds back what may turn out to be a credential's beginning, and nothing else.
type scrubber struct {
	io.ReadCloser
	forms [][]byte
	// buf is what was read and not passed on; the first clear bytes of it may be.
	buf   []byte
	clear int
	err   error
	// found says that there was something to scrub.
	found bool
}

// leastPrefix is the length from which the beginning of a credential at the end of an answer is taken for one that was
// cut off. The ends of ordinary texts are shorter.
const leastPrefix = 8

func (s *scrubber) Read(p []byte) (int, error) {
	for s.clear == 0 && s.err == nil {
		s.fill()
	}
	n := copy(p, s.buf[:s.clear])
	s.buf, s.clear = s.buf[n:], s.clear-n
	if n == 0 && s.clear == 0 {
		return 0, s.err
	}
	return n, nil
}

// fill reads on, and decides what of it may be passed on.
func (s *scrubber) fill() {
	s.buf = slices.Grow(s.buf, 4<<10)
	n, err := s.ReadCloser.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf, s.err = s.buf[:len(s.buf)+n], err
	longest := 0
	for _, form := range s.forms {
		for rest := s.buf; ; {
			i := bytes.Index(rest, form)
			if i < 0 {
				break
			}
			s.mask(rest[i : i+len(form)])
			rest = rest[i+len(form):]
		}
		longest = max(longest, begun(s.buf, form))
	}
	s.clear = len(s.buf) - longest
	if s.err != nil {
		if longest >= leastPrefix {
			s.mask(s.buf[s.clear:])
		}
		s.clear = len(s.buf)
	}
}

func (s *scrubber) mask(credential []byte) {
	s.found = true
	for i := range credential {
		credential[i] = '*'
	}
}

// begun is how many bytes at the end of text are the beginning of form.
func begun(text, form []byte) int {
	for n := min(len(text), len(form)-1); n > 0; n-- {
		if bytes.HasSuffix(text, form[:n]) {
			return n
		}
	}
	return 0
}
