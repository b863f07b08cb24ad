locals {
  # The gateway writes one record per request to standard error, in Cloud Logging's form (internal/audit).
  from_gateway = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}\""
  records      = "${local.from_gateway} AND jsonPayload.request_id:*"

  # Labels have few values, none of which a client chooses: time series are counted, and bounded.
  record_labels = {
    operation    = "EXTRACT(jsonPayload.operation)"
    upstream     = "EXTRACT(jsonPayload.upstream)"
    target_model = "EXTRACT(jsonPayload.target_model)"
    status       = "EXTRACT(httpRequest.status)"
    error_code   = "EXTRACT(jsonPayload.error_code)"
  }
  # By whom, too: groups that limits name, which are few, and none for callers whom no limit applies to.
  # (A label that a metric gets later has the provider delete the metric and make it anew.)
  group         = "EXTRACT(jsonPayload.charged_group)"
  token_labels  = merge(local.record_labels, { group = local.group })
  budget_labels = { limit = "EXTRACT(jsonPayload.budget_limit)" }

  counters = {
    requests         = { filter = local.records, labels = local.record_labels, description = "Answered requests" }
    token_refreshes  = { filter = "${local.records} AND jsonPayload.cache.upstream_token=\"exchanged\"", labels = { upstream = local.record_labels.upstream }, description = "Requests that waited for an exchange of an upstream token" }
    refresh_failures = { filter = "${local.from_gateway} AND jsonPayload.message=\"token refresh failed\"", labels = { credential = "EXTRACT(jsonPayload.credential)" }, description = "Refreshes of upstream tokens that failed" }

    limit_refusals       = { filter = "${local.records} AND jsonPayload.limit:*", labels = { limit = "EXTRACT(jsonPayload.limit)", kind = "EXTRACT(jsonPayload.limit_kind)" }, description = "Requests that a limit refused" }
    limit_store_failures = { filter = "${local.records} AND jsonPayload.limit_store_error:*", labels = {}, description = "Requests for which the limit store could not be asked" }
    budgets_used_up      = { filter = "${local.records} AND jsonPayload.budget_used>=${var.alerts.budget_used}", labels = local.budget_labels, description = "Requests after which a budget was used to ${var.alerts.budget_used} or more" }
  }

  # Buckets grow from scale; those of a share are even.
  distributions = {
    latency       = { value = "EXTRACT(jsonPayload.total_seconds)", labels = local.record_labels, unit = "s", description = "Seconds to the end of the answer", scale = [0.001] }
    first_byte    = { value = "EXTRACT(jsonPayload.first_byte_seconds)", labels = local.record_labels, unit = "s", description = "Seconds to the first byte of the answer", scale = [0.001] }
    input_tokens  = { value = "EXTRACT(jsonPayload.\"gen_ai.usage.input_tokens\")", labels = local.token_labels, unit = "1", description = "Tokens that went in", scale = [1] }
    output_tokens = { value = "EXTRACT(jsonPayload.\"gen_ai.usage.output_tokens\")", labels = local.token_labels, unit = "1", description = "Tokens that came out", scale = [1] }
    cost          = { value = "EXTRACT(jsonPayload.cost_usd)", labels = { group = local.group, target_model = local.record_labels.target_model }, unit = "{USD}", description = "Money, at the configured prices", scale = [0.00001] }
    budget_used   = { value = "EXTRACT(jsonPayload.budget_used)", labels = local.budget_labels, unit = "1", description = "Share used of the request's most used budget", scale = [] }
  }

  # As PromQL names a log-based metric (cloud.google.com/monitoring/promql/promql-mapping).
  series = { for m in concat(keys(local.counters), keys(local.distributions)) : m => "logging_googleapis_com:user_${replace(var.name, "-", "_")}_${m}" }
}

resource "google_logging_metric" "counter" {
  for_each    = local.counters
  project     = var.project
  name        = "${replace(var.name, "-", "_")}/${each.key}"
  description = each.value.description
  filter      = each.value.filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }
  label_extractors = each.value.labels

  depends_on = [google_project_service.on]
}

