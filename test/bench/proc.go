package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a process and what it has started.
type tree int

// pids are the processes alive now, found by their parents.
func (t tree) pids() []int {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if pid, parent, ok := parent(text); ok {
			parents[pid] = parent
		}
	}
	return descendants(int(t), parents)
}

// descendants are root and all below it.
func descendants(root int, parents map[int]int) []int {
	all := []int{root}
	for i := 0; i < len(all); i++ {
		for pid, parent := range parents {
			if parent == all[i] {
				all = append(all, pid)
			}
		}
	}
	return all
}

// parent reads /proc/PID/stat (proc_pid_stat(5)). A program's name may have spaces and parentheses.
func parent(stat []byte) (pid, parent int, ok bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, false
	}
	_, err := fmt.Sscanf(string(stat[:end]), "%d (", &pid)
	var state string
	_, err2 := fmt.Sscan(string(stat[end+1:]), &state, &parent)
	return pid, parent, err == nil && err2 == nil
}

// cpu is what all have computed so far, for themselves and in the kernel. The processes' CPU clocks
// have it to the nanosecond; /proc/PID/stat has it in hundredths of a second.
func (t tree) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range t.pids() {
		var spent unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|cpuClockSched), &spent) == nil {
			sum += time.Duration(spent.Nano())
		}
	}
	return sum
}

// cpuClockSched is CPUCLOCK_SCHED of the kernel's posix-timers.h: a process's clock is ~pid and three bits of
// which clock it is (clock_getcpuclockid(3) makes the same).
const cpuClockSched = 2

// rss is the memory that all hold now, in bytes; what they share counts for each.
func (t tree) rss() int64 { return t.status("VmRSS") }

// peak is the most that they held since they started, or since forget, in bytes.
func (t tree) peak() int64 { return t.status("VmHWM") }

func (t tree) status(name string) int64 {
	var sum int64
	for _, pid := range t.pids() {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
			sum += field(string(text), name)
		}
	}
	return sum
}

// field reads a size from /proc/PID/status, in bytes.
func field(status, name string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// forget lets peak begin anew (5 in /proc/PID/clear_refs).
func (t tree) forget() {
	for _, pid := range t.pids() {
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
