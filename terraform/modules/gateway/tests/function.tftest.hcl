mock_provider "google" {}

run "runtime_before_go_mod" {
  command = plan
  variables {
    function = { runtime = "go125" }
  }
  expect_failures = [var.function]
}

run "timeout_beyond_an_hour" {
  command = plan
  variables {
    function = { timeout = 3601 }
  }
  expect_failures = [var.function]
}

run "timeout_under_a_minute" {
  command = plan
  variables {
    function = { timeout = 59 }
  }
  expect_failures = [var.function]
}

run "timeout_with_a_fraction" {
  command = plan
  variables {
    function = { timeout = 3599.5 }
  }
  expect_failures = [var.function]
}

run "concurrency_of_none" {
  command = plan
  variables {
    function = { concurrency = 0 }
  }
  expect_failures = [var.function]
}

run "concurrency_beyond_a_thousand" {
  command = plan
  variables {
    function = { concurrency = 1001 }
  }
  expect_failures = [var.function]
}

run "cpu_between_two_sizes" {
  command = plan
  variables {
    function = { cpu = 3 }
  }
  expect_failures = [var.function]
}

run "concurrency_without_a_cpu" {
  command = plan
  variables {
    function = { cpu = 0.583 }
  }
  expect_failures = [var.function]
}

run "memory_in_another_unit" {
  command = plan
  variables {
    function = { memory = "1G" }
  }
  expect_failures = [var.function]
}

run "no_instance_at_most" {
  command = plan
  variables {
    function = { max_instances = 0 }
  }
  expect_failures = [var.function]
}

run "fewer_at_most_than_at_least" {
  command = plan
  variables {
    function = { min_instances = 11, max_instances = 10 }
  }
  expect_failures = [var.function]
}

run "ingress_misspelt" {
  command = plan
  variables {
    function = { ingress = "ALLOW_INTERNAL" }
  }
  expect_failures = [var.function]
}

run "one_request_at_a_time" {
  command = plan
  variables {
    function = { cpu = 0.333, concurrency = 1 }
  }
}

run "null_is_the_default" {
  command = plan
  variables {
    function = null
  }
}
