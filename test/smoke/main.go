// Smoke asks a deployed gateway the three questions that a deployment must not leave open: does it
// stream an answer to a client that may have one, does it deny what is denied, does it refuse who
// brings no token.
//
//	go run ./test/smoke -url URL -function URL -account EMAIL -audience NAME -model NAME -denied-model NAME
//
// Its token is a Google ID token of the service account -account, which Application Default
// Credentials must be allowed to mint (roles/iam.serviceAccountOpenIdTokenCreator); an entry of the
// configuration's issuers admits it.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials/impersonate"
)

// patience is how long the first question may remain unanswered: who was just allowed to invoke is
// let through by Google within minutes, not at once (cloud.google.com/iam/docs/access-change-propagation).
const patience = 3 * time.Minute

func main() {
	log.SetFlags(0)
	log.SetPrefix("smoke: ")
	url := flag.String("url", "", "the gateway's `URL`, as clients call it")
	function := flag.String("function", "", "the function's own `URL`, which Google's front end expects in ID tokens whatever the domain")
	account := flag.String("account", "", "`email` of the service account to call as")
	audience := flag.String("audience", "", "an audience that the gateway's issuers entry for it expects")
	model := flag.String("model", "", "a `name` of a model that it may use")
	denied := flag.String("denied-model", "", "a `name` of a model that it may not use")
	flag.Parse()
	flag.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" {
			log.Fatalf("-%s is missing: %s", f.Name, f.Usage)
		}
	})
	if flag.NArg() > 0 {
		log.Fatalf("takes no argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	c := caller{url: strings.TrimSuffix(*url, "/"), client: &http.Client{Timeout: time.Minute}, pause: 5 * time.Second}
	for audience, token := range map[string]*string{*audience: &c.token, strings.TrimSuffix(*function, "/"): &c.pass} {
		var err error
		if *token, err = mint(ctx, *account, audience); err != nil {
			log.Fatalf("an ID token of %s for %s: %v", *account, audience, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.ask(ctx, *model, *denied, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func mint(ctx context.Context, account, audience string) (string, error) {
	credentials, err := impersonate.NewIDTokenCredentials(&impersonate.IDTokenOptions{TargetPrincipal: account, Audience: audience, IncludeEmail: true})
	if err != nil {
		return "", err
	}
	token, err := credentials.Token(ctx)
	if err != nil {
		return "", err
	}
	return token.Value, nil
}
