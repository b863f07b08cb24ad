package googleapis

import (
	"regexp"
	"slices"
	"strings"
)

// resourceManager is Cloud Resource Manager in both versions, and what Cloud Billing tells of a project.
func resourceManager() service {
	return service{
		kinds: map[string]kind{"cloudresourcemanager.projects": {}},
		methods: map[string]func(*call) (any, error){
			"cloudresourcemanager.projects.get": getProject,
			"cloudbilling.projects.getBillingInfo": func(c *call) (any, error) {
				return map[string]any{"name": "projects/" + c.project + "/billingInfo", "projectId": c.project, "billingEnabled": true, "billingAccountName": "billingAccounts/000000-000000-000000"}, nil
			},
		},
	}
}

func getProject(c *call) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if c.doc.Version == "v1" {
		return c.show(r), nil
	}
	return map[string]any{
		"name": "projects/" + c.projectNumber(c.project), "projectId": c.project, "displayName": c.project,
		"state": "ACTIVE", "createTime": r.body["createTime"], "updateTime": r.body["createTime"],
	}, nil
}

// serviceUsage turns APIs on and off. An enabled one is the resource projects/p/services/run.googleapis.com.
func serviceUsage() service {
	return service{methods: map[string]func(*call) (any, error){
		"serviceusage.services.get": func(c *call) (any, error) { return c.usage(c.name), nil },
		"serviceusage.services.list": func(c *call) (any, error) {
			if filter := c.query.Get("filter"); filter != "state:ENABLED" {
				return nil, unmodelled("%s with the filter %q", c.ID, filter)
			}
			var all []any
			for name, r := range c.resources {
				if r.kind == "serviceusage.services" && strings.HasPrefix(name, c.name+"/") {
					all = append(all, c.usage(name))
				}
			}
			return map[string]any{"services": all}, nil
		},
		"serviceusage.services.enable": func(c *call) (any, error) {
			return c.switchOn([]any{c.name[strings.LastIndex(c.name, "/")+1:]})
		},
		"serviceusage.services.batchEnable": func(c *call) (any, error) {
			ids, _ := c.body["serviceIds"].([]any)
			return c.switchOn(ids)
		},
		"serviceusage.services.disable": switchOff,
	}}
}

func (c *call) usage(name string) map[string]any {
	state := "DISABLED"
	if c.resources[name] != nil {
		state = "ENABLED"
	}
	host := name[strings.LastIndex(name, "/")+1:]
	return map[string]any{
		"name": c.numbered(name), "parent": "projects/" + c.projectNumber(c.project), "state": state,
		"config": map[string]any{"name": host},
	}
}

// apis are the services that can be enabled, as far as a gateway can have use for them.
var apis = strings.Fields(`aiplatform artifactregistry bigquery bigquerystorage billingbudgets certificatemanager cloudapis
	cloudasset cloudbilling cloudbuild clouderrorreporting cloudfunctions cloudkms cloudresourcemanager cloudscheduler cloudtrace
	compute containeranalysis containerregistry containerscanning developerconnect dns eventarc firebase generativelanguage iam
	iamcredentials iap logging memorystore monitoring networkconnectivity networkmanagement orgpolicy osconfig oslogin
	privilegedaccessmanager pubsub redis run secretmanager servicecontrol servicemanagement servicenetworking serviceusage
	source sourcerepo storage storage-api storage-component sts telemetry vpcaccess websecurityscanner`)

func (c *call) switchOn(ids []any) (any, error) {
	if len(ids) == 0 || len(ids) > 20 {
		return nil, invalid("Between 1 and 20 services can be enabled at once, not %d.", len(ids))
	}
	for _, id := range ids {
		host, _ := id.(string)
		if name, ok := strings.CutSuffix(host, ".googleapis.com"); !ok || !slices.Contains(apis, name) {
			return nil, denied("Not found or permission denied for service(s): %s.", host)
		}
	}
	var on []any
	var words []string
	for _, id := range ids {
		c.enable(c.project, id.(string))
		on = append(on, c.usage("projects/"+c.project+"/services/"+id.(string)))
		words = append(words, id.(string))
	}
	slices.Sort(words)
	c.touched = "projects/" + c.project + "/services/" + strings.Join(words, ",")
	response := map[string]any{"services": on}
	if c.action == "enable" {
		response = map[string]any{"service": on[0]}
	}
	return map[string]any{"name": "operations/acf.p2-" + uuid(), "done": true, "response": response}, nil
}

func (c *Cloud) enable(project, host string) {
	name := "projects/" + project + "/services/" + host
	c.resources[name] = &resource{name: name, kind: "serviceusage.services", body: map[string]any{"name": host, "state": "ENABLED"}}
}

func switchOff(c *call) (any, error) {
	r := c.resources[c.name]
	if r == nil {
		return nil, precondition("The service %s is not enabled.", c.name)
	}
	delete(c.resources, r.name)
	return map[string]any{"name": "operations/acf.p2-" + uuid(), "done": true, "response": map[string]any{"service": c.usage(c.name)}}, nil
}

// regions are those of Cloud Run functions (cloud.google.com/functions/docs/locations).
var regions = strings.Fields(`africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1
	asia-south2 asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 europe-central2 europe-north1
	europe-north2 europe-southwest1 europe-west1 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8 europe-west9
	europe-west10 europe-west12 me-central1 me-central2 me-west1 northamerica-northeast1 northamerica-northeast2
	northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-east1 us-east4 us-east5 us-south1 us-west1 us-west2
	us-west3 us-west4`)

// multiRegions are what the storage of data and images may span.
var multiRegions = []string{"us", "eu", "asia", "europe"}

// located refuses names in places that don't exist.
func (c *call) located() error {
	words := strings.Split(c.name, "/")
	if len(words) < 4 || words[2] != "locations" && words[2] != "regions" {
		return nil
	}
	place := words[3]
	switch {
	case slices.Contains(regions, place):
	case words[2] == "locations" && (place == "global" || place == "-") && (c.doc.Name == "cloudbuild" || c.doc.Name == "logging" || c.action == "list"):
	case c.doc.Name == "artifactregistry" && slices.Contains(multiRegions, place):
	default:
		return denied("Location %s is not found or access is unauthorized.", place)
	}
	return nil
}

func inRegion(place string) error {
	if !slices.Contains(regions, place) {
		return invalid("The location %q is unknown.", place)
	}
	return nil
}

var (
	labelKey   = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// labelled refuses labels that Google refuses (cloud.google.com/resource-manager/docs/labels-overview#requirements).
func labelled(body map[string]any) error {
	labels, _ := body["labels"].(map[string]any)
	if len(labels) > 64 {
		return invalid("A resource has 64 labels at most, not %d.", len(labels))
	}
	for key, value := range labels {
		if v, _ := value.(string); !labelKey.MatchString(key) || !labelValue.MatchString(v) {
			return invalid("The label %q = %q is invalid: lower-case letters, digits, _ and -, 63 at most, the key begins with a letter.", key, value)
		}
	}
	return nil
}
