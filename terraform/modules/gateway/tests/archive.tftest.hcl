mock_provider "google" {}

run "hash_in_base64" {
  command = plan
  variables {
    archive = { path = "function.zip", sha256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
  }
  expect_failures = [var.archive]
}

run "of_another_hash" {
  command = plan
  variables {
    archive = { path = "versions.tf", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
  expect_failures = [var.archive]
}

run "an_absolute_path" {
  command = plan
  variables {
    archive = { path = "/workspace/dist/function.zip", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
  expect_failures = [var.archive]
}

run "a_folder" {
  command = plan
  variables {
    archive = { path = ".", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
  expect_failures = [var.archive]
}

run "of_this_hash" {
  command = plan
  variables {
    archive = { path = "versions.tf", sha256 = filesha256("versions.tf") }
  }
}
