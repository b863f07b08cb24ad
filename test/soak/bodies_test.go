//go:build e2e

package soak

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// usual is three quarters of what terraform/modules/gateway gives an instance where nobody says otherwise.
const usual = 768 << 20

// worst are bodies of max_body's size, to read which strictly costs the most: each name in an object is remembered.
func worst() map[string]string {
	const size = 32 << 20
	const head = `{"model":"gpt-4-turbo","messages":[{"role":"user","content":"soak"}],"metadata":`
	fill := func(begin, end string, next func(i int) string) string {
		var body strings.Builder
		body.Grow(size)
		body.WriteString(head + begin)
		for i := 0; ; i++ {
			more := next(i)
			if body.Len()+len(more)+len(end) > size {
				return body.String() + end
			}
			body.WriteString(more)
		}
	}
	return map[string]string{
		"names":   fill(`{"":0`, `}}`, func(i int) string { return fmt.Sprintf(`,"%x":0`, i) }),
		"objects": fill(`[{}`, `]}`, func(int) string { return `,{"a":0}` }),
		"numbers": fill(`[0`, `]}`, func(int) string { return `,0` }),
		"escapes": fill(`"`, `"}`, func(int) string { return `\u00e9` }),
		"depth":   fill(`[0`, `]}`, func(int) string { return "," + strings.Repeat("[", 500) + strings.Repeat("]", 500) }),
	}
}

// More of them come at once than max_buffered holds; who is told to come back comes back. They and what it takes to read
// one of them are up to 480 MiB, for which the collector, left to itself, would let the heap grow to twice as much.
func TestTheLargestBodiesFitIntoTheUsualMemory(t *testing.T) {
	w := newWorld(t, usual)
	l := newLoad(w)
	w.printed.expected = "503 overloaded"
	ctx, done := context.WithTimeout(t.Context(), 20*time.Minute)
	defer done()
	var group sync.WaitGroup
	for name, body := range worst() {
		many := 1
		if name == "names" {
			many = 5
		}
		for range many {
			group.Go(func() {
				for range 3 {
					if err := l.insists(ctx, body); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		}
	}
	go func() { group.Wait(); done() }()
	samples := w.watch(ctx)
	group.Wait()
	for _, fault := range w.told(t, samples) {
		t.Error(fault)
	}
}

// insists sends the body until it is taken.
func (l *load) insists(ctx context.Context, body string) error {
	for {
		resp, err := l.do(l.client, func() *http.Request { return l.request(ctx, "POST", chatPath, body) })
		if err != nil {
			return err
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		if err != nil || string(got) != whole {
			return fmt.Errorf("answered %s, %v: %.300s", resp.Status, err, got)
		}
		return nil
	}
}
