package issuer

import (
	"slices"
	"strings"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
)

// checkClaims checks what a claims set says of itself, but for its issuer, and returns its expiry.
// Nothing is verified yet: passing means only that a signature would make it good.
func (is *trusted) checkClaims(claims map[string]any, now time.Time) (exp time.Time, err error) {
	aud, ok := texts(claims["aud"])
	if !ok || !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(is.Audiences, a) }) {
		return exp, refuse("the token's audience (aud) does not name this gateway; ask the issuer for a token with the gateway's audience")
	}
	if exp, err = is.checkTimes(claims, now); err != nil {
		return exp, err
	}
	// Keycloak says Bearer, ID, Refresh, Offline, DPoP …; others say nothing here.
	if typ, ok := claims["typ"]; ok && typ != "Bearer" {
		return exp, refuse("the token's type (typ claim) is not Bearer; send the access token, not an ID or refresh token")
	}
	// OpenID Connect Core section 2 (nonce) and 3.1.3.6 (at_hash).
	for _, name := range []string{"nonce", "at_hash"} {
		if _, ok := claims[name]; ok {
			return exp, refuse("the token's type is that of an ID token (it has %s); send the access token", name)
		}
	}
	// RFC 7800: the token is good only in the hands of a key's holder, which can't be checked here.
	if _, ok := claims["cnf"]; ok {
		return exp, refuse("the token is bound to a proof of possession (cnf), which this gateway can't check; ask for a bearer token")
	}
	for _, name := range is.required {
		if claims[name] != is.Require[name] {
			return exp, refuse("the token's claim %s, a required claim, is missing or has another value than this gateway wants; use a client that has it", public(name))
		}
	}
	return exp, nil
}

// checkTimes is RFC 7519 sections 4.1.4 to 4.1.6, with clock_skew for leeway, and the bound on how
// long a stolen token is of use.
func (is *trusted) checkTimes(claims map[string]any, now time.Time) (exp time.Time, err error) {
	exp, hasExp, err := date(claims, "exp")
	if err != nil {
		return exp, err
	}
	nbf, _, err := date(claims, "nbf")
	if err != nil {
		return exp, err
	}
	iat, hasIat, err := date(claims, "iat")
	if err != nil {
		return exp, err
	}
	if !hasIat {
		iat = now
	}
	switch {
	case !hasExp:
		return exp, refuse("the token has no expiry (exp); have its issuer set one")
	case !now.Before(exp.Add(is.ClockSkew)):
		return exp, apierror.New(apierror.ExpiredToken, "the token's expiry (exp) has passed; fetch a new token")
	case nbf.After(now.Add(is.ClockSkew)):
		return exp, refuse("the token is not yet valid (nbf); wait, or set the clock of its issuer")
	case iat.After(now.Add(is.ClockSkew)):
		return exp, refuse("the token was issued in the future (iat); set the clock of its issuer")
	case exp.Sub(iat) > is.MaxTokenLifetime:
		return exp, refuse("the token's lifetime (exp - iat) is longer than this gateway allows; have its issuer give it at most %s", is.MaxTokenLifetime)
	}
	return exp, nil
}

// latest is the end of the year 9999: times beyond it overflow somewhere.
const latest = 253402300799

// date reads a NumericDate (RFC 7519 section 2), which may have a fraction.
func date(claims map[string]any, name string) (t time.Time, present bool, err error) {
	v, present := claims[name]
	if !present {
		return t, false, nil
	}
	n, ok := v.(float64)
	if !ok || n < 0 || n > latest {
		return t, true, refuse("the token's %s is not a number of seconds since 1970; have its issuer write one", dateNames[name])
	}
	return time.UnixMicro(int64(n * 1e6)), true, nil
}

var dateNames = map[string]string{"exp": "expiry (exp)", "nbf": "start of validity (nbf)", "iat": "time of issue (iat)"}

// texts reads a claim that is one string or an array of them.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		all := make([]string, len(v))
		for i, each := range v {
			s, ok := each.(string)
			if !ok {
				return nil, false
			}
			all[i] = s
		}
		return all, true
	}
	return nil, false
}

// public is a configured name as a challenge can carry it (RFC 6750 section 3).
func public(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "(its name is in the gateway's configuration)"
	}
	return name
}
