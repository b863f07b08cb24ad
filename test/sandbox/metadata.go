package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Metadata is what Google's metadata server knows on Cloud Run and in Cloud Build
// (docs.cloud.google.com/run/docs/container-contract, docs.cloud.google.com/compute/docs/metadata).
type Metadata struct {
	Project string
	// Number is the project's.
	Number string
	Region string
	// Account is the email of the service account that everything runs as.
	Account string
	// AccessToken makes an access token of the account; no scopes means cloud-platform.
	AccessToken func(scopes []string) (token string, lifetime time.Duration, err error)
	// IDToken makes an ID token of the account. Only the full ones have an email.
	IDToken func(audience string, full bool) (token string, err error)
}

const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// ServeHTTP answers as the metadata server does, which refuses requests without Metadata-Flavor, and
// those that were forwarded.
func (m Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	w.Header().Set("Server", "Metadata Server for Serverless")
	w.Header().Set("Content-Type", "application/text")
	path, below := strings.CutPrefix(r.URL.Path, "/computeMetadata/v1/")
	switch {
	case r.URL.Path == "/": // how clients find out whether there is one
		fmt.Fprintln(w, "computeMetadata/")
		return
	case r.Header.Get("Metadata-Flavor") != "Google":
		http.Error(w, "missing required header: Metadata-Flavor", http.StatusForbidden)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "a forwarded request", http.StatusForbidden)
		return
	case r.Method != http.MethodGet:
		http.Error(w, r.Method, http.StatusMethodNotAllowed)
		return
	case !below:
		http.NotFound(w, r)
		return
	}
	const accounts = "instance/service-accounts"
	if text, ok := map[string]string{
		"project/project-id":         m.Project,
		"project/numeric-project-id": m.Number,
		"universe/universe-domain":   "googleapis.com",
		"instance/id":                strings.Repeat("0", 64),
		"instance/region":            "projects/" + m.Number + "/regions/" + m.Region,
		"instance/zone":              "projects/" + m.Number + "/zones/" + m.Region + "-1",
		accounts + "/":               "default/\n" + m.Account + "/\n",
	}[path]; ok {
		fmt.Fprint(w, text)
		return
	}
	account, leaf, ok := strings.Cut(strings.TrimPrefix(path, accounts+"/"), "/")
	switch {
	case path == accounts || strings.HasPrefix(path, accounts+"/") && !ok:
		http.Redirect(w, r, r.URL.Path+"/", http.StatusMovedPermanently)
	case !ok || account != "default" && account != m.Account:
		http.NotFound(w, r)
	default:
		m.account(w, r, leaf)
	}
}

// account answers what is below the service account.
func (m Metadata) account(w http.ResponseWriter, r *http.Request, leaf string) {
	query := r.URL.Query()
	switch leaf {
	case "":
		if query.Get("recursive") != "true" {
			fmt.Fprint(w, "aliases\nemail\nidentity\nscopes\ntoken\n")
			return
		}
		writeJSON(w, map[string]any{"aliases": []string{"default"}, "email": m.Account, "scopes": []string{cloudPlatform}})
	case "aliases":
		fmt.Fprintln(w, "default")
	case "email":
		fmt.Fprint(w, m.Account)
	case "scopes":
		fmt.Fprintln(w, cloudPlatform)
	case "token":
		scopes := []string{cloudPlatform}
		if s := query.Get("scopes"); s != "" {
			scopes = strings.Split(s, ",")
		}
		token, lifetime, err := m.AccessToken(scopes)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound) // retried, if it were a 5xx
			return
		}
		writeJSON(w, map[string]any{"access_token": token, "expires_in": int(lifetime.Seconds()), "token_type": "Bearer"})
	case "identity":
		audience := query.Get("audience")
		if audience == "" {
			http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
			return
		}
		token, err := m.IDToken(audience, query.Get("format") == "full")
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprint(w, token)
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
