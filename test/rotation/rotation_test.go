//go:build terraform

// Package rotation proves terraform/modules/gateway/rotate-key.sh with the genuine gcloud, against the double of
// Google's APIs, and with the gateway that reads what it rotates.
package rotation_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"llmgateway.dev/gateway/test/googleapis"
	"llmgateway.dev/gateway/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(nil, m.Run)) }

const (
	script  = "../../terraform/modules/gateway/rotate-key.sh"
	project = "acme-gateway"
	day     = 24 * time.Hour
)

// google is the double, with an eye on private keys and a hand in single calls.
type google struct {
	*googleapis.Cloud
	url, token string

	mu     sync.Mutex
	keys   map[string]string // a piece of each private key that was given out → its id
	tokens map[string]minted
	life   time.Duration // of access tokens
	meet   map[string]func(w http.ResponseWriter, r *http.Request)
	asked  []string
}

// minted is what an access token was made with, and until when it is good: the deletion of a key revokes none.
type minted struct {
	key    string
	expiry time.Time
}

var world = sync.OnceValues(func() (*google, error) {
	cloud, err := googleapis.New()
	if err != nil {
		return nil, err
	}
	cloud.AddProject(project, 123456789012, "iam.googleapis.com", "secretmanager.googleapis.com")
	g := &google{Cloud: cloud, keys: map[string]string{}, tokens: map[string]minted{}, life: time.Hour, meet: map[string]func(http.ResponseWriter, *http.Request){}}
	g.url = httptest.NewServer(g).URL
	for _, e := range cloud.Environ(g.url) {
		if token, ok := strings.CutPrefix(e, "CLOUDSDK_AUTH_ACCESS_TOKEN="); ok {
			g.token = token
		}
	}
	return g, nil
})

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if strings.HasPrefix(r.UserAgent(), "google-cloud-sdk gcloud/") {
		g.asked = append(g.asked, r.Method+" "+r.URL.Path)
	}
	var f func(http.ResponseWriter, *http.Request)
	for path, meet := range g.meet {
		if strings.HasSuffix(r.URL.Path, path) {
			f = meet
		}
	}
	g.mu.Unlock()
	if f != nil {
		f(w, r)
		return
	}
	g.serve(w, r)
}

var keyID = regexp.MustCompile(`"private_key_id": *"([0-9a-f]+)"`)

func (g *google) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	g.Cloud.ServeHTTP(answer, r)
	var said map[string]any
	if json.Unmarshal(answer.Body.Bytes(), &said) == nil {
		if data, ok := said["privateKeyData"].(string); ok {
			g.see(data)
		}
		if token, ok := said["access_token"].(string); ok {
			g.mint(token, string(body))
			said["expires_in"] = int(g.life.Seconds())
			answer.Body.Reset()
			json.NewEncoder(answer.Body).Encode(said)
		}
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// see remembers a private key: a line from the middle of its PEM, and a piece of its base64.
func (g *google) see(data string) {
	file, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		panic(err)
	}
	id := keyID.FindSubmatch(file)[1]
	lines := strings.Split(string(file), `\n`)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[lines[10]] = string(id)
	for i := range 3 { // wherever its base64 begins
		g.keys[base64.StdEncoding.EncodeToString([]byte(lines[10])[i:i+48])] = string(id)
	}
}

