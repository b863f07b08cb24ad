package googleapis_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"llmgateway.dev/gateway/test/googleapis"
)

const (
	project = "acme-test"
	number  = "123456789012"
	region  = "projects/acme-test/locations/europe-west4"
)

// object is a JSON object.
type object = map[string]any

// cloud is a Cloud and who calls it.
type cloud struct {
	*testing.T
	*googleapis.Cloud
	token string
}

// everything is what a project of these tests has enabled.
var everything = strings.Fields("artifactregistry bigquery cloudbuild cloudfunctions cloudresourcemanager compute iam iamcredentials logging monitoring redis run secretmanager serviceusage storage vpcaccess")

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c, err := googleapis.New()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, name := range everything {
		hosts = append(hosts, name+".googleapis.com")
	}
	c.AddProject(project, 123456789012, hosts...)
	return &cloud{t, c, env(c, "GOOGLE_OAUTH_ACCESS_TOKEN")}
}

func env(c *googleapis.Cloud, name string) string {
	for _, v := range c.Environ("http://127.0.0.1:1") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// RoundTrip lets clients call Google by its real names.
func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result(), nil
}

// send sends one request: "POST secretmanager/v1/projects/…", to loopback.
func (c *cloud) send(call string, body any) (int, object) {
	c.Helper()
	method, path, _ := strings.Cut(call, " ")
	var content io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	r := httptest.NewRequest(method, "http://127.0.0.1:80/"+path, content)
	r.Header.Set("Authorization", "Bearer "+c.token)
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	var answer object
	json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// do is send where it must succeed.
func (c *cloud) do(call string, body any) object {
	c.Helper()
	status, answer := c.send(call, body)
	if status >= 300 {
		c.Fatalf("%s: %d %v", call, status, answer)
	}
	if failure, ok := answer["error"]; ok {
		c.Fatalf("%s: the operation failed: %v", call, failure)
	}
	return answer
}

// refused is send where it must fail with the status and a message that holds want.
func (c *cloud) refused(call string, body any, status int, want string) {
	c.Helper()
	got, answer := c.send(call, body)
	if message, _ := at(answer, "error", "message").(string); got != status || !strings.Contains(message, want) {
		c.Errorf("%s %v: %d %v, want %d and %q", call, body, got, answer, status, want)
	}
}

// as is the Cloud as another caller sees it.
func (c *cloud) as(email string) *cloud {
	c.Authorize("token of "+email, email)
	return &cloud{c.T, c.Cloud, "token of " + email}
}

func at(v any, path ...string) any {
	for _, name := range path {
		o, _ := v.(object)
		v = o[name]
	}
	return v
}

func payload(s string) object {
	return object{"payload": object{"data": base64.StdEncoding.EncodeToString([]byte(s))}}
}

// grant gives a member a role by read-modify-write.
func (c *cloud) grant(resource, get, set, role, member string) {
	c.Helper()
	var asked any
	if strings.HasPrefix(resource, "cloudresourcemanager/") {
		asked = object{"options": object{"requestedPolicyVersion": 3}} // or conditions would be lost
	}
	policy := c.do(get+" "+resource+":getIamPolicy", asked)
	bindings, _ := policy["bindings"].([]any)
	policy["bindings"] = append(bindings, object{"role": role, "members": []string{member}})
	c.do(set+" "+resource+":setIamPolicy", object{"policy": policy})
}

// conditional gives a member a role on the project, under a condition and no other; without one it takes the role.
func (c *cloud) conditional(role, member, expression string) {
	c.Helper()
	const p = "POST cloudresourcemanager/v1/projects/" + project
	policy := c.do(p+":getIamPolicy", object{"options": object{"requestedPolicyVersion": 3}})
	all, _ := policy["bindings"].([]any)
	all = slices.DeleteFunc(all, func(b any) bool { return at(b, "role") == role })
	if expression != "" {
		all = append(all, object{"role": role, "members": []string{member}, "condition": object{"title": "t", "expression": expression}})
	}
	policy["bindings"], policy["version"] = all, 3
	c.do(p+":setIamPolicy", object{"policy": policy})
}

// upload makes an object and returns its generation.
func (c *cloud) upload(bucket, name, content string) string {
	c.Helper()
	return c.do("POST upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+name, content)["generation"].(string)
}

func account(name string) string { return name + "@" + project + ".iam.gserviceaccount.com" }

// zipped is a zip with a file.
func zipped() string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.Create("go.mod")
	w.Close()
	return b.String()
}

// withFunction has all that a function refers to, and returns the function's body.
func withFunction(t *testing.T) (*cloud, object) {
	t.Helper()
	c := newCloud(t)
	for _, id := range []string{"gateway-run", "gateway-build"} {
		c.do("POST iam/v1/projects/"+project+"/serviceAccounts", object{"accountId": id})
	}
	c.do("POST storage/v1/b?project="+project, object{"name": "acme-source", "location": "EUROPE-WEST4", "versioning": object{"enabled": true}})
	c.upload("acme-source", "function.zip", zipped())
	policy := c.do("GET storage/v1/b/acme-source/iam", nil)
	policy["bindings"] = []object{{"role": "roles/storage.objectViewer", "members": []string{"serviceAccount:" + account("gateway-build")}}}
	c.do("PUT storage/v1/b/acme-source/iam", policy)
	c.do("POST artifactregistry/v1/"+region+"/repositories?repositoryId=images", object{"format": "DOCKER"})
	c.grant("artifactregistry/v1/"+region+"/repositories/images", "GET", "POST", "roles/artifactregistry.writer", "serviceAccount:"+account("gateway-build"))
	c.grant("cloudresourcemanager/v1/projects/"+project, "POST", "POST", "roles/logging.logWriter", "serviceAccount:"+account("gateway-build"))
	c.conditional("roles/storage.objectViewer", "serviceAccount:"+account("gateway-build"), `resource.name.startsWith("projects/_/buckets/gcf-v2-sources-")`)
	c.do("POST secretmanager/v1/projects/"+project+"/secrets?secretId=config", object{"replication": object{"automatic": object{}}})
	c.do("POST secretmanager/v1/projects/"+project+"/secrets/config:addVersion", payload("a: 1"))
	c.grant("secretmanager/v1/projects/"+project+"/secrets/config", "GET", "POST", "roles/secretmanager.secretAccessor", "serviceAccount:"+account("gateway-run"))
	return c, object{
		"buildConfig": object{
			"runtime": "go126", "entryPoint": "Gateway", "dockerRepository": region + "/repositories/images",
			"serviceAccount": "projects/" + project + "/serviceAccounts/" + account("gateway-build"),
			"source":         object{"storageSource": object{"bucket": "acme-source", "object": "function.zip"}},
		},
		"serviceConfig": object{
			"serviceAccountEmail": account("gateway-run"), "availableCpu": "1", "availableMemory": "1Gi", "timeoutSeconds": 3600,
			"maxInstanceRequestConcurrency": 80, "maxInstanceCount": 10, "environmentVariables": object{"GATEWAY_CONFIG": "/etc/gateway/config/gateway.yaml"},
			"secretVolumes": []any{object{"mountPath": "/etc/gateway/config", "projectId": project, "secret": "config", "versions": []any{object{"version": "1", "path": "gateway.yaml"}}}},
		},
	}
}

const functions = "cloudfunctions/v2/" + region + "/functions"

func TestWhatTheDocumentsDontPermitIsRefused(t *testing.T) {
	c := newCloud(t)
	secrets := "secretmanager/v1/projects/" + project + "/secrets"
	c.do("POST "+secrets+"?secretId=there", object{"replication": object{"automatic": object{}}})
	for name, r := range map[string]struct {
		call string
		body any
		want string
	}{
		"an unknown path":                     {"GET secretmanager/v1/projects/" + project + "/secretz", nil, "no method GET"},
		"an unknown verb":                     {"POST " + secrets + "/there:rename", object{}, "no method POST"},
		"a wrong method":                      {"PUT " + secrets + "/there", object{}, "no method PUT"},
		"an unknown parameter":                {"GET " + secrets + "?page=2", nil, `no parameter "page"`},
		"a parameter twice":                   {"POST " + secrets + "?secretId=a&secretId=b", object{}, "once"},
		"a parameter of a wrong type":         {"GET " + secrets + "?pageSize=ten", nil, `"pageSize"`},
		"a parameter outside its enumeration": {"GET secretmanager/v1/projects/" + project + "/secrets?alt=xml", nil, `"alt"`},
		"an unknown field":                    {"POST " + secrets + "?secretId=a", object{"replicaton": object{}}, "unknown field replicaton"},
		"an unknown nested field":             {"POST " + secrets + "?secretId=a", object{"replication": object{"auto": object{}}}, "unknown field replication.auto"},
		"a field of a wrong type":             {"POST " + secrets + "?secretId=a", object{"labels": "x"}, "labels"},
		"a malformed duration":                {"POST " + secrets + "?secretId=a", object{"ttl": "1 hour"}, "ttl"},
		"a malformed time":                    {"POST " + secrets + "?secretId=a", object{"expireTime": "tomorrow"}, "expireTime"},
		"malformed bytes":                     {"POST " + secrets + "/there:addVersion", object{"payload": object{"data": "%%"}}, "payload.data"},
		"a number that is none":               {"POST " + secrets + "/there:addVersion", object{"payload": object{"data": "eA==", "dataCrc32c": "x"}}, "dataCrc32c"},
		"a value outside an enumeration":      {"POST artifactregistry/v1/" + region + "/repositories?repositoryId=r", object{"format": "OCI"}, "format"},
		"a change of what is immutable":       {"PATCH " + secrets + "/there?updateMask=replication", object{"replication": object{"userManaged": object{"replicas": []object{{"location": "europe-west4"}}}}}, "replication is immutable"},
		"a mask that names no field":          {"PATCH " + secrets + "/there?updateMask=colour", object{}, `"colour"`},
		"a body that is no JSON":              {"POST " + secrets + "?secretId=a", "{", "no JSON"},
		"a body with something behind it":     {"POST " + secrets + "?secretId=a", "{}{}", "follows the body"},
		"a body where none is taken":          {"DELETE " + secrets + "/there", object{"a": 1}, "takes no body"},
		"an unknown field of a dashboard":     {"POST monitoring/v1/projects/" + project + "/dashboards", object{"displayName": "d", "gridLayout": object{"widgets": []object{{"tittle": "x"}}}}, "gridLayout.widgets[0].tittle"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cloud{t, c.Cloud, c.token}
			c.refused(r.call, r.body, http.StatusBadRequest, r.want)
			if _, answer := c.send(r.call, r.body); !strings.HasPrefix(at(answer, "error", "message").(string), "STRICT: ") {
				t.Errorf("not said to be strict: %v", answer)
			}
		})
	}
	c.refused("POST "+secrets+"/there/versions/1:rotate", object{}, http.StatusBadRequest, "STRICT")
	c.refused("GET cloudbuild/v1/projects/"+project+"/builds", nil, http.StatusNotImplemented, "not modelled")
	if got := c.Mutations(); len(got) != 1 {
		t.Errorf("refused calls took effect: %v", got)
	}
}

