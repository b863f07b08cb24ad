package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// results is all of a run: what docs/bench/results.json holds.
type results struct {
	Date       time.Time            `json:"date"`
	Machine    machine              `json:"machine"`
	Candidates []described          `json:"candidates"`
	Medians    map[string]figures   `json:"medians"`
	Bars       []bar                `json:"bars"`
	Cold       *coldStart           `json:"cold_start,omitempty"`
	Refresh    *refreshed           `json:"refresh,omitempty"`
	Rounds     []map[string]figures `json:"rounds"`
}

type machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory float64 `json:"memory_gib"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	// Busy is the share of the processors that others used before the run.
	Busy float64 `json:"busy_before"`
}

type described struct {
	Letter  string `json:"letter"`
	Key     string `json:"key"`
	Name    string `json:"name"`
	Short   string `json:"short"`
	Version string `json:"version"`
}

func newResults(m machine, subjects []*subject) *results {
	r := &results{Date: time.Now().UTC().Truncate(time.Second), Machine: m}
	for _, s := range subjects {
		c := s.candidate
		r.Candidates = append(r.Candidates, described{c.letter, c.key, c.name, c.short, c.version})
	}
	return r
}

func thisMachine(ctx context.Context) (machine, error) {
	m := machine{Cores: runtime.NumCPU()}
	var err error
	if m.Go, err = goVersion(ctx); err != nil {
		return m, err
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	m.CPU = model(string(cpu))
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	m.Memory = float64(field(string(memory), "MemTotal")>>20) / 1024
	if m.Busy, err = busyFor(time.Second); err != nil {
		return m, err
	}
	var name unix.Utsname
	err = unix.Uname(&name)
	m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	return m, err
}

// busyFor looks at the processors for a while.
func busyFor(while time.Duration) (share float64, err error) {
	before, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	time.Sleep(while)
	after, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	idle, all := processors(string(before))
	idleNow, allNow := processors(string(after))
	return 1 - (idleNow-idle)/max(allNow-all, 1), nil
}

// processors reads the first line of /proc/stat (proc_stat(5)): user, nice, system, idle, iowait and more, of
// which idle and iowait are nobody's.
func processors(stat string) (idle, all float64) {
	line, _, _ := strings.Cut(stat, "\n")
	for i, number := range strings.Fields(strings.TrimPrefix(line, "cpu ")) {
		v, _ := strconv.ParseFloat(number, 64)
		if i == 3 || i == 4 {
			idle += v
		}
		if i < 8 { // what guests use is in user already
			all += v
		}
	}
	return idle, all
}

// model reads /proc/cpuinfo.
func model(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// finish sums up and says so. Where there is a folder, it gets the figures, the page and the plots.
func (r *results) finish(dir string) error {
	r.Medians = medians(r.Rounds)
	r.Bars = r.judge()
	for _, c := range r.Candidates {
		fmt.Printf("%s  %s: %s\n", c.Letter, c.Short, r.Medians[c.Key])
	}
	for _, b := range r.Bars {
		fmt.Println(b)
	}
	if dir == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := r.plots()
	files["results.json"] = string(text) + "\n"
	files["README.md"] = r.page()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// medians are over the rounds, of each figure by itself.
func medians(rounds []map[string]figures) map[string]figures {
	all := map[string]map[string][]float64{}
	for _, round := range rounds {
		for key, f := range round {
			if all[key] == nil {
				all[key] = map[string][]float64{}
			}
			for name, v := range f {
				all[key][name] = append(all[key][name], v)
			}
		}
	}
	sums := map[string]figures{}
	for key, named := range all {
		sums[key] = figures{}
		for name, values := range named {
			sums[key][name] = median(values)
		}
	}
	return sums
}

// String lists them by name.
func (f figures) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, f[name]))
	}
	return strings.Join(parts, ", ")
}
