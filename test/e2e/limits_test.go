//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/program"
)

// meter is a provider whose models tell the usage that is in their name, and which counts the calls that
// it is answering.
type meter struct {
	*httptest.Server
	mu         sync.Mutex
	open, most map[string]int
}

func newMeter(t *testing.T) *meter {
	m := &meter{open: map[string]int{}, most: map[string]int{}}
	name := regexp.MustCompile(`"model":"(in-([0-9]+)-out-([0-9]+))"`)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		model := name.FindStringSubmatch(string(body))
		if model == nil {
			http.Error(w, "no such model", 404)
			return
		}
		m.count(model[1], 1)
		time.Sleep(5 * time.Millisecond)
		m.count(model[1], -1) // before the gateway can know that it ended
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"model":%q,"usage":{"prompt_tokens":%s,"completion_tokens":%s}}`, model[1], model[2], model[3])
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *meter) count(model string, d int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[model] += d
	m.most[model] = max(m.most[model], m.open[model])
}

// keepsToLimits is three instances of the function over one Redis, and a crowd at each.
func (p *parts) keepsToLimits(t *testing.T, ctx context.Context) {
	m := newMeter(t)
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	redis, err := p.redis.Log(t, port)
	if err != nil {
		t.Fatal(err)
	}
	s := p.scene(t, ctx, p.keycloak.issuer("my-realm"), "{}")
	s.files = "limits"
	s.addresses["METERED"], s.addresses["REDIS"] = m.URL+"/v1", port
	c := &crowd{token: platformToken(t, ctx, p.keycloak.issuer("my-realm"))}
	for range 3 {
		c.instances = append(c.instances, s.start(t, ctx))
	}
	c.rush(t, ctx, "outage-rate", 12, 1) // all is warm

	t.Run("a rate is never exceeded", func(t *testing.T) {
		begun := time.Now()
		got := c.rush(t, ctx, "rated", 24, 20)
		elapsed := time.Since(begun)
		if n := float64(got[200]); n > 60*(1+elapsed.Minutes()) || n < 60 && got[503] == 0 {
			t.Errorf("%v of 60 a minute got through in %s: %v", n, elapsed, got)
		}
		t.Logf("480 calls in %.1f s: %v", elapsed.Seconds(), got)
	})
	t.Run("no more are served at once", func(t *testing.T) {
		got := c.rush(t, ctx, "slotted", 24, 20)
		if most := m.most["in-10-out-11"]; most > 4 || most < 2 && got[503] == 0 {
			t.Errorf("%d of 4 at once", most)
		}
		t.Logf("480 calls, at most %d of 4 at once: %v", m.most["in-10-out-11"], got)
	})
	t.Run("a budget is not overspent where calls use what they reserved", func(t *testing.T) {
		got := c.rush(t, ctx, "spent", 24, 10)
		usd := float64(got[200]) * 0.0017
		if usd > 0.1 || usd < 0.09 && got[503] == 0 {
			t.Errorf("%.4f of 0.1 USD: %v", usd, got)
		}
		if told := c.spent(t, ctx, "exact"); told < usd-1e-9 && got[503] == 0 {
			t.Errorf("whoami tells %v USD, the provider %v", told, usd)
		}
		t.Logf("240 calls: %.4f of 0.1 USD spent: %v", usd, got)
	})
	t.Run("a budget is overspent by no more than calls in flight", func(t *testing.T) {
		got := c.rush(t, ctx, "overspent", 24, 10) // each uses fifty times what it reserved
		usd := float64(got[200]) * 0.1502
		if usd > 1+6*0.1502 || usd < 0.9 && got[503] == 0 {
			t.Errorf("%.4f of 1 USD spent with 6 in flight: %v", usd, got)
		}
		t.Logf("240 calls, at most 6 in flight: %.4f of 1 USD spent: %v", usd, got)
	})
	whole := t // which the second Redis belongs to
	t.Run("Redis is killed and comes back under load", func(t *testing.T) {
		stop := make(chan struct{})
		var rates, budgets sync.Map
		var crowds sync.WaitGroup
		for i := range 6 {
			crowds.Go(func() {
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					count(&rates, c.call(t, ctx, n, "outage-rate"))
					count(&budgets, c.call(t, ctx, n, "outage-budget"))
				}
			})
		}
		sleep(ctx, time.Second)
		redis.Kill()
		c.until(t, ctx, "outage-budget", 503)
		sleep(ctx, time.Second)
		if status := c.call(t, ctx, 0, "outage-rate"); status != 200 {
			t.Errorf("a rate refuses while the store is away: %d", status)
		}
		if _, err := p.redis.Log(whole, port); err != nil {
			t.Fatal(err)
		}
		c.until(t, ctx, "outage-budget", 200)
		close(stop)
		crowds.Wait()
		byRate, byBudget := counts(&rates), counts(&budgets)
		if len(byRate) != 1 || byRate[200] == 0 || byBudget[200] == 0 || byBudget[503] == 0 || len(byBudget) != 2 {
			t.Errorf("by rate %v, by budget %v", byRate, byBudget)
		}
		t.Logf("by rate %v, by budget %v", byRate, byBudget)
		if text := c.records(t); !strings.Contains(text, `"limit_store_error"`) || !strings.Contains(text, `"error_code":"limits_unavailable"`) {
			t.Error("no record tells of the outage")
		}
	})
	t.Run("random interleavings by clocks that are apart", func(t *testing.T) {
		err := program.Run(ctx, "../..", []string{"LIMIT_REDIS=127.0.0.1:" + port}, "go", "test", "-count=1", "-run", "TestManyInstancesAtOnceKeepToOneLimit", "./internal/limit")
		if err != nil {
			t.Error(err)
		}
	})
}

// crowd calls several instances with one client's token.
type crowd struct {
	instances []*instance
	token     string
}

// rush has n callers make that many calls each, and counts the statuses.
func (c *crowd) rush(t *testing.T, ctx context.Context, model string, n, each int) map[int]int64 {
	t.Helper()
	var statuses sync.Map
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			for j := range each {
				count(&statuses, c.call(t, ctx, i+j, model))
			}
		})
	}
	callers.Wait()
	return counts(&statuses)
}

func count(statuses *sync.Map, status int) {
	n, _ := statuses.LoadOrStore(status, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func counts(statuses *sync.Map) map[int]int64 {
	all := map[int]int64{}
	statuses.Range(func(status, n any) bool {
		all[status.(int)] = n.(*atomic.Int64).Load()
		return true
	})
	return all
}

// call asks the i-th instance for at most 100 tokens, and returns the status.
func (c *crowd) call(t *testing.T, ctx context.Context, i int, model string) int {
	body := `{"model":"` + model + `","max_tokens":100,"messages":[{"role":"user","content":"count this, please: one, two, three"}]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.instances[i%len(c.instances)].url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	switch resp.StatusCode {
	case 200:
	case 429, 503:
		if resp.Header.Get("X-Gateway-Error") != "true" || !strings.Contains(string(text), "limit") {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
	default:
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	return resp.StatusCode
}

// until calls until the status comes.
func (c *crowd) until(t *testing.T, ctx context.Context, model string, status int) {
	t.Helper()
	for i := 0; c.call(t, ctx, i, model) != status; i++ {
		if ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

// spent is what a client may see of a budget.
func (c *crowd) spent(t *testing.T, ctx context.Context, limit string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.instances[0].url+"/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var told struct {
		Limits []struct {
			Limit string
			Month struct{ Spent float64 } `json:"usd_per_month"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	for _, l := range told.Limits {
		if l.Limit == limit {
			return l.Month.Spent
		}
	}
	t.Fatalf("whoami tells nothing of %s: %+v", limit, told)
	return 0
}

// records is what all instances wrote so far.
func (c *crowd) records(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, i := range c.instances {
		text, err := os.ReadFile(i.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
