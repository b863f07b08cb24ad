mock_provider "google" {}

run "none" {
  command = plan
  variables {
    invokers = []
  }
  expect_failures = [var.invokers]
}

run "no_member" {
  command = plan
  variables {
    invokers = ["pipelines@example.com"]
  }
  expect_failures = [var.invokers]
}

run "pipelines" {
  command = plan
  variables {
    invokers = ["group:pipelines@example.com", "domain:example.com"]
  }
}
