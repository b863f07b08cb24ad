package googleapis

import (
	"regexp"
	"strings"
)

// logging is Cloud Logging's metrics and sinks.
func logging() service {
	return service{kinds: map[string]kind{
		"logging.metrics": {id: field("name"), short: true, settle: settleMetric},
		"logging.sinks":   {id: field("name"), short: true, settle: settleSink},
	}}
}

var (
	metricName = regexp.MustCompile(`^[A-Za-z0-9_\-.,+!*'(),%/]{1,100}$`)
	sinkName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	extractor  = regexp.MustCompile(`^(EXTRACT|REGEXP_EXTRACT)\(.+\)$`)
)

func settleMetric(c *call, was, r *resource) error {
	name := text(r.body, "name")
	if !metricName.MatchString(name) {
		return invalid("The metric's name %q is malformed.", name)
	}
	if err := filtered(r, true); err != nil {
		return err
	}
	fill(r.body, map[string]any{"metricDescriptor": map[string]any{
		"metricKind": "DELTA", "valueType": "INT64", "unit": "1", "type": metricPrefix + name,
		"name": "projects/" + c.project + "/metricDescriptors/" + metricPrefix + name,
	}})
	r.body["resourceName"] = r.name
	kind, value := text(r.body, "metricDescriptor", "metricKind"), text(r.body, "metricDescriptor", "valueType")
	if kind != "DELTA" || value != "INT64" && value != "DISTRIBUTION" {
		return invalid("A log-based metric is DELTA, and INT64 or DISTRIBUTION, not %s and %s.", kind, value)
	}
	of := text(r.body, "valueExtractor")
	switch {
	case (value == "DISTRIBUTION") != (of != ""):
		return invalid("The metric %s needs a value extractor where it is a distribution, and nowhere else.", name)
	case of != "" && !extractor.MatchString(of):
		return invalid("The value extractor %q must be EXTRACT(…) or REGEXP_EXTRACT(…).", of)
	case r.body["bucketOptions"] != nil && value != "DISTRIBUTION":
		return invalid("Only a distribution has bucket options.")
	}
	keys := map[string]bool{}
	labels, _ := get(r.body, "metricDescriptor", "labels").([]any)
	extractors, _ := r.body["labelExtractors"].(map[string]any)
	if len(labels) > 10 { // cloud.google.com/logging/quotas#log-based_metrics
		return invalid("The metric %s has %d labels; 10 are the most.", name, len(labels))
	}
	for _, label := range labels {
		keys[text(label, "key")] = true
	}
	for key, of := range extractors {
		if s, _ := of.(string); !keys[key] || !extractor.MatchString(s) {
			return invalid("The label extractor of %q needs a label of that key, and must be EXTRACT(…) or REGEXP_EXTRACT(…).", key)
		}
		delete(keys, key)
	}
	for key := range keys {
		return invalid("The label %q has no extractor.", key)
	}
	return nil
}

// filtered checks a filter as far as it can be without its grammar.
func filtered(r *resource, needed bool) error {
	filter := text(r.body, "filter")
	if strings.TrimSpace(filter) == "" && needed {
		return invalid("The filter of %s is missing.", r.name)
	}
	plain := quoted.ReplaceAllString(filter, "")
	if strings.Contains(plain, `"`) || strings.Count(plain, "(") != strings.Count(plain, ")") || len(filter) > 20000 {
		return invalid("Unparseable filter: %s", filter)
	}
	return nil
}

func settleSink(c *call, was, r *resource) error {
	name := text(r.body, "name")
	if !sinkName.MatchString(name) {
		return invalid("The sink's name %q is malformed.", name)
	}
	if err := filtered(r, false); err != nil {
		return err
	}
	to := text(r.body, "destination")
	switch {
	case strings.HasPrefix(to, "bigquery.googleapis.com/"):
		if _, err := c.must("bigquery.datasets", strings.TrimPrefix(to, "bigquery.googleapis.com/")); err != nil {
			return err
		}
	case strings.HasPrefix(to, "storage.googleapis.com/"):
		if _, err := c.must("storage.buckets", bucketName(strings.TrimPrefix(to, "storage.googleapis.com/"))); err != nil {
			return err
		}
	default:
		return unmodelled("the sink's destination %q", to)
	}
	if r.body["bigqueryOptions"] != nil && !strings.HasPrefix(to, "bigquery.") {
		return invalid("Only a sink to BigQuery has bigquery_options.")
	}
	writer := "cloud-logs@system.gserviceaccount.com"
	if c.query.Get("uniqueWriterIdentity") == "true" {
		writer = strings.Replace(agents["logging.googleapis.com"][0], "%s", c.projectNumber(c.project), 1)
	} else if was != nil {
		writer = strings.TrimPrefix(text(was.body, "writerIdentity"), "serviceAccount:")
	}
	r.body["writerIdentity"], r.body["resourceName"] = "serviceAccount:"+writer, r.name
	return nil
}
