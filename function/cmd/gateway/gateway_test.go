package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this very test binary the command gateway, for scripts and for exec.Command; and, under a link of that
// name, the curl of a walk.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "curl" {
		if err := curl(os.Args[1:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "curl:", err)
			os.Exit(2)
		}
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"gateway": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// status N command [args…] runs the command and wants the exit status.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) && exit.ExitCode() == want || err == nil && want == 0 {
		return
	} else if err != nil {
		ts.Fatalf("%v, want exit status %d", err, want)
	}
	ts.Fatalf("exit status 0, want %d", want)
}
