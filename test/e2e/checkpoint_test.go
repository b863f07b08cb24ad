//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checkpoint stands before the upstreams, each below a folder of its name, and admits what the
// provider would admit: aimock takes any credential. It also makes the trouble.
type checkpoint struct {
	URL string
	trouble

	mu sync.Mutex
	// calls are the requests' methods and paths, in order, and received what came with them.
	calls, received []string
	// tokens are the bearer tokens that were presented.
	tokens  []string
	refused []string
}

// provider is an upstream behind the checkpoint.
type provider struct {
	// address is its URL, without a path.
	address string
	// header is where it looks for its credential.
	header string
	valid  func(credential string) bool
}

// carriers are where any provider would look for one.
var carriers = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key", "Cookie"}

func newCheckpoint(t *testing.T, providers map[string]provider) *checkpoint {
	c := &checkpoint{}
	mux := http.NewServeMux()
	for name, p := range providers {
		target, err := url.Parse(p.address)
		if err != nil {
			t.Fatal(err)
		}
		forward := httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
			FlushInterval: -1,
			ErrorLog:      log.New(io.Discard, "", 0), // clients leave, and answers die, on purpose
		}
		dying := forward
		dying.ModifyResponse = die
		mux.HandleFunc("/"+name+"/", func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			if err := c.admit(p, r, body); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			next := &forward
			switch model := troubledModel(r, body); {
			case c.answers(w, r, model):
				return
			case model == "dying":
				next = &dying
			}
			http.StripPrefix("/"+name, next).ServeHTTP(w, r)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *checkpoint) admit(p provider, r *http.Request, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := r.Method + " " + r.URL.RequestURI()
	c.calls = append(c.calls, call)
	c.received = append(c.received, fmt.Sprintf("%v\n%s", r.Header, body))
	for _, name := range carriers {
		values := r.Header.Values(name)
		if name != p.header && len(values) == 0 {
			continue
		}
		ok := name == p.header && len(values) == 1
		if ok && name == "Authorization" {
			token, bearer := strings.CutPrefix(values[0], "Bearer ")
			if ok = bearer && p.valid(token); ok && !slices.Contains(c.tokens, token) {
				c.tokens = append(c.tokens, token)
			}
		} else if ok {
			ok = p.valid(values[0])
		}
		if !ok {
			err := fmt.Errorf("%s came with %d credentials in %s, and not one valid one in %s alone", call, len(values), name, p.header)
			c.refused = append(c.refused, err.Error())
			return err
		}
	}
	return nil
}

// seen is the number of calls so far.
func (c *checkpoint) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}
