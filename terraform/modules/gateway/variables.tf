variable "project" {
  description = "The project that holds everything. One environment, one project: IAM, quotas and audit then need no further border."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project's id (6 to 30 lower-case letters, digits and hyphens), not its number or name."
  }
}

variable "region" {
  description = "Where the function, its images and its records live."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a Google Cloud region such as europe-west4, not a zone or a multi-region."
  }
}

variable "name" {
  description = "The function's name, and the beginning of the names of what belongs to it. Changing it makes everything anew."
  type        = string
  default     = "gateway"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 20 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen: service accounts add to it, and have 6 to 30."
  }
}

variable "config" {
  description = "The text of the configuration, docs/gateway.yaml, as the environment's config/gateway.yaml has it."
  type        = string
  nullable    = false
  validation {
    condition     = can(yamldecode(var.config).models)
    error_message = "config must be the text of a gateway.yaml with models; `gateway check` finds its faults."
  }
  validation {
    # length counts characters; in base64, and without what fills it up, 64 KiB are 87382
    condition     = length(trim(base64encode(var.config), "=")) <= 87382
    error_message = "config is over 64 KiB, the most that a version of a secret holds. Move what can be said once (models' prices, issuers) to one place, or split the gateway."
  }
}

variable "policies" {
  description = "The text of each policy file, by its path beside the configuration's folder: {\"policies/gateway.cedar\" = file(…)}."
  type        = map(string)
  nullable    = false
  validation {
    condition     = length(var.policies) > 0 && alltrue([for path in keys(var.policies) : can(regex("^[a-z0-9-]+(/[a-z0-9-]+)*/[a-z0-9-]+\\.cedar$", path))])
    error_message = "policies needs at least one file; each path is folder/file.cedar in lower-case letters, digits and hyphens, such as policies/gateway.cedar."
  }
  validation {
    condition = length(distinct([for path in keys(var.policies) : dirname(path)])) == length(var.policies) && alltrue([
      for a in keys(var.policies) : alltrue([for b in concat(keys(var.policies), ["config/gateway.yaml"]) : a == b || !startswith("${dirname(b)}/", "${dirname(a)}/")])
    ])
    error_message = "each policy file needs a folder of its own, not config and not within another's: a mounted secret hides whatever else is in its folder."
  }
  validation {
    condition     = alltrue([for text in values(var.policies) : length(trim(base64encode(text), "=")) <= 87382])
    error_message = "a policy file is over 64 KiB, the most that a version of a secret holds. Split it: policies/team-a/team-a.cedar, policies/team-b/team-b.cedar …"
  }
}

variable "archive" {
  description = "The function's source, as `make archive` writes it, and its SHA-256 in hexadecimal."
  type = object({
    path   = string
    sha256 = string
  })
  nullable = false
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.archive.sha256))
    error_message = "archive.sha256 must be the 64 hexadecimal digits that `make archive` writes to dist/archive.tfvars.json."
  }
  validation {
    condition     = try(!fileexists(var.archive.path), false) || try(filesha256(var.archive.path) == var.archive.sha256, false)
    error_message = "archive.sha256 is not the hash of the file at archive.path. Run `make archive` and pass -var-file=dist/archive.tfvars.json."
  }
  validation {
    condition     = !startswith(var.archive.path, "/")
    error_message = "archive.path is relative to the environment's folder, as `make archive` writes it: where another checkout has another path for the same archive, the provider deletes the object that is served from."
  }
}

variable "release" {
  description = "What the output `release` said before a change: serves that archive and those files again instead of the present ones. Null: the present ones."
  type = object({
    archive = object({ object = string, generation = number })
    files   = map(string)
  })
  default = null
  validation {
    condition     = var.release == null || try(toset(keys(var.release.files)) == toset(concat(["config/gateway.yaml"], keys(var.policies))), false)
    error_message = "release names other files than config/gateway.yaml and the policies of now. A release that adds or removes a policy file can't be taken back by `release`: apply the former commit."
  }
  validation {
    condition     = var.release == null || try(length(var.release.archive.object) > 0 && var.release.archive.generation > 0 && alltrue([for v in values(var.release.files) : can(regex("^[1-9][0-9]*$", v))]), false)
    error_message = "release is what the output `release` said: the archive's object and generation, and each file's version by its number; never `latest`, which would go back to nothing."
  }
}

