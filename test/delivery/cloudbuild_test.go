//go:build terraform

package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// build is a build configuration, as far as this file's needs one
// (cloud.google.com/build/docs/build-config-file-schema).
type build struct {
	Substitutions  map[string]string
	ServiceAccount string `yaml:"serviceAccount"`
	Timeout        string
	Options        struct {
		Logging              string
		DynamicSubstitutions bool `yaml:"dynamicSubstitutions"`
		AutomapSubstitutions bool `yaml:"automapSubstitutions"`
		Env                  []string
		Volumes              []struct{ Name, Path string }
	}
	Steps     []step
	Artifacts struct {
		Objects struct {
			Location string
			Paths    []string
		}
	}
}

type step struct {
	ID, Name     string
	Script       string
	AllowFailure bool `yaml:"allowFailure"`
}

// readBuild is strict: a key that build lacks is one that Cloud Build would obey and this test not.
func readBuild(t *testing.T) build {
	t.Helper()
	text, err := os.ReadFile("../../cloudbuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b build
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

// submitted is a build with the substitutions of its submission, and those that Cloud Build adds.
func (b build) submitted(project string, given map[string]string) build {
	all := map[string]string{"PROJECT_ID": project, "PROJECT_NUMBER": number, "BUILD_ID": "0c4f0f0e-7d2e-4b6e-9d7b-0f2f4d3c2b1a", "LOCATION": "europe-west4"}
	maps.Copy(all, b.Substitutions)
	maps.Copy(all, given)
	expand := func(s string) string { return os.Expand(s, func(name string) string { return all[name] }) }
	for name := range b.Substitutions {
		all[name] = expand(all[name])
	}
	b.Substitutions = all
	b.ServiceAccount = expand(b.ServiceAccount)
	b.Artifacts.Objects.Location = expand(b.Artifacts.Objects.Location)
	return b
}

// log is what the steps printed, by their ids.
type log map[string]string

// online are steps that ask the internet, to which the sandbox has no way, and the file that each leaves. They are not
// run, and the log says so; test/supply runs the same commands.
var online = map[string]string{"vulncheck": "", "sbom": "dist/sbom.cdx.json"}

const notRun = "NOT RUN: there is no internet here\n"

// run runs the steps in the workspace, each as in its image: the script by its own first line, in
// nothing but the build's environment. The error is of the step that failed the build.
func (b build) run(ctx context.Context, workspace string, machine []string) (log, error) {
	printed := log{}
	env := slices.Clone(machine)
	for name, value := range b.Substitutions {
		env = append(env, name+"="+value)
	}
	for _, v := range b.Options.Env {
		if !strings.HasPrefix(v, "GOCACHE=/go/") { // of the volume; here the machine has one
			env = append(env, v)
		}
	}
	for _, s := range b.Steps {
		if leaves, ok := online[s.ID]; ok {
			printed[s.ID] = notRun
			if leaves != "" {
				if err := os.WriteFile(filepath.Join(workspace, leaves), []byte(notRun), 0o644); err != nil {
					return printed, err
				}
			}
			continue
		}
		script := filepath.Join(filepath.Dir(workspace), "script")
		if err := os.WriteFile(script, []byte(s.Script), 0o755); err != nil {
			return printed, err
		}
		cmd := exec.CommandContext(ctx, script)
		cmd.Dir, cmd.Env = workspace, env
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		printed[s.ID] = out.String()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return printed, fmt.Errorf("step %s: %w", s.ID, err)
		}
		if err != nil && !s.AllowFailure {
			return printed, fmt.Errorf("step %s: %w\n%s", s.ID, err, out.String())
		}
	}
	for _, path := range b.Artifacts.Objects.Paths {
		if _, err := os.Stat(filepath.Join(workspace, path)); err != nil {
			return printed, fmt.Errorf("artifact: %w", err)
		}
	}
	return printed, nil
}

// Each script begins with an interpreter that its image has.
func TestTheStepsRunInTheirImages(t *testing.T) {
	interpreters := map[string]string{"golang:1.26": "#!/usr/bin/env bash\n", "hashicorp/terraform:1.11": "#!/bin/sh\n"}
	for _, s := range readBuild(t).Steps {
		if want, ok := interpreters[s.Name]; !ok || !strings.HasPrefix(s.Script, want) {
			t.Errorf("step %s: image %s, script %.30q", s.ID, s.Name, s.Script)
		}
	}
}

// Cloud Build takes the file: its API's own document has every field.
func TestCloudBuildKnowsEveryField(t *testing.T) {
	text, err := os.ReadFile("../../cloudbuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	g := newGoogle(t)
	const builds = "acme-builds"
	g.AddProject(builds, 210987654321, "cloudbuild.googleapis.com")
	submit := func(document map[string]any) string {
		body, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest("POST", "https://cloudbuild.googleapis.com/v1/projects/"+builds+"/locations/europe-west4/builds", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+g.token(owner))
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		said, _ := io.ReadAll(answer.Body)
		return string(said)
	}
	// The double reads a build by its document, and runs none.
	const read = "STRICT: not modelled: cloudbuild.projects.locations.builds.create"
	if said := submit(document); !strings.Contains(said, read) {
		t.Error(said)
	}
	document["rollback"] = true
	if said := submit(document); !strings.Contains(said, "STRICT: unknown field rollback") {
		t.Errorf("an unknown field was not refused: %s", said)
	}
	delete(document, "rollback")
	document["steps"].([]any)[0].(map[string]any)["allowFailure"] = "sometimes"
	if said := submit(document); !strings.Contains(said, "STRICT: ") || strings.Contains(said, read) {
		t.Errorf("a field of another type was not refused: %s", said)
	}
}
