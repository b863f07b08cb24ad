mock_provider "google" {}

run "a_zone" {
  command = plan
  variables {
    region = "europe-west4-a"
  }
  expect_failures = [var.region]
}

run "a_multi_region" {
  command = plan
  variables {
    region = "eu"
  }
  expect_failures = [var.region]
}
