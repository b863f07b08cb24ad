package googleapis

import (
	_ "embed"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A role is what roles.txt says of it.
type role struct {
	kinds       []string // what it may be granted on: project, secrets
	permissions []string // secretmanager.versions.access, secretmanager.*, !secretmanager.versions.access
}

//go:embed roles.txt
var rolesFile string

var roles = func() map[string]role {
	all := map[string]role{}
	for line := range strings.Lines(rolesFile) {
		if words := strings.Fields(line); len(words) > 1 && !strings.HasPrefix(line, "#") {
			all[words[0]] = role{strings.Split(words[1], ","), words[2:]}
		}
	}
	return all
}()

func (r role) permits(permission string) bool {
	permits := false
	for _, pattern := range r.permissions {
		pattern, not := strings.CutPrefix(pattern, "!")
		if ok, _ := path.Match(pattern, permission); ok {
			permits = !not
		}
	}
	return permits
}

// Permissions are named like methods; here is where they aren't (cloud.google.com/iam/docs/permissions-reference).
var (
	permissionWords = map[string]string{
		"cloudresourcemanager.projects": "resourcemanager.projects", "cloudbilling.projects": "resourcemanager.projects",
		"iamcredentials.serviceAccounts": "iam.serviceAccounts", "cloudbuild.triggers": "cloudbuild.builds", "iam.keys": "iam.serviceAccountKeys", "logging.metrics": "logging.logMetrics",
		"servicenetworking.connections": "servicenetworking.services",
	}
	permissionVerbs = map[string]string{
		"insert": "create", "patch": "update", "batchEnable": "enable", "getBillingInfo": "get",
		"generateAccessToken": "getAccessToken", "generateIdToken": "getOpenIdToken",
	}
)

// permission is what the caller of the method needs on the resource or what it is in.
func (m *method) permission() string {
	if m.action == "addVersion" {
		return "secretmanager.versions.add"
	}
	words := m.doc.Name + "." + m.collection[strings.LastIndex(m.collection, ".")+1:]
	if others := permissionWords[words]; others != "" {
		words = others
	}
	if verb := permissionVerbs[m.action]; verb != "" {
		return words + "." + verb
	}
	return words + "." + m.action
}

// permitted refuses callers without the method's permission. Everybody may look at operations.
func (c *call) permitted() error {
	on := c.name
	if on == "projects/_/buckets" { // the buckets of the project in the query
		on = "projects/" + c.project
	}
	if strings.HasSuffix(c.collection, "perations") || c.may(c.caller, c.permission(), on) {
		return nil
	}
	return denied("Permission '%s' denied on resource '%s' (or it may not exist).", c.permission(), on)
}

// may tells whether a role on the named resource, or on what it is in, gives the account the permission. Changed are
// the roles that would be given or taken with it.
func (c *Cloud) may(email, permission, name string, changed ...string) bool {
	if email == owner {
		return true
	}
	members := []string{"allUsers", "allAuthenticatedUsers", "serviceAccount:" + email, "user:" + email}
	on := name // what conditions are about, wherever the role was given
	for name != "." && name != "projects/_" {
		r := c.resources[name]
		name = path.Dir(name)
		if r == nil {
			continue
		}
		for _, b := range r.policy.Bindings {
			if roles[b.Role].permits(permission) && b.Condition.holds(on, changed) && slices.ContainsFunc(b.Members, func(m string) bool { return slices.Contains(members, m) }) {
				return true
			}
		}
		if r.kind == "storage.buckets" {
			name = "projects/" + c.projectID(text(r.body, "projectNumber"))
		}
	}
	return false
}

var (
	modifiedGrants = regexp.MustCompile(`^api\.getAttribute\(["']iam\.googleapis\.com/modifiedGrantsByRole["'], \[\]\)\.hasOnly\(\[(.*)\]\)$`)
	nameBegins     = regexp.MustCompile(`^resource\.name\.startsWith\((?:"([^"]*)"|'([^']*)')\)$`)
)

// holds evaluates the conditions that limit which roles may be given, and on which resources a role is good; others hold.
func (c *Condition) holds(name string, changed []string) bool {
	if c == nil {
		return true
	}
	if m := nameBegins.FindStringSubmatch(c.Expression); m != nil {
		return strings.HasPrefix(name, m[1]+m[2])
	}
	m := modifiedGrants.FindStringSubmatch(c.Expression)
	return m == nil || !slices.ContainsFunc(changed, func(role string) bool {
		return !strings.Contains(m[1], "'"+role+"'") && !strings.Contains(m[1], `"`+role+`"`)
	})
}

// changedRoles are those that one policy gives to others than another does.
func changedRoles(was, now []Binding) []string {
	var changed []string
	missing := func(from, in []Binding) {
		for _, b := range from {
			if !slices.ContainsFunc(in, func(other Binding) bool { return equal(b, other) }) {
				changed = append(changed, b.Role)
			}
		}
	}
	missing(was, now)
	missing(now, was)
	slices.Sort(changed)
	return slices.Compact(changed)
}
