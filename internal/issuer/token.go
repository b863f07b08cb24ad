package issuer

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"
)

// maxToken bounds a token's text: real ones hold 1 to 4 KiB, and proxies on the way rarely carry
// headers over 16.
const maxToken = 16 << 10

// token is a JWT whose form was checked and nothing else: its claims are only what it says of itself.
type token struct {
	header, claims map[string]any
	// alg and kid are the header's; kid is "" where there is none.
	alg, kid string
}

// parse takes a compact JWS (RFC 7515 section 3.1) apart.
func parse(raw string) (*token, error) {
	parts, err := split(raw)
	if err != nil {
		return nil, err
	}
	var t token
	if t.header = object(parts[0]); t.header == nil {
		return nil, refuse("the token's header is not a JSON object that every reader reads alike; fetch a new token")
	}
	if t.claims = object(parts[1]); t.claims == nil {
		return nil, refuseClaims()
	}
	return &t, t.readHeader()
}

// split returns header, payload and signature.
func split(raw string) (parts [3][]byte, err error) {
	texts := strings.Split(raw, ".")
	if len(texts) != len(parts) {
		return parts, refuse("the token's form is not that of a JWT, three parts parted by dots; send the access token alone")
	}
	for i, text := range texts {
		var ok bool
		if parts[i], ok = decode(text); !ok {
			return parts, refuse("the token's form is not base64url without padding; send it as it was issued")
		}
	}
	return parts, nil
}

// object reads a JSON object strictly (RFC 7493): no name twice at any depth, valid UTF-8, nothing
// after it; so that no other reader of the same token can see another issuer or key in it. It
// returns nil for anything else.
func object(text []byte) map[string]any {
	var o map[string]any
	if json.Unmarshal(text, &o) != nil {
		return nil
	}
	return o
}

// decode refuses what Go's decoder forgives: line breaks, and bits that stand for nothing, with
// which one token would have many texts.
func decode(part string) ([]byte, bool) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return b, err == nil
}

// refused are header parameters that would have the token be read in a way, or with a key, of its
// own choosing (RFC 7515 sections 4.1.2 to 4.1.6, RFC 7516, RFC 7797). crit says that a reader must
// understand extensions; this one understands none.
var refused = []string{"crit", "jwk", "jku", "x5u", "x5c", "zip", "enc", "b64"}

func (t *token) readHeader() error {
	for _, name := range refused {
		if _, ok := t.header[name]; ok {
			if name == "jwk" || name == "jku" || name == "x5u" || name == "x5c" {
				return refuse("the token's header brings its own key (%s); a key counts only where its issuer publishes it", name)
			}
			return refuse("the token's header has %s, which this gateway does not support; have its issuer leave it out", name)
		}
	}
	// RFC 7515 section 4.1.9: typ is a media type, whose case does not matter. at+jwt is RFC 9068's.
	if typ, ok := t.header["typ"]; ok {
		s, _ := typ.(string)
		if !slices.Contains([]string{"jwt", "at+jwt", "application/at+jwt"}, strings.ToLower(s)) {
			return refuse("the token's type (typ in its header) is not JWT or at+jwt; send an access token")
		}
	}
	if kid, ok := t.header["kid"]; ok {
		if t.kid, ok = kid.(string); !ok {
			return refuse("the token's key (kid in its header) is not a string; fetch a new token")
		}
	}
	t.alg, _ = t.header["alg"].(string)
	return nil
}

// checkHeader wants one of the issuer's algorithms. They are all asymmetric: with HMAC, whoever
// knows the public key could sign.
func (is *trusted) checkHeader(t *token) error {
	if !slices.Contains(is.Algorithms, t.alg) {
		return refuse("the token's algorithm (alg) is not one that this gateway takes from its issuer; have the issuer sign with %s", strings.Join(is.Algorithms, " or "))
	}
	return nil
}

// checkSignature has go-oidc verify raw with k and no other key. What else it checks was checked
// before, with this package's leeway and words.
func (is *trusted) checkSignature(ctx context.Context, raw, alg string, k *key) error {
	keys := &oneKey{StaticKeySet: oidc.StaticKeySet{PublicKeys: k.public}}
	verifier := oidc.NewVerifier(is.URL, keys, &oidc.Config{
		SupportedSigningAlgs: []string{alg},
		// Any of several audiences will do, and go-oidc knows one.
		SkipClientIDCheck: true,
		// go-oidc has no leeway for exp and a fixed one for nbf, clock_skew notwithstanding.
		SkipExpiryCheck: true,
	})
	if _, err := verifier.Verify(ctx, raw); err != nil {
		if keys.verified {
			return refuse("the form of one of the token's claims is not that of OpenID Connect Core; fetch a new token") // its error may quote them
		}
		return refuse("the token's signature does not match its issuer's key; fetch a new token and send it unchanged")
	}
	return nil
}

// oneKey tells a signature that doesn't match from what go-oidc may find after it.
type oneKey struct {
	oidc.StaticKeySet
	verified bool
}

func (o *oneKey) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	payload, err := o.StaticKeySet.VerifySignature(ctx, raw)
	o.verified = err == nil
	return payload, err
}
