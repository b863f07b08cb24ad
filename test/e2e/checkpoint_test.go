//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checkpoint stands before the upstreams, each below a folder of its name, and admits what Google
// would admit: aimock takes any credential.
type checkpoint struct {
	URL   string
	valid func(token string) bool

	mu sync.Mutex
	// calls are the requests' methods and paths, in order.
	calls    []string
	tokens   []string
	received []http.Header
	refused  []string
}

func newCheckpoint(t *testing.T, upstreams map[string]string, valid func(token string) bool) *checkpoint {
	c := &checkpoint{valid: valid}
	mux := http.NewServeMux()
	for name, address := range upstreams {
		target, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, forward))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.admit(r); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *checkpoint) admit(r *http.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := r.Method + " " + r.URL.RequestURI()
	c.calls = append(c.calls, call)
	c.received = append(c.received, r.Header.Clone())
	credentials := r.Header.Values("Authorization")
	if len(credentials) == 1 {
		if token, ok := strings.CutPrefix(credentials[0], "Bearer "); ok && c.valid(token) {
			if !slices.Contains(c.tokens, token) {
				c.tokens = append(c.tokens, token)
			}
			return nil
		}
	}
	err := fmt.Errorf("%s came with %d credentials, and not one valid access token", call, len(credentials))
	c.refused = append(c.refused, err.Error())
	return err
}

// seen is the number of calls so far.
func (c *checkpoint) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}
