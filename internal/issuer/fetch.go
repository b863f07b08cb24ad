package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/egress"
)

const (
	// maxDocument bounds a discovery document and a JWK set; real ones hold 1 to 20 KiB.
	maxDocument = 1 << 20
	// requestTimeout bounds one request. Clients wait for it.
	requestTimeout = 5 * time.Second
	// rediscover is how long a discovered jwks_uri is used.
	rediscover = time.Hour
)

// source is where an issuer's keys are: found by discovery (OpenID Connect Discovery 1.0 section 4),
// at a URL or in a file. Each fetch has a copy, which the next one takes over.
//
// A discovered jwks_uri is used for an hour, or until fetching from it fails; so an issuer that
// moves its keys is followed at the next attempt after the old place is gone.
type source struct {
	issuer string
	jwks   config.JWKS
	client *http.Client

	jwksURI    string
	discovered time.Time
}

// newClient follows no redirect: an issuer's documents are where its URL says, or nowhere. A jwks_uri is an
// issuer's word, and leads to private addresses only where the configuration names its host.
func newClient(issuers []config.Issuer) *http.Client {
	var named []string
	for _, is := range issuers {
		for _, address := range []string{is.URL, is.JWKS.URL} {
			if u, err := url.Parse(address); err == nil {
				named = append(named, u.Hostname())
			}
		}
	}
	transport := egress.Only(named...).Transport(http.DefaultTransport.(*http.Transport).Clone())
	transport.MaxResponseHeaderBytes = 64 << 10
	// Long enough for discovery and keys to share a connection; one that outlives a frozen instance
	// is dead.
	transport.IdleConnTimeout = 10 * time.Second
	return &http.Client{
		Transport:     transport,
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch gets the keys as they are published now. Its error may quote the issuer, but not at length.
func (s *source) fetch(ctx context.Context, now time.Time) (*jwks, error) {
	document, header, err := s.document(ctx, now)
	if err != nil {
		s.jwksURI = ""
		return nil, fmt.Errorf("keys of %s: %.300s", s.issuer, err)
	}
	keys, err := parseKeys(document)
	if err != nil {
		s.jwksURI = ""
		return nil, fmt.Errorf("keys of %s: the document %.300s", s.issuer, err)
	}
	return &jwks{keys: keys, fetched: now, maxAge: maxAge(header)}, nil
}

func (s *source) document(ctx context.Context, now time.Time) ([]byte, http.Header, error) {
	if s.jwks.File != "" {
		document, err := readFile(s.jwks.File)
		return document, nil, err
	}
	if s.jwks.URL != "" {
		return s.get(ctx, s.jwks.URL)
	}
	if age := now.Sub(s.discovered); s.jwksURI == "" || age < 0 || age >= rediscover {
		found, err := s.discover(ctx)
		if err != nil {
			return nil, nil, err
		}
		s.jwksURI, s.discovered = found, now
	}
	return s.get(ctx, s.jwksURI)
}

func (s *source) discover(ctx context.Context) (jwksURI string, err error) {
	// Section 4.1: a slash at the issuer's end is removed here, and only here.
	document, _, err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var found struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &found); err != nil {
		return "", fmt.Errorf("the discovery document is malformed: %w", err)
	}
	// Section 4.3: or another issuer's keys could be passed off as this one's.
	if found.Issuer != s.issuer {
		return "", errors.New("the discovery document is that of another issuer; write the issuer's url exactly as its discovery document does")
	}
	// An issuer elsewhere has no keys on this machine.
	u, err := url.Parse(found.JWKSURI)
	plain := err == nil && u.Scheme == "http" && config.IsLoopback(u.Hostname()) && strings.HasPrefix(s.issuer, "http:")
	if err != nil || len(found.JWKSURI) > 2048 || u.Host == "" || u.Scheme != "https" && !plain {
		return "", errors.New("the discovery document's jwks_uri is not an https URL")
	}
	return found.JWKSURI, nil
}

func (s *source) get(ctx context.Context, from string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered with status %d", from, resp.StatusCode)
	}
	document, err := readBounded(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", from, err)
	}
	return document, resp.Header, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) ([]byte, error) {
	document, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(document) > maxDocument {
		err = errors.New("the document is larger than 1 MiB")
	}
	return document, err
}

// maxAge is how long keys may be used without asking again, as their issuer says (RFC 9111 section
// 5.2.2): at least a minute, so that a busy gateway is no burden; at most an hour, so that a disabled
// key stops working; and five minutes where the issuer says nothing, or would have each use ask.
func maxAge(header http.Header) time.Duration {
	age := 5 * time.Minute
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-cache", "no-store":
			return 5 * time.Minute
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = min(max(time.Duration(seconds)*time.Second, time.Minute), time.Hour)
			}
		}
	}
	return age
}
