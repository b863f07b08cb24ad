package googleapis

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// functions is Cloud Run functions (2nd generation) with an HTTP trigger.
func functions() service {
	return service{kinds: map[string]kind{
		"cloudfunctions.functions": {id: parameter("functionId"), settle: settleFunction, done: deploy, gone: removeFunction},
	}}
}

// run is Cloud Run: the services that functions make, and who may invoke them.
func run() service {
	return service{
		kinds: map[string]kind{"run.services": {}},
		methods: map[string]func(*call) (any, error){
			"run.services.get": func(c *call) (any, error) {
				if c.doc.Version == "v1" {
					return nil, unmodelled("services in Knative's form")
				}
				return c.get()
			},
			"run.services.create": func(c *call) (any, error) { return nil, unmodelled("services that no function made") },
			"run.services.patch":  func(c *call) (any, error) { return nil, unmodelled("a change of a function's service") },
		},
	}
}

// A Function is one to be deployed.
type Function struct {
	Name     string            // projects/p/locations/l/functions/f
	Resource json.RawMessage   // as stored
	Archive  []byte            // the source, a zip
	Env      map[string]string // at run time, secret variables among them, and what Cloud Run adds but for PORT
	Files    map[string][]byte // secret volumes, by the absolute path
	Revision Revision
}

// A Revision is what one deployment of a function consisted of.
type Revision struct {
	Name       string
	Env        map[string]string // without secrets
	Bucket     string
	Object     string
	Generation int64
	Secrets    map[string]string // absolute path or variable → projects/p/secrets/s/versions/1
	Orphaned   []string          // versions that were disabled or destroyed while the revision was the latest
}

// spec is the part of a function that rules are about.
type spec struct {
	BuildConfig struct {
		Runtime, EntryPoint, ServiceAccount, DockerRepository, WorkerPool string
		Source                                                            struct {
			StorageSource struct {
				Bucket, Object, Generation string
			}
		}
	}
	ServiceConfig struct {
		Service, ServiceAccountEmail, AvailableMemory, AvailableCPU, VpcConnector string
		TimeoutSeconds, MinInstanceCount, MaxInstanceCount                        int
		Concurrency                                                               int `json:"maxInstanceRequestConcurrency"`
		EnvironmentVariables                                                      map[string]string
		SecretEnvironmentVariables                                                []struct{ Key, ProjectID, Secret, Version string }
		SecretVolumes                                                             []struct {
			MountPath, ProjectID, Secret string
			Versions                     []struct{ Version, Path string }
		}
		DirectVpcNetworkInterface []struct{ Network, Subnetwork string }
	}
}

// runtimes are those of Go that a function of the 2nd generation can be given.
var runtimes = strings.Fields("go116 go118 go119 go120 go121 go122 go123 go124 go125 go126 go127")

var functionID = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

