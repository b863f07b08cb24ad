mock_provider "google" {}

run "a_number" {
  command = plan
  variables {
    project = "123456789012"
  }
  expect_failures = [var.project]
}

run "a_name" {
  command = plan
  variables {
    project = "Acme Gateway"
  }
  expect_failures = [var.project]
}
