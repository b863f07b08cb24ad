package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/principal"
	"llmgateway.dev/gateway/internal/trial"
)

// errFailed is a report that has been written and is bad.
var errFailed = errors.New("failed")

// runCases tries policies by files of cases.
func runCases(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	cover := flags.Bool("cover", false, "fail where a policy decided nothing in any case")
	files, err := parseMixed(flags, args, stderr)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Fprintln(stderr, "which cases? give a file of them: gateway test policy_tests.yaml")
		return errUsage
	}
	good := true
	var faults config.Faults
	for _, file := range files {
		passed, err := runFile(file, *cover, stdout)
		if further, ok := errors.AsType[config.Faults](err); ok {
			faults = append(faults, further...)
		} else if err != nil {
			return err
		}
		good = good && passed
	}
	if len(faults) > 0 {
		return faults.Sort()
	}
	if !good {
		return errFailed
	}
	return nil
}

// runFile writes what came of one file's cases, and reports whether it is as it should be.
func runFile(file string, cover bool, w io.Writer) (bool, error) {
	f, faults := trial.Load(file)
	if len(faults) > 0 {
		return false, faults
	}
	c, policies, issuers, err := function.Read(f.Config)
	if err != nil {
		return false, err
	}
	places := map[string]string{}
	s := trial.Subject{Config: c, Mapper: issuers,
		Decide: func(who *principal.Principal, req *operation.Request, at time.Time) (bool, []string, []string) {
			d := policies.Decide(who, req, at)
			return !d.Denied(), d.Policies, d.Errors
		}}
	for _, p := range policies.Written() {
		s.Policies = append(s.Policies, p.ID)
		places[p.ID] = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	report, faults := f.Run(s)
	if len(faults) > 0 {
		return false, faults
	}
	say := func(format string, args ...any) { fmt.Fprintln(w, config.Printable(fmt.Sprintf(format, args...))) }
	failed, name := 0, ""
	for _, failure := range report.Failures {
		if failure.Name != name {
			failed, name = failed+1, failure.Name
			say("%s: %s", failure.Place, failure.Name)
		}
		more := ""
		if n := len(failure.Requests) - 1; n > 0 {
			more = fmt.Sprintf(", and %d more alike", n)
		}
		say("    %s%s", failure.Requests[0], more)
		say("    - %s", failure.Want)
		say("    + %s", failure.Got)
	}
	for _, id := range report.Idle {
		say("%s: policy %q decided nothing in any case", places[id], id)
	}
	if failed > 0 {
		say("%s: %d of %d cases failed (- expected, + decided)", file, failed, report.Cases)
	} else {
		say("%s: %d cases passed, %d decisions, by %d of %d policies", file, report.Cases, report.Decisions, len(s.Policies)-len(report.Idle), len(s.Policies))
	}
	return failed == 0 && (!cover || len(report.Idle) == 0), nil
}
