# The least that the module takes. Each run says what else.
project  = "acme-gateway"
region   = "europe-west4"
deployer = "gateway-deploy@acme-gateway.iam.gserviceaccount.com"
invokers = ["allUsers"]
config   = "models: {}"
policies = { "policies/gateway.cedar" = "permit (principal, action, resource);" }
archive  = { path = "function.zip", sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