variable "credentials" {
  description = "The secrets that the configuration's credentials read, by name, and who may add versions of each. Values never come from here: they are added with `gcloud secrets versions add`."
  type = map(object({
    adders = optional(set(string), [])
  }))
  default  = {}
  nullable = false
  validation {
    condition     = alltrue([for name in keys(var.credentials) : can(regex("^[A-Za-z0-9_-]{1,255}$", name))])
    error_message = "a credential's secret is named with letters, digits, hyphens and underscores alone, such as openai: no slash, no projects/…; the project is this one."
  }
  validation {
    condition     = alltrue([for c in values(var.credentials) : try(alltrue([for m in c.adders : can(regex("^(user|group|serviceAccount|principal|principalSet):.+", m))]), false)])
    error_message = "a credential is {} or { adders = […] }; adders are IAM members such as group:ml-platform@example.com, never everybody."
  }
}

variable "invokers" {
  description = "Who may reach the function at all. allUsers lets Google's front end pass every request to the gateway, which verifies the caller's token itself; anybody else presents a Google ID token in X-Serverless-Authorization besides."
  type        = set(string)
  nullable    = false
  validation {
    condition     = length(var.invokers) > 0 && alltrue([for m in var.invokers : can(regex("^(allUsers|allAuthenticatedUsers|(user|group|serviceAccount|domain|principal|principalSet):.+)$", m))])
    error_message = "invokers needs at least one IAM member: allUsers (the gateway checks every token itself), or serviceAccount:…, group:…, principalSet:…"
  }
}

variable "deployer" {
  description = "The service account that applies this, as bootstrap's output names it."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]+@[a-z][a-z0-9-]+\\.iam\\.gserviceaccount\\.com$", var.deployer))
    error_message = "deployer must be a service account's address, such as gateway-deploy@acme-staging.iam.gserviceaccount.com; terraform/bootstrap prints it."
  }
}

variable "function" {
  description = "How the function runs. The defaults are for streams: Google's own are 60 s and one request an instance, which would cut streams and spoil every cache."
  type = object({
    runtime       = optional(string, "go126")
    timeout       = optional(number, 3600) # seconds, for a whole answer; the configuration's request_timeout must end before
    concurrency   = optional(number, 80)   # requests an instance serves at once
    cpu           = optional(number, 1)
    memory        = optional(string, "1Gi") # max_buffered, and some 300 MiB for the strict reading of one body of 32 MiB; with less, lower max_body and max_buffered
    min_instances = optional(number, 0)
    max_instances = optional(number, 10)
    ingress       = optional(string, "ALLOW_ALL")
  })
  default  = {}
  nullable = false
  validation {
    condition     = can(regex("^go1(2[6-9]|[3-9][0-9])$", var.function.runtime))
    error_message = "function.runtime must be go126 or later: go.mod says go 1.26."
  }
  validation {
    condition     = var.function.timeout >= 60 && var.function.timeout <= 3600 && floor(var.function.timeout) == var.function.timeout
    error_message = "function.timeout is in whole seconds, from 60 to 3600: an hour is Google's most."
  }
  validation {
    condition     = var.function.concurrency >= 1 && var.function.concurrency <= 1000 && floor(var.function.concurrency) == var.function.concurrency
    error_message = "function.concurrency is the number of requests that an instance serves at once, from 1 to 1000."
  }
  validation {
    condition     = contains([0.083, 0.167, 0.333, 0.583, 1, 2, 4, 6, 8], var.function.cpu)
    error_message = "function.cpu must be 1, 2, 4, 6 or 8, or with a concurrency of 1 one of 0.083, 0.167, 0.333 and 0.583."
  }
  validation {
    condition     = var.function.concurrency == 1 || var.function.cpu >= 1
    error_message = "function.concurrency over 1 needs function.cpu of at least 1: Cloud Run serves one request at a time on less."
  }
  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", var.function.memory))
    error_message = "function.memory is in Mi or Gi, such as 1Gi."
  }
  validation {
    condition     = var.function.min_instances >= 0 && var.function.max_instances >= 1 && var.function.max_instances >= var.function.min_instances && var.function.max_instances <= 1000
    error_message = "function.max_instances must be from 1 to 1000 and not below function.min_instances."
  }
  validation {
    condition     = contains(["ALLOW_ALL", "ALLOW_INTERNAL_AND_GCLB", "ALLOW_INTERNAL_ONLY"], var.function.ingress)
    error_message = "function.ingress must be ALLOW_ALL, ALLOW_INTERNAL_AND_GCLB (behind a load balancer) or ALLOW_INTERNAL_ONLY."
  }
}