// Each row makes one thing wrong in a function that is right.
func TestAFunctionIsRefusedAsGoogleRefusesIt(t *testing.T) {
	c, right := withFunction(t)
	service := func(field string, v any) func(object) {
		return func(f object) { f["serviceConfig"].(object)[field] = v }
	}
	build := func(field string, v any) func(object) {
		return func(f object) { f["buildConfig"].(object)[field] = v }
	}
	source := func(field string, v any) func(object) {
		return func(f object) { at(f, "buildConfig", "source", "storageSource").(object)[field] = v }
	}
	volume := func(at, secret, version, path string) object {
		return object{"mountPath": at, "projectId": project, "secret": secret, "versions": []any{object{"version": version, "path": path}}}
	}
	volumes := func(v ...any) func(object) { return service("secretVolumes", v) }
	for name, r := range map[string]struct {
		wrong  func(object)
		status int
		want   string
	}{
		"a runtime that isn't":                  {build("runtime", "go9000"), 400, "go9000"},
		"no entry point":                        {build("entryPoint", ""), 400, "entry point"},
		"a build account that isn't":            {build("serviceAccount", "projects/"+project+"/serviceAccounts/"+account("nobody")), 400, "does not exist"},
		"a build account without its roles":     {build("serviceAccount", "projects/"+project+"/serviceAccounts/"+account("gateway-run")), 403, "lacks the permission"},
		"a repository that isn't":               {build("dockerRepository", region+"/repositories/none"), 404, "repositories/none"},
		"a bucket that isn't":                   {source("bucket", "other"), 404, "gs://other"},
		"an object that isn't":                  {source("object", "other.zip"), 404, "other.zip"},
		"a generation that isn't":               {source("generation", "42"), 404, "#42"},
		"a source that is no zip":               {func(f object) { c.upload("acme-source", "text", "hello"); source("object", "text")(f) }, 400, "no zip"},
		"an account that isn't":                 {service("serviceAccountEmail", account("nobody")), 400, "does not exist"},
		"an account that can't read the secret": {service("serviceAccountEmail", account("gateway-build")), 403, "Secret Manager Secret Accessor"},
		"concurrency without a CPU":             {service("availableCpu", "0.5"), 400, "oncurrency"},
		"a CPU that isn't":                      {service("availableCpu", "3"), 400, "3"},
		"memory that isn't":                     {service("availableMemory", "1GB"), 400, "1GB"},
		"more memory than the CPU has":          {service("availableMemory", "8Gi"), 400, "8Gi"},
		"too long a timeout":                    {service("timeoutSeconds", 3601), 400, "3600"},
		"fewer instances at most than at least": {func(f object) { service("minInstanceCount", 11)(f) }, 400, "11 to 10"},
		"too much concurrency":                  {service("maxInstanceRequestConcurrency", 1001), 400, "1000"},
		"a reserved variable":                   {service("environmentVariables", object{"PORT": "1"}), 400, "PORT"},
		"a secret that isn't":                   {volumes(volume("/etc/a", "none", "1", "a")), 404, "none"},
		"a version that isn't":                  {volumes(volume("/etc/a", "config", "7", "a")), 404, "versions/7"},
		"two volumes on one path":               {volumes(volume("/etc/a", "config", "1", "a"), volume("/etc/a", "config", "1", "b")), 400, "Two secrets"},
		"a volume that shadows another":         {volumes(volume("/etc/a", "config", "1", "a"), volume("/etc/a/b", "config", "1", "b")), 400, "STRICT"},
		"a volume at a relative path":           {volumes(volume("etc", "config", "1", "a")), 400, "mounted"},
		"a volume over the system":              {volumes(volume("/proc/x", "config", "1", "a")), 400, "mounted"},
		"a file that leaves its volume":         {volumes(volume("/etc/a", "config", "1", "../b")), 400, "../b"},
		"a network that isn't":                  {service("directVpcNetworkInterface", []any{object{"network": "none"}}), 404, "none"},
		"a connector that isn't":                {service("vpcConnector", "none"), 404, "none"},
		"a label that isn't":                    {func(f object) { f["labels"] = object{"App": "x"} }, 400, "App"},
		"ingress that isn't":                    {service("ingressSettings", "ALLOW_SOME"), 400, "STRICT"},
	} {
		t.Run(name, func(t *testing.T) {
			var f object
			text, _ := json.Marshal(right)
			json.Unmarshal(text, &f)
			r.wrong(f)
			(&cloud{t, c.Cloud, c.token}).refused("POST "+functions+"?functionId=gateway", f, r.status, r.want)
		})
	}
	c.refused("POST "+functions+"?functionId=Gateway", right, 400, "lower-case")
	c.refused("POST cloudfunctions/v2/projects/"+project+"/locations/europe-west99/functions?functionId=gateway", right, 403, "europe-west99")
	c.do("POST "+functions+"?functionId=gateway", right)
	c.refused("POST "+functions+"?functionId=gateway", right, 409, "already exists")
}

