package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a program that runs until it is stopped. What it prints goes through a pipe, as it does in
// a container, to a reader that keeps the end of it.
type process struct {
	name    string
	tree    tree
	printed *printed
	group   int
	ended   chan struct{}
}

func start(name string, env []string, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	p := &process{name: name, printed: &printed{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.printed, p.printed
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.group = cmd.Process.Pid
	p.tree = tree(cmd.Process.Pid)
	running.Store(p, nil)
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// running is what must not outlive this program.
var running sync.Map

func stopAll() {
	running.Range(func(p, _ any) bool { p.(*process).stop(); return true })
}

// stop ends the process and all that it has started, at once.
func (p *process) stop() {
	running.Delete(p)
	syscall.Kill(-p.group, syscall.SIGKILL)
	<-p.ended
}

// ready waits until the URL answers.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready, having printed:\n%s", p.name, p.printed)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; it has printed:\n%s", p.name, ctx.Err(), p.printed)
		}
	}
}

// printed keeps the end of what a process prints, and counts the records in it.
type printed struct {
	mu      sync.Mutex
	end     []byte
	records atomic.Int64
}

func (p *printed) Write(text []byte) (int, error) {
	p.records.Add(int64(bytes.Count(text, []byte(`"request_id":`))))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = append(p.end, text...)
	if len(p.end) > 64<<10 {
		p.end = append([]byte(nil), p.end[len(p.end)-8<<10:]...)
	}
	return len(text), nil
}

// String is the last of it.
func (p *printed) String() string {
	text := p.kept()
	return string(bytes.TrimSpace(text[max(0, len(text)-2<<10):]))
}

// kept is all that is kept: all there was, while that was little.
func (p *printed) kept() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.end)
}

// run runs a program to its end. The error has what it printed last.
func run(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out[max(0, len(out)-4<<10):])
	}
	return nil
}

// freePort is a loopback port on which nothing listens now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// environment is this process's, without what would steer the candidates, and more.
func environment(more ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	return append(env, more...)
}
