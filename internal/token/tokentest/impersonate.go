package tokentest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LetImpersonate grants the Server's service account roles/iam.serviceAccountTokenCreator on another, or takes
// it away.
func (s *Server) LetImpersonate(account string, let bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others[account] = let
}

// impersonated returns the account that a path of generateAccessToken names.
func impersonated(path string) (account string, ok bool) {
	account, ok = strings.CutPrefix(path, "/v1/projects/-/serviceAccounts/")
	account, ends := strings.CutSuffix(account, ":generateAccessToken")
	account, err := url.PathUnescape(account)
	return account, ok && ends && err == nil
}

// generateAccessToken is
// docs.cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken.
func (s *Server) generateAccessToken(w http.ResponseWriter, r *http.Request, account string) {
	var asked struct {
		Scope    []string `json:"scope"`
		Lifetime string   `json:"lifetime"`
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	body := json.NewDecoder(r.Body)
	body.DisallowUnknownFields()
	malformed := body.Decode(&asked) != nil
	number, unit := strings.CutSuffix(asked.Lifetime, "s")
	seconds, err := strconv.Atoi(number)
	value, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller := s.tokens[value]
	switch {
	case s.down:
		refuseIAM(w, http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.")
	case r.Method != http.MethodPost || r.URL.RawQuery != "":
		refuseIAM(w, http.StatusNotFound, "NOT_FOUND", "Not found.")
	case !bearer || !time.Now().Before(caller.expiry):
		refuseIAM(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
	case !slices.ContainsFunc(caller.scopes, func(scope string) bool {
		return scope == "https://www.googleapis.com/auth/cloud-platform" || scope == "https://www.googleapis.com/auth/iam"
	}):
		refuseIAM(w, http.StatusForbidden, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
	case malformed || r.Header.Get("Content-Type") != "application/json" || len(asked.Scope) == 0 || slices.Contains(asked.Scope, ""):
		refuseIAM(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Request contains an invalid argument.")
	case err != nil || !unit || seconds <= 0 || seconds > 3600:
		refuseIAM(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The lifetime must be in seconds, and an hour at most.")
	case caller.account != email || !s.others[account]:
		refuseIAM(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).")
	default:
		expiry := time.Now().Add(time.Duration(seconds) * time.Second)
		write(w, http.StatusOK, map[string]string{
			"accessToken": s.token(account, asked.Scope, expiry),
			"expireTime":  expiry.UTC().Format(time.RFC3339),
		})
	}
}

func refuseIAM(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": code}})
}
