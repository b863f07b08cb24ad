//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"llmgateway.dev/gateway/test/program"
)

// The programs come from their registries, in these versions.
const (
	keycloakVersion = "26.7.3"
	aimockVersion   = "1.43.0"
)

// needed are the commands that must be there already.
func needed() error {
	for _, name := range []string{"bash", "curl", "git", "go", "java", "jq", "mvn", "node", "npm", "python3"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the end-to-end test needs git, go, bash, curl, jq, Java 17 or later, Maven, Node.js with npm, and Python 3 with venv (and redis-server, or apt-get and dpkg to fetch it): %w", err)
		}
	}
	return nil
}

const cache = program.Cache("../../.cache/e2e")

// jvm keeps Keycloak small, and starts it soon.
const jvm = "JAVA_OPTS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xms64m -Xmx512m -XX:MaxMetaspaceSize=256m"

// keycloak is a running identity provider. admin and secret are its first administrator's.
type keycloak struct {
	*program.Logged
	url           string
	admin, secret string
}

func (k *keycloak) issuer(realm string) string { return k.url + "/realms/" + realm }

// startKeycloak starts it with the realm of testdata. Without --cache=local, Keycloak would look for
// a cluster on every interface.
func startKeycloak(t *testing.T, ctx context.Context) (*keycloak, error) {
	dir, err := cache.Install("keycloak-"+keycloakVersion, func(dir string) error {
		repository := filepath.Join(dir, "m2")
		err := program.Run(ctx, dir, nil, "mvn", "--quiet", "--batch-mode", "-Dmaven.repo.local="+repository,
			"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack",
			"-Dartifact=org.keycloak:keycloak-quarkus-dist:"+keycloakVersion+":zip", "-DoutputDirectory="+dir)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(repository); err != nil {
			return err
		}
		return program.Run(ctx, dir, []string{jvm}, filepath.Join(dir, "keycloak-"+keycloakVersion, "bin", "kc.sh"), "build", "--db=dev-mem")
	})
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "keycloak-"+keycloakVersion)
	realm, err := os.ReadFile("testdata/realm.json")
	if err != nil {
		return nil, err
	}
	realms := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(realms, 0o755); err != nil {
		return nil, err
	}
	// The file's name must be the realm's.
	if err := os.WriteFile(filepath.Join(realms, "my-realm-realm.json"), realm, 0o644); err != nil {
		return nil, err
	}
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	k := &keycloak{url: "http://127.0.0.1:" + port, admin: "e2e-admin", secret: rand.Text()}
	env := append(os.Environ(), jvm, "KC_BOOTSTRAP_ADMIN_USERNAME="+k.admin, "KC_BOOTSTRAP_ADMIN_PASSWORD="+k.secret)
	k.Logged, err = program.Log(t, "keycloak", env, filepath.Join(home, "bin", "kc.sh"),
		"start", "--optimized", "--import-realm", "--cache=local", "--http-enabled=true",
		"--http-host=127.0.0.1", "--http-port="+port, "--hostname="+k.url)
	if err != nil {
		return nil, err
	}
	return k, k.Ready(ctx, k.issuer("my-realm")+"/.well-known/openid-configuration")
}

// startAimock returns the provider's URL, without /v1.
func startAimock(t *testing.T, ctx context.Context) (url string, err error) {
	dir, err := installPackage(ctx, "@copilotkit/aimock", aimockVersion)
	if err != nil {
		return "", err
	}
	fixtures, err := filepath.Abs("testdata/aimock.json")
	if err != nil {
		return "", err
	}
	port, err := program.FreePort()
	if err != nil {
		return "", err
	}
	p, err := program.Log(t, "aimock", os.Environ(), "node", filepath.Join(dir, "dist/cli.js"),
		"--host", "127.0.0.1", "--port", port, "--fixtures", fixtures, "--chunk-size", "10")
	if err != nil {
		return "", err
	}
	url = "http://127.0.0.1:" + port
	return url, p.Ready(ctx, url+"/v1/models")
}

// installPackage installs a package of Node.js and returns its folder.
func installPackage(ctx context.Context, name, version string) (string, error) {
	dir, err := cache.Install("node-"+strings.NewReplacer("@", "", "/", "-").Replace(name)+"-"+version, func(dir string) error {
		return program.Run(ctx, dir, nil, "npm", "install", "--no-audit", "--no-fund", "--prefix", dir, name+"@"+version)
	})
	return filepath.Join(dir, "node_modules", name), err
}

// installPython returns a Python that has the package; its name may end with extras, such as [mcp].
func installPython(ctx context.Context, name, version string) (python string, err error) {
	folder, _, _ := strings.Cut(name, "[")
	dir, err := cache.Install(folder+"-"+version, func(dir string) error {
		if err := program.Run(ctx, dir, nil, "python3", "-m", "venv", dir); err != nil {
			return err
		}
		return program.Run(ctx, dir, nil, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", name+"=="+version)
	})
	return filepath.Join(dir, "bin", "python"), err
}
