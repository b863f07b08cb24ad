package limit_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"llmgateway.dev/gateway/internal/limit"
)

// Three instances whose clocks are apart by a day, and many requests at once. With LIMIT_REDIS, the
// address of a real Redis whose counts may go, that is the store (make e2e says so).
func TestManyInstancesAtOnceKeepToOneLimit(t *testing.T) {
	address := os.Getenv("LIMIT_REDIS")
	if address == "" {
		server := miniredis.RunT(t)
		address = server.Addr()
	}
	const limits = `
  - {name: rate, models: [mini], requests_per_minute: 30, tokens_per_minute: 100000}
  - {name: slots, models: [gpt], concurrent_requests: 5}
  - {name: budget, models: [gpt], usd_per_month: 0.05}`
	config := configuration(t, limits, "redis://"+address)
	who := client("crowd-" + time.Now().Format(time.RFC3339Nano))
	var instances []*limit.Limits
	for _, skew := range []time.Duration{0, -26 * time.Hour, 25 * time.Hour} {
		l, err := limit.NewAt(config, func() time.Time { return time.Now().Add(skew) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, l)
	}

	var rated, refusals, spent, open, most atomic.Int64
	begin := time.Now()
	var crowd sync.WaitGroup
	for i := range 24 {
		crowd.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range 40 {
				l := instances[(i+n)%3]
				if n%4 == 0 {
					if _, err := l.Reserve(t.Context(), who, chat(t, "mini", 10)); err == nil {
						rated.Add(1) // and is never settled
					} else {
						refusals.Add(1)
					}
					continue
				}
				most64 := 50 + r.IntN(50)
				reservation, err := l.Reserve(t.Context(), who, chat(t, "gpt", most64))
				if err != nil {
					refusals.Add(1)
					continue
				}
				now := open.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
				out := int64(r.IntN(most64 + 1))
				open.Add(-1) // before the slot is given back
				if r.IntN(5) == 0 {
					reservation.Cancel(context.Background())
					continue
				}
				reservation.Settle(context.Background(), limit.Usage{Input: 20, Output: out})
				if reservation.StoreError != nil {
					t.Error(reservation.StoreError)
				}
				spent.Add(20*10_000 + out*30_000) // nano-USD
			}
		})
	}
	crowd.Wait()
	elapsed := time.Since(begin)
	if n := float64(rated.Load()); n < 30 || n > 30*(1+elapsed.Minutes())+1e-9 {
		t.Errorf("%v of 30 a minute were let through in %s", n, elapsed)
	}
	if most.Load() > 5 {
		t.Errorf("%d of 5 at once", most.Load())
	}
	usd := float64(spent.Load()) / 1e9
	if usd > 0.05 || usd < 0.045 {
		t.Errorf("%v of 0.05 USD were spent", usd)
	}
	if refusals.Load() < 100 {
		t.Errorf("only %d refusals: this shows nothing", refusals.Load())
	}
	for _, l := range instances {
		shown, err := l.Show(t.Context(), who, []string{"gpt", "mini"})
		if err != nil {
			t.Fatal(err)
		}
		if got := *shown[2].Month.Spent; got < usd-1e-9 || got > usd+1e-9 {
			t.Errorf("%v USD by the store, %v by the clients", got, usd)
		}
		if left := *shown[1].Concurrent.Remaining; left != 5 {
			t.Errorf("%d of 5 are free at the end", left)
		}
	}
	t.Logf("%d requests in %s: %d of 30 a minute let through, %d of 5 at once, %.6f of 0.05 USD spent, %d refused", 24*40, elapsed.Round(time.Millisecond), rated.Load(), most.Load(), usd, refusals.Load())
}

// One request's way through a rate, tokens and a budget, there and back. With LIMIT_REDIS, also over that.
func BenchmarkReserveAndSettle(b *testing.B) {
	stores := []struct{ name, url string }{{"memory", "memory"}}
	if address := os.Getenv("LIMIT_REDIS"); address != "" {
		stores = append(stores, struct{ name, url string }{"Redis", "redis://" + address})
	}
	for _, store := range stores {
		b.Run(store.name, func(b *testing.B) {
			now := time.Now()
			pass := func() time.Time { now = now.Add(100 * time.Microsecond); return now } // or the rate would be used up
			l, err := limit.NewAt(configuration(b, `[{name: b, groups: [g], requests_per_minute: 1000000, tokens_per_minute: 100000000, usd_per_day: 1000000, accept_reset: true}]`, store.url), pass, nil)
			if err != nil {
				b.Fatal(err)
			}
			who, req := client("a", "g"), chat(b, "gpt", 1)
			b.ReportAllocs()
			for b.Loop() {
				r, err := l.Reserve(b.Context(), who, req)
				if err != nil {
					b.Fatal(err)
				}
				r.Settle(b.Context(), limit.Usage{Input: 1, Output: 1})
			}
		})
	}
}
