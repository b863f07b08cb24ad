package googleapis_test

import (
	"strings"
	"testing"
)

const policyOf = "secretmanager/v1/projects/acme-test/secrets/a"

func withSecret(t *testing.T) *cloud {
	c := newCloud(t)
	c.do("POST secretmanager/v1/projects/"+project+"/secrets?secretId=a", object{"replication": object{"automatic": object{}}})
	return c
}

func TestTwoWhoWriteAPolicyAtOnceDontUndoEachOther(t *testing.T) {
	c := withSecret(t)
	mine, theirs := c.do("GET "+policyOf+":getIamPolicy", nil), c.do("GET "+policyOf+":getIamPolicy", nil)
	mine["bindings"] = []object{{"role": "roles/secretmanager.viewer", "members": []string{"user:a@example.com"}}}
	theirs["bindings"] = []object{{"role": "roles/secretmanager.viewer", "members": []string{"user:b@example.com"}}}
	c.do("POST "+policyOf+":setIamPolicy", object{"policy": mine})
	c.refused("POST "+policyOf+":setIamPolicy", object{"policy": theirs}, 409, "concurrent policy changes")
	p, err := c.Policy("projects/" + project + "/secrets/a")
	if err != nil || len(p.Bindings) != 1 || p.Bindings[0].Members[0] != "user:a@example.com" {
		t.Errorf("the policy is %v, %v", p, err)
	}
}

func TestABindingIsRefusedAsGoogleRefusesIt(t *testing.T) {
	c := withSecret(t)
	binding := func(role, member string) object {
		return object{"policy": object{"bindings": []object{{"role": role, "members": []string{member}}}}}
	}
	conditional := func(version int, role, title, expression string) object {
		return object{"policy": object{"version": version, "bindings": []object{{"role": role, "members": []string{"user:a@example.com"}, "condition": object{"title": title, "expression": expression}}}}}
	}
	const viewer, user = "roles/secretmanager.viewer", "user:a@example.com"
	for name, r := range map[string]struct {
		policy object
		want   string
	}{
		"a misspelt role":                  {binding("roles/secretmanager.viwer", user), "not supported"},
		"a role for something else":        {binding("roles/run.invoker", user), "not supported"},
		"a member without a type":          {binding(viewer, "a@example.com"), "unknown type"},
		"a user that is no address":        {binding(viewer, "user:a"), "unknown type"},
		"an account as a user":             {binding(viewer, "user:x@acme-test.iam.gserviceaccount.com"), "unknown type"},
		"an account that isn't":            {binding(viewer, "serviceAccount:nobody@acme-test.iam.gserviceaccount.com"), "does not exist"},
		"an agent of an API that is off":   {binding(viewer, "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"), "does not exist"},
		"an agent that no API has":         {binding(viewer, "serviceAccount:service-123456789012@gcp-sa-none.iam.gserviceaccount.com"), "does not exist"},
		"a principal that is none":         {binding(viewer, "principal://example.com/x"), "unknown type"},
		"a condition in an older version":  {conditional(1, viewer, "t", "true"), "version 3"},
		"a condition without a title":      {conditional(3, viewer, "", "true"), "title"},
		"a condition that is cut short":    {conditional(3, viewer, "t", "resource.name.startsWith("), "malformed"},
		"a role that a reading has spoilt": {binding(viewer+"_withcond_00000000", user), "version 3"},
	} {
		t.Run(name, func(t *testing.T) {
			(&cloud{t, c.Cloud, c.token}).refused("POST "+policyOf+":setIamPolicy", r.policy, 400, r.want)
		})
	}
	for _, member := range []string{
		user, "group:g@example.com", "domain:example.com", "serviceAccount:x@elsewhere.iam.gserviceaccount.com",
		"serviceAccount:service-123456789012@gcp-sa-cloudbuild.iam.gserviceaccount.com", "allUsers",
		"principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/attribute.a/b",
	} {
		c.do("POST "+policyOf+":setIamPolicy", binding(viewer, member))
	}
	c.refused("POST cloudresourcemanager/v1/projects/"+project+":setIamPolicy", binding("roles/viewer", "allUsers"), 400, "public")
}

func TestConditionsAreToldOnlyToWhoKnowsThem(t *testing.T) {
	c := withSecret(t)
	c.do("POST "+policyOf+":setIamPolicy", object{"policy": object{"version": 3, "bindings": []object{
		{"role": "roles/secretmanager.viewer", "members": []string{"user:a@example.com"}, "condition": object{"title": "t", "expression": "true"}},
		{"role": "roles/secretmanager.viewer", "members": []string{"user:a@example.com", "user:a@example.com"}},
	}}})
	old := c.do("GET "+policyOf+":getIamPolicy", nil)
	var roles []string
	for _, b := range old["bindings"].([]any) {
		roles = append(roles, at(b, "role").(string))
	}
	if len(roles) != 2 || strings.HasPrefix(roles[0], "roles/secretmanager.viewer_withcond_") == strings.HasPrefix(roles[1], "roles/secretmanager.viewer_withcond_") {
		t.Errorf("an older client sees %v", old)
	}
	for _, b := range old["bindings"].([]any) {
		if members := at(b, "members").([]any); len(members) != 1 {
			t.Errorf("a member twice: %v", members)
		}
	}
	if now := c.do("GET "+policyOf+":getIamPolicy?options.requestedPolicyVersion=3", nil); now["version"] != 3.0 {
		t.Errorf("a client of version 3 sees %v", now)
	}
}