func TestAnAPIThatIsOffAnswersSERVICE_DISABLED(t *testing.T) {
	c := newCloud(t)
	c.do("POST serviceusage/v1/projects/"+project+"/services/redis.googleapis.com:disable", object{})
	status, answer := c.send("GET redis/v1/"+region+"/instances", nil)
	info, _ := at(answer, "error", "details").([]any)
	if status != 403 || len(info) != 1 || at(info[0], "reason") != "SERVICE_DISABLED" || at(info[0], "metadata", "service") != "redis.googleapis.com" {
		t.Errorf("%d %v", status, answer)
	}
	c.refused("POST serviceusage/v1/projects/"+project+"/services/rediss.googleapis.com:enable", object{}, 403, "rediss")
	c.do("POST serviceusage/v1/projects/"+project+"/services:batchEnable", object{"serviceIds": []string{"redis.googleapis.com"}})
	c.do("GET redis/v1/"+region+"/instances", nil)
}

func TestWithoutATokenOfTheCloudNothingIsAnswered(t *testing.T) {
	c := newCloud(t)
	(&cloud{t, c.Cloud, "guess"}).refused("GET cloudresourcemanager/v1/projects/"+project, nil, 401, "credentials")
	c.as(account("gateway-gone")).refused("GET cloudresourcemanager/v1/projects/"+project, nil, 401, "credentials")
	c.refused("GET cloudresourcemanager/v1/projects/other-project", nil, 403, "other-project")
}