func settleFunction(c *call, was, r *resource) error {
	id := path.Base(r.name)
	if !functionID.MatchString(id) {
		return invalid("The function's name %q must be 1 to 63 lower-case letters, digits and dashes.", id)
	}
	if get(r.body, "eventTrigger") != nil {
		return unmodelled("event triggers")
	}
	if was != nil && was.body["state"] == "DEPLOYING" {
		return conflict("aborted", "Unable to queue the operation: another is in progress on %s.", r.name)
	}
	if environment := text(r.body, "environment"); environment != "" && environment != "GEN_2" {
		return unmodelled("environment %s", environment)
	}
	number := c.projectNumber(c.project)
	compute := number + "-compute@developer.gserviceaccount.com"
	memory := text(r.body, "serviceConfig", "availableMemory")
	fill(r.body, map[string]any{
		"environment": "GEN_2", "state": "ACTIVE",
		"buildConfig": map[string]any{"serviceAccount": "projects/" + c.project + "/serviceAccounts/" + compute, "automaticUpdatePolicy": map[string]any{}},
		"serviceConfig": map[string]any{
			"timeoutSeconds": 60, "availableMemory": "256M", "availableCpu": cpuOf(memory), "maxInstanceCount": 100, "maxInstanceRequestConcurrency": 1,
			"ingressSettings": "ALLOW_ALL", "allTrafficOnLatestRevision": true, "serviceAccountEmail": compute,
			"environmentVariables": map[string]any{"LOG_EXECUTION_ID": "true"},
			"service":              "projects/" + c.project + "/locations/" + location(r.name) + "/services/" + id,
		},
		"url": fmt.Sprintf("https://%s-%s.cloudfunctions.net/%s", location(r.name), c.project, id),
	})
	if get(r.body, "buildConfig", "onDeployUpdatePolicy") != nil {
		put(r.body, nil, "buildConfig", "automaticUpdatePolicy")
	}
	if get(r.body, "buildConfig", "dockerRepository") == nil { // Google makes one, and leaves it behind
		r.body["buildConfig"].(map[string]any)["dockerRepository"] = c.defaultRepository(location(r.name))
	}
	if was == nil && c.resources[text(r.body, "serviceConfig", "service")] != nil {
		return exists(text(r.body, "serviceConfig", "service"))
	}
	var s spec
	if err := decode(r.body, &s); err != nil {
		return strict("%s: %v", r.name, err)
	}
	for _, rule := range []func(*resource, *spec) error{c.build, c.source, c.size, c.reach, c.variables, c.volumes} {
		if err := rule(r, &s); err != nil {
			return err
		}
	}
	return labelled(r.body)
}

// location is the fourth element of a name.
func location(name string) string { return strings.Split(name, "/")[3] }

// build is about how the function is made, and by whom.
func (c *call) build(r *resource, s *spec) error {
	b := s.BuildConfig
	switch {
	case !slices.Contains(runtimes, b.Runtime):
		return invalid("The runtime %q is unknown, or not for functions of the 2nd generation.", b.Runtime)
	case b.EntryPoint == "":
		return invalid("The entry point is missing.")
	case b.WorkerPool != "":
		return unmodelled("worker pools")
	}
	for _, host := range []string{"cloudbuild.googleapis.com", "run.googleapis.com", "artifactregistry.googleapis.com"} {
		if err := c.enabled(host); err != nil {
			return err
		}
	}
	if err := c.actAs(path.Base(b.ServiceAccount)); err != nil {
		return err
	}
	if err := c.actAs(s.ServiceConfig.ServiceAccountEmail); err != nil {
		return err
	}
	repository, err := c.must("artifactregistry.repositories", b.DockerRepository)
	if err != nil {
		return err
	}
	if location(repository.name) != location(r.name) || repository.body["format"] != "DOCKER" {
		return invalid("The repository %s must be of format DOCKER and in the function's region.", repository.name)
	}
	for permission, on := range map[string]string{
		"logging.logEntries.create":                     "projects/" + c.project,
		"artifactregistry.repositories.uploadArtifacts": repository.name,
	} {
		if err := c.builds(path.Base(b.ServiceAccount), permission, on); err != nil {
			return err
		}
	}
	return nil
}

// builds refuses as the build does whose account lacks a permission. The default account is taken to have them all.
func (c *call) builds(email, permission, on string) error {
	if strings.HasSuffix(email, "@developer.gserviceaccount.com") || c.may(email, permission, on) {
		return nil
	}
	return denied("Build failed: the service account %s lacks the permission %s on %s.", email, permission, on)
}

