mock_provider "google" {}

run "a_basic_role" {
  command = plan
  variables {
    upstream_roles = ["roles/owner"]
  }
  expect_failures = [var.upstream_roles]
}

run "a_role_that_gives_roles" {
  command = plan
  variables {
    upstream_roles = ["roles/resourcemanager.projectIamAdmin"]
  }
  expect_failures = [var.upstream_roles]
}

run "a_role_of_the_organization" {
  command = plan
  variables {
    upstream_roles = ["organizations/1/roles/caller"]
  }
  expect_failures = [var.upstream_roles]
}
