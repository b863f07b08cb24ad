//go:build terraform

package terraform_test

const (
	variantMain = `
terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}

provider "google" {
  project = "acme-variants"
  region  = "europe-west4"
}

variable "archive" {
  type = any
}
variable "release" {
  type    = any
  default = null
}
variable "deletion_protection" {
  type    = bool
  default = false
}

module "gateway" {
  source              = "../../modules/gateway"
  project             = "acme-variants"
  region              = "europe-west4"
  config              = file("${path.module}/gateway.yaml")
  archive             = var.archive
  release             = var.release
  deletion_protection = var.deletion_protection
  deployer            = "gateway-deploy@acme-variants.iam.gserviceaccount.com"
%s
}

output "release" {
  value = module.gateway.release
}
`
	variantConfig = `
issuers:
  - {url: https://keycloak.example.com/realms/my-realm, audiences: [llm-gateway]}
policies: {files: [../policies/gateway.cedar]}
credentials:
  local: {api_key: {from: {secret_manager: projects/acme-variants/secrets/local/versions/latest}}}
upstreams:
  local: {kind: openai, base_url: https://models.example.com/v1, credential: local}
models:
  small:
    targets: [{upstream: local, model: small-1}]
    price: {input: 1, output: 2}
`
	permit = `"@id(\"all\") permit (principal in Group::\"team\", action, resource);"`

	minimal = `
  policies    = { "policies/gateway.cedar" = ` + permit + ` }
  credentials = { local = {} }
  invokers    = ["allUsers"]
`
	full = `
  policies = {
    "policies/gateway.cedar"       = ` + permit + `
    "policies-team/a/team-a.cedar" = ` + permit + `
  }
  credentials = {
    local  = { adders = ["group:ml-platform@example.com", "user:ada@example.com"] }
    vertex = {}
  }
  invokers = ["group:pipelines@example.com", "serviceAccount:gateway-deploy@acme-variants.iam.gserviceaccount.com"]
  upstream_account = {
    roles    = ["roles/aiplatform.user", "roles/logging.viewer"]
    secret   = "vertex"
    rotators = ["group:ml-platform@example.com"]
  }
  function = {
    concurrency   = 200
    cpu           = 2
    memory        = "2Gi"
    min_instances = 2
    max_instances = 100
  }
  network = {
    network     = "projects/acme-variants/global/networks/private"
    subnetwork  = "projects/acme-variants/regions/europe-west4/subnetworks/functions"
    all_traffic = true
    tags        = ["llm-gateway"]
  }
  delivery = {
    environment  = "full"
    state_bucket = "acme-variants-gateway-state"
    repository   = "projects/acme-variants/locations/europe-west4/connections/gateway-github/repositories/gateway"
    branch       = "^release$"
    smoke        = { audience = "llm-gateway", model = "small", denied_model = "large" }
  }
  alerts = {
    emails              = ["oncall@example.com"]
    error_ratio         = 0.01
    denials             = 5
    p95_latency_seconds = 30
    budget_used         = 0.5
  }
  audit       = { retention_days = 30 }
  labels      = { team = "ml-platform" }
  limit_store = { tier = "STANDARD_HA", memory_gb = 2 }
`
	// What counts in the store that limit_store makes.
	counted = `
limits:
  - {name: team, groups: [team], usd_per_day: 50}
limit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}
`
	// What a variant finds there.
	beforeMain = `
terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}

provider "google" {
  project = "acme-variants"
  region  = "europe-west4"
}

resource "google_project_service" "on" {
  for_each           = toset(["compute.googleapis.com", "iam.googleapis.com", "secretmanager.googleapis.com"])
  service            = each.key
  disable_on_destroy = false
}
`
	someDeployer = `
resource "google_service_account" "deploy" {
  account_id = "gateway-deploy"
  depends_on = [google_project_service.on]
}
`
	// The secret's value is a person's; write-only, it is in no state.
	networkAndToken = `
resource "google_compute_network" "private" {
  name                    = "private"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.on]
}

resource "google_compute_subnetwork" "functions" {
  name          = "functions"
  network       = google_compute_network.private.id
  ip_cidr_range = "10.0.0.0/24"
}

resource "google_secret_manager_secret" "token" {
  secret_id = "github-token"
  replication {
    auto {}
  }
  depends_on = [google_project_service.on]
}

resource "google_secret_manager_secret_version" "token" {
  secret                 = google_secret_manager_secret.token.id
  secret_data_wo         = "ghp_example"
  secret_data_wo_version = 1
}
`
)
