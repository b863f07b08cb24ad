// Package config turns one YAML document into one immutable Config, or into every fault it has.
//
// The document is decoded strictly: an unknown key, a repeated key, a value of the wrong type and a
// reference to something that isn't declared are faults, each with its position, its path and a way
// out. Nothing is fetched and no secret is read; relative paths become absolute, from the folder of
// the file that holds them. A Config is never changed after Load returned it, so all packages share
// one.
package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is what the gateway is told: who may call, what they may do, and where calls go.
type Config struct {
	// File is the path the document was read from.
	File string `yaml:"-"`
	// at is where each path stands, for the faults that others find.
	at map[string]*yaml.Node `yaml:"-"`

	// Issuers are the identity providers whose clients may call.
	Issuers []Issuer `yaml:"issuers"`
	// Policies decide what each client may do.
	Policies Policies `yaml:"policies"`
	// Credentials are what the gateway presents upstream. Any of them may serve any upstream.
	Credentials map[string]Credential `yaml:"credentials"`
	// Upstreams are the providers' APIs that calls go to.
	Upstreams map[string]Upstream `yaml:"upstreams"`
	// Models are the names that clients use; no other model can be called.
	Models map[string]Model `yaml:"models"`
	// DefaultUpstream names one upstream, or lists some, where calls that name no model go (files,
	// jobs): the first on which the decision allows it.
	DefaultUpstream Names `yaml:"default_upstream"`
	// Limits bound what clients may use. All that match a request apply.
	Limits []Limit `yaml:"limits"`
	// LimitStore is where limits count: memory, the address of a Redis that all instances share, or a
	// mapping that says more.
	LimitStore LimitStore `yaml:"limit_store"`
	// Server bounds what requests may take.
	Server Server `yaml:"server"`
	// SecretManager is how secrets are fetched.
	SecretManager SecretManager `yaml:"secret_manager"`
}

// Names is a list of names; one string is a list of one.
type Names []string

// Issuer is an identity provider whose tokens are trusted.
type Issuer struct {
	// URL is compared with the iss claim exactly; a slash is never added or taken away.
	URL string `yaml:"url"`
	// JWKS says where the keys are when discovery can't (private Kubernetes clusters).
	JWKS JWKS `yaml:"jwks"`
	// Audiences: a token must name one of them.
	Audiences []string `yaml:"audiences"`
	// Require are claims every token must carry with exactly this string value.
	Require map[string]string `yaml:"require"`
	// Groups are the places groups are read from; their union counts. An empty list reads none.
	Groups []ClaimPath `yaml:"groups"`
	// GroupTrimPrefix is taken off each group: "/" turns Keycloak's full paths into names.
	GroupTrimPrefix string `yaml:"group_trim_prefix"`
	// GroupPrefix is then put before each group. At most one issuer may go without, and no prefix
	// begins another.
	GroupPrefix string `yaml:"group_prefix"`
	// GroupRules give further groups, by claims. All rules that match count.
	GroupRules []GroupRule `yaml:"group_rules"`
	// ClientID: the first of these claims that is present is the client's id.
	ClientID []string `yaml:"client_id"`
	// Claims are further string claims that policies may read.
	Claims []string `yaml:"claims"`
	// Algorithms are the accepted JWS algorithms (RFC 7518 section 3.1).
	Algorithms []string `yaml:"algorithms"`
	// MaxTokenLifetime bounds exp - iat, or exp - now where there is no iat; between 1m and 366 days.
	MaxTokenLifetime time.Duration `yaml:"max_token_lifetime"`
	// ClockSkew is how far the issuer's clock may be from ours; between 1s and 5m.
	ClockSkew time.Duration `yaml:"clock_skew"`
}