resource "google_logging_metric" "distribution" {
  for_each        = local.distributions
  project         = var.project
  name            = "${replace(var.name, "-", "_")}/${each.key}"
  description     = each.value.description
  filter          = local.records
  value_extractor = each.value.value

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit
    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }
  label_extractors = each.value.labels

  # From a millisecond, a token or a thousandth of a cent to four million times that; shares to 2 by twentieths.
  bucket_options {
    dynamic "exponential_buckets" {
      for_each = each.value.scale
      content {
        num_finite_buckets = 44
        growth_factor      = 1.4142135623730951
        scale              = exponential_buckets.value
      }
    }
    dynamic "linear_buckets" {
      for_each = length(each.value.scale) == 0 ? [0.05] : []
      content {
        num_finite_buckets = 40
        width              = linear_buckets.value
        offset             = 0
      }
    }
  }

  depends_on = [google_project_service.on]
}

resource "google_monitoring_dashboard" "gateway" {
  project = var.project
  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 48
      tiles = [for i, tile in [
        { title = "Requests by status", unit = "1/s", queries = { "{{status}}" = "sum by (status) (rate(${local.series.requests}[5m]))" } },
        { title = "Denials and refused tokens", unit = "1/s", queries = { "{{error_code}}" = "sum by (error_code) (rate(${local.series.requests}{status=~\"401|403\"}[5m]))" } },
        { title = "Latency of whole answers", unit = "s", queries = { for q in ["0.50", "0.95", "0.99"] : "p${q}" => "histogram_quantile(${q}, sum by (le) (rate(${local.series.latency}_bucket[5m])))" } },
        { title = "Time to the first byte, p95", unit = "s", queries = { "{{target_model}}" = "histogram_quantile(0.95, sum by (le, target_model) (rate(${local.series.first_byte}_bucket[5m])))" } },
        { title = "Tokens in, by model", unit = "1/s", queries = { "{{target_model}}" = "sum by (target_model) (rate(${local.series.input_tokens}_sum[5m]))" } },
        { title = "Tokens out, by model", unit = "1/s", queries = { "{{target_model}}" = "sum by (target_model) (rate(${local.series.output_tokens}_sum[5m]))" } },
        { title = "Tokens by group", unit = "1/s", queries = { for way, series in { "in" = local.series.input_tokens, "out" = local.series.output_tokens } : "{{group}} ${way}" => "sum by (group) (rate(${series}_sum[5m]))" } },
        { title = "Refusals by limit", unit = "1/s", queries = { "{{limit}} {{kind}}" = "sum by (limit, kind) (rate(${local.series.limit_refusals}[5m]))" } },
        { title = "Spend by group, in USD an hour", unit = "{USD}", queries = { "{{group}}" = "sum by (group) (increase(${local.series.cost}_sum[1h]))" } },
        { title = "Spend by model, in USD an hour", unit = "{USD}", queries = { "{{target_model}}" = "sum by (target_model) (increase(${local.series.cost}_sum[1h]))" } },
        { title = "Used share of budgets, by limit", unit = "1", queries = { "{{limit}}" = "histogram_quantile(1, sum by (le, limit) (rate(${local.series.budget_used}_bucket[10m])))" } },
        { title = "Requests that could not ask the limit store", unit = "1/s", queries = { "failures" = "sum(rate(${local.series.limit_store_failures}[5m]))" } },
        { title = "Upstream tokens exchanged while a request waited", unit = "1/s", queries = { "{{upstream}}" = "sum by (upstream) (rate(${local.series.token_refreshes}[5m]))" } },
        { title = "Failed refreshes of upstream tokens", unit = "1/s", queries = { "{{credential}}" = "sum by (credential) (rate(${local.series.refresh_failures}[5m]))" } },
        { title = "Instances", unit = "1", queries = { "{{state}}" = "sum by (state) (run_googleapis_com:container_instance_count{service_name=\"${var.name}\"})" } },
        { title = "CPU of the instances, p95", unit = "1", queries = { "p95" = "histogram_quantile(0.95, sum by (le) (rate(run_googleapis_com:container_cpu_utilizations_bucket{service_name=\"${var.name}\"}[5m])))" } },
        ] : {
        xPos   = (i % 2) * 24
        yPos   = floor(i / 2) * 16
        width  = 24
        height = 16
        widget = {
          title = tile.title
          xyChart = {
            dataSets = [for legend, query in tile.queries : {
              plotType       = "LINE"
              legendTemplate = legend
              timeSeriesQuery = {
                prometheusQuery = query
                unitOverride    = tile.unit
              }
            }]
          }
        }
      }]
    }
  })
  depends_on = [google_logging_metric.counter, google_logging_metric.distribution]
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = var.alerts.emails
  project      = var.project
  display_name = each.key
  type         = "email"
  labels       = { email_address = each.key }
  depends_on   = [google_project_service.on]
}

