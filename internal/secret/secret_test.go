package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/secret/secrettest"
	"llmgateway.dev/gateway/test/bomb"
)

const (
	name   = "projects/acme/secrets/vertex-key"
	canary = "CANARY-0123456789"
)

var latest = config.Source{SecretManager: name + "/versions/latest"}

// fixture is a Store in front of a Secret Manager, with a clock that tests move.
type fixture struct {
	*Store
	manager *secrettest.Server
	log     *bytes.Buffer

	mu   sync.Mutex
	time time.Time
}

func newFixture(t *testing.T) *fixture {
	manager := secrettest.New()
	t.Cleanup(manager.Close)
	return newFixtureAt(t, manager.URL, manager)
}

func newFixtureAt(t *testing.T, endpoint string, manager *secrettest.Server) *fixture {
	f := &fixture{manager: manager, log: &bytes.Buffer{}, time: time.Now()}
	f.Store = New(config.SecretManager{Endpoint: endpoint, Refresh: 5 * time.Minute}, slog.New(slog.NewJSONHandler(f.log, nil)))
	f.Store.now = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.time
	}
	return f
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

// settle waits for the read under way, if there is one.
func (f *fixture) settle() {
	f.Store.mu.Lock()
	defer f.Store.mu.Unlock()
	for _, e := range f.entries {
		if flight := e.flight; flight != nil {
			f.Store.mu.Unlock()
			<-flight.done
			f.Store.mu.Lock()
		}
	}
}

// wants reads and compares.
func (f *fixture) wants(t *testing.T, again bool, data, version string) {
	t.Helper()
	got, v, err := f.Read(t.Context(), latest, again)
	if err != nil || got.Reveal() != data || v != version {
		t.Fatalf("Read(again=%t) = %q, %q, %v; want %q, %q", again, got, v, err, data, version)
	}
}

func (f *fixture) fails(t *testing.T) error {
	t.Helper()
	data, version, err := f.Read(t.Context(), latest, false)
	if err == nil || !data.IsZero() || version != "" {
		t.Fatalf("Read = %d bytes, %q, %v; want an error alone", len(data.Reveal()), version, err)
	}
	return err
}

func (f *fixture) reads(t *testing.T, want int) {
	t.Helper()
	if got := f.manager.Reads(name); got != want {
		t.Fatalf("Secret Manager was read %d times, want %d", got, want)
	}
}

func TestReadsEveryByteAndTheResolvedVersion(t *testing.T) {
	f := newFixture(t)
	f.manager.Add(name, []byte("old"))
	v2 := f.manager.Add(name, []byte("key\n"))
	f.wants(t, false, "key\n", v2)
	if v2 != "projects/100000000001/secrets/vertex-key/versions/2" {
		t.Errorf("version is %q", v2)
	}
}

func TestNothingIsReadAtConstruction(t *testing.T) {
	f := newFixture(t)
	f.manager.Add(name, []byte("key"))
	f.reads(t, 0)
	if f.Store.manager.client != nil {
		t.Error("a client was made")
	}
}

func TestHundredFirstReadsMakeOneAccess(t *testing.T) {
	f := newFixture(t)
	version := f.manager.Add(name, []byte("key"))
	release := f.manager.Hold()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if data, v, err := f.Read(t.Context(), latest, false); data.Reveal() != "key" || v != version || err != nil {
				t.Errorf("Read = %q, %q, %v", data, v, err)
			}
		})
	}
	release()
	wg.Wait()
	f.reads(t, 1)
}

func TestAnAgedSecretIsServedWhileOneReadReplacesIt(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.wants(t, false, "one", v1)
	v2 := f.manager.Add(name, []byte("two"))

	f.advance(5*time.Minute - 1)
	f.wants(t, false, "one", v1)
	f.settle()
	f.reads(t, 1)

	release := f.manager.Hold()
	f.advance(time.Hour) // the instance was frozen
	for range 10 {
		f.wants(t, false, "one", v1)
	}
	release()
	f.settle()
	f.wants(t, false, "two", v2)
	f.reads(t, 2)
}

