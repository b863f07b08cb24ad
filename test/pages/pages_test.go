package pages_test

import (
	"encoding/xml"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"llmgateway.dev/gateway/function"
	"llmgateway.dev/gateway/test/pages"
)

const root, docs = "../..", "../../docs/clients"

func all(t *testing.T) []pages.Page {
	t.Helper()
	found, err := pages.ReadAll(docs)
	if err != nil || len(found) < 2 {
		t.Fatalf("%d pages, %v", len(found), err)
	}
	return found
}

// every page of the project, by its path. What begins with a dot is no part of it.
func every(t *testing.T) []pages.Page {
	t.Helper()
	var found []pages.Page
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path != "." && strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		page, err := pages.Read(root, path)
		found = append(found, page)
		return err
	})
	if err != nil || len(found) < 20 {
		t.Fatalf("%d pages, %v", len(found), err)
	}
	return found
}

// A fragment of the gateway's configuration is a block of YAML that begins with a key of it. The rest, for a
// configuration that is whole, is docs/gateway.yaml's.
func TestEveryFragmentOfAConfigurationLoads(t *testing.T) {
	whole, err := os.ReadFile("../../docs/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range all(t) {
		fragments := map[string]any{}
		for _, b := range page.Of("yaml") {
			if err := yaml.Unmarshal([]byte(b.Text), &fragments); err != nil {
				t.Errorf("%s:%d: %v", page.Name, b.Line, err)
			}
		}
		policies := ""
		for _, b := range page.Of("cedar") {
			policies += b.Text + "\n"
		}
		if len(fragments) == 0 && policies == "" {
			continue
		}
		shown++
		t.Run(page.Name, func(t *testing.T) {
			config := map[string]any{}
			if err := yaml.Unmarshal(whole, &config); err != nil {
				t.Fatal(err)
			}
			delete(config, "limits") // they name docs/gateway.yaml's issuer
			delete(config, "limit_store")
			for key, value := range fragments {
				config[key] = value
			}
			config["policies"] = map[string]any{"files": []string{"gateway.cedar"}}
			text, err := yaml.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "gateway.yaml")
			for name, text := range map[string]string{"gateway.yaml": string(text), "gateway.cedar": policies} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			warnings, err := function.Check(file)
			if err != nil {
				t.Errorf("%v\n%s", err, policies)
			}
			for _, w := range warnings {
				if !strings.Contains(w.Warning(), "nobody may use it") { // a page's policies are about few models
					t.Error(w.Warning())
				}
			}
		})
	}
	if shown == 0 {
		t.Error("no page shows any")
	}
}

// What the end-to-end tests install for a page's programs is in their source, which is built with a tag.
var (
	program  = regexp.MustCompile(`page: "(\S+)", file: "(\S+)", install: in(Python|Node)\("(\S+)", "(\S+)"\)`)
	platform = regexp.MustCompile(`installPython\(ctx, "openai", "(\S+)"\)`)
	goGet    = regexp.MustCompile(`\{"go", "get", (.*)\}`)
	maven    = regexp.MustCompile(`"(org\.apache\.maven\.plugins:\S+)", "(-DoutputDirectory=\S+)"`)
	// line is one by which a page has something installed.
	line = regexp.MustCompile(`(?m)^(?:pip install|npm install|go get|mvn) .*$`)
)

