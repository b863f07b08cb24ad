package googleapis

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A call is one request on its way: first judged by its document, then done.
type call struct {
	*Cloud
	*method
	w       http.ResponseWriter
	r       *http.Request
	caller  string // email
	name    string // of the resource or collection, under the project's id
	project string // id
	query   url.Values
	content []byte
	body    map[string]any
	session string // of a resumable upload
	touched string // what a change is recorded under, if it isn't name
	idle    bool   // nothing had to be changed
}

// serve does the call. The Cloud is locked.
func (c *call) serve(host, path string) (any, error) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if host == "storage.googleapis.com" {
		segments = c.storagePath(segments)
	}
	if err := c.route(host, segments); err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	if err := c.admit(); err != nil {
		return nil, err
	}
	f := c.failing()
	if f != nil && !f.after {
		return nil, f.fault()
	}
	result, err := c.do()
	if err != nil {
		return nil, err
	}
	if c.changes() && !c.idle {
		if c.touched == "" {
			c.touched = c.name
		}
		c.mutations = append(c.mutations, c.HTTPMethod+" "+c.ID+" "+c.touched)
	}
	if f != nil {
		return nil, f.fault()
	}
	return result, nil
}

func (c *call) route(host string, segments []string) error {
	best, known, verb := -1, false, c.r.Method
	if c.uploads() && verb == http.MethodPut { // a piece of an object that a POST began
		verb = http.MethodPost
	}
	for _, d := range c.documents {
		if d.host != host {
			continue
		}
		known = true
		for _, m := range d.methods {
			if m.HTTPMethod == verb {
				if n := m.match(segments); n > best {
					best, c.method = n, m
				}
			}
		}
	}
	switch {
	case !known:
		return unmodelled("host %s", host)
	case best < 0:
		return strict("no method %s %s", c.r.Method, c.r.URL.Path)
	}
	name, err := c.method.name(segments)
	c.name = c.canonical(name)
	return err
}

// canonical replaces aliases by the names that resources are stored under.
func (c *Cloud) canonical(name string) string {
	words := strings.Split(name, "/")
	if words[0] == "b" {
		return storageName(name)
	}
	if words[0] == "projects" && len(words) > 1 {
		words[1] = c.projectID(words[1])
	}
	if len(words) > 3 && words[2] == "serviceAccounts" {
		words[1], words[3] = c.accountID(words[1], words[3])
	}
	if len(words) > 3 && words[2] == "triggers" { // the older form of those without a region
		words = slices.Insert(words, 2, "locations", "global")
	}
	return strings.Join(words, "/")
}

// projectID is the id of the project of that id or number.
func (c *Cloud) projectID(alias string) string {
	for _, r := range c.resources {
		if r.kind == "project" && r.body["projectNumber"] == alias {
			return r.body["projectId"].(string)
		}
	}
	return alias
}

func (c *Cloud) projectNumber(id string) string {
	if p := c.resources["projects/"+id]; p != nil {
		return p.body["projectNumber"].(string)
	}
	return id
}

func (c *call) read() error {
	c.query = url.Values{}
	for name, values := range c.r.URL.Query() {
		c.query[camel(name)] = values
	}
	if c.uploads() {
		c.session = c.query.Get("uploadId")
		c.query.Del("uploadId")
	}
	if err := c.parameters(c.query); err != nil {
		return err
	}
	if c.uploads() {
		return nil
	}
	if c.Request == nil || len(bytes.TrimSpace(c.content)) == 0 {
		if len(bytes.TrimSpace(c.content)) > 0 && string(bytes.TrimSpace(c.content)) != "{}" {
			return strict("%s takes no body", c.ID)
		}
		c.body = map[string]any{}
		return nil
	}
	body, err := c.parse(c.content)
	c.body = body
	return err
}

// parse reads a request's JSON by its schema.
func (c *call) parse(content []byte) (map[string]any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, strict("%s: the body is no JSON: %v", c.ID, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, strict("%s: something follows the body", c.ID)
	}
	v, err := c.doc.conform(c.Request, v, "")
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

// admit refuses calls of projects that aren't there, of APIs that aren't enabled, and of callers without the right.
func (c *call) admit() error {
	if words := strings.Split(c.name, "/"); words[0] == "projects" && len(words) > 1 && words[1] != "_" {
		c.project = words[1]
	}
	if project := c.query.Get("project"); c.doc.Name == "storage" && project != "" {
		c.project = c.projectID(project)
	} else if r := c.resources[bucketOf(c.name)]; r != nil {
		c.project = c.projectID(r.body["projectNumber"].(string))
	}
	if c.project == "" {
		return nil
	}
	if c.resources["projects/"+c.project] == nil {
		return denied("The caller does not have permission on project %s, or it may not exist.", c.project)
	}
	if err := c.enabled(c.doc.host); err != nil {
		return err
	}
	if err := c.located(); err != nil {
		return err
	}
	return c.permitted()
}

// enabled refuses where the project hasn't enabled the API.
func (c *call) enabled(host string) error {
	if c.resources["projects/"+c.project+"/services/"+host] != nil {
		return nil
	}
	number := c.projectNumber(c.project)
	f := newFault(http.StatusForbidden, "PERMISSION_DENIED", "%s has not been used in project %s before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/%[1]s/overview?project=%[2]s then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.", host, number)
	f.reason = "accessNotConfigured"
	f.details = []any{map[string]any{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
		"metadata": map[string]any{"consumer": "projects/" + number, "service": host},
	}}
	return f
}

// do finds what the call means.
func (c *call) do() (any, error) {
	if do, ok := c.methods[c.collection+"."+c.action]; ok {
		return do(c)
	}
	k, ok := c.kinds[c.collection]
	switch {
	case strings.HasSuffix(c.collection, "perations") && c.action == "get":
		return c.get()
	case !ok:
		return nil, unmodelled("%s", c.ID)
	}
	switch c.action {
	case "create", "insert":
		return c.create(k)
	case "get":
		return c.get()
	case "list":
		return c.list()
	case "patch", "update":
		return c.update(k)
	case "delete":
		return c.delete(k)
	case "getIamPolicy":
		return c.getPolicy()
	case "setIamPolicy":
		return c.setPolicy()
	}
	return nil, unmodelled("%s", c.ID)
}

// changes tells whether the method changes anything.
func (m *method) changes() bool {
	return m.HTTPMethod != http.MethodGet && !slices.Contains([]string{
		"getIamPolicy", "testIamPermissions", "generateAccessToken", "generateIdToken", "getAncestry", "batchGet", "wait",
	}, m.action)
}

// A failure is one to come.
type failure struct {
	method string
	status int
	n      int
	after  bool
}

// Fail makes the next n calls of a method answer with the status: instead of doing it or, where after is set, when it
// has taken effect, as happens where the connection breaks. Method is an id such as secretmanager.projects.secrets.create.
func (c *Cloud) Fail(method string, status, n int, after bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, &failure{method, status, n, after})
}

func (c *call) failing() *failure {
	for _, f := range c.failures {
		if f.method == c.ID && f.n > 0 {
			f.n--
			return f
		}
	}
	return nil
}

func (f *failure) fault() error {
	return newFault(f.status, "INTERNAL", "%s was made to fail.", f.method)
}
