package function

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
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
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	f := newFlights(handler)
	go func() {
		<-term
		f.land(9 * time.Second)
		os.Exit(0)
	}()
	return f
})

// flights counts the requests being served, and can break those that don't end. The framework's
// server has no Shutdown that could be called; Cloud Run gives 10 s between SIGTERM and SIGKILL.
type flights struct {
	handler http.Handler
	ctx     context.Context
	abort   context.CancelCauseFunc

	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when the last one ends; nil while nobody waits for it
}

func newFlights(h http.Handler) *flights {
	f := &flights{handler: h}
	f.ctx, f.abort = context.WithCancelCause(context.Background())
	return f
}

func (f *flights) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.count(1)
	defer f.count(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(f.ctx, func() { cancel(context.Cause(f.ctx)) })()
	f.handler.ServeHTTP(w, r.WithContext(ctx))
}

func (f *flights) count(d int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n += d
	if f.n == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

// flushing is for net/http, which writes an answer's last bytes after its handler has returned.
const flushing = 200 * time.Millisecond

// land lets requests finish for the grace period, and then breaks the rest visibly.
func (f *flights) land(grace time.Duration) {
	f.mu.Lock()
	if f.n == 0 {
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