// Each program stands below the line that installs its packages, in the versions in which make e2e runs it, and
// there are no other such lines.
func TestPagesInstallWhatIsTested(t *testing.T) {
	tested := ""
	for _, name := range []string{"pages_test.go", "platforms_test.go"} {
		text, err := os.ReadFile(root + "/test/e2e/" + name)
		if err != nil {
			t.Fatal(err)
		}
		tested += string(text)
	}
	want := map[string]string{} // by page/file
	for _, m := range program.FindAllStringSubmatch(tested, -1) {
		form := map[string]string{"Python": "pip install %s==%s", "Node": "npm install %s@%s"}[m[3]]
		want[m[1]+"/"+m[2]] = fmt.Sprintf(form, m[4], m[5])
	}
	for _, m := range platform.FindAllStringSubmatch(tested, -1) {
		for _, file := range []string{"github-actions.md/ask_github.py", "google-cloud.md/ask_google.py", "kubernetes-tokens.md/ask_projected.py"} {
			want[file] = "pip install openai==" + m[1]
		}
	}
	for _, m := range goGet.FindAllStringSubmatch(tested, -1) {
		want["go.md/main.go"] = "go get " + strings.NewReplacer(`"`, "", ",", "").Replace(m[1])
	}
	for _, m := range maven.FindAllStringSubmatch(tested, -1) {
		want["java.md/Ask.java"] = "mvn " + m[1] + " " + m[2]
	}
	if len(want) != 7+2+3+1+1 {
		t.Fatalf("the end-to-end tests are read as %q", want)
	}
	for _, page := range all(t) {
		shown, used := map[string]int{}, map[string]bool{} // by heading and line
		for _, b := range page.Blocks {
			if b.File == "" {
				for _, found := range line.FindAllString(b.Text, -1) {
					shown[b.Heading+": "+found] = b.Line
				}
			}
			if install := want[page.Name+"/"+b.File]; install != "" {
				delete(want, page.Name+"/"+b.File)
				used[b.Heading+": "+install] = true
				if shown[b.Heading+": "+install] == 0 {
					t.Errorf("%s:%d: nothing says %q above %s", page.Name, b.Line, install, b.File)
				}
			}
		}
		for install, number := range shown {
			if !used[install] {
				t.Errorf("%s:%d: make e2e runs nothing with %s", page.Name, number, install)
			}
		}
	}
	for file, install := range want {
		t.Errorf("no page has %s, for %q", file, install)
	}
}

