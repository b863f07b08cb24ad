mock_provider "google" {}

run "kept_for_less_than_a_day" {
  command = plan
  variables {
    audit = { retention_days = 0 }
  }
  expect_failures = [var.audit]
}

run "kept_for_half_a_day_more" {
  command = plan
  variables {
    audit = { retention_days = 1.5 }
  }
  expect_failures = [var.audit]
}

run "kept_for_over_ten_years" {
  command = plan
  variables {
    audit = { retention_days = 3651 }
  }
  expect_failures = [var.audit]
}
