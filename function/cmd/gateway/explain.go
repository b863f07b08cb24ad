package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/apierror"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/hidden"
	"llmgateway.dev/gateway/internal/issuer"
	"llmgateway.dev/gateway/internal/operation"
	"llmgateway.dev/gateway/internal/policy"
	"llmgateway.dev/gateway/internal/principal"
	"llmgateway.dev/gateway/internal/trial"
	"llmgateway.dev/gateway/internal/upstream"
)

// question is what explain is asked.
type question struct {
	who        trial.Who
	claims     string
	unverified bool
	operation  string
	model      string
	ask        operation.Ask
	at         time.Time
	all        bool
}

// explain says what the policies decide for a client, and why.
//
// A token is no flag and no argument: command lines are in everybody's process list, and in the shell's
// history.
func explain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	file := configFlag(flags)
	var q question
	flags.BoolVar(&q.unverified, "unverified", false, "check the token's claims alone, not its signature; needs no network")
	flags.StringVar(&q.claims, "claims", "", "`file` of a token's claims, in JSON, instead of a token")
	flags.Func("group", "`group` as policies name it, instead of a token; may be given several times", func(g string) error {
		q.who.Groups = append(q.who.Groups, g)
		return nil
	})
	flags.StringVar(&q.who.Issuer, "issuer", "", "`URL` of the client's issuer, where neither claims nor groups tell it")
	flags.StringVar(&q.who.Client, "client", "", "ISSUER#CLIENT_`ID` as audit records name it, with or without groups, instead of a token")
	flags.StringVar(&q.operation, "operation", "", "`name` of what is asked for, such as chat.completions.create")
	flags.StringVar(&q.model, "model", "", "`name` of the model that is asked for")
	flags.BoolVar(&q.ask.Stream, "stream", false, "a streamed answer is asked for")
	flags.Func("max-output-tokens", "`bound` that the client sets", func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return errors.New("is not a whole number")
		}
		q.ask.MaxOutputTokens = &n
		return nil
	})
	at := flags.String("at", "", "`time` of the request, in RFC 3339; now by default")
	flags.BoolVar(&q.all, "all", false, "show every operation on every model, without reasons")
	asJSON := flags.Bool("json", false, "write JSON")
	switch rest, err := parseMixed(flags, args, stderr); {
	case err != nil:
		return err
	case len(rest) > 0: // which may be a token
		fmt.Fprintln(stderr, "gateway explain takes no argument; give a token on standard input")
		return errUsage
	}
	if err := needConfig(*file, stderr); err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		fmt.Fprintln(stderr, config.Printable(fmt.Sprintf(format, args...)))
		return errUsage
	}
	q.at = time.Now().UTC()
	if *at != "" {
		var err error
		if q.at, err = time.Parse(time.RFC3339, *at); err != nil {
			return wrong("--at: %q is not a time such as 2026-11-26T12:00:00Z", *at)
		}
	}
	supposed := len(q.who.Groups) > 0 || q.who.Client != ""
	switch {
	case q.all == (q.operation != ""):
		return wrong("what about it? give --operation NAME, and --model NAME where it names one, or --all")
	case q.all && q.model != "":
		return wrong("--model: --all shows every model; leave out one")
	case q.claims != "" && (supposed || q.unverified), q.unverified && supposed:
		return wrong("who is it? give a token on standard input (verified, or --unverified), or --claims, or --group and --client")
	case q.who.Issuer != "" && q.claims == "" && !supposed:
		return wrong("--issuer: a token says whose it is; leave it out, or give --claims or --group")
	}

	c, policies, issuers, err := function.Read(*file)
	if err != nil {
		return err
	}
	if !q.all {
		if err := q.check(c); err != nil {
			return wrong("%v", err)
		}
	}
	who, err := q.principal(ctx, c, issuers)
	if w, ok := errors.AsType[*trial.Wrong](err); ok {
		return wrong("--%s: %s", strings.Replace(w.Field, "groups", "group", 1), w.Message)
	} else if err != nil {
		return err
	}
	if q.all {
		t := newTable(c, policies, who, q)
		if *asJSON {
			return writeJSON(stdout, t)
		}
		return t.write(stdout)
	}
	a := newAnswer(c, policies, who, q)
	if *asJSON {
		return writeJSON(stdout, a)
	}
	return a.write(stdout)
}

func writeJSON(w io.Writer, v any) error {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, config.PrintableJSON(text.String()))
	return err
}

// check wants an operation and a model that exist, and go together.
func (q question) check(c *config.Config) error {
	op := operation.Named(operation.Name(q.operation))
	models := slices.Sorted(maps.Keys(c.Models))
	switch {
	case slices.Contains(operation.Groups(), operation.Group(q.operation)):
		return fmt.Errorf("--operation: %s is a group of operations; name one of them, or give --all", q.operation)
	case op == nil:
		return fmt.Errorf("--operation: no operation is called %q; %s", q.operation, config.Suggest(q.operation, operations()))
	case op.IsList():
		return fmt.Errorf("--operation: %s needs no permit; it shows the models on which some inference is allowed, which --all does too", q.operation)
	case op.NeedsModel() && q.model == "":
		return fmt.Errorf("--operation: %s names a model; give --model NAME: known are %s", q.operation, strings.Join(models, ", "))
	case !op.NeedsModel() && q.model != "":
		return fmt.Errorf("--model: %s names no model, and is decided on the default upstream; leave it out", q.operation)
	case op.NeedsModel() && !slices.Contains(models, q.model):
		return fmt.Errorf("--model: no model is called %q, so it is refused before policies are asked; %s", q.model, config.Suggest(q.model, models))
	}
	return nil
}

