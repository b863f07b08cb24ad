package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Internet is all that can be reached in the sandbox: names that lead to handlers by https, and
// Google's metadata server. There is one at a time.
type Internet struct {
	mu       sync.Mutex
	sites    map[string]http.Handler
	unknown  map[string]bool
	leaves   map[string]*tls.Certificate
	metadata *Metadata
	link     *link
}

// Open starts an Internet without names. It returns an error outside the sandbox.
func Open() (*Internet, error) {
	if !inside {
		return nil, errors.New("there is no sandbox: call Main from TestMain, and ask Inside")
	}
	n := &Internet{
		sites:   map[string]http.Handler{},
		unknown: map[string]bool{},
		leaves:  map[string]*tls.Certificate{},
	}
	var err error
	n.link, err = n.open(func() *Metadata {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.metadata
	})
	return n, err
}

// Close ends every connection but those of a Service, which has a Close of its own.
func (n *Internet) Close() { n.link.close() }

// Serve lets https://name lead to the handler from now on. *.example.com stands for every name below
// example.com, at any depth, that has no handler nearer to it; nil takes a name away.
func (n *Internet) Serve(name string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h == nil {
		delete(n.sites, name)
	} else {
		n.sites[name] = h
	}
}

// Metadata is what the metadata server says to everything in the sandbox but the revisions of a
// Service, which have their own. Until it is called, there is none.
func (n *Internet) Metadata(m Metadata) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.metadata = &m
}

// Unknown returns the names that were asked for and lead nowhere, sorted.
func (n *Internet) Unknown() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.unknown))
}

// site is the handler of a name, or nil.
func (n *Internet) site(name string) http.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.sites[name]
	for rest := name; h == nil; {
		_, below, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		h, rest = n.sites["*."+below], below
	}
	return h
}

// ServeHTTP serves the request by its Host.
func (n *Internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
	h := n.site(name)
	if h == nil {
		http.Error(w, "no such host: "+name, http.StatusMisdirectedRequest)
		return
	}
	h.ServeHTTP(w, r)
}

const (
	metadataIP   = "169.254.169.254"
	metadataName = "metadata.google.internal"
)

// link is an Internet as it is seen in one network namespace: its servers there.
type link struct {
	names         net.PacketConn
	secure, plain net.Listener
	https, http   *http.Server
}

// open links this thread's network namespace, which has nothing but loopback, to the Internet.
// metadata returns nil while there is none.
func (n *Internet) open(metadata func() *Metadata) (*link, error) {
	names, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		names.Close()
		return nil, err
	}
	plain, err := net.Listen("tcp", metadataIP+":80")
	if err != nil {
		names.Close()
		secure.Close()
		return nil, err
	}
	l := &link{
		names:  names,
		secure: secure,
		plain:  plain,
		https:  &http.Server{Handler: n, TLSConfig: &tls.Config{GetCertificate: n.certificate}},
		http: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if m := metadata(); m != nil {
				m.ServeHTTP(w, r)
				return
			}
			http.NotFound(w, r)
		})},
	}
	go l.https.ServeTLS(secure, "", "")
	go l.http.Serve(plain)
	go func() {
		query := make([]byte, 1500)
		for {
			size, from, err := names.ReadFrom(query)
			if err != nil {
				return
			}
			if answer, err := n.answer(query[:size], metadata() != nil); err == nil {
				names.WriteTo(answer, from)
			}
		}
	}()
	return l, nil
}

func (l *link) close() {
	l.names.Close()
	l.https.Close()
	l.http.Close()
	// A server that has not begun to serve yet closes its listener only when it does.
	l.secure.Close()
	l.plain.Close()
}

// answer is the name server's (RFC 1035). A name server, and not a hosts file, because hosts files
// know no wildcards, and Go programs read them again after 5 seconds only. There is no IPv6.
func (n *Internet) answer(query []byte, metadata bool) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	var address [4]byte
	switch {
	case metadata && name == metadataName:
		address = [4]byte{169, 254, 169, 254}
	case n.site(name) != nil:
		address = [4]byte{127, 0, 0, 1}
	default:
		h.RCode = dnsmessage.RCodeNameError
		n.mu.Lock()
		n.unknown[name] = true
		n.mu.Unlock()
	}
	h.Response, h.Authoritative, h.RecursionAvailable = true, true, true
	m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
	if h.RCode == dnsmessage.RCodeSuccess && q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
			Body:   &dnsmessage.AResource{A: address},
		}}
	}
	return m.Pack()
}

// authority is the sandbox's certificate authority; pem is what programs trust.
var authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         string
}

// makeAuthority makes the authority, which lives as long as the process.
func makeAuthority() error {
	var err error
	if authority.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	c := template("the sandbox's authority")
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, authority.key.Public(), authority.key)
	if err != nil {
		return err
	}
	authority.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	authority.certificate, err = x509.ParseCertificate(der)
	return err
}

// template is of a certificate for a day.
func template(name string) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

// certificate is that of the name the client asks for.
func (n *Internet) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if n.site(name) == nil {
		return nil, fmt.Errorf("no such host: %q", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if leaf := n.leaves[name]; leaf != nil {
		return leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := template("")
	c.DNSNames = []string{name}
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, c, authority.certificate, key.Public(), authority.key)
	if err != nil {
		return nil, err
	}
	leaf := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	n.leaves[name] = leaf
	return leaf, nil
}
