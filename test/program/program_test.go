package program

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatIsCompleteIsInstalledOnce(t *testing.T) {
	cache, fills := Cache(t.TempDir()), 0
	fill := func(end error) func(string) error {
		return func(dir string) error {
			fills++
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("a former attempt left %v", left)
			}
			os.WriteFile(filepath.Join(dir, "part"), nil, 0o600)
			return end
		}
	}
	if _, err := cache.Install("it", fill(errors.New("no network"))); err == nil {
		t.Error("an installation that failed is none")
	}
	for range 2 {
		dir, err := cache.Install("it", fill(nil))
		if _, missing := os.Stat(filepath.Join(dir, "part")); err != nil || missing != nil {
			t.Error(err, missing)
		}
	}
	if fills != 2 {
		t.Errorf("it was filled %d times", fills)
	}
}

// Who holds the pipe of a program's output is one of its group.
func TestNothingOutlivesAProcessThatIsStopped(t *testing.T) {
	for _, end := range []func(*Process){(*Process).Stop, (*Process).Kill} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", "sleep 60 & echo begun; wait")
		cmd.Stdout = write
		p, err := Start("sleeper", cmd)
		write.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		read.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := read.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		end(p)
		if n, err := read.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("somebody still holds its output: %v", err)
		}
		if p.State().Success() {
			t.Errorf("it ended by itself: %s", p.State())
		}
	}
}

func TestAProgramIsReadyWhenItsAddressAnswers200(t *testing.T) {
	p, err := Log(t, "sleep", nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 {
			http.NotFound(w, r)
		}
	})}
	defer server.Close()
	go server.Serve(l)
	if err := p.Ready(t.Context(), "http://127.0.0.1:"+port); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	p.Kill()
	if err := p.Ready(t.Context(), "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Error(err)
	}
}