// source is about the archive.
func (c *call) source(r *resource, s *spec) error {
	from := s.BuildConfig.Source.StorageSource
	if from.Bucket == "" || from.Object == "" {
		return invalid("The function's source needs a bucket and an object.")
	}
	generation, _ := strconv.ParseInt(from.Generation, 10, 64)
	o := c.object(from.Bucket, from.Object, generation)
	if o == nil {
		return notFound("The source gs://%s/%s#%s was not found.", from.Bucket, from.Object, from.Generation)
	}
	builder := path.Base(s.BuildConfig.ServiceAccount)
	if err := c.builds(builder, "storage.objects.get", o.name); err != nil { // whether Google asks this, too, isn't known
		return err
	}
	staged := c.stage(r, o)
	if !strings.HasSuffix(builder, "@developer.gserviceaccount.com") && !c.may(builder, "storage.objects.get", staged.name) {
		bucket := path.Base(bucketOf(staged.name))
		return denied("Build failed with status: FAILURE and message: failed to Fetch: failed to download archive gs://%s/%s: Access to bucket %[1]s denied. You must grant Storage Object Viewer permission to %[3]s.", bucket, text(staged.body, "name"), builder)
	}
	if _, err := zip.NewReader(bytes.NewReader(o.data), int64(len(o.data))); err != nil {
		return invalid("The source gs://%s/%s is no zip archive: %v.", from.Bucket, from.Object, err)
	}
	resolved := map[string]any{"bucket": from.Bucket, "object": from.Object, "generation": text(o.body, "generation")}
	put(r.body, resolved, "buildConfig", "sourceProvenance", "resolvedStorageSource")
	put(r.body, text(o.body, "generation"), "buildConfig", "source", "storageSource", "generation")
	return nil
}

// stage copies the archive to where builds fetch it from: a bucket that Google makes in the function's project and region,
// and leaves behind (github.com/hashicorp/terraform-provider-google/issues/20571).
func (c *call) stage(r, o *resource) *resource {
	bucket, name := "gcf-v2-sources-"+c.projectNumber(c.project)+"-"+location(r.name), path.Base(r.name)+"/function-source.zip"
	if c.resources[bucketName(bucket)] == nil {
		c.resources[bucketName(bucket)] = &resource{name: bucketName(bucket), kind: "storage.buckets", body: map[string]any{
			"kind": "storage#bucket", "id": bucket, "name": bucket, "projectNumber": c.projectNumber(c.project), "location": strings.ToUpper(location(r.name)),
			"versioning": map[string]any{"enabled": true},
		}}
	}
	if former := c.object(bucket, name, 0); former != nil {
		if bytes.Equal(former.data, o.data) {
			return former
		}
		c.supersede(bucket, former)
	}
	generation := strconv.Itoa(1700000000000000 + c.number())
	staged := &resource{name: bucketName(bucket) + "/objects/" + name + "#" + generation, kind: "storage.objects", data: o.data, body: map[string]any{
		"kind": "storage#object", "name": name, "bucket": bucket, "generation": generation, "timeCreated": now(),
	}}
	c.resources[staged.name] = staged
	return staged
}

// size is about time, processors and memory (cloud.google.com/run/docs/configuring/services/cpu and memory-limits).
func (c *call) size(r *resource, s *spec) error {
	f := s.ServiceConfig
	memory, err := quantity(f.AvailableMemory)
	if err != nil {
		return err
	}
	cpu, err := strconv.ParseFloat(f.AvailableCPU, 64)
	whole := slices.Contains([]float64{1, 2, 4, 6, 8}, cpu)
	const mi, gi = 1 << 20, 1 << 30
	floor := map[float64]float64{4: 2 * gi, 6: 4 * gi, 8: 4 * gi}[cpu]
	ceiling := map[float64]float64{1: 4 * gi, 2: 8 * gi, 4: 16 * gi, 6: 24 * gi, 8: 32 * gi}[cpu]
	if cpu < 1 {
		floor, ceiling = 0, 512*mi
		if cpu >= 0.5 {
			ceiling = gi
		}
	}
	switch {
	case err != nil || !whole && (cpu < 0.08 || cpu > 1):
		return invalid("The CPU %q must be 1, 2, 4, 6, 8, or from 0.08 to 1.", f.AvailableCPU)
	case f.Concurrency < 1 || f.Concurrency > 1000:
		return invalid("The concurrency must be from 1 to 1000, not %d.", f.Concurrency)
	case f.Concurrency > 1 && cpu < 1:
		return invalid("Concurrency %d is not supported with less than 1 CPU: %s. Total CPU < 1 is not supported with concurrency > 1.", f.Concurrency, f.AvailableCPU)
	case memory < 128e6 || memory < floor || memory > ceiling:
		return invalid("The memory %s doesn't go with %s CPU.", f.AvailableMemory, f.AvailableCPU)
	case f.TimeoutSeconds < 1 || f.TimeoutSeconds > 3600:
		return invalid("The timeout must be from 1 to 3600 seconds, not %d.", f.TimeoutSeconds)
	case f.MinInstanceCount < 0 || f.MaxInstanceCount < 1 || f.MinInstanceCount > f.MaxInstanceCount:
		return invalid("The instances can't be from %d to %d.", f.MinInstanceCount, f.MaxInstanceCount)
	}
	return nil
}

