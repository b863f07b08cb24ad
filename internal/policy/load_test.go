package policy_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/policy"
)

var update = flag.Bool("update", false, "rewrite the expected faults")

// Each archive is policy files, in force together, and every fault they must be answered with.
func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	archives, _ := filepath.Glob("testdata/*.txtar")
	if len(archives) == 0 {
		t.Fatal("no archives")
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			ar, err := txtar.ParseFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			files := slices.DeleteFunc(slices.Clone(ar.Files), func(f txtar.File) bool { return f.Name == "faults" })
			got := strings.Join(faultsOf(t, files), "")
			if *update {
				ar.Files = append(files, txtar.File{Name: "faults", Data: []byte(got)})
				if err := os.WriteFile(archive, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(files) != len(ar.Files)-1 {
				t.Fatal("want one file called faults")
			}
			if diff := cmp.Diff(string(ar.Files[len(files)].Data), got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// faultsOf loads the files, under their own names, with the configuration of the other tests.
func faultsOf(t *testing.T, files []txtar.File) []string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, faults := config.Parse(filepath.Join(dir, "gateway.yaml"), fmt.Appendf(nil, document, strings.Join(names, ", ")))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	p, faults := policy.Load(c)
	if (p == nil) != (len(faults) > 0) {
		t.Errorf("policies %v with %d faults", p, len(faults))
	}
	var lines []string
	for _, f := range faults {
		lines = append(lines, strings.ReplaceAll(f.String(), dir+"/", "")+"\n")
	}
	return lines
}

func TestUnreadableFilesAreFaults(t *testing.T) {
	c := configure(t, `@id("p") permit (principal, action, resource);`)
	dir := filepath.Dir(c.File)
	const fine = `@id("p") permit (principal, action, resource);`
	for name, data := range map[string][]byte{
		"large.cedar":  append([]byte(fine), bytes.Repeat([]byte("\n"), config.MaxFile)...),
		"latin1.cedar": []byte("// caf\xe9\n" + fine),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absent.cedar", "large.cedar", "latin1.cedar", "."} {
		file := filepath.Join(dir, name)
		c.Policies.Files = []string{file}
		p, faults := policy.Load(c)
		if p != nil || len(faults) != 1 || faults[0].File != file {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

// What is wrong with the configuration must not hide what is wrong with the policies.
func TestAFaultyConfigurationIsNoHindrance(t *testing.T) {
	files := configure(t, `@id("p") permit (principal, action, resource == Model::"gpt-5");`).Policies
	for name, tt := range map[string]struct {
		config config.Config
		want   int
	}{
		"empty":                {config.Config{}, 0},
		"a file without name":  {config.Config{Policies: config.Policies{Files: []string{""}}}, 0},
		"nothing but policies": {config.Config{Policies: files}, 1},
		"odd claims":           {config.Config{Policies: files, Issuers: []config.Issuer{{Claims: []string{"", "\x00", "__cedar", `"`, "a::b", "if"}}}}, 1},
	} {
		p, faults := policy.Load(&tt.config)
		if len(faults) != tt.want {
			t.Errorf("%s: %v", name, faults)
		}
		if p != nil && p.Decide(client("g"), request(t, chatTurbo), noon).Err() == nil {
			t.Errorf("%s: allowed without a policy", name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	archives, _ := filepath.Glob("testdata/*.txtar")
	for _, archive := range archives {
		if ar, err := txtar.ParseFile(archive); err == nil {
			for _, file := range ar.Files {
				f.Add(file.Data)
			}
		}
	}
	c := configure(f, "")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(c.Policies.Files[0], text, 0o600); err != nil {
			t.Fatal(err)
		}
		p, faults := policy.Load(c)
		if (p == nil) != (len(faults) > 0) {
			t.Errorf("policies %v with %d faults", p, len(faults))
		}
		for _, fault := range faults {
			if fault.File == "" || fault.Message == "" || strings.Contains(fault.Message, "\n") {
				t.Errorf("a fault that can't be found or read: %#v", fault)
			}
		}
		if p != nil {
			p.Decide(client("g"), request(t, chat4o), noon)
			p.Explain(client("g"), request(t, chat4o), noon)
			for _, w := range p.Written() {
				if !strings.HasSuffix(w.Text, ";") || !strings.Contains(string(text), w.Text) {
					t.Errorf("%s is not as it was written: %q", w.ID, w.Text)
				}
			}
		}
	})
}
