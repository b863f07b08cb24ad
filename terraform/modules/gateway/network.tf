# The network that the function has an interface in. Where none is given and a limit store is made, it is one that nothing
# but the function and the store is in: to be in that network is the permission.
locals {
  networks = concat(var.network[*], [for s in google_compute_subnetwork.limits : {
    network = google_compute_network.limits[0].id, subnetwork = s.id, all_traffic = false, tags = []
  }])
}

resource "google_compute_network" "limits" {
  count                   = var.limit_store != null && var.network == null ? 1 : 0
  project                 = var.project
  name                    = "${var.name}-limits"
  description             = "${var.name} and its limit store, and nothing else"
  auto_create_subnetworks = false

  # Goes after the function has left it; otherwise it would go before, and Google refuses that.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.on]
}

resource "google_compute_subnetwork" "limits" {
  count         = length(google_compute_network.limits)
  project       = var.project
  region        = var.region
  name          = "${var.name}-limits"
  network       = google_compute_network.limits[0].id
  ip_cidr_range = coalesce(var.limit_store.range, "10.0.0.0/20") # instances take two addresses each, and for a while four

  lifecycle {
    create_before_destroy = true # as the network
  }
}
