mock_provider "google" {}

run "no_member" {
  command = plan
  variables {
    submitters = ["platform@example.com"]
  }
  expect_failures = [var.submitters]
}
