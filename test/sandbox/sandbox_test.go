package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/credentials/idtoken"
	"cloud.google.com/go/compute/metadata"
	"github.com/google/go-cmp/cmp"
)

// TestMain is also the program that tests start as a function, where the variable names one. The
// machine's /etc is looked at from outside, before and after; and the developer has credentials, which
// no test may meet.
func TestMain(m *testing.M) {
	if name := os.Getenv("SANDBOX_TEST_FUNCTION"); name != "" {
		functions[name]()
		return
	}
	var home string
	var etc map[string]string
	code := Main(func() (err error) {
		etc = listing("/etc")
		if home, err = os.MkdirTemp("", "home"); err != nil {
			return err
		}
		os.Setenv("HOME", home)
		gcloud := filepath.Join(home, ".config", "gcloud")
		if err := os.MkdirAll(gcloud, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(gcloud, "application_default_credentials.json"), []byte("{}"), 0o600)
	}, m.Run)
	if etc != nil { // this is the outer process
		os.RemoveAll(home)
		if diff := cmp.Diff(etc, listing("/etc")); diff != "" {
			fmt.Fprintln(os.Stderr, "the sandbox changed the machine's /etc:\n"+diff)
			code = 1
		}
	}
	os.Exit(code)
}

// listing is every file's mode, size and time.
func listing(dir string) map[string]string {
	files := map[string]string{}
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			if info, err := d.Info(); err == nil {
				files[name] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
			}
		}
		return nil
	})
	return files
}

// open opens the Internet with these names for the test.
func open(t *testing.T, sites map[string]http.HandlerFunc) *Internet {
	t.Helper()
	if !Inside() {
		Omit(t, "neither root's capabilities nor user namespaces are to be had: what the sandbox does isn't shown")
	}
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	for name, h := range sites {
		n.Serve(name, h)
	}
	return n
}

// says is a handler that says by which name it was reached.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s is %s over TLS %t", r.Host, text, r.TLS != nil)
	}
}

// run returns what the program printed.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Skip("there is no", argv[0])
	}
	cmd := exec.CommandContext(t.Context(), path, argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestProgramsReachServedNamesAndVerifyTheirCertificates(t *testing.T) {
	open(t, map[string]http.HandlerFunc{
		"secretmanager.googleapis.com": says("Google"),
		"*.run.app":                    says("Cloud Run"),
	})
	for url, want := range map[string]string{
		"https://secretmanager.googleapis.com/v1":            "secretmanager.googleapis.com is Google over TLS true",
		"https://gateway-xyz.europe-west4.run.app/v1/models": "gateway-xyz.europe-west4.run.app is Cloud Run over TLS true",
	} {
		for name, argv := range map[string][]string{
			"curl":                     {"curl", "--silent", "--show-error", url},
			"curl without environment": {"env", "-i", "curl", "--silent", "--show-error", url},
			"Python":                   {"python3", "-c", "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1]).read().decode())", url},
			"Node.js":                  {"node", "-e", "fetch(process.argv[1]).then(r => r.text()).then(console.log)", url},
		} {
			t.Run(name, func(t *testing.T) {
				if got := run(t, argv...); got != want {
					t.Errorf("%s said %q, want %q", url, got, want)
				}
			})
		}
		t.Run("Go", func(t *testing.T) {
			if _, got := get(t, url); got != want {
				t.Errorf("%s said %q, want %q", url, got, want)
			}
		})
	}
}

// Were verification off somewhere, or the machine's authorities still trusted, this would not fail.
func TestACertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	open(t, map[string]http.HandlerFunc{"api.openai.com": says("OpenAI")})
	ours := authority
	t.Cleanup(func() { authority = ours })
	if err := makeAuthority(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get("https://api.openai.com"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("Go: error %v, want one about an unknown authority", err)
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl")
	}
	var exit *exec.ExitError
	if err := exec.CommandContext(t.Context(), curl, "--silent", "https://api.openai.com").Run(); !errors.As(err, &exit) || exit.ExitCode() != 60 {
		t.Errorf("curl: error %v, want its 60, that the certificate can't be verified", err)
	}
}

func TestANameLeadsElsewhereFromOneMomentToTheNext(t *testing.T) {
	n := open(t, map[string]http.HandlerFunc{"*.run.app": says("nobody's")})
	const url = "https://gateway.run.app"
	for _, step := range []struct {
		handler http.Handler
		want    string
	}{{nil, "nobody's"}, {says("ours"), "ours"}, {says("yours"), "yours"}, {nil, "nobody's"}} {
		n.Serve("gateway.run.app", step.handler)
		if _, got := get(t, url); !strings.Contains(got, step.want) {
			t.Errorf("said %q, want %q", got, step.want)
		}
	}
	n.Serve("*.run.app", nil)
	if status, _ := get(t, url); status != http.StatusMisdirectedRequest { // on the connection that is open
		t.Errorf("status %d of a name that is gone", status)
	}
}

func TestNothingElseIsReached(t *testing.T) {
	n := open(t, map[string]http.HandlerFunc{"googleapis.com": says("Google")})
	var unknown *net.DNSError
	if _, err := http.Get("https://storage.googleapis.com"); !errors.As(err, &unknown) || !unknown.IsNotFound {
		t.Errorf("error %v, want that the name isn't found", err)
	}
	for _, address := range []string{"8.8.8.8:443", "[2001:4860:4860::8888]:443"} {
		if conn, err := net.Dial("tcp", address); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s: connection %v, error %v, want that the network can't be reached", address, conn, err)
		}
	}
	if got := n.Unknown(); !slices.Contains(got, "storage.googleapis.com") {
		t.Errorf("unknown names: %q", got)
	}
}

