// Package tokentest is Google's OAuth 2.0 token endpoint on loopback, for one service account: it
// exchanges assertions for access tokens (RFC 7523 section 2.1) and verifies them as Google does
// (developers.google.com/identity/protocols/oauth2/service-account#httprest). It is the IAM Credentials API
// too, which makes tokens of other accounts for that one (impersonate.go), and the token endpoint of an
// Entra tenant with one client (clientcredentials.go).
package tokentest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	email = "gateway@acme.iam.gserviceaccount.com"
	// skew is what Google allows clocks to differ.
	skew = 5 * time.Minute
)

// Server is a running token endpoint. Its tokens live for an hour, unless ExpiresIn says
// otherwise.
type Server struct {
	URL string

	listener net.Listener
	server   *http.Server

	mu     sync.Mutex
	open   *sync.Cond
	closed bool
	down   bool
	held   bool

	expiresIn int
	key       string // the current one's id
	keys      map[string]*rsa.PrivateKey
	tokens    map[string]token
	others    map[string]bool // the accounts that may be impersonated
	secret    string          // the client's
	exchanges int
}

// token is what is known of an access token.
type token struct {
	account string
	scopes  []string
	expiry  time.Time
}

// New starts a Server with one key.
func New() *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("tokentest: " + err.Error())
	}
	s := &Server{
		URL:       "http://" + listener.Addr().String(),
		listener:  listener,
		expiresIn: 3599, // what Google says
		keys:      map[string]*rsa.PrivateKey{},
		tokens:    map[string]token{},
		others:    map[string]bool{},
	}
	s.open = sync.NewCond(&s.mu)
	s.RotateKey()
	s.RotateClientSecret()
	s.server = &http.Server{Handler: s}
	go s.server.Serve(listener)
	return s
}

// Close ends the Server and every exchange under way.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.open.Broadcast()
	s.mu.Unlock()
	s.listener.Close() // the server may not know it yet
	s.server.Close()
}

// ServiceAccountKey returns the current key as the file that Google Cloud makes of it, whose token_uri
// is this Server.
func (s *Server) ServiceAccountKey() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	der, err := x509.MarshalPKCS8PrivateKey(s.keys[s.key])
	if err != nil {
		panic("tokentest: " + err.Error())
	}
	file, err := json.MarshalIndent(map[string]string{
		"type":           "service_account",
		"project_id":     "acme",
		"private_key_id": s.key,
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":   email,
		"client_id":      "100000000000000000001",
		"token_uri":      s.tokenURI(),
	}, "", "  ")
	if err != nil {
		panic("tokentest: " + err.Error())
	}
	return append(file, '\n')
}

// RotateKey adds a key, which becomes the current one. Former keys work until RevokeFormerKeys.
func (s *Server) RotateKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = hex.EncodeToString(random(20))
	s.keys[s.key] = pair()[len(s.keys)%2]
}

// RevokeFormerKeys deletes all keys but the current one.
func (s *Server) RevokeFormerKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = map[string]*rsa.PrivateKey{s.key: s.keys[s.key]}
}

// pair is made once a process, because making RSA keys is slow; servers and rotations take turns with it.
var pair = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic("tokentest: " + err.Error())
		}
		keys[i] = key
	}
	return keys
})

// ExpiresIn sets the life of the tokens to come, in seconds; with 0 the answer has no expires_in.
func (s *Server) ExpiresIn(seconds int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiresIn = seconds
}

// Down makes every exchange 503, or ends that.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Hold keeps exchanges waiting until release is called.
func (s *Server) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = false
		s.open.Broadcast()
	}
}

// Exchanges counts the requests that have arrived, whatever their answer.
func (s *Server) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchanges
}

// Valid reports whether an upstream would accept the access token now.
func (s *Server) Valid(accessToken string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.tokens[accessToken].expiry)
}

// Info returns the service account, or the client's id, that the access token was made for, and its scopes.
func (s *Server) Info(accessToken string) (account string, scopes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[accessToken]
	return t.account, t.scopes
}

// Revoke ends an access token.
func (s *Server) Revoke(accessToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, accessToken)
}

func (s *Server) tokenURI() string { return s.URL + "/token" }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges++
	for s.held && !s.closed {
		s.open.Wait()
	}
	if account, ok := impersonated(r.URL.EscapedPath()); ok {
		s.generateAccessToken(w, r, account)
		return
	}
	if s.down {
		refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable", "The service is currently unavailable.")
		return
	}
	if r.URL.Path == tenant {
		s.clientCredentials(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/token" || r.URL.RawQuery != "" {
		refuse(w, http.StatusNotFound, "invalid_request", "Not found.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ParseForm() != nil ||
		len(r.PostForm["grant_type"]) != 1 || len(r.PostForm["assertion"]) != 1 {
		refuse(w, http.StatusBadRequest, "invalid_request", "Bad Request")
		return
	}
	if grant := r.PostForm.Get("grant_type"); grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+grant)
		return
	}
	scopes, code, description := s.verify(r.PostForm.Get("assertion"), time.Now())
	if code != "" {
		refuse(w, http.StatusBadRequest, code, description)
		return
	}
	s.grant(w, email, scopes)
}

// grant answers with an access token (RFC 6749 section 5.1).
func (s *Server) grant(w http.ResponseWriter, account string, scopes []string) {
	life := time.Duration(s.expiresIn) * time.Second
	answer := map[string]any{"token_type": "Bearer"}
	if s.expiresIn > 0 {
		answer["expires_in"] = s.expiresIn
	} else {
		life = time.Hour
	}
	answer["access_token"] = s.token(account, scopes, time.Now().Add(life))
	write(w, http.StatusOK, answer)
}

func (s *Server) token(account string, scopes []string, expiry time.Time) string {
	value := "ya29.c." + base64.RawURLEncoding.EncodeToString(random(96))
	s.tokens[value] = token{account, scopes, expiry}
	return value
}

// verify returns the scopes asked for, or Google's error code and description.
func (s *Server) verify(assertion string, now time.Time) (scopes []string, code, description string) {
	signed, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, "invalid_grant", "Invalid JWT: not a JWT signed with RS256."
	}
	header := signed.Signatures[0].Header
	key, known := s.keys[header.KeyID]
	if !known {
		return nil, "invalid_grant", "Invalid JWT Signature."
	}
	payload, err := signed.Verify(&key.PublicKey)
	if err != nil {
		return nil, "invalid_grant", "Invalid JWT Signature."
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Scope    string `json:"scope"`
		IssuedAt int64  `json:"iat"`
		Expiry   int64  `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return nil, "invalid_grant", "Invalid JWT: claims are not a JSON object."
	}
	issued, expiry := time.Unix(claims.IssuedAt, 0), time.Unix(claims.Expiry, 0)
	switch {
	case header.ExtraHeaders[jose.HeaderType] != "JWT":
		return nil, "invalid_grant", "Invalid JWT: typ must be JWT."
	case claims.Issuer != email:
		return nil, "invalid_grant", "Invalid grant: account not found"
	case claims.Audience != s.tokenURI():
		return nil, "invalid_grant", "Invalid JWT: Failed audience check."
	case expiry.Sub(issued) > time.Hour || expiry.Before(now) || issued.After(now.Add(skew)):
		return nil, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
	case strings.TrimSpace(claims.Scope) == "":
		return nil, "invalid_scope", "Empty or missing scope not allowed."
	}
	return strings.Fields(claims.Scope), "", ""
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	write(w, status, map[string]string{"error": code, "error_description": description})
}

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}
