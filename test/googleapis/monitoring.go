package googleapis

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// monitoring is Cloud Monitoring: dashboards (v1), alert policies, notification channels and uptime checks (v3).
func monitoring() service {
	return service{kinds: map[string]kind{
		"monitoring.dashboards":           {id: counted, settle: settleDashboard, numbered: true},
		"monitoring.alertPolicies":        {id: counted, settle: settleAlert},
		"monitoring.notificationChannels": {id: counted, settle: settleChannel},
		"monitoring.uptimeCheckConfigs":   {id: checkName, settle: settleUptime},
	}}
}

// metricPrefix begins the type of every log-based metric that a project has made.
const metricPrefix = "logging.googleapis.com/user/"

var (
	metricType = regexp.MustCompile(`metric\.type\s*=\s*(?:"([^"]+)"|([^\s)]+))`)
	userMetric = regexp.MustCompile(regexp.QuoteMeta(metricPrefix) + `([A-Za-z0-9_\-.%/]+)`)
	userSeries = regexp.MustCompile(`\blogging_googleapis_com:user_([a-zA-Z0-9_]+)`)
	special    = regexp.MustCompile(`[^a-zA-Z0-9_]`)
	quoted     = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	checkID    = regexp.MustCompile(`check_id\s*=\s*"([^"]+)"`)
)

// fresh is how long Cloud Monitoring may not know a log-based metric that has just been made
// (github.com/hashicorp/terraform-provider-google/issues/11102). Here it is always so long.
const fresh = 10 * time.Minute

// metrics refuses log-based metrics that a filter or query names and that don't exist or, where known is set, that
// Cloud Monitoring can't be relied on to know yet; and uptime checks that don't exist.
func (c *call) metrics(of string, known bool) error {
	var named []*resource
	for _, m := range userMetric.FindAllStringSubmatch(of, -1) {
		named = append(named, c.resources["projects/"+c.project+"/metrics/"+m[1]])
	}
	for _, m := range userSeries.FindAllStringSubmatch(of, -1) {
		named = append(named, c.series(m[1]))
	}
	for _, r := range named {
		if r == nil {
			return notFound("Cannot find metric(s) that match those in %s", of)
		}
		made, _ := time.Parse(time.RFC3339Nano, text(r.body, "createTime"))
		if known && time.Since(made) < fresh {
			return notFound("Cannot find metric(s) that match type = \"%s%s\". If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon. (PromQL conditions have disable_metric_validation for this.)", metricPrefix, text(r.body, "name"))
		}
	}
	for _, m := range checkID.FindAllStringSubmatch(of, -1) {
		if _, err := c.must("monitoring.uptimeCheckConfigs", "projects/"+c.project+"/uptimeCheckConfigs/"+m[1]); err != nil {
			return err
		}
	}
	return nil
}

// series finds the log-based metric that PromQL has under the name (cloud.google.com/monitoring/promql/promql-mapping).
// A distribution's series end in _bucket, _sum and _count.
func (c *call) series(name string) *resource {
	for _, r := range c.resources {
		if r.kind != "logging.metrics" || !strings.HasPrefix(r.name, "projects/"+c.project+"/") {
			continue
		}
		rest, ok := strings.CutPrefix(name, special.ReplaceAllString(text(r.body, "name"), "_"))
		suffixes := []string{""}
		if text(r.body, "metricDescriptor", "valueType") == "DISTRIBUTION" {
			suffixes = []string{"_bucket", "_sum", "_count"}
		}
		if ok && slices.Contains(suffixes, rest) {
			return r
		}
	}
	return nil
}

// queried judges PromQL as far as it can be without its grammar.
func (c *call) queried(query string, known bool) error {
	plain := quoted.ReplaceAllString(query, "")
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(plain, pair[:1]) != strings.Count(plain, pair[1:]) || strings.Contains(plain, `"`) || strings.TrimSpace(plain) == "" {
			return invalid("Unparseable PromQL: %s", query)
		}
	}
	return c.metrics(query, known)
}

func settleDashboard(c *call, was, r *resource) error {
	if text(r.body, "displayName") == "" {
		return invalid("The dashboard's display name is missing.")
	}
	layouts := 0
	for _, layout := range []string{"gridLayout", "mosaicLayout", "rowLayout", "columnLayout"} {
		if r.body[layout] != nil {
			layouts++
		}
	}
	if layouts != 1 {
		return invalid("The dashboard needs one layout, not %d.", layouts)
	}
	if columns, _ := integer(get(r.body, "mosaicLayout", "columns")); r.body["mosaicLayout"] != nil {
		if err := tiled(columns, r.body); err != nil {
			return err
		}
	}
	if err := each(r.body, func(name string, v any) error {
		s, _ := v.(string)
		switch {
		case name == "prometheusQuery":
			return c.queried(s, false)
		case name == "filter" || name == "timeSeriesQueryLanguage":
			return c.metrics(s, false)
		}
		return nil
	}); err != nil {
		return err
	}
	r.body["name"] = c.numbered(r.name)
	return labelled(r.body)
}

