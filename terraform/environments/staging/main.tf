# Facts are in terraform.tfvars, config/ and policies/; resources in modules/gateway.
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

module "gateway" {
  source  = "../../modules/gateway"
  project = var.project
  region  = var.region

  config   = file("${path.module}/config/gateway.yaml")
  policies = { "policies/gateway.cedar" = file("${path.module}/policies/gateway.cedar") }
  archive  = var.archive
  release  = var.release

  credentials      = var.credentials
  upstream_account = var.upstream_account
  invokers         = var.invokers
  deployer         = var.deployer
  delivery         = var.delivery
  function         = var.function
  network          = var.network
  limit_store      = var.limit_store
  alerts           = var.alerts
  audit            = var.audit

  labels              = { app = "llm-gateway", environment = "staging" }
  deletion_protection = var.deletion_protection
}

output "url" {
  value = module.gateway.url
}

output "release" {
  value = module.gateway.release
}

output "upstream_account" {
  value = module.gateway.upstream_account
}

output "dashboard" {
  value = module.gateway.dashboard
}