locals {
  alerts = {
    errors = {
      title = "answers with errors"
      query = "sum(rate(${local.series.requests}{status=~\"5..\"}[10m])) / sum(rate(${local.series.requests}[10m])) > ${var.alerts.error_ratio} and sum(increase(${local.series.requests}[10m])) > 20"
      text  = "More than ${var.alerts.error_ratio} of the answers of the last 10 minutes were 5xx. The records' error_code tells whose fault: upstream_* is the provider's, credential_unavailable ours or Google's, issuer_unavailable the identity provider's. `attempts` has what each target said."
    }
    denials = {
      title = "denies more than usual"
      query = "sum(increase(${local.series.requests}{status=\"403\"}[10m])) > ${var.alerts.denials}"
      text  = "More than ${var.alerts.denials} calls were denied in 10 minutes: a client that was changed, a policy that was, or somebody trying. Group the records of status 403 by `principal`; `policies` has the forbid that decided, none means that no permit matched."
    }
    refresh = {
      title = "can't refresh an upstream token"
      query = "sum by (credential) (increase(${local.series.refresh_failures}[10m])) > 0"
      text  = "A refresh of the upstream token of this credential failed. Held tokens serve until they expire, then calls are answered 503 credential_unavailable. `cause` in the line \"token refresh failed\" says what Secret Manager or the token endpoint answered; was a key deleted before its successor was added?"
    }
    budget = {
      title = "has a budget that is nearly used"
      query = "sum by (limit) (increase(${local.series.budgets_used_up}[10m])) > 0"
      text  = "Calls of the last 10 minutes left the budget of this limit used to ${var.alerts.budget_used} or more; at 1 its groups are refused until the day or the month is over. Group the records of this `budget_limit` by `principal` and add up `cost_usd`: more work than planned, or a loop? To let more pass, raise the limit's usd_per_day or usd_per_month in the configuration and apply."
    }
    limit_store = {
      title = "can't reach its limit store"
      # Twice, because the network of a new instance may need a minute.
      query = "sum(increase(${local.series.limit_store_failures}[5m])) > 0 and sum(increase(${local.series.limit_store_failures}[5m] offset 5m)) > 0"
      text  = "In each of the last two spans of 5 minutes a call could not be counted in the limit store; until it can, budgets refuse (503 limits_unavailable) and other limits let through, unless their on_store_failure says otherwise. `limit_store_error` in the records says why: a timeout is the network or the store (Memorystore's page in the console: is it being maintained, is its memory full?), a certificate is a changed authority of the store, which the next apply passes on. Where answers matter more than money, say on_store_failure: allow and apply."
    }
    latency = {
      title = "is slow"
      query = "histogram_quantile(0.95, sum by (le) (rate(${local.series.latency}_bucket[10m]))) > ${var.alerts.p95_latency_seconds}"
      text  = "One answer in twenty took longer than ${var.alerts.p95_latency_seconds} s. Compare `first_byte_seconds`, and `attempts` of each target, with `total_seconds`: the provider, or long streams?"
    }
  }
}

