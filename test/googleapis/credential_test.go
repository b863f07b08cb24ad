package googleapis_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
)

func withAccount(t *testing.T) *cloud {
	c := newCloud(t)
	for _, id := range []string{"gateway-run", "gateway-upstream"} {
		c.do("POST iam/v1/projects/"+project+"/serviceAccounts", object{"accountId": id})
	}
	return c
}

func TestAnIDTokenIsVerifiedByTheKeysOfGoogle(t *testing.T) {
	c := withAccount(t)
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: c})
	provider, err := oidc.NewProvider(ctx, "https://accounts.google.com")
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: "llm-gateway"})
	raw := c.do("POST iamcredentials/v1/projects/-/serviceAccounts/"+account("gateway-run")+":generateIdToken", object{"audience": "llm-gateway", "includeEmail": true})["token"].(string)
	for _, token := range []string{raw, c.IDToken(account("gateway-run"), "llm-gateway")} {
		id, err := verifier.Verify(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Email    string `json:"email"`
			Verified bool   `json:"email_verified"`
			Azp      string `json:"azp"`
		}
		if err := id.Claims(&claims); err != nil || claims.Email != account("gateway-run") || !claims.Verified || claims.Azp != id.Subject {
			t.Errorf("the claims are %+v, %v", claims, err)
		}
	}
	if _, err := verifier.Verify(ctx, raw[:len(raw)-4]+"AAAA"); err == nil {
		t.Error("another signature is accepted")
	}
}

func TestAKeyIsExchangedUntilItIsDeleted(t *testing.T) {
	c := withAccount(t)
	keys := "iam/v1/projects/" + project + "/serviceAccounts/" + account("gateway-upstream") + "/keys"
	made := c.do("POST "+keys, object{})
	file, err := base64.StdEncoding.DecodeString(made["privateKeyData"].(string))
	if err != nil {
		t.Fatal(err)
	}
	config, err := google.JWTConfigFromJSON(file, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: c})
	token, err := config.TokenSource(ctx).Token()
	if err != nil {
		t.Fatal(err)
	}
	(&cloud{t, c.Cloud, token.AccessToken}).refused("GET cloudresourcemanager/v1/projects/"+project, nil, 403, "resourcemanager.projects.get") // known, without roles

	for name, spoil := range map[string]func(*jwt.Config){
		"another audience": func(c *jwt.Config) { c.Audience = "https://example.com/token" },
		"another account":  func(c *jwt.Config) { c.Email = account("gateway-run") },
		"a long life":      func(c *jwt.Config) { c.Expires = 2 * time.Hour },
		"no scope":         func(c *jwt.Config) { c.Scopes = nil },
	} {
		spoilt := *config
		spoil(&spoilt)
		if _, err := spoilt.TokenSource(ctx).Token(); err == nil || !strings.Contains(err.Error(), "invalid_") {
			t.Errorf("%s is answered %v", name, err)
		}
	}

	listed, _ := c.do("GET "+keys+"?keyTypes=USER_MANAGED", nil)["keys"].([]any)
	if len(listed) != 1 || at(listed[0], "validAfterTime") == nil || at(listed[0], "privateKeyData") != nil {
		t.Errorf("the keys are %v", listed)
	}
	c.do("DELETE iam/v1/"+made["name"].(string), nil)
	if _, err := config.TokenSource(ctx).Token(); err == nil || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("a deleted key is answered %v", err)
	}
}

func TestAnAccountIsImpersonatedByThoseWhoMay(t *testing.T) {
	c := withAccount(t)
	run := c.as(account("gateway-run"))
	upstream := "iam/v1/projects/" + project + "/serviceAccounts/" + account("gateway-upstream")
	call := "POST iamcredentials/v1/projects/-/serviceAccounts/" + account("gateway-upstream") + ":generateAccessToken"
	scope := object{"scope": []string{"https://www.googleapis.com/auth/cloud-platform"}}
	run.refused(call, scope, 403, "getAccessToken")
	c.grant(upstream, "POST", "POST", "roles/iam.serviceAccountTokenCreator", "serviceAccount:"+account("gateway-run"))
	token := run.do(call, scope)["accessToken"].(string)
	(&cloud{t, c.Cloud, token}).refused("GET cloudresourcemanager/v1/projects/"+project, nil, 403, "resourcemanager.projects.get")
	run.refused(call, object{}, 400, "scope")
	run.refused(call, object{"scope": []string{"x"}, "lifetime": "7200s"}, 400, "hour")
	c.do("POST "+upstream+":disable", object{})
	run.refused(call, scope, 400, "disabled")
	c.refused("POST iam/v1/projects/"+project+"/serviceAccounts", object{"accountId": "run"}, 400, "6 to 30")
}
