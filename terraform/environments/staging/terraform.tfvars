project  = "acme-gateway-staging"
region   = "europe-west4"
deployer = "gateway-deploy@acme-gateway-staging.iam.gserviceaccount.com" # bootstrap's output

# Everybody may reach the gateway; it verifies every caller's token itself. modules/gateway/README.md has the other way.
invokers = ["allUsers"]

# The secrets that config/gateway.yaml reads. Who but the project's owner may add their versions is said so:
# { adders = ["group:ml-platform@example.com"] }
credentials = {
  openai = {}
}

# Vertex AI is called by impersonation: no key exists.
upstream_account = {}

alerts = { emails = ["ml-platform@example.com"] }

# Count limits in one place for all instances: about 36 USD a month, and limit_store in config/gateway.yaml.
# limit_store = {}

# Deploy pushes to main: fill in what bootstrap printed.
# delivery = {
#   environment  = "staging"
#   state_bucket = "acme-gateway-staging-gateway-state"
#   repository   = "projects/acme-gateway-staging/locations/europe-west4/connections/gateway-github/repositories/gateway"
#   approval     = false
#   smoke        = { audience = "llm-gateway", model = "gpt-4o-mini", denied_model = "gemini-2.5-flash" }
# }