func TestTheDevelopersAccountsAndProxiesStayOutside(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/dev/key.json")
	t.Setenv("CLOUDSDK_CORE_ACCOUNT", "dev@example.com")
	t.Setenv("CLOUDSDK_PYTHON", "/usr/bin/python3")
	t.Setenv("https_proxy", "http://proxy.example.com")
	t.Setenv("SSL_CERT_FILE", "/home/dev/proxy.pem")
	t.Setenv("GATEWAY_CONFIG", "gateway.yaml")
	got := map[string]string{} // of two, the last one counts
	for _, v := range environment("/tmp/sandbox") {
		name, value, _ := strings.Cut(v, "=")
		got[name] = value
	}
	for name, want := range map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "",
		"CLOUDSDK_CORE_ACCOUNT":          "",
		"CLOUDSDK_CONFIG":                "/tmp/sandbox/gcloud",
		"CLOUDSDK_PYTHON":                "/usr/bin/python3",
		"https_proxy":                    "",
		"SSL_CERT_FILE":                  bundle,
		"GATEWAY_CONFIG":                 "gateway.yaml",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// identity is the metadata of an account whose tokens name it.
func identity(account string) Metadata {
	return Metadata{
		Project: "acme",
		Number:  "100000000001",
		Region:  "europe-west4",
		Account: account,
		AccessToken: func(scopes []string) (string, time.Duration, error) {
			return account + " for " + strings.Join(scopes, " "), time.Hour, nil
		},
		IDToken: func(audience string, full bool) (string, error) {
			return fmt.Sprintf("%s to %s, full %t", account, audience, full), nil
		},
	}
}

const builder = "deploy@acme.iam.gserviceaccount.com"

func TestDefaultCredentialsAreTheMetadataServers(t *testing.T) {
	n := open(t, nil)
	n.Metadata(identity(builder))
	ctx := t.Context()
	if !metadata.OnGCEWithContext(ctx) {
		t.Fatal("the metadata server isn't found")
	}
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{"https://www.googleapis.com/auth/monitoring"}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := creds.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := builder + " for https://www.googleapis.com/auth/monitoring"; token.Value != want {
		t.Errorf("access token %q, want %q", token.Value, want)
	}
	if left := time.Until(token.Expiry); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token has %v left", left)
	}
	if universe, err := creds.UniverseDomain(ctx); universe != "googleapis.com" || err != nil {
		t.Errorf("universe %q, error %v", universe, err)
	}
	if project, err := creds.ProjectID(ctx); project != "acme" || err != nil {
		t.Errorf("project %q, error %v", project, err)
	}
	ids, err := idtoken.NewCredentials(&idtoken.Options{Audience: "https://gateway.example.com", ComputeTokenFormat: idtoken.ComputeTokenFormatFull})
	if err != nil {
		t.Fatal(err)
	}
	token, err = ids.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := builder + " to https://gateway.example.com, full true"; token.Value != want {
		t.Errorf("ID token %q, want %q", token.Value, want)
	}
	for path, want := range map[string]string{
		"project/numeric-project-id":                       "100000000001",
		"instance/region":                                  "projects/100000000001/regions/europe-west4",
		"instance/service-accounts/default/email":          builder,
		"instance/service-accounts/" + builder + "/scopes": cloudPlatform + "\n",
	} {
		if got, err := metadata.GetWithContext(ctx, path); got != want || err != nil {
			t.Errorf("%s is %q, error %v, want %q", path, got, err, want)
		}
	}
}

