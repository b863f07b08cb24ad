package googleapis

import "strings"

// redis is Memorystore for Redis. The instances are names without a server behind them.
func redis() service {
	return service{
		kinds: map[string]kind{"redis.instances": {id: parameter("instanceId"), settle: settleRedis}},
		methods: map[string]func(*call) (any, error){"redis.instances.getAuthString": func(c *call) (any, error) {
			r, err := c.find(c.name)
			if err != nil {
				return nil, err
			}
			return map[string]any{"authString": string(r.data)}, nil
		}},
	}
}

func settleRedis(c *call, was, r *resource) error {
	if size, err := integer(r.body["memorySizeGb"]); err != nil || size < 1 || size > 300 {
		return invalid("The instance's memory must be from 1 to 300 GB.")
	}
	ref := text(r.body, "authorizedNetwork")
	if ref == "" {
		ref = "default"
	}
	network, err := c.network("compute.networks", "global/networks", ref)
	if err != nil {
		return err
	}
	if text(r.body, "connectMode") == "PRIVATE_SERVICE_ACCESS" && c.resources[network.name+peering] == nil {
		return precondition("Google private service access is not enabled. Enable private service access and try again.")
	}
	place := location(r.name)
	fill(r.body, map[string]any{
		"tier": "BASIC", "connectMode": "DIRECT_PEERING", "redisVersion": "REDIS_7_2", "host": "10.127.0.3", "port": 6379,
		"transitEncryptionMode": "DISABLED", "authEnabled": false, "locationId": place + "-b", "currentLocationId": place + "-b",
		"reservedIpRange": "10.127.0.0/29", "authorizedNetwork": network.name, "readReplicasMode": "READ_REPLICAS_DISABLED",
		"persistenceIamIdentity": strings.Replace("serviceAccount:"+agents["redis.googleapis.com"][0], "%s", c.projectNumber(c.project), 1),
	})
	if get(r.body, "authEnabled") == true && r.data == nil {
		r.data = []byte(uuid())
	}
	r.body["state"] = "READY"
	return labelled(r.body)
}