func TestAClockPutBackDoesNotPinASecret(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.wants(t, false, "one", v1)
	v2 := f.manager.Add(name, []byte("two"))
	f.advance(-24 * time.Hour)
	f.wants(t, false, "one", v1)
	f.settle()
	f.wants(t, false, "two", v2)
}

func TestTheLastGoodSecretIsKeptThroughAnOutageAndARevocation(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.wants(t, false, "one", v1)

	f.manager.Down(true)
	f.advance(6 * time.Minute)
	f.wants(t, false, "one", v1)
	f.settle()
	f.wants(t, false, "one", v1)
	f.reads(t, 2) // the failure is remembered
	if log := f.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "status 503") || !strings.Contains(log, name) {
		t.Errorf("log is %q, want one line with the secret's name and the status", log)
	}

	f.manager.Down(false)
	f.manager.Disable(v1)
	f.advance(time.Second)
	f.wants(t, false, "one", v1)
	f.settle()
	f.wants(t, false, "one", v1)
	f.reads(t, 3)

	v2 := f.manager.Add(name, []byte("two"))
	f.advance(2 * time.Second)
	f.wants(t, false, "one", v1)
	f.settle()
	f.wants(t, false, "two", v2)
}

func TestAFailedFirstReadIsRememberedWithGrowingDelay(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.manager.Down(true)
	reads := 0
	for _, delay := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		f.fails(t)
		reads++
		f.advance(delay*time.Second - 1)
		f.fails(t)
		f.reads(t, reads)
		f.advance(1)
	}
	f.manager.Down(false)
	f.wants(t, false, "one", v1)
	if f.log.Len() != 0 {
		t.Errorf("errors that callers got were logged too: %s", f.log)
	}
}

func TestOneCallersEndIsNotTheOthers(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	release := f.manager.Hold()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.Read(ctx, latest, false); !errors.Is(err, context.Canceled) { // it began the read
		t.Fatalf("a caller that is gone got %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if data, v, err := f.Read(t.Context(), latest, false); data.Reveal() != "one" || v != v1 || err != nil {
			t.Errorf("Read = %q, %q, %v", data, v, err)
		}
	}()
	release()
	<-done
	f.reads(t, 1)
}

func TestAgainReadsNowAndFallsBackToWhatIsHeld(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.wants(t, false, "one", v1)
	v2 := f.manager.Add(name, []byte("two"))
	f.wants(t, false, "one", v1)
	f.wants(t, true, "two", v2)
	f.reads(t, 2)

	f.manager.Down(true)
	f.wants(t, true, "two", v2)
	f.wants(t, true, "two", v2) // the failure is remembered here too
	f.reads(t, 3)
	if strings.Count(f.log.String(), "\n") != 1 {
		t.Errorf("log is %q, want one line", f.log)
	}
}

func TestAReadThatFrozeWithItsInstanceIsNotWaitedFor(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	release := f.manager.Hold()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.Read(gone, latest, false)
	f.Store.mu.Lock()
	stuck := f.entries[latest].flight
	f.Store.mu.Unlock()

	f.advance(time.Hour)
	f.Read(gone, latest, false)
	f.Store.mu.Lock()
	next := f.entries[latest].flight
	f.Store.mu.Unlock()
	if next == stuck {
		t.Fatal("the read of an hour ago is waited for")
	}
	release()
	<-stuck.done
	<-next.done
	f.wants(t, false, "one", v1)
	f.reads(t, 2)
}

func TestAReadThatAnotherReplacedChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.manager.Add(name, []byte("one"))
	replaced, current := &flight{began: f.time, done: make(chan struct{})}, &flight{}
	e := &entry{flight: current}
	f.fly(t.Context(), latest, e, replaced)
	if e.flight != current || e.value.version != "" {
		t.Error("a read that was given up overwrote its successor")
	}
	if replaced.value.data.Reveal() != "one" {
		t.Error("those who wait for it got nothing")
	}
}

func TestAFailureThatFrozeWithItsInstanceIsNotRemembered(t *testing.T) {
	f := newFixture(t)
	v1 := f.manager.Add(name, []byte("one"))
	f.manager.Down(true)
	release := f.manager.Hold()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.Read(gone, latest, false)
	f.advance(time.Hour)
	release()
	f.settle()
	f.manager.Down(false)
	f.wants(t, false, "one", v1)
}

