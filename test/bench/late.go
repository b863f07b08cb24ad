package main

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// late stands before the doubles, lets each answer only after a while, and notes when somebody waited.
type late struct {
	delay   time.Duration
	servers []*httptest.Server

	mu    sync.Mutex
	begun time.Time
	waits []wait
}

// wait is an answer that somebody waited for, in milliseconds since a beginning.
type wait struct {
	For   string  `json:"for"`
	Start float64 `json:"start_ms"`
	End   float64 `json:"end_ms"`
}

func (w wait) took() float64 { return w.End - w.Start }

// before is setting.late.
func (l *late) before(name, to string) (front string, err error) {
	target, err := url.Parse(to)
	if err != nil {
		return "", err
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		if name != waitUpstream {
			sleepUntil(start.Add(l.delay))
		}
		relay.ServeHTTP(w, r)
		l.note(name, r.URL.Path, start)
	}))
	l.servers = append(l.servers, server)
	return server.URL, nil
}

// What is waited for.
const (
	waitDiscovery = "discovery"
	waitKeys      = "keys"
	waitSecret    = "secret"
	waitExchange  = "exchange"
	waitUpstream  = "upstream"
)

func (l *late) note(name, path string, start time.Time) {
	switch {
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		name = waitDiscovery
	case name == "issuer":
		name = waitKeys
	case name == "Secret Manager":
		name = waitSecret
	case name == "token endpoint":
		name = waitExchange
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, wait{name, millis(start.Sub(l.begun)), millis(time.Since(l.begun))})
}

// begin forgets all waits; those to come count from now.
func (l *late) begin() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.waits = time.Now(), nil
	return l.begun
}

// noted are the waits so far, but for those for the upstream's answers unless they are asked for.
func (l *late) noted(upstream bool) []wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(l.waits), func(w wait) bool { return w.For == waitUpstream && !upstream })
	slices.SortFunc(all, func(a, b wait) int { return cmp.Compare(a.Start, b.Start) })
	return all
}

func (l *late) close() {
	for _, s := range l.servers {
		s.CloseClientConnections()
		s.Close()
	}
}
