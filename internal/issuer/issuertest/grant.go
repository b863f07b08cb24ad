package issuertest

import (
	"crypto/subtle"
	"mime"
	"net/http"
	"net/url"
)

// maxForm bounds a token request.
const maxForm = 64 << 10

// serveToken is the client_credentials grant: RFC 6749 sections 2.3.1, 4.4 and 5. Unlike Keycloak,
// which says unauthorized_client where a secret is wrong, it says invalid_client, as section 5.2 does.
func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		refuse(w, http.StatusBadRequest, "invalid_request", "send the parameters as application/x-www-form-urlencoded")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "the form is malformed, or not in the body alone")
		return
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			refuse(w, http.StatusBadRequest, "invalid_request", "a parameter is given twice")
			return
		}
	}
	id, secret, basic := r.BasicAuth()
	if basic {
		var errID, errSecret error
		id, errID = url.QueryUnescape(id)
		secret, errSecret = url.QueryUnescape(secret)
		if errID != nil || errSecret != nil || r.PostForm.Has("client_secret") {
			refuse(w, http.StatusBadRequest, "invalid_request", "authenticate once, form-encoded")
			return
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	i.mu.Lock()
	c, ok := i.clients[id]
	i.mu.Unlock()
	if !ok || c.Secret == "" || subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1 {
		if basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="my-realm"`)
		}
		refuse(w, http.StatusUnauthorized, "invalid_client", "no such client, or another secret")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
	case "":
		refuse(w, http.StatusBadRequest, "invalid_request", "grant_type is missing")
		return
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "the grant is client_credentials")
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token":       i.Token(id),
		"token_type":         "Bearer",
		"expires_in":         int(c.lifetime().Seconds()),
		"refresh_expires_in": 0,
		"not-before-policy":  0,
		"scope":              "profile email",
	})
}

// refuse is RFC 6749 section 5.2.
func refuse(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]string{"error": code, "error_description": description})
}
