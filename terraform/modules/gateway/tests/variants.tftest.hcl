# What the variables make. What Google would give is this; one account stands for all.
mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/acme-gateway/serviceAccounts/an-account@acme-gateway.iam.gserviceaccount.com"
      email  = "an-account@acme-gateway.iam.gserviceaccount.com"
      member = "serviceAccount:an-account@acme-gateway.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_logging_project_sink" {
    defaults = { writer_identity = "serviceAccount:service-123456789012@gcp-sa-logging.iam.gserviceaccount.com" }
  }
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      service_config = { uri = "https://gateway-4711.europe-west4.run.app" }
    }
  }
  mock_resource "google_secret_manager_secret_version" {
    defaults = { version = "7" }
  }
  mock_resource "google_storage_bucket_object" {
    defaults = { generation = 1700000000000001 }
  }
  mock_resource "google_compute_network" {
    defaults = { id = "projects/acme-gateway/global/networks/gateway-limits" }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = { id = "projects/acme-gateway/regions/europe-west4/subnetworks/gateway-limits" }
  }
  mock_resource "google_redis_instance" {
    defaults = { host = "10.127.0.3", port = 6378, server_ca_certs = [{ cert = "the old authority\n" }, { cert = "the new authority\n" }] }
  }
  mock_resource "google_monitoring_dashboard" {
    defaults = { id = "projects/123456789012/dashboards/4711" }
  }
}

run "the_least" {
  assert {
    condition     = one(google_cloudfunctions2_function.gateway.service_config).timeout_seconds == 3600 && one(google_cloudfunctions2_function.gateway.service_config).max_instance_request_concurrency == 80 && one(google_cloudfunctions2_function.gateway.service_config).available_cpu == "1"
    error_message = "A function that streams has an hour, and many requests an instance."
  }
  assert {
    condition     = { for v in one(google_cloudfunctions2_function.gateway.service_config).secret_volumes : "${v.mount_path}/${one(v.versions).path}" => "${v.secret} ${one(v.versions).version}" } == { "/etc/gateway/config/gateway.yaml" = "gateway-config-gateway 7", "/etc/gateway/policies/gateway.cedar" = "gateway-policies-gateway 7" }
    error_message = "Each file is mounted where the configuration looks for it, in a version by its number."
  }
  assert {
    condition     = one(google_cloudfunctions2_function.gateway.service_config).environment_variables.GATEWAY_CONFIG == "/etc/gateway/config/gateway.yaml"
    error_message = "The function doesn't know its configuration."
  }
  assert {
    condition     = one(google_cloudfunctions2_function.gateway.service_config).environment_variables.GOMEMLIMIT == "921MiB"
    error_message = "The collector doesn't know how much memory there is."
  }
  assert {
    condition     = one(one(google_cloudfunctions2_function.gateway.build_config).source).storage_source[0].object == google_storage_bucket_object.archive.name && endswith(google_storage_bucket_object.archive.name, "-${var.archive.sha256}.zip")
    error_message = "The function is built from the archive, which its content names."
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["allUsers"]
    error_message = "Where everybody may invoke, nobody else needs to."
  }
  assert {
    condition     = length(google_secret_manager_secret.credential) + length(google_service_account.upstream) + length(google_cloudbuild_trigger.push) + length(google_monitoring_notification_channel.email) + length(google_redis_instance.limits) + length(google_compute_network.limits) + length(google_cloud_run_v2_service_iam_member.checkers_invoke) + length(one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_network_interface) == 0
    error_message = "Something is made that nobody asked for."
  }
  assert {
    condition     = length(google_monitoring_uptime_check_config.health) == 1 && length(google_monitoring_alert_policy.down) == 1
    error_message = "Nobody looks whether it answers."
  }
}

