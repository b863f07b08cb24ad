package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/txtar"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/issuer/issuertest"
	"llmgateway.dev/gateway/internal/upstream/upstreamtest"
	"llmgateway.dev/gateway/test/pages"
)

const (
	walkFile = "testdata/walk/policies.txtar"
	// Who the page says issues tokens, and where it says that the gateway is.
	pageIssuer, pageGateway = "https://keycloak.example.com/realms/my-realm", "https://gateway.example.com"
)

// The walk is run with the machine's curl where that is recent enough to know --json (7.82), else with one that takes the
// request from its command line as it stands there.
func TestTheWalkFromDeniedToAllowed(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-walk") // the gateway is served by this process
	takeWalk(t, exec.Command("curl", "--json", "{}", "--version").Run() != nil)
}

// walk is the company that the page tells of, on this machine.
type walk struct {
	idp      *issuertest.Issuer
	provider *upstreamtest.Server
	gateway  *httptest.Server
	records  bytes.Buffer
	// decision is the decision id that the client was told last.
	decision string
}

func takeWalk(t *testing.T, ownCurl bool) {
	on := func(f func(*walk, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, _ bool, args []string) { f(ts.Value("walk").(*walk), ts, args) }
	}
	testscript.Run(t, testscript.Params{
		Files:              []string{walkFile},
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setOut(env, ownCurl) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"deploy": on((*walk).deploy), "console": on((*walk).console), "record": on((*walk).record),
			"append": func(ts *testscript.TestScript, _ bool, args []string) {
				both := ts.ReadFile(args[1]) + ts.ReadFile(args[0])
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(both), 0o600))
			},
		},
	})
}

func setOut(env *testscript.Env, ownCurl bool) error {
	w := &walk{idp: issuertest.New(), provider: upstreamtest.New(func(key string) bool { return key == "sk-walk" })}
	env.Defer(w.idp.Close)
	env.Defer(w.provider.Close)
	env.Defer(w.end)
	env.Values["walk"] = w
	w.idp.AddClient(issuertest.Client{ID: "data-pipeline", Secret: "the pipeline's", Audience: []string{"llm-gateway"}, Groups: []string{"data-enrichment-team"}})
	for name, value := range map[string]string{
		"HOME": env.WorkDir + "/home", "OPENAI_API_KEY": "sk-walk",
		"GATEWAY_ISSUER": w.idp.URL, "GATEWAY_CLIENT_ID": "data-pipeline", "GATEWAY_CLIENT_SECRET": "the pipeline's",
	} {
		env.Setenv(name, value)
	}
	if ownCurl {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := os.Symlink(self, env.WorkDir+"/curl"); err != nil {
			return err
		}
		env.Setenv("PATH", env.WorkDir+":"+env.Getenv("PATH"))
	}
	file := env.WorkDir + "/config/gateway.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	here := strings.Replace(strings.ReplaceAll(string(text), pageIssuer, w.idp.URL), "kind: openai,", fmt.Sprintf("kind: openai, base_url: %q,", w.provider.URL), 1)
	return os.WriteFile(file, []byte(here), 0o600)
}

// deploy is a new revision.
func (w *walk) deploy(ts *testscript.TestScript, args []string) {
	w.end()
	c, faults := config.Load(ts.MkAbs(args[0]))
	ts.Check(faults.Err())
	handler, err := function.Build(c, &w.records)
	ts.Check(err)
	w.gateway = httptest.NewServer(handler)
}

// end waits until all is recorded.
func (w *walk) end() {
	if w.gateway != nil {
		w.gateway.Close()
	}
}

// console runs the commands of a terminal.
func (w *walk) console(ts *testscript.TestScript, args []string) {
	for each := range strings.SplitSeq(strings.TrimPrefix(ts.ReadFile(args[0]), "$ "), "\n$ ") {
		command, want, _ := strings.Cut(each, "\n")
		here := strings.NewReplacer(pageIssuer, w.idp.URL, pageGateway, w.gateway.URL)
		err := ts.Exec("sh", "-c", here.Replace(command))
		got := strings.ReplaceAll(ts.ReadFile("stdout")+ts.ReadFile("stderr"), w.idp.URL, pageIssuer)
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			got += exit.Error()
		} else {
			ts.Check(err)
		}
		if diff := cmp.Diff(varied.ReplaceAllString(strings.TrimSpace(want), "…"), varied.ReplaceAllString(strings.TrimSpace(got), "…")); diff != "" {
			ts.Fatalf("%s (-page +printed)\n%s", command, diff)
		}
		var told struct {
			Error struct {
				DecisionID string `json:"decision_id"`
			}
		}
		if json.Unmarshal([]byte(got), &told) == nil {
			w.decision = told.Error.DecisionID
		}
	}
}

// varied is what is another in each walk: decision ids, subjects and the time of day.
var varied = regexp.MustCompile(`[A-Z2-7]{26}|[0-9a-f]{8}-[0-9a-f-]{27}|at +[0-9]{4}-[0-9-]+T[0-9:]+Z`)

