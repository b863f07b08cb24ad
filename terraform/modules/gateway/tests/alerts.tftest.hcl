mock_provider "google" {}

run "a_channel_that_is_no_address" {
  command = plan
  variables {
    alerts = { emails = ["#oncall"] }
  }
  expect_failures = [var.alerts]
}

run "a_ratio_in_percent" {
  command = plan
  variables {
    alerts = { error_ratio = 5 }
  }
  expect_failures = [var.alerts]
}

run "a_ratio_of_nothing" {
  command = plan
  variables {
    alerts = { error_ratio = 0 }
  }
  expect_failures = [var.alerts]
}

run "at_no_denials" {
  command = plan
  variables {
    alerts = { denials = 0 }
  }
  expect_failures = [var.alerts]
}

run "at_no_latency" {
  command = plan
  variables {
    alerts = { p95_latency_seconds = 0 }
  }
  expect_failures = [var.alerts]
}

run "a_budget_in_percent" {
  command = plan
  variables {
    alerts = { budget_used = 80 }
  }
  expect_failures = [var.alerts]
}

run "a_budget_of_which_nothing_is_used" {
  command = plan
  variables {
    alerts = { budget_used = 0 }
  }
  expect_failures = [var.alerts]
}

run "a_budget_of_which_all_is_used" {
  command = plan
  variables {
    alerts = { budget_used = 1 }
  }
}
