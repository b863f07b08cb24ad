//go:build e2e

package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"llmgateway.dev/gateway/test/program"
)

// manifests are the clients of kubernetes.md.
var manifests = []string{"deployment", "cronjob"}

// workload is what is run of a Deployment, or of a CronJob's template.
type workload struct {
	Kind string
	Spec struct {
		Template    template
		JobTemplate struct {
			Spec struct{ Template template }
		} `yaml:"jobTemplate"`
	}
}

type template struct {
	Spec struct {
		Containers []container
		Volumes    []volume
	}
}

type container struct {
	Command []string
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type volume struct {
	Name   string
	Secret struct {
		SecretName string `yaml:"secretName"`
	}
	Projected struct {
		Sources []struct {
			ServiceAccountToken struct{ Path, Audience string } `yaml:"serviceAccountToken"`
		}
	}
}

func (w workload) container() container { return w.pod().Spec.Containers[0] }
func (w workload) volume() volume       { return w.pod().Spec.Volumes[0] }

func (w workload) pod() template {
	if w.Kind == "CronJob" {
		return w.Spec.JobTemplate.Spec.Template
	}
	return w.Spec.Template
}

// mounted is where a variable's file is when the folder that is mounted is dir.
func (c container) mounted(t *testing.T, variable, dir string) string {
	t.Helper()
	for _, v := range c.Env {
		if v.Name == variable && len(c.VolumeMounts) == 1 && filepath.Dir(v.Value) == c.VolumeMounts[0].MountPath {
			return filepath.Join(dir, filepath.Base(v.Value))
		}
	}
	t.Fatalf("%s names no file in the one mount of %+v", variable, c)
	return ""
}

// parse reads the manifest of that kind.
func parse[T any](t *testing.T, page, file, kind string) T {
	t.Helper()
	block, err := readPage(t, page).File(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewDecoder(strings.NewReader(block.Text))
	for {
		var node yaml.Node
		if err := documents.Decode(&node); errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", file, kind)
		} else if err != nil {
			t.Fatal(err)
		}
		var head struct{ Kind string }
		if err := node.Decode(&head); err != nil {
			t.Fatal(err)
		}
		if head.Kind == kind {
			var manifest T
			if err := node.Decode(&manifest); err != nil {
				t.Fatal(err)
			}
			return manifest
		}
	}
}

// installValidator builds kubectl-validate, which carries Kubernetes' own schemas.
func installValidator(ctx context.Context) (dir string, err error) {
	return cache.Install("kubectl-validate-0.0.4", func(dir string) error {
		return program.Run(ctx, dir, []string{"GOBIN=" + dir}, "go", "install", "sigs.k8s.io/kubectl-validate@v0.0.4")
	})
}

// validate holds the page's manifests against the schemas.
func validate(t *testing.T, ctx context.Context, page string) {
	t.Helper()
	bin, err := installValidator(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	validator := []string{filepath.Join(bin, "kubectl-validate"), "--version", "1.30"}
	for _, b := range readPage(t, page).Blocks {
		if b.Language != "yaml" || b.File == "" {
			continue
		}
		file := filepath.Join(dir, b.File)
		if err := os.WriteFile(file, []byte(b.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := program.Run(ctx, dir, nil, append(validator, file)...); err != nil {
			t.Error(err)
		}
		// A validator that lets this through would prove nothing.
		if err := os.WriteFile(file, []byte(strings.Replace(b.Text, "metadata:", "metdata:", 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if program.Run(ctx, dir, nil, append(validator, file)...) == nil {
			t.Errorf("%s: a misspelt field is valid", b.File)
		}
	}
}

// servesManifests does for kubernetes.md what the kubelet does: it makes the environment and the files that the manifests
// ask for, and runs their commands.
func (p *parts) servesManifests(t *testing.T, ctx context.Context, r *reader, ids map[string]string) {
	validate(t, ctx, "kubernetes.md")
	settings := parse[struct {
		Metadata struct{ Name string }
		Data     map[string]string
	}](t, "kubernetes.md", "configmap.yaml", "ConfigMap")
	dir, python := withPython(t, ctx, "curl.md")
	secret := func(method, client string) string {
		return p.keycloak.logIn(t, ctx).secret(t, method, ids[client])
	}
	environment := func(c container, client string) []string {
		env := []string{"PATH=" + os.Getenv("PATH")}
		for name := range settings.Data {
			value, ok := map[string]string{
				"GATEWAY_URL":       r.url,
				"GATEWAY_TOKEN_URL": r.addresses["ISSUER"] + "/protocol/openid-connect/token",
				"GATEWAY_CLIENT_ID": client,
			}[name]
			if !ok || c.EnvFrom[0].ConfigMapRef.Name != settings.Metadata.Name {
				t.Fatalf("the test has no value for %s", name)
			}
			env = append(env, name+"="+value)
		}
		return env
	}

	t.Run("a Deployment outlives the rotation", func(t *testing.T) {
		t.Parallel()
		d := parse[workload](t, "kubernetes.md", "deployment.yaml", "Deployment")
		c := d.container()
		file := c.mounted(t, "GATEWAY_CLIENT_SECRET_FILE", dir)
		if filepath.Base(file) != "client-secret" || d.volume().Secret.SecretName != "gateway-client" {
			t.Fatalf("the page makes another Secret than this: %+v", d)
		}
		mount := func(method string) {
			next := file + ".next"
			if err := os.WriteFile(next, []byte(secret(method, "deployment")), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(next, file); err != nil {
				t.Fatal(err)
			}
		}
		mount(http.MethodGet)
		k := startTalk(t, ctx, dir, append(environment(c, "deployment"), "GATEWAY_CLIENT_SECRET_FILE="+file), commandOf(c, python)...)
		k.keepOn(t, life*time.Second)
		mount(http.MethodPost)
		k.keepOn(t, 3*life*time.Second/2)
		k.end(t)
	})
	t.Run("a CronJob's next run has the new secret", func(t *testing.T) {
		t.Parallel()
		c := parse[workload](t, "kubernetes.md", "cronjob.yaml", "CronJob").container()
		from := c.Env[0].ValueFrom.SecretKeyRef
		if from.Name != "gateway-client" || from.Key != "client-secret" {
			t.Fatalf("the page makes another Secret than this: %+v", c)
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			cmd := program.Command(ctx, commandOf(c, python)...)
			cmd.Dir, cmd.Env = dir, append(environment(c, "cronjob"), c.Env[0].Name+"="+secret(method, "cronjob"))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "You said: What is new?\n" {
				t.Errorf("%v %s", err, out)
			}
		}
	})
}

// commandOf is a container's, with the Python that has its packages.
func commandOf(c container, python string) []string {
	argv := slices.Clone(c.Command)
	if argv[0] == "python" {
		argv[0] = python
	}
	return argv
}