// operations are the names of those that policies decide.
func operations() []string {
	var names []string
	for _, op := range operation.Decided() {
		names = append(names, string(op.Name))
	}
	slices.Sort(names)
	return names
}

// principal finds the client. Nothing of a token is in its errors but what its claims say.
func (q question) principal(ctx context.Context, c *config.Config, issuers *issuer.Issuers) (*principal.Principal, error) {
	if q.claims == "" && (len(q.who.Groups) > 0 || q.who.Client != "") {
		return q.who.Principal(c, issuers)
	}
	if q.claims != "" {
		text, err := os.ReadFile(q.claims)
		if err != nil {
			return nil, err
		}
		q.who.Claims = text
		claims, err := q.who.Token(c)
		if err != nil {
			return nil, err
		}
		who, err := issuers.Map(claims)
		return who, refusal(issuers, claims, err)
	}
	raw, err := readToken(ctx)
	if err != nil {
		return nil, err
	}
	claims, err := issuer.Inspect(raw)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	var who *principal.Principal
	if q.unverified {
		who, err = issuers.Map(claims)
	} else {
		who, _, err = issuers.Verify(ctx, hidden.New(raw))
	}
	return who, refusal(issuers, claims, err)
}

// readToken reads standard input. What stands before the token in a header is no part of it.
func readToken(ctx context.Context) (string, error) {
	type input struct {
		text []byte
		err  error
	}
	read := make(chan input, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
		read <- input{text, err}
	}()
	select {
	case <-ctx.Done(): // nothing else ends the wait for a terminal
		return "", context.Cause(ctx)
	case in := <-read:
		text := string(bytes.TrimSpace(in.text))
		if len(text) > 7 && strings.EqualFold(text[:7], "bearer ") {
			text = strings.TrimSpace(text[7:])
		}
		return text, in.err
	}
}

// refusal adds what is known of the claims to the answer that the client gets.
func refusal(issuers *issuer.Issuers, claims []byte, err error) error {
	refused, ok := errors.AsType[*apierror.Error](err)
	if !ok || refused.Kind.Status != 401 {
		return err
	}
	text := fmt.Sprintf("%d %s: %s", refused.Kind.Status, refused.Kind.Code, refused.Message)
	for _, remark := range issuers.Remarks(claims) {
		text += "\n  " + remark
	}
	return errors.New(text)
}

// answer is an explanation with all it is about.
type answer struct {
	client
	Operation       operation.Name `json:"operation"`
	Model           string         `json:"model,omitempty"`
	Stream          bool           `json:"stream"`
	MaxOutputTokens *int64         `json:"max_output_tokens,omitempty"`
	Time            time.Time      `json:"time"`
	Mode            config.Mode    `json:"mode"`
	// Decision is allow or deny, as audit records have it. Status and Code are what the client gets where
	// its call is refused.
	Decision string   `json:"decision"`
	Status   int      `json:"status,omitempty"`
	Code     string   `json:"code,omitempty"`
	Policies []string `json:"policies"`
	Errors   []string `json:"errors,omitempty"`
	Places   []place  `json:"places"`
}

// place is a target, or an upstream.
type place struct {
	policy.Explanation
	// Unused says why the gateway sends no such call there though it may.
	Unused string `json:"unused,omitempty"`
}

// client is the principal as it was mapped.
type client struct {
	// Unverified says that nobody knows who made the token.
	Unverified bool `json:"unverified,omitempty"`

	Client  string            `json:"client"`
	Issuer  string            `json:"issuer"`
	Subject string            `json:"subject"`
	Groups  []string          `json:"groups"`
	Dropped int               `json:"dropped_groups,omitempty"`
	Scopes  []string          `json:"scopes"`
	Claims  map[string]string `json:"claims"`
}

func newClient(who *principal.Principal, unverified bool) client {
	c := client{unverified, who.ID(), who.Issuer, who.Subject, append([]string{}, who.Groups...), who.DroppedGroups, append([]string{}, who.Scopes...), map[string]string{}}
	maps.Copy(c.Claims, who.Claims)
	return c
}

func newAnswer(c *config.Config, policies *policy.Policies, who *principal.Principal, q question) answer {
	op := operation.Named(operation.Name(q.operation))
	req := operation.Suppose(op, q.model, q.ask)
	d := policies.Decide(who, req, q.at)
	a := answer{client: newClient(who, q.unverified), Operation: op.Name, Model: q.model, Stream: q.ask.Stream, MaxOutputTokens: q.ask.MaxOutputTokens,
		Time: q.at, Mode: c.Policies.Mode, Decision: "allow", Policies: append([]string{}, d.Policies...), Errors: d.Errors, Places: []place{}}
	for _, e := range policies.Explain(who, req, q.at) {
		p := place{Explanation: e}
		if !speaks(c, e.Upstream, req.Dialect) {
			p.Unused = "it " + lacks(req.Dialect.String())
		}
		a.Places = append(a.Places, p)
	}
	if d.Denied() {
		a.Decision = "deny"
	}
	callable := func(r policy.Route) bool { return speaks(c, r.Upstream, req.Dialect) }
	refusal := apierror.Kind{}
	switch { // what is denied has routes in audit mode
	case len(d.Routes) == 0:
		refusal = d.Refusal
	case !slices.ContainsFunc(d.Routes, callable):
		refusal = apierror.InvalidRequest
	}
	a.Status, a.Code = refusal.Status, refusal.Code
	return a
}

// speaks reports whether the upstream has an API of that form; the gateway translates none.
func speaks(c *config.Config, name string, form apierror.Dialect) bool {
	return slices.Contains(upstream.Dialects(c.Upstreams[name].Kind), form)
}

// lacks says which forms of API there are not.
func lacks(forms ...string) string {
	return fmt.Sprintf("has no API of %s's form", strings.Join(forms, "'s or "))
}
