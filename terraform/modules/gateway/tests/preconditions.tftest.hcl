mock_provider "google" {}

run "a_request_outlasts_the_function" {
  command = plan
  variables {
    config = "models: {}\nserver: {request_timeout: 59m1s}"
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_default_outlasts_a_shorter_function" {
  command = plan
  variables {
    function = { timeout = 3359 }
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "a_request_ends_a_minute_before" {
  command = plan
  variables {
    config = "models: {}\nserver: {request_timeout: 59m}"
  }
}

run "a_request_of_hours_and_minutes" {
  command = plan
  variables {
    config = "models: {}\nserver: {request_timeout: 1h0.5m}"
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "a_request_without_a_time_has_the_default" {
  command = plan
  variables {
    config = "models: {}\nserver: {request_timeout: }"
  }
}

run "the_configuration_reads_a_secret_that_nobody_makes" {
  command = plan
  variables {
    config = "models: {}\nopenai: projects/acme-gateway/secrets/openai/versions/latest"
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_reads_a_secret_that_is_made" {
  command = plan
  variables {
    config      = "models: {}\nopenai: projects/acme-gateway/secrets/openai/versions/latest"
    credentials = { openai = {} }
  }
}

run "the_configuration_reads_a_secret_of_another_project" {
  command = plan
  variables {
    config = "models: {}\nopenai: projects/acme-secrets/secrets/openai/versions/latest"
  }
}

run "a_secret_in_a_comment_is_not_read" {
  command = plan
  variables {
    config = "models: {}\n# openai: projects/acme-gateway/secrets/openai/versions/latest"
  }
}

run "a_credential_named_as_a_file" {
  command = plan
  variables {
    credentials = { gateway-config-gateway = {} }
  }
  expect_failures = [google_secret_manager_secret.file]
}

run "two_files_of_one_name" {
  command = plan
  variables {
    policies = { "a-b/c.cedar" = "permit (principal, action, resource);", "a/b-c.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [google_secret_manager_secret.file]
}

run "the_configuration_counts_in_a_store_that_nobody_makes" {
  command = plan
  variables {
    config = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_reads_the_store_from_a_variable_that_nobody_sets" {
  command = plan
  variables {
    config = "models: {}\nlimit_store: {url_env: REDIS_URL}"
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_counts_in_memory_beside_a_store" {
  command = plan
  variables {
    config      = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]\nlimit_store: memory"
    function    = { max_instances = 1 }
    limit_store = {}
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_has_no_store_and_one_is_made" {
  command = plan
  variables {
    limit_store = {}
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_reads_the_store_and_not_its_authority" {
  command = plan
  variables {
    config      = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE}"
    limit_store = {}
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_reads_another_variable_than_is_set" {
  command = plan
  variables {
    config      = "models: {}\nlimit_store: {url_env: REDIS_URL, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store = {}
  }
  expect_failures = [google_cloudfunctions2_function.gateway]
}

run "the_configuration_counts_in_the_store_that_is_made" {
  command = plan
  variables {
    config      = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store = {}
  }
}
