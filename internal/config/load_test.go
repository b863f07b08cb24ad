package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"llmgateway.dev/gateway/internal/config"
)

var update = flag.Bool("update", false, "rewrite the expected faults")

// Each archive is a configuration and every fault it must be answered with.
func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) == 0 {
		t.Fatal("no archives")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, faults := config.Parse("gateway.yaml", ar.Files[0].Data)
			got := ""
			if len(faults) > 0 {
				got = faults.Error() + "\n"
			}
			if *update {
				ar.Files = append(ar.Files[:1], txtar.File{Name: "faults", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(ar.Files) != 2 {
				t.Fatal("want two files: the configuration and its faults")
			}
			if diff := cmp.Diff(string(ar.Files[1].Data), got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefaultsAndPaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.yaml")
	doc := `
issuers:
  - {url: https://id.example.com/realms/r, audiences: [llm-gateway]}
policies: {files: [../policies/gateway.cedar]}
credentials:
  key: {api_key: {from: {file: key.txt}}}
  entra: {client_credentials: {token_url: https://id.example.com/token, client_id: gateway, client_secret: {file: secret.txt}, scopes: [a]}}
upstreams:
  openai: {kind: openai, credential: key}
  global: {kind: vertex, project: acme, location: global, credential: key}
  near: {kind: vertex, project: acme, location: europe-west4, credential: key}
  eu: {kind: vertex, project: acme, location: eu, credential: key}
  private: {kind: vertex, project: acme, location: eu, base_url: https://vertex.internal/, credential: key}
  azure: {kind: azure, base_url: https://acme.openai.azure.com/openai/v1/, credential: entra}
  anthropic: {kind: anthropic, credential: key}
  gemini: {kind: gemini, credential: key}
models:
  gpt: {targets: [{upstream: openai, model: gpt-x}], price: {input: 10, output: 30}}
  claude: {targets: [{upstream: anthropic, model: claude-x}], price: {input: 10, cached_input: 0, output: 30}}
default_upstream: openai
`
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Load(file)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	is := c.Issuers[0]
	if diff := cmp.Diff([]config.ClaimPath{"groups", "roles", "/realm_access/roles"}, is.Groups); diff != "" {
		t.Error(diff)
	}
	if is.MaxTokenLifetime != 24*time.Hour || is.ClockSkew != 30*time.Second || len(is.Algorithms) != 10 {
		t.Errorf("issuer defaults: %+v", is)
	}
	want := config.Server{MaxBody: 32 << 20, MaxBuffered: 192 << 20, RequestTimeout: 55 * time.Minute, UpstreamHeaderTimeout: 10 * time.Minute}
	if c.Server != want || c.SecretManager.Refresh != 5*time.Minute || c.Policies.Mode != config.Enforce {
		t.Errorf("defaults: %+v %+v %+v", c.Server, c.SecretManager, c.Policies)
	}
	if got, want := c.Policies.Files[0], filepath.Join(filepath.Dir(dir), "policies/gateway.cedar"); got != want {
		t.Errorf("policy file %s, want %s", got, want)
	}
	if got, want := c.Credentials["key"].APIKey.From.File, filepath.Join(dir, "key.txt"); got != want {
		t.Errorf("secret file %s, want %s", got, want)
	}
	if got, want := c.Credentials["entra"].ClientCredentials.ClientSecret.File, filepath.Join(dir, "secret.txt"); got != want {
		t.Errorf("secret file %s, want %s", got, want)
	}
	if gpt, claude := c.Models["gpt"].Price.Cached(), c.Models["claude"].Price.Cached(); gpt != 10 || claude != 0 {
		t.Errorf("cached input costs %g and %g, want input's price and nothing", gpt, claude)
	}
	for name, want := range map[string]string{
		"openai":    "https://api.openai.com/v1",
		"global":    "https://aiplatform.googleapis.com",
		"near":      "https://europe-west4-aiplatform.googleapis.com",
		"eu":        "https://aiplatform.eu.rep.googleapis.com",
		"private":   "https://vertex.internal",
		"azure":     "https://acme.openai.azure.com/openai/v1",
		"anthropic": "https://api.anthropic.com",
		"gemini":    "https://generativelanguage.googleapis.com",
	} {
		if got := c.Upstreams[name].Base(); got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"openai": "https://api.openai.com/v1",
		"global": "https://aiplatform.googleapis.com",
		"near":   "https://europe-west4-aiplatform.googleapis.com",
	} {
		if got := c.Upstreams[name].Base(); got != want {
			t.Errorf("%s has the base %s, want %s", name, got, want)
		}
	}
}

func TestUnreadableFilesAreFaults(t *testing.T) {
	dir := t.TempDir()
	if _, faults := config.Load(filepath.Join(dir, "absent.yaml")); len(faults) != 1 {
		t.Errorf("absent: %v", faults)
	}
	large := filepath.Join(dir, "large.yaml")
	os.WriteFile(large, make([]byte, config.MaxFile+1), 0o600)
	if _, faults := config.Load(large); len(faults) != 1 || !strings.Contains(faults.Error(), "larger than 64KiB") {
		t.Errorf("large: %v", faults)
	}
}

// endless are long documents whose every few bytes are a fault, or a name that could have meant many
// others: what takes time with the square of its length is seen here.
func endless() map[string]string {
	const most = config.MaxFile / 4 // the race detector is slow
	fill := func(before, entry, after string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < most; i++ {
			b.WriteString(strings.ReplaceAll(entry, "%", strconv.Itoa(i)))
		}
		return b.String() + after
	}
	half := fill("", "a%: {}, ", "")[:most/2]
	half = half[:strings.LastIndex(half, "a")]
	return map[string]string{
		"unknown keys":         fill("", "a%:\n", ""),
		"a long key":           strings.Repeat("a", most/2) + ": {}",
		"a long key above":     fill("models: {"+strings.Repeat("a", most/2)+": {targets: [", "{},", "]}}"),
		"empty issuers":        fill("issuers: [", "{},", "]"),
		"numbers for issuers":  fill("issuers: [", "1,", "]"),
		"one prefix":           fill("issuers: [", "{group_prefix: a},", "]"),
		"empty audiences":      fill("issuers: [{audiences: [", "'',", "]}]"),
		"empty targets":        fill("models: {m: {targets: [", "{},", "]}}"),
		"unknown upstreams":    fill("upstreams: {"+half+"}\ndefault_upstream: [", "b%,", "]"),
		"empty credentials":    fill("credentials: {", "a%: {},", "}"),
		"deep lists":           fill("issuers: ", "[", ""),
		"deep mappings":        fill("", "{a: ", ""),
		"lists in block style": fill("", "- ", ""),
		"comments":             fill("", "#\n", ""),
		"aliases":              fill("a: &a [x]\nissuers: [", "*a,", "]"),
	}
}

func TestAFileOfNothingButFaultsIsAnsweredShortly(t *testing.T) {
	for name, doc := range endless() {
		_, faults := config.Parse("gateway.yaml", []byte(doc))
		if n := len(faults); n == 0 || n > config.MaxFaults+1 {
			t.Errorf("%s: %d faults", name, n)
		}
		if n := len(faults.Error()); n > 2*config.MaxFile {
			t.Errorf("%s: faults of %d bytes", name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, doc := range endless() {
		f.Add([]byte(doc[:1<<10]))
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		if ar, err := txtar.ParseFile(file); err == nil {
			f.Add(ar.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, faults := config.Parse("gateway.yaml", doc)
		if len(faults) == 0 && (len(c.Issuers) == 0 || len(c.Upstreams) == 0 || len(c.Policies.Files) == 0) {
			t.Error("a configuration that can't serve has no fault")
		}
	})
}
