package main

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestAProcessIsFoundByItsParent(t *testing.T) {
	pid, of, ok := parent([]byte("4711 (a) 1 (b c) S 42 4711 4711 0 -1"))
	if pid != 4711 || of != 42 || !ok {
		t.Errorf("%d, %d, %t", pid, of, ok)
	}
	if _, _, ok := parent([]byte("")); ok {
		t.Error("an empty file was read")
	}
	got := descendants(2, map[int]int{2: 1, 3: 1, 4: 2, 5: 4, 6: 3})
	slices.Sort(got)
	if !slices.Equal(got, []int{2, 4, 5}) {
		t.Errorf("below 2: %v", got)
	}
}

func TestMemoryIsReadInBytes(t *testing.T) {
	const status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n"
	if field(status, "VmHWM") != 300<<10 || field(status, "VmRSS") != 200<<10 || field(status, "VmSwap") != 0 {
		t.Errorf("%d, %d", field(status, "VmHWM"), field(status, "VmRSS"))
	}
}

// A shell and the loop below it: what both compute is the tree's.
func TestATreesProcessorTimeIsItsChildrensToo(t *testing.T) {
	if self, _ := os.Readlink("/proc/self"); self != strconv.Itoa(os.Getpid()) {
		t.Skipf("/proc is of other processes than this one's: it says %q of %d", self, os.Getpid()) // a sandbox's
	}
	// A loop that ends, and a group that can be ended without being looked for: whatever happens, nothing goes on.
	cmd := exec.Command("sh", "-c", "sh -c 'i=0; while [ $i -lt 10000000 ]; do i=$((i+1)); done' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := tree(cmd.Process.Pid)
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	for deadline := time.Now().Add(20 * time.Second); all.cpu() < 20*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a busy loop has computed for %s", all.cpu())
		}
	}
	if len(all.pids()) != 2 || all.rss() < 100<<10 || all.peak() < all.rss() {
		t.Errorf("%v, %d, %d", all.pids(), all.rss(), all.peak())
	}
}

func TestIdleProcessorsAreNotBusy(t *testing.T) {
	idle, all := processors("cpu  10 1 5 100 20 3 2 1 7 0\ncpu0 1 2 3 4\n")
	if idle != 120 || all != 142 {
		t.Errorf("%v of %v", idle, all)
	}
}
