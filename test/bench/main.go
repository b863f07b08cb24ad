// Command bench measures the gateway between its peers, on loopback, before one mock upstream:
//
//	go run ./test/bench            # or make bench: everything, in a quarter of an hour
//	go run ./test/bench -quick -only a,c -steps requests
//
// The candidates are started once and measured in turns, round after round, each round in another
// order, so that what else the machine does falls on all. All figures of candidates are of their process
// trees: what generates the load and what answers it runs in processes of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds   int
	duration time.Duration
	only     []string
	steps    []string
	out      string
	quick    bool
}

// bound is the longest that all may take, installing included.
const bound = 40 * time.Minute

func main() {
	log.SetFlags(0)
	o, err := parse(os.Args[1:])
	if err == flag.ErrHelp {
		os.Exit(2)
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		err = bench(ctx, o)
		stopAll()
	}
	if err != nil {
		log.Fatal("bench: ", err)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "how long each candidate is loaded in each step of a round")
	only := flags.String("only", "", "the candidates, by letter or key, such as a,c; all by default")
	which := flags.String("steps", "", "the steps of a round, such as requests,streams; all by default")
	flags.StringVar(&o.out, "out", "", "the folder in which to write the results; none by default")
	flags.BoolVar(&o.quick, "quick", false, "two short rounds and no refresh (unless -steps asks for it), to see that all works")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick && !given["rounds"] {
		o.rounds = 2
	}
	if o.quick && !given["duration"] {
		o.duration = 500 * time.Millisecond
	}
	o.only, o.steps = list(*only), list(*which)
	for _, name := range o.only {
		if !slices.ContainsFunc(candidates(), func(c *candidate) bool { return c.letter == name || c.key == name }) {
			return o, fmt.Errorf("-only: there is no candidate %q", name)
		}
	}
	for _, name := range o.steps {
		if name != coldStep && name != refreshStep && !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return o, fmt.Errorf("-steps: there is no step %q", name)
		}
	}
	return o, nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// wanted says whether one of the names is asked for.
func wanted(asked []string, names ...string) bool {
	return asked == nil || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(asked, name) })
}

func bench(ctx context.Context, o options) error {
	if _, err := os.Stat("test/bench/main.go"); err != nil {
		return errors.New("run it in the repository's top folder")
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	machine, err := thisMachine(ctx)
	if err != nil {
		return err
	}
	if machine.Busy > 0.1 {
		log.Printf("this machine is %.0f%% busy with other things; ratios may bear it, latencies don't", machine.Busy*100)
	}
	mock, err := startMock(ctx)
	if err != nil {
		return err
	}
	defer mock.stop()
	subjects, err := startAll(ctx, o, mock)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range subjects {
			s.stop()
		}
	}()
	r := newResults(machine, subjects)
	if !slices.ContainsFunc(steps, func(s step) bool { return wanted(o.steps, s.name) }) {
		o.rounds = 0
	}
	for round := range o.rounds {
		all, err := measure(ctx, o, rotated(subjects, round), round)
		if err != nil {
			return err
		}
		r.Rounds = append(r.Rounds, all)
		log.Printf("round %d of %d", round+1, o.rounds)
		for _, s := range subjects {
			log.Printf("  %s  %s", s.letter, all[s.key])
		}
	}
	if err := once(ctx, o, mock, subjects, r); err != nil {
		return err
	}
	return r.finish(o.out)
}

// What is measured of the gateway alone, once: the steps after the rounds.
const (
	coldStep    = "cold"
	refreshStep = "refresh"
	coldStarts  = 20
)

func once(ctx context.Context, o options, mock *instance, subjects []*subject, r *results) (err error) {
	if !slices.ContainsFunc(subjects, func(s *subject) bool { return s.key == "gateway" }) {
		return nil
	}
	if wanted(o.steps, coldStep) {
		log.Print("cold start")
		if r.Cold, err = measureCold(ctx, mock, coldStarts); err != nil {
			return err
		}
	}
	if wanted(o.steps, refreshStep) && (!o.quick || o.steps != nil) {
		log.Printf("refresh, for %s", refreshing)
		if r.Refresh, err = measureRefresh(ctx, mock); err != nil {
			return err
		}
	}
	return nil
}

// startAll installs, starts and checks the candidates.
func startAll(ctx context.Context, o options, mock *instance) (all []*subject, err error) {
	for _, c := range candidates() {
		if !wanted(o.only, c.letter, c.key) {
			continue
		}
		log.Printf("%s: install and start", c.name)
		if err := c.install(ctx, c); err != nil {
			return all, fmt.Errorf("%s can't be installed: %w", c.name, err)
		}
		i, err := c.start(ctx, mock.address)
		if err != nil {
			return all, err
		}
		all = append(all, &subject{candidate: c, instance: i, mock: mock, duration: o.duration})
		if err := i.check(ctx); err != nil {
			return all, err
		}
		if c.key == ours && i.printed.records.Load() == 0 {
			return all, fmt.Errorf("%s has relayed, but written no audit record; it has printed:\n%s", c.name, i.printed)
		}
		// What is compiled while it runs is compiled now.
		if _, err := closed(ctx, newCall(i.endpoint, chat(ordinary, "")), connections, o.duration); err != nil {
			return all, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return all, nil
}

// measure is one round.
func measure(ctx context.Context, o options, subjects []*subject, round int) (map[string]figures, error) {
	all := map[string]figures{}
	for _, s := range subjects {
		all[s.key] = figures{}
	}
	for _, step := range steps {
		if !wanted(o.steps, step.name) {
			continue
		}
		for _, s := range subjects {
			if s.slow && round > 0 && step.name == memoryStep {
				continue
			}
			if err := step.measure(ctx, s, all[s.key]); err != nil {
				return nil, fmt.Errorf("%s: %w", step.name, err)
			}
		}
	}
	return all, nil
}

// rotated begins with another one each round.
func rotated[T any](all []T, round int) []T {
	if len(all) == 0 {
		return nil
	}
	n := round % len(all)
	return slices.Concat(all[n:], all[:n])
}

// raiseFiles lets this process and those that it starts have all the files that they may: a thousand streams
// are two thousand connections. What is set explicitly, the children inherit.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < 4096 {
		return fmt.Errorf("a process may have only %d files open; a thousand streams take 4096 (ulimit -n)", limit.Max)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
