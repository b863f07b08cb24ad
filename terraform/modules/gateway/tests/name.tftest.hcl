mock_provider "google" {}

run "of_one_letter" {
  command = plan
  variables {
    name = "g"
  }
  expect_failures = [var.name]
}

run "too_long_for_service_accounts" {
  command = plan
  variables {
    name = "gateway-for-everybody"
  }
  expect_failures = [var.name]
}

run "ends_with_a_hyphen" {
  command = plan
  variables {
    name = "gateway-"
  }
  expect_failures = [var.name]
}

run "the_shortest" {
  command = plan
  variables {
    name = "gw"
  }
}

run "the_longest" {
  command = plan
  variables {
    name = "gateway-for-everyone"
  }
}