func TestTheMetadataServerRefusesWhatGooglesDoes(t *testing.T) {
	n := open(t, nil)
	n.Metadata(identity(builder))
	flavor := http.Header{"Metadata-Flavor": {"Google"}}
	for name, tt := range map[string]struct {
		path   string
		header http.Header
		want   int
	}{
		"a request":            {"instance/service-accounts/default/token", flavor, 200},
		"without the header":   {"instance/service-accounts/default/token", nil, 403},
		"forwarded":            {"instance/service-accounts/default/token", http.Header{"Metadata-Flavor": {"Google"}, "X-Forwarded-For": {"203.0.113.7"}}, 403},
		"no audience":          {"instance/service-accounts/default/identity", flavor, 400},
		"another's account":    {"instance/service-accounts/x@y/token", flavor, 404},
		"what it doesn't know": {"instance/disks/", flavor, 404},
	} {
		t.Run(name, func(t *testing.T) {
			req, _ := http.NewRequest(http.MethodGet, "http://metadata.google.internal/computeMetadata/v1/"+tt.path, nil)
			req.Header = tt.header.Clone()
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want || resp.Header.Get("Metadata-Flavor") != "Google" {
				t.Errorf("status %d, flavor %q, want %d", resp.StatusCode, resp.Header.Get("Metadata-Flavor"), tt.want)
			}
		})
	}
}

func TestGcloudIsTheMetadataServersAccount(t *testing.T) {
	n := open(t, nil)
	n.Metadata(identity(builder))
	const audience = "https://gateway.example.com"
	if got, want := run(t, "gcloud", "auth", "print-identity-token", "--audiences="+audience), builder+" to "+audience+", full false"; got != want {
		t.Errorf("ID token %q, want %q", got, want)
	}
	if got := run(t, "gcloud", "auth", "print-access-token"); !strings.HasPrefix(got, builder+" for ") {
		t.Errorf("access token %q is not the account's", got)
	}
}

func TestTwoProgramsSeeDifferentFiles(t *testing.T) {
	open(t, nil)
	const file = "/etc/gateway/config/gateway.yaml"
	type program struct {
		cmd *exec.Cmd
		in  io.Closer
		out *bufio.Reader
	}
	var programs []program
	for _, text := range []string{"one", "other"} {
		// It reads when it is told to, so that both run side by side.
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "echo started; read -r go; cat "+file+"; stat -c ' %a %u' "+file+"; touch "+file+" 2>&1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := Start(cmd, map[string][]byte{file: []byte(text), "/etc/gateway/policies/gateway.cedar": nil}); err != nil {
			t.Fatal(err)
		}
		p := program{cmd, in, bufio.NewReader(out)}
		if line, err := p.out.ReadString('\n'); line != "started\n" {
			t.Fatal(line, err)
		}
		programs = append(programs, p)
	}
	for i, text := range []string{"one", "other"} {
		programs[i].in.Close()
		got, err := io.ReadAll(programs[i].out)
		if err != nil {
			t.Fatal(err)
		}
		programs[i].cmd.Wait()
		if want := text + " 444 0\n"; !strings.HasPrefix(string(got), want) || !strings.Contains(string(got), "Read-only file system") {
			t.Errorf("the program said %q, want %q and that the file can't be written", got, want)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is seen outside: %v", err)
	}
}

func TestFilesShadowNothing(t *testing.T) {
	open(t, nil)
	for _, name := range []string{"/etc/ssl/certs/other.crt", "/etc/passwd", "/srv/gateway.yaml", "/etc/gateway/../ssl/x"} {
		cmd := exec.CommandContext(t.Context(), "true")
		if err := Start(cmd, map[string][]byte{name: nil}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one that names %s", err, name)
			cmd.Wait()
		}
	}
}

