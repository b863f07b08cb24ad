mock_provider "google" {}

run "a_secret_that_is_no_credential" {
  command = plan
  variables {
    upstream_account = { secret = "vertex-key" }
  }
  expect_failures = [var.upstream_account]
}

run "rotators_without_a_key" {
  command = plan
  variables {
    upstream_account = { rotators = ["group:ml-platform@example.com"] }
  }
  expect_failures = [var.upstream_account]
}

run "a_basic_role" {
  command = plan
  variables {
    upstream_account = { roles = ["roles/editor"] }
  }
  expect_failures = [var.upstream_account]
}

run "a_role_of_the_organization" {
  command = plan
  variables {
    upstream_account = { roles = ["organizations/1/roles/caller"] }
  }
  expect_failures = [var.upstream_account]
}
