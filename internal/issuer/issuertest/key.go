package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
)

// Key is a signing key.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

// NewKey makes a key for ES256, ES384, ES512, EdDSA or, some hundred times slower, one of RSA's
// algorithms (2048 bits), with an ID of its own. It panics on any other algorithm.
func NewKey(alg jose.SignatureAlgorithm) *Key {
	return NewKeyID(alg, uuid())
}

// NewKeyID is NewKey with an ID, which another issuer may use too.
func NewKeyID(alg jose.SignatureAlgorithm, id string) *Key {
	var private crypto.Signer
	var err error
	switch alg {
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		panic("issuertest: no key for algorithm " + string(alg))
	}
	if err != nil {
		panic("issuertest: making a key: " + err.Error())
	}
	return &Key{ID: id, Algorithm: alg, private: private}
}

// Public is the key as its issuer publishes it.
func (k *Key) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"}
}

// Sign signs claims. The header says alg, typ JWT and kid, changed by header, where nil takes a
// parameter away. Whatever alg the header then names, the signature is of the key's own.
func (k *Key) Sign(header, claims map[string]any) string {
	h := overlay(map[string]any{"alg": k.Algorithm, "typ": "JWT", "kid": k.ID}, header)
	return k.SignBytes(encode(h), encode(claims))
}

// SignBytes signs a header and a payload as they are, JSON or not. (A jose.Signer would write
// its header itself.)
func (k *Key) SignBytes(header, payload []byte) string {
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := cryptosigner.Opaque(k.private).SignPayload([]byte(input), k.Algorithm)
	if err != nil {
		panic("issuertest: signing: " + err.Error())
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("issuertest: claims that are not JSON: " + err.Error())
	}
	return b
}

// subject is a service account's id: like Keycloak's, but the same for a client at every start.
func subject(id string) string {
	sum := sha256.Sum256([]byte(id))
	return format([16]byte(sum[:16]))
}
