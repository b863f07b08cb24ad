package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Logged is a process whose outputs are files.
type Logged struct {
	*Process
	Stdout, Stderr string
}

// Log starts a program that is stopped when the test ends. When that has failed, the ends of the outputs are shown.
func Log(t testing.TB, name string, env []string, argv ...string) (*Logged, error) {
	dir := t.TempDir()
	l := &Logged{Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")}
	stdout, err := os.Create(l.Stdout)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(l.Stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, stdout, stderr
	if l.Process, err = Start(name, cmd); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		l.Stop()
		if t.Failed() {
			t.Logf("%s, standard output:\n%s\n%s, standard error:\n%s", name, tail(l.Stdout), name, tail(l.Stderr))
		}
	})
	return l, nil
}

// Log starts one that keeps nothing on disk, at a port of loopback.
func (r Redis) Log(t testing.TB, port string) (*Logged, error) {
	libraries, err := filepath.Glob(filepath.Join(filepath.Dir(string(r)), "../lib/*-linux-gnu"))
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	return Log(t, "redis", env, string(r), "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
}

func tail(file string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return Last(text)
}
