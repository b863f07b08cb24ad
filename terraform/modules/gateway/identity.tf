# Three identities. Build turns the archive into an image, run is the function itself, deploy applies this (made by
# terraform/bootstrap). What each may do stands beside what it opens; here are the rest.

resource "google_service_account" "build" {
  project      = var.project
  account_id   = "${var.name}-build"
  display_name = "Builds ${var.name}"
  depends_on   = [google_project_service.on]
}

resource "google_service_account" "run" {
  project      = var.project
  account_id   = "${var.name}-run"
  display_name = "Runs ${var.name}"
  depends_on   = [google_project_service.on]
}

# Builds write their log, which has no narrower resource.
resource "google_project_iam_member" "build_writes_logs" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# Whoever deploys a function acts as the identities that it is built and run by.
resource "google_service_account_iam_member" "deployer_acts_as_build" {
  service_account_id = google_service_account.build.name
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${var.deployer}"
}

resource "google_service_account_iam_member" "deployer_acts_as_run" {
  service_account_id = google_service_account.run.name
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${var.deployer}"
}

# Calls Google's models, where the configuration does so with a key or by impersonation.
resource "google_service_account" "upstream" {
  count        = var.upstream_account == null ? 0 : 1
  project      = var.project
  account_id   = "${var.name}-upstream"
  display_name = "Calls models for ${var.name}"
  depends_on   = [google_project_service.on]
}

resource "google_project_iam_member" "upstream_calls_models" {
  for_each = try(var.upstream_account.roles, toset([]))
  project  = var.project
  role     = each.key
  member   = google_service_account.upstream[0].member
}

resource "google_service_account_iam_member" "run_impersonates_upstream" {
  count              = try(var.upstream_account.secret == null, false) ? 1 : 0
  service_account_id = google_service_account.upstream[0].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.run.member
}

resource "google_service_account_iam_member" "rotator_makes_keys" {
  for_each           = try(var.upstream_account.rotators, toset([]))
  service_account_id = google_service_account.upstream[0].name
  role               = "roles/iam.serviceAccountKeyAdmin"
  member             = each.key
}