run "a_rollback_finds_what_it_names" {
  assert {
    condition     = one(google_storage_bucket.source.versioning).enabled && [for r in google_storage_bucket.source.lifecycle_rule : [one(r.action).type, one(r.condition).with_state, one(r.condition).days_since_noncurrent_time]] == [["Delete", "ARCHIVED", 90]]
    error_message = "An archive that was replaced is gone before 90 days, or the one that is served can go."
  }
  assert {
    condition     = !google_artifact_registry_repository.images.cleanup_policy_dry_run && jsonencode({ for p in google_artifact_registry_repository.images.cleanup_policies : p.action => flatten([p.most_recent_versions[*].keep_count, p.condition[*].older_than]) }) == jsonencode({ KEEP = [20], DELETE = ["${90 * 86400}s"] })
    error_message = "Images are never deleted, or before their archives."
  }
  assert {
    condition     = google_storage_bucket.source.uniform_bucket_level_access && google_storage_bucket.source.public_access_prevention == "enforced"
    error_message = "The source can be opened object by object, or to the public."
  }
}

run "the_outputs" {
  assert {
    condition     = output.url == "https://gateway-4711.europe-west4.run.app"
    error_message = "url is ${output.url}."
  }
  assert {
    condition     = jsonencode(output.release) == jsonencode({ archive = { generation = 1700000000000001, object = google_storage_bucket_object.archive.name }, files = { "config/gateway.yaml" = "7", "policies/gateway.cedar" = "7" } })
    error_message = "release is ${jsonencode(output.release)}."
  }
  assert {
    condition     = output.upstream_account == null && output.credentials == {} && output.run_identity == google_service_account.run.email && output.audit_dataset == "acme-gateway.gateway_audit"
    error_message = "An output says something else than there is."
  }
  assert {
    condition     = output.dashboard == "https://console.cloud.google.com/monitoring/dashboards/builder/4711?project=acme-gateway"
    error_message = "dashboard is ${output.dashboard}."
  }
}

run "a_former_release" {
  command = plan
  variables {
    release = {
      archive = { object = "function-former.zip", generation = 1600000000000001 }
      files   = { "config/gateway.yaml" = "3", "policies/gateway.cedar" = "5" }
    }
  }
  assert {
    condition     = one(one(one(google_cloudfunctions2_function.gateway.build_config).source).storage_source) == { bucket = google_storage_bucket.source.name, object = "function-former.zip", generation = 1600000000000001 }
    error_message = "The function is not built from the former archive."
  }
  assert {
    condition     = { for v in one(google_cloudfunctions2_function.gateway.service_config).secret_volumes : v.secret => one(v.versions).version } == { gateway-config-gateway = "3", gateway-policies-gateway = "5" }
    error_message = "The function doesn't read the former files."
  }
  assert {
    condition     = google_storage_bucket_object.archive.name == "function-${var.archive.sha256}.zip" && google_secret_manager_secret_version.file["config/gateway.yaml"].secret_data == var.config
    error_message = "To go back touches what is there now."
  }
  assert {
    condition     = output.release == var.release
    error_message = "release is ${jsonencode(output.release)}."
  }
}