// functions are the programs that tests deploy; their environment chooses.
var functions = map[string]func(){
	"exits": func() {
		fmt.Fprintln(os.Stderr, "GATEWAY_CONFIG is not set")
		os.Exit(1)
	},
	"hears nothing": func() { select {} },
	"serves": func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			fmt.Fprintln(os.Stderr, os.Getenv("K_REVISION"), "ends")
			os.Exit(0)
		}()
		http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, strings.Join(os.Environ(), "\n")) })
		http.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Host, r.RequestURI); r.Header.Write(w) })
		http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "/etc/gateway/config/gateway.yaml") })
		http.HandleFunc("/account", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(os.Stderr, `{"message":"account"}`)
			text, err := metadata.GetWithContext(r.Context(), "instance/service-accounts/default/email")
			fmt.Fprint(w, text, err)
		})
		http.HandleFunc("/upstream", func(w http.ResponseWriter, r *http.Request) {
			resp, err := http.Get("https://api.openai.com/v1/models")
			if err != nil {
				fmt.Fprint(w, err)
				return
			}
			defer resp.Body.Close()
			io.Copy(w, resp.Body)
		})
		http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.EnableFullDuplex()
			w.Header().Set("Content-Length", fmt.Sprint(len("first\nlast\n")))
			fmt.Fprintln(w, "first")
			c.Flush()
			io.Copy(io.Discard, r.Body)
			fmt.Fprintln(w, "last")
		})
		fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
	},
}

const host = "gateway-xyz.europe-west4.run.app"

// function is a revision that runs this program as that function.
func function(t *testing.T, name, revision string) Revision {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Revision{
		Program: self,
		Env: map[string]string{
			"SANDBOX_TEST_FUNCTION": name, "GORACE": "atexit_sleep_ms=0",
			"FUNCTION_TARGET": "Gateway", "FUNCTION_SIGNATURE_TYPE": "http",
			"K_SERVICE": "gateway", "K_CONFIGURATION": "gateway", "K_REVISION": revision,
		},
		Files:    map[string][]byte{"/etc/gateway/config/gateway.yaml": []byte("issuers: []\n")},
		Timeout:  time.Hour,
		Metadata: identity("run@acme.iam.gserviceaccount.com"),
	}
}

// service makes one, served under its name.
func service(t *testing.T, n *Internet) *Service {
	s := n.Service()
	t.Cleanup(s.Close)
	n.Serve(host, s)
	return s
}

func deploy(t *testing.T, s *Service, r Revision) {
	t.Helper()
	if err := s.Deploy(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestAFunctionGetsItsEnvironmentFilesAccountAndNames(t *testing.T) {
	n := open(t, map[string]http.HandlerFunc{"api.openai.com": says("OpenAI")})
	n.Metadata(identity(builder))
	s := service(t, n)
	if status, _ := get(t, "https://"+host); status != http.StatusNotFound {
		t.Errorf("status %d before the first revision", status)
	}
	deploy(t, s, function(t, "serves", "gateway-00001-abc"))
	_, env := get(t, "https://"+host+"/env")
	got := strings.Split(strings.TrimSpace(env), "\n")
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"CLOUD_RUN_TIMEOUT_SECONDS=3600", "FUNCTION_SIGNATURE_TYPE=http", "FUNCTION_TARGET=Gateway", "GORACE=atexit_sleep_ms=0",
		"K_CONFIGURATION=gateway", "K_REVISION=gateway-00001-abc", "K_SERVICE=gateway", "PORT=8080", "SANDBOX_TEST_FUNCTION=serves",
	}, got); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]string{
		"/file":     "issuers: []\n",
		"/account":  "run@acme.iam.gserviceaccount.com<nil>",
		"/upstream": "api.openai.com is OpenAI over TLS true",
	} {
		if _, got := get(t, "https://"+host+path); got != want {
			t.Errorf("%s said %q, want %q", path, got, want)
		}
	}
	if got, want := s.Log(), []string{`{"message":"account"}`}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestTheFrontEndChangesHeadersAsGooglesDoes(t *testing.T) {
	n := open(t, nil)
	s := service(t, n)
	deploy(t, s, function(t, "serves", "one"))
	req, _ := http.NewRequest(http.MethodGet, "https://"+host+"/header?a;b=%zz", nil)
	req.Header = http.Header{
		"Authorization":         {"Bearer x"},
		"X-Forwarded-For":       {"203.0.113.7"},
		"X-Google-Internal":     {"yes"},
		"X-Cloud-Trace-Context": {"65011637f09e0a5179677a7429456db7/1;o=1"},
		"User-Agent":            {"test"},
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	want := host + " /header?a;b=%zz\n" + strings.Join([]string{
		"Accept-Encoding: gzip",
		"Authorization: Bearer x",
		`Forwarded: for="127.0.0.1";proto=https`,
		"User-Agent: test",
		"X-Cloud-Trace-Context: 65011637f09e0a5179677a7429456db7/1;o=1",
		"X-Forwarded-For: 203.0.113.7, 127.0.0.1",
		"X-Forwarded-Proto: https",
	}, "\r\n") + "\r\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if _, got := get(t, "https://"+host+"/header"); !strings.Contains(got, "X-Cloud-Trace-Context: ") || !strings.Contains(got, "Traceparent: 00-") {
		t.Errorf("the front end began no trace:\n%s", got)
	}
}

