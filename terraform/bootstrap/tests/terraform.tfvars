project = "acme-gateway"
region  = "europe-west4"
