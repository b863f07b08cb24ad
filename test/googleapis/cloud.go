// Package googleapis is Google Cloud on loopback: the part of its REST APIs that Terraform's google provider, its gcs
// backend, gcloud and our own programs call to make, run and remove a gateway.
//
// What a request may be comes from the discovery documents that Google publishes and the Go client library ships: an
// unknown path, parameter or field, a value of another type or outside an enumeration, a change of what is immutable
// is a 400 whose message begins with STRICT. On top of that each service has a file with the rules that no document
// has in a form for machines: what must exist first, who must hold which role, what excludes what. Where Google is
// known to be lax, so is the double, and where it isn't known, the double refuses.
//
// It can't show quotas, propagation delays, organisation policies or Google's own normalisation where no rule here
// knows of it. What the caller may do is judged by the roles it holds, as far as roles.txt knows their permissions; of
// IAM conditions those on modifiedGrantsByRole and on the beginning of resource.name are evaluated, and all others hold.
package googleapis

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"llmgateway.dev/gateway/internal/issuer/issuertest"
)

// Cloud is all of it. It is an http.Handler for Google's real host names and, on a loopback address, for paths that
// begin with an API's name.
type Cloud struct {
	// Deploy runs a function's new revision and returns its URL. It is called at each creation, and at each update
	// that needs a revision; the operation fails with its error. Where it is nil a URL is made up as Google does.
	Deploy func(ctx context.Context, f Function) (uri string, err error)

	documents map[string]*document
	kinds     map[string]kind
	methods   map[string]func(*call) (any, error)
	signer    *issuertest.Key // of ID tokens

	mu        sync.Mutex
	token     string              // the owner's
	callers   map[string]identity // by access token
	resources map[string]*resource
	start     map[string]bool // what Left doesn't tell of
	mutations []string
	failures  []*failure
	revisions map[string][]Revision
	last      int // number given out
}

// A service is what one of Google's services adds to its documents. Its kinds and methods are named as the documents
// name them, without projects and locations.
type service struct {
	kinds   map[string]kind
	methods map[string]func(*call) (any, error)
}

var services = []func() service{
	resourceManager, serviceUsage, accounts, credentials, storage, secretManager, functions, run, artifactRegistry,
	cloudBuild, logging, monitoring, bigQuery, networks, redis,
}

// modelled are the documents of all services.
const modelled = `cloudresourcemanager/v1 cloudresourcemanager/v3 cloudbilling/v1 serviceusage/v1 iam/v1 iamcredentials/v1 storage/v1
	secretmanager/v1 cloudfunctions/v2 run/v1 run/v2 artifactregistry/v1 cloudbuild/v1 cloudbuild/v2 logging/v2 monitoring/v1
	monitoring/v3 bigquery/v2 compute/v1 vpcaccess/v1 servicenetworking/v1 redis/v1`

// New returns a Cloud without projects. It asks the go command where the discovery documents are.
func New() (*Cloud, error) {
	docs, err := documents()
	if err != nil {
		return nil, fmt.Errorf("googleapis: %w", err)
	}
	c := &Cloud{
		documents: docs,
		kinds:     map[string]kind{},
		methods:   map[string]func(*call) (any, error){},
		signer:    issuertest.NewKey(jose.RS256),
		token:     "ya29." + random(48),
		callers:   map[string]identity{},
		resources: map[string]*resource{},
		start:     map[string]bool{},
		revisions: map[string][]Revision{},
	}
	c.callers[c.token] = identity{email: owner}
	for _, s := range services {
		s := s()
		maps.Copy(c.kinds, s.kinds)
		maps.Copy(c.methods, s.methods)
	}
	return c, nil
}

// An identity is who an access token stands for, and until when; without a time, always.
type identity struct {
	email string
	until time.Time
}

// alive tells whether tokens of the identity are accepted now.
func (c *Cloud) alive(i identity) bool {
	return i.email != "" && (i.until.IsZero() || time.Now().Before(i.until)) &&
		(!strings.HasSuffix(i.email, ".gserviceaccount.com") || c.account(i.email) == nil)
}

// owner is the identity of Environ's token. It may do everything.
const owner = "owner@example.com"

