package config_test

import (
	"encoding/json"
	"testing"

	"llmgateway.dev/gateway/internal/config"
)

func TestWhatATerminalObeysIsEscaped(t *testing.T) {
	for _, row := range []struct{ text, line, lines string }{
		{"plain é 漢", "plain é 漢", "plain é 漢"},
		{"a\x1b[2J", `a\x1b[2J`, `a\x1b[2J`},
		{"a\n\tb\r", `a\n\tb\r`, "a\n\tb\\r"},
		{"\u009b2J\u202eb\x7f", `\u009b2J\u202eb\x7f`, `\u009b2J\u202eb\x7f`},
		{"\U000e0001", `\U000e0001`, `\U000e0001`},
	} {
		if got := config.Printable(row.text); got != row.line {
			t.Errorf("%q: %s, want %s", row.text, got, row.line)
		}
		if got := config.PrintableText(row.text); got != row.lines {
			t.Errorf("%q: %s, want %s", row.text, got, row.lines)
		}
		text, err := json.MarshalIndent(map[string]string{"a": row.text}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		shown := config.PrintableJSON(string(text))
		var back map[string]string
		if err := json.Unmarshal([]byte(shown), &back); err != nil || back["a"] != row.text || config.PrintableText(shown) != shown {
			t.Errorf("%q: %s: %v", row.text, shown, err)
		}
	}
}
