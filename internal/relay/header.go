package relay

import (
	"net/http"
	"net/textproto"
	"strings"
)

// forwarded are the client's headers that an upstream sees: an allow-list, so that credentials,
// cookies, X-Forwarded-*, account headers (OpenAI-Organization, OpenAI-Project), method and URL
// overrides (X-HTTP-Method-Override, X-Original-URL) and whatever is invented next stay here.
var forwarded = []string{"Accept", "Openai-Beta", "Traceparent", "Tracestate", "User-Agent", "X-Client-Request-Id"}

func requestHeader(client http.Header, call *Call) http.Header {
	h := http.Header{}
	for _, name := range forwarded {
		if v := client[name]; len(v) == 1 {
			h[name] = v
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // or net/http sends its own
	}
	if call.Body != nil {
		h.Set("Content-Type", call.ContentType)
	}
	h.Set("Accept-Encoding", "identity")
	return h
}

// withheld are the upstream's headers that a client does not see: those of the connection
// (RFC 9110 section 7.6.1), those that speak of our credential and account, and those that would act
// on the gateway's own origin or speak in its name.
var withheld = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"Set-Cookie": true, "Www-Authenticate": true, "Authentication-Info": true, "Openai-Organization": true, "Openai-Project": true,
	"Alt-Svc": true, "Strict-Transport-Security": true, "Server": true, "Location": true, "Refresh": true,
	"X-Gateway-Error": true,
	// Written by the gateway, or by net/http.
	"Content-Length": true, "Date": true, "X-Request-Id": true,
}

// copyHeader copies the head of the answer. Trailers are not passed on: no provider's API has any.
func copyHeader(to, from http.Header) {
	named := map[string]bool{}
	for _, line := range from["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			named[textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))] = true
		}
	}
	for name, values := range from {
		if !withheld[name] && !named[name] && !strings.HasPrefix(name, "Access-Control-") {
			to[name] = values
		}
	}
	if id := from.Get("X-Request-Id"); id != "" {
		to.Set("X-Upstream-Request-Id", id)
	}
}
