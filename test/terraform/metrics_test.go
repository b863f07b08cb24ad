package terraform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"llmgateway.dev/gateway/internal/audit"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/token"
)

// metric is a log-based metric, as PromQL sees it.
type metric struct {
	distribution bool
	labels       []string
	uses         []string // expressions over log entries
}

// metrics are by PromQL's names (cloud.google.com/monitoring/promql/promql-mapping): the first slash becomes a colon, and
// whatever is no letter or digit an underscore.
func metrics(t *testing.T, f folder, vars map[string]cty.Value) map[string]metric {
	t.Helper()
	found := map[string]metric{}
	for _, b := range f.resources() {
		if b.Labels[0] != "google_logging_metric" {
			continue
		}
		for key, each := range f.value(t, b.Body.Attributes["for_each"].Expr, vars, nil).AsValueMap() {
			attribute := func(name string) cty.Value {
				if b.Body.Attributes[name] == nil {
					return cty.StringVal("")
				}
				return f.value(t, b.Body.Attributes[name].Expr, vars, map[string]cty.Value{"key": cty.StringVal(key), "value": each})
			}
			m := metric{uses: []string{attribute("filter").AsString(), attribute("value_extractor").AsString()}}
			for label, from := range attribute("label_extractors").AsValueMap() {
				m.labels, m.uses = append(m.labels, label), append(m.uses, from.AsString())
			}
			for _, inner := range within(b) {
				m.distribution = m.distribution || literal(inner, "value_type") == "DISTRIBUTION"
			}
			name := regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllString(attribute("name").AsString(), "_")
			found["logging_googleapis_com:user_"+name] = m
		}
	}
	return found
}

// A name with a hyphen is where names of metrics and series could part.
func variables(t *testing.T, f folder) map[string]cty.Value {
	return map[string]cty.Value{"name": cty.StringVal("llm-gateway"), "alerts": f.defaults(t, "alerts")}
}

