mock_provider "google" {}

run "none" {
  command = plan
  variables {
    policies = {}
  }
  expect_failures = [var.policies]
}

run "without_a_folder" {
  command = plan
  variables {
    policies = { "gateway.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [var.policies]
}

run "out_of_the_folder" {
  command = plan
  variables {
    policies = { "../policies/gateway.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [var.policies]
}

run "two_in_a_folder" {
  command = plan
  variables {
    policies = { "policies/a.cedar" = "permit (principal, action, resource);", "policies/b.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [var.policies]
}

run "in_the_folder_of_another" {
  command = plan
  variables {
    policies = { "policies/gateway.cedar" = "permit (principal, action, resource);", "policies/team-a/team-a.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [var.policies]
}

run "beside_the_configuration" {
  command = plan
  variables {
    policies = { "config/gateway.cedar" = "permit (principal, action, resource);" }
  }
  expect_failures = [var.policies]
}

run "a_byte_over_64_KiB" {
  command = plan
  variables {
    policies = { "policies/gateway.cedar" = substr("//${join("", [for i in range(1024) : "................................................................"])}", 0, 65537) }
  }
  expect_failures = [var.policies]
}

run "of_64_KiB" {
  command = plan
  variables {
    policies = { "policies/gateway.cedar" = substr("//${join("", [for i in range(1024) : "................................................................"])}", 0, 65536) }
  }
}

run "two_in_folders_of_their_own" {
  command = plan
  variables {
    policies = { "policies/team-a/team-a.cedar" = "permit (principal, action, resource);", "policies/team-b/team-b.cedar" = "permit (principal, action, resource);" }
  }
}
