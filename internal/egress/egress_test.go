package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestWhichAddressesAHostMayHave(t *testing.T) {
	only := Only("keycloak.internal", "10.0.0.7")
	for _, row := range []struct {
		host, address string
		// named and strange are whether a host may have the address: one that was named, and any.
		named, strange bool
	}{
		{address: "93.184.215.14", named: true, strange: true},
		{address: "2606:2800:21f:cb07:6820:80da:af6b:8b2c", named: true, strange: true},
		{address: "199.36.153.8", named: true, strange: true}, // private.googleapis.com, which isn't

		{address: "10.1.2.3", named: true},
		{address: "172.31.255.255", named: true},
		{address: "172.32.0.1", named: true, strange: true},
		{address: "192.168.0.1", named: true},
		{address: "100.64.0.1", named: true},
		{address: "198.19.0.1", named: true},
		{address: "240.0.0.1", named: true},
		{address: "127.0.0.1", named: true},
		{address: "127.9.9.9", named: true},
		{address: "::1", named: true},
		{address: "fd00::1", named: true},
		{address: "fec0::1", named: true},
		{address: "::ffff:10.1.2.3", named: true},
		{address: "64:ff9b::10.1.2.3", named: true},

		{address: "169.254.169.254"},
		{address: "169.254.0.1"},
		{address: "::ffff:169.254.169.254"},
		{address: "64:ff9b::a9fe:a9fe"},
		{address: "fe80::1"},
		{address: "fe80::1%eth0"},
		{address: "fd20:ce::254"},
		{address: "fd00:ec2::254"},
		{address: "168.63.129.16"},
		{address: "100.100.100.200"},
		{address: "192.0.0.192"},
		{address: "0.0.0.0"},
		{address: "0.0.0.1"},
		{address: "::"},
		{address: "224.0.0.1"},
		{address: "ff02::1"},
		{address: "255.255.255.255"},
	} {
		for host, want := range map[string]bool{"keycloak.internal": row.named, "Keycloak.Internal": row.named, "oauth2.googleapis.com": row.named, "evil.example": row.strange, "evil.googleapis.com.example": row.strange} {
			if err := only.check(host, netip.MustParseAddr(row.address)); (err == nil) != want {
				t.Errorf("%s at %s: %v", host, row.address, err)
			}
		}
		if err := Configured.check("any.example", netip.MustParseAddr(row.address)); (err == nil) != row.named {
			t.Errorf("configured, at %s: %v", row.address, err)
		}
	}
}

// The address is judged that is connected to, and nothing is sent to one that is refused.
func TestARefusedAddressHearsNothing(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	ask := func(g Guard, url string) error {
		client := &http.Client{Transport: g.Transport(&http.Transport{DisableKeepAlives: true})}
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]"} {
		err := ask(Only("elsewhere.example"), "http://"+host+":"+port)
		if err == nil || !strings.Contains(err.Error(), "is a private address, and the configuration doesn't name ") {
			t.Errorf("%s: %v", host, err)
		}
		if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
			t.Errorf("%s: %T is not known for one before which nothing was sent", host, err)
		}
	}
	if err := ask(Configured, "http://0.0.0.0:"+port); err == nil || !strings.Contains(err.Error(), "connects to for nobody") {
		t.Errorf("0.0.0.0: %v", err)
	}
	if asked != 0 {
		t.Fatalf("%d requests were sent", asked)
	}
	if err := ask(Only("LOCALHOST"), "http://localhost:"+port); err != nil || asked != 1 {
		t.Errorf("the host that is named: %v, asked %d times", err, asked)
	}
}

// net/http reads the environment once, so each setting is a process of its own.
func TestAProxyOfTheEnvironmentIsUsed(t *testing.T) {
	if os.Getenv("EGRESS_TEST_URL") != "" {
		client := &http.Client{Transport: Only().Transport(&http.Transport{})}
		resp, err := client.Get(os.Getenv("EGRESS_TEST_URL"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return
	}
	requests := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests <- r.RequestURI }))
	defer proxy.Close()
	for to, want := range map[string]string{
		"http://idp.example/keys":      "",
		"http://169.254.169.254/token": "connects to for nobody",
		"http://10.0.0.1/keys":         "is a private address",
	} {
		cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestAProxyOfTheEnvironmentIsUsed$")
		cmd.Env = append(os.Environ(), "EGRESS_TEST_URL="+to, "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "http_proxy="+proxy.URL, "no_proxy=")
		out, err := cmd.CombinedOutput()
		var asked []string
		for len(requests) > 0 {
			asked = append(asked, <-requests)
		}
		switch {
		case want == "" && (err != nil || len(asked) != 1 || asked[0] != to):
			t.Errorf("%s: %v, the proxy was asked for %q\n%s", to, err, asked, out)
		case want != "" && (err == nil || !strings.Contains(string(out), want) || len(asked) != 0):
			t.Errorf("%s: %v, the proxy was asked for %q\n%s", to, err, asked, out)
		}
	}
}
