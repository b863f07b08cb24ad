package tokentest

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

const (
	// ClientID is the Entra client's.
	ClientID = "6731de76-14a6-49ae-97bc-6eba6914391e"
	// tenant is where its tenant's token endpoint is.
	tenant = "/acme.onmicrosoft.com/oauth2/v2.0/token"
)

// ClientTokenURL is the token endpoint of the Entra client.
func (s *Server) ClientTokenURL() string { return s.URL + tenant }

// ClientSecret returns the Entra client's secret. It has characters that must be encoded on the way.
func (s *Server) ClientSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// RotateClientSecret gives the Entra client another secret; the former one doesn't work any more.
func (s *Server) RotateClientSecret() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = "8Q~+/%: &=" + base64.RawURLEncoding.EncodeToString(random(24))
}

// clientCredentials is the client credentials grant (RFC 6749 section 4.4) as Entra has it
// (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow), for a client that
// authenticates by HTTP Basic, and by nothing else besides (section 2.3).
func (s *Server) clientCredentials(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	malformed := r.ParseForm() != nil
	for _, values := range r.PostForm { // section 3.2
		malformed = malformed || len(values) != 1
	}
	id, secret, basic := r.BasicAuth()
	id, errID := url.QueryUnescape(id) // section 2.3.1
	secret, errSecret := url.QueryUnescape(secret)
	scope := r.PostForm.Get("scope")
	switch {
	case r.Method != http.MethodPost || r.URL.RawQuery != "":
		refuse(w, http.StatusNotFound, "invalid_request", "Not found.")
	case malformed || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || errID != nil || errSecret != nil:
		refuse(w, http.StatusBadRequest, "invalid_request", "The request is malformed.")
	case r.PostForm.Has("client_secret"):
		refuse(w, http.StatusBadRequest, "invalid_request", "The client authenticates by HTTP Basic.")
	case r.PostForm.Get("grant_type") != "client_credentials":
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
	case basic && id != ClientID:
		refuse(w, http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
	case !basic || subtle.ConstantTimeCompare([]byte(secret), []byte(s.secret)) == 0:
		w.Header().Set("WWW-Authenticate", `Basic realm="acme"`) // section 5.2
		refuse(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	case strings.Contains(scope, " ") || !strings.HasSuffix(scope, "/.default"):
		refuse(w, http.StatusBadRequest, "invalid_scope", "AADSTS1002012: Client credential flows must have a scope value with /.default suffixed to the resource identifier.")
	default:
		s.grant(w, ClientID, []string{scope})
	}
}
