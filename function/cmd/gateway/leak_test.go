package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever a command shows of a configuration, on the terminal, as JSON or on a page, holds no value of a credential: of
// one in the environment, in a file, or pasted where its source should stand.
func TestNoCommandShowsACredential(t *testing.T) {
	const canary = "sk-canary-in-a-coal-mine"
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("CANARY_KEY", canary)
	t.Setenv("CANARY_STORE", "rediss://default:"+canary+"@10.0.0.3:6379")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key", canary)
	write("gateway.cedar", `@id("all") permit (principal, action, resource);`)
	const whole = `
issuers: [{url: "https://idp.example", audiences: [gw]}]
policies: {files: [gateway.cedar]}
credentials:
  openai: {api_key: {from: {env: CANARY_KEY}}}
  vertex: {service_account_key: {from: {file: key}, scopes: [a]}}
  entra: {client_credentials: {token_url: "https://id.example/token", client_id: gw, client_secret: {file: key}, scopes: [a]}}
upstreams:
  openai: {kind: openai, credential: openai}
  vertex: {kind: vertex, project: acme, location: europe-west4, credential: vertex}
models:
  m: {targets: [{upstream: openai, model: m}]}
default_upstream: openai
`
	write("whole.yaml", whole)
	faulty := map[string]string{
		"a key for a source":  strings.Replace(whole, "{env: CANARY_KEY}", canary, 1),
		"a key for a name":    strings.Replace(whole, "{env: CANARY_KEY}", "{env: "+canary+"}", 1),
		"a key in a list":     strings.Replace(whole, "{env: CANARY_KEY}", "["+canary+"]", 1),
		"a key as a key":      strings.Replace(whole, "{env: CANARY_KEY}", "{"+canary+": x}", 1),
		"a secret pasted":     strings.Replace(whole, "client_secret: {file: key}", "client_secret: "+canary, 1),
		"a password in a URL": strings.Replace(whole, "https://id.example/token", "https://gw:"+canary+"@id.example/token", 1),
		"a store's password":  whole + "limit_store: {url: \"rediss://default:" + canary + "@10.0.0.3\"}\n",
		"the store's address": whole + "limit_store: {url_env: CANARY_STORE}\nlimits: [{name: a, requests_per_minute: 1}]\n",
	}
	var commands [][]string
	commands = append(commands,
		[]string{"check", "--config", "whole.yaml"},
		[]string{"explain", "--config", "whole.yaml", "--group", "g", "--all"},
		[]string{"explain", "--config", "whole.yaml", "--group", "g", "--all", "--json"},
		[]string{"explain", "--config", "whole.yaml", "--group", "g", "--operation", "chat.completions.create", "--model", "m"},
		[]string{"matrix", "--config", "whole.yaml", "--html", "matrix.html"},
		[]string{"matrix", "--config", "whole.yaml", "--json"},
	)
	for name, text := range faulty {
		file := strings.ReplaceAll(name, " ", "-") + ".yaml"
		write(file, text)
		commands = append(commands, []string{"check", "--config", file}, []string{"explain", "--config", file, "--group", "g", "--all"})
	}
	for _, args := range commands {
		var out bytes.Buffer
		status := run(t.Context(), args, &out, &out)
		if wants := args[2] == "whole.yaml"; wants != (status == 0) && !strings.HasPrefix(args[2], "the-store") {
			t.Errorf("%q: status %d: %s", args, status, &out)
		}
		if strings.Contains(out.String(), canary) {
			t.Errorf("%q shows it: %s", args, &out)
		}
	}
	page, err := os.ReadFile("matrix.html")
	if err != nil || strings.Contains(string(page), canary) {
		t.Error(fmt.Sprint("the page shows it, or isn't there: ", err))
	}
}
