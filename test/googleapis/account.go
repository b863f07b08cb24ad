package googleapis

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// accounts is IAM: service accounts and their keys.
func accounts() service {
	return service{
		kinds: map[string]kind{"iam.serviceAccounts": {}, "iam.serviceAccounts.keys": {}},
		methods: map[string]func(*call) (any, error){
			"iam.serviceAccounts.create":      createAccount,
			"iam.serviceAccounts.patch":       updateAccount,
			"iam.serviceAccounts.delete":      deleteAccount,
			"iam.serviceAccounts.enable":      func(c *call) (any, error) { return c.able(false) },
			"iam.serviceAccounts.disable":     func(c *call) (any, error) { return c.able(true) },
			"iam.serviceAccounts.keys.create": createKey,
			"iam.serviceAccounts.keys.list":   listKeys,
		},
	}
}

// emailSuffix ends the email of every service account that a project's owner makes.
const emailSuffix = ".iam.gserviceaccount.com"

var accountID = regexp.MustCompile(`^[a-z]([-a-z0-9]{4,28}[a-z0-9])$`)

func createAccount(c *call) (any, error) {
	id := text(c.body, "accountId")
	if !accountID.MatchString(id) {
		return nil, invalid("Service account ID %q must be 6 to 30 lower-case letters, digits and dashes.", id)
	}
	email := id + "@" + c.project + emailSuffix
	r := &resource{name: "projects/" + c.project + "/serviceAccounts/" + email, kind: c.collection, body: map[string]any{}}
	if c.resources[r.name] != nil {
		return nil, exists(r.name)
	}
	if given, ok := prune(c.body["serviceAccount"]).(map[string]any); ok {
		r.body = given
	}
	if len(text(r.body, "displayName")) > 100 || len(text(r.body, "description")) > 256 {
		return nil, invalid("The display name has 100 bytes at most, the description 256.")
	}
	unique := fmt.Sprintf("1%020d", c.number())
	fill(r.body, map[string]any{"name": r.name, "projectId": c.project, "uniqueId": unique, "oauth2ClientId": unique, "email": email, "etag": random(6)})
	c.resources[r.name], c.touched = r, r.name
	return c.show(r), nil
}

func updateAccount(c *call) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(text(c.body, "updateMask"), ",") {
		if field = camel(field); field != "displayName" && field != "description" {
			return nil, invalid("The update mask of a service account is display_name or description, not %q.", field)
		}
		put(r.body, get(c.body, "serviceAccount", field), field)
	}
	return c.show(r), nil
}

func deleteAccount(c *call) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	c.remove(r)
	c.without(text(r.body, "email"), text(r.body, "uniqueId"))
	return map[string]any{}, nil
}

func (c *call) able(disabled bool) (any, error) {
	r, err := c.find(c.name)
	if err == nil {
		put(r.body, disabled, "disabled")
	}
	return map[string]any{}, err
}

// accountID finds the name of an account whose project may be left out, and which may be named by its number.
func (c *Cloud) accountID(project, account string) (string, string) {
	for _, r := range c.resources {
		if r.kind == "iam.serviceAccounts" && (r.body["uniqueId"] == account || r.body["email"] == account && project == "-") {
			return text(r.body, "projectId"), text(r.body, "email")
		}
	}
	if _, host, ok := strings.Cut(account, "@"); ok && project == "-" {
		project = strings.TrimSuffix(host, emailSuffix)
	}
	return project, account
}

// agents are the accounts that a service makes in a project when it is enabled; %s is the project's number. (Other
// services make theirs when they first need it.)
var agents = map[string][]string{
	"artifactregistry.googleapis.com": {"service-%s@gcp-sa-artifactregistry" + emailSuffix},
	"cloudbuild.googleapis.com":       {"%s@cloudbuild.gserviceaccount.com", "service-%s@gcp-sa-cloudbuild" + emailSuffix},
	"cloudfunctions.googleapis.com":   {"service-%s@gcf-admin-robot" + emailSuffix},
	"compute.googleapis.com":          {"%s-compute@developer.gserviceaccount.com", "%s@cloudservices.gserviceaccount.com", "service-%s@compute-system" + emailSuffix},
	"eventarc.googleapis.com":         {"service-%s@gcp-sa-eventarc" + emailSuffix},
	"logging.googleapis.com":          {"service-%s@gcp-sa-logging" + emailSuffix},
	"monitoring.googleapis.com":       {"service-%s@gcp-sa-monitoring-notification" + emailSuffix},
	"pubsub.googleapis.com":           {"service-%s@gcp-sa-pubsub" + emailSuffix},
	"redis.googleapis.com":            {"service-%s@cloud-redis" + emailSuffix},
	"run.googleapis.com":              {"service-%s@serverless-robot-prod" + emailSuffix},
	"storage.googleapis.com":          {"service-%s@gs-project-accounts" + emailSuffix},
	"vpcaccess.googleapis.com":        {"service-%s@gcp-sa-vpcaccess" + emailSuffix},
}

