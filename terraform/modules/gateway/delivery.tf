# The images that Google builds from the archives.
resource "google_artifact_registry_repository" "images" {
  project                = var.project
  location               = var.region
  repository_id          = var.name
  description            = "Images of ${var.name}"
  format                 = "DOCKER"
  labels                 = var.labels
  cleanup_policy_dry_run = false

  # What keeps wins over what deletes: a rollback finds its image.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "7776000s" # 90 days, as the source bucket
    }
  }

  depends_on = [google_project_service.on]
}

resource "google_artifact_registry_repository_iam_member" "build_writes_images" {
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

resource "google_cloudbuild_trigger" "push" {
  count              = var.delivery == null ? 0 : 1
  project            = var.project
  location           = var.region
  name               = var.name
  description        = "Deploys ${var.name} from ${var.delivery.branch}"
  filename           = "cloudbuild.yaml"
  service_account    = "projects/${var.project}/serviceAccounts/${var.deployer}"
  include_build_logs = "INCLUDE_BUILD_LOGS_WITH_STATUS"

  repository_event_config {
    repository = var.delivery.repository
    push {
      branch = var.delivery.branch
    }
  }

  approval_config {
    approval_required = var.delivery.approval
  }

  substitutions = merge({
    _ENVIRONMENT    = var.delivery.environment
    _STATE_BUCKET   = var.delivery.state_bucket
    _DEPLOYER       = var.deployer
    _SMOKE_AUDIENCE = var.delivery.smoke.audience
    _SMOKE_MODEL    = var.delivery.smoke.model
    _DENIED_MODEL   = var.delivery.smoke.denied_model
  }, var.delivery.smoke.url == null ? {} : { _URL = var.delivery.smoke.url })

  depends_on = [google_project_service.on]
}
