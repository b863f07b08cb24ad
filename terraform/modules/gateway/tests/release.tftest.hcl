mock_provider "google" {}

run "without_a_file" {
  command = plan
  variables {
    release = {
      archive = { object = "function-1.zip", generation = 1 }
      files   = { "config/gateway.yaml" = "1" }
    }
  }
  expect_failures = [var.release]
}

run "with_a_further_file" {
  command = plan
  variables {
    release = {
      archive = { object = "function-1.zip", generation = 1 }
      files   = { "config/gateway.yaml" = "1", "policies/gateway.cedar" = "1", "policies-b/b.cedar" = "1" }
    }
  }
  expect_failures = [var.release]
}

run "of_the_latest_version" {
  command = plan
  variables {
    release = {
      archive = { object = "function-1.zip", generation = 1 }
      files   = { "config/gateway.yaml" = "latest", "policies/gateway.cedar" = "1" }
    }
  }
  expect_failures = [var.release]
}

run "without_an_archive" {
  command = plan
  variables {
    release = {
      archive = null
      files   = { "config/gateway.yaml" = "1", "policies/gateway.cedar" = "1" }
    }
  }
  expect_failures = [var.release]
}