variable "network" {
  description = "A subnetwork through which the function calls private upstreams, identity providers and a limit store (Direct VPC egress). Null: by the internet alone, and limit_store has a network of its own."
  type = object({
    network     = string
    subnetwork  = string
    all_traffic = optional(bool, false) # true: public addresses too, by the network's NAT
    tags        = optional(set(string), [])
  })
  default = null
  validation {
    condition     = var.network == null || try(can(regex("^projects/[^/]+/global/networks/[^/]+$", var.network.network)) && can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", var.network.subnetwork)), false)
    error_message = "network.network and network.subnetwork are full names: projects/P/global/networks/N and projects/P/regions/R/subnetworks/S."
  }
  validation {
    condition     = var.network == null || try(split("/", var.network.subnetwork)[3] == var.region, true)
    error_message = "network.subnetwork must be in the function's region."
  }
}

variable "limit_store" {
  description = "A Memorystore for Redis in which all instances count the configuration's limits together; {} is the smallest. Null: none is made, and each instance counts for itself or in a store that the configuration names."
  type = object({
    memory_gb = optional(number, 1) # holds the counts of millions of clients
    tier      = optional(string, "BASIC")
    range     = optional(string) # of its own subnetwork, 10.0.0.0/20 unless said; later it can grow, and nothing else
  })
  default = null
  validation {
    condition     = var.limit_store == null || try(contains(["BASIC", "STANDARD_HA"], var.limit_store.tier), false)
    error_message = "limit_store.tier must be BASIC, which forgets what was counted when it fails or is maintained, or STANDARD_HA, which has a replica and costs more."
  }
  validation {
    condition     = var.limit_store == null || try(var.limit_store.memory_gb >= 1 && var.limit_store.memory_gb <= 300 && floor(var.limit_store.memory_gb) == var.limit_store.memory_gb, false)
    error_message = "limit_store.memory_gb is from 1 to 300 whole GB."
  }
  validation {
    condition     = try(var.limit_store.range, null) == null || try(tonumber(split("/", var.limit_store.range)[1]) <= 26 && cidrsubnet(var.limit_store.range, 0, 0) == var.limit_store.range && can(regex("^(10|172\\.(1[6-9]|2[0-9]|3[01])|192\\.168)\\.", var.limit_store.range)), false)
    error_message = "limit_store.range must be a private range such as 10.0.0.0/20, of 26 bits or fewer and without bits beyond them: Cloud Run takes addresses by the 16."
  }
  validation {
    condition     = try(var.limit_store.range, null) == null || var.network == null
    error_message = "limit_store.range is of the network that is made where network is null. The given network has its subnetwork already."
  }
}

variable "upstream_account" {
  description = "A service account for calls to Google's models. With `secret`, its key goes there by rotate-key.sh, never through Terraform; without, the function impersonates it and no key exists. Null: none."
  type = object({
    roles    = optional(set(string), ["roles/aiplatform.user"])
    secret   = optional(string)
    rotators = optional(set(string), []) # who may run rotate-key.sh
  })
  default = null
  validation {
    condition     = var.upstream_account == null || try(var.upstream_account.secret == null ? true : contains(keys(var.credentials), var.upstream_account.secret), false)
    error_message = "upstream_account.secret must be the name of one of credentials: its key is kept there."
  }
  validation {
    condition     = var.upstream_account == null || try(length(var.upstream_account.rotators) == 0 || var.upstream_account.secret != null, false)
    error_message = "upstream_account.rotators rotate a key; without upstream_account.secret there is none."
  }
  validation {
    condition     = var.upstream_account == null || try(alltrue([for r in var.upstream_account.roles : can(regex("^roles/[A-Za-z0-9.]+$", r)) && !contains(["roles/owner", "roles/editor", "roles/viewer"], r)]), false)
    error_message = "upstream_account.roles are predefined roles of this project such as roles/aiplatform.user; owner, editor and viewer are far more than a call to a model needs."
  }
}

variable "delivery" {
  description = "Deploys each push to a branch by cloudbuild.yaml. Null: people do, with `gcloud builds submit`."
  type = object({
    environment  = string # the folder in terraform/environments
    state_bucket = string
    repository   = string # as bootstrap's output names it
    branch       = optional(string, "^main$")
    approval     = optional(bool, true) # somebody says yes before a build runs
    smoke = object({
      audience     = string           # one that the configuration's issuer for the deployer's ID tokens expects
      model        = string           # one that the deployer may use
      denied_model = string           # one that it may not
      url          = optional(string) # where clients call, if not at the function's own URL
    })
  })
  default = null
  validation {
    condition     = var.delivery == null || try(var.delivery.environment == basename(abspath(path.root)), false)
    error_message = "delivery.environment must be ${basename(abspath(path.root))}, the folder of terraform/environments that it is said in: builds apply that one."
  }
  validation {
    condition     = var.delivery == null || try(can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.delivery.repository)), false)
    error_message = "delivery.repository must be projects/P/locations/R/connections/C/repositories/N, as terraform/bootstrap prints it."
  }
  validation {
    condition     = var.delivery == null || try(alltrue([for v in [var.delivery.smoke.audience, var.delivery.smoke.model, var.delivery.smoke.denied_model] : length(trimspace(v)) > 0]) && length(trimspace(var.delivery.state_bucket)) > 0 && length(var.delivery.branch) > 0, false)
    error_message = "delivery.state_bucket, delivery.branch and smoke's audience, model and denied_model must not be empty: the smoke test proves with them that a call is allowed and another denied."
  }
  validation {
    condition     = var.delivery == null || try(var.delivery.smoke.model != var.delivery.smoke.denied_model, false)
    error_message = "delivery.smoke's model and denied_model must differ: one is allowed, the other is not."
  }
  validation {
    condition     = var.delivery == null || try(var.delivery.smoke.url == null ? true : can(regex("^https://[a-z0-9.-]+$", var.delivery.smoke.url)), false)
    error_message = "delivery.smoke.url is https:// and a domain, without a path, such as https://llm.example.com; leave it out where clients call the function's own URL."
  }
}

