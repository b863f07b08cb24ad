// Command gateway runs and checks the LLM gateway outside Cloud Run.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/demo"
)

const help = `gateway is an LLM gateway for machine clients.

Usage:
  gateway demo  [--once] [--upstream URL [--model NAME]]
      plays the whole story on this machine; nothing else is needed
  gateway serve [--config FILE] [--listen ADDR]
      serves a configuration
  gateway check [--config FILE] [--json]
      prints every fault of a configuration and its policies, and warns of what may not be meant
  gateway explain [--config FILE] WHO (--operation NAME [--model NAME] [--stream] [--max-output-tokens N] | --all) [--at TIME] [--json]
      says what the policies decide for a client, by which of them, and which nearly decided otherwise
  gateway test [--cover] CASES ...
      tries policies: each case says who asks for what, and what must be decided
  gateway matrix [--config FILE] [--against FILE] [--json | --csv] [--html PAGE]
      shows which groups may do what on which models, or who gains and who loses against another configuration
  gateway token [--issuer URL | --token-url URL] [--scope SCOPES] [--audience NAME]
      prints an access token of a client: gateway token | sed 's/^/Authorization: Bearer /' | curl --header @- URL
  gateway usage [--by LIST] [--since TIME] [--until TIME] [--time-zone ZONE] [--json | --csv] [--html PAGE] [RECORDS ...]
      sums audit records: calls, tokens and USD by group and model, or by what LIST names

FILE is by default what GATEWAY_CONFIG names. ADDR is by default 127.0.0.1:8080, or all addresses at PORT where that is set.

demo's --upstream is the base URL of an OpenAI-compatible server (http://127.0.0.1:11434/v1 for Ollama) that answers instead of an echo;
its key, where it wants one, is in OPENAI_API_KEY. NAME is the model that gpt-4-turbo stands for, by default the first that the server lists.

explain's WHO is a token on standard input (gateway token | gateway explain …), verified or, with --unverified, by its claims alone; or
--claims FILE, which holds a token's claims in JSON; or --group NAME, as policies name it, once or more, and --client ISSUER#ID. Where it can't be
told from these whose client it is, add --issuer URL. --all is every operation on every model. Denied is an answer: the exit status is 0.

test reads files of cases (docs/policies.md), each of which names its configuration. The exit status is 1 where one is decided otherwise or, with
--cover, where a policy decided nothing in any of them.

token's --issuer is by default what GATEWAY_ISSUER says. The client's id and secret are in GATEWAY_CLIENT_ID and GATEWAY_CLIENT_SECRET, or in
the files that GATEWAY_CLIENT_ID_FILE and GATEWAY_CLIENT_SECRET_FILE name. A token is kept for the next time, readable by you alone.

matrix exits 0 whatever changes. Its PAGE opens the policies behind each cell; it is one file, which needs no network.

usage reads what the gateway writes to standard error, or Cloud Logging's export of it, plain or gzip: the files RECORDS, or standard input.
LIST is of hour, day, month, group, model, client, upstream, operation, status, error, limit and claimed_group. TIME is a date, from its beginning or
to its end, or a time in RFC 3339. PAGE is a file for one page with plots, which needs no network.
`

// command is one of the words after gateway.
type command func(ctx context.Context, args []string, stdout, stderr io.Writer) error

var commands = map[string]command{"demo": runDemo, "serve": serve, "check": check, "explain": explain, "test": runCases, "matrix": showMatrix, "token": printToken, "usage": sumUsage}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errUsage is a command line that makes no sense; what is wrong has been said.
var errUsage = errors.New("usage")

// jwt is how a JWT begins: an object in base64url, a dot, and another, or, in some that are encrypted, nothing and
// a dot. No file that people name looks so.
var jwt = regexp.MustCompile(`e[wy][A-Za-z0-9_-]{12,}\.([A-Za-z0-9_-]{3,}|\.)`)

// run returns the exit status: 0 done, 1 it went wrong, 2 the command line makes no sense.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		fmt.Fprint(stdout, help)
		return 0
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(stderr, help)
		return 2
	}
	if slices.ContainsFunc(args, jwt.MatchString) { // before any message repeats it
		fmt.Fprintln(stderr, "a token is taken from standard input alone; on a command line it stays in the shell's history, so use another from now on")
		return 2
	}
	switch err := commands[args[0]](ctx, args[1:], stdout, stderr); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, errFailed):
		return 1
	case err != nil:
		fmt.Fprintln(stderr, config.PrintableText(err.Error()))
		return 1
	}
	return 0
}