func TestRefusalsTellTheOperatorWhatToDo(t *testing.T) {
	for _, test := range []struct {
		why   string
		setup func(*secrettest.Server)
		want  string
	}{
		{"no such secret", func(*secrettest.Server) {}, "404; there is no such secret"},
		{"no right", func(m *secrettest.Server) { m.Add(name, []byte(canary)); m.Deny(name, true) }, "403; the gateway's service account needs roles/secretmanager.secretAccessor"},
		{"disabled", func(m *secrettest.Server) { m.Disable(m.Add(name, []byte(canary))) }, "400; the version may be disabled"},
		{"outage", func(m *secrettest.Server) { m.Down(true) }, "status 503"},
		{"nobody listens", func(m *secrettest.Server) { m.Close() }, "connection refused"},
		{"empty", func(m *secrettest.Server) { m.Add(name, nil) }, "is empty"},
	} {
		t.Run(test.why, func(t *testing.T) {
			f := newFixture(t)
			test.setup(f.manager)
			err := f.fails(t)
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "read secret from Secret Manager "+latest.SecretManager+": ") {
				t.Errorf("error is %q, want the source and %q", err, test.want)
			}
		})
	}
}

// The answers are what a broken or hostile endpoint sends; every one holds the canary.
func TestAnswersThatCannotBeTrustedAreErrorsThatHoldNothingOfThem(t *testing.T) {
	const version = "projects/1/secrets/vertex-key/versions/1"
	answer := func(name string, data []byte, crc string) string {
		return fmt.Sprintf(`{"name":%q,"payload":{"data":%q%s}}`, name, base64.StdEncoding.EncodeToString(data), crc)
	}
	sum := func(data []byte) string {
		return fmt.Sprintf(`,"dataCrc32c":"%d"`, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	}
	key, large := []byte(canary), bytes.Repeat([]byte(canary), MaxSize/len(canary)+1)
	for _, test := range []struct {
		why, body, want string
		status          int
	}{
		{"data corrupted on the way", answer(version, key, sum([]byte("other"))), "checksum", 200},
		{"CRC32 that isn't Castagnoli's", answer(version, key, fmt.Sprintf(`,"dataCrc32c":"%d"`, crc32.ChecksumIEEE(key))), "checksum", 200},
		{"no checksum", answer(version, key, ""), "checksum", 200},
		{"no version", answer("", key, sum(key)), "names no version", 200},
		{"no payload", `{"name":"` + canary + `"}`, "checksum", 200},
		{"over 64 KiB", answer(version, large, sum(large)), "larger than 64KiB", 200},
		{"without end", `{"name":"` + strings.Repeat(canary, 1<<20/len(canary)) + `"}`, "no usable answer", 200},
		{"not base64", `{"name":"x","payload":{"data":"` + canary + `!"}}`, "no usable answer", 200},
		{"not JSON", canary, "no usable answer", 200},
		{"error with a body", `{"error":{"code":500,"message":"` + canary + `","status":"` + canary + `"}}`, "status 500", 500},
		{"redirect", canary, "status 307", 307},
	} {
		t.Run(test.why, func(t *testing.T) {
			var elsewhere bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					elsewhere = true
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			}))
			defer server.Close()
			err := newFixtureAt(t, server.URL, nil).fails(t)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %q, want %q", err, test.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, canary) || strings.Contains(text, base64.StdEncoding.EncodeToString(key)) {
					t.Error("an error holds the answer")
				}
			}
			if elsewhere {
				t.Error("the redirect was followed")
			}
		})
	}
}

func TestAnAnswerIsBoundedAsItIsUnpacked(t *testing.T) {
	for status, want := range map[int]string{200: "no usable answer", 403: "status 403", 500: "status 500"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { bomb.Answer(w, status) }))
		defer server.Close()
		bomb.Disarmed(t, func() {
			if err := newFixtureAt(t, server.URL, nil).fails(t); !strings.Contains(err.Error(), want) {
				t.Errorf("%d: %v", status, err)
			}
		})
	}
}

