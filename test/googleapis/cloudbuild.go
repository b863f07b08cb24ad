package googleapis

import (
	"path"
	"regexp"
	"strings"
)

// cloudBuild is Cloud Build's triggers, and its connections to where repositories are kept.
func cloudBuild() service {
	return service{
		kinds: map[string]kind{
			"cloudbuild.triggers":                 {id: func(*call) string { return uuid() }, short: true, settle: settleTrigger},
			"cloudbuild.connections":              {id: parameter("connectionId"), settle: settleConnection},
			"cloudbuild.connections.repositories": {id: parameter("repositoryId"), settle: settleLink},
		},
	}
}

var (
	triggerName  = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,62}[a-zA-Z0-9])?$`)
	substitution = regexp.MustCompile(`^_[A-Z0-9_]+$`)
)

func settleTrigger(c *call, was, r *resource) error {
	r.body["id"], r.body["resourceName"] = path.Base(r.name), r.name
	if !triggerName.MatchString(text(r.body, "name")) {
		return invalid("The trigger's name %q must be 1 to 64 letters, digits and dashes.", text(r.body, "name"))
	}
	for name, other := range c.resources {
		if other.kind == r.kind && name != r.name && path.Dir(name) == path.Dir(r.name) && other.body["name"] == r.body["name"] {
			return exists(text(r.body, "name"))
		}
	}
	count := func(fields ...string) (n int) {
		for _, field := range fields {
			if r.body[field] != nil {
				n++
			}
		}
		return n
	}
	if count("filename", "build", "autodetect", "gitFileSource") != 1 {
		return invalid("The trigger needs one of filename, build, autodetect and git_file_source.")
	}
	if count("github", "triggerTemplate", "repositoryEventConfig", "sourceToBuild", "pubsubConfig", "webhookConfig", "developerConnectEventConfig") < 1 {
		return invalid("The trigger needs an event or a source.")
	}
	if count("triggerTemplate", "pubsubConfig", "webhookConfig", "developerConnectEventConfig") > 0 {
		return unmodelled("triggers by Cloud Source Repositories, Pub/Sub, webhooks and Developer Connect")
	}
	for _, field := range []string{"repositoryEventConfig", "sourceToBuild", "gitFileSource"} {
		if repository := text(r.body, field, "repository"); repository != "" {
			if _, err := c.must("cloudbuild.connections.repositories", repository); err != nil {
				return err
			}
			if location(repository) != location(r.name) {
				return invalid("The trigger must be in the region of its repository: %s.", location(repository))
			}
		} else if field == "repositoryEventConfig" && r.body[field] != nil {
			return invalid("The trigger's repository is missing.")
		}
	}
	push, pull := get(r.body, "repositoryEventConfig", "push"), get(r.body, "repositoryEventConfig", "pullRequest")
	if r.body["repositoryEventConfig"] != nil && (push == nil) == (pull == nil) {
		return invalid("The trigger needs push or pull_request.")
	}
	for _, field := range []string{"branch", "tag"} {
		if _, err := regexp.Compile(text(push, field)); err != nil {
			return invalid("The trigger's %s is no regular expression: %v.", field, err)
		}
	}
	account := text(r.body, "serviceAccount")
	if account == "" {
		return invalid("The trigger needs a service account: projects without one have no default any more.")
	}
	if c.canonical(account) != account && !strings.HasPrefix(account, "projects/") {
		return invalid("The service account %q must be projects/PROJECT/serviceAccounts/EMAIL.", account)
	}
	if err := c.actAs(path.Base(account)); err != nil {
		return err
	}
	substitutions, _ := r.body["substitutions"].(map[string]any)
	for key := range substitutions {
		if !substitution.MatchString(key) {
			return invalid("The substitution %q must begin with _ and have upper-case letters, digits and _ alone.", key)
		}
	}
	if r.body["createTime"] == nil {
		r.body["createTime"] = now()
	}
	return nil
}

func settleConnection(c *call, was, r *resource) error {
	config, _ := r.body["githubConfig"].(map[string]any)
	if config == nil {
		return unmodelled("connections other than to GitHub")
	}
	stage := "PENDING_USER_OAUTH"
	if token := text(config, "authorizerCredential", "oauthTokenSecretVersion"); token != "" {
		agent := strings.Replace(agents["cloudbuild.googleapis.com"][1], "%s", c.projectNumber(c.project), 1)
		if _, err := c.payload(token, agent); err != nil {
			return err
		}
		stage = "PENDING_INSTALL_APP"
		put(config, "octocat", "authorizerCredential", "username")
		if text(config, "appInstallationId") != "" {
			stage = "COMPLETE"
		}
	}
	r.body["installationState"] = map[string]any{"stage": stage}
	return nil
}

func settleLink(c *call, was, r *resource) error {
	connection := c.resources[path.Dir(path.Dir(r.name))]
	switch uri := text(r.body, "remoteUri"); {
	case connection == nil:
		return notFound("The connection of %s was not found.", r.name)
	case text(connection.body, "installationState", "stage") != "COMPLETE":
		return precondition("The connection %s is not complete: %s.", connection.name, text(connection.body, "installationState", "stage"))
	case !strings.HasPrefix(uri, "https://github.com/") || !strings.HasSuffix(uri, ".git"):
		return invalid("The remote URI %q must be https://github.com/OWNER/REPOSITORY.git.", uri)
	}
	return nil
}
