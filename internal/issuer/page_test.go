package issuer

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/test/pages"
)

// rest is what a configuration needs besides issuers.
const rest = `
policies: {files: [gateway.cedar]}
upstreams: {local: {kind: openai, base_url: "http://127.0.0.1:1/v1"}}
`

// blocks are those of docs/identity-providers.md. What is written for the gateway is yaml there; what is
// applied at a provider is yml.
func blocks(t *testing.T) []pages.Block {
	t.Helper()
	page, err := pages.Read("../../docs", "identity-providers.md")
	if err != nil {
		t.Fatal(err)
	}
	return page.Blocks
}

// load has the production loader read entries.
func load(t *testing.T, entries ...string) []config.Issuer {
	t.Helper()
	var document strings.Builder
	document.WriteString("issuers:\n")
	for _, e := range entries {
		list, ok := strings.CutPrefix(e, "issuers:\n")
		if !ok {
			t.Fatalf("not a list of issuers:\n%s", e)
		}
		document.WriteString(list)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(file, []byte(document.String()+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Load(file)
	if len(faults) > 0 {
		t.Fatalf("%v in\n%s", faults, &document)
	}
	if warnings := Warnings(c); len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	return c.Issuers
}

// The entries of the page for identity providers are loaded, each alone and all together.
func TestEveryEntryOfThePageIsLoaded(t *testing.T) {
	var all []string
	for _, b := range blocks(t) {
		switch b.Language {
		case "yaml":
			load(t, b.Text)
			all = append(all, b.Text)
		case "yml":
			var applied map[string]any
			if err := yaml.Unmarshal([]byte(b.Text), &applied); err != nil {
				t.Errorf("%s: %v in\n%s", b.Heading, err, b.Text)
			}
		}
	}
	if len(all) < 9 {
		t.Fatalf("only %d entries", len(all))
	}
	load(t, all...)
}

// The pages of docs/clients show the entries that this page shows.
func TestThePagesOfClientsShowTheSameEntries(t *testing.T) {
	here := map[string]config.Issuer{}
	for _, b := range blocks(t) {
		if b.Language == "yaml" {
			for _, is := range load(t, b.Text) {
				here[is.URL] = is
			}
		}
	}
	all, err := pages.ReadAll("../../docs/clients")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range all {
		for _, b := range page.Of("yaml") {
			for _, is := range load(t, b.Text) {
				shown++
				if diff := cmp.Diff(here[is.URL], is); diff != "" {
					t.Errorf("%s:%d: %s (-identity-providers.md +this page)\n%s", page.Name, b.Line, is.URL, diff)
				}
			}
		}
	}
	if shown < 4 {
		t.Errorf("only %d entries", shown)
	}
}

// Every token of the page is mapped to what the block after it says: what /whoami would answer, or why
// it is refused.
func TestEveryTokenOfThePageMapsToTheClientBelowIt(t *testing.T) {
	all := blocks(t)
	var entries []string
	for _, b := range all {
		if b.Language == "yaml" {
			entries = append(entries, b.Text)
		}
	}
	var now time.Time
	issuers, err := newAt(load(t, entries...), slog.New(slog.DiscardHandler), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for i, b := range all {
		var token struct {
			Iss string
			Iat int64
		}
		if b.Language != "json" {
			continue
		}
		if err := json.Unmarshal([]byte(b.Text), &token); err != nil {
			t.Errorf("%s: %v in\n%s", b.Heading, err, b.Text)
		}
		if token.Iss == "" {
			continue
		}
		if i+1 == len(all) || all[i+1].Heading != b.Heading {
			t.Fatalf("%s: nothing below the token says whom it speaks for", b.Heading)
		}
		shown[token.Iss]++
		now = time.Unix(token.Iat, 0)
		who, err := issuers.Map([]byte(b.Text))
		below := all[i+1]
		if below.Language == "text" {
			if err == nil || strings.TrimPrefix(err.Error(), "invalid_token: ") != strings.TrimSpace(below.Text) {
				t.Errorf("%s: %v, %v; the page says %s", b.Heading, who, err, below.Text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", b.Heading, err)
			continue
		}
		var want whoami
		decoder := json.NewDecoder(strings.NewReader(below.Text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("%s: %v in\n%s", b.Heading, err, below.Text)
		}
		got := whoami{who.Issuer, who.Subject, who.ClientID, who.Groups, append([]string{}, who.Scopes...), who.Claims}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-page +mapped):\n%s", b.Heading, diff)
		}
	}
	for url := range issuers.byURL {
		if shown[url] == 0 {
			t.Errorf("the page shows no token of %s", url)
		}
	}
}

// whoami is the answer of GET /whoami, but for models and limits.
type whoami struct {
	Issuer   string            `json:"issuer"`
	Subject  string            `json:"subject"`
	ClientID string            `json:"client_id"`
	Groups   []string          `json:"groups"`
	Scopes   []string          `json:"scopes"`
	Claims   map[string]string `json:"claims"`
}

// The Keycloak client that the page shows is the one that the end-to-end test imports.
func TestThePageShowsTheRealmThatIsTested(t *testing.T) {
	text, err := os.ReadFile("../../test/e2e/testdata/realm.json")
	if err != nil {
		t.Fatal(err)
	}
	var realm struct{ Clients []map[string]any }
	if err := json.Unmarshal(text, &realm); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, b := range blocks(t) {
		var client map[string]any
		if b.Language != "json" || json.Unmarshal([]byte(b.Text), &client) != nil || client["clientId"] == nil {
			continue
		}
		for _, c := range realm.Clients {
			if c["clientId"] == client["clientId"] && reflect.DeepEqual(c, client) {
				found++
			}
		}
	}
	if found != 1 {
		t.Error("the page's client is not in realm.json as it stands there")
	}
}

// The table of patterns is true.
func TestThePatternsOfThePageMatchWhatItSays(t *testing.T) {
	text, err := os.ReadFile("../../docs/identity-providers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| pattern | is | is not |\n| --- | --- | --- |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	quoted := regexp.MustCompile("`([^`]*)`")
	values := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			t.Fatalf("no table: %q", row)
		}
		pattern := quoted.FindStringSubmatch(cells[1])[1]
		for i, want := range []bool{true, false} {
			for _, value := range quoted.FindAllStringSubmatch(cells[2+i], -1) {
				values++
				if config.Pattern(pattern).Regexp().MatchString(value[1]) != want {
					t.Errorf("%s of %s: %t", pattern, value[1], !want)
				}
			}
		}
	}
	if values < 10 {
		t.Errorf("the table has %d values", values)
	}
}
