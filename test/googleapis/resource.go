package googleapis

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A resource is anything with a name: projects/p/secrets/s. Buckets and objects are named as in IAM conditions:
// projects/_/buckets/b/objects/o#1 (the first generation).
type resource struct {
	name   string
	kind   string         // as the documents name it, without projects and locations: secretmanager.secrets
	body   map[string]any // as the API shows it
	policy Policy
	data   []byte // a secret version's payload, an object's content, an account key's public half
}

// A kind is what the documents don't say of one kind of resource.
type kind struct {
	// id is a new one's: of a parameter, of a field of the body, or Google's own choice.
	id func(c *call) string
	// short is set where the field name is the id alone.
	short bool
	// numbered is set where the API shows names under the project's number.
	numbered bool
	// settle judges and completes one that is about to be made, where was is nil, or changed.
	settle func(c *call, was, now *resource) error
	// gone judges a deletion.
	gone func(c *call, r *resource) error
	// done is called once the change is stored, and may take its time: the answer is a long-running operation.
	done func(c *call, was, now *resource) func() error
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

// form is the schema of the method's kind of resource.
func (m *method) form() *schema {
	for _, sibling := range m.doc.methods {
		if sibling.collection == m.collection && sibling.action == "get" {
			return sibling.Response
		}
	}
	return &schema{}
}

func (c *call) find(name string) (*resource, error) {
	if r := c.resources[name]; r != nil {
		return r, nil
	}
	return nil, notFound("Resource '%s' was not found.", name)
}

// must is find where another resource refers to that one.
func (c *call) must(kind, name string) (*resource, error) {
	if r := c.resources[c.canonical(name)]; r != nil && r.kind == kind {
		return r, nil
	}
	return nil, notFound("%s refers to '%s', which was not found.", c.name, name)
}

func parameter(name string) func(*call) string {
	return func(c *call) string { return c.query.Get(name) }
}

func field(path ...string) func(*call) string {
	return func(c *call) string { return text(c.body, path...) }
}

func counted(c *call) string { return fmt.Sprint(1000000000000000000 + c.number()) }

func (c *call) create(k kind) (any, error) {
	id := k.id(c)
	if id == "" || strings.Contains(id, "/") && !k.short {
		return nil, invalid("%s: the id %q is missing or malformed.", c.ID, id)
	}
	r := &resource{name: c.name + "/" + id, kind: c.collection, body: prune(c.body).(map[string]any)}
	if c.resources[r.name] != nil {
		return nil, exists(r.name)
	}
	if !k.short {
		r.body["name"] = r.name
	}
	return c.store(k, nil, r)
}

// update is PATCH and PUT, with a mask or without.
func (c *call) update(k kind) (any, error) {
	was, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if etag := text(c.body, "etag"); etag != "" && was.body["etag"] != nil && etag != was.body["etag"] {
		return nil, conflict("conditionNotMet", "The etag of %s has changed.", c.name)
	}
	form, to := c.form(), &resource{name: was.name, kind: was.kind, body: clone(was.body).(map[string]any), policy: was.policy, data: was.data}
	mask := c.query.Get("updateMask")
	switch {
	case mask != "" && mask != "*":
		for path := range strings.SplitSeq(mask, ",") {
			path = camel(path)
			if err := c.doc.masked(form, path); err != nil {
				return nil, err
			}
			put(to.body, get(c.body, strings.Split(path, ".")...), strings.Split(path, ".")...)
		}
	case c.HTTPMethod == http.MethodPatch && mask == "":
		merge(to.body, c.body)
	default:
		to.body = prune(c.body).(map[string]any)
	}
	c.doc.retain(form, was.body, to.body)
	if !k.short {
		to.body["name"] = was.name
	}
	if field := c.doc.changed(form, was.body, to.body, ""); field != "" {
		return nil, strict("%s: the field %s is immutable", c.name, field)
	}
	return c.store(k, was, to)
}

func (c *call) store(k kind, was, now *resource) (any, error) {
	c.touched = now.name
	c.stamp(was, now)
	if k.settle != nil {
		if err := k.settle(c, was, now); err != nil {
			return nil, err
		}
	}
	c.resources[now.name] = now
	var work func() error
	if k.done != nil {
		work = k.done(c, was, now)
	}
	return c.result(now, work)
}

// stamp sets the fields that all APIs name alike.
func (c *call) stamp(was, r *resource) {
	fields := c.doc.Schemas[c.form().Ref].Properties
	for _, name := range []string{"createTime", "updateTime", "etag", "uid"} {
		if fields[name] == nil || was != nil && (name == "createTime" || name == "uid") {
			continue
		}
		switch name {
		case "etag":
			r.body[name] = random(6)
		case "uid":
			r.body[name] = uuid()
		default:
			r.body[name] = now()
		}
	}
}

func (c *call) get() (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	return c.show(r), nil
}

// list answers with the members of a collection, all on one page.
func (c *call) list() (any, error) {
	if filter := c.query.Get("filter"); filter != "" {
		return nil, unmodelled("%s with the filter %q", c.ID, filter)
	}
	var items []any
	for _, name := range slices.Sorted(maps.Keys(c.resources)) {
		if r := c.resources[name]; r.kind == c.collection && strings.HasPrefix(name, c.name+"/") {
			items = append(items, c.show(r))
		}
	}
	for name, p := range c.doc.Schemas[c.Response.Ref].Properties {
		if p.Items != nil && p.Items.Ref == c.form().Ref {
			return map[string]any{name: items}, nil
		}
	}
	return nil, unmodelled("%s", c.ID)
}

func (c *call) delete(k kind) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if k.gone != nil {
		if err := k.gone(c, r); err != nil {
			return nil, err
		}
	}
	c.remove(r)
	return c.result(nil, nil)
}

