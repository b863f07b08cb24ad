package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The lists and patterns below are also in the file's JSON Schema, which the tests generate.
var (
	kinds = []Kind{OpenAI, Azure, Anthropic, Gemini, Vertex}
	modes = []Mode{Enforce, Audit}

	webURL = regexp.MustCompile(`^https?://`)
	// claimPath is a name that begins with no slash, or a JSON Pointer (RFC 6901 section 3).
	claimPath     = regexp.MustCompile(`^([^/]|/([^~]|~[01])*$)`)
	variable      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretVersion = regexp.MustCompile(`^projects/[^/]+/secrets/[A-Za-z0-9_-]+/versions/[A-Za-z0-9_-]+$`)
	// scope is one scope-token of RFC 6749 section 3.3.
	scope = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	// serviceAccount becomes part of a URL's path.
	serviceAccount = regexp.MustCompile(`^[a-z0-9.-]+@([a-z0-9-]+\.)*gserviceaccount\.com$`)
	project        = regexp.MustCompile(`^[a-z0-9.:-]+$`)
	location       = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// validator checks what types can't say. It reuses the decoder's positions and its list of faults.
type validator struct {
	*decoder
	c *Config
}

// report adds a fault at a path, or, where nothing stands there, at the nearest thing around it.
func (v *validator) report(path, format string, args ...any) {
	v.fault(v.node(path), path, format, args...)
}

func (v *validator) node(path string) *yaml.Node {
	for p := path; ; {
		if n, ok := v.at[p]; ok {
			return n
		}
		cut := strings.LastIndexAny(p, ".[")
		if cut < 0 {
			return v.at[""]
		}
		p = p[:cut]
	}
}

// given reports whether the document has a value at path; a value that has a fault of its own
// needs no second one.
func (v *validator) given(path string) bool { _, ok := v.at[path]; return ok }

// missing reports that a value must be given, unless what stands there was already refused.
func (v *validator) missing(path, format string, args ...any) {
	if !v.refused(path) {
		v.report(path, format, args...)
	}
}

// refused reports whether path, or something it lies in, has a fault already.
func (v *validator) refused(path string) bool {
	for p := path; p != ""; p = p[:max(0, strings.LastIndexAny(p, ".["))] {
		if v.faulty[p] {
			return true
		}
	}
	return false
}

func (v *validator) validate() {
	v.issuers()
	v.policies()
	v.credentials()
	v.upstreams()
	v.models()
	upstreams := slices.Sorted(maps.Keys(v.c.Upstreams))
	listed := map[string]bool{}
	for i, name := range v.c.DefaultUpstream {
		path := "default_upstream"
		if len(v.c.DefaultUpstream) > 1 || v.given("default_upstream[0]") && v.at["default_upstream"].Kind == yaml.SequenceNode {
			path = fmt.Sprintf("default_upstream[%d]", i)
		}
		v.reference(path, name, "upstream", upstreams)
		if listed[name] {
			v.report(path, "%q is listed twice; remove one", name)
		}
		listed[name] = true
	}
	v.limits()
	v.limitStore()
	v.server()
}

// openToPublic are issuers at which anybody can mint a token for any audience, with the claim that
// tells an organization's own apart.
var openToPublic = map[string]string{
	"https://token.actions.githubusercontent.com": "repository_owner",
	"https://gitlab.com":                          "namespace_path",
	"https://accounts.google.com":                 "email",
}

func (v *validator) issuers() {
	if len(v.c.Issuers) == 0 {
		v.missing("issuers", "lists nobody who may call; add the identity provider of your clients")
	}
	unprefixed := ""
	urls := map[string]bool{}
	for i, is := range v.c.Issuers {
		path := fmt.Sprintf("issuers[%d]", i)
		if is.URL == "" {
			v.missing(path+".url", "is missing; give the issuer exactly as its tokens' iss claim has it")
		} else {
			v.url(path+".url", is.URL, false)
		}
		if urls[is.URL] && is.URL != "" {
			v.report(path+".url", "is configured twice; merge the two entries")
		}
		urls[is.URL] = true
		if is.JWKS.URL != "" {
			v.url(path+".jwks.url", is.JWKS.URL, false)
			if is.JWKS.File != "" {
				v.report(path+".jwks", "has url and file; keep one")
			}
		}
		if len(is.Audiences) == 0 {
			v.missing(path+".audiences", "is missing; list the audience that your clients ask their tokens for")
		}
		v.eachNamed(path+".audiences", is.Audiences)
		if claim, public := openToPublic[is.URL]; public && len(is.Require) == 0 {
			v.missing(path+".require", "must be set for %s: anybody there can mint a token for your audience; require at least %s", is.URL, claim)
		}
		for name, value := range is.Require {
			if value == "" {
				v.missing(join(path+".require", name), "is empty; give the value that the claim must have")
			}
		}
		for j, p := range is.Groups {
			v.claimPath(fmt.Sprintf("%s.groups[%d]", path, j), p)
		}
		v.groupRules(path, i)
		v.eachNamed(path+".client_id", is.ClientID)
		if len(is.ClientID) == 0 {
			v.missing(path+".client_id", "is an empty list; remove it for the default")
		}
		v.eachNamed(path+".claims", is.Claims)
		if len(is.Algorithms) == 0 {
			v.missing(path+".algorithms", "is an empty list; remove it for every asymmetric algorithm")
		}
		for j, alg := range is.Algorithms {
			if !slices.Contains(algorithms, alg) {
				v.report(fmt.Sprintf("%s.algorithms[%d]", path, j), "%q is not an asymmetric JWS algorithm; use some of %s", alg, strings.Join(algorithms, ", "))
			}
		}
		v.between(path+".max_token_lifetime", is.MaxTokenLifetime, time.Minute, 366*24*time.Hour)
		v.between(path+".clock_skew", is.ClockSkew, time.Second, 5*time.Minute)
		v.groupPrefix(path, i, &unprefixed)
	}
}

// groupPrefix keeps the groups of issuers apart: a group of one must never read as another's.
func (v *validator) groupPrefix(path string, i int, unprefixed *string) {
	is := v.c.Issuers[i]
	if is.GroupPrefix == "" {
		if *unprefixed != "" {
			v.missing(path+".group_prefix", "is missing, as it is at %s; at most one issuer may go without, or their groups couldn't be told apart", *unprefixed)
		}
		*unprefixed = path
		return
	}
	for j := range v.c.Issuers[:i] {
		other := &v.c.Issuers[j]
		if other.GroupPrefix != "" && (strings.HasPrefix(is.GroupPrefix, other.GroupPrefix) || strings.HasPrefix(other.GroupPrefix, is.GroupPrefix)) {
			v.report(path+".group_prefix", "%q and issuers[%d]'s %q begin alike; choose prefixes of which none begins another", is.GroupPrefix, j, other.GroupPrefix)
			return
		}
	}
}

func (v *validator) groupRules(path string, i int) {
	is := v.c.Issuers[i]
	if len(is.GroupRules) > maxGroupRules {
		v.report(path+".group_rules", "has more than %d rules, all of which each token would be asked; have the issuer put groups in its tokens", maxGroupRules)
	}
	for j, r := range is.GroupRules {
		path := fmt.Sprintf("%s.group_rules[%d]", path, j)
		if len(r.When) == 0 {
			v.missing(path+".when", "is missing; say which claims give the groups, or every client of the issuer would have them")
		}
		if len(r.When) > maxWhen {
			v.report(path+".when", "has more than %d claims; keep those that tell clients apart", maxWhen)
		}
		for _, claim := range slices.Sorted(maps.Keys(r.When)) {
			at := join(path+".when", string(claim))
			v.claimPath(at, claim)
			v.pattern(at, r.When[claim])
		}
		if len(r.Groups) == 0 {
			v.missing(path+".groups", "is missing; say which groups the rule gives")
		}
		if len(r.Groups) > maxGiven {
			v.report(path+".groups", "has more than %d groups; let one group stand for them in policies", maxGiven)
		}
		v.eachNamed(path+".groups", r.Groups)
		for k, g := range r.Groups {
			v.foreignGroup(fmt.Sprintf("%s.groups[%d]", path, k), i, g)
		}
	}
}

func (v *validator) pattern(path string, p Pattern) {
	switch {
	case p == "":
		v.missing(path, "is empty; give the value that the claim must have, with * for any characters but a slash, ** for any at all")
	case utf8.RuneCountInString(string(p)) > maxPattern:
		v.report(path, "is a pattern of more than %d characters; shorten it with *", maxPattern)
	case !patternForm.MatchString(string(p)):
		v.report(path, "%q has more than two stars in a row; * is any characters but a slash, ** any at all", p)
	}
}

// foreignGroup refuses what a token's claims would be refused: a group that reads as another
// issuer's.
func (v *validator) foreignGroup(path string, i int, group string) {
	for j, other := range v.c.Issuers {
		if j != i && other.URL != v.c.Issuers[i].URL && other.GroupPrefix != "" && strings.HasPrefix(group, other.GroupPrefix) {
			v.report(path, "%q begins with %q, the group_prefix of issuers[%d], whose group it would seem to be; choose another name", group, other.GroupPrefix, j)
			return
		}
	}
}

func (v *validator) claimPath(path string, p ClaimPath) {
	switch {
	case p == "":
		v.missing(path, "is empty; name a claim")
	case !claimPath.MatchString(string(p)):
		v.report(path, "%q is not a JSON Pointer; write ~ as ~0 and / within a name as ~1 (RFC 6901)", p)
	}
}

func (v *validator) policies() {
	if len(v.c.Policies.Files) == 0 {
		v.missing("policies.files", "lists no policy file; nothing is allowed without a policy")
	}
	v.eachNamed("policies.files", v.c.Policies.Files)
	if !slices.Contains(modes, v.c.Policies.Mode) {
		v.report("policies.mode", "%q is not a mode; it must be %s", v.c.Policies.Mode, either(modes))
	}
}

func (v *validator) credentials() {
	for _, name := range slices.Sorted(maps.Keys(v.c.Credentials)) {
		path := join("credentials", name)
		v.named(path, name)
		c := v.c.Credentials[name]
		v.exactlyOne(path, given{"service_account_key", c.ServiceAccountKey != nil},
			given{"google_default", c.GoogleDefault != nil}, given{"client_credentials", c.ClientCredentials != nil},
			given{"api_key", c.APIKey != nil})
		if k := c.ServiceAccountKey; k != nil {
			v.source(path+".service_account_key.from", k.From)
			v.scopes(path+".service_account_key.scopes", k.Scopes, vertexScope)
		}
		if g := c.GoogleDefault; g != nil {
			v.scopes(path+".google_default.scopes", g.Scopes, vertexScope)
			if g.Impersonate != "" && !serviceAccount.MatchString(g.Impersonate) {
				v.report(path+".google_default.impersonate", "%q is not a service account's email; write NAME@PROJECT.iam.gserviceaccount.com", g.Impersonate)
			}
		}
		if cc := c.ClientCredentials; cc != nil {
			v.clientCredentials(path+".client_credentials", *cc)
		}
		if k := c.APIKey; k != nil {
			v.source(path+".api_key.from", k.From)
		}
	}
}

func (v *validator) clientCredentials(path string, c ClientCredentials) {
	if c.TokenURL == "" {
		v.missing(path+".token_url", "is missing; https://login.microsoftonline.com/TENANT/oauth2/v2.0/token is Entra's")
	} else {
		v.url(path+".token_url", c.TokenURL, false)
	}
	if c.ClientID == "" {
		v.missing(path+".client_id", "is missing; give the client's id at the token endpoint")
	} else {
		v.named(path+".client_id", c.ClientID)
	}
	v.source(path+".client_secret", c.ClientSecret)
	v.scopes(path+".scopes", c.Scopes, "https://cognitiveservices.azure.com/.default is what Azure OpenAI takes")
}

const vertexScope = "https://www.googleapis.com/auth/cloud-platform is what Vertex AI takes"

func (v *validator) source(path string, s Source) {
	v.exactlyOne(path, given{"secret_manager", s.SecretManager != ""}, given{"file", s.File != ""}, given{"env", s.Env != ""})
	if s.SecretManager != "" && !secretVersion.MatchString(s.SecretManager) {
		v.report(path+".secret_manager", "%q is not a secret version; write projects/PROJECT/secrets/NAME/versions/latest", s.SecretManager)
	}
	if s.Env != "" && !variable.MatchString(s.Env) {
		v.report(path+".env", "%q is not the name of an environment variable; write one, not its value", s.Env)
	}
}

func (v *validator) scopes(path string, scopes []string, hint string) {
	if len(scopes) == 0 {
		v.missing(path, "is missing; %s", hint)
	}
	for i, s := range scopes {
		if !scope.MatchString(s) {
			v.missing(fmt.Sprintf("%s[%d]", path, i), "%q is not one scope; write each as its own list entry", s)
		}
	}
}

type given struct {
	name string
	is   bool
}

func (v *validator) exactlyOne(path string, of ...given) {
	var names, have []string
	for _, g := range of {
		names = append(names, g.name)
		if g.is {
			have = append(have, g.name)
		}
		if v.refused(join(path, g.name)) {
			return
		}
	}
	switch {
	case len(have) == 0:
		v.missing(path, "says nothing; give one of %s", strings.Join(names, ", "))
	case len(have) > 1:
		v.report(path, "has %s; keep one", strings.Join(have, " and "))
	}
}

func (v *validator) upstreams() {
	credentials := slices.Sorted(maps.Keys(v.c.Credentials))
	if len(v.c.Upstreams) == 0 {
		v.missing("upstreams", "lists none; add the provider that calls go to")
	}
	for _, name := range slices.Sorted(maps.Keys(v.c.Upstreams)) {
		path := join("upstreams", name)
		v.named(path, name)
		u := v.c.Upstreams[name]
		if u.BaseURL != "" {
			v.url(path+".base_url", u.BaseURL, u.AllowHTTP)
		}
		if u.Credential != "" {
			v.reference(path+".credential", u.Credential, "credential", credentials)
		}
		v.kind(path, u)
	}
}

// wants is what an upstream of each kind is presented with.
var wants = map[Kind]string{
	OpenAI:    "api.openai.com wants a key",
	Azure:     "Azure OpenAI wants a key, or an access token of Entra",
	Anthropic: "Anthropic wants a key",
	Gemini:    "the Gemini API wants a key",
	Vertex:    "Vertex AI wants an access token",
}

// kind checks what an upstream's kind needs and knows.
func (v *validator) kind(path string, u Upstream) {
	if !slices.Contains(kinds, u.Kind) {
		v.missing(path+".kind", "%q is not a kind of upstream; it must be %s", u.Kind, either(kinds))
		return
	}
	if u.Credential == "" && (u.Kind != OpenAI || u.BaseURL == "") {
		v.missing(path+".credential", "is missing; %s", wants[u.Kind])
	}
	if u.Kind == Azure && u.BaseURL == "" {
		v.missing(path+".base_url", "is missing; give your resource's: https://RESOURCE.openai.azure.com/openai/v1")
	}
	if u.Kind != Vertex {
		if u.Project != "" || u.Location != "" {
			v.report(path, "has project or location, which kind %s knows nothing of; remove them", u.Kind)
		}
		return
	}
	if !project.MatchString(u.Project) {
		v.missing(path+".project", "%q is not a Google Cloud project id", u.Project)
	}
	if !location.MatchString(u.Location) {
		v.missing(path+".location", "%q is not a location; write one such as europe-west4 or global", u.Location)
	}
}

func (v *validator) models() {
	upstreams := slices.Sorted(maps.Keys(v.c.Upstreams))
	for _, name := range slices.Sorted(maps.Keys(v.c.Models)) {
		path := join("models", name)
		v.named(path, name)
		m := v.c.Models[name]
		if len(m.Targets) == 0 {
			v.missing(path+".targets", "is missing; say which upstream serves the model, and its name there")
		}
		listed := map[Target]bool{}
		for i, t := range m.Targets {
			p := fmt.Sprintf("%s.targets[%d]", path, i)
			v.reference(p+".upstream", t.Upstream, "upstream", upstreams)
			v.named(p+".model", t.Model)
			if listed[t] {
				v.report(p, "is listed twice; remove one")
			}
			listed[t] = true
		}
		if m.Price != nil && (m.Price.Input < 0 || m.Price.Cached() < 0 || m.Price.Output < 0) {
			v.report(path+".price", "is below zero; give USD per million tokens")
		}
		if m.Price != nil && max(m.Price.Input, m.Price.Cached(), m.Price.Output) > 10_000 {
			v.report(path+".price", "is over 10000; give USD per million tokens")
		}
		v.atMost(path+".output_estimate", m.OutputEstimate, 10_000_000)
	}
}

func (v *validator) server() {
	s := v.c.Server
	if s.URL != "" {
		v.url("server.url", s.URL, false)
		if u, err := url.Parse(s.URL); err == nil && trimSlash(u.Path) != "" {
			v.report("server.url", "must have no path: the document that RFC 9728 puts below the host would not be found")
		}
	}
	v.between("server.request_timeout", s.RequestTimeout, time.Second, time.Hour)
	v.between("server.upstream_header_timeout", s.UpstreamHeaderTimeout, time.Second, time.Hour)
	if s.MaxBody < 1<<10 || s.MaxBody > 1<<30 {
		v.missing("server.max_body", "%s is not between 1KiB and 1GiB", s.MaxBody)
	}
	if s.MaxBuffered < s.MaxBody {
		v.missing("server.max_buffered", "%s is less than max_body, %s; a body of that size could never be held", s.MaxBuffered, s.MaxBody)
	}
	if v.c.SecretManager.Endpoint != "" {
		v.url("secret_manager.endpoint", v.c.SecretManager.Endpoint, false)
	}
	v.between("secret_manager.refresh", v.c.SecretManager.Refresh, time.Second, 24*time.Hour)
}

func (v *validator) between(path string, d, least, most time.Duration) {
	if d < least || d > most {
		v.missing(path, "%s is not between %s and %s", d, least, most)
	}
}

func (v *validator) reference(path, name, what string, known []string) {
	if name == "" {
		v.missing(path, "is missing; name the %s", what)
	} else if !v.full() && !slices.Contains(known, name) { // a suggestion costs a search
		called := fmt.Sprintf("is called %q", name)
		if what == "credential" { // where somebody may have pasted a key
			called = "has this name"
		}
		v.report(path, "no %s %s; %s", what, called, Suggest(name, known))
	}
}

func (v *validator) eachNamed(path string, values []string) {
	for i, s := range values {
		v.named(fmt.Sprintf("%s[%d]", path, i), s)
	}
}

// either is a list in a sentence: a, b or c.
func either[T ~string](of []T) string {
	words := string(of[0])
	for _, o := range of[1 : len(of)-1] {
		words += ", " + string(o)
	}
	return words + " or " + string(of[len(of)-1])
}

// named wants something, in characters that a header and a log line carry.
func (v *validator) named(path, s string) {
	switch {
	case s == "":
		v.missing(path, "is empty; give a value")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) }):
		v.report(path, "%q holds a control character", s)
	case strings.TrimSpace(s) != s:
		v.report(path, "%q begins or ends with a space", s)
	}
}

func (v *validator) url(path, s string, allowHTTP bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || !webURL.MatchString(s):
		v.report(path, "%q is not an absolute https URL", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		v.report(path, "must not hold user info, a query or a fragment")
	case u.Scheme == "http" && !allowHTTP && !IsLoopback(u.Hostname()):
		hint := ""
		if strings.HasPrefix(path, "upstreams") {
			hint = ", or allow_http: true where the network between is private"
		}
		v.report(path, "%q is plain http, over which keys and tokens could be read; use https%s", s, hint)
	}
}

// IsLoopback reports whether host can only be this machine: a loopback address, or localhost
// (RFC 6761 section 6.3).
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
