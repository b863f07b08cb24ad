variable "project" {
  description = "The id of an existing project with billing. One environment, one project."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project's id (6 to 30 lower-case letters, digits and hyphens), not its number or name."
  }
}

variable "region" {
  description = "Where the state and the builds live; the gateway's region, too."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a Google Cloud region such as europe-west4, not a zone or a multi-region."
  }
}

variable "name" {
  description = "As in modules/gateway."
  type        = string
  default     = "gateway"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 20 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "github" {
  description = "The repository to deploy from. Null: people submit builds."
  type = object({
    app_installation_id = number # of Google Cloud Build's GitHub app, at the end of its settings' address
    token_secret        = string # the secret in this project that holds the GitHub token
    remote              = string # https://github.com/acme/llm-gateway.git
  })
  default = null
  validation {
    condition     = var.github == null || try(can(regex("^https://github\\.com/[^/]+/[^/]+\\.git$", var.github.remote)) && can(regex("^[A-Za-z0-9_-]+$", var.github.token_secret)), false)
    error_message = "github.remote must be https://github.com/OWNER/REPOSITORY.git, and github.token_secret a secret's name without its path."
  }
}

variable "submitters" {
  description = "Who may act as the deployer, as builds submitted by hand do. README.md says what else gcloud builds submit takes."
  type        = set(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for m in var.submitters : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", m))])
    error_message = "submitters are IAM members such as group:platform@example.com."
  }
}

variable "upstream_roles" {
  description = "Further roles on the project that the deployer may grant: those of modules/gateway's upstream_account."
  type        = set(string)
  default     = ["roles/aiplatform.user"]
  nullable    = false
  validation {
    condition     = alltrue([for r in var.upstream_roles : can(regex("^roles/[A-Za-z0-9.]+$", r)) && !contains(["roles/owner", "roles/editor", "roles/resourcemanager.projectIamAdmin", "roles/iam.securityAdmin"], r)])
    error_message = "upstream_roles are predefined roles such as roles/aiplatform.user, and none with which the deployer could give itself more."
  }
}

variable "deletion_protection" {
  description = "Refuses to delete the state. Turn it off and apply before a destroy."
  type        = bool
  default     = true
  nullable    = false
}