// remove deletes a resource and all below it.
func (c *Cloud) remove(r *resource) {
	maps.DeleteFunc(c.resources, func(name string, _ *resource) bool {
		return name == r.name || strings.HasPrefix(name, r.name+"/")
	})
}

// show is a resource as its API shows it.
func (c *call) show(r *resource) map[string]any {
	body := clone(r.body).(map[string]any)
	if c.kinds[r.kind].numbered {
		body["name"] = c.numbered(r.name)
	}
	return body
}

// numbered is the name with the project's number for its id.
func (c *Cloud) numbered(name string) string {
	words := strings.Split(name, "/")
	words[1] = c.projectNumber(words[1])
	return strings.Join(words, "/")
}

// Left returns what exists besides the projects and what AddProject enabled, sorted: names of resources, with the state
// of secret versions, and the IAM bindings of projects.
func (c *Cloud) Left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []string
	for name, r := range c.resources {
		state := text(r.body, "state")
		switch {
		case r.kind == "project":
			for _, b := range r.policy.Bindings {
				for _, m := range b.Members {
					left = append(left, fmt.Sprintf("%s: %s to %s", name, b.Role, m))
				}
			}
		case c.start[name] || r.kind == "operation":
		case r.kind == "secretmanager.secrets.versions" && state == "DESTROYED":
		case r.kind == "secretmanager.secrets.versions":
			left = append(left, name+" "+state)
		default:
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left
}

// Resource decodes the resource of that name, as its API shows it.
func (c *Cloud) Resource(name string, v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resources[c.canonical(name)]
	if r == nil {
		return fmt.Errorf("googleapis: there is no %s", name)
	}
	return decode(r.body, v)
}

// Edit changes a resource behind everybody's back, as a person in the console does. It panics where there is none.
func (c *Cloud) Edit(name string, change func(map[string]any)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.resources[c.canonical(name)]
	if r == nil {
		panic("googleapis: there is no " + name)
	}
	change(r.body)
}

// Mutations returns the calls that took effect, in their order: "POST secretmanager.projects.secrets.create
// projects/p/secrets/s".
func (c *Cloud) Mutations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mutations)
}

// ClearMutations begins that list anew.
func (c *Cloud) ClearMutations() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mutations = nil
}

// Values of JSON objects.

func get(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func text(v any, path ...string) string {
	s, _ := get(v, path...).(string)
	return s
}

// put sets what path names, or takes it away where v is nil.
func put(object map[string]any, v any, path ...string) {
	for _, name := range path[:len(path)-1] {
		next, ok := object[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[name] = next
		}
		object = next
	}
	last := path[len(path)-1]
	if v = prune(v); v == nil {
		delete(object, last)
	} else {
		object[last] = v
	}
}

// merge is a JSON merge patch (RFC 7396).
func merge(object, patch map[string]any) {
	for name, v := range patch {
		inner, ok := v.(map[string]any)
		before, ok2 := object[name].(map[string]any)
		switch {
		case v == nil:
			delete(object, name)
		case ok && ok2:
			merge(before, inner)
		default:
			object[name] = prune(v)
		}
	}
}

// fill sets what isn't set.
func fill(object, defaults map[string]any) {
	for name, v := range defaults {
		if inner, ok := v.(map[string]any); ok {
			if object[name] == nil {
				object[name] = map[string]any{}
			}
			fill(object[name].(map[string]any), inner)
		} else if object[name] == nil {
			object[name] = v
		}
	}
}

// prune copies without nulls.
func prune(v any) any { return replace(v, true) }
func clone(v any) any { return replace(v, false) }

func replace(v any, pruned bool) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, member := range v {
			if member != nil || !pruned {
				kept[name] = replace(member, pruned)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i := range v {
			kept[i] = replace(v[i], pruned)
		}
		return kept
	}
	return v
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// camel is a field's name in JSON; masks may have the name in the protocol buffer.
func camel(name string) string {
	for i := strings.IndexByte(name, '_'); i >= 0 && i+1 < len(name); i = strings.IndexByte(name, '_') {
		name = name[:i] + strings.ToUpper(name[i+1:i+2]) + name[i+2:]
	}
	return name
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
