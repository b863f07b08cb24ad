locals {
  # Go's durations, in seconds: 55m, 1h30m, 3300s. The configuration's default is 55m.
  request_timeout = sum(concat([0], [
    for part in regexall("([0-9]+(?:\\.[0-9]+)?)(h|ms|m|s)", coalesce(try(tostring(yamldecode(var.config).server.request_timeout), null), "55m")) :
    tonumber(part[0]) * { h = 3600, m = 60, s = 1, ms = 0.001 }[part[1]]
  ]))

  archive = var.release == null ? {
    object     = google_storage_bucket_object.archive.name
    generation = google_storage_bucket_object.archive.generation
  } : var.release.archive
}

resource "google_cloudfunctions2_function" "gateway" {
  project         = var.project
  location        = var.region
  name            = var.name
  description     = "LLM gateway for machine clients"
  labels          = var.labels
  deletion_policy = local.deletion_policy

  build_config {
    runtime           = var.function.runtime
    entry_point       = "Gateway"
    service_account   = google_service_account.build.id
    docker_repository = google_artifact_registry_repository.images.id

    source {
      storage_source {
        bucket     = google_storage_bucket.source.name
        object     = local.archive.object
        generation = local.archive.generation
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.run.email
    timeout_seconds                  = var.function.timeout
    max_instance_request_concurrency = var.function.concurrency
    available_cpu                    = tostring(var.function.cpu)
    available_memory                 = var.function.memory
    min_instance_count               = var.function.min_instances
    max_instance_count               = var.function.max_instances
    ingress_settings                 = var.function.ingress
    all_traffic_on_latest_revision   = true

    environment_variables = {
      GATEWAY_CONFIG       = "/etc/gateway/config/gateway.yaml"
      GOOGLE_CLOUD_PROJECT = var.project # names the traces in audit records
      # Go's collector, left to itself, lets the heap grow to twice of what is in use, and the instance be killed for it.
      GOMEMLIMIT = "${floor(0.9 * tonumber(replace(var.function.memory, "/[MG]i$/", "")) * (endswith(var.function.memory, "Gi") ? 1024 : 1))}MiB"
    }

    dynamic "secret_environment_variables" {
      for_each = google_secret_manager_secret_version.limit_store
      iterator = variable
      content {
        key        = variable.key
        project_id = var.project
        secret     = google_secret_manager_secret.limit_store[variable.key].secret_id
        version    = variable.value.version
      }
    }

    # As the environment's folder looks, so that ../policies/gateway.cedar is true in both.
    dynamic "secret_volumes" {
      for_each = local.file_versions
      iterator = file
      content {
        mount_path = "/etc/gateway/${dirname(file.key)}"
        project_id = var.project
        secret     = local.file_secrets[file.key]
        versions {
          version = file.value
          path    = basename(file.key)
        }
      }
    }

    direct_vpc_egress = one([for n in local.networks : n.all_traffic ? "VPC_EGRESS_ALL_TRAFFIC" : "VPC_EGRESS_PRIVATE_RANGES_ONLY"])

    dynamic "direct_vpc_network_interface" {
      for_each = local.networks
      iterator = network
      content {
        network    = network.value.network
        subnetwork = network.value.subnetwork
        tags       = network.value.tags
      }
    }
  }

  lifecycle {
    precondition {
      condition     = local.request_timeout + 60 <= var.function.timeout
      error_message = "The configuration's server.request_timeout must end at least a minute before function.timeout (${var.function.timeout} s), so that the gateway, not Cloud Run, ends an answer that takes too long."
    }
    precondition {
      condition     = length(setsubtract(local.read_secrets, keys(var.credentials))) == 0
      error_message = "The configuration reads secrets of this project that credentials doesn't name: ${join(", ", setsubtract(local.read_secrets, keys(var.credentials)))}. Name them, so that they are made and the function may read them."
    }
    precondition {
      condition     = local.store_variable == null || var.limit_store != null
      error_message = "The configuration reads its limit store's address from ${coalesce(local.store_variable, "a variable")}, and nothing sets that: limit_store is null. Set limit_store = {}, or name the store in the configuration."
    }
    precondition {
      condition     = var.limit_store == null || local.store_variable == "GATEWAY_LIMIT_STORE" && local.store_ca == "GATEWAY_LIMIT_STORE_CA"
      error_message = "limit_store is made and paid for, and the configuration doesn't use it. It does so with limit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}."
    }
  }

  # A revision that starts before it may read its files, or a build before it may read its source, fails.
  depends_on = [
    google_artifact_registry_repository_iam_member.build_writes_images,
    google_project_iam_member.build_reads_staged_source,
    google_project_iam_member.build_writes_logs,
    google_project_service.on,
    google_secret_manager_secret_iam_member.run_reads_file,
    google_secret_manager_secret_iam_member.run_reads_credential,
    google_secret_manager_secret_iam_member.run_reads_limit_store,
    google_service_account_iam_member.deployer_acts_as_build,
    google_service_account_iam_member.deployer_acts_as_run,
    google_storage_bucket_iam_member.build_reads_source,
  ]
}

# A function of the second generation is a Cloud Run service, and that is what is invoked. The deployer's smoke test must
# reach it, too.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = setunion(var.invokers, contains(var.invokers, "allUsers") ? [] : ["serviceAccount:${var.deployer}"])
  project  = var.project
  location = var.region
  name     = google_cloudfunctions2_function.gateway.name
  role     = "roles/run.invoker"
  member   = each.key
}
