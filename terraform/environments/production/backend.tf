# The bucket is bootstrap's: terraform init -backend-config=bucket=acme-gateway-production-gateway-state
terraform {
  backend "gcs" {
    prefix = "environments/production"
  }
}
