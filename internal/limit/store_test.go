package limit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/limit"
	"llmgateway.dev/gateway/internal/principal"
)

const failing = `
  - {name: rate, groups: [rate], requests_per_minute: 10, tokens_per_minute: 10000, concurrent_requests: 10}
  - {name: budget, groups: [budget], usd_per_day: 1}
  - {name: strict, groups: [strict], concurrent_requests: 10, on_store_failure: deny}
  - {name: loose, groups: [loose], usd_per_month: 1, on_store_failure: allow}
`

func TestWhileTheStoreIsAwayEachLimitDoesAsItSays(t *testing.T) {
	server := miniredis.RunT(t)
	l, err := limit.NewAt(configuration(t, failing, "redis://"+server.Addr()), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	for group, lets := range map[string]bool{"rate": true, "budget": false, "strict": false, "loose": true} {
		r, err := l.Reserve(t.Context(), client("a", group), chat(t, "gpt", 1))
		if r.StoreError == nil || r.Group != group {
			t.Errorf("%s: it isn't recorded: %+v", group, r)
		}
		if lets && err != nil {
			t.Errorf("%s: %v", group, err)
		}
		if e := apierror.From(err); !lets && (err == nil || e.Kind != apierror.LimitsUnavailable || e.RetryAfter != time.Second || e.Cause == nil || !strings.Contains(e.Message, group)) {
			t.Errorf("%s: %v", group, err)
		}
		r.Settle(context.Background(), limit.Usage{Output: 1})
	}
	if _, err := l.Reserve(t.Context(), client("a", "budget", "rate"), chat(t, "gpt", 1)); err == nil {
		t.Error("a limit that lets through overrides one that doesn't")
	}
	shown, err := l.Show(t.Context(), client("a", "budget"), nil)
	if err == nil || len(shown) != 1 || *shown[0].Day.Limit != 1 || shown[0].Day.Spent != nil {
		t.Errorf("%+v %v", shown, err)
	}

	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"rate", "budget", "strict", "loose"} {
		reserved(t, l, client("a", group), chat(t, "gpt", 1))
	}
}

// proxy passes bytes to a server, and its answers back once they are let.
type proxy struct {
	net.Listener
	mu   sync.Mutex
	held bool
	free *sync.Cond
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{Listener: l}
	p.free = sync.NewCond(&p.mu)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			go func() {
				defer client.Close()
				b := make([]byte, 4096)
				for {
					n, err := server.Read(b)
					p.mu.Lock()
					for p.held {
						p.free.Wait()
					}
					p.mu.Unlock()
					if _, werr := client.Write(b[:n]); err != nil || werr != nil {
						return
					}
				}
			}()
		}
	}()
	return p
}

func (p *proxy) hold(is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = is
	p.free.Broadcast()
}

