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
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: transport,
	}, nil
}
