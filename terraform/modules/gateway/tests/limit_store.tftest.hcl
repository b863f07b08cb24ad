mock_provider "google" {}

variables {
  config = "models: {}\nlimit_store: {url_env: GATEWAY_LIMIT_STORE, ca: {env: GATEWAY_LIMIT_STORE_CA}}"
}

run "a_tier_that_is_not" {
  command = plan
  variables {
    limit_store = { tier = "STANDARD" }
  }
  expect_failures = [var.limit_store]
}

run "no_memory" {
  command = plan
  variables {
    limit_store = { memory_gb = 0 }
  }
  expect_failures = [var.limit_store]
}

run "half_a_gigabyte" {
  command = plan
  variables {
    limit_store = { memory_gb = 1.5 }
  }
  expect_failures = [var.limit_store]
}

run "more_memory_than_there_is" {
  command = plan
  variables {
    limit_store = { memory_gb = 301 }
  }
  expect_failures = [var.limit_store]
}

run "an_address_for_a_range" {
  command = plan
  variables {
    limit_store = { range = "10.0.0.0" }
  }
  expect_failures = [var.limit_store]
}

run "a_range_for_few_instances" {
  command = plan
  variables {
    limit_store = { range = "10.0.0.0/27" }
  }
  expect_failures = [var.limit_store]
}

run "a_range_with_bits_beyond_it" {
  command = plan
  variables {
    limit_store = { range = "10.0.0.1/24" }
  }
  expect_failures = [var.limit_store]
}

run "a_range_of_the_internet" {
  command = plan
  variables {
    limit_store = { range = "172.32.0.0/24" }
  }
  expect_failures = [var.limit_store]
}

run "a_range_of_a_given_network" {
  command = plan
  variables {
    limit_store = { range = "10.8.0.0/24" }
    network = {
      network    = "projects/acme-gateway/global/networks/private"
      subnetwork = "projects/acme-gateway/regions/europe-west4/subnetworks/functions"
    }
  }
  expect_failures = [var.limit_store]
}

run "a_range_of_its_own" {
  command = plan
  variables {
    limit_store = { range = "172.31.0.0/26", memory_gb = 300, tier = "STANDARD_HA" }
  }
}
