mock_provider "google" {}

run "a_remote_by_ssh" {
  command = plan
  variables {
    github = { app_installation_id = 4711, token_secret = "github-token", remote = "git@github.com:acme/llm-gateway.git" }
  }
  expect_failures = [var.github]
}

run "a_secret_with_its_path" {
  command = plan
  variables {
    github = { app_installation_id = 4711, token_secret = "projects/acme-gateway/secrets/github-token", remote = "https://github.com/acme/llm-gateway.git" }
  }
  expect_failures = [var.github]
}
