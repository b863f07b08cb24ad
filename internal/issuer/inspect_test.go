package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsNoJWTIsToldByItsName(t *testing.T) {
	w := newWorld(t, "")
	good := w.token(nil)
	if claims, err := Inspect(good); err != nil || string(claims) != string(claimsOf(good)) {
		t.Errorf("%s, %v", claims, err)
	}
	for raw, want := range map[string]string{
		"":                                       "no token",
		"canary":                                 "an opaque token",
		"ya29.canary":                            "an opaque token",
		"sk-canary":                              "a provider's API key",
		"eyJhbGc.canary.x.y.z":                   "an encrypted token",
		"eyJhbGc.canary.x.y":                     "an opaque token",
		"Bearer " + good:                         "more than a token",
		good + "\n" + good:                       "more than a token",
		"eyJhbGciOiJub25lIn0.W10.":               "claims set",
		"eyJ.canary!.x":                          "base64url",
		strings.Repeat("a", 17000) + ".canary.x": "16 KiB",
	} {
		claims, err := Inspect(raw)
		if err == nil || claims != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.40q: %v, want %s", raw, err, want)
		}
	}
}

func TestRemarksSayWhatARefusedTokenIs(t *testing.T) {
	w := newWorld(t, "require: {team: a}")
	for _, row := range []struct {
		name   string
		claims m
		want   []string
	}{
		{"good", m{}, nil},
		{"expired", m{"exp": w.time().Add(-time.Hour).Unix(), "iat": w.time().Add(-2 * time.Hour).Unix()}, []string{"it is expired since 2026-11-22T11:00:00Z, 1h0m0s ago"}},
		{"not yet valid", m{"nbf": w.time().Add(time.Hour).Unix()}, []string{"it is valid from 2026-11-22T13:00:00Z, in 1h0m0s"}},
		{"within the skew", m{"exp": w.time().Add(-time.Second).Unix()}, nil},
		{"another audience", m{"aud": []string{"account", "other"}}, []string{`its audience (aud) is ["account" "other"]; this gateway's is ["llm-gateway"]`}},
		{"no audience", m{"aud": nil}, []string{`its audience (aud) is []; this gateway's is ["llm-gateway"]`}},
		{"an ID token of Keycloak, and expired", m{"typ": "ID", "exp": w.time().Add(-90 * time.Minute).Unix(), "iat": w.time().Add(-2 * time.Hour).Unix()}, []string{"it is an ID token, which tells a client who logged in; the access token came beside it", "it is expired since 2026-11-22T10:30:00Z, 1h30m0s ago"}},
		{"an ID token", m{"typ": nil, "nonce": "n"}, []string{"it is an ID token, which tells a client who logged in; the access token came beside it"}},
		{"a refresh token", m{"typ": "Refresh"}, []string{"it is a refresh token, which is for its issuer alone"}},
		{"a slash too many", m{"iss": w.idp.URL + "/"}, []string{`its issuer (iss) is "` + w.idp.URL + `/"; did you mean ` + w.idp.URL + "?"}},
		{"another value", m{"team": "b"}, []string{`its claim team is "b"; "a" is required`}},
		{"no such claim", m{"team": nil}, []string{`its claim team is missing; "a" is required`}},
		{"no string", m{"team": 1}, []string{`its claim team is no string; "a" is required`}},
	} {
		claims := m{"team": "a"}
		for k, v := range row.claims {
			claims[k] = v
		}
		raw := w.token(claims)
		if diff := cmp.Diff(row.want, w.Remarks(claimsOf(raw))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", row.name, diff)
		}
		if _, err := w.Map(claimsOf(raw)); (err == nil) != (row.want == nil) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