// Environ is the environment in which terraform and gcloud talk to the Cloud at the loopback URL, and to nothing else.
func (c *Cloud) Environ(url string) []string {
	env := []string{
		"GOOGLE_OAUTH_ACCESS_TOKEN=" + c.token,
		"CLOUDSDK_AUTH_ACCESS_TOKEN=" + c.token,
		"CLOUDSDK_CORE_DISABLE_PROMPTS=1",
		"GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT=" + url + "/storage/v1/",
		"HTTPS_PROXY=http://127.0.0.1:9", "HTTP_PROXY=", "NO_PROXY=", "https_proxy=http://127.0.0.1:9", "http_proxy=", "no_proxy=",
	}
	for provider, path := range map[string]string{
		"ARTIFACT_REGISTRY": "artifactregistry/v1", "BIG_QUERY": "bigquery/v2", "CLOUDBUILDV2": "cloudbuild/v2",
		"CLOUDFUNCTIONS2": "cloudfunctions/v2", "CLOUD_BILLING": "cloudbilling/v1", "CLOUD_BUILD": "cloudbuild/v1",
		"CLOUD_RUN": "run", "CLOUD_RUN_V2": "run/v2", "COMPUTE": "compute/v1", "IAM_BETA": "iam/v1", "IAM_CREDENTIALS": "iamcredentials/v1",
		"LOGGING": "logging/v2", "MONITORING": "monitoring", "REDIS": "redis/v1", "RESOURCE_MANAGER": "cloudresourcemanager/v1",
		"RESOURCE_MANAGER_V3": "cloudresourcemanager/v3", "SECRET_MANAGER": "secretmanager/v1",
		"SERVICE_NETWORKING": "servicenetworking/v1", "SERVICE_USAGE": "serviceusage/v1", "STORAGE": "storage/v1",
		"TAGS": "cloudresourcemanager/v3", "VPC_ACCESS": "vpcaccess/v1",
	} {
		env = append(env, fmt.Sprintf("GOOGLE_%s_CUSTOM_ENDPOINT=%s/%s/", provider, url, path))
	}
	for _, d := range c.documents {
		path := d.Name
		if d.ServicePath != "" {
			path = strings.TrimSuffix(d.ServicePath, "/")
		}
		env = append(env, fmt.Sprintf("CLOUDSDK_API_ENDPOINT_OVERRIDES_%s=%s/%s/", strings.ToUpper(d.Name), url, path))
	}
	slices.Sort(env)
	return slices.Compact(env)
}

// Authorize lets a further access token in, for the service account or user of that email.
func (c *Cloud) Authorize(token, email string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callers[token] = identity{email: email}
}

// AddProject makes a project, whose named APIs are enabled from the start.
func (c *Cloud) AddProject(id string, number int64, services ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resources["projects/"+id] = &resource{name: "projects/" + id, kind: "project", body: map[string]any{
		"projectId": id, "projectNumber": fmt.Sprint(number), "name": id, "lifecycleState": "ACTIVE", "createTime": now(),
	}}
	c.start["projects/"+id] = true
	for _, s := range services {
		c.enable(id, s)
		c.start["projects/"+id+"/services/"+s] = true
	}
}

func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<20))
	if err != nil {
		refuse(w, strict("the body can't be read: %v", err))
		return
	}
	host, path := address(r, c.documents)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch host + path {
	case "accounts.google.com/.well-known/openid-configuration":
		answer(w, http.StatusOK, c.openID())
		return
	case "www.googleapis.com/oauth2/v3/certs":
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.signer.Public()}})
		return
	case "oauth2.googleapis.com/token":
		r.Body = io.NopCloser(bytes.NewReader(content))
		c.exchange(w, r)
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller := c.callers[token]
	if !c.alive(caller) {
		f := newFault(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
		f.reason = "authError"
		refuse(w, f)
		return
	}
	call := &call{Cloud: c, w: w, r: r, caller: caller.email, content: content}
	result, err := call.serve(host, path)
	switch {
	case err != nil:
		refuse(w, err)
	case result == nil:
		w.WriteHeader(http.StatusNoContent)
	case result != written:
		answer(w, http.StatusOK, result)
	}
}

// written is the result of a handler that wrote its answer itself.
var written any = new(byte)

// address returns the host of Google's that a request is for, and the escaped path there.
func address(r *http.Request, docs map[string]*document) (host, path string) {
	host, path = r.Host, r.URL.EscapedPath()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		if host == "www.googleapis.com" && !strings.HasPrefix(path, "/oauth2/") {
			first, _, _ := strings.Cut(strings.TrimPrefix(path, "/upload"), "/v")
			host = strings.TrimPrefix(first, "/") + ".googleapis.com"
		}
		return host, path
	}
	switch path {
	case "/.well-known/openid-configuration":
		return "accounts.google.com", path
	case "/oauth2/v3/certs":
		return "www.googleapis.com", path
	case "/token":
		return "oauth2.googleapis.com", path
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for _, d := range docs {
		if d.Name != first {
			continue
		}
		if d.ServicePath != "" {
			return d.host, path
		}
		return d.host, "/" + rest
	}
	return "storage.googleapis.com", path // an upload, or an object of a bucket
}

// random is n bytes of chance, in hexadecimal: etags must be base64, too.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// number gives out numbers, of which none comes twice.
func (c *Cloud) number() int {
	c.last++
	return c.last
}

// decode turns what JSON can say into another form of it.
func decode(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}
