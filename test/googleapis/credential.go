package googleapis

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// credentials is the IAM Credentials API, which makes tokens for accounts.
func credentials() service {
	return service{methods: map[string]func(*call) (any, error){
		"iamcredentials.serviceAccounts.generateAccessToken": generateAccessToken,
		"iamcredentials.serviceAccounts.generateIdToken":     generateIDToken,
	}}
}

// live is the account that a token is asked for, by one who may.
func (c *call) live(permission string) (*resource, error) {
	r := c.resources[c.name]
	if r == nil || !c.may(c.caller, permission, r.name) {
		return nil, denied("Permission '%s' denied on resource (or it may not exist).", permission)
	}
	if get(r.body, "disabled") == true {
		return nil, precondition("Service account %s is disabled.", text(r.body, "email"))
	}
	return r, nil
}

func generateAccessToken(c *call) (any, error) {
	r, err := c.live("iam.serviceAccounts.getAccessToken")
	if err != nil {
		return nil, err
	}
	life := time.Hour
	if asked := text(c.body, "lifetime"); asked != "" {
		if life, err = time.ParseDuration(asked); err != nil || life <= 0 || life > time.Hour {
			return nil, invalid("The lifetime must be an hour at most.")
		}
	}
	if scopes, _ := c.body["scope"].([]any); len(scopes) == 0 {
		return nil, invalid("The scope is missing.")
	}
	token, until := c.mint(text(r.body, "email"), life)
	return map[string]any{"accessToken": token, "expireTime": until.UTC().Format(time.RFC3339)}, nil
}

// mint makes an access token.
func (c *Cloud) mint(email string, life time.Duration) (token string, until time.Time) {
	token, until = "ya29.c."+random(48), time.Now().Add(life)
	c.callers[token] = identity{email, until}
	return token, until
}

func generateIDToken(c *call) (any, error) {
	r, err := c.live("iam.serviceAccounts.getOpenIdToken")
	if err != nil {
		return nil, err
	}
	audience := text(c.body, "audience")
	if audience == "" {
		return nil, invalid("The audience is missing.")
	}
	withEmail, _ := c.body["includeEmail"].(bool)
	return map[string]any{"token": c.idToken(r, audience, withEmail)}, nil
}

// issuer is Google's, of ID tokens.
const issuer = "https://accounts.google.com"

func (c *Cloud) idToken(account *resource, audience string, withEmail bool) string {
	id := text(account.body, "uniqueId")
	claims := map[string]any{
		"iss": issuer, "aud": audience, "azp": id, "sub": id,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	if withEmail {
		claims["email"], claims["email_verified"] = text(account.body, "email"), true
	}
	return c.signer.Sign(nil, claims)
}

// IDToken is the token that the metadata server gives the account for the audience. It is empty where there is no
// such account.
func (c *Cloud) IDToken(email, audience string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	project, _ := c.accountID("-", email)
	r := c.resources["projects/"+project+"/serviceAccounts/"+email]
	if r == nil {
		return ""
	}
	return c.idToken(r, audience, true)
}

func (c *Cloud) openID() any {
	return map[string]any{
		"issuer": issuer, "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs", "token_endpoint": tokenURI,
		"authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth", "response_types_supported": []string{"code", "id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	}
}

// exchange is the token endpoint: it gives an access token for an assertion that a key signed (RFC 7523 section 2.1,
// developers.google.com/identity/protocols/oauth2/service-account#httprest).
func (c *Cloud) exchange(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, description string) {
		answer(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
	}
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse("unsupported_grant_type", "Invalid grant_type: "+r.PostForm.Get("grant_type"))
		return
	}
	signed, err := jose.ParseSignedCompact(r.PostForm.Get("assertion"), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		refuse("invalid_grant", "Invalid JWT: not a JWT signed with RS256.")
		return
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		IssuedAt int64  `json:"iat"`
		Expiry   int64  `json:"exp"`
		Target   string `json:"target_audience"`
	}
	payload, account := c.signed(signed)
	issued, expiry, now := time.Unix(0, 0), time.Unix(0, 0), time.Now()
	if account != nil && json.Unmarshal(payload, &claims) == nil {
		issued, expiry = time.Unix(claims.IssuedAt, 0), time.Unix(claims.Expiry, 0)
	}
	switch {
	case account == nil:
		refuse("invalid_grant", "Invalid JWT Signature.")
	case claims.Issuer != text(account.body, "email"):
		refuse("invalid_grant", "Invalid grant: account not found")
	case get(account.body, "disabled") == true:
		refuse("invalid_grant", "Invalid grant: account is disabled")
	case claims.Audience != tokenURI:
		refuse("invalid_grant", "Invalid JWT: Failed audience check.")
	case expiry.Sub(issued) > time.Hour || expiry.Before(now) || issued.After(now.Add(5*time.Minute)):
		refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	case claims.Target != "":
		answer(w, http.StatusOK, map[string]any{"id_token": c.idToken(account, claims.Target, true)})
	case strings.TrimSpace(claims.Scope) == "":
		refuse("invalid_scope", "Empty or missing scope not allowed.")
	default:
		token, _ := c.mint(claims.Issuer, time.Hour)
		answer(w, http.StatusOK, map[string]any{"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
	}
}

// signed verifies an assertion with the key that it names, and returns the key's account.
func (c *Cloud) signed(assertion *jose.JSONWebSignature) (payload []byte, account *resource) {
	id := assertion.Signatures[0].Header.KeyID
	for name, r := range c.resources {
		parent, ok := strings.CutSuffix(name, "/keys/"+id)
		if !ok || id == "" {
			continue
		}
		key, err := x509.ParsePKCS1PublicKey(r.data)
		if err != nil {
			continue
		}
		if payload, err = assertion.Verify(key); err == nil {
			return payload, c.resources[parent]
		}
	}
	return nil, nil
}
