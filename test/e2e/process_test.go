//go:build e2e

package e2e

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
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs until it is stopped, or the test ends.
type process struct {
	name string
	cmd  *exec.Cmd
	// stdout and stderr are files.
	stdout, stderr string
	ended          chan struct{}
	once           sync.Once
}

// command is a program in a process group of its own, so that what it starts (a JVM below kc.sh) ends
// with it.
func command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// start starts a program. When the test has failed, the ends of its outputs are shown.
func start(t *testing.T, name string, env []string, argv ...string) (*process, error) {
	dir := t.TempDir()
	p := &process{
		name:   name,
		cmd:    command(context.Background(), argv...),
		stdout: filepath.Join(dir, "stdout"),
		stderr: filepath.Join(dir, "stderr"),
		ended:  make(chan struct{}),
	}
	stdout, err := os.Create(p.stdout)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, stdout, stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s, standard output:\n%s\n%s, standard error:\n%s", name, tail(p.stdout), name, tail(p.stderr))
		}
	})
	return p, nil
}

// stop ends the group: politely, and after 12 s (the function takes up to 10) by force.
func (p *process) stop() {
	p.once.Do(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(12 * time.Second):
		}
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
}

// kill ends the group at once, as a crash does.
func (p *process) kill() {
	p.once.Do(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	})
}

// ready waits until url answers 200.
func (p *process) ready(ctx context.Context, url string) error {
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
		case <-time.After(100 * time.Millisecond):
		case <-p.ended:
			return fmt.Errorf("%s has ended before it was ready: %s", p.name, p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s: %s does not answer 200: %w", p.name, url, context.Cause(ctx))
		}
	}
}

// run runs a program to its end. The error shows what it printed last.
func run(ctx context.Context, dir string, env []string, argv ...string) error {
	cmd := command(ctx, argv...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, last(out))
	}
	return nil
}

func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return last(text)
}

// last is the end of a text, 40 lines or 8 KiB of it.
func last(text []byte) []byte {
	text = bytes.TrimSpace(text)
	text = text[max(0, len(text)-8<<10):]
	lines := bytes.Split(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-40):], []byte("\n"))
}

// freePort is a loopback port on which nothing listens at this moment, and which no other call has got.
// It is below those that Linux gives to connections and to whoever listens on port 0 (32768 and up by
// net.ipv4.ip_local_port_range): one of those may be gone before the program has it.
func freePort() (string, error) {
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
