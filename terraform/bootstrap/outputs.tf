output "state_bucket" {
  description = "terraform init -backend-config=bucket=… in environments/…"
  value       = google_storage_bucket.state.name
}

output "deployer" {
  description = "For the environment's terraform.tfvars."
  value       = google_service_account.deploy.email
}

output "repository" {
  description = "For the environment's delivery.repository; null without github."
  value       = one(google_cloudbuildv2_repository.gateway[*].id)
}