func TestAProjectHasAnIdAndANumber(t *testing.T) {
	c := newCloud(t)
	made := c.do("POST secretmanager/v1/projects/"+number+"/secrets?secretId=a", object{"replication": object{"automatic": object{}}})
	if want := "projects/" + number + "/secrets/a"; made["name"] != want {
		t.Errorf("the secret is called %v, want %v", made["name"], want)
	}
	if again := c.do("GET secretmanager/v1/projects/"+project+"/secrets/a", nil); again["name"] != made["name"] {
		t.Errorf("under the project's id it is called %v", again["name"])
	}
	dashboard := c.do("POST monitoring/v1/projects/"+project+"/dashboards", object{"displayName": "d", "gridLayout": object{"columns": 2}})
	if name := dashboard["name"].(string); !strings.HasPrefix(name, "projects/"+number+"/dashboards/") {
		t.Errorf("the dashboard is called %s", name)
	}
	if columns := at(dashboard, "gridLayout", "columns"); columns != "2" {
		t.Errorf("columns are %T %v; Google has 64-bit integers as strings", columns, columns)
	}
	c.do("GET monitoring/v1/"+dashboard["name"].(string), nil)
}

func TestWhatIsLeftIsListed(t *testing.T) {
	c, f := withFunction(t)
	c.do("POST "+functions+"?functionId=gateway", f)
	c.do("DELETE "+functions+"/gateway", nil)
	c.do("POST secretmanager/v1/projects/"+project+"/secrets/config/versions/1:disable", object{})
	c.do("POST serviceusage/v1/projects/"+project+"/services/dns.googleapis.com:enable", object{})
	generation := c.do("GET storage/v1/b/acme-source/o/function.zip", nil)["generation"].(string)
	want := []string{
		"projects/_/buckets/acme-source",
		"projects/_/buckets/acme-source/objects/function.zip#" + generation,
		"projects/_/buckets/" + staged,
		"projects/_/buckets/" + staged + "/objects/gateway/function-source.zip#" + c.do("GET storage/v1/b/"+staged+"/o/gateway%2Ffunction-source.zip", nil)["generation"].(string),
		"projects/acme-test/locations/europe-west4/repositories/images",
		"projects/acme-test/secrets/config",
		"projects/acme-test/secrets/config/versions/1 DISABLED",
		"projects/acme-test/serviceAccounts/" + account("gateway-build"),
		"projects/acme-test/serviceAccounts/" + account("gateway-run"),
		"projects/acme-test/services/dns.googleapis.com",
		"projects/acme-test: roles/logging.logWriter to serviceAccount:" + account("gateway-build"),
		"projects/acme-test: roles/storage.objectViewer to serviceAccount:" + account("gateway-build"),
	}
	if got := c.Left(); !slices.Equal(got, want) {
		t.Errorf("left: %q", got)
	}
	c.do("DELETE iam/v1/projects/"+project+"/serviceAccounts/"+account("gateway-build"), nil)
	if got := c.Left(); !strings.Contains(got[len(got)-1], "deleted:serviceAccount:"+account("gateway-build")+"?uid=") {
		t.Errorf("the policy still names the deleted account: %q", got)
	}
}

