package relay

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"llmgateway.dev/gateway/internal/apierror"
)

// forwarded are the client's headers that an upstream sees: an allow-list, so that credentials,
// cookies, X-Forwarded-*, account headers (OpenAI-Organization, OpenAI-Project), method and URL
// overrides (X-HTTP-Method-Override, X-Original-URL) and whatever is invented next stay here.
var forwarded = []string{"Accept", "Openai-Beta", "Traceparent", "Tracestate", "User-Agent", "X-Client-Request-Id"}

// forwardedAnthropic are further ones in Anthropic's dialect (docs.anthropic.com/en/api/versioning,
// docs.anthropic.com/en/api/beta-headers).
var forwardedAnthropic = []string{"Anthropic-Version", "Anthropic-Beta"}

func requestHeader(client http.Header, call *Call) http.Header {
	h := http.Header{}
	if call.Dialect == apierror.Anthropic {
		for _, name := range forwardedAnthropic {
			// The betas of a login (oauth-…) are about the client's token, which stays here.
			if v := slices.DeleteFunc(betas(client[name]), func(s string) bool { return strings.HasPrefix(s, "oauth-") }); len(v) > 0 {
				h.Set(name, strings.Join(v, ","))
			}
		}
	}
	for _, name := range forwarded {
		if v := client[name]; len(v) == 1 {
			h[name] = v
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // or net/http sends its own
	}
	if call.Body != nil {
		h["Content-Type"] = []string{call.ContentType}
	}
	h["Accept-Encoding"] = identity
	return h
}

var identity = []string{"identity"}

// betas are the elements of a list header.
func betas(lines []string) []string {
	var all []string
	for _, line := range lines {
		for s := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(s))
		}
	}
	return all
}

// withheld are the upstream's headers that a client does not see: those of the connection
// (RFC 9110 section 7.6.1), those that speak of our credential and account, and those that would act
// on the gateway's own origin or speak in its name.
var withheld = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"Set-Cookie": true, "Www-Authenticate": true, "Authentication-Info": true, "Openai-Organization": true, "Openai-Project": true, "Anthropic-Organization-Id": true,
	"Alt-Svc": true, "Strict-Transport-Security": true, "Server": true, "Location": true, "Refresh": true,
	"X-Gateway-Error": true,
	// Written by the gateway, or by net/http.
	"Content-Length": true, "Date": true, "X-Request-Id": true,
}

// copyHeader copies the head of the answer. Trailers are not passed on: no provider's API has any.
func copyHeader(to, from http.Header) {
	var named map[string]bool
	for _, line := range from["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if named == nil {
				named = map[string]bool{}
			}
			named[textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))] = true
		}
	}
	for name, values := range from {
		if !withheld[name] && !named[name] && !strings.HasPrefix(name, "Access-Control-") {
			to[name] = values
		}
	}
	if id := from.Get("X-Request-Id"); id != "" {
		to["X-Upstream-Request-Id"] = []string{id}
	}
}
