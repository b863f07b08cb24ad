package googleapis_test

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestASecretsVersions(t *testing.T) {
	c := withSecret(t)
	const secret = "secretmanager/v1/projects/acme-test/secrets/a"
	c.refused("GET "+secret+"/versions/latest:access", nil, 404, "not found")
	for i, s := range []string{"one", "two", "three"} {
		if v := c.do("POST "+secret+":addVersion", payload(s)); v["name"] != "projects/"+number+"/secrets/a/versions/"+string(rune('1'+i)) {
			t.Errorf("a version is called %v", v["name"])
		}
	}
	access := func(version string) string {
		data, _ := at(c.do("GET "+secret+"/versions/"+version+":access", nil), "payload", "data").(string)
		b, _ := base64.StdEncoding.DecodeString(data)
		return string(b)
	}
	if access("2") != "two" || access("latest") != "three" {
		t.Error("a version has another's payload")
	}
	c.do("POST "+secret+"/versions/3:disable", object{})
	c.refused("GET "+secret+"/versions/latest:access", nil, 400, "DISABLED") // the newest, whatever its state
	c.do("POST "+secret+"/versions/3:enable", object{})
	c.do("POST "+secret+"/versions/3:destroy", object{})
	c.refused("GET "+secret+"/versions/3:access", nil, 400, "DESTROYED")
	c.refused("POST "+secret+"/versions/3:enable", object{}, 400, "DESTROYED")
	if _, err := c.SecretVersion("projects/acme-test/secrets/a/versions/3"); err == nil {
		t.Error("a destroyed version still has its payload")
	}
	if b, err := c.SecretVersion("projects/" + number + "/secrets/a/versions/1"); err != nil || string(b) != "one" {
		t.Errorf("version 1 is %q, %v", b, err)
	}
	c.refused("GET "+secret+"/versions/9:access", nil, 404, "versions/9")
	c.do("POST "+secret+":addVersion", payload(strings.Repeat("x", 64<<10)))
	c.refused("POST "+secret+":addVersion", payload(strings.Repeat("x", 64<<10+1)), 400, "65537 bytes")
	c.refused("POST "+secret+":addVersion", object{"payload": object{"data": "b25l", "dataCrc32c": "1"}}, 400, "checksum")
	c.refused("POST secretmanager/v1/projects/acme-test/secrets?secretId=b", object{}, 400, "replication")
	c.refused("POST secretmanager/v1/projects/acme-test/secrets?secretId=a%2Fb", object{"replication": object{"automatic": object{}}}, 400, "a/b")
}