func TestDashboardAndAlertsAskForSeriesAndLabelsThatMetricsHave(t *testing.T) {
	f := gateway(t)
	vars := variables(t, f)
	have := metrics(t, f, vars)
	queries := map[string]string{}
	for name, alert := range f.value(t, f.locals()["alerts"], vars, nil).AsValueMap() {
		queries["alert "+name] = alert.GetAttr("query").AsString()
	}
	for _, name := range []string{"errors", "denials", "refresh", "latency", "budget", "limit_store"} {
		if queries["alert "+name] == "" {
			t.Errorf("nobody is told of %s", name)
		}
	}
	var dashboard struct {
		MosaicLayout struct {
			Tiles []struct {
				Widget struct {
					Title   string
					XYChart struct {
						DataSets []struct {
							TimeSeriesQuery struct{ PrometheusQuery string }
						}
					}
				}
			}
		}
	}
	text := f.value(t, f.resources()["google_monitoring_dashboard.gateway"].Body.Attributes["dashboard_json"].Expr, vars, nil)
	if err := json.Unmarshal([]byte(text.AsString()), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, tile := range dashboard.MosaicLayout.Tiles {
		for i, set := range tile.Widget.XYChart.DataSets {
			queries[tile.Widget.Title+" "+strconv.Itoa(i)] = set.TimeSeriesQuery.PrometheusQuery
		}
	}

	// What somebody asks who has a budget to keep.
	for series, labels := range map[string][]string{
		"cost_sum": {"group", "target_model"}, "input_tokens_sum": {"group", "target_model"}, "output_tokens_sum": {"group", "target_model"},
		"limit_refusals": {"limit"}, "budget_used_bucket": {"limit"},
	} {
		for _, label := range labels {
			asks := regexp.MustCompile(`by \([^)]*\b` + label + `\b[^)]*\).*:user_llm_gateway_` + series + `\b`)
			if !slices.ContainsFunc(slices.Collect(maps.Values(queries)), asks.MatchString) {
				t.Errorf("nothing shows %s by %s", series, label)
			}
		}
	}
	if used := have["logging_googleapis_com:user_llm_gateway_budgets_used_up"].uses[0]; !strings.Contains(used, "jsonPayload.budget_used>=0.8") || !strings.Contains(queries["alert budget"], "budgets_used_up") {
		t.Errorf("nobody is told at 80 %%: %s, %s", used, queries["alert budget"])
	}

	shown := map[string]bool{}
	for title, query := range queries {
		names := regexp.MustCompile(`logging_googleapis_com:\w+`).FindAllString(query, -1)
		if len(names) == 0 && !strings.Contains(query, "run_googleapis_com:") {
			t.Errorf("%s: %s asks for no series", title, query)
		}
		for _, name := range names {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			m, ok := have[base]
			if !ok || m.distribution != (base != name) {
				t.Errorf("%s: no metric has the series %s", title, name)
			}
			shown[base] = true
			for _, list := range regexp.MustCompile(`by \(([^)]*)\)|_googleapis_com:\w+\{(\w+)`).FindAllStringSubmatch(query, -1) {
				for _, label := range strings.Split(list[1]+list[2], ",") {
					if label = strings.TrimSpace(label); label != "le" && !slices.Contains(m.labels, label) {
						t.Errorf("%s: %s has no label %s", title, name, label)
					}
				}
			}
		}
	}
	for name, m := range have {
		if !shown[name] {
			t.Errorf("nobody looks at %s", name)
		}
		if len(m.labels) > 10 {
			t.Errorf("%s has %d labels, and Google takes 10", name, len(m.labels))
		}
	}
}

// The record that internal/audit's test keeps has every field there is. One metric reads another line.
func TestMetricsReadFieldsThatLinesHave(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "internal/audit/testdata/record.json"))
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	failed := failedRefresh(t)
	f := gateway(t)
	var lines, fields int
	for name, m := range metrics(t, f, variables(t, f)) {
		entry := record
		if !strings.Contains(m.uses[0], "jsonPayload.request_id") {
			lines++
			entry = failed
			if message := regexp.MustCompile(`jsonPayload\.message="([^"]*)"`).FindStringSubmatch(m.uses[0]); message == nil || message[1] != failed["message"] {
				t.Errorf("%s counts %s, and the line says %q", name, m.uses[0], failed["message"])
			}
		}
		for _, use := range m.uses {
			for _, path := range regexp.MustCompile(`(jsonPayload|httpRequest)((?:\.(?:"[^"]+"|\w+))+)`).FindAllStringSubmatch(use, -1) {
				fields++
				var at any = entry
				if path[1] == "httpRequest" {
					at = entry["httpRequest"]
				}
				for _, step := range regexp.MustCompile(`"[^"]+"|\w+`).FindAllString(path[2], -1) {
					object, _ := at.(map[string]any)
					at = object[strings.Trim(step, `"`)]
				}
				if at == nil {
					t.Errorf("%s reads %s, which no line has", name, path[0])
				}
			}
		}
	}
	if fields == 0 || lines != 1 {
		t.Errorf("metrics read %d fields, and %d metrics another line than a record", fields, lines)
	}
}

// failedRefresh is the line that the gateway writes when a refresh of a token failed.
func failedRefresh(t *testing.T) (line map[string]any) {
	t.Helper()
	var written bytes.Buffer
	credentials := map[string]config.Credential{"vertex": {ServiceAccountKey: &config.ServiceAccountKey{}}}
	if _, err := token.New(credentials, noSecrets{}, audit.NewLog(&written).Logger).Token(t.Context(), "vertex"); err == nil {
		t.Fatal("there is a token without a key")
	}
	if err := json.Unmarshal(written.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, written.Bytes())
	}
	return line
}

type noSecrets struct{}

func (noSecrets) Read(context.Context, config.Source, bool) (hidden.Text, string, error) {
	return hidden.Text{}, "", errors.New("Secret Manager is down")
}
