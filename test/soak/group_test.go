//go:build e2e

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// group is a control group whose memory is limited by the kernel, without swap, as an instance's is
// (docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html).
type group struct {
	dir string
	v2  bool
}

// newGroup makes one beside or below this process's own, which takes root.
func newGroup(limit int) (*group, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all error
	for line := range strings.Lines(string(own)) {
		controller, path, _ := strings.Cut(strings.TrimSpace(line[strings.Index(line, ":")+1:]), ":")
		var g group
		switch controller {
		case "memory":
			g.dir = filepath.Join("/sys/fs/cgroup/memory", path)
		case "": // below a group that has processes there can be none with a limit
			g.v2, g.dir = true, filepath.Join("/sys/fs/cgroup", filepath.Dir(path))
		default:
			continue
		}
		g.dir = filepath.Join(g.dir, fmt.Sprintf("soak-%d", os.Getpid()))
		if err := g.make(limit); err != nil {
			all = errors.Join(all, err)
			continue
		}
		return &g, nil
	}
	return nil, fmt.Errorf("no control group for memory: %w", all)
}

func (g *group) make(limit int) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	names := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if g.v2 {
		names = []string{"memory.max", "memory.swap.max"}
	}
	bytes := []string{strconv.Itoa(limit), strconv.Itoa(limit)}
	if g.v2 {
		bytes[1] = "0"
	}
	for i, name := range names {
		err := os.WriteFile(filepath.Join(g.dir, name), []byte(bytes[i]), 0)
		if i == 1 && errors.Is(err, os.ErrNotExist) {
			continue // a kernel that doesn't count swap
		}
		if err != nil {
			g.remove()
			return err
		}
	}
	return nil
}

// within is a command that runs the program in the group from its first byte on.
func (g *group) within(program string) []string {
	return []string{"sh", "-c", `echo $$ >"$0" && exec "$1"`, filepath.Join(g.dir, "cgroup.procs"), program}
}

// memory is what the group holds now, and the most that it has held, in MiB.
func (g *group) memory() (now, peak float64) {
	if g.v2 {
		return g.mib("memory.current"), g.mib("memory.peak")
	}
	return g.mib("memory.usage_in_bytes"), g.mib("memory.max_usage_in_bytes")
}

func (g *group) mib(file string) float64 {
	text, _ := os.ReadFile(filepath.Join(g.dir, file))
	n, _ := strconv.ParseFloat(string(bytes.TrimSpace(text)), 64)
	return n / (1 << 20)
}

func (g *group) remove() { os.Remove(g.dir) }