run "everything" {
  variables {
    policies    = { "policies/gateway.cedar" = "permit (principal, action, resource);", "policies-team/a/a.cedar" = "permit (principal, action, resource);" }
    credentials = { openai = { adders = ["group:ml-platform@example.com"] }, vertex-key = {} }
    invokers    = ["group:pipelines@example.com"]
    upstream_account = {
      secret   = "vertex-key"
      rotators = ["group:security@example.com"]
    }
    function = { concurrency = 200, cpu = 2, memory = "2Gi", min_instances = 2, max_instances = 100 }
    network = {
      network     = "projects/acme-net/global/networks/private"
      subnetwork  = "projects/acme-net/regions/europe-west4/subnetworks/functions"
      all_traffic = true
      tags        = ["llm-gateway"]
    }
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large", url = "https://llm.example.com" }
    }
    alerts              = { emails = ["oncall@example.com"], error_ratio = 0.01 }
    audit               = { retention_days = 30 }
    labels              = { team = "ml-platform" }
    deletion_protection = false
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["group:pipelines@example.com", "serviceAccount:gateway-deploy@acme-gateway.iam.gserviceaccount.com"] && length(google_cloud_run_v2_service_iam_member.checkers_invoke) == 1
    error_message = "Where not everybody may invoke, the deployer's smoke test and the uptime check may."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.adder_adds_credential) == ["openai group:ml-platform@example.com", "vertex-key group:security@example.com"]
    error_message = "Who may add versions is ${jsonencode(keys(google_secret_manager_secret_iam_member.adder_adds_credential))}."
  }
  assert {
    condition     = length(google_service_account_iam_member.run_impersonates_upstream) == 0 && length(google_service_account_iam_member.rotator_makes_keys) == 1 && length(google_secret_manager_secret_iam_member.rotator_views_versions) == 1
    error_message = "With a key nobody impersonates, and who rotates it may."
  }
  assert {
    condition     = one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_egress == "VPC_EGRESS_ALL_TRAFFIC" && one(one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_network_interface).subnetwork == var.network.subnetwork
    error_message = "Not all traffic goes by the network."
  }
  assert {
    condition     = one(google_cloudbuild_trigger.push).substitutions == tomap({ _ENVIRONMENT = "gateway", _STATE_BUCKET = "acme-gateway-gateway-state", _DEPLOYER = var.deployer, _SMOKE_AUDIENCE = "llm-gateway", _SMOKE_MODEL = "small", _DENIED_MODEL = "large", _URL = "https://llm.example.com" }) && one(one(google_cloudbuild_trigger.push).approval_config).approval_required
    error_message = "The build is told something else, or nobody has to approve it."
  }
  assert {
    condition     = contains([for v in one(google_cloudfunctions2_function.gateway.service_config).secret_volumes : v.mount_path], "/etc/gateway/policies-team/a")
    error_message = "A file in a deeper folder is not mounted there."
  }
  assert {
    condition     = google_bigquery_dataset.audit.default_partition_expiration_ms == 30 * 86400000 && google_storage_bucket.source.force_destroy && google_storage_bucket.source.deletion_policy == "DELETE" && alltrue([for s in google_secret_manager_secret.credential : !s.deletion_protection])
    error_message = "Records are kept for another time, or what is unprotected can't be destroyed."
  }
  assert {
    condition     = contains(keys(google_project_service.on), "compute.googleapis.com")
    error_message = "A network needs Compute Engine's API."
  }
}

run "impersonation" {
  command = plan
  variables {
    upstream_account = {}
    config           = "models: {}\nupstreams: {vertex: {kind: vertex}}"
  }
  assert {
    condition     = length(google_service_account_iam_member.run_impersonates_upstream) == 1 && length(google_secret_manager_secret.credential) == 0 && keys(google_project_iam_member.upstream_calls_models) == ["roles/aiplatform.user"]
    error_message = "The function may not call Google's models as the upstream account, or a key is kept."
  }
  assert {
    condition     = contains(keys(google_project_service.on), "aiplatform.googleapis.com")
    error_message = "Vertex AI needs its API."
  }
}

run "private_addresses_by_the_network" {
  command = plan
  variables {
    network = {
      network    = "projects/acme-net/global/networks/private"
      subnetwork = "projects/acme-net/regions/europe-west4/subnetworks/functions"
    }
  }
  assert {
    condition     = one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    error_message = "Public upstreams would be called by the network too."
  }
}

