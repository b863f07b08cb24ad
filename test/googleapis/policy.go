package googleapis

import (
	"fmt"
	"hash/crc32"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A Policy is who may do what with a resource (cloud.google.com/iam/docs/reference/rest/v1/Policy).
type Policy struct {
	Version      int           `json:"version,omitempty"`
	Etag         string        `json:"etag,omitempty"`
	Bindings     []Binding     `json:"bindings,omitempty"`
	AuditConfigs []AuditConfig `json:"auditConfigs,omitempty"`
}

// A Binding grants a role. Its members and those of a binding of the same role under another condition are apart.
type Binding struct {
	Role      string     `json:"role"`
	Members   []string   `json:"members"`
	Condition *Condition `json:"condition,omitempty"`
}

// A Condition is an expression in CEL.
type Condition struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	Expression  string `json:"expression"`
}

// An AuditConfig says which calls a project logs.
type AuditConfig struct {
	Service         string `json:"service"`
	AuditLogConfigs []any  `json:"auditLogConfigs"`
}

// Policy returns the IAM policy of the resource of that name.
func (c *Cloud) Policy(name string) (Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resources[c.canonical(name)]
	if r == nil {
		return Policy{}, fmt.Errorf("googleapis: there is no %s", name)
	}
	return r.policy.copy(), nil
}

func (p Policy) copy() Policy {
	p.Bindings = slices.Clone(p.Bindings)
	for i := range p.Bindings {
		p.Bindings[i].Members = slices.Clone(p.Bindings[i].Members)
	}
	return p
}

func (c *call) getPolicy() (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if r.policy.Etag == "" {
		r.policy.Etag = "ACAB"
	}
	p := r.policy.copy()
	version, _ := integer(get(c.body, "options", "requestedPolicyVersion"))
	for _, parameter := range []string{"options.requestedPolicyVersion", "optionsRequestedPolicyVersion"} {
		if c.query.Has(parameter) {
			version, _ = integer(c.query.Get(parameter))
		}
	}
	if version < 3 { // what conditions there are isn't told, and the roles are spoilt lest they be written back
		for i, b := range p.Bindings {
			if b.Condition != nil {
				p.Bindings[i].Role += fmt.Sprintf("_withcond_%08x", crc32.ChecksumIEEE([]byte(b.Condition.Expression)))
				p.Bindings[i].Condition = nil
			}
		}
		p.Version = min(p.Version, 1)
	}
	return p, nil
}

func (c *call) setPolicy() (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	body := c.body
	if c.doc.Name != "storage" {
		body, _ = get(c.body, "policy").(map[string]any)
	}
	var p Policy
	if body == nil || decode(body, &p) != nil {
		return nil, invalid("%s needs a policy.", c.ID)
	}
	if p.Etag != "" && r.policy.Etag != "" && p.Etag != r.policy.Etag {
		return nil, conflict("aborted", "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.")
	}
	if p.Bindings, err = c.bindings(r, p); err != nil {
		return nil, err
	}
	changed := changedRoles(r.policy.Bindings, p.Bindings)
	if !c.may(c.caller, c.permission(), r.name, changed...) {
		return nil, denied("Permission '%s' denied on %s for changes of %s.", c.permission(), r.name, strings.Join(changed, ", "))
	}
	c.idle = len(changed) == 0
	p.Version, p.Etag = 1, random(8)
	if slices.ContainsFunc(p.Bindings, func(b Binding) bool { return b.Condition != nil }) {
		p.Version = 3
	}
	r.policy = p
	return p.copy(), nil
}

