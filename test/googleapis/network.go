package googleapis

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
)

// networks is Compute Engine's networks, subnetworks and global addresses, connectors (Serverless VPC Access) and
// private connections (Service Networking).
func networks() service {
	return service{
		kinds: map[string]kind{
			"compute.networks":        {id: field("name"), short: true, settle: settleNetwork, gone: unused},
			"compute.subnetworks":     {id: field("name"), short: true, settle: settleSubnetwork, gone: unused},
			"compute.globalAddresses": {id: field("name"), short: true, settle: settleAddress},
			"vpcaccess.connectors":    {id: parameter("connectorId"), settle: settleConnector},
		},
		methods: map[string]func(*call) (any, error){
			"compute.projects.get": func(c *call) (any, error) {
				return map[string]any{"kind": "compute#project", "id": c.projectNumber(c.project), "name": c.project, "selfLink": selfLink(c.name)}, nil
			},
			"compute.globalAddresses.setLabels":                       labelAddress,
			"servicenetworking.services.connections.create":           createPeering,
			"servicenetworking.services.connections.patch":            createPeering,
			"servicenetworking.services.connections.list":             listPeerings,
			"servicenetworking.services.connections.deleteConnection": deletePeering,
		},
	}
}

var computeName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// computed completes what all resources of compute have.
func (c *call) computed(r *resource, kind string) error {
	if name := text(r.body, "name"); !computeName.MatchString(name) {
		return invalid("Invalid value for field 'resource.name': '%s'.", name)
	}
	fill(r.body, map[string]any{"kind": "compute#" + kind, "id": fmt.Sprint(7000000000000000000 + c.number()), "creationTimestamp": now()})
	r.body["selfLink"] = selfLink(r.name)
	return nil
}

func settleNetwork(c *call, was, r *resource) error {
	fill(r.body, map[string]any{
		"autoCreateSubnetworks": true, "routingConfig": map[string]any{"routingMode": "REGIONAL"}, "mtu": 1460,
		"networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
	})
	return c.computed(r, "network")
}

// network finds one by its URL, its name in the project, or its full name.
func (c *call) network(kind, collection, ref string) (*resource, error) {
	if i := strings.Index(ref, "projects/"); i >= 0 {
		ref = ref[i:]
	} else {
		ref = "projects/" + c.project + "/" + collection + "/" + path.Base(ref)
	}
	return c.must(kind, ref)
}

func settleSubnetwork(c *call, was, r *resource) error {
	network, err := c.network("compute.networks", "global/networks", text(r.body, "network"))
	if err != nil {
		return err
	}
	block, err := netip.ParsePrefix(text(r.body, "ipCidrRange"))
	if err != nil || block.Masked() != block || !block.Addr().Is4() || block.Bits() > 29 {
		return invalid("Invalid value for field 'resource.ipCidrRange': '%s'.", text(r.body, "ipCidrRange"))
	}
	for _, other := range c.resources {
		if other.kind == r.kind && other.name != r.name && other.body["network"] == selfLink(network.name) {
			if b, err := netip.ParsePrefix(text(other.body, "ipCidrRange")); err == nil && b.Overlaps(block) {
				return invalid("The range %s overlaps that of %s.", block, other.name)
			}
		}
	}
	r.body["network"] = selfLink(network.name)
	r.body["region"] = selfLink(strings.Join(strings.Split(r.name, "/")[:4], "/"))
	fill(r.body, map[string]any{
		"gatewayAddress": block.Addr().Next().String(), "fingerprint": random(6), "purpose": "PRIVATE", "stackType": "IPV4_ONLY",
		"privateIpGoogleAccess": false, "privateIpv6GoogleAccess": "DISABLE_GOOGLE_ACCESS",
	})
	return c.computed(r, "subnetwork")
}

func settleAddress(c *call, was, r *resource) error {
	if text(r.body, "purpose") != "VPC_PEERING" || text(r.body, "addressType") != "INTERNAL" {
		return unmodelled("global addresses other than for peering")
	}
	network, err := c.network("compute.networks", "global/networks", text(r.body, "network"))
	if err != nil {
		return err
	}
	r.body["network"] = selfLink(network.name)
	fill(r.body, map[string]any{"address": "10.127.0.0", "prefixLength": 16, "status": "RESERVED", "networkTier": "PREMIUM", "labelFingerprint": random(6)})
	return c.computed(r, "address")
}

