package googleapis_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
)

// The rules of the services around the function: each row is one that Google refuses.
func TestWhatStandsAroundAFunctionIsRefusedAsGoogleRefusesIt(t *testing.T) {
	c := newCloud(t)
	const p = "projects/acme-test"
	c.do("POST iam/v1/"+p+"/serviceAccounts", object{"accountId": "gateway-deploy"})
	c.do("POST logging/v2/"+p+"/metrics", object{"name": "gateway/requests", "filter": `resource.type="x"`})
	c.do("POST logging/v2/"+p+"/metrics", object{"name": "gateway/latency", "filter": `resource.type="x"`, "valueExtractor": "EXTRACT(jsonPayload.s)", "metricDescriptor": object{"metricKind": "DELTA", "valueType": "DISTRIBUTION"}})
	c.Edit(p+"/metrics/gateway/requests", func(body map[string]any) { body["createTime"] = "2026-01-01T00:00:00Z" })
	c.Edit(p+"/metrics/gateway/latency", func(body map[string]any) { body["createTime"] = "2026-01-01T00:00:00Z" })
	c.do("POST logging/v2/"+p+"/metrics", object{"name": "young", "filter": `resource.type="x"`})
	c.do("POST compute/v1/"+p+"/global/networks", object{"name": "n", "autoCreateSubnetworks": false})
	c.do("POST compute/v1/"+p+"/regions/europe-west4/subnetworks", object{"name": "s", "network": p + "/global/networks/n", "ipCidrRange": "10.8.0.0/26"})

	threshold := func(filter, aligner string) object {
		return object{"displayName": "a", "combiner": "OR", "conditions": []object{{"displayName": "c", "conditionThreshold": object{
			"filter": filter, "comparison": "COMPARISON_GT", "duration": "60s", "aggregations": []object{{"alignmentPeriod": "60s", "perSeriesAligner": aligner}},
		}}}}
	}
	promQL := func(query string, unvalidated bool) object {
		return object{"displayName": "a", "combiner": "OR", "conditions": []object{{"displayName": "c", "conditionPrometheusQueryLanguage": object{"query": query, "disableMetricValidation": unvalidated}}}}
	}
	const requests, latency = `metric.type="logging.googleapis.com/user/gateway/requests" resource.type="x"`, `metric.type="logging.googleapis.com/user/gateway/latency" resource.type="x"`
	const alerts = "POST monitoring/v3/" + p + "/alertPolicies"
	const checks = "POST monitoring/v3/" + p + "/uptimeCheckConfigs"
	check := func(timeout string) object {
		return object{"displayName": "u", "timeout": timeout, "period": "300s", "httpCheck": object{}, "monitoredResource": object{"type": "uptime_url", "labels": object{"host": "example.com"}}}
	}
	trigger := func(field string, v any) object {
		o := object{"name": "t", "filename": "cloudbuild.yaml", "serviceAccount": p + "/serviceAccounts/" + account("gateway-deploy"), "sourceToBuild": object{"ref": "refs/heads/main"}}
		o[field] = v
		return o
	}
	var eleven []object
	for i := range 11 {
		eleven = append(eleven, object{"key": fmt.Sprint("k", i)})
	}
	const triggers = "POST cloudbuild/v1/" + region + "/triggers"
	for name, r := range map[string]struct {
		call   string
		body   object
		status int
		want   string
	}{
		"a metric without a filter":            {"POST logging/v2/" + p + "/metrics", object{"name": "m"}, 400, "filter"},
		"a filter that is cut short":           {"POST logging/v2/" + p + "/metrics", object{"name": "m", "filter": `a="b`}, 400, "Unparseable"},
		"a distribution without a value":       {"POST logging/v2/" + p + "/metrics", object{"name": "m", "filter": "a=1", "metricDescriptor": object{"metricKind": "DELTA", "valueType": "DISTRIBUTION"}}, 400, "value extractor"},
		"a label without an extractor":         {"POST logging/v2/" + p + "/metrics", object{"name": "m", "filter": "a=1", "metricDescriptor": object{"metricKind": "DELTA", "valueType": "INT64", "labels": []object{{"key": "k"}}}}, 400, "no extractor"},
		"a sink to a dataset that isn't":       {"POST logging/v2/" + p + "/sinks", object{"name": "s", "destination": "bigquery.googleapis.com/" + p + "/datasets/none"}, 404, "datasets/none"},
		"a dataset in no place":                {"POST bigquery/v2/" + p + "/datasets", object{"datasetReference": object{"datasetId": "d"}, "location": "moon"}, 400, "moon"},
		"a dataset with a dash":                {"POST bigquery/v2/" + p + "/datasets", object{"datasetReference": object{"datasetId": "a-b"}}, 400, "alphanumeric"},
		"a dataset for an account that isn't":  {"POST bigquery/v2/" + p + "/datasets", object{"datasetReference": object{"datasetId": "d"}, "access": []object{{"role": "OWNER", "userByEmail": account("nobody")}}}, 400, "does not exist"},
		"a dataset that nobody owns":           {"POST bigquery/v2/" + p + "/datasets", object{"datasetReference": object{"datasetId": "d"}, "access": []object{{"role": "READER", "domain": "example.com"}}}, 400, "owner"},
		"an alert on a metric that isn't":      {alerts, threshold(`metric.type="logging.googleapis.com/user/none" resource.type="x"`, "ALIGN_RATE"), 404, "Cannot find metric"},
		"an alert on a metric of now":          {alerts, threshold(`metric.type="logging.googleapis.com/user/young" resource.type="x"`, "ALIGN_RATE"), 404, "10 minutes"},
		"an alert without a resource type":     {alerts, threshold(`metric.type="logging.googleapis.com/user/gateway/requests"`, "ALIGN_RATE"), 400, "resource.type"},
		"an alert on a distribution":           {alerts, threshold(latency, "ALIGN_DELTA"), 400, "distributions"},
		"a percentile of a count":              {alerts, threshold(requests, "ALIGN_PERCENTILE_95"), 400, "needs a distribution"},
		"an alert without conditions":          {alerts, object{"displayName": "a", "combiner": "OR"}, 400, "conditions"},
		"PromQL on a metric that isn't":        {alerts, promQL("rate(logging_googleapis_com:user_gateway_request[5m]) > 0", true), 404, "Cannot find"},
		"PromQL on a metric of now":            {alerts, promQL("rate(logging_googleapis_com:user_young[5m]) > 0", false), 404, "disable_metric_validation"},
		"PromQL on a distribution itself":      {alerts, promQL("rate(logging_googleapis_com:user_gateway_latency[5m]) > 0", true), 404, "Cannot find"},
		"PromQL that is cut short":             {alerts, promQL("sum(rate(logging_googleapis_com:user_gateway_requests[5m])", true), 400, "Unparseable"},
		"an alert to a channel that isn't":     {alerts, object{"displayName": "a", "combiner": "OR", "notificationChannels": []string{p + "/notificationChannels/1"}, "conditions": promQL("vector(1)", true)["conditions"]}, 404, "notificationChannels/1"},
		"an alert on a check that isn't":       {alerts, threshold(`metric.type="monitoring.googleapis.com/uptime_check/check_passed" resource.type="uptime_url" metric.label.check_id="none"`, "ALIGN_NEXT_OLDER"), 404, "uptimeCheckConfigs/none"},
		"a channel without its address":        {"POST monitoring/v3/" + p + "/notificationChannels", object{"type": "email"}, 400, "email_address"},
		"a dashboard without a layout":         {"POST monitoring/v1/" + p + "/dashboards", object{"displayName": "d"}, 400, "layout"},
		"tiles that lie on each other":         {"POST monitoring/v1/" + p + "/dashboards", object{"displayName": "d", "mosaicLayout": object{"columns": 12, "tiles": []object{{"width": 6, "height": 2}, {"xPos": 5, "width": 6, "height": 2}}}}, 400, "lies on another"},
		"a tile that leaves the mosaic":        {"POST monitoring/v1/" + p + "/dashboards", object{"displayName": "d", "mosaicLayout": object{"columns": 12, "tiles": []object{{"xPos": 8, "width": 6, "height": 2}}}}, 400, "leaves"},
		"a check that takes too long":          {checks, check("61s"), 400, "timeout"},
		"a trigger without an account":         {triggers, trigger("serviceAccount", ""), 400, "service account"},
		"a trigger for an account that isn't":  {triggers, trigger("serviceAccount", p+"/serviceAccounts/"+account("nobody")), 400, "does not exist"},
		"a trigger on a repository that isn't": {triggers, trigger("repositoryEventConfig", object{"repository": region + "/connections/c/repositories/r", "push": object{"branch": "x"}}), 404, "repositories/r"},
		"a substitution in lower case":         {triggers, trigger("substitutions", object{"_env": "x"}), 400, "_env"},
		"a connection by a token that isn't":   {"POST cloudbuild/v2/" + region + "/connections?connectionId=c", object{"githubConfig": object{"authorizerCredential": object{"oauthTokenSecretVersion": p + "/secrets/none/versions/1"}}}, 404, "none"},
		"a repository of no format":            {"POST artifactregistry/v1/" + region + "/repositories?repositoryId=r", object{}, 400, "format"},
		"a repository in no place":             {"POST artifactregistry/v1/" + p + "/locations/moon/repositories?repositoryId=r", object{"format": "DOCKER"}, 403, "moon"},
		"a subnetwork that overlaps":           {"POST compute/v1/" + p + "/regions/europe-west4/subnetworks", object{"name": "s2", "network": p + "/global/networks/n", "ipCidrRange": "10.8.0.0/24"}, 400, "overlaps"},
		"a subnetwork of no network":           {"POST compute/v1/" + p + "/regions/europe-west4/subnetworks", object{"name": "s2", "network": p + "/global/networks/none", "ipCidrRange": "10.9.0.0/24"}, 404, "networks/none"},
		"the end of a network in use":          {"DELETE compute/v1/" + p + "/global/networks/n", nil, 400, "already being used"},
		"Redis without private service access": {"POST redis/v1/" + region + "/instances?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n", "connectMode": "PRIVATE_SERVICE_ACCESS"}, 400, "private service access"},
		"Redis in a network that isn't":        {"POST redis/v1/" + region + "/instances?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/none"}, 404, "networks/none"},
		"Redis without memory":                 {"POST redis/v1/" + region + "/instances?instanceId=r", object{"authorizedNetwork": p + "/global/networks/n"}, 400, "1 to 300 GB"},
		"Redis of a version that isn't":        {"POST redis/v1/" + region + "/instances?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n", "redisVersion": "REDIS_9_9"}, 400, "REDIS_9_9"},
		"Redis of a tier that isn't":           {"POST redis/v1/" + region + "/instances?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n", "tier": "STANDARD"}, 400, "tier"},
		"replicas of the basic tier":           {"POST redis/v1/" + region + "/instances?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n", "replicaCount": 2}, 400, "no replicas"},
		"Redis with a name in upper case":      {"POST redis/v1/" + region + "/instances?instanceId=R", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n"}, 400, "lower-case"},
		"a metric of eleven labels":            {"POST logging/v2/" + p + "/metrics", object{"name": "m", "filter": "a=1", "metricDescriptor": object{"metricKind": "DELTA", "valueType": "INT64", "labels": eleven}}, 400, "10 are the most"},
	} {
		t.Run(name, func(t *testing.T) {
			var body any
			if r.body != nil {
				body = r.body
			}
			(&cloud{t, c.Cloud, c.token}).refused(r.call, body, r.status, r.want)
		})
	}
	if listed, _ := c.do("GET logging/v2/"+p+"/metrics", nil)["metrics"].([]any); len(listed) != 3 {
		t.Errorf("the metrics are %v", listed)
	}
	c.do(alerts, threshold(requests, "ALIGN_RATE"))
	c.do(alerts, threshold(latency, "ALIGN_PERCENTILE_95"))
	c.do(alerts, promQL("histogram_quantile(0.95, sum by (le) (rate(logging_googleapis_com:user_gateway_latency_bucket[5m]))) > 1", false))
	c.do(alerts, promQL("rate(logging_googleapis_com:user_young[5m]) > 0", true))
	c.do(checks, check("10s"))
	c.do(triggers, trigger("substitutions", object{"_ENV": "x"}))
	c.refused(triggers, trigger("substitutions", object{"_ENV": "x"}), 409, "already exists")
}