// parse parses args, which must be flags alone.
func parse(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	switch files, err := parseMixed(flags, args, stderr); {
	case err != nil:
		return err
	case len(files) > 0:
		fmt.Fprintf(stderr, "gateway %s takes flags alone; remove what stands after them\n", flags.Name()) // it may be a secret
		return errUsage
	}
	return nil
}

// repeated is a flag's value in package flag's own errors. It may be a secret too: --unverified=eyJ….
var repeated = regexp.MustCompile(`(?m)^(invalid (?:boolean )?value) ".*" for `)

// parseMixed parses flags, which may stand behind files too.
func parseMixed(flags *flag.FlagSet, args []string, stderr io.Writer) (files []string, err error) {
	var said bytes.Buffer
	flags.SetOutput(&said)
	for {
		err := flags.Parse(args)
		stderr.Write(repeated.ReplaceAll(said.Bytes(), []byte("$1 for ")))
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, errUsage
		}
		if flags.NArg() == 0 {
			return files, nil
		}
		files, args = append(files, flags.Arg(0)), flags.Args()[1:]
	}
}

func configFlag(flags *flag.FlagSet) *string {
	return flags.String("config", os.Getenv("GATEWAY_CONFIG"), "configuration `file`")
}

func needConfig(file string, stderr io.Writer) error {
	if file == "" {
		fmt.Fprintln(stderr, "which configuration? give --config FILE or set GATEWAY_CONFIG")
		return errUsage
	}
	return nil
}

func runDemo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	var o demo.Options
	flags.BoolVar(&o.Once, "once", false, "end after the story; exit 0 only if every step went as told")
	flags.StringVar(&o.Upstream, "upstream", "", "base `URL` of an OpenAI-compatible server that answers instead of an echo")
	flags.StringVar(&o.Model, "model", "", "`name` of its model that gpt-4-turbo stands for; the first it lists by default")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if o.Model != "" && o.Upstream == "" {
		fmt.Fprintln(stderr, "--model is a model of --upstream; give that too")
		return errUsage
	}
	return demo.Run(ctx, stdout, function.Build, o)
}

func serve(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	file := configFlag(flags)
	listen := "127.0.0.1:8080"
	if port := os.Getenv("PORT"); port != "" {
		listen = ":" + port
	}
	flags.StringVar(&listen, "listen", listen, "`address` to listen on")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := needConfig(*file, stderr); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		fmt.Fprintf(stderr, "--listen: %v\n", err)
		return errUsage
	}
	os.Setenv("GATEWAY_CONFIG", *file)
	os.Setenv("FUNCTION_TARGET", "Gateway")
	functions.HTTP("Gateway", function.Instance().ServeHTTP)
	fmt.Fprintf(stderr, "serving %s on %s\n", *file, listen)
	stopped := make(chan error, 1)
	go func() { stopped <- funcframework.StartHostPort(host, port) }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return nil
	}
}

func check(_ context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	file := configFlag(flags)
	asJSON := flags.Bool("json", false, "write faults and warnings as JSON")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if err := needConfig(*file, stderr); err != nil {
		return err
	}
	warnings, err := function.Check(*file)
	if *asJSON {
		return writeFaults(stdout, warnings, err)
	}
	if err != nil {
		return err
	}
	for _, w := range warnings {
		fmt.Fprintln(stdout, w.Warning())
	}
	fmt.Fprintf(stdout, "%s: no faults\n", *file)
	return nil
}

// writeFaults writes what a check found for programs.
func writeFaults(w io.Writer, warnings config.Faults, err error) error {
	found := struct {
		Faults   config.Faults `json:"faults"`
		Warnings config.Faults `json:"warnings"`
	}{config.Faults{}, append(config.Faults{}, warnings...)}
	if faults, ok := errors.AsType[config.Faults](err); ok {
		found.Faults = faults
	} else if err != nil {
		return err
	}
	if err := writeJSON(w, found); err != nil {
		return err
	}
	if len(found.Faults) > 0 {
		return errFailed
	}
	return nil
}