run "a_limit_store_in_a_network_of_its_own" {
  variables {
    config              = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store         = {}
    labels              = { team = "ml-platform" }
    deletion_protection = true
  }
  assert {
    condition     = one(google_redis_instance.limits).tier == "BASIC" && one(google_redis_instance.limits).memory_size_gb == 1 && one(google_redis_instance.limits).connect_mode == "DIRECT_PEERING" && one(google_redis_instance.limits).authorized_network == one(google_compute_network.limits).id
    error_message = "The smallest limit store is another, or in another network."
  }
  assert {
    condition     = !one(google_redis_instance.limits).auth_enabled && one(google_redis_instance.limits).transit_encryption_mode == "SERVER_AUTHENTICATION" && one(google_redis_instance.limits).deletion_policy == "PREVENT" && one(google_redis_instance.limits).labels == tomap({ team = "ml-platform" })
    error_message = "The limit store has a secret, no TLS, no protection or no labels."
  }
  assert {
    condition     = one(one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_network_interface).network == one(google_compute_network.limits).id && one(one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_network_interface).subnetwork == one(google_compute_subnetwork.limits).id && one(google_cloudfunctions2_function.gateway.service_config).direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    error_message = "The function is not in the store's network, or calls providers through it, which has no way out."
  }
  assert {
    condition     = { for k, v in google_secret_manager_secret_version.limit_store : k => v.secret_data } == { GATEWAY_LIMIT_STORE = "rediss://10.127.0.3:6378", GATEWAY_LIMIT_STORE_CA = "the old authority\nthe new authority" } && { for v in one(google_cloudfunctions2_function.gateway.service_config).secret_environment_variables : v.key => "${v.secret} ${v.version}" } == { GATEWAY_LIMIT_STORE = "gateway-limit-store 7", GATEWAY_LIMIT_STORE_CA = "gateway-limit-store-ca 7" }
    error_message = "The function doesn't know where the store is, or one of its authorities."
  }
  assert {
    condition     = one(google_compute_subnetwork.limits).ip_cidr_range == "10.0.0.0/20" && !one(google_compute_network.limits).auto_create_subnetworks
    error_message = "The network is another."
  }
  assert {
    condition     = length(setsubtract(["compute.googleapis.com", "redis.googleapis.com"], keys(google_project_service.on))) == 0
    error_message = "A limit store needs the APIs of Memorystore and of networks."
  }
}

run "a_limit_store_in_a_given_network" {
  command = plan
  variables {
    config      = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store = { tier = "STANDARD_HA", memory_gb = 5 }
    network = {
      network    = "projects/acme-gateway/global/networks/private"
      subnetwork = "projects/acme-gateway/regions/europe-west4/subnetworks/functions"
    }
  }
  assert {
    condition     = length(google_compute_network.limits) + length(google_compute_subnetwork.limits) == 0 && one(google_redis_instance.limits).authorized_network == var.network.network && one(google_redis_instance.limits).connect_mode == "DIRECT_PEERING"
    error_message = "The store is not in the given network, or another is made."
  }
  assert {
    condition     = one(google_redis_instance.limits).tier == "STANDARD_HA" && one(google_redis_instance.limits).memory_size_gb == 5
    error_message = "The store is another than was asked for."
  }
}

run "a_limit_store_in_a_shared_network" {
  command = plan
  variables {
    config      = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store = {}
    network = {
      network    = "projects/acme-net/global/networks/private"
      subnetwork = "projects/acme-net/regions/europe-west4/subnetworks/functions"
    }
  }
  assert {
    condition     = one(google_redis_instance.limits).connect_mode == "PRIVATE_SERVICE_ACCESS"
    error_message = "Another project's network is reached by private service access alone."
  }
}

run "what_is_told_of_budgets" {
  command = plan
  variables {
    alerts = { budget_used = 0.5 }
  }
  assert {
    condition     = endswith(google_logging_metric.counter["budgets_used_up"].filter, " AND jsonPayload.budget_used>=0.5")
    error_message = "Calls are counted by ${google_logging_metric.counter["budgets_used_up"].filter}."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.on["budget"].documentation[0].content, "used to 0.5 or more")
    error_message = "The alert says another share than it rings at."
  }
  assert {
    condition     = google_logging_metric.distribution["cost"].label_extractors == tomap({ group = "EXTRACT(jsonPayload.charged_group)", target_model = "EXTRACT(jsonPayload.target_model)" }) && google_logging_metric.distribution["input_tokens"].label_extractors.group == "EXTRACT(jsonPayload.charged_group)" && google_logging_metric.distribution["output_tokens"].label_extractors.group == "EXTRACT(jsonPayload.charged_group)"
    error_message = "Money and tokens are not told by group."
  }
}

run "behind_a_load_balancer" {
  command = plan
  variables {
    function = { ingress = "ALLOW_INTERNAL_AND_GCLB" }
  }
  assert {
    condition     = length(google_monitoring_uptime_check_config.health) + length(google_monitoring_alert_policy.down) == 0
    error_message = "An uptime check that can't reach the function would ring for ever."
  }
}
