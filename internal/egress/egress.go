// Package egress keeps the gateway's own connections away from where somebody else would have them go: an issuer
// by its discovery document, whoever may write a secret by the key file in it, the owner of a domain by its
// name's addresses.
//
// It is the address that a name resolved to which is judged, at the moment of connecting: whatever the name
// resolved to before, or will later, doesn't matter.
//
//   - Link-local addresses, those of the clouds' metadata servers, and those that are no host's, are never
//     connected to. What speaks to the metadata server on purpose, Application Default Credentials, has a client
//     of its own.
//   - Private addresses and this machine's are for hosts that somebody trusted named.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Guard says which hosts may be at a private address, or at one of this machine's.
type Guard func(host string) bool

// Configured is for connections whose host only the configuration, or a rule of our own, can say. A name in it may
// well lead to a private endpoint.
var Configured Guard = func(string) bool { return true }

// Only is for connections whose host may be said by somebody else, too. These may be at private addresses, and so may
// Google's own (*.googleapis.com), which Private Service Connect gives addresses of the operator's network.
func Only(hosts ...string) Guard {
	named := map[string]bool{}
	for _, host := range hosts {
		named[strings.ToLower(host)] = true
	}
	return func(host string) bool {
		host = strings.ToLower(host)
		return named[host] || strings.HasSuffix(host, ".googleapis.com")
	}
}

// Transport makes t dial under the guard, and by the environment's proxies. A proxy resolves names itself and must guard
// itself; an address that a URL spells out is judged even so.
func (g Guard) Transport(t *http.Transport) *http.Transport {
	t.DialContext = g.dial
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(r)
		if proxy != nil {
			if to, not := netip.ParseAddr(r.URL.Hostname()); not == nil {
				if err := g.check(r.URL.Hostname(), to); err != nil {
					return nil, err
				}
			}
		}
		return proxy, err
	}
	return t
}

func (g Guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return g.check(host, to.Addr())
	}}
	return d.DialContext(ctx, network, address)
}

// check judges the address that a host resolved to.
func (g Guard) check(host string, to netip.Addr) error {
	to = to.WithZone("").Unmap()
	if nat64.Contains(to) {
		all := to.As16()
		to = netip.AddrFrom4([4]byte(all[12:]))
	}
	if within(never, to) {
		return fmt.Errorf("%s is an address of the platform's own, which the gateway connects to for nobody", to)
	}
	if within(private, to) && !g(host) && !proxies()[host] {
		return fmt.Errorf("%s is a private address, and the configuration doesn't name %s", to, host)
	}
	return nil
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// nat64 has IPv4 addresses within (RFC 6052 section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

var never = prefixes(
	"169.254.0.0/16", "fe80::/10", // link-local; most clouds' metadata servers are at 169.254.169.254
	"fd20:ce::254/128",    // Google's (docs.cloud.google.com/compute/docs/metadata/querying-metadata)
	"fd00:ec2::254/128",   // AWS's (docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html)
	"168.63.129.16/32",    // Azure's (learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16)
	"100.100.100.200/32",  // Alibaba's (alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata)
	"192.0.0.192/32",      // Oracle's, of old
	"0.0.0.0/8", "::/128", // Linux takes these for this machine
	"224.0.0.0/4", "ff00::/8", "255.255.255.255/32", // many hosts
)

var private = prefixes(
	"127.0.0.0/8", "::1/128", // this machine
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
	"100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", // RFC 6890, and what Google Cloud's networks take of it
	"fc00::/7", "fec0::/10", // RFC 4193, and what was before it
)

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range all {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

// proxies are the hosts of the environment's proxies, which net/http reads once, too.
var proxies = sync.OnceValue(func() map[string]bool {
	hosts := map[string]bool{}
	for _, scheme := range []string{"http", "https"} {
		somewhere := &http.Request{URL: &url.URL{Scheme: scheme, Host: "somewhere.invalid"}}
		if proxy, err := http.ProxyFromEnvironment(somewhere); err == nil && proxy != nil {
			hosts[proxy.Hostname()] = true
		}
	}
	return hosts
})
