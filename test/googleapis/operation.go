package googleapis

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// patience is how long a request waits for its operation before it leaves the waiting to the client.
const patience = 3 * time.Second

// result is the answer of a call that made, changed or, where r is nil, deleted a resource. Work, which may be nil, is
// what takes time; it is done without the Cloud's lock.
func (c *call) result(r *resource, work func() error) (any, error) {
	switch {
	case c.Response == nil:
		return nil, nil
	case c.doc.Name == "compute":
		return c.computeOperation(), nil
	case !strings.HasSuffix(c.Response.Ref, "Operation"):
		if r == nil {
			return map[string]any{}, nil
		}
		return c.show(r), nil
	}
	parent := "operations"
	if c.project != "" && c.doc.Name != "serviceusage" {
		words := strings.Split(c.name, "/") // projects/p/locations/l
		parent = path.Join(strings.Join(words[:min(4, len(words))], "/"), "operations")
	}
	op := &resource{name: parent + "/" + uuid(), kind: "operation"}
	op.body = map[string]any{"name": op.name, "done": false}
	c.resources[op.name] = op
	if work == nil {
		c.finish(op, r, nil)
		return c.show(op), nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := work()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.finish(op, r, err)
	}()
	c.mu.Unlock()
	select {
	case <-done:
	case <-time.After(patience):
	}
	c.mu.Lock()
	return c.show(op), nil
}

func (c *call) finish(op, r *resource, err error) {
	op.body["done"] = true
	response := map[string]any{}
	if r != nil {
		response = c.show(r)
		response["@type"] = "type.googleapis.com/google.cloud." + c.doc.Name + "." + c.doc.Version + "." + c.form().Ref
	}
	f, ok := err.(*fault)
	switch {
	case ok:
		op.body["error"] = map[string]any{"code": codes[f.code], "message": f.message}
	case err != nil:
		op.body["error"] = map[string]any{"code": codes["INTERNAL"], "message": err.Error()}
	default:
		op.body["response"] = response
	}
}

func (c *call) computeOperation() any {
	words := strings.Split(c.name, "/") // projects/p/global/networks/n, projects/p/regions/r/subnetworks/s
	scope := words[:3]
	if words[2] == "regions" {
		scope = words[:4]
	}
	r := &resource{name: strings.Join(scope, "/") + "/operations/operation-" + uuid(), kind: "operation"}
	r.body = map[string]any{
		"kind": "compute#operation", "id": fmt.Sprint(c.number()), "name": path.Base(r.name), "operationType": c.action,
		"status": "DONE", "progress": 100, "targetLink": selfLink(c.touched), "selfLink": selfLink(r.name), "insertTime": now(),
	}
	c.resources[r.name] = r
	return c.show(r)
}

// selfLink is a compute resource's URL.
func selfLink(name string) string { return "https://www.googleapis.com/compute/v1/" + name }
