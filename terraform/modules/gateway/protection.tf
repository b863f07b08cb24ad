# Goes first when everything is destroyed, because it depends on all that nothing else depends on; while protected it
# refuses, and nothing is touched. Without it a refused destroy would have taken the function's invokers away already.
resource "google_storage_bucket_object" "protection" {
  bucket          = google_storage_bucket.source.name
  name            = "deletion-protection.txt"
  content         = "With deletion_protection = true, terraform destroy fails at this object. Turn it off, apply, and destroy.\n"
  deletion_policy = local.deletion_policy

  depends_on = [
    google_bigquery_dataset_iam_member.sink_writes_records,
    google_cloud_run_v2_service_iam_member.checkers_invoke,
    google_cloud_run_v2_service_iam_member.invoker,
    google_cloudbuild_trigger.push,
    google_monitoring_alert_policy.down,
    google_monitoring_alert_policy.on,
    google_monitoring_dashboard.gateway,
    google_project_iam_member.upstream_calls_models,
    google_secret_manager_secret_iam_member.adder_adds_credential,
    google_secret_manager_secret_iam_member.rotator_views_versions,
    google_service_account_iam_member.rotator_makes_keys,
    google_service_account_iam_member.run_impersonates_upstream,
  ]
}
