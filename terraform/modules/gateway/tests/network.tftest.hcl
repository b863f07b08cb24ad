mock_provider "google" {}

run "a_short_name" {
  command = plan
  variables {
    network = { network = "private", subnetwork = "projects/acme-net/regions/europe-west4/subnetworks/functions" }
  }
  expect_failures = [var.network]
}

run "a_short_name_of_the_subnetwork" {
  command = plan
  variables {
    network = { network = "projects/acme-net/global/networks/private", subnetwork = "functions" }
  }
  expect_failures = [var.network]
}

run "in_another_region" {
  command = plan
  variables {
    network = { network = "projects/acme-net/global/networks/private", subnetwork = "projects/acme-net/regions/europe-west1/subnetworks/functions" }
  }
  expect_failures = [var.network]
}
