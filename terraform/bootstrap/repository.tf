# The repository whose pushes are deployed. The token's secret is made by hand, once: see README.md.
data "google_project" "this" {
  count      = var.github == null ? 0 : 1
  project_id = var.project
}

resource "google_secret_manager_secret_iam_member" "cloud_build_reads_token" {
  count     = var.github == null ? 0 : 1
  project   = var.project
  secret_id = var.github.token_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:service-${data.google_project.this[0].number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"

  depends_on = [google_project_service.on]
}

resource "google_cloudbuildv2_connection" "github" {
  count    = var.github == null ? 0 : 1
  project  = var.project
  location = var.region
  name     = "${var.name}-github"

  github_config {
    app_installation_id = var.github.app_installation_id
    authorizer_credential {
      oauth_token_secret_version = "projects/${var.project}/secrets/${var.github.token_secret}/versions/latest"
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.cloud_build_reads_token]
}

resource "google_cloudbuildv2_repository" "gateway" {
  count             = var.github == null ? 0 : 1
  project           = var.project
  location          = var.region
  name              = var.name
  parent_connection = google_cloudbuildv2_connection.github[0].name
  remote_uri        = var.github.remote
}
