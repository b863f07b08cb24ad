package main

import (
	"bytes"
	"context"
	"io"
	"os"
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
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	stdin := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = stdin }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"usage"}, io.Discard, io.Discard) }()
	select {
	case got := <-status:
		if got != 1 {
			t.Errorf("status %d", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits on")
	}
}
