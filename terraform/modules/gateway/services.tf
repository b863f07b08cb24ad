locals {
  # The APIs that this module and the function call. Those that only people need are not here.
  services = toset(concat([
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
    ],
    local.vertex ? ["aiplatform.googleapis.com"] : [],
    var.network == null && var.limit_store == null ? [] : ["compute.googleapis.com"],
  var.limit_store == null ? [] : ["redis.googleapis.com"]))

  vertex = anytrue([for u in values(try(yamldecode(var.config).upstreams, {})) : try(u.kind == "vertex", false)])
}

# They stay on when this is destroyed: what else the project does may need them.
resource "google_project_service" "on" {
  for_each           = local.services
  project            = var.project
  service            = each.key
  disable_on_destroy = false
}
