package function

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"llmgateway.dev/gateway/internal/apierror"
)

// Instance is the warm instance: the gateway of this process, from the configuration that
// GATEWAY_CONFIG names. The first call loads it; if it has faults, they are all listed on standard
// error and the process exits, so that a bad revision never serves. It also arranges the end on
// SIGTERM.
var Instance = sync.OnceValue(func() http.Handler {
	file := os.Getenv("GATEWAY_CONFIG")
	if file == "" {
		fmt.Fprintln(os.Stderr, "GATEWAY_CONFIG is not set; it must name the configuration file")
		os.Exit(1)
	}
	handler, err := Load(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Never written to, it takes address space and no memory. The collector runs when the heap has doubled; a
	// gateway's is so small that it would run many times a second. With this beside it, it runs after some 40 MiB
	// more: a tenth of the CPU that a call takes, for a tenth of the smallest instance's memory.
	ballast := make([]byte, 32<<20)
	// By it the framework knows where it runs, and prints an empty line to both streams after each call: two
	// writes that flush nothing, a tenth of a call's time, and lines in the log that tell nothing.
	os.Unsetenv("K_SERVICE")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	f := newFlights(handler)
	go func() {
		<-term
		f.land(9 * time.Second)
		runtime.KeepAlive(ballast)
		os.Exit(0)
	}()
	return f
})

// flights counts the requests being served, and can break those that don't end. The framework's
// server has no Shutdown that could be called; Cloud Run gives 10 s between SIGTERM and SIGKILL.
type flights struct {
	handler http.Handler

	mu sync.Mutex
	// airborne holds what ends each request; last is the name of the latest.
	airborne map[uint64]context.CancelCauseFunc
	last     uint64
	aborted  error
	idle     chan struct{} // closed when the last one ends; nil while nobody waits for it
}

func newFlights(h http.Handler) *flights {
	return &flights{handler: h, airborne: map[uint64]context.CancelCauseFunc{}}
}

func (f *flights) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer f.ended(f.began(cancel))
	f.handler.ServeHTTP(w, r.WithContext(ctx))
}

func (f *flights) began(cancel context.CancelCauseFunc) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	f.airborne[f.last] = cancel
	if f.aborted != nil {
		cancel(f.aborted)
	}
	return f.last
}

func (f *flights) ended(name uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.airborne, name)
	if len(f.airborne) == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

// abort ends all requests, and those that still come.
func (f *flights) abort(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aborted = why
	for _, cancel := range f.airborne {
		cancel(why)
	}
}

// flushing is for net/http, which writes an answer's last bytes after its handler has returned.
const flushing = 200 * time.Millisecond

// land lets requests finish for the grace period, and then breaks the rest visibly.
func (f *flights) land(grace time.Duration) {
	f.mu.Lock()
	if len(f.airborne) == 0 {
		f.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	f.idle = idle
	f.mu.Unlock()
	select {
	case <-idle:
		time.Sleep(flushing)
		return
	case <-time.After(grace):
	}
	f.abort(apierror.New(apierror.Overloaded, "the gateway's instance is being shut down; try again").After(time.Second))
	select {
	case <-idle:
		time.Sleep(flushing)
	case <-time.After(500 * time.Millisecond):
	}
}
