package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Service is a Cloud Run service that serves a function: its latest revision that started, and what
// its revisions print. It is an http.Handler, to be served under the service's name, that does what
// Google's front end does to a request; but whoever calls may invoke it, and there are no limits of
// size and concurrency.
//
// Each revision has one instance, which runs as in a container: with a network of its own, in which
// there are the Internet's names and the metadata server of its own account, and with its secrets'
// files, which no other revision sees. Its files are this machine's otherwise.
type Service struct {
	internet *Internet

	deploying sync.Mutex
	closing   sync.WaitGroup

	mu        sync.Mutex
	revisions []*revision // that started and haven't ended
	serving   *revision   // nil before the first
	log       []line
}

// line is one that a revision printed.
type line struct{ revision, text string }

// Revision says what Cloud Run starts.
type Revision struct {
	// Program is what test/buildpack.Build made from the function's archive.
	Program string
	// Env is all there is, but for PORT and CLOUD_RUN_TIMEOUT_SECONDS. The variables that are reserved
	// for Cloud Run functions must be there; the revision's name is K_REVISION.
	Env map[string]string
	// Files are those of secret volumes, as Start describes them.
	Files map[string][]byte
	// Timeout is a request's; 0 means 60 s, as for a function that doesn't say.
	Timeout time.Duration
	// Metadata is of the account that the revision runs as.
	Metadata Metadata
}

// reserved are set by Cloud Run functions
// (cloud.google.com/run/docs/configuring/services/overview-environment-variables).
var reserved = []string{"FUNCTION_TARGET", "FUNCTION_SIGNATURE_TYPE", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}

// port is where Cloud Run's requests go unless another is asked for, which functions can't.
const port = "8080"

// environment is the program's. The timeout is documented nowhere, but functions-framework-go reads it.
func (r Revision) environment() ([]string, error) {
	for _, name := range reserved {
		if r.Env[name] == "" {
			return nil, fmt.Errorf("the environment has no %s, which Cloud Run functions sets", name)
		}
	}
	env := []string{"PORT=" + port, "CLOUD_RUN_TIMEOUT_SECONDS=" + strconv.Itoa(int(r.Timeout.Seconds()))}
	for name, value := range r.Env {
		env = append(env, name+"="+value)
	}
	return env, nil
}

// Service makes a service without revisions.
func (n *Internet) Service() *Service { return &Service{internet: n} }