// Maven's coordinates stand in a sentence too, for who has another build.
func TestTheCoordinatesAreThoseOfThePom(t *testing.T) {
	page, err := pages.Read(docs, "java.md")
	if err != nil {
		t.Fatal(err)
	}
	pom, err := page.File("pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	var project struct {
		Dependencies []struct {
			Group    string `xml:"groupId"`
			Artifact string `xml:"artifactId"`
			Version  string `xml:"version"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal([]byte(pom.Text), &project); err != nil {
		t.Fatal(err)
	}
	for _, d := range project.Dependencies {
		if coordinates := fmt.Sprintf("`%s:%s:%s`", d.Group, d.Artifact, d.Version); !strings.Contains(page.Prose, coordinates) {
			t.Errorf("java.md doesn't say %s", coordinates)
		}
	}
	if len(project.Dependencies) != 1 {
		t.Errorf("%+v", project)
	}
}

// secret is what looks like a token, or like a secret that is a program's argument: a literal one, or one that the shell
// puts there. A variable's name in a here-document or on printf's line, which the shell runs itself, is none.
var secret = []*regexp.Regexp{
	regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}`),
	regexp.MustCompile(`sk-[A-Za-z0-9]{8,}`),
	regexp.MustCompile(`(?i)(--header|-H)[ =]?["']?[^"'\n]*(bearer|token|key)[^"'\n]*(\$|[A-Za-z0-9]{16})`),
	regexp.MustCompile(`--oauth2-bearer`),
	regexp.MustCompile(`(\s-[dFu]|--data\S*|--form|--user)[ =]?["']?[^"'\n]*(?i:secret|password)=`),
	regexp.MustCompile(`(?i)--from-literal`),
	regexp.MustCompile(`(?i)export \w*(SECRET|TOKEN|KEY)=`),
}

func TestNoPageHasATokenOrPutsASecretOnACommandLine(t *testing.T) {
	help, err := os.ReadFile(root + "/function/cmd/gateway/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(every(t), pages.Page{Name: "gateway help", Text: string(help)}) {
		number := 0
		for line := range strings.Lines(page.Text) {
			number++
			if showsSecret(line) {
				t.Errorf("%s:%d: %s", page.Name, number, strings.TrimSpace(line))
			}
		}
	}
	for _, line := range []string{
		`curl -H "Authorization: Bearer $TOKEN" https://gateway.example.com`,
		`curl -H "Authorization: Bearer $(gateway token)" https://gateway.example.com`,
		`curl --header "x-api-key: $KEY"`,
		`curl --oauth2-bearer "$(gateway token)"`,
		`curl --data "client_secret=$SECRET"`,
		`kubectl create secret generic x --from-literal=a=b`,
		"export GATEWAY_CLIENT_SECRET=",
		"eyJhbGciOiJSUzI1NiJ9.eyJ",
	} {
		if !showsSecret(line) {
			t.Errorf("%s isn't noticed", line)
		}
	}
}

func showsSecret(line string) bool {
	return slices.ContainsFunc(secret, func(form *regexp.Regexp) bool { return form.MatchString(line) })
}

var placeholder = regexp.MustCompile(`TODO|FIXME|XXX|\bTBD\b|<[a-z][a-z_ -]*>|\b(YOUR|MY)_[A-Z]+|your-\w+|changeme|lorem`)

func TestNoPageHasAPlaceholderLeft(t *testing.T) {
	for _, page := range all(t) {
		for _, b := range page.Blocks {
			// Java's types and Maven's elements stand in angle brackets too.
			if found := placeholder.FindString(b.Text); found != "" && b.Language != "java" && b.Language != "xml" {
				t.Errorf("%s:%d: %s", page.Name, b.Line, found)
			}
		}
		if found := placeholder.FindString(page.Prose); found != "" {
			t.Errorf("%s: %s", page.Name, found)
		}
	}
}

// link is one in Markdown, or in the HTML that stands in it.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:href|src|srcset)="([^"\s]+)"`)

func TestLinksResolve(t *testing.T) {
	all := every(t)
	named := map[string]pages.Page{}
	for _, page := range all {
		named[page.Name] = page
	}
	links := 0
	for _, page := range all {
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(page.Prose, ""), -1) {
			links++
			u, err := url.Parse(found[1] + found[2])
			switch {
			case err != nil:
				t.Errorf("%s: %v", page.Name, err)
				continue
			case u.Scheme != "":
				if u.Scheme != "https" || u.Host == "" {
					t.Errorf("%s: %s", page.Name, u)
				}
				continue
			}
			target := page.Name
			if u.Path != "" {
				target = path.Join(path.Dir(page.Name), u.Path)
			}
			info, err := os.Stat(filepath.Join(root, target))
			if err != nil {
				t.Errorf("%s: %v", page.Name, err)
				continue
			}
			if info.IsDir() { // of which GitHub shows the README
				target = path.Join(target, "README.md")
			}
			if u.Fragment != "" && !slices.Contains(anchors(named[target]), u.Fragment) {
				t.Errorf("%s: %s has no heading for #%s", page.Name, target, u.Fragment)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links", links)
	}
}

var (
	code        = regexp.MustCompile("`[^`\n]*`")
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	punctuation = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are what GitHub makes of headings: one that comes again is numbered.
func anchors(page pages.Page) (all []string) {
	seen := map[string]int{}
	for _, h := range heading.FindAllStringSubmatch(page.Prose, -1) {
		anchor := strings.ReplaceAll(punctuation.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
		if n := seen[anchor]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			all = append(all, anchor)
		}
		seen[anchor]++
	}
	return all
}

// Who comes by a search engine finds the rest from each page.
func TestEveryPageOfAClientLeadsOn(t *testing.T) {
	for _, page := range all(t) {
		for _, to := range []string{"README.md", "../identity-providers.md", "../policies.md", "../limits.md"} {
			if page.Name != to && !strings.Contains(page.Prose, "]("+to) {
				t.Errorf("%s has no link to %s", page.Name, to)
			}
		}
	}
}

func TestTheIndexListsEveryPage(t *testing.T) {
	found := all(t)
	i := slices.IndexFunc(found, func(p pages.Page) bool { return p.Name == "README.md" })
	if i < 0 {
		t.Fatal("there is no index")
	}
	for _, page := range found {
		if page.Name != "README.md" && !strings.Contains(found[i].Text, fmt.Sprintf("](%s)", page.Name)) {
			t.Errorf("the index lacks %s", page.Name)
		}
	}
}