// IssuerOf is the one issuer whose clients can be in the group, or nil: groups come from claims, which may
// name any that begins with the issuer's prefix, and from its rules, and nowhere else.
func IssuerOf(group string, all []Issuer) *Issuer {
	of := namedFor(group, all)
	if of == nil || group == of.GroupPrefix || len(of.Groups) == 0 && !slices.Contains(of.givenByRules(), group) {
		return nil
	}
	return of
}

// NoIssuerOf says why IssuerOf finds none, and which groups there are.
func NoIssuerOf(group string, all []Issuer) string {
	if of := namedFor(group, all); of != nil && len(of.Groups) == 0 {
		return fmt.Sprintf("groups of %s are those of its group_rules alone; %s", of.URL, Suggest(group, of.givenByRules()))
	} else if of != nil {
		return fmt.Sprintf("it is the group_prefix of %s alone", of.URL)
	}
	var prefixes, given []string
	for _, is := range all {
		prefixes = append(prefixes, fmt.Sprintf("groups of %s begin with %q", is.URL, is.GroupPrefix))
		given = append(given, is.givenByRules()...)
	}
	text := strings.Join(prefixes, ", ")
	if _, close := nearest(group, given); close {
		text += "; " + Suggest(group, given)
	}
	return text
}

// namedFor is the issuer with whose prefix the group begins; the one without has all others.
func namedFor(group string, all []Issuer) *Issuer {
	var of *Issuer
	for i, is := range all {
		if is.GroupPrefix == "" && of == nil || is.GroupPrefix != "" && strings.HasPrefix(group, is.GroupPrefix) {
			of = &all[i]
		}
	}
	return of
}

