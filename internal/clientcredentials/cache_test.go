//go:build unix

package clientcredentials

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/hidden"
)

var (
	request = Request{Issuer: "https://idp.example", ClientID: "data-pipeline", ClientSecret: hidden.New(secret), Scope: "a", Audience: "b"}
	hour    = Token{Value: hidden.New("header.claims.signature"), Life: time.Hour}
)

// newCache returns a cache in a directory of its own, and the place of the request's file.
func newCache(t *testing.T) (c *Cache, file string) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	dir, err := path()
	if err != nil || !strings.HasPrefix(dir, home) {
		t.Fatal(dir, err)
	}
	return NewCache(), filepath.Join(dir, name(request))
}

func put(t *testing.T, c *Cache) {
	t.Helper()
	if err := c.Put(request, hour); err != nil {
		t.Fatal(err)
	}
	if held, ok := c.Get(request); !ok || held != hour.Value.Reveal() {
		t.Fatal("what was put is not got")
	}
}

func TestAFileIsReadableByItsOwnerAlone(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	c, file := newCache(t)
	put(t, c)
	for name, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): os.ModeDir | 0o700} {
		if info, err := os.Lstat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want %s", name, info.Mode(), want)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), "not:a") {
		t.Errorf("the file holds the secret, or %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v beside the file, %v", entries, err)
	}
}

func TestATokenIsHeldForTheRequestThatGotItAlone(t *testing.T) {
	c, _ := newCache(t)
	put(t, c)
	for what, change := range map[string]func(r *Request){
		"another issuer":    func(r *Request) { r.Issuer += "/" },
		"a token URL":       func(r *Request) { r.TokenURL = "https://idp.example/token" },
		"another client":    func(r *Request) { r.ClientID = "x" },
		"a rotated secret":  func(r *Request) { r.ClientSecret = hidden.New(secret + "2") },
		"another scope":     func(r *Request) { r.Scope = "" },
		"another audience":  func(r *Request) { r.Audience = "a" },
		"fields moved over": func(r *Request) { r.Scope, r.Audience = `a" "b`, "" },
	} {
		r := request
		change(&r)
		if _, ok := c.Get(r); ok {
			t.Errorf("%s got the token", what)
		}
	}
}

func TestATokenIsHeldUntilShortlyBeforeItExpires(t *testing.T) {
	for _, row := range []struct {
		life, age time.Duration
		held      bool
	}{
		{time.Hour, 0, true},
		{time.Hour, 59*time.Minute - time.Second, true},
		{time.Hour, 59 * time.Minute, false},
		{5 * time.Minute, 4*time.Minute + 29*time.Second, true},
		{5 * time.Minute, 4*time.Minute + 30*time.Second, false},
		{time.Hour, -time.Second, false}, // the clock was set back: nobody knows its age
		{0, 0, false},                    // no expires_in
	} {
		c, _ := newCache(t)
		start := time.Date(2026, 11, 22, 13, 58, 42, 645799111, time.FixedZone("", 3600))
		c.now = func() time.Time { return start }
		if err := c.Put(request, Token{hour.Value, row.life}); err != nil {
			t.Fatal(err)
		}
		c.now = func() time.Time { return start.Add(row.age) }
		if held, ok := c.Get(request); ok != row.held || ok && held != hour.Value.Reveal() {
			t.Errorf("of a life of %s after %s: held %t", row.life, row.age, ok)
		}
	}
}

// Each row spoils the file of a token that was good. It must not be trusted, and be replaced.
func TestAFileThatIsNotOursAloneOrNotWholeIsReplaced(t *testing.T) {
	planted, err := json.Marshal(entry{"planted", time.Now().Add(-time.Hour), time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "planted")
	write := func(text string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	for name, spoil := range map[string]func(file string) error{
		"readable by the group":    func(file string) error { return os.Chmod(file, 0o640) },
		"writable by others":       func(file string) error { return os.Chmod(file, 0o602) },
		"a symbolic link":          func(file string) error { os.Remove(file); return os.Symlink(elsewhere, file) },
		"a link to a neighbour":    func(file string) error { os.Rename(file, file+"2"); return os.Symlink(file+"2", file) },
		"a pipe, which would hang": func(file string) error { os.Remove(file); return syscall.Mkfifo(file, 0o600) },
		"empty":                    write(""),
		"cut off":                  write(string(planted[:len(planted)-2])),
		"something after it":       write(string(planted) + "x"),
		"another document":         write(`["planted"]`),
		"no token":                 write(strings.Replace(string(planted), "planted", "", 1)),
		"a token with a newline":   write(strings.Replace(string(planted), "planted", `planted\nX: y`, 1)),
		"no expiry":                write(`{"access_token":"planted"}`),
		"too large":                write(string(planted) + strings.Repeat(" ", maxEntry)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(elsewhere, planted, 0o600); err != nil {
				t.Fatal(err)
			}
			c, file := newCache(t)
			put(t, c)
			if err := spoil(file); err != nil {
				t.Fatal(err)
			}
			if held, ok := c.Get(request); ok {
				t.Errorf("%q is trusted", held)
			}
			put(t, c)
			if info, err := os.Lstat(file); err != nil || info.Mode() != 0o600 {
				t.Errorf("replaced by %s, %v", info.Mode(), err)
			}
			if text, err := os.ReadFile(elsewhere); err != nil || string(text) != string(planted) {
				t.Errorf("the link was written through: %s, %v", text, err)
			}
		})
	}
}

func TestADirectoryThatIsNotOursAloneIsNeitherReadNorWritten(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"others may read it":  func(dir string) error { return os.Chmod(dir, 0o755) },
		"others may write it": func(dir string) error { return os.Chmod(dir, 0o1777) },
		"a symbolic link":     func(dir string) error { os.Rename(dir, dir+"2"); return os.Symlink(dir+"2", dir) },
		"a file":              func(dir string) error { os.RemoveAll(dir); return os.WriteFile(dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			c, file := newCache(t)
			put(t, c)
			if err := spoil(filepath.Dir(file)); err != nil {
				t.Fatal(err)
			}
			if _, ok := c.Get(request); ok {
				t.Error("it is read")
			}
			before, _ := os.ReadFile(file)
			if err := c.Put(request, Token{hidden.New("another"), time.Hour}); err == nil || strings.Contains(err.Error(), "another") {
				t.Error(err)
			}
			if after, _ := os.ReadFile(file); string(after) != string(before) {
				t.Error("it is written")
			}
		})
	}
}

func TestAnotherOwnersFileIsNotTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give a file away")
	}
	c, file := newCache(t)
	for _, given := range []string{file, filepath.Dir(file)} {
		put(t, c)
		if err := os.Lchown(given, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get(request); ok {
			t.Errorf("%s of another owner is trusted", given)
		}
	}
}

func TestThereMayBeNoPlaceToKeepATokenIn(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	if err := NewCache().Put(request, hour); err == nil {
		t.Error("kept nowhere")
	}
	if _, ok := NewCache().Get(request); ok {
		t.Error("got from nowhere")
	}
}
