package soak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sample is what a process holds at one moment, by name.
type sample map[string]float64

// What is looked at, and how much more of it there may be in the last quarter of a run than in its second: the first
// is for caches to fill and for the collector to find its pace. Bodies of 24 MiB come and go, and their memory goes back to
// the system some time later; the heap that is in use says more.
var margins = sample{
	"RSS, MiB":                 64,
	"heap after a cycle, MiB":  12,
	"file descriptors":         24,
	"threads":                  4,
	"memory of its group, MiB": 64,
}

// read takes a sample of the process from /proc (proc_pid_status(5), proc_pid_fd(5)).
func read(pid int) (sample, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return nil, err
	}
	return sample{"RSS, MiB": field(status, "VmRSS") / 1024, "threads": field(status, "Threads"), "file descriptors": float64(len(open))}, nil
}

// sockets are a process's, as /proc names them.
func sockets(pid int) (all []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, file := range files {
		if link, _ := os.Readlink(file); strings.HasPrefix(link, "socket:") {
			all = append(all, link)
		}
	}
	return all
}

func field(status []byte, name string) float64 {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			n, _ := strconv.ParseFloat(strings.Fields(string(rest))[0], 64)
			return n
		}
	}
	return 0
}

// trend is the median of a name's values in the second quarter, and that of the last.
func trend(samples []sample, name string) (before, after float64) {
	n := len(samples)
	return median(samples[n/4:n/2], name), median(samples[n-n/4:], name)
}

func median(samples []sample, name string) float64 {
	var all []float64
	for _, s := range samples {
		if v, ok := s[name]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// most is the highest of a name's values.
func most(samples []sample, name string) (high float64) {
	for _, s := range samples {
		high = max(high, s[name])
	}
	return high
}

// grown are sentences, one for each thing of which there is more than its margin allows.
func grown(samples []sample) (faults []string) {
	for name, margin := range margins {
		if before, after := trend(samples, name); after > before+margin {
			faults = append(faults, fmt.Sprintf("%s: %.1f in the second quarter, %.1f in the last, which is more than %.0f above", name, before, after, margin))
		}
	}
	slices.Sort(faults)
	return faults
}

// cycle is a line of GODEBUG=gctrace=1, as package runtime documents it; its third size is what the collector
// found to be in use.
var cycle = regexp.MustCompile(`^gc \d+ @.* \d+->\d+->(\d+) MB, `)

// heap reads such a line.
func heap(line []byte) (mib float64, ok bool) {
	m := cycle.FindSubmatch(line)
	if m == nil {
		return 0, false
	}
	mib, err := strconv.ParseFloat(string(m[1]), 64)
	return mib, err == nil
}

// goroutines are those in a dump, told by what began them; the runtime's own are left out.
func goroutines(dump string) (begun []string) {
	heads := regexp.MustCompile(`(?m)^goroutine (\d+) .*\[.*\]:$`).FindAllStringSubmatchIndex(dump, -1)
	for i, at := range heads {
		end := len(dump)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		stack := dump[at[1]:end]
		by := "main.main"
		if _, rest, ok := strings.Cut(stack, "\ncreated by "); ok {
			by, _, _ = strings.Cut(rest, "\n")
			by, _, _ = strings.Cut(by, " in goroutine")
		}
		if number := dump[at[2]:at[3]]; number == "0" || strings.HasPrefix(by, "runtime.") {
			continue
		}
		begun = append(begun, by)
	}
	return begun
}

func TestGrowthIsSeenAndNoiseIsNot(t *testing.T) {
	series := func(at func(i int) float64) (all []sample) {
		for i := range 400 {
			all = append(all, sample{"RSS, MiB": at(i), "threads": 9})
		}
		return all
	}
	for name, row := range map[string]struct {
		at   func(i int) float64
		grew bool
	}{
		"level":                 {func(i int) float64 { return 100 }, false},
		"a saw of bodies":       {func(i int) float64 { return 100 + float64(i%10)*8 }, false},
		"peaks at the end":      {func(i int) float64 { return 100 + 300*float64(i/390) }, false},
		"warming up":            {func(i int) float64 { return float64(min(i, 90)) * 3 }, false},
		"a leak":                {func(i int) float64 { return 100 + float64(i)*0.5 }, true},
		"a leak under the saw":  {func(i int) float64 { return 100 + float64(i%10)*8 + float64(i)*0.5 }, true},
		"a step after the half": {func(i int) float64 { return 100 + 80*float64(i/200) }, true},
	} {
		if faults := grown(series(row.at)); (len(faults) == 1) != row.grew {
			t.Errorf("%s: %q", name, faults)
		}
	}
}

func TestACollectorsLineIsRead(t *testing.T) {
	for line, want := range map[string]float64{
		"gc 11 @0.842s 0%: 0.031+1.7+0.004 ms clock, 0.031+0.26/0/0+0.004 ms cpu, 77->78->39 MB, 79 MB goal, 0 MB stacks, 0 MB globals, 1 P": 39,
		"gc 3 @0.1s 2%: 0.1+0.2+0 ms clock, 0.1+0/0.1/0+0 ms cpu, 4->4->1 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 1 P (forced)":            1,
		`{"time":"…","message":"gc 11 @0.842s 0->0->1 MB, "}`:                                                                                -1,
	} {
		got, ok := heap([]byte(line))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestGoroutinesAreToldByWhatBeganThem(t *testing.T) {
	const dump = `SIGQUIT: quit
PC=0x47a241 m=0 sigcode=0

goroutine 0 gp=0x1 m=0 mp=0x2 [idle]:
runtime.futex()
	/go/src/runtime/sys_linux_amd64.s:557 +0x21

goroutine 1 gp=0xc000002380 m=nil [IO wait, 2 minutes]:
net/http.(*Server).Serve(0xc0001, {0x1, 0x2})
	/go/src/net/http/server.go:3463 +0x30c

goroutine 2 gp=0xc000002e00 m=nil [force gc (idle)]:
runtime.gopark(0x0?)
	/go/src/runtime/proc.go:461 +0xce
created by runtime.init.7 in goroutine 1
	/go/src/runtime/proc.go:359 +0x1a

goroutine 50 gp=0xc0005 m=nil [select]:
net/http.(*persistConn).writeLoop(0xc0)
	/go/src/net/http/transport.go:2600 +0xe7
created by net/http.(*Transport).dialConn in goroutine 49
	/go/src/net/http/transport.go:1948 +0x174f

rax    0x0
`
	if got := goroutines(dump); !slices.Equal(got, []string{"main.main", "net/http.(*Transport).dialConn"}) {
		t.Errorf("%q", got)
	}
}
