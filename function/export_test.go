package function

import (
	"net/http"
	"time"

	"llmgateway.dev/gateway/internal/relay"
)

// RetryAfter is retryAfter.
var RetryAfter = retryAfter

// Rest gives the gateway new circuits that stay open for the time.
func Rest(handler http.Handler, rest time.Duration) {
	g := handler.(*gateway)
	g.circuits = newCircuits(g.config.Models, rest)
}

// Over gives the gateway another way to its upstreams.
func Over(handler http.Handler, transport http.RoundTripper) {
	handler.(*gateway).relay = relay.Over(transport)
}
