package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwks is a set of keys as an issuer published it (RFC 7517 section 5), the usable ones only. It is
// never changed.
type jwks struct {
	keys []*key
	// fetched is when the fetch began: the answer may be that old.
	fetched time.Time
	// maxAge is how long it may be used without asking again.
	maxAge time.Duration
}

// key is a public key that verifies signatures.
type key struct {
	// id and alg are "" where the issuer gives none.
	id, alg string
	// public is the one key, in the form that go-oidc wants.
	public     []crypto.PublicKey
	thumbprint thumbprint
}

// thumbprint is RFC 7638's, of the key's material alone.
type thumbprint [sha256.Size]byte

// parseKeys reads a JWK set. A key that is malformed or of no use here is left out; a document that
// is no JWK set, or has a name twice anywhere, is an error. An empty set is a good answer: its issuer
// withdrew all keys.
func parseKeys(document []byte) ([]*key, error) {
	var set struct {
		Keys *[]jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("is not a JWK set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New("is not a JWK set: it has no keys member")
	}
	var keys []*key
	for _, member := range *set.Keys {
		if k := parseKey(member); k != nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// parseKey returns nil for a key that can't, or by its own use, key_ops or alg must not, verify
// signatures here: encryption keys, symmetric keys, RSA under 2048 bits (RFC 7518 section 3.3) or
// (go-jose's bound) over 4096, and keys whose private half was published with them.
func parseKey(member jsontext.Value) *key {
	var k struct {
		Kid    string         `json:"kid"`
		Alg    string         `json:"alg"`
		Use    string         `json:"use"`
		KeyOps []string       `json:"key_ops"`
		D      jsontext.Value `json:"d"`
		material
	}
	if json.Unmarshal(member, &k) != nil || k.D != nil {
		return nil
	}
	if k.Use != "" && k.Use != "sig" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		return nil
	}
	// Only the material goes on: a certificate beside it (x5c) says nothing that counts here, and one
	// that Go can't parse must not cost the key.
	bare, err := json.Marshal(k.material)
	if err != nil {
		return nil
	}
	var parsed jose.JSONWebKey
	if parsed.UnmarshalJSON(bare) != nil {
		return nil
	}
	if r, ok := parsed.Key.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
		return nil
	}
	sum, err := parsed.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil
	}
	return &key{id: k.Kid, alg: k.Alg, public: []crypto.PublicKey{parsed.Key}, thumbprint: thumbprint(sum)}
}

// material are the members of a JWK that make a public key (RFC 7518 section 6, RFC 8037).
type material struct {
	Kty string `json:"kty,omitzero"`
	Crv string `json:"crv,omitzero"`
	X   string `json:"x,omitzero"`
	Y   string `json:"y,omitzero"`
	N   string `json:"n,omitzero"`
	E   string `json:"e,omitzero"`
}

// fits reports whether the key may verify signatures of the algorithm. The key decides, never the
// token: a public key can't serve as an HMAC secret.
func (k *key) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public[0].(type) {
	case *rsa.PublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, alg)
	case *ecdsa.PublicKey: // RFC 7518 section 3.4: one curve for each algorithm
		return map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg] == public.Params().Name
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// find returns the key that the token's kid and alg lead to, or nil where there is none or where it
// isn't clear which: then a guess would decide. A token without kid leads to the only key that fits.
func (s *jwks) find(kid, alg string) *key {
	var found *key
	for _, k := range s.keys {
		if kid != "" && k.id != kid || !k.fits(alg) {
			continue
		}
		if found != nil && found.thumbprint != k.thumbprint {
			return nil
		}
		found = k
	}
	return found
}