variable "alerts" {
  description = "When to tell whom."
  type = object({
    emails              = optional(set(string), [])
    error_ratio         = optional(number, 0.05) # answers of 5xx among all, over 10 minutes
    denials             = optional(number, 50)   # answers of 403 in 10 minutes
    p95_latency_seconds = optional(number, 60)   # of whole answers, streams included
    budget_used         = optional(number, 0.8)  # of a limit's money for the day or month; 1 is all of it
  })
  default  = {}
  nullable = false
  validation {
    condition     = alltrue([for e in var.alerts.emails : can(regex("^[^@\\s]+@[^@\\s]+$", e))])
    error_message = "alerts.emails are addresses such as oncall@example.com."
  }
  validation {
    condition     = var.alerts.error_ratio > 0 && var.alerts.error_ratio < 1 && var.alerts.denials > 0 && var.alerts.p95_latency_seconds > 0
    error_message = "alerts.error_ratio is between 0 and 1 (0.05 is five in a hundred); denials and p95_latency_seconds are above 0."
  }
  validation {
    condition     = var.alerts.budget_used > 0 && var.alerts.budget_used <= 1
    error_message = "alerts.budget_used is a share, above 0 and at most 1: 0.8 is eighty in a hundred, 1 tells when nothing is left."
  }
}

variable "audit" {
  description = "How long audit records are kept in BigQuery."
  type = object({
    retention_days = optional(number, 400)
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.audit.retention_days >= 1 && var.audit.retention_days <= 3650 && floor(var.audit.retention_days) == var.audit.retention_days
    error_message = "audit.retention_days is from 1 to 3650 whole days."
  }
}

variable "labels" {
  description = "Labels of everything that bears labels."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for k, v in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", k)) && can(regex("^[a-z0-9_-]{0,63}$", v))])
    error_message = "labels are lower-case letters, digits, hyphens and underscores, 63 at most, and begin with a letter."
  }
}

variable "deletion_protection" {
  description = "Refuses to delete the function, its source, secrets and records. Turn it off and apply before a destroy."
  type        = bool
  default     = true
  nullable    = false
}
