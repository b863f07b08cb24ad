package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The bound is net/http's, 1 MiB and a little; in front of it stands Cloud Run's own. Beyond it nothing is read on, and
// nobody else notices.
func TestAHeadIsBounded(t *testing.T) {
	idp := newIssuer(t)
	provider := &sightings{}
	p := start(t, idp.URL, provide(t, provider.ServeHTTP))
	for _, row := range []struct {
		name, lines string
		status      int
		reached     int
	}{
		{"one line of 900 KiB", "X-A: " + strings.Repeat("a", 900<<10) + "\r\n", 200, 1},
		{"many lines", strings.Repeat("X-A: a\r\n", 64<<10), 200, 1},
		{"one line that is too long", "X-A: " + strings.Repeat("a", 1<<20+8<<10) + "\r\n", 431, 0},
		{"lines that are too many", strings.Repeat("X-A: a\r\n", 132<<10), 431, 0},
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
			idp.Token("pipeline"), len(plainChat), row.lines, plainChat)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != row.status {
			t.Errorf("%s: %s", row.name, resp.Status)
		}
		seen := provider.take()
		if len(seen) != row.reached || len(strings.Join(seen, "")) > 4<<10 {
			t.Errorf("%s: %d requests of %d bytes reached the provider", row.name, len(seen), len(strings.Join(seen, "")))
		}
	}
}

// Who only holds connections keeps nobody from being served: those that say nothing, that begin a head, or a body before
// anybody knows them. Nothing of ours ends them; on Cloud Run clients hold connections to its front end, not to instances.
func TestConnectionsThatAreHeldKeepNobodyOut(t *testing.T) {
	idp := newIssuer(t)
	provider := &sightings{}
	p := start(t, idp.URL, provide(t, provider.ServeHTTP))
	for i := range 300 {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, []string{
			"",
			"POST /v1/chat/completions HTTP/1.1\r\nHost: gate",
			"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer junk\r\nContent-Type: application/json\r\nContent-Length: 33554432\r\n\r\n{",
		}[i%3])
	}
	resp := p.ask(t, idp)
	defer resp.Body.Close()
	if resp.StatusCode != 200 || len(provider.take()) != 1 {
		t.Error(resp.Status)
	}
}
