// Package principal holds the identity of a client as the rest of the gateway sees it: the
// outcome of verifying one access token, with nothing of the token's text left in it.
package principal

// Principal is one verified client. It is a value: packages pass it by pointer for speed, and
// none may change it, because one Principal serves every request that presents the same token.
type Principal struct {
	// Issuer is the configured issuer URL that the token's iss claim equals.
	Issuer string
	// Subject is the sub claim, or "" when the token has none.
	Subject string
	// ClientID is the first present claim of the issuer's client_id list. It is never empty.
	ClientID string
	// Groups are the client's groups with the issuer's prefix, sorted, without repeats.
	Groups []string
	// Scopes are the granted scopes (RFC 6749 section 3.3), in the order of the token.
	Scopes []string
	// Claims are the further string claims that the issuer's configuration names.
	Claims map[string]string
	// DroppedGroups counts claimed groups that were ignored because they began with another
	// issuer's prefix. Operators see it in the audit record.
	DroppedGroups int
}

// ID names the client over all issuers: "<issuer>#<client id>". It is the id of the Cedar
// entity and the principal of the audit record.
func (p *Principal) ID() string { return p.Issuer + "#" + p.ClientID }
