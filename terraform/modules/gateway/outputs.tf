output "url" {
  description = "Where clients call. Their SDK's base URL is this and /v1, or what the provider's has below its host."
  value       = google_cloudfunctions2_function.gateway.service_config[0].uri
}

output "release" {
  description = "What is served: give it to the variable of the same name to come back to it."
  value = {
    archive = { object = local.archive.object, generation = local.archive.generation }
    files   = local.file_versions
  }
}

output "run_identity" {
  description = "The identity that the function calls Google with; grant it what lies outside this project."
  value       = google_service_account.run.email
}

output "upstream_account" {
  description = "The account that rotate-key.sh makes keys of, or that the configuration impersonates."
  value       = one(google_service_account.upstream[*].email)
}

output "credentials" {
  description = "How the configuration names each secret."
  value       = { for name, s in google_secret_manager_secret.credential : name => "projects/${var.project}/secrets/${s.secret_id}/versions/latest" }
}

output "dashboard" {
  description = "Traffic, denials, latency and tokens, in the console."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${element(split("/", google_monitoring_dashboard.gateway.id), 3)}?project=${var.project}"
}

output "audit_dataset" {
  description = "The BigQuery dataset of the audit records."
  value       = "${var.project}.${google_bigquery_dataset.audit.dataset_id}"
}
