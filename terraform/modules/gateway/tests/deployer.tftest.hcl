mock_provider "google" {}

run "a_member" {
  command = plan
  variables {
    deployer = "serviceAccount:gateway-deploy@acme-gateway.iam.gserviceaccount.com"
  }
  expect_failures = [var.deployer]
}

run "a_person" {
  command = plan
  variables {
    deployer = "ada@example.com"
  }
  expect_failures = [var.deployer]
}
