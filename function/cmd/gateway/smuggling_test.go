package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sightings is a provider that keeps what it sees of each request: all of it.
type sightings struct {
	mu   sync.Mutex
	seen []string
}

func (s *sightings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var all strings.Builder
	fmt.Fprintln(&all, r.Method, r.RequestURI, r.Host, r.TransferEncoding, r.ContentLength)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&all, "%s: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(&all, "%s\n%v", body, r.Trailer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, all.String())
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, "{}")
}

func (s *sightings) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

const (
	plainChat = `{"model":"gpt-4-turbo","messages":[]}`
	// smuggled is a body that no provider may ever see: who sends it in another request's body is not its
	// client.
	smuggled = `{"model":"gpt-4-turbo","user":"x"}`
)

// message is a request: its head, whose lines take the place of those of the same name, and its body. TOKEN
// is a good one.
func message(body string, head ...string) string {
	text := "POST /v1/chat/completions HTTP/1.1\r\n"
	for _, line := range []string{"Host: gateway", "Authorization: Bearer TOKEN", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body))} {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(head, func(own string) bool { return own == name || strings.HasPrefix(own, name+":") }) {
			text += line + "\r\n"
		}
	}
	for _, line := range head {
		if strings.Contains(line, ":") {
			text += line + "\r\n"
		}
	}
	return text + "\r\n" + body
}

func chunk(body string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(body), body) }