// Were it not so, this test would hang: nothing answers until it is over. What was counted after all,
// though no answer came in time, is settled or given back.
func TestAStoreThatDoesNotAnswerHoldsNobodyAndWhatItCountedIsSettled(t *testing.T) {
	server := miniredis.RunT(t)
	p := newProxy(t, server.Addr())
	c := configuration(t, failing, "redis://"+p.Addr().String())
	slow, err := limit.New(c, nil) // by the real bound
	if err != nil {
		t.Fatal(err)
	}
	slow.Warm(t.Context())
	direct, err := limit.NewAt(configuration(t, failing, "redis://"+server.Addr()), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	who := client("a", "loose", "rate")
	left := func() (tokens, concurrent int64, spent float64) {
		shown, err := direct.Show(t.Context(), who, nil)
		if err != nil {
			t.Fatal(err)
		}
		return *shown[0].Tokens.Remaining, *shown[0].Concurrent.Remaining, *shown[1].Month.Spent
	}
	// Connections enough, so that what is asked arrives and only its answer doesn't.
	p.hold(true)
	bound := slow.SetPatience(time.Minute)
	if bound > 50*time.Millisecond {
		t.Errorf("a request may wait for %s", bound)
	}
	var connecting sync.WaitGroup
	for range 8 {
		connecting.Go(func() { slow.Show(t.Context(), client("nobody", "rate"), nil) })
	}
	for server.CurrentConnectionCount() < 8 {
		time.Sleep(time.Millisecond)
	}
	p.hold(false)
	connecting.Wait()
	slow.SetPatience(bound)
	p.hold(true)
	var open []*limit.Reservation
	for range 3 {
		r, err := slow.Reserve(t.Context(), who, chat(t, "gpt", 980))
		if err != nil || r.StoreError == nil {
			t.Fatalf("%+v %v", r, err)
		}
		open = append(open, r)
	}
	for i := 0; i < 3; i++ { // refused, and given back without anybody waiting
		r, err := slow.Reserve(t.Context(), client("a", "budget", "rate"), chat(t, "gpt", 980))
		if err == nil || r.StoreError == nil {
			t.Fatalf("%+v %v", r, err)
		}
	}
	p.hold(false)
	slow.SetPatience(time.Minute)
	for _, r := range open {
		r.StoreError = nil
		settle(t, r, limit.Usage{Input: 20, Output: 80})
	}
	for { // until it is so
		if tokens, concurrent, spent := left(); concurrent == 10 && tokens >= 10000-300 && spent <= 0.0078+1e-9 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A store that fails for a moment when a call ends must not hold what it reserved for an hour.
func TestASettlementThatFailsIsMadeLaterOnce(t *testing.T) {
	server := miniredis.RunT(t)
	l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_month: 1, concurrent_requests: 1}]`, "redis://"+server.Addr()), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := reserved(t, l, client("a"), chat(t, "gpt", 980))
	server.SetError("LOADING Redis is loading the dataset in memory")
	r.Settle(t.Context(), limit.Usage{Input: 20, Output: 80})
	if r.StoreError == nil {
		t.Fatal("the store failed, and nobody says so")
	}
	server.SetError("")
	for {
		shown, err := l.Show(t.Context(), client("a"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if *shown[0].Concurrent.Remaining == 1 {
			if *shown[0].Month.Spent != 0.0026 {
				t.Errorf("%v USD spent", *shown[0].Month.Spent)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Nobody can tell a settlement that never came from one whose answer was lost. It is made again, and counts once.
func TestASettlementWhoseAnswerIsLostCountsOnce(t *testing.T) {
	server := miniredis.RunT(t)
	p := newProxy(t, server.Addr())
	const limits = `[{name: b, usd_per_month: 1, tokens_per_minute: 100000, concurrent_requests: 2}]`
	l, err := limit.NewAt(configuration(t, limits, "redis://"+p.Addr().String()), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := reserved(t, l, client("a"), chat(t, "gpt", 980))
	others := reserved(t, l, client("a"), chat(t, "gpt", 980))
	p.hold(true)
	had := l.SetPatience(50 * time.Millisecond)
	r.Settle(t.Context(), limit.Usage{Input: 20, Output: 80})
	if r.StoreError == nil {
		t.Fatal("no answer came, and nobody says so")
	}
	l.SetPatience(had)
	p.hold(false)
	for l.Behind() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	settle(t, others, limit.Usage{Input: 20, Output: 80})
	shown, err := l.Show(t.Context(), client("a"), nil)
	if err != nil || *shown[0].Month.Spent != 0.0052 || *shown[0].Concurrent.Remaining != 2 {
		t.Errorf("%v USD spent, %d slots left: %v", *shown[0].Month.Spent, *shown[0].Concurrent.Remaining, err)
	}
}

// The context of a client that left is over.
func TestASettlementIsMadeThoughItsClientLeft(t *testing.T) {
	each(t, `[{name: one, concurrent_requests: 1, usd_per_month: 1, accept_reset: true}]`, func(t *testing.T, l *limit.Limits, c *clock) {
		r := reserved(t, l, client("a"), chat(t, "gpt", 80))
		gone, leave := context.WithCancel(t.Context())
		leave()
		if r.Settle(gone, limit.Usage{Input: 20, Output: 80}); r.StoreError != nil {
			t.Error(r.StoreError)
		}
		reserved(t, l, client("a"), chat(t, "gpt", 80))
	})
}

func TestTheStoreIsAskedOnceBeforeACallAndOnceAfterOneThatIsSettled(t *testing.T) {
	redis := miniredis.RunT(t)
	l, err := limit.NewAt(configuration(t, `
  - {name: rate, requests_per_minute: 1000}
  - {name: slots, groups: [team], concurrent_requests: 10, tokens_per_minute: 100000, usd_per_day: 1}
  - {name: model, per: model, requests_per_minute: 1000}`, "redis://"+redis.Addr()), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	reserved(t, l, client("a"), chat(t, "gpt", 1)) // the script is known there from now on
	var asked atomic.Int64
	redis.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
		if strings.HasPrefix(command, "EVAL") { // what the script itself calls comes by here too
			asked.Add(1)
		}
		return false
	})
	for _, row := range []struct {
		who  *principal.Principal
		want int64
	}{{client("a"), 1}, {client("a", "team"), 2}} {
		asked.Store(0)
		settle(t, reserved(t, l, row.who, chat(t, "gpt", 1)), limit.Usage{Input: 20, Output: 1})
		if n := asked.Load(); n != row.want {
			t.Errorf("%v: the store was asked %d times", row.who.Groups, n)
		}
	}
}

func TestGatewaysThatShareAServerCountApartInDatabasesOfTheirOwn(t *testing.T) {
	server := miniredis.RunT(t)
	for _, database := range []string{"", "/1"} {
		l, err := limit.NewAt(configuration(t, `[{name: one, requests_per_minute: 1}]`, "redis://"+server.Addr()+database), time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		reserved(t, l, client("a"), chat(t, "gpt", 1))
		refused(t, l, client("a"), chat(t, "gpt", 1), "one", "requests_per_minute")
	}
}

func TestWhatTheStoreLostIsNotGivenBack(t *testing.T) {
	c := &clock{at: noon, server: miniredis.RunT(t)}
	c.server.SetTime(noon)
	l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_day: 1, tokens_per_minute: 10000, concurrent_requests: 3}]`, "redis://"+c.server.Addr()), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	who := client("a")
	r := reserved(t, l, who, chat(t, "gpt", 980)) // 0.0296 USD
	c.server.FlushAll()                           // restarted, with nothing
	settle(t, r, limit.Usage{Input: 20, Output: 80})
	shown, err := l.Show(t.Context(), who, nil)
	if err != nil || *shown[0].Day.Spent != 0.0026 || *shown[0].Tokens.Remaining != 9900 || *shown[0].Concurrent.Remaining != 3 {
		t.Errorf("%+v %+v %v", *shown[0].Day.Spent, *shown[0].Tokens.Remaining, err)
	}
}

