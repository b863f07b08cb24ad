package googleapis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/googleapis"
)

const theFunction = region + "/functions/gateway"

func TestARevisionIsMadeWhereOneIsNeeded(t *testing.T) {
	c, f := withFunction(t)
	var deployed []googleapis.Function
	c.Deploy = func(_ context.Context, f googleapis.Function) (string, error) {
		deployed = append(deployed, f)
		return fmt.Sprintf("http://127.0.0.1:%d", 8000+len(deployed)), nil
	}
	c.do("POST "+functions+"?functionId=gateway", f)
	first := deployed[0]
	if string(first.Files["/etc/gateway/config/gateway.yaml"]) != "a: 1" || string(first.Archive) != zipped() || first.Env["GATEWAY_CONFIG"] == "" || first.Env["FUNCTION_TARGET"] != "Gateway" {
		t.Errorf("deployed: %+v", first)
	}
	c.do("PATCH cloudfunctions/v2/"+theFunction+"?updateMask=labels", object{"labels": object{"a": "b"}})
	c.do("PATCH cloudfunctions/v2/"+theFunction+"?updateMask=serviceConfig,buildConfig", f)
	if len(deployed) != 1 {
		t.Errorf("%d revisions; a label and no change need none", len(deployed))
	}

	c.do("POST secretmanager/v1/projects/"+project+"/secrets/config:addVersion", payload("a: 2"))
	at(f, "serviceConfig", "secretVolumes").([]any)[0].(object)["versions"].([]any)[0].(object)["version"] = "2"
	c.do("PATCH cloudfunctions/v2/"+theFunction+"?updateMask=serviceConfig", object{"serviceConfig": f["serviceConfig"]})
	revisions := c.Revisions(theFunction)
	if len(revisions) != 2 || revisions[1].Secrets["/etc/gateway/config/gateway.yaml"] != "projects/acme-test/secrets/config/versions/2" {
		t.Fatalf("the revisions are %+v", revisions)
	}
	got := c.do("GET cloudfunctions/v2/"+theFunction, nil)
	if at(got, "state") != "ACTIVE" || at(got, "serviceConfig", "uri") != "http://127.0.0.1:8002" || at(got, "serviceConfig", "revision") != revisions[1].Name || at(got, "labels", "a") != "b" {
		t.Errorf("the function is %v", got)
	}

	c.do("POST secretmanager/v1/projects/"+project+"/secrets/config/versions/1:destroy", object{})
	c.do("POST secretmanager/v1/projects/"+project+"/secrets/config/versions/2:disable", object{})
	if r := c.Revisions(theFunction); r[0].Orphaned != nil || len(r[1].Orphaned) != 1 {
		t.Errorf("a version went that the serving revision pins, and it isn't told: %+v", r)
	}
}

// staged is the bucket that Google makes for functions' sources, and leaves.
const staged = "gcf-v2-sources-" + number + "-europe-west4"

// Google's words, by which a person finds what to grant.
func TestABuildFetchesTheSourceFromGooglesOwnBucket(t *testing.T) {
	c, f := withFunction(t)
	denied := "Access to bucket " + staged + " denied. You must grant Storage Object Viewer permission to " + account("gateway-build")
	for _, condition := range []string{"", `resource.name.startsWith("projects/_/buckets/acme-source")`} {
		c.conditional("roles/storage.objectViewer", "serviceAccount:"+account("gateway-build"), condition)
		c.refused("POST "+functions+"?functionId=gateway", f, 403, denied)
	}
	c.conditional("roles/storage.objectViewer", "serviceAccount:"+account("gateway-build"), `resource.name.startsWith('projects/_/buckets/`+staged+`')`)
	c.do("POST "+functions+"?functionId=gateway", f)
	if data, err := c.Object(staged, "gateway/function-source.zip", 0); err != nil || string(data) != zipped() {
		t.Errorf("the copy is %d bytes, %v", len(data), err)
	}
}

func TestASlowDeploymentIsWaitedFor(t *testing.T) {
	c, f := withFunction(t)
	release := make(chan struct{})
	c.Deploy = func(context.Context, googleapis.Function) (string, error) {
		<-release
		return "http://127.0.0.1:8001", nil
	}
	op := c.do("POST "+functions+"?functionId=gateway", f)
	if op["done"] != false {
		t.Errorf("the operation is %v", op)
	}
	c.refused("PATCH cloudfunctions/v2/"+theFunction+"?updateMask=labels", object{}, 409, "in progress")
	c.refused("DELETE cloudfunctions/v2/"+theFunction, nil, 409, "in progress")
	close(release)
	for range 500 {
		if op = c.do("GET cloudfunctions/v2/"+op["name"].(string), nil); op["done"] == true {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if at(op, "response", "serviceConfig", "uri") != "http://127.0.0.1:8001" || at(op, "response", "state") != "ACTIVE" {
		t.Errorf("the operation is %v", op)
	}
}

func TestAFunctionMakesAServiceAndTakesItAway(t *testing.T) {
	c, f := withFunction(t)
	c.do("POST "+functions+"?functionId=gateway", f)
	const service = "run/v2/" + region + "/services/gateway"
	if uri := c.do("GET "+service, nil)["uri"].(string); !strings.HasSuffix(uri, ".run.app") {
		t.Errorf("its URL is %s", uri)
	}
	c.grant(service, "GET", "POST", "roles/run.invoker", "allUsers")
	c.refused("GET run/v2/"+region+"/services/other:getIamPolicy", nil, 404, "services/other")
	c.do("DELETE "+functions+"/gateway", nil)
	c.refused("GET "+service, nil, 404, "services/gateway")
}

func TestAFunctionThatDoesntStartFailsItsOperation(t *testing.T) {
	c, f := withFunction(t)
	broken := errors.New("the container failed to start: no such file")
	c.Deploy = func(context.Context, googleapis.Function) (string, error) { return "", broken }
	status, op := c.send("POST "+functions+"?functionId=gateway", f)
	if message, _ := at(op, "error", "message").(string); status != 200 || !strings.Contains(message, broken.Error()) {
		t.Errorf("%d %v", status, op)
	}
	if got := c.do("GET cloudfunctions/v2/"+theFunction, nil); got["state"] != "FAILED" {
		t.Errorf("the function is %v", got)
	}
	if _, again := c.send("GET cloudfunctions/v2/"+op["name"].(string), nil); again["done"] != true || at(again, "error", "message") != at(op, "error", "message") {
		t.Errorf("the operation is %v", again)
	}
}
