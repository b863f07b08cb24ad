package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"llmgateway.dev/gateway/test/records"
)

// The README's transcript of the demo ends with its records.
func TestTheRecordsOfTheDemoAreSummed(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"usage", "--by", "status", "--csv", "../../../README.md"}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if want := "200,2,0,0,6,0,10,0.00036,"; !strings.Contains(stdout.String(), want) {
		t.Errorf("%s, want %s", &stdout, want)
	}
}

// The commands that docs/usage.md shows, over an export.
func TestTheDocumentedCommandsWork(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/usage.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	records.Acme.Write(&lines)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("november.json", records.Entries(lines.Bytes()), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := 0
	for line := range strings.Lines(string(doc)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " > ")
		args := strings.Fields(line)
		if len(args) == 0 || args[0] != "gateway" {
			continue
		}
		shown++
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args[1:], &stdout, &stderr); status != 0 || stderr.Len() > 0 || strings.Count(stdout.String(), "\n") < 20 {
			t.Errorf("%s: status %d: %s%s", line, status, &stderr, &stdout)
		}
	}
	if _, err := os.Stat("november.html"); err != nil || shown != 3 {
		t.Errorf("%d commands, %v", shown, err)
	}
}

// A person who forgot the file sits before a command that waits for a terminal.
func TestAnInterruptEndsTheWaitForStandardInput(t *testing.T) {
	p := exec.Command("gateway", "usage")
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer p.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it does not wait: %v", err)
	case <-time.After(500 * time.Millisecond): // it has begun to read
	}
	p.Process.Signal(os.Interrupt)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it waits on")
	}
}