var quantities = map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "": 1}

// quantity is an amount of memory in bytes.
func quantity(s string) (float64, error) {
	digits := strings.TrimRight(s, "kMGi")
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := quantities[s[len(digits):]]
	if err != nil || !ok {
		return 0, invalid("The memory %q is no amount such as 512Mi.", s)
	}
	return n * unit, nil
}

// cpuOf is what a function gets that names its memory alone (cloud.google.com/functions/docs/configuring/memory).
func cpuOf(memory string) string {
	n, _ := quantity(cmp.Or(memory, "256M"))
	for _, step := range []struct {
		most float64
		cpu  string
	}{{128 << 20, "0.083"}, {256 << 20, "0.1666"}, {512 << 20, "0.3333"}, {1 << 30, "0.5833"}, {2 << 30, "1"}, {8 << 30, "2"}, {16 << 30, "4"}} {
		if n <= step.most {
			return step.cpu
		}
	}
	return "8"
}

// reach is about the networks that the function can reach.
func (c *call) reach(r *resource, s *spec) error {
	f := s.ServiceConfig
	if f.VpcConnector != "" {
		if len(f.DirectVpcNetworkInterface) > 0 {
			return invalid("A function has a connector or a network interface, not both.")
		}
		connector := f.VpcConnector
		if !strings.Contains(connector, "/") {
			connector = "projects/" + c.project + "/locations/" + location(r.name) + "/connectors/" + connector
		}
		_, err := c.must("vpcaccess.connectors", connector)
		return err
	}
	if egress := text(r.body, "serviceConfig", "vpcConnectorEgressSettings"); egress != "" && egress != "VPC_CONNECTOR_EGRESS_SETTINGS_UNSPECIFIED" {
		return invalid("The connector's egress settings need a connector.")
	}
	if len(f.DirectVpcNetworkInterface) > 1 {
		return invalid("A function has one network interface at most.")
	}
	for _, i := range f.DirectVpcNetworkInterface {
		if i.Network != "" {
			if _, err := c.network("compute.networks", "global/networks", i.Network); err != nil {
				return err
			}
		}
		if i.Subnetwork != "" {
			subnetwork, err := c.network("compute.subnetworks", "regions/"+location(r.name)+"/subnetworks", i.Subnetwork)
			if err != nil {
				return err
			}
			if i.Network != "" && path.Base(text(subnetwork.body, "network")) != path.Base(i.Network) {
				return invalid("The subnetwork %s is not in the network %s.", i.Subnetwork, i.Network)
			}
		}
		if i.Network == "" && i.Subnetwork == "" {
			return invalid("A network interface needs a network or a subnetwork.")
		}
	}
	return nil
}

