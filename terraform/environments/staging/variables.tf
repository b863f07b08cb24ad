# modules/gateway/variables.tf says what each is, and judges it. It would drop attributes that it doesn't know, and say
# nothing, so that a misspelt one is said here.

variable "archive" {
  description = "From make archive: -var-file=dist/archive.tfvars.json."
  type        = any
  validation {
    condition     = length(setsubtract(try(keys(var.archive), []), ["path", "sha256"])) == 0
    error_message = "archive has no ${join(", ", setsubtract(try(keys(var.archive), []), ["path", "sha256"]))}, only path, sha256."
  }
}

variable "release" {
  description = "A rollback's: what the output of this name said before."
  type        = any
  default     = null
  validation {
    condition     = length(setsubtract(try(keys(var.release), []), ["archive", "files"])) == 0
    error_message = "release has no ${join(", ", setsubtract(try(keys(var.release), []), ["archive", "files"]))}, only archive, files."
  }
  validation {
    condition     = length(setsubtract(try(keys(var.release.archive), []), ["object", "generation"])) == 0
    error_message = "release.archive has no ${join(", ", setsubtract(try(keys(var.release.archive), []), ["object", "generation"]))}, only object, generation."
  }
}

variable "project" { type = string }
variable "region" { type = string }
variable "deployer" { type = string }
variable "invokers" { type = set(string) }
variable "credentials" {
  type = any
  validation {
    condition     = length(setsubtract(try(flatten([for c in values(var.credentials) : keys(c)]), []), ["adders"])) == 0
    error_message = "a credential has no ${join(", ", setsubtract(try(flatten([for c in values(var.credentials) : keys(c)]), []), ["adders"]))}, only adders."
  }
}

variable "upstream_account" {
  type    = any
  default = null
  validation {
    condition     = length(setsubtract(try(keys(var.upstream_account), []), ["roles", "secret", "rotators"])) == 0
    error_message = "upstream_account has no ${join(", ", setsubtract(try(keys(var.upstream_account), []), ["roles", "secret", "rotators"]))}, only roles, secret, rotators."
  }
}

variable "delivery" {
  type    = any
  default = null
  validation {
    condition     = length(setsubtract(try(keys(var.delivery), []), ["environment", "state_bucket", "repository", "branch", "approval", "smoke"])) == 0
    error_message = "delivery has no ${join(", ", setsubtract(try(keys(var.delivery), []), ["environment", "state_bucket", "repository", "branch", "approval", "smoke"]))}, only environment, state_bucket, repository, branch, approval, smoke."
  }
  validation {
    condition     = length(setsubtract(try(keys(var.delivery.smoke), []), ["audience", "model", "denied_model", "url"])) == 0
    error_message = "delivery.smoke has no ${join(", ", setsubtract(try(keys(var.delivery.smoke), []), ["audience", "model", "denied_model", "url"]))}, only audience, model, denied_model, url."
  }
}

variable "function" {
  type    = any
  default = {}
  validation {
    condition     = length(setsubtract(try(keys(var.function), []), ["runtime", "timeout", "concurrency", "cpu", "memory", "min_instances", "max_instances", "ingress"])) == 0
    error_message = "function has no ${join(", ", setsubtract(try(keys(var.function), []), ["runtime", "timeout", "concurrency", "cpu", "memory", "min_instances", "max_instances", "ingress"]))}, only runtime, timeout, concurrency, cpu, memory, min_instances, max_instances, ingress."
  }
}

variable "network" {
  type    = any
  default = null
  validation {
    condition     = length(setsubtract(try(keys(var.network), []), ["network", "subnetwork", "all_traffic", "tags"])) == 0
    error_message = "network has no ${join(", ", setsubtract(try(keys(var.network), []), ["network", "subnetwork", "all_traffic", "tags"]))}, only network, subnetwork, all_traffic, tags."
  }
}

variable "limit_store" {
  type    = any
  default = null
  validation {
    condition     = length(setsubtract(try(keys(var.limit_store), []), ["memory_gb", "tier", "range"])) == 0
    error_message = "limit_store has no ${join(", ", setsubtract(try(keys(var.limit_store), []), ["memory_gb", "tier", "range"]))}, only memory_gb, tier, range."
  }
}

variable "alerts" {
  type    = any
  default = {}
  validation {
    condition     = length(setsubtract(try(keys(var.alerts), []), ["emails", "error_ratio", "denials", "p95_latency_seconds", "budget_used"])) == 0
    error_message = "alerts has no ${join(", ", setsubtract(try(keys(var.alerts), []), ["emails", "error_ratio", "denials", "p95_latency_seconds", "budget_used"]))}, only emails, error_ratio, denials, p95_latency_seconds, budget_used."
  }
}

variable "audit" {
  type    = any
  default = {}
  validation {
    condition     = length(setsubtract(try(keys(var.audit), []), ["retention_days"])) == 0
    error_message = "audit has no ${join(", ", setsubtract(try(keys(var.audit), []), ["retention_days"]))}, only retention_days."
  }
}

variable "deletion_protection" {
  type    = bool
  default = false
}