func TestAFunctionThatExitsAtStartSaysWhyAndTheFormerRevisionServesOn(t *testing.T) {
	n := open(t, nil)
	s := service(t, n)
	deploy(t, s, function(t, "serves", "one"))
	err := s.Deploy(t.Context(), function(t, "exits", "two"))
	for _, want := range []string{"revision two", "exit status 1", "GATEWAY_CONFIG is not set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if _, got := get(t, "https://"+host+"/env"); !strings.Contains(got, "K_REVISION=one\n") {
		t.Errorf("the former revision doesn't serve:\n%s", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Deploy(ctx, function(t, "hears nothing", "three")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v of a program that opens no port", err)
	}
	incomplete := function(t, "serves", "four")
	delete(incomplete.Env, "FUNCTION_TARGET")
	if err := s.Deploy(t.Context(), incomplete); err == nil || !strings.Contains(err.Error(), "FUNCTION_TARGET") {
		t.Errorf("error %v of an environment without FUNCTION_TARGET", err)
	}
}

func TestANewRevisionTakesOverAndTheFormerEndsAfterItsRequests(t *testing.T) {
	n := open(t, nil)
	s := service(t, n)
	deploy(t, s, function(t, "serves", "former"))
	body, more := io.Pipe()
	resp, err := http.Post("https://"+host+"/stream", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := bufio.NewReader(resp.Body)
	if line, err := stream.ReadString('\n'); line != "first\n" { // while the request's body isn't whole
		t.Fatal(line, err)
	}
	changed := function(t, "serves", "latter")
	changed.Files = map[string][]byte{"/etc/gateway/config/gateway.yaml": []byte("issuers: [{}]\n")}
	deploy(t, s, changed)
	if _, got := get(t, "https://"+host+"/env"); !strings.Contains(got, "K_REVISION=latter\n") {
		t.Errorf("the new revision doesn't serve:\n%s", got)
	}
	if _, got := get(t, "https://"+host+"/file"); got != "issuers: [{}]\n" {
		t.Errorf("the new revision's file is %q", got)
	}
	if got := s.Log(); len(got) > 0 {
		t.Errorf("a revision ended under its request: %q", got)
	}
	more.Close()
	if line, err := stream.ReadString('\n'); line != "last\n" {
		t.Errorf("the stream ended with %q, error %v", line, err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(s.Log()) == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if got, want := s.Log(), []string{"former ends"}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
	s.Close()
	if got, want := s.Log(), []string{"former ends", "latter ends"}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

// outcome is a test that goes on.
type outcome struct {
	testing.TB
	said string
}

func (o *outcome) Helper()          {}
func (o *outcome) Fatal(why ...any) { o.said = "failed: " + fmt.Sprint(why...) }
func (o *outcome) Skip(why ...any)  { o.said = "skipped: " + fmt.Sprint(why...) }

func TestWhatCanNotBeShownFailsInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped: no gcloud", "true": "failed: no gcloud"} {
		t.Setenv("CI", ci)
		var o outcome
		if Omit(&o, "no gcloud"); o.said != want {
			t.Errorf("CI=%s: %s", ci, o.said)
		}
	}
}
