package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"llmgateway.dev/gateway/test/program"
)

// cache is where programs are installed and built.
const cache = program.Cache(".cache/bench")

// process is a program that runs until it is stopped. What it prints goes through a pipe, as it does in
// a container, to a reader that keeps the end of it.
type process struct {
	*program.Process
	tree    tree
	printed *printed
}

func start(name string, env []string, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	p := &process{printed: &printed{}}
	cmd.Stdout, cmd.Stderr = p.printed, p.printed
	var err error
	if p.Process, err = program.Start(name, cmd); err != nil {
		return nil, err
	}
	p.tree = tree(p.Pid())
	running.Store(p, nil)
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
	p.Kill()
}

// ready waits until the URL answers.
func (p *process) ready(ctx context.Context, url string) error {
	if err := p.Ready(ctx, url); err != nil {
		return fmt.Errorf("%w; it has printed:\n%s", err, p.printed)
	}
	return nil
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

// environment is this process's, without what would steer the candidates, and more.
func environment(more ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	return append(env, more...)
}
