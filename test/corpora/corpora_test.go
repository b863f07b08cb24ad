package corpora_test

import (
	"testing"

	"llmgateway.dev/gateway/test/corpora"
)

// report is a test that notes whether it was left out or failed.
type report struct {
	testing.TB
	skipped, failed bool
}

func (r *report) Helper()        {}
func (r *report) Skip(...any)    { r.skipped = true }
func (r *report) Fatal(a ...any) { r.failed = true }

func TestACorpusThatIsNotThereFailsInCIAlone(t *testing.T) {
	for _, row := range []struct {
		ci              string
		skipped, failed bool
	}{{"", true, false}, {"true", false, true}} {
		t.Setenv("CI", row.ci)
		r := &report{TB: t}
		if files := corpora.Files(r, "nothing/*"); len(files) > 0 || r.skipped != row.skipped || r.failed != row.failed {
			t.Errorf("CI=%q: skipped %t, failed %t", row.ci, r.skipped, r.failed)
		}
	}
}
