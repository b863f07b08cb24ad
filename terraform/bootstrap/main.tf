# Once per project, by a person who owns it: where the state lives, who deploys, and from which repository.

terraform {
  required_version = ">= 1.11"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

# They stay on when this is destroyed.
resource "google_project_service" "on" {
  for_each = toset(concat([
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
  ], var.github == null ? [] : ["cloudbuild.googleapis.com", "secretmanager.googleapis.com"]))
  service            = each.key
  disable_on_destroy = false
}