// Deploy starts a revision. Once its port is open, as Cloud Run's startup probe asks, it serves, and
// the former one is ended when its requests are. If it isn't, within 4 minutes or the context's time,
// the error holds the end of what it printed, and the former one goes on serving.
func (s *Service) Deploy(ctx context.Context, r Revision) error {
	s.deploying.Lock()
	defer s.deploying.Unlock()
	if r.Timeout == 0 {
		r.Timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	v, err := s.start(ctx, r)
	if err != nil {
		return fmt.Errorf("revision %s is not ready: %w", r.Env["K_REVISION"], err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.serving
	s.serving = v
	s.revisions = append(s.revisions, v)
	if former != nil {
		s.closing.Go(func() {
			former.requests.Wait()
			former.stop()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.revisions = slices.DeleteFunc(s.revisions, func(v *revision) bool { return v == former })
		})
	}
	return nil
}

// Close ends all revisions, as Cloud Run does when it takes an instance away: each has 10 seconds
// after SIGTERM.
func (s *Service) Close() {
	s.deploying.Lock()
	defer s.deploying.Unlock()
	s.mu.Lock()
	s.serving = nil
	for _, v := range s.revisions {
		s.closing.Go(v.stop)
	}
	s.mu.Unlock()
	s.closing.Wait()
}

// Log returns the lines that all revisions printed so far, but for empty ones.
func (s *Service) Log() []string { return s.lines("") }

// lines are those of one revision, or of all.
func (s *Service) lines(revision string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, l := range s.log {
		if revision == "" || l.revision == revision {
			lines = append(lines, l.text)
		}
	}
	return lines
}

// ServeHTTP hands the request to the revision that serves. There are none at first: 404. A request
// that takes longer than the revision's timeout is ended.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	v := s.serving
	if v != nil {
		v.requests.Add(1)
	}
	s.mu.Unlock()
	if v == nil {
		http.NotFound(w, r)
		return
	}
	defer v.requests.Done()
	ctx, cancel := context.WithTimeout(r.Context(), v.timeout)
	defer cancel()
	v.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// revision is a running program.
type revision struct {
	room     *room
	link     *link
	cmd      *exec.Cmd
	ended    chan struct{}
	once     sync.Once
	timeout  time.Duration
	proxy    *httputil.ReverseProxy
	requests sync.WaitGroup
}

// start returns once the revision's port is open.
func (s *Service) start(ctx context.Context, r Revision) (_ *revision, err error) {
	env, err := r.environment()
	if err != nil {
		return nil, err
	}
	v := &revision{ended: make(chan struct{}), timeout: r.Timeout}
	if v.room, err = newContainer(r.Files); err != nil {
		return nil, err
	}
	if err := v.room.run(func() error {
		v.link, err = s.internet.open(func() *Metadata { return &r.Metadata })
		return err
	}); err != nil {
		v.room.leave()
		return nil, err
	}
	name := r.Env["K_REVISION"]
	out := &output{service: s, revision: name}
	v.cmd = exec.Command(r.Program)
	v.cmd.Env, v.cmd.Dir, v.cmd.Stdout, v.cmd.Stderr = env, "/", out, out
	v.cmd.WaitDelay = time.Second
	if err := v.room.run(v.cmd.Start); err != nil {
		v.link.close()
		v.room.leave()
		return nil, err
	}
	go func() {
		v.cmd.Wait()
		out.end()
		close(v.ended)
	}()
	v.proxy = frontEnd(v.dial)
	for {
		conn, err := v.dial(ctx, "", "")
		if err == nil {
			conn.Close()
			return v, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-v.ended:
			err = fmt.Errorf("the program ended (%v) before it listened on port %s", v.cmd.ProcessState, port)
		case <-ctx.Done():
			err = fmt.Errorf("the program doesn't listen on port %s: %w", port, context.Cause(ctx))
		}
		v.stop()
		lines := s.lines(name)
		return nil, fmt.Errorf("%w; it printed at last:\n%s", err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// dial connects to the program.
func (v *revision) dial(ctx context.Context, _, _ string) (conn net.Conn, err error) {
	err = v.room.run(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", "127.0.0.1:"+port)
		return err
	})
	return conn, err
}

// stop ends the program: SIGTERM, and SIGKILL 10 seconds later.
func (v *revision) stop() {
	v.once.Do(func() {
		v.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-v.ended:
		case <-time.After(10 * time.Second):
			v.cmd.Process.Kill()
			<-v.ended
		}
		v.proxy.Transport.(*http.Transport).CloseIdleConnections()
		v.link.close()
		v.room.leave()
	})
}

// frontEnd is Google's: it removes and adds headers (cloud.google.com/functions/docs/reference/headers)
// and passes bytes on as they come. Its answers' headers are not added.
func frontEnd(dial func(ctx context.Context, network, address string) (net.Conn, error)) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true},
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "127.0.0.1:"+port, p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			for name := range p.Out.Header {
				if strings.HasPrefix(name, "X-Google-") {
					p.Out.Header.Del(name)
				}
			}
			client, _, _ := net.SplitHostPort(p.In.RemoteAddr)
			p.Out.Header.Set("X-Forwarded-For", strings.Join(append(p.In.Header["X-Forwarded-For"], client), ", "))
			p.Out.Header.Set("X-Forwarded-Proto", "https")
			p.Out.Header.Set("Forwarded", fmt.Sprintf("for=%q;proto=https", client))
			if p.In.Header.Get("X-Cloud-Trace-Context") == "" && p.In.Header.Get("Traceparent") == "" {
				var id [24]byte
				rand.Read(id[:])
				trace, span := hex.EncodeToString(id[:16]), id[16:]
				p.Out.Header.Set("X-Cloud-Trace-Context", fmt.Sprintf("%s/%d;o=1", trace, binary.BigEndian.Uint64(span)))
				p.Out.Header.Set("Traceparent", fmt.Sprintf("00-%s-%x-01", trace, span))
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, context.DeadlineExceeded) {
				http.Error(w, "upstream request timeout", http.StatusGatewayTimeout)
				return
			}
			http.Error(w, "The request failed because the instance could not serve it: "+err.Error(), http.StatusServiceUnavailable)
		},
	}
}

// output makes lines of what a revision prints.
type output struct {
	service  *Service
	revision string

	mu   sync.Mutex
	rest []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		text, rest, ok := bytes.Cut(o.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.rest = rest
		o.add(text)
	}
}

// end adds what came after the last newline.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(o.rest)
}

func (o *output) add(text []byte) {
	if len(text) == 0 {
		return
	}
	o.service.mu.Lock()
	defer o.service.mu.Unlock()
	o.service.log = append(o.service.log, line{o.revision, string(text)})
}