func labelAddress(c *call) (any, error) {
	r, err := c.find(c.name)
	if err != nil {
		return nil, err
	}
	if text(c.body, "labelFingerprint") != text(r.body, "labelFingerprint") {
		return nil, conflict("conditionNotMet", "Labels fingerprint either invalid or resource labels have changed.")
	}
	put(r.body, c.body["labels"], "labels")
	r.body["labelFingerprint"] = random(6)
	if err := labelled(r.body); err != nil {
		return nil, err
	}
	return c.result(r, nil)
}

// unused refuses to delete what something else uses.
func unused(c *call, r *resource) error {
	for name, other := range c.resources {
		if other.kind == "operation" || name == r.name {
			continue
		}
		if err := each(other.body, func(field string, v any) error {
			ref, _ := v.(string)
			list, _ := v.([]any)
			for _, element := range append(list, ref) {
				s, _ := element.(string)
				i := strings.Index(s, "projects/")
				if (field == "network" || field == "subnetwork" || field == "authorizedNetwork") && (i >= 0 && s[i:] == r.name || s == path.Base(r.name) && other.kind == "cloudfunctions.functions") {
					return newFault(400, "INVALID_ARGUMENT", "The resource '%s' is already being used by '%s'", r.name, name)
				}
			}
			return nil
		}); err != nil {
			err.(*fault).reason = "resourceInUseByAnotherResource"
			return err
		}
	}
	return nil
}

func settleConnector(c *call, was, r *resource) error {
	if subnet := text(r.body, "subnet", "name"); subnet != "" {
		if _, err := c.network("compute.subnetworks", "regions/"+location(r.name)+"/subnetworks", subnet); err != nil {
			return err
		}
	} else if _, err := c.network("compute.networks", "global/networks", text(r.body, "network")); err != nil {
		return err
	} else if block, err := netip.ParsePrefix(text(r.body, "ipCidrRange")); err != nil || block.Bits() != 28 {
		return invalid("A connector needs a range of 28 bits, not %q.", text(r.body, "ipCidrRange"))
	}
	fill(r.body, map[string]any{"minThroughput": 200, "maxThroughput": 300, "minInstances": 2, "maxInstances": 3, "machineType": "e2-micro"})
	r.body["state"] = "READY"
	return nil
}

// A private connection is named projects/p/global/networks/n/peerings/servicenetworking-googleapis-com.
const peering = "/peerings/servicenetworking-googleapis-com"

func createPeering(c *call) (any, error) {
	network, err := c.network("compute.networks", "global/networks", networkPath(text(c.body, "network")))
	if err != nil {
		return nil, err
	}
	c.project = strings.Split(network.name, "/")[1]
	if err := c.enabled(c.doc.host); err != nil {
		return nil, err
	}
	ranges, _ := c.body["reservedPeeringRanges"].([]any)
	if len(ranges) == 0 {
		return nil, invalid("A connection needs a reserved range.")
	}
	for _, name := range ranges {
		if _, err := c.must("compute.globalAddresses", "projects/"+c.project+"/global/addresses/"+name.(string)); err != nil {
			return nil, err
		}
	}
	r := &resource{name: network.name + peering, kind: "servicenetworking.services.connections", body: map[string]any{
		"network": c.body["network"], "reservedPeeringRanges": ranges, "peering": "servicenetworking-googleapis-com", "service": "services/servicenetworking.googleapis.com",
	}}
	c.resources[r.name], c.touched = r, r.name
	op := map[string]any{"name": "operations/pssn." + uuid(), "done": true, "response": r.body}
	return op, nil
}

// networkPath is the name in a URL or path that begins with projects/.
func networkPath(ref string) string { return ref[max(0, strings.Index(ref, "projects/")):] }

func listPeerings(c *call) (any, error) {
	network, err := c.network("compute.networks", "global/networks", networkPath(c.query.Get("network")))
	if err != nil {
		return nil, err
	}
	var all []any
	if r := c.resources[network.name+peering]; r != nil {
		all = append(all, c.show(r))
	}
	return map[string]any{"connections": all}, nil
}

func deletePeering(c *call) (any, error) {
	network, err := c.network("compute.networks", "global/networks", networkPath(text(c.body, "consumerNetwork")))
	if err != nil {
		return nil, err
	}
	for name, r := range c.resources {
		if r.kind == "redis.instances" && strings.HasSuffix(text(r.body, "authorizedNetwork"), path.Base(network.name)) {
			return nil, precondition("Failed to delete connection; Producer services (e.g. %s) are still using this connection.", name)
		}
	}
	delete(c.resources, network.name+peering)
	c.touched = network.name + peering
	return map[string]any{"name": "operations/pssn." + uuid(), "done": true, "response": map[string]any{}}, nil
}
