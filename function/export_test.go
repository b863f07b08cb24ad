package function

import (
	"net/http"
	"time"
)

// RetryAfter is retryAfter.
var RetryAfter = retryAfter

// Rest gives the gateway new circuits that stay open for the time.
func Rest(handler http.Handler, rest time.Duration) {
	g := handler.(*gateway)
	g.circuits = newCircuits(g.config.Models, rest)
}