// givenByRules are the groups that rules give, as policies name them.
func (is *Issuer) givenByRules() []string {
	var all []string
	for _, r := range is.GroupRules {
		for _, g := range r.Groups {
			all = append(all, is.GroupPrefix+g)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// JWKS is the zero value (discovery), or one of its fields.
type JWKS struct {
	// URL is where the key set (RFC 7517) is fetched.
	URL string `yaml:"url"`
	// File holds the key set.
	File string `yaml:"file"`
}

// ClaimPath is a claim's name, or, where it begins with a slash, a JSON Pointer (RFC 6901) into the
// claims.
type ClaimPath string

// GroupRule puts clients in groups by what their tokens claim, for issuers that know no groups.
type GroupRule struct {
	// When maps claims, found as in groups, to patterns. Each claim must be a string that its pattern
	// matches, or a list of strings, one of which it matches.
	When map[ClaimPath]Pattern `yaml:"when"`
	// Groups are given where it does. The issuer's group_prefix is put before them, as before others.
	Groups []string `yaml:"groups"`
}

// Pattern matches a whole value. "*" is any run of characters without a slash, and "**" any run at
// all, even of none; neither matches control characters. Everything else is itself. There is no escape,
// because no claim worth matching holds a star.
type Pattern string

// Policies are the Cedar files, all in force together.
type Policies struct {
	// Files are their paths, relative to the folder of this one.
	Files []string `yaml:"files"`
	// Mode says what a policy's denial does: enforce refuses; audit records a denial of a configured
	// model or upstream and lets it through, and nothing else.
	Mode Mode `yaml:"mode"`
}

// Mode says what a policy's denial does.
type Mode string

const (
	// Enforce refuses what policies deny.
	Enforce Mode = "enforce"
	// Audit records a policy's denial of a configured model or upstream and lets it through; it lets
	// through nothing else.
	Audit Mode = "audit"
)

// Credential is what the gateway presents to an upstream: exactly one of its fields.
type Credential struct {
	// ServiceAccountKey signs a JWT and exchanges it for an access token (RFC 7523 section 2.1).
	ServiceAccountKey *ServiceAccountKey `yaml:"service_account_key"`
	// GoogleDefault is Application Default Credentials: on Cloud Run the instance's service account.
	GoogleDefault *GoogleDefault `yaml:"google_default"`
	// ClientCredentials gets an access token for a client id and secret (RFC 6749 section 4.4).
	ClientCredentials *ClientCredentials `yaml:"client_credentials"`
	// APIKey is a provider's static key.
	APIKey *APIKey `yaml:"api_key"`
}

// ServiceAccountKey signs a JWT and exchanges it for an access token (RFC 7523 section 2.1).
type ServiceAccountKey struct {
	// From is where the key's JSON is read.
	From Source `yaml:"from"`
	// Scopes are asked for with the access token.
	Scopes []string `yaml:"scopes"`
}

// GoogleDefault is Application Default Credentials: on Cloud Run the instance's service account.
type GoogleDefault struct {
	// Scopes are asked for with the access token.
	Scopes []string `yaml:"scopes"`
	// Impersonate is the email of another service account, whose access token is then presented.
	Impersonate string `yaml:"impersonate"`
}

// ClientCredentials gets an access token for a client id and secret (RFC 6749 section 4.4): an Entra
// application's for Azure OpenAI, for one.
type ClientCredentials struct {
	// TokenURL is the token endpoint: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token is Entra's.
	TokenURL string `yaml:"token_url"`
	// ClientID is what the gateway is called there.
	ClientID string `yaml:"client_id"`
	// ClientSecret is where the secret is read.
	ClientSecret Source `yaml:"client_secret"`
	// Scopes are asked for with the access token; https://cognitiveservices.azure.com/.default is
	// Azure OpenAI's.
	Scopes []string `yaml:"scopes"`
}

// APIKey is a provider's static key; it never leaves the gateway but towards its upstream.
type APIKey struct {
	// From is where the key is read.
	From Source `yaml:"from"`
}

// Source is where a secret is read: exactly one of its fields. It is comparable.
type Source struct {
	// SecretManager is a version's name: projects/*/secrets/*/versions/*.
	SecretManager string `yaml:"secret_manager"`
	// File is a path, relative to the folder of the configuration.
	File string `yaml:"file"`
	// Env is an environment variable's name.
	Env string `yaml:"env"`
}

func (s Source) String() string {
	switch {
	case s.SecretManager != "":
		return "Secret Manager " + s.SecretManager
	case s.File != "":
		return "file " + s.File
	}
	return "environment variable " + s.Env
}

// Kind is the sort of API an upstream has.
type Kind string

const (
	// OpenAI is any API compatible with OpenAI's.
	OpenAI Kind = "openai"
	// Azure is the v1 API of Azure OpenAI: OpenAI's, but for how the credential is presented.
	Azure Kind = "azure"
	// Anthropic is Anthropic's API.
	Anthropic Kind = "anthropic"
	// Gemini is the Gemini API of Google AI Studio.
	Gemini Kind = "gemini"
	// Vertex is Vertex AI: OpenAI's, Gemini's and Anthropic's calls, each at paths of its own.
	Vertex Kind = "vertex"
)

// Upstream is a provider's API as one of our credentials reaches it.
type Upstream struct {
	// Kind is the sort of API: openai (any that is compatible), azure (Azure OpenAI's v1 API),
	// anthropic, gemini (Google AI Studio) or vertex (Vertex AI).
	Kind Kind `yaml:"kind"`
	// BaseURL replaces the provider's own address (a private endpoint, a local server, a test). It is
	// required for azure, where each resource has its own; openai's and azure's hold the API's /v1, the
	// others' don't.
	BaseURL string `yaml:"base_url"`
	// Credential names what is presented; only an openai upstream with a base_url may go without.
	Credential string `yaml:"credential"`
	// Project is Vertex's Google Cloud project id.
	Project string `yaml:"project"`
	// Location is Vertex's: a region such as europe-west4, a multi-region (us, eu), or global.
	Location string `yaml:"location"`
	// AllowHTTP allows plain http to other machines too: it says that the network between is private.
	AllowHTTP bool `yaml:"allow_http"`
	// Usage, unless false, asks a stream for its usage and hides the extra chunk.
	Usage *bool `yaml:"usage"`
}

// AsksUsage reports whether streams are asked for their usage.
func (u Upstream) AsksUsage() bool { return u.Usage == nil || *u.Usage }

// Model is a name that clients use.
type Model struct {
	// Targets are where the model is served, in the order they are tried.
	Targets []Target `yaml:"targets"`
	// Price is what the model costs.
	Price *Price `yaml:"price"`
	// OutputEstimate is how many tokens limits reserve for an answer to which the client set no bound;
	// at most 10 million.
	OutputEstimate int64 `yaml:"output_estimate"`
}

// Target is one place a model is served, under the name it has there. It is comparable.
type Target struct {
	// Upstream names it.
	Upstream string `yaml:"upstream"`
	// Model is the name that the upstream knows.
	Model string `yaml:"model"`
}

// Price is in USD per million tokens; at most 10,000.
type Price struct {
	// Input is the price of what is sent.
	Input float64 `yaml:"input"`
	// CachedInput is the price of that part of the input which the provider had cached; without it, input
	// counts.
	CachedInput *float64 `yaml:"cached_input"`
	// Output is the price of what is answered.
	Output float64 `yaml:"output"`
}

// Cached is the price of cached input.
func (p Price) Cached() float64 {
	if p.CachedInput != nil {
		return *p.CachedInput
	}
	return p.Input
}

// Limit bounds what the requests that it matches may use. It matches where each of its lists that is
// given holds something of the request.
type Limit struct {
	// Name is what clients and operators are told of; without it, the limit's place: limits[0]. Counts
	// are kept under it, and, where there is none, under the lists.
	Name string `yaml:"name"`
	// Groups: the client is in one of them.
	Groups []string `yaml:"groups"`
	// Clients: it is one of them, as audit records name it: ISSUER#CLIENT_ID.
	Clients []string `yaml:"clients"`
	// Issuers: its token is one of theirs.
	Issuers []string `yaml:"issuers"`
	// Models: the request names one of them; "*" is any. Requests that name none match where this isn't
	// given.
	Models []string `yaml:"models"`
	// Operations: it asks for one of them, or for one of a group of them, such as inference.
	Operations []string `yaml:"operations"`
	// Per says what shares one count: each client has its own, or each of Groups, or each model.
	Per Per `yaml:"per"`
	// RequestsPerMinute bounds requests: as many at once, and as many again each minute; at most 1 million.
	RequestsPerMinute int64 `yaml:"requests_per_minute"`
	// TokensPerMinute bounds tokens, in and out, in the same way; at most 100 million.
	TokensPerMinute int64 `yaml:"tokens_per_minute"`
	// ConcurrentRequests bounds the requests that are being answered; at most 100,000.
	ConcurrentRequests int64 `yaml:"concurrent_requests"`
	// USDPerDay bounds what is spent in a calendar day, at the models' prices; at most 1 million.
	USDPerDay float64 `yaml:"usd_per_day"`
	// USDPerMonth bounds what is spent in a calendar month; at most 1 million.
	USDPerMonth float64 `yaml:"usd_per_month"`
	// TimeZone is where days and months begin: an IANA name such as Europe/Amsterdam.
	TimeZone string `yaml:"time_zone"`
	// OnStoreFailure says what becomes of requests while the store can't be asked: allow or deny. Without
	// it, budgets deny and the others allow.
	OnStoreFailure OnStoreFailure `yaml:"on_store_failure"`
	// AcceptReset accepts a budget in memory, which begins anew with each instance.
	AcceptReset bool `yaml:"accept_reset"`
}

// Per is what shares one count of a limit.
type Per string

const (
	// PerClient counts for each client.
	PerClient Per = "client"
	// PerGroup counts for each of the limit's groups, and a client of several for all of them.
	PerGroup Per = "group"
	// PerModel counts for each model.
	PerModel Per = "model"
)

// OnStoreFailure says what becomes of requests while the store of limits can't be asked.
type OnStoreFailure string

const (
	// Allow lets requests through, uncounted.
	Allow OnStoreFailure = "allow"
	// Deny refuses them.
	Deny OnStoreFailure = "deny"
)

// LimitStore is where limits count. Memory is that of one instance: each counts for itself, and
// forgets when it ends. A Redis (7 or later, or Valkey) is shared by all.
type LimitStore struct {
	// URL is memory, or redis://HOST:PORT, or rediss:// for TLS; a user's name may stand before the
	// host, and the number of a database be its path.
	URL string `yaml:"url"`
	// URLEnv is the environment variable that has the URL, where Terraform makes the store.
	URLEnv string `yaml:"url_env"`
	// Credential is what AUTH presents: an api_key's key, or the access token of another.
	Credential string `yaml:"credential"`
	// CA is who signed the server's certificate, where the machine doesn't know them.
	CA *Certificates `yaml:"ca"`
}

// Memory is the URL of the store in an instance's own memory.
const Memory = "memory"

// InMemory reports whether each instance counts for itself.
func (s LimitStore) InMemory() bool { return s.URL == Memory }

// Certificates is where certificates are read, in PEM: exactly one of its fields. They are no secret.
type Certificates struct {
	// File is a path, relative to the folder of the configuration.
	File string `yaml:"file"`
	// Env is an environment variable's name.
	Env string `yaml:"env"`
}

// Server bounds what one request, and all requests of an instance together, may take.
type Server struct {
	// URL is the resource identifier of RFC 9728; "" means https:// and the request's host.
	URL string `yaml:"url"`
	// MaxBody bounds one request's body; between 1KiB and 1GiB.
	MaxBody Bytes `yaml:"max_body"`
	// MaxBuffered bounds all bodies that an instance holds together; at least max_body.
	MaxBuffered Bytes `yaml:"max_buffered"`
	// RequestTimeout bounds a request from its first byte to its answer's last; at most 1h.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// UpstreamHeaderTimeout bounds the wait for an upstream's answer to begin; at most 1h.
	UpstreamHeaderTimeout time.Duration `yaml:"upstream_header_timeout"`
}

// SecretManager is how secrets are fetched.
type SecretManager struct {
	// Endpoint replaces https://secretmanager.googleapis.com (a regional endpoint, a test).
	Endpoint string `yaml:"endpoint"`
	// Refresh is the age at which a secret is read again; between 1s and 24h.
	Refresh time.Duration `yaml:"refresh"`
}

// Bytes is a size: 32MiB, 64KiB, 1GiB or a plain number of bytes.
type Bytes int64

func (b Bytes) String() string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := Bytes(1) << (30 - 10*i); b >= size && b%size == 0 {
			return fmt.Sprintf("%d%s", b/size, unit)
		}
	}
	return fmt.Sprintf("%d", int64(b))
}

// Base is where the upstream is, without a slash at its end: base_url, or the provider's own address. It
// is "" for azure without a base_url, which Load refuses.
func (u Upstream) Base() string {
	if u.BaseURL != "" {
		return trimSlash(u.BaseURL)
	}
	switch u.Kind {
	case OpenAI:
		return "https://api.openai.com/v1"
	case Anthropic:
		return "https://api.anthropic.com"
	case Gemini:
		return "https://generativelanguage.googleapis.com"
	case Vertex:
		return "https://" + vertexHost(u.Location)
	}
	return ""
}

// vertexHost is the host of a location:
// docs.cloud.google.com/gemini-enterprise-agent-platform/resources/locations.
func vertexHost(location string) string {
	switch location {
	case "global":
		return "aiplatform.googleapis.com"
	case "us", "eu": // there is no us-aiplatform.googleapis.com
		return "aiplatform." + location + ".rep.googleapis.com"
	}
	return location + "-aiplatform.googleapis.com"
}
