package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"llmgateway.dev/gateway/internal/clientcredentials"
	"llmgateway.dev/gateway/internal/hidden"
)

// printToken prints a client's access token, and nothing else, which is one where a shell substitutes it.
//
// The id and the secret are no flags: command lines are in everybody's process list, and in the
// shell's history.
func printToken(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var r clientcredentials.Request
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	flags.StringVar(&r.Issuer, "issuer", os.Getenv("GATEWAY_ISSUER"), "`URL` of the client's identity provider")
	flags.StringVar(&r.TokenURL, "token-url", "", "`URL` of its token endpoint, where it can't be discovered")
	flags.StringVar(&r.Scope, "scope", "", "`scopes` to ask for, separated by spaces")
	flags.StringVar(&r.Audience, "audience", "", "`audience` to ask for, where the identity provider wants to be told (Auth0)")
	if err := parse(flags, args, stderr); err != nil {
		return err
	}
	if r.Issuer == "" && r.TokenURL == "" {
		fmt.Fprintln(stderr, "which identity provider? give --issuer URL or set GATEWAY_ISSUER")
		return errUsage
	}
	var err error
	if r.ClientID, err = setting("GATEWAY_CLIENT_ID", stderr); err != nil {
		return err
	}
	secret, err := setting("GATEWAY_CLIENT_SECRET", stderr)
	if err != nil {
		return err
	}
	r.ClientSecret = hidden.New(secret)

	cache := clientcredentials.NewCache()
	if held, ok := cache.Get(r); ok {
		_, err := fmt.Fprintln(stdout, held)
		return err
	}
	token, err := r.Grant(ctx)
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	if err := cache.Put(r, token); err != nil {
		fmt.Fprintf(stderr, "the token is good, but isn't kept for the next time: %v\n", err)
	}
	_, err = fmt.Fprintln(stdout, token.Value.Reveal())
	return err
}

// setting is the environment variable's value, or, without its last newline, what the file holds that
// the variable with _FILE at its end names.
func setting(name string, stderr io.Writer) (string, error) {
	value, file := os.Getenv(name), os.Getenv(name+"_FILE")
	from := name
	switch {
	case value == "" && file == "":
		fmt.Fprintf(stderr, "set %s, or %[1]s_FILE to the name of a file that holds it\n", name)
		return "", errUsage
	case value != "" && file != "":
		fmt.Fprintf(stderr, "%s and %[1]s_FILE are both set; unset one\n", name)
		return "", errUsage
	case file != "":
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s_FILE: %w", name, err)
		}
		value, from = strings.TrimRight(string(content), "\r\n"), file
	}
	// RFC 6749 appendix A.1, A.2: VSCHAR.
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return "", fmt.Errorf("%s does not hold one line of printable ASCII, as %s must be", from, name)
	}
	return value, nil
}
