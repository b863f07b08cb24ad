mock_provider "google" {}

run "each_of_many_instances_counts_for_itself" {
  command = plan
  variables {
    config = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]"
  }
  expect_failures = [check.limits_are_counted_together]
}

run "each_counts_in_its_memory_and_says_so" {
  command = plan
  variables {
    config = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]\nlimit_store: memory"
  }
  expect_failures = [check.limits_are_counted_together]
}

run "one_instance_counts_for_all" {
  command = plan
  variables {
    config   = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]"
    function = { max_instances = 1 }
  }
}

run "all_count_in_a_store_of_ones_own" {
  command = plan
  variables {
    config = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]\nlimit_store: redis://10.0.0.3:6379"
  }
}

run "all_count_in_the_limit_store" {
  command = plan
  variables {
    config      = "models: {}\nlimits: [{name: all, groups: [team], requests_per_minute: 600}]\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
    limit_store = {}
  }
}

run "nothing_is_counted" {
  command = plan
  variables {
    config = "models: {}\nlimits:\nlimit_store:"
  }
}

run "no_limit_is_counted" {
  command = plan
  variables {
    config = "models: {}\nlimits: []\nlimit_store: memory"
  }
}