resource "google_monitoring_alert_policy" "on" {
  for_each              = local.alerts
  project               = var.project
  display_name          = "${var.name} ${each.value.title}"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = [for c in google_monitoring_notification_channel.email : c.name]
  user_labels           = var.labels

  conditions {
    display_name = each.value.title
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "0s"
      evaluation_interval       = "60s"
      disable_metric_validation = true # a new log-based metric is known to Monitoring only after minutes
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.text
  }

  depends_on = [google_logging_metric.counter, google_logging_metric.distribution]
}

# Google's checkers come from the internet. Where not everybody may invoke, they bring an ID token of their own.
resource "google_monitoring_uptime_check_config" "health" {
  count        = var.function.ingress == "ALLOW_ALL" ? 1 : 0
  project      = var.project
  display_name = "${var.name} answers"
  period       = "300s"
  timeout      = "10s"

  http_check {
    path         = "/health"
    port         = 443
    use_ssl      = true
    validate_ssl = true

    dynamic "service_agent_authentication" {
      for_each = contains(var.invokers, "allUsers") ? [] : ["OIDC_TOKEN"]
      content {
        type = service_agent_authentication.value
      }
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project
      host       = trimprefix(google_cloudfunctions2_function.gateway.service_config[0].uri, "https://")
    }
  }
}

locals {
  checkers_need_invoking = var.function.ingress == "ALLOW_ALL" && !contains(var.invokers, "allUsers")
}

data "google_project" "this" {
  count      = local.checkers_need_invoking ? 1 : 0
  project_id = var.project
}

resource "google_cloud_run_v2_service_iam_member" "checkers_invoke" {
  count    = local.checkers_need_invoking ? 1 : 0
  project  = var.project
  location = var.region
  name     = google_cloudfunctions2_function.gateway.name
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${data.google_project.this[0].number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"

  depends_on = [google_monitoring_uptime_check_config.health] # Monitoring makes the account when it first needs it
}

resource "google_monitoring_alert_policy" "down" {
  count                 = length(google_monitoring_uptime_check_config.health)
  project               = var.project
  display_name          = "${var.name} does not answer"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = [for c in google_monitoring_notification_channel.email : c.name]
  user_labels           = var.labels

  conditions {
    display_name = "two regions in a row see no answer"
    condition_threshold {
      filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND resource.type=\"uptime_url\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.health[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "300s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.project_id"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "GET /health of ${google_cloudfunctions2_function.gateway.service_config[0].uri} is not answered. It needs neither token nor upstream: look at the newest revision's log (a faulty configuration ends it at start, with every fault), at who may invoke, and at Google's status page."
  }
}

# Records for those who count and those who audit: SQL over every request, without a word of a prompt.
resource "google_bigquery_dataset" "audit" {
  project                         = var.project
  dataset_id                      = "${replace(var.name, "-", "_")}_audit"
  friendly_name                   = "Audit records of ${var.name}"
  location                        = var.region
  default_partition_expiration_ms = var.audit.retention_days * 86400000
  delete_contents_on_destroy      = !var.deletion_protection
  deletion_policy                 = local.deletion_policy
  labels                          = var.labels
  depends_on                      = [google_project_service.on]
}

resource "google_logging_project_sink" "audit" {
  project                = var.project
  name                   = "${var.name}-audit"
  description            = "Audit records of ${var.name}"
  destination            = "bigquery.googleapis.com/${google_bigquery_dataset.audit.id}"
  filter                 = local.records
  unique_writer_identity = true

  bigquery_options {
    use_partitioned_tables = true
  }
}

resource "google_bigquery_dataset_iam_member" "sink_writes_records" {
  project    = var.project
  dataset_id = google_bigquery_dataset.audit.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_logging_project_sink.audit.writer_identity
}
