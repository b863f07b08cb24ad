mock_provider "google" {}

run "without_models" {
  command = plan
  variables {
    config = "issuers: []"
  }
  expect_failures = [var.config]
}

run "no_yaml" {
  command = plan
  variables {
    config = "models: {"
  }
  expect_failures = [var.config]
}

run "a_byte_over_64_KiB" {
  command = plan
  variables {
    config = substr("models: {}\n#${join("", [for i in range(1024) : "................................................................"])}", 0, 65537)
  }
  expect_failures = [var.config]
}

run "of_64_KiB" {
  command = plan
  variables {
    config = substr("models: {}\n#${join("", [for i in range(1024) : "................................................................"])}", 0, 65536)
  }
}
