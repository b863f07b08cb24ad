# Where all instances count the configuration's limits together: a Memorystore for Redis.
locals {
  # What the configuration says of them, if anything.
  has_limits       = try(length(yamldecode(var.config).limits), 0) > 0
  configured_store = try(yamldecode(var.config).limit_store, null)
  counts_in_memory = local.configured_store == null || local.configured_store == "memory"
  store_variable   = try(tostring(local.configured_store.url_env), null)
  store_ca         = try(tostring(local.configured_store.ca.env), null)

  # What the function is told of the store.
  store_variables = merge([for s in google_redis_instance.limits : {
    GATEWAY_LIMIT_STORE    = "rediss://${s.host}:${s.port}"
    GATEWAY_LIMIT_STORE_CA = join("\n", [for c in s.server_ca_certs : trimspace(c.cert)])
  }]...)
}

# Of another tier or in another network it is another store, which is there before the function leaves the former one, and
# so has another name.
resource "google_redis_instance" "limits" {
  count          = var.limit_store == null ? 0 : 1
  project        = var.project
  region         = var.region
  name           = "${var.name}-limits-${substr(sha1(jsonencode([var.limit_store.tier, try(var.network.network, null)])), 0, 6)}"
  display_name   = "What ${var.name} counts for its limits"
  tier           = var.limit_store.tier
  memory_size_gb = var.limit_store.memory_gb
  redis_version  = "REDIS_7_2"
  # Every key expires, so that a full memory would forget budgets first. Errors are better: they are seen.
  redis_configs      = { maxmemory-policy = "noeviction" }
  authorized_network = local.networks[0].network
  # Only private service access reaches into another project's network; whoever has that network has set it up.
  connect_mode            = try(startswith(var.network.network, "projects/${var.project}/"), true) ? "DIRECT_PEERING" : "PRIVATE_SERVICE_ACCESS"
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  # The provider would read the AUTH string and keep it in the state, where nothing secret may be. Who can reach the store
  # is a matter of its network; modules/gateway/README.md says what to do in a shared one.
  auth_enabled    = false
  labels          = var.labels
  deletion_policy = local.deletion_policy

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.on]
}

# An address and certificates: no secrets, and given as such all the same. Plain variables that are known only once the
# store is made are more than the provider can plan for a function that exists: its first apply would fail
# (github.com/hashicorp/terraform-provider-google/issues/22497).
resource "google_secret_manager_secret" "limit_store" {
  for_each  = local.store_variables
  project   = var.project
  secret_id = "${var.name}-${lower(replace(trimprefix(each.key, "GATEWAY_"), "_", "-"))}"
  labels    = var.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  lifecycle {
    create_before_destroy = true # goes after the function has left it
  }

  depends_on = [google_project_service.on]
}

resource "google_secret_manager_secret_version" "limit_store" {
  for_each        = local.store_variables
  secret          = google_secret_manager_secret.limit_store[each.key].id
  secret_data     = each.value
  deletion_policy = "ABANDON"

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "run_reads_limit_store" {
  for_each  = local.store_variables
  project   = var.project
  secret_id = google_secret_manager_secret.limit_store[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member

  lifecycle {
    create_before_destroy = true # goes after the function has left it
  }
}

check "limits_are_counted_together" {
  assert {
    condition     = !local.has_limits || !local.counts_in_memory || var.function.max_instances == 1
    error_message = "The configuration has limits, and each of up to ${var.function.max_instances} instances counts for itself: up to ${var.function.max_instances} times each limit can pass. Have limit_store made and named in the configuration, or set function.max_instances = 1."
  }
}
