# Here the root module is this one, whose folder is called gateway.
mock_provider "google" {}

run "of_another_environment" {
  command = plan
  variables {
    delivery = {
      environment  = "production"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "of_a_repository_that_is_not_connected" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "https://github.com/acme/llm-gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "without_an_audience" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "", model = "small", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "without_a_model" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = " ", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "without_a_bucket" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = ""
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "from_no_branch" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      branch       = ""
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large" }
    }
  }
  expect_failures = [var.delivery]
}

run "with_one_model_for_both" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "small" }
    }
  }
  expect_failures = [var.delivery]
}

run "that_asks_a_path" {
  command = plan
  variables {
    delivery = {
      environment  = "gateway"
      state_bucket = "acme-gateway-state"
      repository   = "projects/acme-gateway/locations/europe-west4/connections/gateway-github/repositories/gateway"
      smoke        = { audience = "llm-gateway", model = "small", denied_model = "large", url = "https://llm.example.com/v1" }
    }
  }
  expect_failures = [var.delivery]
}
