package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"llmgateway.dev/gateway/test/program"
)

// candidate is a program that relays chat completions.
type candidate struct {
	// letter is short for -only, key names it in the results.
	letter, key, name string
	// short is its name beside a plot.
	short, version string
	// slow says that it takes seconds to start, and too long to open a thousand streams: its memory is measured in
	// the first round alone, with fewer.
	slow bool
	// install makes it startable: it builds or fetches it.
	install func(ctx context.Context, c *candidate) error
	start   func(ctx context.Context, upstream string) (*instance, error)
}

// endpoint is where to send chat completions, and with what.
type endpoint struct {
	address string // host and port
	path    string
	headers map[string]string
}

// instance is a candidate that runs.
type instance struct {
	endpoint
	*process
	close func() // ends what stands around it
}

func (i *instance) stop() {
	i.process.stop()
	if i.close != nil {
		i.close()
	}
}

// candidates are all, in the order of the tables.
func candidates() []*candidate {
	return []*candidate{bare(), framework(), gateway(), litellm(), portkey(), nginx()}
}

const chatPath = "/v1/chat/completions"

// bin is where this repository's own programs are built.
var bin = filepath.Join(string(cache), "bin")

// build builds a program of this folder.
func build(ctx context.Context, name string) (string, error) {
	built, err := filepath.Abs(filepath.Join(bin, name))
	if err != nil {
		return "", err
	}
	return built, program.Run(ctx, ".", nil, "go", "build", "-trimpath", "-o", built, "./test/bench/"+name)
}

// bare is net/http/httputil's reverse proxy: the measure of all others.
func bare() *candidate {
	var program string
	return &candidate{
		letter: "a", key: "bare", name: "net/http/httputil.ReverseProxy", short: "ReverseProxy",
		install: func(ctx context.Context, c *candidate) (err error) {
			if c.version, err = goVersion(ctx); err != nil {
				return err
			}
			program, err = build(ctx, "bare")
			return err
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			return startOurs(ctx, "bare", nil, program, "UPSTREAM=http://"+upstream)
		},
	}
}

// framework is the same proxy as a function under functions-framework-go.
func framework() *candidate {
	var program string
	return &candidate{
		letter: "b", key: "framework", name: "the same under functions-framework-go", short: "under the framework",
		install: func(ctx context.Context, c *candidate) (err error) {
			if c.version, err = output(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/GoogleCloudPlatform/functions-framework-go"); err != nil {
				return err
			}
			program, err = build(ctx, "framework")
			return err
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			return startOurs(ctx, "framework", nil, program, "UPSTREAM=http://"+upstream, "K_SERVICE=proxy", "FUNCTION_TARGET=Proxy")
		},
	}
}

// startOurs starts a program that listens on the PORT of its environment.
func startOurs(ctx context.Context, name string, headers map[string]string, file string, env ...string) (*instance, error) {
	port, err := program.FreePort()
	if err != nil {
		return nil, err
	}
	p, err := start(name, environment(append(env, "PORT="+port)...), file)
	if err != nil {
		return nil, err
	}
	e := endpoint{address: "127.0.0.1:" + port, path: chatPath, headers: headers}
	return &instance{endpoint: e, process: p}, p.ready(ctx, "http://"+e.address+"/health")
}

// startMock starts the upstream of all, and returns its address.
func startMock(ctx context.Context) (*instance, error) {
	program, err := build(ctx, "mock")
	if err != nil {
		return nil, err
	}
	return startOurs(ctx, "mock", nil, program)
}

// check asks for an answer and for a stream, and makes sure that both are the upstream's. The first
// ones may have to wait until everything behind is up.
func (i *instance) check(ctx context.Context) error {
	for _, body := range []string{chat(ordinary, ""), streamed(20, 0)} {
		q := newCall(i.endpoint, body)
		var events int
		err := errors.New("no answer")
		for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline) && ctx.Err() == nil; {
			events = 0
			if err = i.ask(q, &events); err != nil {
				time.Sleep(300 * time.Millisecond)
			}
		}
		if err != nil {
			return fmt.Errorf("%s does not relay: %w; it has printed:\n%s", i.Name, err, i.printed)
		}
		if q.stream && events != 20 {
			return fmt.Errorf("%s passed %d of a stream's 20 events on", i.Name, events)
		}
	}
	return nil
}

func (i *instance) ask(q call, events *int) error {
	c, err := dial(q.address)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.do(q, func(time.Time) { *events++ })
}

func goVersion(ctx context.Context) (string, error) { return output(ctx, "go", "env", "GOVERSION") }

// output is what a command prints, without the space around it.
func output(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
