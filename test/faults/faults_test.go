//go:build e2e

// Package faults breaks what stands around the function, as it is shipped, while it serves: a proxy of TCP before
// each of its identity provider, Secret Manager, token endpoint, Redis and provider has faults that begin, last and end
// under calls, alone and by two. What may come of each is one table, which is docs/reliability.md's too.
package faults

import (
	"flag"
	"os"
	"sync"
	"testing"

	"llmgateway.dev/gateway/test/buildpack"
	"llmgateway.dev/gateway/test/program"
)

var update = flag.Bool("update", false, "write the tables of docs/reliability.md anew")

// TestMain lets many troubles be at once: they wait more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if !given("test.parallel") {
		flag.Set("test.parallel", "16")
	}
	os.Exit(m.Run())
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

func TestTheFunctionSurvivesItsSurroundings(t *testing.T) {
	function, err := buildpack.BuildRepository(t.Context(), "../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server, err := program.Cache("../../.cache/e2e").Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	port, err := program.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Log(t, port); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	measured := map[string]figures{}
	t.Run("parts", func(t *testing.T) { // returns when all have ended
		for name, troubles := range map[string][]trouble{"alone": singles(), "by two": pairs()} {
			for _, tr := range troubles {
				t.Run(name+": "+tr.name(), func(t *testing.T) {
					t.Parallel()
					f := open(t, tr, function, port).play()
					mu.Lock()
					defer mu.Unlock()
					measured[tr.name()] = f
					t.Logf("%d calls, the longest %s, recovered after %s", f.calls, f.longest, f.recovery)
				})
			}
		}
	})
	all := len(measured) == len(singles())+len(pairs())
	if *update && (!all || t.Failed()) {
		t.Fatal("the tables are written when everything was tried, and nothing failed")
	}
	checkPage(t, measured, *update)
	if all {
		var calls int
		for _, f := range measured {
			calls += f.calls
		}
		t.Logf("%d troubles, %d calls", len(measured), calls)
	}
}
