// Package token holds what the gateway presents upstream: access tokens, exchanged for an assertion
// that a service account key signed (RFC 7523 section 2.1), granted to a client id and secret (RFC 6749 section
// 4.4) or had from Application Default Credentials, and API keys.
//
// A token is fresh, stale or expired. A fresh one is served. A stale one (under five minutes to go,
// half its life where that is shorter, or made with a secret that has a newer version) is served too, while
// one request has a new one fetched behind it: a refresh delays nobody. When there is none, all wait
// for one exchange, each as long as its own context allows. A failed refresh leaves the old
// token in use until it expires. Failures are remembered, with growing delay, and answered at once
// meanwhile.
//
// No error and no log line holds a token, a key, a secret or an assertion.
package token

import "llmgateway.dev/gateway/internal/hidden"

// Token is a credential to present: an access token, or an API key.
type Token struct {
	// Value goes into the upstream's authorization header and nowhere else. It is visible ASCII.
	Value hidden.Text
	// State is for the audit record.
	State State
}

// State says how a request came by its token.
type State uint8

const (
	// Fresh was held.
	Fresh State = iota + 1
	// Stale was held, and is being replaced.
	Stale
	// Exchanged was waited for.
	Exchanged
)

func (s State) String() string {
	switch s {
	case Fresh:
		return "fresh"
	case Stale:
		return "stale"
	case Exchanged:
		return "exchanged"
	}
	return "none"
}
