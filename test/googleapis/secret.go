package googleapis

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"
)

// secretManager is Secret Manager, without rotation and regional secrets.
func secretManager() service {
	return service{
		kinds: map[string]kind{
			"secretmanager.secrets":          {id: parameter("secretId"), numbered: true, settle: settleSecret},
			"secretmanager.secrets.versions": {numbered: true},
		},
		methods: map[string]func(*call) (any, error){
			"secretmanager.secrets.addVersion":       addVersion,
			"secretmanager.secrets.versions.get":     getVersion,
			"secretmanager.secrets.versions.access":  accessVersion,
			"secretmanager.secrets.versions.enable":  func(c *call) (any, error) { return c.turn("ENABLED") },
			"secretmanager.secrets.versions.disable": func(c *call) (any, error) { return c.turn("DISABLED") },
			"secretmanager.secrets.versions.destroy": func(c *call) (any, error) { return c.turn("DESTROYED") },
		},
	}
}

// maxPayload is cloud.google.com/secret-manager/quotas#content_limits.
const maxPayload = 64 << 10

var secretID = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,255}$`)

func settleSecret(c *call, was, now *resource) error {
	id := now.name[strings.LastIndex(now.name, "/")+1:]
	automatic, user := get(now.body, "replication", "automatic"), get(now.body, "replication", "userManaged")
	switch {
	case !secretID.MatchString(id):
		return invalid("The secret id %q must be 1 to 255 letters, digits, _ and -.", id)
	case (automatic == nil) == (user == nil):
		return invalid("The secret %s needs one replication: automatic or user_managed.", id)
	case get(now.body, "rotation") != nil || get(now.body, "topics") != nil:
		return unmodelled("rotation and topics of secrets")
	}
	if replicas, _ := get(user, "replicas").([]any); user != nil {
		for _, replica := range replicas {
			if err := inRegion(text(replica, "location")); err != nil {
				return err
			}
		}
	}
	return labelled(now.body)
}

func addVersion(c *call) (any, error) {
	parent, err := c.find(c.name)
	if err != nil {
		return nil, notFound("Secret [%s] not found.", c.numbered(c.name))
	}
	data, err := base64.StdEncoding.DecodeString(text(c.body, "payload", "data"))
	sum, _ := strconv.ParseUint(text(c.body, "payload", "dataCrc32c"), 10, 32)
	switch {
	case err != nil || len(data) == 0:
		return nil, invalid("The payload of %s is empty.", c.name)
	case len(data) > maxPayload:
		return nil, invalid("The payload of %s has %d bytes; a version holds 65536.", c.name, len(data))
	case sum != 0 && uint32(sum) != checksum(data):
		return nil, invalid("The payload's checksum is wrong.")
	}
	n := 1
	for c.resources[parent.name+"/versions/"+strconv.Itoa(n)] != nil {
		n++
	}
	r := &resource{name: fmt.Sprintf("%s/versions/%d", parent.name, n), kind: "secretmanager.secrets.versions", data: data}
	r.body = map[string]any{
		"name": r.name, "state": "ENABLED", "createTime": now(), "etag": random(6),
		"replicationStatus": map[string]any{"automatic": map[string]any{}}, "clientSpecifiedPayloadChecksum": sum != 0,
	}
	c.resources[r.name] = r
	return c.show(r), nil
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// version finds one by its number, or the newest, whatever its state.
func (c *Cloud) version(name string) (*resource, error) {
	name = c.canonical(name)
	secret, alias, _ := strings.Cut(name, "/versions/")
	if c.resources[secret] == nil {
		return nil, notFound("Secret [%s] not found or has no versions.", c.numbered(secret))
	}
	if alias == "latest" {
		n := 0
		for c.resources[secret+"/versions/"+strconv.Itoa(n+1)] != nil {
			n++
		}
		name = secret + "/versions/" + strconv.Itoa(n)
	}
	if r := c.resources[name]; r != nil {
		return r, nil
	}
	return nil, notFound("Secret Version [%s] not found.", c.numbered(name))
}

// payload is what the account may read of a version.
func (c *Cloud) payload(name, email string) (*resource, error) {
	r, err := c.version(name)
	if err != nil {
		return nil, err
	}
	secret, _, _ := strings.Cut(r.name, "/versions/")
	if !c.may(email, "secretmanager.versions.access", secret) {
		return nil, denied("Permission 'secretmanager.versions.access' denied for resource '%s' (or it may not exist).", name)
	}
	if state := text(r.body, "state"); state != "ENABLED" {
		return nil, precondition("Secret Version [%s] is in %s state.", c.numbered(r.name), state)
	}
	return r, nil
}

func getVersion(c *call) (any, error) {
	r, err := c.version(c.name)
	if err != nil {
		return nil, err
	}
	return c.show(r), nil
}

func accessVersion(c *call) (any, error) {
	r, err := c.payload(c.name, c.caller)
	if err != nil {
		return nil, err
	}
	return map[string]any{"name": c.numbered(r.name), "payload": map[string]any{
		"data": base64.StdEncoding.EncodeToString(r.data), "dataCrc32c": fmt.Sprint(checksum(r.data)),
	}}, nil
}

func (c *call) turn(state string) (any, error) {
	r, err := c.version(c.name)
	if err != nil {
		return nil, err
	}
	if r.body["state"] == state {
		c.idle = true
		return c.show(r), nil
	}
	if r.body["state"] == "DESTROYED" {
		return nil, precondition("Secret Version [%s] is in DESTROYED state.", c.numbered(r.name))
	}
	if state != "ENABLED" {
		c.orphan(r.name)
	}
	if state == "DESTROYED" {
		r.data, r.body["destroyTime"] = nil, now()
	}
	r.body["state"], r.body["etag"] = state, random(6)
	return c.show(r), nil
}

// SecretVersion returns the payload of a version that isn't destroyed.
func (c *Cloud) SecretVersion(name string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.version(name)
	if err != nil {
		return nil, err
	}
	if r.data == nil {
		return nil, fmt.Errorf("googleapis: %s is destroyed", name)
	}
	return r.data, nil
}