// reserved are the variables that Cloud Run functions sets itself.
var reserved = []string{"FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "PORT"}

// variables is about the environment.
func (c *call) variables(r *resource, s *spec) error {
	f := s.ServiceConfig
	seen := maps.Clone(f.EnvironmentVariables)
	for _, v := range f.SecretEnvironmentVariables {
		if _, twice := seen[v.Key]; twice {
			return invalid("The variable %s is set twice.", v.Key)
		}
		seen[v.Key] = ""
		if err := c.readable(s, v.ProjectID, v.Secret, v.Version); err != nil {
			return err
		}
	}
	for key := range seen {
		if key == "" || strings.Contains(key, "=") || slices.Contains(reserved, key) || strings.HasPrefix(key, "X_GOOGLE_") {
			return invalid("The variable %q is reserved, or malformed.", key)
		}
	}
	return nil
}

// volumes is about mounted secrets (cloud.google.com/run/docs/configuring/services/secrets#disallowed_paths_and_limitations).
func (c *call) volumes(r *resource, s *spec) error {
	var mounts []string
	for _, v := range s.ServiceConfig.SecretVolumes {
		at := v.MountPath
		if !path.IsAbs(at) || path.Clean(at) != at || at == "/" || slices.Contains([]string{"dev", "proc", "sys", "workspace"}, strings.Split(at, "/")[1]) {
			return invalid("A secret can't be mounted at %q.", at)
		}
		for _, other := range mounts {
			switch {
			case at == other:
				return invalid("Two secrets are mounted at %s.", at)
			case strings.HasPrefix(at, other+"/") || strings.HasPrefix(other, at+"/"):
				return strict("of the secrets mounted at %s and %s one shadows the other", at, other)
			}
		}
		mounts = append(mounts, at)
		var files []string
		for _, version := range v.Versions {
			if version.Path == "" || path.IsAbs(version.Path) || path.Clean(version.Path) != version.Path || strings.HasPrefix(version.Path, "..") || slices.Contains(files, version.Path) {
				return invalid("The file %q under %s must be a relative path of its own.", version.Path, at)
			}
			files = append(files, version.Path)
			if err := c.readable(s, v.ProjectID, v.Secret, version.Version); err != nil {
				return err
			}
		}
		if len(v.Versions) == 0 {
			if err := c.readable(s, v.ProjectID, v.Secret, "latest"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) versionName(project, secret, version string) string {
	return fmt.Sprintf("projects/%s/secrets/%s/versions/%s", cmp.Or(project, c.project), secret, cmp.Or(version, "latest"))
}

// readable refuses versions that the function's account couldn't read when an instance starts.
func (c *call) readable(s *spec, project, secret, version string) error {
	_, err := c.payload(c.versionName(project, secret, version), s.ServiceConfig.ServiceAccountEmail)
	if f, ok := err.(*fault); ok {
		f.message = "Could not create or update Cloud Run service: " + f.message + " The service account " + s.ServiceConfig.ServiceAccountEmail + " must be granted the Secret Manager Secret Accessor role, and the version must exist and be enabled."
	}
	return err
}

// deploy makes the revision that a change needs.
func deploy(c *call, was, r *resource) func() error {
	if was != nil && was.body["state"] == "ACTIVE" && equal(needed(was.body), needed(r.body)) {
		return nil
	}
	r.body["state"] = "DEPLOYING"
	f := c.revision(r)
	uri := fmt.Sprintf("https://%s-%s.%s.run.app", path.Base(r.name), c.projectNumber(c.project), location(r.name))
	return func() error {
		if c.Deploy != nil {
			var err error
			if uri, err = c.Deploy(context.WithoutCancel(c.r.Context()), f); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				if was != nil { // the former revision goes on serving
					c.resources[r.name] = was
				} else {
					r.body["state"] = "FAILED"
					r.body["stateMessages"] = []any{map[string]any{"severity": "ERROR", "type": "CloudRunServiceFailed", "message": err.Error()}}
				}
				return newFault(500, "INTERNAL", "Could not create or update Cloud Run service %s: %v", path.Base(r.name), err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.serving(r, f, uri)
		return nil
	}
}

// needed is the part of a function whose change needs a revision.
func needed(body map[string]any) any {
	b, s := clone(body["buildConfig"]).(map[string]any), clone(body["serviceConfig"]).(map[string]any)
	delete(b, "build")
	delete(s, "uri")
	delete(s, "revision")
	return []any{b, s}
}

// revision resolves what a function consists of.
func (c *call) revision(r *resource) Function {
	var s spec
	decode(r.body, &s) // as settleFunction did
	from := s.BuildConfig.Source.StorageSource
	generation, _ := strconv.ParseInt(from.Generation, 10, 64)
	id := path.Base(r.name)
	f := Function{Name: r.name, Archive: c.object(from.Bucket, from.Object, generation).data, Files: map[string][]byte{}}
	f.Resource, _ = json.Marshal(r.body)
	f.Revision = Revision{
		Name: fmt.Sprintf("%s-%05d-%s", id, len(c.revisions[r.name])+1, "rev"), Env: s.ServiceConfig.EnvironmentVariables,
		Bucket: from.Bucket, Object: from.Object, Generation: generation, Secrets: map[string]string{},
	}
	f.Env = maps.Clone(s.ServiceConfig.EnvironmentVariables)
	resolve := func(at, project, secret, version string) []byte {
		v, err := c.version(c.versionName(project, secret, version))
		if err != nil {
			return nil // settleFunction has just found it
		}
		f.Revision.Secrets[at] = v.name
		return v.data
	}
	for _, v := range s.ServiceConfig.SecretEnvironmentVariables {
		f.Env[v.Key] = string(resolve(v.Key, v.ProjectID, v.Secret, v.Version))
	}
	for _, v := range s.ServiceConfig.SecretVolumes {
		for _, version := range v.Versions {
			at := path.Join(v.MountPath, version.Path)
			f.Files[at] = resolve(at, v.ProjectID, v.Secret, version.Version)
		}
		if len(v.Versions) == 0 {
			at := path.Join(v.MountPath, v.Secret)
			f.Files[at] = resolve(at, v.ProjectID, v.Secret, "latest")
		}
	}
	maps.Copy(f.Env, map[string]string{
		"K_SERVICE": id, "K_REVISION": f.Revision.Name, "K_CONFIGURATION": id,
		"FUNCTION_TARGET": s.BuildConfig.EntryPoint, "FUNCTION_SIGNATURE_TYPE": "http",
	})
	return f
}

// serving records that a revision took over.
func (c *call) serving(r *resource, f Function, uri string) {
	c.revisions[r.name] = append(c.revisions[r.name], f.Revision)
	r.body["state"] = "ACTIVE"
	put(r.body, uri, "serviceConfig", "uri")
	put(r.body, f.Revision.Name, "serviceConfig", "revision")
	put(r.body, "projects/"+c.projectNumber(c.project)+"/locations/"+location(r.name)+"/builds/"+uuid(), "buildConfig", "build")
	name := text(r.body, "serviceConfig", "service")
	s := c.resources[name]
	if s == nil {
		s = &resource{name: name, kind: "run.services", body: map[string]any{"name": name, "uid": uuid(), "createTime": now(), "creator": c.caller}}
		c.resources[name] = s
	}
	condition := map[string]any{"type": "Ready", "state": "CONDITION_SUCCEEDED"}
	maps.Copy(s.body, map[string]any{
		"uri": uri, "urls": []any{uri}, "updateTime": now(), "etag": random(6), "generation": fmt.Sprint(len(c.revisions[r.name])),
		"ingress": strings.Replace(text(r.body, "serviceConfig", "ingressSettings"), "ALLOW", "INGRESS_TRAFFIC", 1),
		"labels":  map[string]any{"goog-managed-by": "cloudfunctions"}, "latestReadyRevision": name + "/revisions/" + f.Revision.Name,
		"latestCreatedRevision": name + "/revisions/" + f.Revision.Name, "terminalCondition": condition,
		"traffic": []any{map[string]any{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}},
	})
}

func removeFunction(c *call, r *resource) error {
	if r.body["state"] == "DEPLOYING" {
		return conflict("aborted", "Unable to queue the operation: another is in progress on %s.", r.name)
	}
	delete(c.resources, text(r.body, "serviceConfig", "service"))
	return nil
}

// Revisions returns a function's revisions, the newest last. They stay when the function goes.
func (c *Cloud) Revisions(function string) []Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.revisions[c.canonical(function)])
}

// orphan records that a secret version is going while a live function's latest revision pins it. Google lets it; new
// instances then fail to start.
func (c *Cloud) orphan(version string) {
	for name, all := range c.revisions {
		if c.resources[name] == nil || len(all) == 0 {
			continue
		}
		latest := &all[len(all)-1]
		for _, pinned := range latest.Secrets {
			if pinned == version {
				latest.Orphaned = append(latest.Orphaned, version)
			}
		}
	}
}