// tiled refuses tiles that leave the mosaic or lie on each other.
func tiled(columns int, body map[string]any) error {
	if columns < 1 || columns > 48 {
		return invalid("A mosaic has 1 to 48 columns, not %d.", columns)
	}
	taken := map[[2]int]bool{}
	tiles, _ := get(body, "mosaicLayout", "tiles").([]any)
	for i, tile := range tiles {
		var at [4]int
		for j, name := range []string{"xPos", "yPos", "width", "height"} {
			at[j], _ = integer(get(tile, name))
		}
		if at[2] < 1 || at[3] < 1 || at[0] < 0 || at[1] < 0 || at[0]+at[2] > columns {
			return invalid("Tile %d of the mosaic leaves its %d columns, or has no size.", i, columns)
		}
		for x := at[0]; x < at[0]+at[2]; x++ {
			for y := at[1]; y < at[1]+at[3]; y++ {
				if taken[[2]int{x, y}] {
					return invalid("Tile %d of the mosaic lies on another.", i)
				}
				taken[[2]int{x, y}] = true
			}
		}
	}
	return nil
}

// each calls f for every member of every object below v.
func each(v any, f func(name string, v any) error) error {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if err := f(name, member); err != nil {
				return err
			}
			if err := each(member, f); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range v {
			if err := each(element, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func settleAlert(c *call, was, r *resource) error {
	conditions, _ := r.body["conditions"].([]any)
	switch combiner := text(r.body, "combiner"); {
	case text(r.body, "displayName") == "":
		return invalid("The alert policy's display name is missing.")
	case len(conditions) < 1 || len(conditions) > 6:
		return invalid("An alert policy has 1 to 6 conditions, not %d.", len(conditions))
	case combiner == "" || combiner == "COMBINE_UNSPECIFIED":
		return invalid("The alert policy's combiner is missing.")
	}
	for i, v := range conditions {
		condition := v.(map[string]any)
		if err := c.condition(condition); err != nil {
			return err
		}
		if condition["name"] == nil {
			condition["name"] = fmt.Sprintf("%s/conditions/%d", r.name, 1000000+c.number())
		} else if was == nil {
			return invalid("Condition %d of a new policy has a name.", i)
		}
	}
	channels, _ := r.body["notificationChannels"].([]any)
	for _, channel := range channels {
		if _, err := c.must("monitoring.notificationChannels", channel.(string)); err != nil {
			return err
		}
	}
	fill(r.body, map[string]any{"enabled": true})
	record := map[string]any{"mutateTime": now(), "mutatedBy": c.caller}
	fill(r.body, map[string]any{"creationRecord": record})
	r.body["mutationRecord"] = record
	return nil
}

// condition judges one of an alert policy (cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies).
func (c *call) condition(condition map[string]any) error {
	if text(condition, "displayName") == "" {
		return invalid("A condition's display name is missing.")
	}
	if q, ok := condition["conditionPrometheusQueryLanguage"].(map[string]any); ok {
		every, err := time.ParseDuration(cmp.Or(text(q, "evaluationInterval"), "60s"))
		if err != nil || every <= 0 || every%(30*time.Second) != 0 {
			return invalid("The evaluation interval %q must be a multiple of 30 seconds.", text(q, "evaluationInterval"))
		}
		if err := seconds("duration", text(q, "duration"), false); err != nil {
			return err
		}
		return c.queried(text(q, "query"), q["disableMetricValidation"] != true)
	}
	if condition["conditionMonitoringQueryLanguage"] != nil || condition["conditionSql"] != nil {
		return unmodelled("conditions in MQL and SQL")
	}
	if condition["conditionMatchedLog"] != nil {
		return filtered(&resource{name: c.name, body: condition["conditionMatchedLog"].(map[string]any)}, true)
	}
	for _, form := range []string{"conditionThreshold", "conditionAbsent"} {
		t, ok := condition[form].(map[string]any)
		if !ok {
			continue
		}
		if comparison := text(t, "comparison"); form == "conditionThreshold" && comparison != "COMPARISON_GT" && comparison != "COMPARISON_LT" {
			return invalid("The comparison %q is not supported: COMPARISON_GT and COMPARISON_LT are.", comparison)
		}
		if err := seconds("duration", text(t, "duration"), form == "conditionAbsent"); err != nil {
			return err
		}
		for _, side := range []struct{ filter, aggregations string }{{"filter", "aggregations"}, {"denominatorFilter", "denominatorAggregations"}} {
			filter := text(t, side.filter)
			if filter == "" && side.filter == "denominatorFilter" {
				continue
			}
			if err := c.aggregated(filter, t[side.aggregations]); err != nil {
				return err
			}
		}
		return nil
	}
	return invalid("The condition %q is of no kind.", text(condition, "displayName"))
}

// aggregated judges a filter and what is made of its time series.
func (c *call) aggregated(filter string, aggregations any) error {
	m := metricType.FindStringSubmatch(filter)
	switch {
	case m == nil && !strings.HasPrefix(filter, "select_"):
		return invalid("The filter %q must specify a restriction on \"metric.type\".", filter)
	case !strings.Contains(filter, "resource.type"):
		return invalid("The filter %q must specify a restriction on \"resource.type\" in the filter; see \"https://cloud.google.com/monitoring/api/resources\" for a list of available resource types.", filter)
	}
	if err := c.metrics(filter, true); err != nil {
		return err
	}
	all, _ := aggregations.([]any)
	scalar := true
	if u := userMetric.FindStringSubmatch(filter); u != nil {
		scalar = text(c.resources["projects/"+c.project+"/metrics/"+u[1]].body, "metricDescriptor", "valueType") != "DISTRIBUTION"
	}
	for i, a := range all {
		aligner, reducer := text(a, "perSeriesAligner"), text(a, "crossSeriesReducer")
		if err := seconds("alignment period", text(a, "alignmentPeriod"), true); err != nil {
			return err
		}
		percentile := strings.HasPrefix(aligner, "ALIGN_PERCENTILE")
		switch {
		case i == 0 && scalar && percentile && userMetric.MatchString(filter):
			return invalid("The aligner %s needs a distribution; %s is none.", aligner, filter)
		case reducer != "" && reducer != "REDUCE_NONE" && (aligner == "" || aligner == "ALIGN_NONE"):
			return invalid("The reducer %s needs an aligner.", reducer)
		}
		scalar = scalar || percentile || strings.HasPrefix(reducer, "REDUCE_PERCENTILE") || strings.HasSuffix(aligner, "_COUNT") || strings.HasPrefix(reducer, "REDUCE_COUNT")
	}
	if !scalar {
		return invalid("The filter %q gives distributions; a condition needs an aligner or reducer such as ALIGN_PERCENTILE_95.", filter)
	}
	return nil
}

// seconds judges a time that must be whole minutes.
func seconds(name, s string, needed bool) error {
	d, err := time.ParseDuration(s)
	if s == "" && !needed {
		return nil
	}
	if err != nil || d%time.Minute != 0 || needed && d < time.Minute || d > 25*time.Hour {
		return invalid("The %s %q must be a multiple of 60 seconds.", name, s)
	}
	return nil
}

// channelLabels are what a notification channel of a type must say.
var channelLabels = map[string]string{"email": "email_address", "pagerduty": "service_key", "slack": "channel_name", "webhook_tokenauth": "url", "pubsub": "topic", "sms": "number"}

func settleChannel(c *call, was, r *resource) error {
	label, ok := channelLabels[text(r.body, "type")]
	switch {
	case !ok:
		return invalid("The notification channel's type %q is unknown.", text(r.body, "type"))
	case text(r.body, "labels", label) == "":
		return invalid("A notification channel of type %s needs the label %s.", text(r.body, "type"), label)
	}
	fill(r.body, map[string]any{"enabled": true})
	return nil
}

func checkName(c *call) string {
	slug := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(text(c.body, "displayName")), "-")
	return strings.Trim(slug, "-") + "-" + random(6)
}

func settleUptime(c *call, was, r *resource) error {
	fill(r.body, map[string]any{"period": "60s"})
	period, timeout := text(r.body, "period"), text(r.body, "timeout")
	limit, _ := time.ParseDuration(timeout)
	chosen, _ := r.body["selectedRegions"].([]any)
	switch {
	case text(r.body, "displayName") == "":
		return invalid("The uptime check's display name is missing.")
	case period != "60s" && period != "300s" && period != "600s" && period != "900s":
		return invalid("The uptime check's period must be 60s, 300s, 600s or 900s, not %q.", period)
	case limit < time.Second || limit > time.Minute:
		return invalid("The uptime check's timeout must be from 1 to 60 seconds, not %q.", timeout)
	case len(chosen) > 0 && len(chosen) < 3:
		return invalid("An uptime check needs three regions at least.")
	case (r.body["monitoredResource"] == nil) == (r.body["resourceGroup"] == nil):
		return invalid("The uptime check needs a monitored resource or a group.")
	case (r.body["httpCheck"] == nil) == (r.body["tcpCheck"] == nil):
		return invalid("The uptime check needs an HTTP or a TCP check.")
	}
	if text(r.body, "monitoredResource", "type") == "uptime_url" {
		labels := get(r.body, "monitoredResource", "labels")
		if host := text(labels, "host"); host == "" || strings.Contains(host, "/") {
			return invalid("The uptime check's host %q must be a host's name alone.", host)
		}
		if project := text(labels, "project_id"); project != "" && project != c.project {
			return invalid("The uptime check's project_id %q is another project.", project)
		}
		r.body["monitoredResource"].(map[string]any)["labels"].(map[string]any)["project_id"] = c.project
	}
	if check, ok := r.body["httpCheck"].(map[string]any); ok {
		port := 80
		if get(check, "useSsl") == true {
			port = 443
		}
		fill(check, map[string]any{"path": "/", "port": port, "requestMethod": "GET"})
		codes, _ := check["acceptedResponseStatusCodes"].([]any)
		for _, code := range codes {
			if value, err := integer(get(code, "statusValue")); get(code, "statusValue") != nil && (err != nil || value < 100 || value > 599) {
				return invalid("The accepted status %s is none.", strconv.Itoa(value))
			}
		}
	}
	return nil
}