func TestFailuresComeBeforeOrAfterTheEffect(t *testing.T) {
	c := newCloud(t)
	secret := object{"replication": object{"automatic": object{}}}
	call := "POST secretmanager/v1/projects/" + project + "/secrets?secretId="
	c.Fail("secretmanager.projects.secrets.create", 503, 1, false)
	c.refused(call+"a", secret, 503, "made to fail")
	c.do(call+"a", secret)
	c.Fail("secretmanager.projects.secrets.create", 503, 1, true)
	c.refused(call+"b", secret, 503, "made to fail")
	c.refused(call+"b", secret, 409, "already exists")
	c.Edit("projects/"+project+"/secrets/b", func(body map[string]any) { body["labels"] = object{"by": "hand"} })
	if got := c.do("GET secretmanager/v1/projects/"+project+"/secrets/b", nil); at(got, "labels", "by") != "hand" {
		t.Errorf("the edit isn't seen: %v", got)
	}
}

// What a role permits on one resource it doesn't on another.
func TestCallersNeedRoles(t *testing.T) {
	c, f := withFunction(t)
	c.do("POST iam/v1/projects/"+project+"/serviceAccounts", object{"accountId": "gateway-deploy"})
	deploy := c.as(account("gateway-deploy"))
	onProject := func(role string) {
		c.grant("cloudresourcemanager/v1/projects/"+project, "POST", "POST", role, "serviceAccount:"+account("gateway-deploy"))
	}
	deploy.refused("POST "+functions+"?functionId=gateway", f, 403, "cloudfunctions.functions.create")
	onProject("roles/cloudfunctions.developer")
	deploy.refused("POST "+functions+"?functionId=gateway", f, 403, "actAs")
	for _, id := range []string{"gateway-run", "gateway-build"} {
		c.grant("iam/v1/projects/"+project+"/serviceAccounts/"+account(id), "POST", "POST", "roles/iam.serviceAccountUser", "serviceAccount:"+account("gateway-deploy"))
	}
	deploy.do("POST "+functions+"?functionId=gateway", f)
	deploy.refused("POST run/v2/"+region+"/services/gateway:setIamPolicy", object{"policy": object{}}, 403, "run.services.setIamPolicy")
	deploy.refused("GET secretmanager/v1/projects/"+project+"/secrets/config/versions/1:access", nil, 403, "secretmanager.versions.access")
	c.as(account("gateway-run")).do("GET secretmanager/v1/projects/"+project+"/secrets/config/versions/latest:access", nil)

	policy := c.do("POST cloudresourcemanager/v1/projects/"+project+":getIamPolicy", object{"options": object{"requestedPolicyVersion": 3}})
	policy["version"] = 3
	policy["bindings"] = append(policy["bindings"].([]any), object{"role": "roles/resourcemanager.projectIamAdmin", "members": []string{"serviceAccount:" + account("gateway-deploy")},
		"condition": object{"title": "logs alone", "expression": "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/logging.logWriter'])"}})
	policy = c.do("POST cloudresourcemanager/v1/projects/"+project+":setIamPolicy", object{"policy": policy})
	add := func(role string) object {
		bindings := append(slices.Clone(policy["bindings"].([]any)), object{"role": role, "members": []string{"serviceAccount:" + account("gateway-run")}})
		return object{"policy": object{"version": 3, "etag": policy["etag"], "bindings": bindings}}
	}
	deploy.refused("POST cloudresourcemanager/v1/projects/"+project+":setIamPolicy", add("roles/owner"), 403, "roles/owner")
	deploy.do("POST cloudresourcemanager/v1/projects/"+project+":setIamPolicy", add("roles/logging.logWriter"))
}

func TestNoTestingInTheDouble(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f.Name()); err == nil && !strings.HasSuffix(f.Name(), "_test.go") && strings.Contains(string(text), fmt.Sprintf("%q", "testing")) {
			t.Errorf("%s imports testing", f.Name())
		}
	}
}
