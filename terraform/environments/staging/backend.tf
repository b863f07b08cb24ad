# The bucket is bootstrap's: terraform init -backend-config=bucket=acme-gateway-staging-gateway-state
terraform {
  backend "gcs" {
    prefix = "environments/staging"
  }
}
