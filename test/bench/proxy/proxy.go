// Package proxy is what the gateway is measured against: the standard library's reverse proxy.
package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// New returns a proxy to the upstream that UPSTREAM names. Its connections stay open, as many as are used
// at once: the default of two a host would have most requests dial.
func New() (http.Handler, error) {
	upstream, err := url.Parse(os.Getenv("UPSTREAM"))
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 2000
	relay := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: transport,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the server closes the request's body with the answer's first byte, while the transport may
		// still be looking for its end; a busy proxy then breaks one stream in thousands.
		http.NewResponseController(w).EnableFullDuplex()
		relay.ServeHTTP(w, r)
	}), nil
}
