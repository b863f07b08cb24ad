package issuer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/config"
)

// Inspect returns the claims set in raw for a person to look at, unverified. Where raw is no JWT that
// can be read, the error says what it is instead, with nothing of it.
func Inspect(raw string) (claims []byte, err error) {
	switch parts := strings.Count(raw, ".") + 1; {
	case raw == "":
		return nil, errors.New("there is no token")
	case strings.ContainsAny(raw, " \t\r\n"):
		return nil, errors.New("this is more than a token; give the text of the access token alone")
	case parts == 5:
		return nil, errors.New("this is an encrypted token (JWE, five parts), which only whom it is for can read; have the issuer sign its access tokens, and not encrypt them")
	case parts != 3 && strings.HasPrefix(raw, "sk-"):
		return nil, errors.New("this is a provider's API key, and no token; clients of the gateway have none, and this one should be revoked if it was shown to others")
	case parts != 3:
		return nil, errors.New("this is an opaque token, which only its issuer can read; ask the issuer for access tokens that are JWTs (with Auth0, by asking for an audience; Google's access tokens never are, but its ID tokens)")
	case len(raw) > maxToken:
		return nil, refuse("the token's size is over 16 KiB; have its issuer put fewer claims in it")
	}
	parts, err := split(raw)
	if err != nil {
		return nil, err
	}
	if object(parts[1]) == nil {
		return nil, refuseClaims()
	}
	return parts[1], nil
}

// Remarks are what a person should know of the claims of a token that was refused, over what its client
// is told: what they are, and what would have been expected.
func (s *Issuers) Remarks(claims []byte) []string {
	set := object(claims)
	var all []string
	remark := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	has := func(name string) bool { _, ok := set[name]; return ok }
	if typ := set["typ"]; typ == "Refresh" || typ == "Offline" {
		remark("it is a refresh token, which is for its issuer alone")
	} else if typ == "ID" || has("nonce") || has("at_hash") {
		remark("it is an ID token, which tells a client who logged in; the access token came beside it")
	}
	iss, _ := set["iss"].(string)
	is := s.byURL[iss]
	if is == nil {
		var known []string
		for url := range s.byURL {
			known = append(known, url)
		}
		slices.Sort(known)
		remark("its issuer (iss) is %q; %s", iss, config.Suggest(iss, known))
	} else if aud, _ := texts(set["aud"]); !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(is.Audiences, a) }) {
		remark("its audience (aud) is %q; this gateway's is %q", aud, is.Audiences)
	}
	now, skew := s.now(), time.Duration(0)
	if is != nil {
		skew = is.ClockSkew
	}
	if exp, has, err := date(set, "exp"); has && err == nil && !now.Before(exp.Add(skew)) {
		remark("it is expired since %s, %s ago", exp.UTC().Format(time.RFC3339), now.Sub(exp).Round(time.Second))
	}
	if nbf, has, err := date(set, "nbf"); has && err == nil && nbf.After(now.Add(skew)) {
		remark("it is valid from %s, in %s", nbf.UTC().Format(time.RFC3339), nbf.Sub(now).Round(time.Second))
	}
	if is != nil {
		for _, name := range is.required {
			if got := set[name]; got != is.Require[name] {
				remark("its claim %s is %s; %q is required", name, value(got), is.Require[name])
			}
		}
	}
	return all
}

func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "missing"
	case string:
		return fmt.Sprintf("%q", v)
	}
	return "no string"
}
