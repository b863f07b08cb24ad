package function_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
)

var update = flag.Bool("update", false, "write the scenarios' goldens anew")

// TestScenarios plays testdata/*.txtar. An archive is a setting and a list of exchanges:
//
//	-- clients --          a client a line: ID: group, group
//	-- claims: ID --       JSON: what the client's token has besides, or instead; null takes a claim away
//	-- issuer --           the issuer's entry but for url and audiences
//	-- gateway.yaml --     the configuration's upstreams, models, default_upstream and server
//	-- gateway.cedar --    the policies
//	-- mode --             policies.mode, where it is not enforce
//	-- request: title --   METHOD PATH [as CLIENT], headers, an empty line, the body
//	-- response --         what the client gets: the status, headers, an empty line, the body
//	-- record --           those of the audit record's members that the golden names
//	-- upstream --         what the providers got
//
// The last three are goldens of the request before them (go test -update writes them); one that is
// left out is not compared. $ID in a request is that client's token. Ids, tokens and addresses are replaced by names, the
// same value by the same name, so that a request id is the same in answer and record or the golden differs.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios: ", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			play(t, file)
		})
	}
}

func play(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := setting{clients: map[string][]string{}, claims: map[string]map[string]any{}}
	for _, f := range archive.Files {
		switch f.Name {
		case "gateway.yaml":
			with.config = string(f.Data)
		case "gateway.cedar":
			with.policy = string(f.Data)
		case "issuer":
			with.trust = strings.TrimSpace(string(f.Data))
		case "mode":
			with.mode = strings.TrimSpace(string(f.Data))
		case "clients":
			for line := range strings.Lines(string(f.Data)) {
				id, groups, _ := strings.Cut(strings.TrimSpace(line), ":")
				with.clients[id] = strings.Fields(strings.ReplaceAll(groups, ",", " "))
			}
		default:
			if id, ok := strings.CutPrefix(f.Name, "claims: "); ok {
				var claims map[string]any
				if err := json.Unmarshal(f.Data, &claims); err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				with.claims[id] = claims
			}
		}
	}
	p := &player{scene: open(t, with), clientTokens: map[string]string{}, names: map[string]string{}, seen: map[*upstreamtest.Server]int{}}
	for id := range with.clients {
		p.clientTokens[id] = p.issuer.Token(id)
	}
	p.want(p.do(p.request(t.Context(), "GET", "/health?ready", "", "")), 200, "") // who is first to want the upstream's token is no matter here
	var got map[string]string
	title := ""
	for i, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "request"); ok {
			title = strings.TrimPrefix(name, ": ")
			got = p.exchange(string(f.Data))
		}
		text, golden := got[f.Name]
		if !golden {
			continue
		}
		if f.Name == "record" {
			text = named(text, string(f.Data))
		}
		if *update {
			archive.Files[i].Data = []byte(text)
		} else if diff := cmp.Diff(string(f.Data), text); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", title, f.Name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// player plays one scenario.
type player struct {
	*scene
	clientTokens map[string]string
	// names are what values that differ from run to run are called in goldens.
	names map[string]string
	seen  map[*upstreamtest.Server]int
}

// exchange makes a request and returns the three goldens.
func (p *player) exchange(text string) map[string]string {
	a := p.do(p.parse(text))
	if a.err != nil {
		p.Fatalf("%s: the answer broke off: %v", text, a.err)
	}
	id := a.Header.Get("X-Request-Id")
	got := map[string]string{}
	var record []string
	if !strings.HasPrefix(a.Request.URL.Path, "/health") && !strings.HasPrefix(a.Request.URL.Path, "/.well-known") {
		r := p.record(a)
		if decision, ok := r["decision_id"].(string); ok {
			p.names[decision] = "DECISION"
		}
		record = flat(r)
		slices.Sort(record)
	}
	p.names[id] = "REQUEST"
	got["response"] = p.plain(fmt.Sprintf("%d\n%s\n%s", a.StatusCode, lines(a.Header), a.body))
	got["record"] = p.plain(strings.Join(append(record, ""), "\n"))
	var received strings.Builder
	for i, server := range []*upstreamtest.Server{p.first, p.second} {
		all := server.Received()
		for _, r := range all[p.seen[server]:] {
			path := r.Path
			if r.Query != "" {
				path += "?" + r.Query
			}
			fmt.Fprintf(&received, "%s %s at the %s\n%s\n%s", r.Method, path, []string{"first", "second"}[i], lines(r.Header), r.Body)
			if r.Body != "" && !strings.HasSuffix(r.Body, "\n") {
				received.WriteByte('\n')
			}
		}
		p.seen[server] = len(all)
	}
	got["upstream"] = p.plain(received.String())
	return got
}

// parse reads a request section.
func (p *player) parse(text string) *http.Request {
	text = os.Expand(text, func(name string) string {
		if token, ok := p.clientTokens[name]; ok {
			return token
		}
		p.Fatalf("no client %q", name)
		return ""
	})
	head, body, _ := strings.Cut(text, "\n\n")
	lines := bufio.NewScanner(strings.NewReader(head))
	lines.Scan()
	line, who, _ := strings.Cut(lines.Text(), " as ")
	method, path, _ := strings.Cut(line, " ")
	if who != "" && p.clientTokens[who] == "" {
		p.Fatalf("no client %q", who)
	}
	body = strings.TrimSuffix(body, "\n")
	if strings.Contains(head, "multipart/form-data") { // whose lines end in CRLF
		body = strings.ReplaceAll(body, "\n", "\r\n") + "\r\n"
	}
	req := p.request(p.Context(), method, path, p.clientTokens[who], body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if values := req.Header.Values(name); len(values) > 0 && name != "Content-Type" {
			req.Header.Add(name, value)
		} else {
			req.Header.Set(name, value)
		}
	}
	return req
}

// plain replaces what differs from run to run.
func (p *player) plain(text string) string {
	replace := []string{p.URL, "GATEWAY", strings.Replace(p.URL, "http://", "https://", 1), "GATEWAY", p.issuer.URL, "ISSUER"}
	for value, name := range p.names {
		replace = append(replace, value, name)
	}
	text = strings.NewReplacer(replace...).Replace(text)
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = accessTokens.ReplaceAllString(text, "ACCESS-TOKEN")
	text = soon.ReplaceAllString(text, "${1}SOON")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// soon is how long a limit lasts, and what is left of it meanwhile, which differ with the time.
var soon = regexp.MustCompile(`(?m)(^X-Ratelimit-Re(?:set|maining)-\w+: |^Anthropic-Ratelimit-\w+-Re(?:set|maining): |^Retry-After: |try again in |begins anew at )[0-9][0-9.hmsT:Z-]*`)

// named keeps of a record the members that the golden names: all where it names none.
func named(record, golden string) string {
	if golden == "" {
		return record
	}
	var b strings.Builder
	for line := range strings.Lines(golden) {
		name, _, _ := strings.Cut(line, " ")
		_, rest, ok := strings.Cut("\n"+record, "\n"+name+" = ")
		value, _, _ := strings.Cut(rest, "\n")
		if !ok {
			value = "absent"
		}
		fmt.Fprintf(&b, "%s = %s\n", name, value)
	}
	return b.String()
}

// lines writes a head, but for what net/http adds.
func lines(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name == "Date" || name == "Content-Length" {
			continue
		}
		for _, value := range h[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String()
}
