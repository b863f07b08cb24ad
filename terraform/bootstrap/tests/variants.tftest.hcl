# What the variables make. One account stands for all that Google would name.
mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/acme-gateway/serviceAccounts/an-account@acme-gateway.iam.gserviceaccount.com"
      email  = "an-account@acme-gateway.iam.gserviceaccount.com"
      member = "serviceAccount:an-account@acme-gateway.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_cloudbuildv2_repository" {
    defaults = { id = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway" }
  }
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "the_least" {
  assert {
    condition     = google_storage_bucket.state.name == "acme-gateway-gateway-state" && google_storage_bucket.state.deletion_policy == "PREVENT" && !google_storage_bucket.state.force_destroy && one(google_storage_bucket.state.versioning).enabled
    error_message = "The state isn't kept."
  }
  assert {
    condition     = length(google_cloudbuildv2_connection.github) == 0 && length(google_service_account_iam_member.submitter_acts_as_deployer) == 0
    error_message = "Something is made that nobody asked for."
  }
  assert {
    condition     = one(google_project_iam_member.deployer_grants.condition).expression == "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/aiplatform.user', 'roles/logging.logWriter', 'roles/storage.objectViewer'])"
    error_message = "The deployer may grant more, or less, than modules/gateway does."
  }
  assert {
    condition     = google_project_iam_audit_config.secrets.service == "secretmanager.googleapis.com" && one(google_project_iam_audit_config.secrets.audit_log_config).log_type == "DATA_READ"
    error_message = "Nobody would know who read a secret."
  }
  assert {
    condition     = output.state_bucket == "acme-gateway-gateway-state" && output.deployer == "an-account@acme-gateway.iam.gserviceaccount.com" && output.repository == null
    error_message = "An output says something else than there is."
  }
}

run "everything" {
  variables {
    github              = { app_installation_id = 4711, token_secret = "github-token", remote = "https://github.com/acme/llm-gateway.git" }
    submitters          = ["group:platform@example.com"]
    upstream_roles      = []
    deletion_protection = false
  }
  assert {
    condition     = keys(google_service_account_iam_member.submitter_acts_as_deployer) == ["group:platform@example.com"]
    error_message = "Who submits builds can't."
  }
  assert {
    condition     = output.repository == "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
    error_message = "repository is ${output.repository}."
  }
  assert {
    condition     = one(google_secret_manager_secret_iam_member.cloud_build_reads_token).member == "serviceAccount:service-123456789012@gcp-sa-cloudbuild.iam.gserviceaccount.com"
    error_message = "Cloud Build can't read the token."
  }
  assert {
    condition     = one(google_project_iam_member.deployer_grants.condition).expression == "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/logging.logWriter', 'roles/storage.objectViewer'])"
    error_message = "The deployer may grant more than is said."
  }
}
