// Package secrettest is Secret Manager on loopback: the part of its REST API v1 that reads a
// version (cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access).
//
// It answers as Google does: with the version's resolved name under the project's number, the
// payload in base64, its CRC32C as a string, and errors in Google's JSON. It refuses whatever the
// genuine client wouldn't send, and any credential, because a token must not be sent to loopback.
package secrettest

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// projectNumber is the one project's; Google resolves names to it.
const projectNumber = "100000000001"

// Server is a running Secret Manager. Names of secrets are projects/PROJECT/secrets/NAME.
type Server struct {
	URL string

	listener net.Listener
	server   *http.Server

	mu     sync.Mutex
	open   *sync.Cond
	closed bool
	down   bool
	held   bool

	secrets map[string][]version
	denied  map[string]bool
	reads   map[string]int
}

type version struct {
	data     []byte
	disabled bool
}

// New starts a Server without secrets.
func New() *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("secrettest: " + err.Error())
	}
	s := &Server{
		URL:      "http://" + listener.Addr().String(),
		listener: listener,
		secrets:  map[string][]version{},
		denied:   map[string]bool{},
		reads:    map[string]int{},
	}
	s.open = sync.NewCond(&s.mu)
	s.server = &http.Server{Handler: s}
	go s.server.Serve(listener)
	return s
}

// Close ends the Server and every answer under way.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.open.Broadcast()
	s.mu.Unlock()
	s.listener.Close() // the server may not know it yet
	s.server.Close()
}

// Add adds a version to the secret, which is made where it isn't there, and returns the version's
// resolved name.
func (s *Server) Add(secret string, data []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[secret] = append(s.secrets[secret], version{data: data})
	return resolved(secret, len(s.secrets[secret]))
}

// Disable disables a version, named as Add returned it.
func (s *Server) Disable(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret, versions := range s.secrets {
		for i := range versions {
			if resolved(secret, i+1) == name {
				versions[i].disabled = true
			}
		}
	}
}

// Deny takes the right to read the secret away, or gives it back.
func (s *Server) Deny(secret string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied[secret] = denied
}

// Down makes every read 503, or ends that.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Hold keeps reads waiting until release is called.
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

// Reads counts the reads of the secret that have arrived, whatever their answer.
func (s *Server) Reads(secret string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[secret]
}

var accessPath = regexp.MustCompile(`^/v1/((projects/[^/]+/secrets/[A-Za-z0-9_-]+)/versions/([0-9]+|latest)):access$`)

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := accessPath.FindStringSubmatch(r.URL.Path)
	switch {
	case r.Method != http.MethodGet || m == nil:
		refuse(w, http.StatusNotFound, "NOT_FOUND", "Method not found.")
		return
	case r.Header.Get("Authorization") != "":
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "A credential was sent to a loopback address.")
		return
	case !strings.Contains(r.Header.Get("X-Goog-Api-Client"), "gapic/") || r.ContentLength > 0:
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The request isn't the Secret Manager client's.")
		return
	}
	s.access(w, m[1], m[2], m[3])
}

func (s *Server) access(w http.ResponseWriter, name, secret, alias string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[secret]++
	for s.held && !s.closed {
		s.open.Wait()
	}
	versions := s.secrets[secret]
	n := len(versions) // latest is the newest, whatever its state
	if alias != "latest" {
		n, _ = strconv.Atoi(alias)
	}
	switch {
	case s.down:
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.")
	case s.denied[secret]:
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED",
			fmt.Sprintf("Permission 'secretmanager.versions.access' denied for resource '%s' (or it may not exist).", name))
	case len(versions) == 0:
		refuse(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("Secret [%s] not found or has no versions.", numbered(secret)))
	case n < 1 || n > len(versions):
		refuse(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("Secret Version [%s] not found.", resolved(secret, n)))
	case versions[n-1].disabled:
		refuse(w, http.StatusBadRequest, "FAILED_PRECONDITION", fmt.Sprintf("Secret Version [%s] is in DISABLED state.", resolved(secret, n)))
	default:
		var answer struct {
			Name    string `json:"name"`
			Payload struct {
				Data   []byte `json:"data"`
				CRC32C int64  `json:"dataCrc32c,string"`
			} `json:"payload"`
		}
		answer.Name = resolved(secret, n)
		answer.Payload.Data = versions[n-1].data
		answer.Payload.CRC32C = int64(crc32.Checksum(versions[n-1].data, crc32.MakeTable(crc32.Castagnoli)))
		write(w, http.StatusOK, answer)
	}
}

// numbered is the secret's name with the project's number for its id.
func numbered(secret string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(secret, "projects/"), "/")
	return "projects/" + projectNumber + "/" + rest
}

func resolved(secret string, n int) string {
	return fmt.Sprintf("%s/versions/%d", numbered(secret), n)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": code}})
}

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}