func TestTheClientLogsNothingAtDebugLevel(t *testing.T) {
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug") // logs every answer, payload included
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = out, out
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()

	f := newFixture(t)
	f.wants(t, false, canary, f.manager.Add(name, []byte(canary)))
	if text, _ := os.ReadFile(out.Name()); len(text) > 0 {
		t.Errorf("the client wrote %d bytes", len(text))
	}
}

// secrettest refuses any Authorization header; credentials that can't be read would fail, were they
// looked for.
func TestLoopbackIsReadWithoutCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none"))
	f := newFixture(t)
	f.wants(t, false, "key", f.manager.Add(name, []byte("key")))
}

func TestMissingCredentialsAreLookedForAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials.json")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	for _, endpoint := range []string{"", "https://secretmanager.invalid", "https://127.0.0.1.invalid"} {
		f := newFixtureAt(t, endpoint, nil)
		if err := f.fails(t); !strings.Contains(err.Error(), "no Application Default Credentials: open "+file) {
			t.Errorf("endpoint %q: error is %q, want the missing file", endpoint, err)
		}
		os.WriteFile(file, []byte(`{"type":"authorized_user","client_id":"a","client_secret":"`+canary+`","refresh_token":"`+canary+`"}`), 0o600)
		if _, err := f.Store.manager.connect(t.Context()); err != nil {
			t.Errorf("endpoint %q: the failure was kept: %v", endpoint, err)
		}
		os.Remove(file)
	}
}

func TestFilesAndVariables(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) config.Source {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Source{File: path}
	}
	env := func(name, value string) config.Source {
		t.Setenv(name, value)
		return config.Source{Env: name}
	}
	for _, test := range []struct {
		why       string
		from      config.Source
		want, err string
	}{
		{"file", file("key", []byte("key\n")), "key\n", ""},
		{"variable", env("GATEWAY_TEST_KEY", "key\n"), "key\n", ""},
		{"file of 64 KiB", file("max", make([]byte, MaxSize)), string(make([]byte, MaxSize)), ""},
		{"file over 64 KiB", file("large", bytes.Repeat([]byte("x"), MaxSize+1)), "", "is larger than 64KiB"},
		{"variable over 64 KiB", env("GATEWAY_TEST_LARGE", strings.Repeat("x", MaxSize+1)), "", "is larger than 64KiB"},
		{"empty file", file("empty", nil), "", "is empty"},
		{"no file", config.Source{File: filepath.Join(dir, "none")}, "", "no such file"},
		{"folder", config.Source{File: dir}, "", "is not a regular file"},
		{"device without end", config.Source{File: "/dev/zero"}, "", "is not a regular file"},
		{"variable not set", config.Source{Env: "GATEWAY_TEST_NONE"}, "", "environment variable GATEWAY_TEST_NONE: is not set"},
		{"variable empty", env("GATEWAY_TEST_EMPTY", ""), "", "environment variable GATEWAY_TEST_EMPTY: is not set, or empty"},
	} {
		t.Run(test.why, func(t *testing.T) {
			f := newFixtureAt(t, "", nil)
			data, version, err := f.Read(t.Context(), test.from, false)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error is %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || data.Reveal() != test.want || !strings.HasPrefix(version, "sha256:") {
				t.Fatalf("Read = %d bytes, %q, %v", len(data.Reveal()), version, err)
			}
		})
	}
}

func TestAChangedFileHasAnotherVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	from := config.Source{File: path}
	f := newFixtureAt(t, "", nil)
	os.WriteFile(path, []byte("one"), 0o600)
	_, one, _ := f.Read(t.Context(), from, true)
	_, same, _ := f.Read(t.Context(), from, true)
	os.WriteFile(path, []byte("two"), 0o600)
	data, two, err := f.Read(t.Context(), from, true)
	if one != same || one == two || data.Reveal() != "two" || err != nil {
		t.Errorf("versions are %q, %q, then %q with %q, %v", one, same, two, data, err)
	}
}

func BenchmarkRead(b *testing.B) {
	b.Setenv("GATEWAY_TEST_KEY", "key")
	s := New(config.SecretManager{Refresh: time.Hour}, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := s.Read(b.Context(), config.Source{Env: "GATEWAY_TEST_KEY"}, false); err != nil {
				b.Error(err)
			}
		}
	})
}
