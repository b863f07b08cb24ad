package googleapis

import (
	"regexp"
	"strings"
)

// artifactRegistry is Artifact Registry's repositories, which stay empty.
func artifactRegistry() service {
	return service{kinds: map[string]kind{"artifactregistry.repositories": {id: parameter("repositoryId"), settle: settleRepository}}}
}

var repositoryID = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

func settleRepository(c *call, was, r *resource) error {
	id := r.name[strings.LastIndex(r.name, "/")+1:]
	if !repositoryID.MatchString(id) {
		return invalid("The repository's id %q must be lower-case letters, digits and dashes, 63 at most.", id)
	}
	if format := text(r.body, "format"); format == "" || format == "FORMAT_UNSPECIFIED" {
		return invalid("The repository's format is missing.")
	}
	policies, _ := r.body["cleanupPolicies"].(map[string]any)
	for name, v := range policies {
		p := v.(map[string]any)
		fill(p, map[string]any{"id": name})
		condition, _ := get(p, "condition").(map[string]any)
		keep, _ := get(p, "mostRecentVersions").(map[string]any)
		if text(p, "id") != name || text(p, "action") == "" || (len(condition) == 0) == (len(keep) == 0) {
			return invalid("The cleanup policy %s needs an id that is its key, an action, and either a condition or most_recent_versions.", name)
		}
	}
	fill(r.body, map[string]any{"mode": "STANDARD_REPOSITORY", "sizeBytes": "0", "registryUri": location(r.name) + "-docker.pkg.dev/" + c.project + "/" + id})
	return labelled(r.body)
}

// defaultRepository is where functions go that name none. Google makes it, and leaves it when they go.
func (c *call) defaultRepository(location string) string {
	name := "projects/" + c.project + "/locations/" + location + "/repositories/gcf-artifacts"
	if c.resources[name] == nil {
		c.resources[name] = &resource{name: name, kind: "artifactregistry.repositories", body: map[string]any{
			"name": name, "format": "DOCKER", "mode": "STANDARD_REPOSITORY", "createTime": now(), "updateTime": now(),
		}}
	}
	return name
}