// record compares what the page shows of the audit record with the last that was written.
func (w *walk) record(ts *testscript.TestScript, args []string) {
	w.end()
	var want, got map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &want))
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(w.records.String(), w.idp.URL, pageIssuer)), "\n")
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &got))
	want["decision_id"] = w.decision
	for name, v := range want {
		if diff := cmp.Diff(v, got[name]); diff != "" {
			ts.Fatalf("%s (-page +record)\n%s", name, diff)
		}
	}
	if _, some := got["policies"]; some {
		ts.Fatalf("the record names policies")
	}
}

// A block of the page is a file of the walk, and a file of the walk a block: by their order, and by the files' names. A
// file's second block is what is appended.
func TestThePageShowsTheWalk(t *testing.T) {
	page, err := pages.Read("../../../docs", "policies.md")
	if err != nil {
		t.Fatal(err)
	}
	archive, err := txtar.ParseFile(walkFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) != len(page.Blocks) {
		t.Fatalf("the walk has %d files, the page %d blocks", len(archive.Files), len(page.Blocks))
	}
	script := strings.Split(string(archive.Comment), "\n")
	written := map[string]bool{}
	for i, b := range page.Blocks {
		f := archive.Files[i]
		if diff := cmp.Diff(b.Text, string(f.Data)); diff != "" {
			t.Errorf("docs/policies.md:%d isn't %s of %s (-page +walk)\n%s", b.Line, f.Name, walkFile, diff)
		}
		name, used := b.File, ""
		switch {
		case b.File == "" && b.Language == "console":
			name, used = f.Name, "console "+f.Name
		case b.File == "" && b.Language == "json":
			name, used = f.Name, "record "+f.Name
		case written[b.File]:
			name, used = b.File+".more", fmt.Sprintf("append %s.more %[1]s", b.File)
		}
		written[b.File] = true
		if name != f.Name {
			t.Errorf("docs/policies.md:%d is %q; the walk's file is %s", b.Line, name, f.Name)
		}
		if used != "" && !slices.Contains(script, used) {
			t.Errorf("the walk lacks %q", used)
		}
	}
	if n := strings.Count(page.Text, "\n$ "); n < 8 {
		t.Errorf("the page shows only %d commands", n)
	}
}

func TestTheWalksOwnCurlSendsWhatItsCommandLineSays(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL, r.Header["Authorization"], r.Header["Content-Type"], body)
	}))
	defer server.Close()
	file := t.TempDir() + "/body"
	for _, row := range []struct {
		args         string
		stdin        string
		wantOut, err string
	}{
		{args: "-s --header @- --json {} URL/a", stdin: "Authorization: Bearer t\n", wantOut: "POST /a [Bearer t] [application/json] {}"},
		{args: "URL/a", stdin: "Authorization: Bearer t\n", wantOut: "GET /a [] [] "},
		{args: "-o " + file + " -w %{http_code} URL/a", wantOut: "418"},
		{args: "--header @- URL/a", stdin: "t\n", err: "not a header"},
		{args: "--location URL/a", err: "not defined"},
		{args: "URL/a URL/b", err: "2 URLs"},
	} {
		var out bytes.Buffer
		err := curl(strings.Fields(strings.ReplaceAll(row.args, "URL", server.URL)), strings.NewReader(row.stdin), &out)
		if out.String() != row.wantOut || (err != nil) != (row.err != "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, %v", row.args, &out, err)
		}
	}
	if body, err := os.ReadFile(file); err != nil || string(body) != "GET /a [] [] " {
		t.Errorf("%q, %v", body, err)
	}
}

// curl does what the walk asks of curl: the method, the headers and the body are those of the command line.
func curl(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("curl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
	flags.Bool("s", false, "shows no progress")
	flags.Func("header", "`@-` reads headers from standard input", func(value string) error {
		if value == "@-" {
			text, err := io.ReadAll(stdin)
			if err != nil {
				return err
			}
			value = string(text)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(value), "\n") {
			name, content, ok := strings.Cut(line, ": ")
			if !ok {
				return errors.New("not a header") // which may be a secret
			}
			r.Header.Add(name, content)
		}
		return nil
	})
	flags.Func("json", "posts `data`", func(data string) error {
		r.Method = http.MethodPost
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(data)), int64(len(data))
		return nil
	})
	to := flags.String("o", "", "writes the body into a `file`")
	then := flags.String("w", "", "writes this at the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%d URLs", flags.NArg())
	}
	var err error
	if r.URL, err = url.Parse(flags.Arg(0)); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if *to != "" {
		err = os.WriteFile(*to, body, 0o600)
	} else {
		_, err = stdout.Write(body)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(stdout, strings.ReplaceAll(*then, "%{http_code}", fmt.Sprint(resp.StatusCode)))
	return err
}
