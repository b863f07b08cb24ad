package googleapis

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// redis is Memorystore for Redis. The instances are names without a server behind them.
func redis() service {
	return service{
		kinds: map[string]kind{"redis.instances": {id: parameter("instanceId"), settle: settleRedis}},
		methods: map[string]func(*call) (any, error){
			"redis.instances.getAuthString": func(c *call) (any, error) {
				r, err := c.find(c.name)
				if err != nil {
					return nil, err
				}
				if get(r.body, "authEnabled") != true {
					return nil, precondition("AUTH is not enabled for %s.", c.name)
				}
				return map[string]any{"authString": string(r.data)}, nil
			},
			"redis.instances.upgrade": func(c *call) (any, error) { return nil, unmodelled("another version of Redis") },
		},
	}
}

var (
	redisID       = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$`)
	redisVersions = strings.Fields("REDIS_3_2 REDIS_4_0 REDIS_5_0 REDIS_6_X REDIS_7_0 REDIS_7_2")
)

// redisChanges are the fields that an instance can be updated in
// (cloud.google.com/memorystore/docs/redis/reference/rest/v1/projects.locations.instances/patch).
var redisChanges = strings.Fields("authEnabled displayName labels maintenancePolicy maintenanceVersion memorySizeGb persistenceConfig readReplicasMode redisConfigs replicaCount secondaryIpRange")

func settleRedis(c *call, was, r *resource) error {
	if id := path.Base(r.name); !redisID.MatchString(id) {
		return invalid("The instance's name %q must be 1 to 40 lower-case letters, digits and dashes, and begin with a letter.", id)
	}
	if was != nil {
		mask := c.query.Get("updateMask")
		for field := range strings.SplitSeq(mask, ",") {
			if field, _, _ = strings.Cut(camel(field), "."); !slices.Contains(redisChanges, field) {
				return invalid("The update mask %q is invalid: %q can't be updated.", mask, field)
			}
		}
	}
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
	switch mode := text(r.body, "connectMode"); {
	case mode == "PRIVATE_SERVICE_ACCESS" && c.resources[network.name+peering] == nil:
		return precondition("Google private service access is not enabled. Enable private service access and try again.")
	case mode != "PRIVATE_SERVICE_ACCESS" && !strings.HasPrefix(network.name, "projects/"+c.project+"/"):
		return invalid("The network %s is another project's, and reached with connectMode PRIVATE_SERVICE_ACCESS alone.", network.name)
	}
	place, tls := location(r.name), text(r.body, "transitEncryptionMode") == "SERVER_AUTHENTICATION"
	port := 6379
	if tls {
		port = 6378
	}
	fill(r.body, map[string]any{
		"tier": "BASIC", "connectMode": "DIRECT_PEERING", "redisVersion": "REDIS_7_2", "host": "10.127.0.3", "port": port,
		"transitEncryptionMode": "DISABLED", "authEnabled": false, "locationId": place + "-b", "currentLocationId": place + "-b",
		"reservedIpRange": "10.127.0.0/29", "authorizedNetwork": network.name, "readReplicasMode": "READ_REPLICAS_DISABLED",
		"persistenceIamIdentity": strings.Replace("serviceAccount:"+agents["redis.googleapis.com"][0], "%s", c.projectNumber(c.project), 1),
	})
	replicas, _ := integer(r.body["replicaCount"])
	switch {
	case !slices.Contains(redisVersions, text(r.body, "redisVersion")):
		return invalid("The version %q of Redis is not supported.", text(r.body, "redisVersion"))
	case text(r.body, "tier") == "BASIC" && (replicas > 0 || text(r.body, "readReplicasMode") == "READ_REPLICAS_ENABLED"):
		return invalid("An instance of the basic tier has no replicas.")
	}
	if text(r.body, "tier") == "STANDARD_HA" {
		fill(r.body, map[string]any{"replicaCount": 1, "alternativeLocationId": place + "-c"})
	}
	if get(r.body, "authEnabled") == true && r.data == nil {
		r.data = []byte(uuid())
	}
	if tls && was == nil {
		authority, err := authority(path.Base(r.name))
		if err != nil {
			return err
		}
		r.body["serverCaCerts"] = []any{authority}
	}
	r.body["state"] = "READY"
	return labelled(r.body)
}

// authority is what an instance shows of the authority that its server's certificate is of. Nobody keeps the key.
func authority(name string) (map[string]any, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	from := time.Now().UTC().Truncate(time.Second)
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "serialNumber": "1",
		"createTime": from.Format(time.RFC3339), "expireTime": certificate.NotAfter.Format(time.RFC3339), "sha1Fingerprint": random(20),
	}, nil
}
