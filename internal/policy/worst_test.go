package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"llmgateway.dev/gateway/internal/config"
	"llmgateway.dev/gateway/internal/policy"
)

// Files of the greatest size, each of a shape that costs the most of something. What is loaded decides; what would take
// minutes (types of types are quadratic to compare, and to print) is a fault where it begins.
func TestTheWorstFilesAreLoadedOrRefusedAtOnce(t *testing.T) {
	const head, tail = `@id("w") permit (principal, action, resource) when { `, ` };`
	room := config.MaxFile - len(head) - len(tail) - 64
	nested := func(open, middle, end string) string {
		n := room / len(open+end)
		return head + strings.Repeat(open, n) + middle + strings.Repeat(end, n) + tail
	}
	listed := func(begin, end string, next func(i int) string) string {
		var b strings.Builder
		b.WriteString(begin)
		for i := 0; b.Len()+len(next(i))+len(end) <= config.MaxFile; i++ {
			b.WriteString(next(i))
		}
		return b.String() + end
	}
	const fault = `is nested more than 64 deep`
	for _, row := range []struct {
		name, text, fault string
		allowed           bool
	}{
		{"parentheses", nested("(", "true", ")"), fault, false},
		{"negations", nested("!", "true", ""), fault, false},
		{"negations with space", nested("! // (\n", "true", ""), fault, false},
		{"signs", nested("-", "1 < 0", ""), fault, false},
		{"sets", nested("[", "1", "] == 1"), fault, false},
		{"records", nested("{a: ", "1", "}"), fault, false},
		{"conditions of conditions", nested("if true then ", "true", " else false"), "", true},
		{"conjunctions", nested("true && ", "true", ""), "", true},
		{"disjunctions", nested("context.stream || ", "true", ""), "", true},
		{"sums", nested("1 + ", "1 > 2", ""), "", true},
		{"a set", listed(head+"[0", "].contains(1)"+tail, func(int) string { return ",1" }), "", true},
		{"a set of texts", listed(head+`[""`, `].contains(principal.client_id)`+tail, func(i int) string { return fmt.Sprintf(`,"%x"`, i) }), "", false},
		{"a long text", head + `principal.client_id == "` + strings.Repeat("(", room-40) + `"` + tail, "", false},
		{"a pattern", listed(head+`principal.client_id like "`, `"`+tail, func(int) string { return "*-" }), "", false},
		{"policies", listed("", "", func(i int) string { return fmt.Sprintf("@id(\"%x\")permit(principal,action,resource);", i) }), "", true},
		{"conditions", listed(`@id("w")permit(principal,action,resource)`, ";", func(int) string { return "when{true}" }), "", true},
		{"annotations", listed("", `@id("w")permit(principal,action,resource);`, func(i int) string { return fmt.Sprintf("@a%x(\"[\\\"\")", i) }), "", true},
		{"comments", listed("", `@id("w")permit(principal,action,resource);`, func(int) string { return "// \"((\n" }), "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if len(row.text) > config.MaxFile || len(row.text) < config.MaxFile/2 {
				t.Fatalf("%d bytes", len(row.text))
			}
			p, faults := policy.Load(configure(t, row.text))
			if row.fault != "" {
				if len(faults) != 1 || !strings.Contains(faults[0].Message, row.fault) || faults[0].Line == 0 || faults[0].Column < 2 && faults[0].Line == 1 {
					t.Fatalf("%.300v", faults)
				}
				return
			}
			if len(faults) > 0 {
				t.Fatalf("%.300v", faults)
			}
			if d := p.Decide(client("a"), request(t, chatTurbo), noon); d.Denied() == row.allowed || len(d.Errors) > 0 {
				t.Errorf("denied %t, errors %q", d.Denied(), d.Errors)
			}
		})
	}
}