// malformed HTTP/1.1, and what is only odd (RFC 9112). What is sent may end in a request that is hidden: in the body
// of the first, for a reader that frames it otherwise.
var odd = []struct {
	name, text string
	// answers are the statuses that come back over the connection, and reached how many requests the provider
	// sees. A request without a token comes last: its 401 says that the connection was still understood.
	answers string
	reached int
}{
	{"a plain request", message(plainChat), "200 401", 1},
	{"two, one after the other", message(plainChat) + message(plainChat), "200 200 401", 2},
	{"chunks", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"CL.TE", message(chunk(plainChat)+"0\r\n\r\n"+message(smuggled), "Transfer-Encoding: chunked"), "200", 1},
	{"CL.TE, whose length is the first chunks'", message(chunk(plainChat)+"0\r\n\r\n", "Transfer-Encoding: chunked") + message(smuggled), "200", 1},
	{"TE.CL", message(chunk(plainChat+message(smuggled))+"0\r\n\r\n", "Content-Length: 4", "Transfer-Encoding: chunked"), "400", 0},
	{"chunked in capitals", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: CHUNKED"), "200", 1},
	{"a tab before chunked", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: \tchunked"), "200", 1},
	{"a tab before chunked, beside a length", message(plainChat, "Transfer-Encoding: \tchunked"), "400", 0},
	{"a vertical tab before chunked", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: \vchunked"), "400", 0},
	{"a vertical tab before chunked, beside a length", message(plainChat, "Transfer-Encoding: \vchunked"), "400", 0},
	{"chunked after a comma", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: , chunked"), "501", 0},
	{"chunked after a comma, beside a length", message(plainChat, "Transfer-Encoding: , chunked"), "501", 0},
	{"chunked and identity", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked, identity"), "501", 0},
	{"chunked and identity, beside a length", message(plainChat, "Transfer-Encoding: chunked, identity"), "501", 0},
	{"identity", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: identity"), "501", 0},
	{"identity, beside a length", message(plainChat, "Transfer-Encoding: identity"), "501", 0},
	{"a coding that is none", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: xchunked"), "501", 0},
	{"a coding that is none, beside a length", message(plainChat, "Transfer-Encoding: xchunked"), "501", 0},
	{"chunked in quotes", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: \"chunked\""), "501", 0},
	{"chunked in quotes, beside a length", message(plainChat, "Transfer-Encoding: \"chunked\""), "501", 0},
	{"chunked and NUL", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked\x00"), "400", 0},
	{"chunked and NUL, beside a length", message(plainChat, "Transfer-Encoding: chunked\x00"), "400", 0},
	{"gzip, chunked", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: gzip, chunked"), "501", 0},
	{"gzip, chunked, beside a length", message(plainChat, "Transfer-Encoding: gzip, chunked"), "501", 0},
	{"chunked, chunked", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked, chunked"), "501", 0},
	{"chunked, chunked, beside a length", message(plainChat, "Transfer-Encoding: chunked, chunked"), "501", 0},
	{"chunked with a parameter", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked;q=1"), "501", 0},
	{"chunked with a parameter, beside a length", message(plainChat, "Transfer-Encoding: chunked;q=1"), "501", 0},
	{"two transfer codings", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"), "501", 0},
	{"chunked in two lines", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "501", 0},
	{"chunks in HTTP/1.0", strings.Replace(message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "HTTP/1.1", "HTTP/1.0", 1), "400", 0},
	{"a space before the transfer coding's colon", message(chunk(plainChat)+"0\r\n\r\n", "Content-Length", "Transfer-Encoding : chunked"), "400", 0},
	{"a transfer coding with an underscore", message(plainChat, "Transfer_Encoding: chunked"), "200 401", 1},
	{"a length of a sign", message(plainChat, "Content-Length: +37"), "400", 0},
	{"a length of minus", message(plainChat, "Content-Length: -37"), "400", 0},
	{"a length of hexadecimal", message(plainChat, "Content-Length: 0x25"), "400", 0},
	{"a length of a list of the same", message(plainChat, "Content-Length: 37, 37"), "400", 0},
	{"a length of a list of two", message(plainChat, "Content-Length: 37, 4"), "400", 0},
	{"a length of leading zeros", message(plainChat, "Content-Length: 0037"), "200 401", 1},
	{"a length of nothing", message(plainChat, "Content-Length: "), "400", 0},
	{"a length of a fraction", message(plainChat, "Content-Length: 37.0"), "400", 0},
	{"a length of an underscore", message(plainChat, "Content-Length: 3_7"), "400", 0},
	{"a length of NUL", message(plainChat, "Content-Length: 37\x00"), "400", 0},
	{"a length of more than 64 bits", message(plainChat, "Content-Length: 18446744073709551653"), "400", 0},
	{"a length of a letter", message(plainChat, "Content-Length: 37a"), "400", 0},
	{"a length of two words", message(plainChat, "Content-Length: 3 7"), "400", 0},
	{"a length of a tab after", message(plainChat, "Content-Length: 37\t"), "200 401", 1},
	{"two lengths that differ", message(plainChat, "Content-Length: 37", "Content-Length: 4"), "400", 0},
	{"two lengths that agree", message(plainChat, "Content-Length: 37", "Content-Length: 37"), "200 401", 1},
	{"a length that is too short", message(plainChat, "Content-Length: 20"), "400 400", 0},
	{"a length that is too long", message(plainChat, "Content-Length: 1000") + message(smuggled), "400 400", 0},
	{"no length, so that what follows is a request", message(message(plainChat), "Content-Length"), "400 200 401", 1},
	{"a chunk's size with 0x", message("0x25\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with a sign", message("+25\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size negative", message("-25\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with a space before", message(" 25\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with a space after", message("25 \r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"a chunk's size with an underscore", message("2_5\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size of more than 64 bits", message("10000000000000025\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with many zeros", message("0000000000000025\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"a chunk's size of nothing", message("\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with an extension", message("25;a=b\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"a chunk's size with an extension in quotes", message("24;a=\"\\r\"\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with a bare LF in an extension", message("25;a\nb\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with a bare CR", message("25\r25\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk's size with NUL", message("25\x00\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"chunks whose lines end in LF", message("25\n"+plainChat+"\n0\n\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk longer than its size", message("24\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a chunk shorter than its size", message("26\r\n"+plainChat+"\r\n0\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"chunks that never end", message(chunk(plainChat), "Content-Length", "Transfer-Encoding: chunked"), "400", 0},
	{"a trailer", message(chunk(plainChat)+"0\r\nX: y\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"a trailer that would be a head", message(chunk(plainChat)+"0\r\nAuthorization: Bearer other\r\nContent-Length: 1\r\n\r\n", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"an announced trailer", message(chunk(plainChat)+"0\r\nX-Client-Request-Id: y\r\n\r\n", "Trailer: X-Client-Request-Id", "Content-Length", "Transfer-Encoding: chunked"), "200", 1},
	{"a folded line", message(plainChat, "X: a\r\n b"), "200 401", 1},
	{"a folded token", message(plainChat, "Authorization: Bearer\r\n TOKEN"), "200 401", 1},
	{"a folded transfer coding", message(plainChat, "Transfer-Encoding:\r\n chunked"), "400", 0},
	{"a bare CR in a value", message(plainChat, "X: a\rTransfer-Encoding: chunked"), "400", 0},
	{"a bare CR at a line's end", message(plainChat, "X: a\r\r\nY: b"), "400", 0},
	{"a bare LF at a line's end", message(plainChat, "X: a\nY: b"), "200 401", 1},
	{"NUL in a value", message(plainChat, "X: a\x00b"), "400", 0},
	{"NUL in a name", message(plainChat, "X\x00: a"), "400", 0},
	{"a control character in a value", message(plainChat, "X: a\x01"), "400", 0},
	{"DEL in a value", message(plainChat, "X: a\x7f"), "400", 0},
	{"Latin-1 in a value", message(plainChat, "X: \xe9"), "200 401", 1},
	{"Latin-1 in a name", message(plainChat, "X\xe9: a"), "400", 0},
	{"a name that is empty", message(plainChat, ": a"), "400", 0},
	{"a space in a name", message(plainChat, "X Y: a"), "400", 0},
	{"a space before a name", message(plainChat, " X: a"), "400", 0},
	{"a tab before the colon", message(plainChat, "X\t: a"), "400", 0},
	{"two hosts", message(plainChat, "Host: gateway", "Host: other"), "400", 0},
	{"a host with a space", message(plainChat, "Host: gate way"), "400", 0},
	{"a host with a slash", message(plainChat, "Host: gateway/x"), "400", 0},
	{"no host", message(plainChat, "Host"), "400", 0},
	{"an empty host", message(plainChat, "Host:"), "200 401", 1},
	{"two media types", message(plainChat, "Content-Type: application/json", "Content-Type: text/plain"), "400", 0},
	{"one media type twice", message(plainChat, "Content-Type: application/json", "Content-Type: application/json"), "400", 0},
	{"two tokens", message(plainChat, "Authorization: Bearer TOKEN", "Authorization: Bearer other"), "400", 0},
	{"the token as a header of the connection", message(plainChat, "Connection: authorization"), "200 401", 1},
	{"the length as a header of the connection", message(plainChat, "Connection: content-length, close"), "200", 1},
	{"an upgrade to h2c", message(plainChat, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), "200 401", 1},
	{"an upgrade to WebSocket", message(plainChat, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"), "200 401", 1},
	{"an expectation that nobody knows", message(plainChat, "Expect: 200-ok"), "417", 0},
	{"another method by header", message(plainChat, "X-HTTP-Method-Override: DELETE"), "200 401", 1},
	{"another target by header", message(plainChat, "X-Original-URL: /v1/files", "X-Rewrite-URL: /v1/files"), "200 401", 1},
	{"forwarding headers", message(plainChat, "Forwarded: host=other", "X-Forwarded-Host: other", "X-Forwarded-For: 127.0.0.1"), "200 401", 1},
	{"two spaces in the request line", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST  /v1/chat/completions HTTP/1.1", 1), "400", 0},
	{"a tab in the request line", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST\t/v1/chat/completions HTTP/1.1", 1), "400", 0},
	{"a space before the method", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", " POST /v1/chat/completions HTTP/1.1", 1), "400", 0},
	{"a word more in the request line", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions x HTTP/1.1", 1), "400", 0},
	{"NUL in the target", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions\x00 HTTP/1.1", 1), "400", 0},
	{"a bare CR in the request line", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions\r HTTP/1.1", 1), "400", 0},
	{"no version", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions", 1), "400", 0},
	{"HTTP/1.2", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions HTTP/1.2", 1), "200 401", 1},
	{"HTTP/2.0", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions HTTP/2.0", 1), "505", 0},
	{"HTTP/01.1", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions HTTP/01.1", 1), "400", 0},
	{"http/1.1", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions http/1.1", 1), "400", 0},
	{"another host in the target", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST http://other/v1/chat/completions HTTP/1.1", 1), "200 401", 1},
	{"another scheme in the target", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST file:///v1/chat/completions HTTP/1.1", 1), "200 401", 1},
	{"no slash", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST v1/chat/completions HTTP/1.1", 1), "400", 0},
	{"a fragment", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions#x HTTP/1.1", 1), "404", 0},
	{"an authority for a target", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "CONNECT other:443 HTTP/1.1", 1), "404 401", 0},
	{"an asterisk for a target", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST * HTTP/1.1", 1), "400", 0},
	{"a method of two words", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "PO ST /v1/chat/completions HTTP/1.1", 1), "400", 0},
	{"a bare LF at the request line's end", strings.Replace(message(plainChat), "POST /v1/chat/completions HTTP/1.1", "POST /v1/chat/completions HTTP/1.1\nX: y", 1), "200 401", 1},
	{"an empty line before a request", "\r\n" + message(plainChat), "400", 0},
	{"every line ends in LF", strings.ReplaceAll(message(plainChat), "\r\n", "\n"), "200 401", 1},
	{"every line ends in CR", strings.ReplaceAll(message(plainChat), "\r\n", "\r"), "400", 0},
	{"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + message(plainChat), "400", 0},
	{"a request for a GET's body", strings.Replace(message(message(smuggled)), "POST /v1/chat/completions", "GET /v1/models", 1), "400", 0},
	{"a request for the body of one that is refused", message(message(smuggled), "Authorization: Bearer junk"), "401", 0},
	{"a request behind the chunks of one that is refused", message(chunk(plainChat)+"0\r\n\r\n", "Authorization: Bearer junk", "Content-Length", "Transfer-Encoding: chunked") + message(smuggled), "401", 0},
	{"a request for the body of one whose path is none", strings.Replace(message(message(smuggled)), "/v1/chat/completions", "/v1/none", 1), "404", 0},
}

func TestAMalformedRequestReachesTheProviderAsTheSameRequestOrNot(t *testing.T) {
	idp := newIssuer(t)
	provider := &sightings{}
	p := start(t, idp.URL, provide(t, provider.ServeHTTP))
	token := idp.Token("pipeline")
	if _, err := exchange(p.url, strings.ReplaceAll(message(plainChat), "TOKEN", token)); err != nil {
		t.Fatal(err)
	}
	plain := provider.take()
	if len(plain) != 1 || !strings.Contains(plain[0], plainChat) {
		t.Fatalf("%q", plain)
	}
	for _, row := range odd {
		answers, err := exchange(p.url, strings.ReplaceAll(row.text, "TOKEN", token))
		if err != nil || answers != row.answers {
			t.Errorf("%s: answered %q %v, want %q", row.name, answers, err, row.answers)
		}
		seen := provider.take()
		if len(seen) != row.reached {
			t.Errorf("%s: the provider saw %d requests, want %d", row.name, len(seen), row.reached)
		}
		for _, s := range seen {
			if s != plain[0] {
				t.Errorf("%s: the provider saw\n%s\nwant\n%s", row.name, s, plain[0])
			}
		}
	}
	t.Logf("%d ways to send a request", len(odd))
}

// exchange sends text and a request without a token over a connection, and returns the statuses of all
// that is answered.
func exchange(gateway, text string) (answers string, err error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(gateway, "http://"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// At once, so that all of it is read: what is left unread would make of the gateway's end a reset, which
	// may overtake the answer.
	if _, err := io.WriteString(conn, text+"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	hungUp := false
	for {
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, err := r.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) && !hungUp {
			conn.(*net.TCPConn).CloseWrite() // it waits for more: there is none
			hungUp = true
			continue
		}
		if err != nil {
			return strings.TrimSpace(answers), nil
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return answers, err
		}
		answers += fmt.Sprintf("%d ", resp.StatusCode)
	}
}
