// Package program installs, starts and stops programs of others, and of ours, for those who test and measure:
// nothing is installed on the machine, and nothing outlives who started it by more than its last words.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs until it is stopped.
type Process struct {
	Name string
	// Ended is closed when it has ended.
	Ended <-chan struct{}

	cmd  *exec.Cmd
	once sync.Once
}

// Start starts a command in a process group of its own, so that what it starts (a JVM below kc.sh) ends
// with it.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	grouped(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	return &Process{Name: name, Ended: ended, cmd: cmd}, nil
}

func grouped(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// Pid is the process's id, and its group's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// State is how it ended, once it has.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Stop ends the group: politely, and after 12 s (the function takes up to 10) by force.
func (p *Process) Stop() {
	p.once.Do(func() {
		syscall.Kill(-p.Pid(), syscall.SIGTERM)
		select {
		case <-p.Ended:
		case <-time.After(12 * time.Second):
		}
		p.kill()
	})
}

// Kill ends the group at once, as a crash does.
func (p *Process) Kill() { p.once.Do(p.kill) }

func (p *Process) kill() {
	syscall.Kill(-p.Pid(), syscall.SIGKILL)
	<-p.Ended
}

// Ready waits until the URL answers 200.
func (p *Process) Ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.Ended:
			return fmt.Errorf("%s ended before it was ready: %s", p.Name, p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s: %s does not answer 200: %w", p.Name, url, context.Cause(ctx))
		}
	}
}

// Command is one that ends with its context, and all that it has started.
func Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	grouped(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Run runs a program to its end, with more in its environment. The error shows what it printed last.
func Run(ctx context.Context, dir string, env []string, argv ...string) error {
	cmd := Command(ctx, argv...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, Last(out))
	}
	return nil
}

// Last is the end of a text, 40 lines or 8 KiB of it.
func Last(text []byte) []byte {
	text = bytes.TrimSpace(text)
	text = text[max(0, len(text)-8<<10):]
	lines := bytes.Split(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-40):], []byte("\n"))
}

// FreePort is a loopback port on which nothing listens at this moment, and which no other call has got.
// It is below those that Linux gives to connections and to whoever listens on port 0 (32768 and up by
// net.ipv4.ip_local_port_range): one of those may be gone before the program has it.
func FreePort() (string, error) {
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no loopback port is free")
}

var givenPorts sync.Map
