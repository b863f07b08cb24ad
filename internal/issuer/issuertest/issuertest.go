// Package issuertest is an honest identity provider on loopback, for tests and for the local
// demonstration: discovery (OpenID Connect Discovery 1.0), a JWK set (RFC 7517) and a token endpoint
// with the client_credentials grant (RFC 6749 section 4.4). Its tokens have the shape of Keycloak's.
// Its keys rotate, it can be slow or down, and it will sign anything it is told to, so that a test
// can hold a token against every check.
package issuertest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// path is a Keycloak realm's.
const path = "/realms/my-realm"

// Issuer is a running identity provider. Its methods are safe for concurrent use.
type Issuer struct {
	// URL is the issuer: what its tokens' iss claim says.
	URL    string
	server *httptest.Server

	mu                      sync.Mutex
	now                     func() time.Time
	keys                    []*Key // the last one signs
	clients                 map[string]Client
	cacheControl            string
	delay                   time.Duration
	outage                  Outage
	jwks                    []byte
	discoveries, keyFetches int
}

// Client is a registered machine client.
type Client struct {
	ID, Secret string
	Groups     []string
	// Audience is a string claim where there is one, as Keycloak writes it, else an array.
	Audience []string
	// Lifetime of its tokens; zero is five minutes.
	Lifetime time.Duration
	// Claims are added to its tokens, or replace what they have; nil takes a claim away.
	Claims map[string]any
}

// Outage is a way of being down.
type Outage int

const (
	// Up answers.
	Up Outage = iota
	// Failing answers everything with 500.
	Failing
	// Unreachable breaks every connection without an answer.
	Unreachable
)

// New starts an identity provider with one ES256 key. Close stops it.
func New() *Issuer {
	i := &Issuer{now: time.Now, clients: map[string]Client{}, cacheControl: "no-cache", keys: []*Key{NewKey(jose.ES256)}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path+"/.well-known/openid-configuration", i.serveDiscovery)
	mux.HandleFunc("GET "+path+"/protocol/openid-connect/certs", i.serveKeys)
	mux.HandleFunc("POST "+path+"/protocol/openid-connect/token", i.serveToken)
	i.server = httptest.NewServer(i.weather(mux))
	i.URL = i.server.URL + path
	return i
}

// Close stops the provider and waits for its requests.
func (i *Issuer) Close() { i.server.Close() }

// TokenURL is the token endpoint.
func (i *Issuer) TokenURL() string { return i.URL + "/protocol/openid-connect/token" }

// KeysURL is the JWK set's address, jwks_uri.
func (i *Issuer) KeysURL() string { return i.URL + "/protocol/openid-connect/certs" }

// AddClient registers a client, or replaces the one with its ID.
func (i *Issuer) AddClient(c Client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clients[c.ID] = c
}

// AddKey publishes a key and signs with it from now on; earlier keys stay published.
func (i *Issuer) AddKey(k *Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, k)
}

// Rotate does what AddKey does, with a new ES256 key, and returns it.
func (i *Issuer) Rotate() *Key {
	k := NewKey(jose.ES256)
	i.AddKey(k)
	return k
}

// RemoveKey withdraws a key. The last one left signs.
func (i *Issuer) RemoveKey(k *Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.DeleteFunc(i.keys, func(have *Key) bool { return have == k })
}

// Key returns the key that signs now.
func (i *Issuer) Key() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Sign signs claims with the key that signs now; see Key.Sign.
func (i *Issuer) Sign(header, claims map[string]any) string { return i.Key().Sign(header, claims) }

// Token returns what the token endpoint would give to the client.
func (i *Issuer) Token(id string) string { return i.Sign(nil, i.Claims(id)) }

// Claims returns a new token's claims for the client, for a test to change. It panics where no
// client has the ID.
func (i *Issuer) Claims(id string) map[string]any {
	i.mu.Lock()
	defer i.mu.Unlock()
	c, ok := i.clients[id]
	if !ok {
		panic("issuertest: no client " + id)
	}
	now := i.now()
	claims := map[string]any{
		"exp":                now.Add(c.lifetime()).Unix(),
		"iat":                now.Unix(),
		"jti":                "trrtcc:" + uuid(),
		"iss":                i.URL,
		"sub":                subject(c.ID),
		"typ":                "Bearer",
		"azp":                c.ID,
		"acr":                "1",
		"realm_access":       map[string]any{"roles": []string{"offline_access", "uma_authorization"}},
		"scope":              "profile email",
		"email_verified":     false,
		"clientHost":         "127.0.0.1",
		"preferred_username": "service-account-" + c.ID,
	}
	switch len(c.Audience) {
	case 0:
	case 1:
		claims["aud"] = c.Audience[0]
	default:
		claims["aud"] = c.Audience
	}
	if c.Groups != nil {
		claims["groups"] = c.Groups
	}
	return overlay(claims, c.Claims)
}

func (c Client) lifetime() time.Duration {
	if c.Lifetime == 0 {
		return 5 * time.Minute
	}
	return c.Lifetime
}

// SetClock replaces time.Now.
func (i *Issuer) SetClock(now func() time.Time) { i.set(func() { i.now = now }) }

// SetCacheControl replaces the JWK set's Cache-Control, "no-cache" as Keycloak's.
func (i *Issuer) SetCacheControl(value string) { i.set(func() { i.cacheControl = value }) }

// SetOutage takes the provider down, or up again.
func (i *Issuer) SetOutage(o Outage) { i.set(func() { i.outage = o }) }

// SetDelay makes every answer come so much later.
func (i *Issuer) SetDelay(d time.Duration) { i.set(func() { i.delay = d }) }

// SetKeys publishes a document in place of the JWK set; nil publishes the set again.
func (i *Issuer) SetKeys(document []byte) { i.set(func() { i.jwks = document }) }

func (i *Issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// Discoveries counts the requests for the discovery document, failed ones too.
func (i *Issuer) Discoveries() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.discoveries
}

// KeyFetches counts the requests for the JWK set, failed ones too.
func (i *Issuer) KeyFetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keyFetches
}

// weather counts a request, then lets it through, late or not at all.
func (i *Issuer) weather(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		switch r.URL.Path {
		case path + "/.well-known/openid-configuration":
			i.discoveries++
		case path + "/protocol/openid-connect/certs":
			i.keyFetches++
		}
		delay, outage := i.delay, i.outage
		i.mu.Unlock()

		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
		switch outage {
		case Failing:
			http.Error(w, "down", http.StatusInternalServerError)
		case Unreachable:
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (i *Issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                i.URL,
		"jwks_uri":                              i.KeysURL(),
		"token_endpoint":                        i.TokenURL(),
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256"},
		"response_types_supported":              []string{"none"},
		"subject_types_supported":               []string{"public"},
	})
}

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	document, cacheControl := i.jwks, i.cacheControl
	i.mu.Unlock()

	w.Header().Set("Cache-Control", cacheControl)
	if document != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Write(document)
		return
	}
	answer(w, http.StatusOK, set)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// overlay changes m as changes say; nil takes a member away.
func overlay(m, changes map[string]any) map[string]any {
	for name, v := range changes {
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	return m
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	return format(b)
}

func format(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
