package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/test/corpora"
)

// TestWycheproof holds C2SP's vectors for JSON Web Signatures and Keys against the reading of JWK
// sets, the choice of a key and the check of a signature. The payloads are no claims sets, so that
// part of the walk is left out; the whole walk refuses each, be its signature ever so good, with a 401.
func TestWycheproof(t *testing.T) {
	asymmetric := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	for _, name := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		t.Run(name, func(t *testing.T) {
			document, err := os.ReadFile(corpora.Files(t, "wycheproof/"+name)[0])
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				TestGroups []struct {
					Comment         string
					Public, Private json.RawMessage
					Tests           []struct {
						TcID            int
						Comment, Result string
						JWS             json.RawMessage
					}
				}
			}
			if err := json.Unmarshal(document, &file); err != nil {
				t.Fatal(err)
			}
			published := filepath.Join(t.TempDir(), "jwks.json")
			accepted, refused := 0, 0
			for _, g := range file.TestGroups {
				set := g.Public
				symmetric := set == nil
				if symmetric {
					set = g.Private
				}
				if !strings.Contains(string(set), `"keys"`) {
					set = fmt.Appendf(nil, `{"keys":[%s]}`, set)
				}
				keys, err := parseKeys(set)
				if err != nil {
					t.Errorf("%s: %v", g.Comment, err)
				}
				var whole *Issuers
				if len(keys) > 0 { // a file without a usable key is a fault
					if err := os.WriteFile(published, set, 0o600); err != nil {
						t.Fatal(err)
					}
					whole = (&world{clock: &clock{}}).trust(t, fmt.Sprintf("{url: 'https://a.example', audiences: [gw], jwks: {file: %q}}", published))
				}
				for _, v := range g.Tests {
					if v.JWS == nil {
						continue // encryption, which no access token has
					}
					raw := string(v.JWS) // an object is the JSON serialization
					if json.Unmarshal(v.JWS, &raw) != nil {
						raw = string(v.JWS)
					}
					want := v.Result == "valid"
					switch {
					case symmetric:
						want = false // HMAC never
					case v.Comment == "Figure20", v.Comment == "Figure27":
						want = false // the key's alg is PS256, ES521; the token's is PS384, ES512
					case v.Comment == "SaltLenChanged":
						continue // go-jose takes a salt of any length: odd, but only the key's holder can make it
					case v.Comment == "rejectsKeyWithRocaVulnerability":
						continue // weak keys of one maker's chips, 2017: not looked for
					}
					got := verifies(t, asymmetric, keys, raw)
					if got != want {
						t.Errorf("%s, vector %d (%s): accepted %t, want %t", g.Comment, v.TcID, v.Comment, got, want)
					}
					if whole != nil {
						_, _, err := whole.Verify(t.Context(), hidden.New(raw))
						if e, ok := errors.AsType[*apierror.Error](err); !ok || e.Kind != apierror.InvalidToken {
							t.Errorf("%s, vector %d (%s): the whole walk answers %v", g.Comment, v.TcID, v.Comment, err)
						}
					}
					if got {
						accepted++
					} else {
						refused++
					}
				}
			}
			if refused == 0 || accepted == 0 {
				t.Errorf("%d accepted, %d refused: the vectors were not read", accepted, refused)
			}
			t.Logf("%d accepted, %d refused", accepted, refused)
		})
	}
}

func verifies(t *testing.T, algorithms []string, keys []*key, raw string) bool {
	parts, err := split(raw)
	if err != nil {
		return false
	}
	tok := token{header: object(parts[0])}
	if tok.header == nil || tok.readHeader() != nil || !slices.Contains(algorithms, tok.alg) {
		return false
	}
	k := (&jwks{keys: keys}).find(tok.kid, tok.alg)
	if k == nil {
		return false
	}
	_, err = (&oneKey{StaticKeySet: oidc.StaticKeySet{PublicKeys: k.public}}).VerifySignature(t.Context(), raw)
	return err == nil
}

// TestJSONTestSuite holds nst/JSONTestSuite against the reading of headers and claims sets.
func TestJSONTestSuite(t *testing.T) {
	for _, file := range corpora.Files(t, "json-test-suite/test_parsing/[yn]_*.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		want := name[0] == 'y' && strings.HasPrefix(strings.TrimSpace(string(text)), "{") && !strings.HasPrefix(name, "y_object_duplicated_key")
		if got := object(text) != nil; got != want {
			t.Errorf("%s: read %t, want %t", name, got, want)
		}
	}
}
