package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the machine may have none
)

var (
	pers           = []Per{PerClient, PerGroup, PerModel}
	storeFailures  = []OnStoreFailure{Allow, Deny}
	limitName      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	limitStoreForm = regexp.MustCompile(`^(memory|rediss?://.+)$`)
)

const (
	// maxLimits bounds what one request may count in.
	maxLimits = 100
	// maxShared bounds the groups of a limit per group: a client in all of them counts in each.
	maxShared = 64
)

func (v *validator) limits() {
	if len(v.c.Limits) > maxLimits {
		v.report("limits", "has more than %d limits; a request would be counted too often", maxLimits)
	}
	issuers := make([]string, len(v.c.Issuers))
	for i, is := range v.c.Issuers {
		issuers[i] = is.URL
	}
	names, selectors := map[string]bool{}, map[string]string{}
	for i, l := range v.c.Limits {
		path := fmt.Sprintf("limits[%d]", i)
		if l.Name != "" && !limitName.MatchString(l.Name) {
			v.report(path+".name", "%q is not a name of letters, digits, dots, hyphens and underscores, 64 at most", l.Name)
		}
		if l.Name != "" && names[l.Name] {
			v.report(path+".name", "%q is the name of another limit; give each its own", l.Name)
		}
		names[l.Name] = true
		v.selectors(path, l, issuers)
		v.bounds(path, l)
		if !slices.Contains(pers, l.Per) {
			v.report(path+".per", "%q is nothing to count for; it must be %s", l.Per, either(pers))
		}
		if l.OnStoreFailure != "" && !slices.Contains(storeFailures, l.OnStoreFailure) {
			v.report(path+".on_store_failure", "%q is unknown; it must be allow or deny", l.OnStoreFailure)
		}
		if _, err := time.LoadLocation(l.TimeZone); err != nil || l.TimeZone == "Local" {
			v.report(path+".time_zone", "%q is not a time zone; write an IANA name such as Europe/Amsterdam", l.TimeZone)
		}
		// Last, because what is said of the whole limit leaves out what is missing in it.
		if other, again := selectors[l.Selector()]; again && l.Name == "" {
			v.report(path, "matches exactly what %s does, and would share its counts; merge the two, or give them names", other)
		} else if l.Name == "" {
			selectors[l.Selector()] = path
		}
	}
}

// selectors checks what a limit matches.
func (v *validator) selectors(path string, l Limit, issuers []string) {
	for _, list := range []struct {
		name   string
		values []string
	}{{"groups", l.Groups}, {"clients", l.Clients}, {"issuers", l.Issuers}, {"models", l.Models}, {"operations", l.Operations}} {
		at := path + "." + list.name
		if list.values != nil && len(list.values) == 0 {
			v.missing(at, "is an empty list, which nothing is in; remove it to match all")
		}
		v.eachNamed(at, list.values)
	}
	for i, is := range l.Issuers {
		v.reference(fmt.Sprintf("%s.issuers[%d]", path, i), is, "issuer", issuers)
	}
	for i, c := range l.Clients {
		at := fmt.Sprintf("%s.clients[%d]", path, i)
		issuer, id, _ := strings.Cut(c, "#")
		switch {
		case c == "": // said already
		case id == "":
			v.report(at, "%q is not a client; write ISSUER#CLIENT_ID, as the principal of audit records", c)
		default:
			v.reference(at, issuer, "issuer", issuers)
		}
	}
	for i, m := range l.Models {
		if m != "*" && m != "" {
			v.reference(fmt.Sprintf("%s.models[%d]", path, i), m, "model", slices.Sorted(maps.Keys(v.c.Models)))
		}
	}
	if l.Per == PerGroup && len(l.Groups) == 0 {
		v.missing(path+".groups", "is missing; say for which groups to count: clients are in groups that mean nothing here too")
	}
	if l.Per == PerGroup && len(l.Groups) > maxShared {
		v.report(path+".groups", "has more than %d groups, in each of which a client may count; make several limits", maxShared)
	}
}

