package pages_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A threat that no test holds is one that a change may let in. This test can't read whether a test is about its threat;
// it can see that there is one, and that it still exists.
func TestEachThreatNamesTestsThatExist(t *testing.T) {
	grep := exec.Command("git", "grep", "-hoE", "^func (Test|Fuzz)[A-Za-z0-9]+", "--", "*_test.go")
	grep.Dir = "../.."
	out, err := grep.Output()
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		exists[strings.TrimPrefix(strings.TrimSpace(line), "func ")] = true
	}
	text, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for _, name := range named.FindAllStringSubmatch(string(text), -1) {
		if !exists[name[1]] {
			t.Errorf("docs/threat-model.md names %s, which is no test", name[1])
		}
	}
	_, threats, found := strings.Cut(string(text), "## Who attacks, with what")
	threats, _, end := strings.Cut(threats, "\n## ")
	rows := 0
	for line := range strings.Lines(threats) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| attacker has") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) != 4 || !named.MatchString(cells[3]) {
			t.Errorf("no test is named for %.120s…", line)
		}
	}
	if !found || !end || rows < 30 {
		t.Errorf("%d threats are listed", rows)
	}
}
