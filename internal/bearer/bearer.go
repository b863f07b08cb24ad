// Package bearer is the gateway's side of RFC 6750: it takes the client's access token from a
// request, and tells a client that was refused how to do better.
package bearer

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/hidden"
)

// carriers are the headers a token may come in. The first is RFC 6750's; the others are where the
// providers' SDKs put what they take for a key.
var carriers = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Api-Key"}

// inQuery are the parameters in which providers, and RFC 6750 section 2.3, would take a token. A URL
// ends up in logs, so a token there is refused even when another stands in a header.
var inQuery = []string{"access_token", "key", "api_key", "api-key", "apikey", "token"}

// Token returns the access token of r. Several headers may carry it only where they carry the same.
// What it returns is not yet known to be a token at all.
func Token(r *http.Request) (hidden.Text, error) {
	query, _ := url.ParseQuery(r.URL.RawQuery) // what is malformed can't be read upstream either: operation refuses it
	for name := range query {
		for _, refused := range inQuery {
			if strings.EqualFold(name, refused) {
				return hidden.Text{}, apierror.New(apierror.InvalidRequest, "a token in the query string ends up in logs; send Authorization: Bearer and revoke this one")
			}
		}
	}
	token := ""
	for _, name := range carriers {
		values := r.Header[name]
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 {
			return hidden.Text{}, apierror.New(apierror.InvalidRequest, "the header %s is sent twice; send one token", name)
		}
		value := strings.TrimSpace(values[0])
		if name == "Authorization" {
			scheme, rest, _ := strings.Cut(value, " ")
			if !strings.EqualFold(scheme, "Bearer") {
				return hidden.Text{}, apierror.New(apierror.MissingToken, "the Authorization header has another scheme than Bearer; send an access token of your identity provider as Bearer")
			}
			value = strings.TrimSpace(rest)
		}
		if value == "" {
			continue
		}
		if token != "" && token != value {
			return hidden.Text{}, apierror.New(apierror.InvalidRequest, "two headers carry different tokens; send one")
		}
		token = value
	}
	if token == "" {
		return hidden.Text{}, apierror.New(apierror.MissingToken, "no token came with the request; send an access token of your identity provider as Authorization: Bearer")
	}
	return hidden.New(token), nil
}

// Challenge adds WWW-Authenticate (RFC 6750 section 3) to an answer that refuses a token or what it
// may do. Other errors are left alone. metadata is the address of the RFC 9728 document.
func Challenge(h http.Header, err *apierror.Error, metadata string) {
	var code string
	switch err.Kind {
	case apierror.MissingToken: // section 3.1: no error code where no token came
	case apierror.InvalidToken, apierror.ExpiredToken:
		code = "invalid_token"
	case apierror.OperationNotAllowed, apierror.ModelNotAllowed:
		code = "insufficient_scope"
	default:
		return
	}
	challenge := "Bearer "
	if code != "" {
		challenge += `error="` + code + `", error_description="` + quotable(err.Message) + `", `
	}
	h.Set("WWW-Authenticate", challenge+`resource_metadata="`+quotable(metadata)+`"`)
}

// quotable keeps the characters that RFC 6750 section 3 allows in error_description.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '\''
		}
		return r
	}, s)
}

// MetadataPath is where RFC 9728 section 3 puts the document.
const MetadataPath = "/.well-known/oauth-protected-resource"

// Resource is this gateway's resource identifier: server.url, or https:// and the host that the
// client addressed.
func Resource(server string, r *http.Request) string {
	if server != "" {
		return strings.TrimRight(server, "/")
	}
	return "https://" + r.Host
}

// WriteMetadata answers with the protected resource metadata of RFC 9728 section 2.
func WriteMetadata(w http.ResponseWriter, resource string, issuers []string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	json.NewEncoder(w).Encode(struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Methods  []string `json:"bearer_methods_supported"`
	}{resource, issuers, []string{"header"}})
}
