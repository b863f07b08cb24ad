locals {
  # The configuration and each policy file are secrets, because that is how a function gets files. Their texts are no secret.
  files = merge({ "config/gateway.yaml" = var.config }, var.policies)
  # policies/team-a/team-a.cedar is gateway-policies-team-a-team-a
  file_secrets = { for path in keys(local.files) : path => "${var.name}-${replace(trimsuffix(trimsuffix(path, ".yaml"), ".cedar"), "/", "-")}" }
  # The versions that the function serves.
  file_versions = var.release == null ? { for path, v in google_secret_manager_secret_version.file : path => v.version } : var.release.files

  # The secrets of this project that the configuration reads; what a comment names it doesn't.
  read_secrets = toset(flatten(regexall("projects/${var.project}/secrets/([^/\"]+)/versions/", jsonencode(yamldecode(var.config)))))

  deletion_policy = var.deletion_protection ? "PREVENT" : "DELETE"
}

resource "google_secret_manager_secret" "file" {
  for_each  = local.files
  project   = var.project
  secret_id = local.file_secrets[each.key]
  labels    = var.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(distinct(values(local.file_secrets))) == length(local.file_secrets) && !contains(keys(var.credentials), local.file_secrets[each.key])
      error_message = "The secret ${local.file_secrets[each.key]} holds ${each.key}; a credential or another file may not have that name too."
    }
  }

  depends_on = [google_project_service.on]
}

# A changed file is a further version. The former one outlives it, enabled, because the former revision reads it for as
# long as it serves, and a rollback names it.
resource "google_secret_manager_secret_version" "file" {
  for_each        = local.files
  secret          = google_secret_manager_secret.file[each.key].id
  secret_data     = each.value
  deletion_policy = "ABANDON"

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "run_reads_file" {
  for_each  = local.files
  project   = var.project
  secret_id = google_secret_manager_secret.file[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

# Containers alone: their values never come near Terraform.
resource "google_secret_manager_secret" "credential" {
  for_each            = var.credentials
  project             = var.project
  secret_id           = each.key
  labels              = var.labels
  deletion_protection = var.deletion_protection

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.on]
}

resource "google_secret_manager_secret_iam_member" "run_reads_credential" {
  for_each  = var.credentials
  project   = var.project
  secret_id = google_secret_manager_secret.credential[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

resource "google_secret_manager_secret_iam_member" "adder_adds_credential" {
  for_each = merge([for secret, c in var.credentials : {
    for member in setunion(c.adders, try(var.upstream_account.secret == secret ? var.upstream_account.rotators : [], [])) : "${secret} ${member}" => { secret = secret, member = member }
  }]...)
  project   = var.project
  secret_id = google_secret_manager_secret.credential[each.value.secret].secret_id
  role      = "roles/secretmanager.secretVersionAdder"
  member    = each.value.member
}

# rotate-key.sh compares the age of the newest version with the newest key's. It sees no value.
resource "google_secret_manager_secret_iam_member" "rotator_views_versions" {
  for_each  = try(var.upstream_account.rotators, toset([]))
  project   = var.project
  secret_id = google_secret_manager_secret.credential[var.upstream_account.secret].secret_id
  role      = "roles/secretmanager.viewer"
  member    = each.key
}
