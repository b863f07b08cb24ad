project  = "acme-gateway-production"
region   = "europe-west4"
deployer = "gateway-deploy@acme-gateway-production.iam.gserviceaccount.com" # bootstrap's output

# Everybody may reach the gateway; it verifies every caller's token itself. modules/gateway/README.md has the other way.
invokers = ["allUsers"]

# The secrets that config/gateway.yaml reads. Who but the project's owner may add their versions is said so:
# { adders = ["group:ml-platform@example.com"] }
credentials = {
  openai     = {}
  anthropic  = {}
  vertex-key = {}
}

# Vertex AI is called with this account's key, which rotate-key.sh makes and puts into vertex-key. Who but the owner may
# run it is said so: rotators = ["group:ml-platform@example.com"]
upstream_account = {
  secret = "vertex-key"
}

# One instance stays warm: its caches make the first call of a pipeline as fast as its last.
function = {
  min_instances = 1
  max_instances = 40
}

alerts = { emails = ["ml-platform@example.com", "oncall@example.com"] }

# Count limits in one place for all instances: more than the about 36 USD a month of BASIC, which forgets when it fails or is
# maintained; and limit_store in config/gateway.yaml.
# limit_store = { tier = "STANDARD_HA" }

# Deploy pushes to main, each after somebody's approval: fill in what bootstrap printed.
# delivery = {
#   environment  = "production"
#   state_bucket = "acme-gateway-production-gateway-state"
#   repository   = "projects/acme-gateway-production/locations/europe-west4/connections/gateway-github/repositories/gateway"
#   smoke        = { audience = "llm-gateway", model = "gpt-4o-mini", denied_model = "claude-sonnet-4-5" }
# }