// bounds checks how much a limit allows.
func (v *validator) bounds(path string, l Limit) {
	said := false
	for _, b := range []struct {
		name string
		is   float64
		most int64
	}{
		{"requests_per_minute", float64(l.RequestsPerMinute), 1_000_000},
		{"tokens_per_minute", float64(l.TokensPerMinute), 100_000_000},
		{"concurrent_requests", float64(l.ConcurrentRequests), 100_000},
		{"usd_per_day", l.USDPerDay, 1_000_000},
		{"usd_per_month", l.USDPerMonth, 1_000_000},
	} {
		at := path + "." + b.name
		said = said || b.is != 0 || v.given(at)
		switch {
		case v.given(at) && b.is == 0:
			v.missing(at, "is zero; remove it, or write a policy that forbids")
		case b.is < 0:
			v.missing(at, "is below zero; give what is allowed")
		case b.is > 0 && b.is < 1e-6:
			v.missing(at, "is less than a millionth; write a policy that forbids")
		case b.is > float64(b.most):
			v.missing(at, "is over %d, which bounds nothing; remove it", b.most)
		}
	}
	if !said {
		v.missing(path, "limits nothing; give requests_per_minute, tokens_per_minute, concurrent_requests, usd_per_day or usd_per_month")
	}
	if !l.HasBudget() {
		return
	}
	if v.c.LimitStore.InMemory() && !l.AcceptReset {
		v.report(path, "is a budget in memory, which each instance begins anew when it starts; give limit_store a Redis, or say accept_reset: true")
	}
	for _, name := range slices.Sorted(maps.Keys(v.c.Models)) {
		if v.c.Models[name].Price == nil && l.MatchesModel(name) {
			v.report(path, "is a budget, and model %s, which it matches, has no price; give it one", name)
		}
	}
}

// HasBudget reports whether the limit bounds money.
func (l Limit) HasBudget() bool { return l.USDPerDay != 0 || l.USDPerMonth != 0 }

// MatchesModel reports whether requests that name the model match, as far as models go.
func (l Limit) MatchesModel(name string) bool {
	return l.Models == nil || slices.Contains(l.Models, "*") || slices.Contains(l.Models, name)
}

// Selector says what the limit matches and what it counts for, alike for limits that are alike in that.
func (l Limit) Selector() string {
	var b strings.Builder
	for _, list := range [][]string{l.Groups, l.Clients, l.Issuers, l.Models, l.Operations} {
		fmt.Fprintf(&b, "%q", slices.Compact(slices.Sorted(slices.Values(list))))
	}
	return b.String() + string(l.Per)
}

func (v *validator) limitStore() {
	s := v.c.LimitStore
	v.exactlyOne("limit_store", given{"url", s.URL != ""}, given{"url_env", s.URLEnv != ""})
	if s.URLEnv != "" && !variable.MatchString(s.URLEnv) {
		v.report("limit_store.url_env", "%q is not the name of an environment variable; write one, not its value", s.URLEnv)
	}
	if s.URL != "" {
		path := "limit_store.url"
		if !v.given(path) {
			path = "limit_store"
		}
		if err := CheckStoreURL(s.URL); err != nil {
			v.report(path, "%v", err)
		}
	}
	if s.Credential != "" {
		v.reference("limit_store.credential", s.Credential, "credential", slices.Sorted(maps.Keys(v.c.Credentials)))
	}
	if s.CA != nil {
		v.exactlyOne("limit_store.ca", given{"file", s.CA.File != ""}, given{"env", s.CA.Env != ""})
		if s.CA.Env != "" && !variable.MatchString(s.CA.Env) {
			v.report("limit_store.ca.env", "%q is not the name of an environment variable; write one, not its value", s.CA.Env)
		}
	}
	if s.InMemory() && !reflect.DeepEqual(s, LimitStore{URL: Memory}) {
		v.report("limit_store", "is memory, to which nobody connects; remove the rest, or give the url of a Redis")
	}
}

// CheckStoreURL says what is wrong with the address of a store.
func CheckStoreURL(s string) error {
	if s == Memory {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || !limitStoreForm.MatchString(s) || u.Hostname() == "" {
		return fmt.Errorf("is not memory, redis://HOST:PORT or rediss://HOST:PORT") // the text may hold a password
	}
	if _, secret := u.User.Password(); secret {
		return fmt.Errorf("has a password; keep that in a secret, and name its credential in limit_store.credential")
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return fmt.Errorf("has a query or a fragment; remove it")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("has a port that is none")
		}
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if n, err := strconv.Atoi(db); err != nil || n < 0 || n > 15 || strconv.Itoa(n) != db {
			return fmt.Errorf("has a path that is not the number of a database, from 0 to 15")
		}
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "redis" && (ip != nil && !ip.IsPrivate() && !ip.IsLoopback()) {
		return fmt.Errorf("is a public address without TLS, where counts could be read and changed; use rediss://")
	}
	return nil
}

func (v *validator) atMost(path string, n, most int64) {
	if n < 1 || n > most {
		v.missing(path, "%d is not between 1 and %d", n, most)
	}
}
