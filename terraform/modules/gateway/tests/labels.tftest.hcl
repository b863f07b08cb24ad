mock_provider "google" {}

run "a_key_in_upper_case" {
  command = plan
  variables {
    labels = { Team = "ml" }
  }
  expect_failures = [var.labels]
}

run "a_value_with_a_space" {
  command = plan
  variables {
    labels = { team = "ml platform" }
  }
  expect_failures = [var.labels]
}
