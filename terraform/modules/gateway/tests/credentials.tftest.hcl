mock_provider "google" {}

run "a_path_as_name" {
  command = plan
  variables {
    credentials = { "projects/acme/secrets/openai" = {} }
  }
  expect_failures = [var.credentials]
}

run "everybody_adds" {
  command = plan
  variables {
    credentials = { openai = { adders = ["allUsers"] } }
  }
  expect_failures = [var.credentials]
}

run "null" {
  command = plan
  variables {
    credentials = { openai = null }
  }
  expect_failures = [var.credentials]
}