// mint remembers which key made an access token.
func (g *google) mint(token, form string) {
	_, assertion, _ := strings.Cut(form, "assertion=")
	head, _, _ := strings.Cut(assertion, ".")
	var header struct {
		Key string `json:"kid"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(raw, &header) != nil {
		panic("no assertion: " + form)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens[token] = minted{header.Key, time.Now().Add(g.life)}
}

// valid tells whether Google's models take the token.
func (g *google) valid(token string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.tokens[token].expiry)
}

// leaks fails where the text has a private key in it.
func (g *google) leaks(t testing.TB, where string, text []byte) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for piece, id := range g.keys {
		if bytes.Contains(text, []byte(piece)) {
			t.Errorf("%s has the private key %s", where, id)
		}
	}
}

// rotation is an account and a secret of its own.
type rotation struct {
	testing.TB
	*google
	name, account, secret string
	home                  string // with all that gcloud and the script may write
	killed                func() // ends the run
}

func newRotation(t *testing.T, name string) *rotation {
	t.Helper()
	t.Parallel()
	if _, err := exec.LookPath("gcloud"); err != nil {
		sandbox.Omit(t, "gcloud isn't installed: what rotate-key.sh does is not shown")
	}
	g, err := world()
	if err != nil {
		t.Fatal(err)
	}
	r := &rotation{
		TB: t, google: g, name: name, home: t.TempDir(),
		account: "projects/" + project + "/serviceAccounts/" + name + "@" + project + ".iam.gserviceaccount.com",
		secret:  "projects/" + project + "/secrets/" + name,
	}
	r.adding(r.added)
	r.post("iam/v1/projects/"+project+"/serviceAccounts", map[string]any{"accountId": name})
	r.post("secretmanager/v1/projects/"+project+"/secrets?secretId="+name, map[string]any{"replication": map[string]any{"automatic": map[string]any{}}})
	return r
}

// post is a call of the project's owner.
func (r *rotation) post(path string, body any) (answer map[string]any) {
	r.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		r.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, r.url+"/"+path, bytes.NewReader(content))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.google.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		r.Fatalf("%s: %s %v", path, resp.Status, answer)
	}
	return answer
}

// makes makes a key of that age.
func (r *rotation) makes(age time.Duration) (id string, file string) {
	r.Helper()
	key := r.post("iam/v1/"+r.account+"/keys", map[string]any{})
	name := key["name"].(string)
	r.Edit(name, func(key map[string]any) { key["validAfterTime"] = ago(age) })
	return filepath.Base(name), key["privateKeyData"].(string)
}

// adds adds a version of that age.
func (r *rotation) adds(file string, age time.Duration) {
	r.Helper()
	v := r.post("secretmanager/v1/"+r.secret+":addVersion", map[string]any{"payload": map[string]any{"data": file}})
	r.Edit(v["name"].(string), func(version map[string]any) { version["createTime"] = ago(age) })
}

// pass makes all keys and versions older.
func (r *rotation) pass(d time.Duration) {
	for _, name := range append(r.left(r.account+"/keys/"), r.left(r.secret+"/versions/")...) {
		r.Edit(strings.Fields(name)[0], func(body map[string]any) {
			for _, field := range []string{"validAfterTime", "createTime"} {
				if s, ok := body[field].(string); ok {
					was, err := time.Parse(time.RFC3339Nano, s)
					if err != nil {
						panic(err)
					}
					body[field] = was.Add(-d).Format(time.RFC3339Nano)
				}
			}
		})
	}
}

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

func (r *rotation) left(prefix string) (names []string) {
	for _, name := range r.Left() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

// has fails unless these are the account's keys, and the latest version has the last.
func (r *rotation) has(ids ...string) {
	r.Helper()
	var keys []string
	for _, name := range r.left(r.account + "/keys/") {
		keys = append(keys, filepath.Base(name))
	}
	want := slices.Sorted(slices.Values(ids))
	if diff := cmp.Diff(want, keys); diff != "" {
		r.Fatalf("the account's keys (-want +got):\n%s", diff)
	}
	if got := r.latest(); got != ids[len(ids)-1] {
		r.Fatalf("the latest version has the key %s, want %s", got, ids[len(ids)-1])
	}
}

// latest is the id of the key that the latest version holds, byte for byte as Google gave it out.
func (r *rotation) latest() string {
	r.Helper()
	value, err := r.SecretVersion(r.secret + "/versions/latest")
	if err != nil {
		r.Fatal(err)
	}
	if !json.Valid(value) || !bytes.Contains(value, []byte("PRIVATE KEY")) {
		r.Fatal("the latest version is no key")
	}
	return string(keyID.FindSubmatch(value)[1])
}

// adding has f serve the secret's addVersion during the next run.
func (r *rotation) adding(f http.HandlerFunc) { r.serving("/secrets/"+r.name+":addVersion", f) }

func (r *rotation) serving(path string, f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meet[path] = f
}

// denied is Google's answer to whoever lacks a permission.
func denied(permission string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission '"+permission+"' denied on resource (or it may not exist).")
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "status": code, "message": message}})
}

// run runs the script to its end, in an environment that asks it to tell all, and looks for keys in
// whatever it left: while a version is being added, and at the end.
func (r *rotation) run(args ...string) (said string, status int) {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), script, append([]string{filepath.Base(r.account), r.name, "--project", project}, args...)...)
	cmd.Env = append(os.Environ(), r.Environ(r.url)...)
	cmd.Env = append(cmd.Env, "HOME="+r.home, "TMPDIR="+r.home, "CLOUDSDK_CONFIG="+r.home+"/gcloud", "CLOUDSDK_CORE_PROJECT=another-project",
		"CLOUDSDK_CORE_LOG_HTTP=1", "CLOUDSDK_CORE_LOG_HTTP_SHOW_REQUEST_BODY=1", "CLOUDSDK_CORE_VERBOSITY=debug", "CLOUDSDK_CORE_DISABLE_FILE_LOGGING=0",
		"SHELLOPTS=xtrace")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.killed = func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		r.Fatal(err)
	}
	r.leaks(r, "the output", out.Bytes())
	r.search()
	r.adding(r.added)
	return out.String(), cmd.ProcessState.ExitCode()
}

// added is how versions are added where nothing else is said.
func (r *rotation) added(w http.ResponseWriter, req *http.Request) {
	r.search()
	r.serve(w, req)
}

// search looks for keys in files, arguments and environments.
func (r *rotation) search() {
	r.Helper()
	err := filepath.WalkDir(r.home, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if content, err := os.ReadFile(name); err == nil {
				r.leaks(r, name, content)
			}
		}
		return nil
	})
	if err != nil {
		r.Error(err)
	}
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			content, _ := os.ReadFile(name) // a process that ended has none
			r.leaks(r, name, content)
		}
	}
}

// does runs the script, which must succeed and say these things.
func (r *rotation) does(args []string, says ...string) {
	r.Helper()
	said, status := r.run(args...)
	if status != 0 {
		r.Fatalf("status %d:\n%s", status, said)
	}
	r.says(said, says...)
}

func (r *rotation) says(said string, parts ...string) {
	r.Helper()
	for _, part := range parts {
		if !strings.Contains(said, part) {
			r.Errorf("it doesn't say %q:\n%s", part, said)
		}
	}
}

// still runs the script, which must change nothing.
func (r *rotation) still(status int, says ...string) {
	r.Helper()
	before := r.mutations()
	said, got := r.run()
	if got != status {
		r.Errorf("status %d, want %d:\n%s", got, status, said)
	}
	r.says(said, says...)
	if diff := cmp.Diff(before, r.mutations()); diff != "" {
		r.Errorf("it changed something (-before +after):\n%s", diff)
	}
}

// mutations are those of the account and the secret.
func (r *rotation) mutations() (done []string) {
	for _, m := range r.Mutations() {
		if strings.Contains(m, r.account+"/") || strings.Contains(m, r.secret+"/") {
			done = append(done, m)
		}
	}
	return done
}

func TestTheFirstRunMakesAKeyAndTheNextHaveNothingToDo(t *testing.T) {
	r := newRotation(t, "first-key")
	r.does(nil, "Created version [1]")
	first := r.latest()
	r.has(first)
	r.still(0, "version 1 of first-key was added a moment ago")
	r.pass(3 * day)
	r.still(0, "version 1 of first-key has key "+first+", made 3 days ago", "the next key is to be made in 27 days")

	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]bool{}
	for _, call := range r.asked {
		kinds[regexp.MustCompile(`/projects/.*/|[0-9a-f]{40}$|[a-z0-9-]+(:)`).ReplaceAllString(call, "…$1")] = true
	}
	for _, call := range []string{"GET /iam/v1…keys", "POST /iam/v1…keys", "DELETE /iam/v1……", "GET /secretmanager/v1…versions", "POST /secretmanager/v1……:addVersion"} {
		delete(kinds, call) // what the three roles allow
	}
	if len(kinds) > 0 {
		t.Errorf("gcloud calls what the roles don't allow: %v", kinds)
	}
}

func TestAnOldKeyIsFollowedByANewOneAndDeletedWhenNobodyHasIt(t *testing.T) {
	r := newRotation(t, "rotated-key")
	old, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)
	r.does(nil, "version 1 of rotated-key has key "+old+", made 31 days ago", "Created version [2]", "deleted in 12 hours")
	r.has(old, r.latest())
	r.pass(11 * time.Hour)
	r.still(0, "key "+old+" is to be deleted in 60 minutes", "the next key is to be made in 30 days")
	r.pass(time.Hour)
	r.does(nil, "deleted key ["+old+"]")
	r.has(r.latest())
	if r.latest() == old {
		t.Error("no new key was made")
	}
}

func TestNowDoesNotWaitForThirtyDays(t *testing.T) {
	r := newRotation(t, "leaked-key")
	old, file := r.makes(day)
	r.adds(file, day-time.Second)
	r.does([]string{"--now"}, "Created version [2]")
	r.has(old, r.latest())
	r.pass(20 * time.Minute)
	r.does([]string{"--wait", "15m"}, "deleted key ["+old+"]")
	r.has(r.latest())
}

func TestAKeyThatMayNotBeAddedIsDeletedAgain(t *testing.T) {
	r := newRotation(t, "refused-key")
	old, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)
	r.adding(denied("secretmanager.versions.add"))
	said, status := r.run()
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	r.says(said, "PERMISSION_DENIED: Permission 'secretmanager.versions.add' denied", "takes roles/secretmanager.secretVersionAdder", "is deleted again")
	r.has(old)
}

// A failure says nothing of whether the version is there: if it is, its key must stay.
func TestAKeyWhoseVersionIsInDoubtStays(t *testing.T) {
	r := newRotation(t, "doubtful-key")
	old, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)
	r.adding(func(w http.ResponseWriter, req *http.Request) {
		r.serve(httptest.NewRecorder(), req)
		refuse(w, http.StatusConflict, "ABORTED", "The operation was aborted.") // after a 500 gcloud would try again for half a minute
	})
	said, status := r.run()
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	r.says(said, "ABORTED: The operation was aborted.", "it isn't known whether")
	r.has(old, r.latest())
	r.pass(13 * time.Hour)
	r.does(nil, "version 2 of doubtful-key has key "+r.latest(), "deleted key ["+old+"]")
	r.has(r.latest())
}

func TestARunThatWasKilledIsMendedByTheNext(t *testing.T) {
	r := newRotation(t, "orphaned-key")
	old, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)
	r.adding(func(http.ResponseWriter, *http.Request) {
		r.search()
		r.killed()
	})
	if _, status := r.run(); status != -1 {
		t.Fatalf("status %d: it wasn't killed", status)
	}
	if keys := r.left(r.account + "/keys/"); len(keys) != 2 || r.latest() != old {
		t.Fatalf("keys %q: it wasn't killed between the two steps", keys)
	}
	r.still(1, "another run is at work, or was stopped; run this again in 10 minutes")
	r.pass(11 * time.Minute)
	r.does(nil, "Created version [2]")
	if keys := r.left(r.account + "/keys/"); len(keys) != 3 {
		t.Fatalf("keys %q, want the old one, the orphan and the new one", keys)
	}
	r.pass(13 * time.Hour)
	r.does(nil, "deleted key ["+old+"]")
	r.has(r.latest())
}

// Each of these has a version whose key can't be told, so that to delete any might be an outage.
func TestWhereAVersionsKeyIsUnknownAKeyIsMadeAndNoneDeleted(t *testing.T) {
	for name, prepare := range map[string]func(r *rotation){
		"two-runs-met": func(r *rotation) {
			_, a := r.makes(2*day + 4*time.Second)
			_, b := r.makes(2*day + 3*time.Second)
			r.adds(b, 2*day+time.Second)
			r.adds(a, 2*day)
		},
		"gcloud-tried-twice": func(r *rotation) { // to make a key
			r.makes(2*day + 4*time.Second)
			_, b := r.makes(2*day + 3*time.Second)
			r.adds(b, 2*day)
		},
		"put-there-by-hand": func(r *rotation) {
			_, a := r.makes(3 * day)
			r.makes(5 * day)
			r.adds(a, 2*day)
		},
		"rolled-back": func(r *rotation) {
			_, a := r.makes(31 * day)
			_, b := r.makes(2*day + 5*time.Minute)
			r.adds(b, 2*day+5*time.Minute-time.Second)
			r.adds(a, 2*day)
		},
		"disabled": func(r *rotation) {
			r.makes(3 * day)
			_, a := r.makes(2*day + time.Second)
			r.adds(a, 2*day)
			r.post("secretmanager/v1/"+r.secret+"/versions/1:disable", map[string]any{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotation(t, name+"-key")
			prepare(r)
			before := r.left(r.account + "/keys/")
			r.does(nil, "can't be told from others", "Created version")
			after := r.left(r.account + "/keys/")
			if !slices.Contains(after, r.account+"/keys/"+r.latest()) || slices.Contains(before, r.account+"/keys/"+r.latest()) {
				t.Error("the latest version has no new key")
			}
			for _, key := range before {
				if !slices.Contains(after, key) {
					t.Errorf("%s was deleted", key)
				}
			}
		})
	}
}

func TestGcloudsReasonIsKept(t *testing.T) {
	for path, want := range map[string][]string{
		"/secrets/%s/versions":                             {"Permission 'secretmanager.versions.list' denied", "rotate-key: the versions of %s can't be listed, for the reason above; it takes roles/secretmanager.viewer"},
		"/%s@" + project + ".iam.gserviceaccount.com/keys": {"Permission 'iam.serviceAccountKeys.list' denied", "rotate-key: the keys of %s@" + project + ".iam.gserviceaccount.com can't be listed, for the reason above; it takes roles/iam.serviceAccountKeyAdmin"},
	} {
		t.Run(want[0], func(t *testing.T) {
			r := newRotation(t, fmt.Sprintf("reason-%d-key", len(want[1])))
			r.serving(fmt.Sprintf(path, r.name), denied(strings.Split(want[0], "'")[1]))
			r.still(1, want[0], fmt.Sprintf(want[1], r.name))
		})
	}
}

func TestAKeyThatCannotBeDeletedStopsTheRun(t *testing.T) {
	r := newRotation(t, "undeletable-key")
	old, _ := r.makes(40 * day)
	_, file := r.makes(31 * day)
	r.adds(file, 31*day-time.Second)
	r.serving("/keys/"+old, denied("iam.serviceAccountKeys.delete"))
	r.still(1, "Permission 'iam.serviceAccountKeys.delete' denied", "rotate-key: key "+old+" can't be deleted, for the reason above")
}

func TestBadInputIsASentence(t *testing.T) {
	const account = "gateway-upstream@acme-gateway.iam.gserviceaccount.com"
	bin := t.TempDir()
	for _, program := range []string{"bash", "env", "sed", "date", "sort"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, program)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 2, "name the account and the secret"},
		{[]string{account}, 2, "name the account and the secret"},
		{[]string{"gateway-upstream", "key"}, 2, `"gateway-upstream" is not the email of a service account`},
		{[]string{"somebody@example.com", "key"}, 2, `"somebody@example.com" is not the email of a service account`},
		{[]string{account, "projects/acme/secrets/key"}, 2, `"projects/acme/secrets/key" is not the name of a secret`},
		{[]string{account, "key", "more"}, 2, `"more" is one argument too many`},
		{[]string{account, "key", "--force"}, 2, "there is no option --force"},
		{[]string{account, "key", "--older-than"}, 2, "--older-than needs a value"},
		{[]string{account, "key", "--older-than", "30"}, 2, `--older-than is a number of minutes, hours or days such as 90m, 12h or 30d, not "30"`},
		{[]string{account, "key", "--older-than", "12h"}, 2, "--older-than must be more than --wait (12 hours)"},
		{[]string{account, "key", "--wait", "5m"}, 2, "--wait must be more than 10 minutes"},
		{[]string{account, "key"}, 1, "gcloud is not on the PATH"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		cmd := exec.CommandContext(ctx, script, tt.args...)
		cmd.Env = []string{"PATH=" + bin}
		out, _ := cmd.CombinedOutput()
		cancel()
		if got := cmd.ProcessState.ExitCode(); got != tt.status || !strings.HasPrefix(string(out), "rotate-key: "+tt.want) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%q: status %d, want %d and %q:\n%s", tt.args, got, tt.status, tt.want, out)
		}
	}
}