// bindings checks a policy's and returns them in Google's order, one for each role and condition.
func (c *call) bindings(r *resource, p Policy) ([]Binding, error) {
	word := r.kind[strings.LastIndex(r.kind, ".")+1:]
	merged := map[string]*Binding{}
	for _, b := range p.Bindings {
		known, ok := roles[b.Role]
		switch {
		case strings.Contains(b.Role, "_withcond_"):
			return nil, invalid("Role %s stands for a conditional binding, which only a policy of version 3 can hold.", b.Role)
		case !ok:
			return nil, invalid("Role %s is not supported for this resource: it is unknown.", b.Role)
		case !slices.Contains(known.kinds, word):
			return nil, invalid("Role %s is not supported for this resource: %s.", b.Role, word)
		}
		key := b.Role
		if b.Condition != nil {
			if err := b.conditional(p.Version); err != nil {
				return nil, err
			}
			key += "\n" + b.Condition.Title + "\n" + b.Condition.Description + "\n" + b.Condition.Expression
		}
		if merged[key] == nil {
			merged[key] = &Binding{Role: b.Role, Condition: b.Condition}
		}
		for _, m := range b.Members {
			if err := c.member(r, m); err != nil {
				return nil, err
			}
			merged[key].Members = append(merged[key].Members, m)
		}
	}
	var kept []Binding
	for _, key := range slices.Sorted(maps.Keys(merged)) {
		if b := merged[key]; len(b.Members) > 0 {
			slices.Sort(b.Members)
			b.Members = slices.Compact(b.Members)
			kept = append(kept, *b)
		}
	}
	return kept, nil
}

func (b Binding) conditional(version int) error {
	public := func(m string) bool { return strings.HasPrefix(m, "all") }
	switch {
	case version != 3:
		return invalid("Conditional bindings need a policy of version 3.")
	case b.Condition.Title == "" || b.Condition.Expression == "":
		return invalid("A condition needs a title and an expression.")
	case slices.Contains([]string{"roles/owner", "roles/editor", "roles/viewer"}, b.Role):
		return invalid("Conditions can't be set on basic roles: %s.", b.Role)
	case slices.ContainsFunc(b.Members, public):
		return invalid("Conditions can't be set on public access.")
	case strings.Count(b.Condition.Expression, "(") != strings.Count(b.Condition.Expression, ")") || strings.Count(b.Condition.Expression, `"`)%2 != 0:
		return invalid("The condition's expression is malformed: %s", b.Condition.Expression)
	}
	return nil
}

var (
	mailbox   = regexp.MustCompile(`^[^@\s]+@[a-z0-9.-]+\.[a-z]+$`)
	federated = regexp.MustCompile(`^principal(Set)?://iam\.googleapis\.com/(projects/[0-9]+/locations/global/workloadIdentityPools|locations/global/workforcePools)/[^/]+/.+$`)
)

// member refuses what is no principal, and service accounts that don't exist where it can be known.
func (c *call) member(r *resource, m string) error {
	kind, id, _ := strings.Cut(m, ":")
	switch kind {
	case "allUsers", "allAuthenticatedUsers":
		if r.kind == "project" || r.kind == "iam.serviceAccounts" {
			return invalid("Policy members must not be public on a %s: %s.", r.kind, m)
		}
		return nil
	case "principal", "principalSet":
		if federated.MatchString(m) {
			return nil
		}
	case "user", "group":
		if mailbox.MatchString(id) && !strings.HasSuffix(id, ".gserviceaccount.com") {
			return nil
		}
	case "domain", "deleted":
		return nil
	case "projectOwner", "projectEditor", "projectViewer":
		if r.kind == "storage.buckets" && c.resources["projects/"+id] != nil {
			return nil
		}
	case "serviceAccount":
		if mailbox.MatchString(id) {
			return c.account(id)
		}
	}
	return invalid("The member %s is of an unknown type. Please set a valid type prefix for the member.", m)
}

// without replaces a deleted account in all policies, as Google does.
func (c *Cloud) without(email, id string) {
	for _, r := range c.resources {
		for _, b := range r.policy.Bindings {
			for i, m := range b.Members {
				if m == "serviceAccount:"+email {
					b.Members[i] = "deleted:" + m + "?uid=" + id
				}
			}
		}
	}
}
