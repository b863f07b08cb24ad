# The function's source. An archive is named by its content, so that a change of the code, and nothing else, is a new
# object. One that is replaced stays as a noncurrent version: a rollback names it by its generation.
resource "google_storage_bucket" "source" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  deletion_policy             = local.deletion_policy
  labels                      = var.labels

  versioning {
    enabled = true
  }

  # By then the revisions that were built from it are long replaced, and they have their images.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = 90
    }
  }

  depends_on = [google_project_service.on]
}

resource "google_storage_bucket_object" "archive" {
  bucket       = google_storage_bucket.source.name
  name         = "function-${var.archive.sha256}.zip"
  source       = var.archive.path
  content_type = "application/zip"

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_storage_bucket_iam_member" "build_reads_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

# A build fetches the archive from where Google copies it to: gcf-v2-sources-NUMBER-REGION, which Google makes with the
# first function (github.com/hashicorp/terraform-provider-google/issues/20571). A bucket that isn't there yet has no policy.
resource "google_project_iam_member" "build_reads_staged_source" {
  project = var.project
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member
  condition {
    title       = "staged sources alone"
    description = "The buckets that Google copies functions' sources to, and builds them from"
    expression  = "resource.name.startsWith('projects/_/buckets/gcf-v2-sources-')"
  }
}