func TestWhatAnInstanceHadReservedThatIsGoneIsFreeAgainAndItsMoneySpent(t *testing.T) {
	c := &clock{at: noon, server: miniredis.RunT(t)}
	c.server.SetTime(noon)
	l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_day: 1, tokens_per_minute: 1000, concurrent_requests: 1}]`, "redis://"+c.server.Addr()), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	who := client("a")
	reserved(t, l, who, chat(t, "gpt", 980)) // and never heard of again
	c.forward(55 * time.Minute)
	refused(t, l, who, chat(t, "gpt", 10), "b", "concurrent_requests")
	c.forward(time.Minute)
	reserved(t, l, who, chat(t, "gpt", 10)).Cancel(context.Background())
	shown, err := l.Show(t.Context(), who, nil)
	if err != nil || *shown[0].Day.Spent != 0.0296 || *shown[0].Tokens.Remaining != 1000 || *shown[0].Concurrent.Remaining != 1 {
		t.Errorf("%+v %+v %v", *shown[0].Day.Spent, *shown[0].Tokens.Remaining, err)
	}
}

// An instance whose clock is a day ahead would begin each day's budget a day too soon.
func TestTheStoresClockSaysWhichDayItIs(t *testing.T) {
	c := &clock{at: noon, server: miniredis.RunT(t)}
	c.server.SetTime(noon)
	config := configuration(t, `[{name: b, usd_per_day: 0.001}]`, "redis://"+c.server.Addr())
	ahead, err := limit.NewAt(config, func() time.Time { return c.now().Add(25 * time.Hour) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	right, err := limit.NewAt(config, c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, reserved(t, ahead, client("a"), chat(t, "gpt", 10)), limit.Usage{Input: 100})
	refused(t, right, client("a"), chat(t, "gpt", 10), "b", "usd_per_day")
	if e := refused(t, ahead, client("a"), chat(t, "gpt", 10), "b", "usd_per_day"); e.RetryAfter != 12*time.Hour {
		t.Error(e.RetryAfter)
	}
	shown, err := ahead.Show(t.Context(), client("a"), nil)
	if err != nil || *shown[0].Day.Spent != 0.001 {
		t.Errorf("%+v %v", shown, err)
	}
	c.forward(12 * time.Hour)
	reserved(t, right, client("a"), chat(t, "gpt", 10))
}

func TestAUTHPresentsTheCredentialAsItIsNow(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireUserAuth("gateway", "first")
	password, unavailable := "first", error(nil)
	l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_day: 1}]`, "{url: redis://gateway@"+server.Addr()+", credential: redis}"), time.Now,
		func(context.Context) (string, error) { return password, unavailable })
	if err != nil {
		t.Fatal(err)
	}
	reserved(t, l, client("a"), chat(t, "gpt", 1))
	server.Close() // its connections end
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	server.RequireUserAuth("gateway", "second")
	if _, err := l.Reserve(t.Context(), client("a"), chat(t, "gpt", 1)); err == nil {
		t.Error("the former password was taken")
	} else if strings.Contains(err.Error(), "first") {
		t.Errorf("%v tells the password", err)
	}
	password = "second"
	reserved(t, l, client("a"), chat(t, "gpt", 1))

	server.Close()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	unavailable = errors.New("no secret")
	if r, err := l.Reserve(t.Context(), client("a"), chat(t, "gpt", 1)); err == nil || !strings.Contains(r.StoreError.Error(), "no secret") {
		t.Errorf("%v", err)
	}
}

