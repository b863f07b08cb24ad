// Package sandbox lets tests run genuine programs (terraform, gcloud, the built function) with their
// real configuration on a machine from which nothing leaves: https://secretmanager.googleapis.com,
// https://api.openai.com or http://metadata.google.internal lead to handlers of the test.
//
// Main, called by TestMain, runs the test's program again in network, mount and process namespaces of
// its own. There is no way out of them but loopback. /etc is a private copy: its resolv.conf names the
// sandbox's own name server, and its certificate bundle holds the sandbox's own authority and no
// other, so that programs verify as they always do. What the programs started leaves with them.
//
// It needs Linux, and root or user namespaces. Elsewhere Main runs the tests as they are, and Inside
// reports false; they say then what they can't show.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Inside reports whether this process is in the sandbox.
func Inside() bool { return inside }

var inside bool

// Omit skips a test that can't be shown here, and says why. Where CI is set, as every CI sets it, that is a failure: what
// it leaves out would be taken for shown.
func Omit(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
		return
	}
	t.Skip(why)
}

// marker is set for the inner process, which removes it; it names a folder that is the sandbox's.
const marker = "LLMGATEWAY_SANDBOX"

// denied is the inner process's exit code where the system permits no sandbox.
const denied = 77

// errDenied is in the chain of every error by which the system says that it permits no sandbox.
var errDenied = errors.New("the system permits no sandbox")

// Main runs the tests in the sandbox, and returns their exit code. Where the system permits none, it
// says why and runs them outside; any other trouble is a failure. prepare, unless it is nil, is called
// first, outside: there is the place for what needs the network, such as a build with a cold cache.
// What it puts into the environment is found inside. In TestMain:
//
//	os.Exit(sandbox.Main(prepare, m.Run))
func Main(prepare func() error, run func() int) int {
	if dir := os.Getenv(marker); dir != "" {
		return within(dir, run)
	}
	if prepare != nil {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox: prepare:", err)
			return 1
		}
	}
	code, err := enter()
	if errors.Is(err, errDenied) {
		fmt.Fprintln(os.Stderr, "sandbox: not entered:", err)
		return run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return code
}

// enter runs this program again in the sandbox. Root may lack the capabilities (in a container), and
// then is as good as anybody.
func enter() (code int, err error) {
	if runtime.GOOS != "linux" {
		return 0, fmt.Errorf("%w: %s has no namespaces", errDenied, runtime.GOOS)
	}
	if os.Geteuid() == 0 {
		code, err = launch(false)
	}
	if os.Geteuid() != 0 || errors.Is(err, errDenied) {
		code, err = launch(true)
	}
	return code, err
}

// launch runs this program again in new namespaces, with a user namespace among them where userns
// says so. The inner process closes the pipe once all is furnished, or writes why it couldn't.
func launch(userns bool) (code int, err error) {
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir) // empty: what was mounted there is gone
	report, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer report.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = environment(dir)
	cmd.SysProcAttr = namespaces(userns)
	runtime.LockOSThread() // the inner process dies with the thread that started it
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil { // the program is there: so it is the namespaces
		return 0, fmt.Errorf("%w: %w", errDenied, err)
	}
	trouble, _ := io.ReadAll(report)
	err = cmd.Wait()
	if len(trouble) > 0 {
		err := errors.New(string(trouble))
		if cmd.ProcessState.ExitCode() == denied {
			return 0, fmt.Errorf("%w: %w", errDenied, err)
		}
		return 0, err
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// within is Main in the inner process.
func within(dir string, run func() int) int {
	os.Unsetenv(marker)
	report := os.NewFile(3, "report")
	if err := furnish(dir); err != nil {
		fmt.Fprint(report, err)
		if refused(err) {
			return denied
		}
		return 1
	}
	report.Close()
	inside = true
	return run()
}

// bundle is where Debian keeps the certificate bundle, and the sandbox its authority.
const bundle = "/etc/ssl/certs/ca-certificates.crt"

// environment is this process's, without what would lead programs to the developer's own accounts,
// proxies and certificates, and with what makes those of them that bring certificates of their own
// (Node.js, gcloud, Python's requests) trust the sandbox's.
func environment(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "CLOUDSDK_PYTHON") {
			return false
		}
		name = strings.ToUpper(name)
		return slices.Contains([]string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR"}, name) ||
			slices.ContainsFunc([]string{"GOOGLE_", "GCLOUD_", "CLOUDSDK_", "GCE_METADATA_"}, func(prefix string) bool {
				return strings.HasPrefix(name, prefix)
			})
	})
	for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
		"HTTPLIB2_CA_CERTS", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"} {
		env = append(env, name+"="+bundle)
	}
	return append(env,
		marker+"="+dir,
		"CLOUDSDK_CONFIG="+filepath.Join(dir, "gcloud"),
		"GOPROXY=off", // says at once what is missing
	)
}