func TestRedisWithTLSShowsItsAuthorityAndIsUpdatedInPlace(t *testing.T) {
	c := newCloud(t)
	const p, instances = "projects/acme-test", "redis/v1/" + region + "/instances"
	c.do("POST compute/v1/"+p+"/global/networks", object{"name": "n", "autoCreateSubnetworks": false})
	c.do("POST "+instances+"?instanceId=r", object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n", "transitEncryptionMode": "SERVER_AUTHENTICATION"})
	made := c.do("GET "+instances+"/r", nil)
	shown, _ := made["serverCaCerts"].([]any)
	if len(shown) != 1 || made["port"] != 6378.0 || made["tier"] != "BASIC" {
		t.Fatalf("the instance is %v", made)
	}
	block, rest := pem.Decode([]byte(at(shown[0], "cert").(string)))
	if block == nil || len(rest) > 0 {
		t.Fatalf("no certificate: %v", shown[0])
	}
	if authority, err := x509.ParseCertificate(block.Bytes); err != nil || !authority.IsCA {
		t.Errorf("%v, %v", authority, err)
	}

	c.do("PATCH "+instances+"/r?updateMask=memorySizeGb,labels", object{"memorySizeGb": 2, "labels": object{"a": "b"}})
	changed := c.do("GET "+instances+"/r", nil)
	if changed["memorySizeGb"] != 2.0 || at(changed, "labels", "a") != "b" || at(changed["serverCaCerts"].([]any)[0], "cert") != at(shown[0], "cert") {
		t.Errorf("the instance is %v", changed)
	}
	for field, v := range map[string]any{"tier": "STANDARD_HA", "transitEncryptionMode": "DISABLED", "authorizedNetwork": "n", "redisVersion": "REDIS_7_0"} {
		c.refused("PATCH "+instances+"/r?updateMask="+field, object{field: v}, 400, field)
	}

	c.refused("GET "+instances+"/r/authString", nil, 400, "AUTH is not enabled")
	c.do("PATCH "+instances+"/r?updateMask=authEnabled", object{"authEnabled": true})
	if s, _ := c.do("GET "+instances+"/r/authString", nil)["authString"].(string); s == "" {
		t.Error("there is no AUTH string")
	}

	c.refused("DELETE compute/v1/"+p+"/global/networks/n", nil, 400, "already being used")
	c.do("DELETE "+instances+"/r", nil)
	c.do("DELETE compute/v1/"+p+"/global/networks/n", nil)
	c.refused("GET "+instances+"/r", nil, 404, "instances/r")
}

func TestRedisAndItsNetworkTakeTheirRoles(t *testing.T) {
	c := newCloud(t)
	const p, instances = "projects/acme-test", "redis/v1/" + region + "/instances"
	c.do("POST iam/v1/"+p+"/serviceAccounts", object{"accountId": "gateway-deploy"})
	deployer, network := c.as(account("gateway-deploy")), object{"name": "n", "autoCreateSubnetworks": false}
	instance := object{"memorySizeGb": 1, "authorizedNetwork": p + "/global/networks/n"}
	deployer.refused("POST compute/v1/"+p+"/global/networks", network, 403, "compute.networks.create")
	c.grant("cloudresourcemanager/v1/"+p, "POST", "POST", "roles/compute.networkAdmin", "serviceAccount:"+account("gateway-deploy"))
	deployer.do("POST compute/v1/"+p+"/global/networks", network)
	deployer.refused("POST "+instances+"?instanceId=r", instance, 403, "redis.instances.create")
	c.grant("cloudresourcemanager/v1/"+p, "POST", "POST", "roles/redis.admin", "serviceAccount:"+account("gateway-deploy"))
	deployer.do("POST "+instances+"?instanceId=r", instance)
	deployer.do("DELETE "+instances+"/r", nil)
}