// certificate is one for a loopback address, and its PEM.
func certificate(t *testing.T, address string) (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTheServersCertificateIsCheckedAgainstItsOwnAuthority(t *testing.T) {
	cert, authority := certificate(t, "127.0.0.1")
	_, another := certificate(t, "127.0.0.1")
	wrong, wrongAuthority := certificate(t, "127.0.0.2")
	file := filepath.Join(t.TempDir(), "ca.pem")
	for name, row := range map[string]struct {
		serves tls.Certificate
		trusts []byte
		ok     bool
	}{
		"its own":              {cert, authority, true},
		"among others":         {cert, bytes.Join([][]byte{another, authority}, nil), true},
		"another's":            {cert, another, false},
		"for another address":  {wrong, wrongAuthority, false},
		"nobody's in this set": {cert, nil, false},
	} {
		redis, err := miniredis.RunTLS(&tls.Config{Certificates: []tls.Certificate{row.serves}})
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		store := "{url: rediss://" + redis.Addr() + "}"
		if row.trusts != nil {
			store = "{url: rediss://" + redis.Addr() + ", ca: {file: " + file + "}}"
			if err := os.WriteFile(file, row.trusts, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_day: 1}]`, store), time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = l.Reserve(t.Context(), client("a"), chat(t, "gpt", 1)); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAddressAndCertificatesMayComeFromTheEnvironment(t *testing.T) {
	cert, authority := certificate(t, "127.0.0.1")
	redis, err := miniredis.RunTLS(&tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	c := configuration(t, `[{name: b, usd_per_day: 1}]`, "{url_env: STORE, ca: {env: STORE_CA}}")
	for _, row := range []struct {
		address, ca, fault string
		// checked says that the fault is found without starting: what isn't set here may be so elsewhere.
		checked bool
	}{
		{"", string(authority), "limit_store.url_env: the environment variable STORE is not set", false},
		{"memory", "", "limit_store.url_env: the address in STORE is memory, which is no Redis", true},
		{"redis.example.com", "", "limit_store.url_env: the address in STORE is not memory, redis://HOST:PORT", true},
		{"redis://:hunter2@10.0.0.1", "", "limit_store.url_env: the address in STORE has a password", true},
		{"rediss://" + redis.Addr(), "", "limit_store.ca: environment variable STORE_CA holds no certificate in PEM", false},
		{"rediss://" + redis.Addr(), "none", "limit_store.ca: environment variable STORE_CA holds no certificate in PEM", true},
		{"rediss://" + redis.Addr(), string(authority), "", false},
	} {
		t.Setenv("STORE", row.address)
		t.Setenv("STORE_CA", row.ca)
		checked := limit.Check(c).Err()
		if found := checked != nil && strings.Contains(checked.Error(), row.fault); found != row.checked || checked != nil && !found || strings.Contains(fmt.Sprint(checked), "hunter2") {
			t.Errorf("%q is checked: %v", row.address, checked)
		}
		l, err := limit.NewAt(c, time.Now, nil)
		if row.fault == "" {
			if err != nil {
				t.Fatal(err)
			}
			reserved(t, l, client("a"), chat(t, "gpt", 1))
			continue
		}
		faults, _ := errors.AsType[config.Faults](err)
		if len(faults) != 1 || faults[0].Line == 0 || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", row.address, err)
		}
	}
}

func TestCertificatesAreCheckedWhereTheyAre(t *testing.T) {
	file := filepath.Join(t.TempDir(), "redis.pem")
	c := configuration(t, `[{name: b, usd_per_day: 1}]`, "{url: rediss://redis.example.com, ca: {file: "+file+"}}")
	if faults := limit.Check(c); len(faults) > 0 { // it may be mounted where the gateway runs
		t.Errorf("absent: %v", faults)
	}
	if _, err := limit.NewAt(c, time.Now, nil); err == nil || !strings.Contains(err.Error(), "limit_store.ca: open "+file) {
		t.Errorf("absent: %v", err)
	}
	if err := os.WriteFile(file, []byte("-----BEGIN CERTIFICATE-----"), 0o600); err != nil {
		t.Fatal(err)
	}
	if faults := limit.Check(c); len(faults) != 1 || faults[0].Line == 0 || faults[0].Message != "file "+file+" holds no certificate in PEM" {
		t.Errorf("torn: %v", faults)
	}
}

// Whatever a server answers, it is an error or an answer, and never a panic.
func TestAServerThatIsNoRedisIsAStoreThatFails(t *testing.T) {
	for _, answer := range []any{"OK", []int{}, []int{1}, []int{1, 2, 3}, []string{"a", "b", "c", "d", "e", "f"}} {
		s, err := server.NewServer("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.Register("EVALSHA", func(c *server.Peer, cmd string, args []string) {
			switch a := answer.(type) {
			case string:
				c.WriteBulk(a)
			case []int:
				c.WriteLen(len(a))
				for _, n := range a {
					c.WriteInt(n)
				}
			case []string:
				c.WriteStrings(a)
			}
		})
		l, err := limit.NewAt(configuration(t, failing, "redis://"+s.Addr().String()), time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := l.Reserve(t.Context(), client("a", "budget"), chat(t, "gpt", 1)); err == nil || r.StoreError == nil {
			t.Errorf("%v: %v", answer, err)
		}
	}
}

func TestMemoryKeepsNoMoreCountsThanCount(t *testing.T) {
	c := &clock{at: noon}
	l, err := limit.NewAt(configuration(t, `[{name: b, requests_per_minute: 10, tokens_per_minute: 1000, usd_per_day: 1, accept_reset: true}]`, "memory"), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if i%1000 == 0 {
			c.forward(24 * time.Hour)
		}
		settle(t, reserved(t, l, client(time.Duration(i).String()), chat(t, "gpt", 1)), limit.Usage{Input: 1, Output: 1})
	}
	// A month's budgets are kept to its end: up to 12 thousand clients of November or December.
	if n := l.Counts(); n > 25_000 {
		t.Errorf("%d counts of 20000 clients that left", n)
	}
}

func TestEveryKeyExpiresWhenItCountsNothingAnyMore(t *testing.T) {
	c := &clock{at: noon, server: miniredis.RunT(t)}
	c.server.SetTime(noon)
	l, err := limit.NewAt(configuration(t, `[{name: b, usd_per_day: 1, usd_per_month: 10, requests_per_minute: 10, tokens_per_minute: 1000, concurrent_requests: 3}]`, "redis://"+c.server.Addr()), c.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, reserved(t, l, client("a"), chat(t, "gpt", 80)), limit.Usage{Input: 20, Output: 80})
	reserved(t, l, client("a"), chat(t, "gpt", 80))
	keys := c.server.Keys()
	for _, key := range keys {
		if c.server.TTL(key) <= 0 {
			t.Errorf("%s stays for ever", key)
		}
		if strings.Contains(key, "id.example.com") || !strings.HasPrefix(key, "{llmgateway}:b:") {
			t.Errorf("%s tells a client's name", key)
		}
	}
	if len(keys) != 9 { // a hash for each kind, and the reservations of all but requests
		t.Errorf("%v", keys)
	}
	c.forward(3 * 24 * time.Hour) // nobody called; the month goes on
	shown, err := l.Show(t.Context(), client("a"), nil)
	if err != nil || *shown[0].Month.Spent != 0.0052 { // and what was never settled is spent
		t.Errorf("%v USD spent in November: %v", *shown[0].Month.Spent, err)
	}
	c.forward(3 * 24 * time.Hour) // December 2nd
	if keys := c.server.Keys(); len(keys) > 1 {
		t.Errorf("in the next month there are still %v", keys)
	}
	c.forward(24 * time.Hour)
	if keys := c.server.Keys(); len(keys) != 0 {
		t.Errorf("%v", keys)
	}
}
