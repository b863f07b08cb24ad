# Applies terraform/environments/…; the identity of the builds.
resource "google_service_account" "deploy" {
  project      = var.project
  account_id   = "${var.name}-deploy"
  display_name = "Deploys ${var.name}"
  depends_on   = [google_project_service.on]
}

# What modules/gateway makes it must be able to make, change and delete. That is much: secretmanager.admin reads secrets'
# values, and a role without that would gain little, because who may say who reads a secret can read it. So builds run
# from one branch, on approval, nobody holds a key of this account, and each reading is logged.
resource "google_project_iam_member" "deployer_makes" {
  for_each = toset([
    "roles/artifactregistry.admin",         # the images' repository, and who writes there
    "roles/bigquery.dataOwner",             # the records' dataset
    "roles/cloudbuild.builds.editor",       # the trigger
    "roles/cloudfunctions.developer",       # the function
    "roles/compute.networkAdmin",           # the limit store's network
    "roles/iam.serviceAccountAdmin",        # the build and run identities, and who acts as them
    "roles/logging.configWriter",           # metrics and sink
    "roles/logging.logWriter",              # its builds' own log
    "roles/monitoring.editor",              # dashboard, alerts, uptime check
    "roles/redis.admin",                    # the limit store
    "roles/run.admin",                      # who may invoke
    "roles/secretmanager.admin",            # the files, and the credentials' containers
    "roles/serviceusage.serviceUsageAdmin", # the APIs
    "roles/storage.admin",                  # the source bucket, and the state
  ])
  project = var.project
  role    = each.key
  member  = google_service_account.deploy.member
}

# Of the project's own policy it may give and take these roles alone, so that it can't make itself the owner.
resource "google_project_iam_member" "deployer_grants" {
  project = var.project
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.deploy.member
  condition {
    title       = "listed roles alone"
    description = "What modules/gateway grants on the project: log writing and source reading for builds, and the roles of upstream_account"
    expression  = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", [for r in sort(setunion(["roles/logging.logWriter", "roles/storage.objectViewer"], var.upstream_roles)) : "'${r}'"])}])"
  }
}

# Google logs who changes policies in any case, and who reads a secret's value only where it is told to.
resource "google_project_iam_audit_config" "secrets" {
  project = var.project
  service = "secretmanager.googleapis.com"
  audit_log_config {
    log_type = "DATA_READ"
  }

  depends_on = [google_project_service.on]
}

# The trigger runs builds as it, and so it must act as itself.
resource "google_service_account_iam_member" "deployer_acts_as_itself" {
  service_account_id = google_service_account.deploy.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deploy.member
}

# The smoke test calls the gateway with an ID token of its own, and no other of its tokens can be minted so.
resource "google_service_account_iam_member" "deployer_mints_its_id_tokens" {
  service_account_id = google_service_account.deploy.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = google_service_account.deploy.member
}

# Who submits builds by hand acts as it. What else that takes, README.md says.
resource "google_service_account_iam_member" "submitter_acts_as_deployer" {
  for_each           = var.submitters
  service_account_id = google_service_account.deploy.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}
