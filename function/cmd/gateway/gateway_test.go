package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this very test binary the command gateway, for scripts and for exec.Command.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"gateway": main}) }

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