// account refuses a service account that doesn't exist, where this can be known: those of other projects can't.
func (c *Cloud) account(email string) error {
	missing := invalid("Service account %s does not exist.", email)
	for name, r := range c.resources {
		if r.kind != "project" {
			continue
		}
		id, number := text(r.body, "projectId"), text(r.body, "projectNumber")
		if strings.HasSuffix(email, "@"+id+emailSuffix) {
			if c.resources[name+"/serviceAccounts/"+email] == nil {
				return missing
			}
			return nil
		}
		for host, forms := range agents {
			if slices.Contains(forms, strings.Replace(email, number, "%s", 1)) {
				if c.resources[name+"/services/"+host] == nil {
					return missing
				}
				return nil
			}
		}
		if strings.Contains(email, number) { // an agent that no service has
			return missing
		}
	}
	if !strings.HasSuffix(email, ".gserviceaccount.com") {
		return missing
	}
	return nil
}

// actAs refuses where the account doesn't exist or the caller may not make anything run as it.
func (c *call) actAs(email string) error {
	if err := c.account(email); err != nil {
		return err
	}
	if !c.may(c.caller, "iam.serviceAccounts.actAs", c.canonical("projects/-/serviceAccounts/"+email)) {
		return denied("Permission 'iam.serviceaccounts.actAs' denied on service account %s (or it may not exist).", email)
	}
	return nil
}

// tokenURI is where keys are exchanged for access tokens.
const tokenURI = "https://oauth2.googleapis.com/token"

func createKey(c *call) (any, error) {
	parent, err := c.find(strings.TrimSuffix(c.name, "/keys"))
	if err != nil {
		return nil, err
	}
	if algorithm := text(c.body, "keyAlgorithm"); algorithm != "" && algorithm != "KEY_ALG_UNSPECIFIED" && algorithm != "KEY_ALG_RSA_2048" {
		return nil, unmodelled("keys of algorithm %s", algorithm)
	}
	if len(c.keys(parent)) >= 10 {
		return nil, newFault(429, "RESOURCE_EXHAUSTED", "Maximum number of keys on account reached.")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	public := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	sum := sha1.Sum(public)
	id := hex.EncodeToString(sum[:])
	email := text(parent.body, "email")
	file, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "project_id": c.project, "private_key_id": id,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"client_email": email, "client_id": text(parent.body, "uniqueId"),
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": tokenURI,
		"auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
		"client_x509_cert_url":        "https://www.googleapis.com/robot/v1/metadata/x509/" + strings.Replace(email, "@", "%40", 1),
		"universe_domain":             "googleapis.com",
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	r := &resource{name: c.name + "/" + id, kind: "iam.serviceAccounts.keys", data: public}
	r.body = map[string]any{
		"name": r.name, "keyAlgorithm": "KEY_ALG_RSA_2048", "keyOrigin": "GOOGLE_PROVIDED", "keyType": "USER_MANAGED",
		"validAfterTime": strings.Split(now(), ".")[0] + "Z", "validBeforeTime": "9999-12-31T23:59:59Z",
	}
	c.resources[r.name], c.touched = r, r.name
	shown := c.show(r)
	shown["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE"
	shown["privateKeyData"] = base64.StdEncoding.EncodeToString(append(file, '\n'))
	return shown, nil
}

// keys are an account's, the oldest first.
func (c *Cloud) keys(account *resource) []*resource {
	var keys []*resource
	for name, r := range c.resources {
		if r.kind == "iam.serviceAccounts.keys" && strings.HasPrefix(name, account.name+"/") {
			keys = append(keys, r)
		}
	}
	slices.SortFunc(keys, func(a, b *resource) int {
		return strings.Compare(text(a.body, "validAfterTime")+a.name, text(b.body, "validAfterTime")+b.name)
	})
	return keys
}

func listKeys(c *call) (any, error) {
	parent, err := c.find(strings.TrimSuffix(c.name, "/keys"))
	if err != nil {
		return nil, err
	}
	var keys []any
	if types := c.query["keyTypes"]; len(types) == 0 || slices.Contains(types, "USER_MANAGED") {
		for _, key := range c.keys(parent) {
			keys = append(keys, c.show(key))
		}
	}
	return map[string]any{"keys": keys}, nil
}
