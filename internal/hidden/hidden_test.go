package hidden_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"llmgateway.dev/gateway/internal/hidden"
)

const canary = "canary-in-a-coal-mine"

func TestATextIsPrintedNowhere(t *testing.T) {
	text := hidden.New(canary)
	type exported struct {
		Text    hidden.Text
		Pointer *hidden.Text
		Any     any
		List    []hidden.Text
		Map     map[string]hidden.Text
	}
	type inner struct {
		text    hidden.Text
		pointer *hidden.Text
		any     any
		list    []hidden.Text
		keys    map[hidden.Text]string
	}
	held := inner{text, &text, text, []hidden.Text{text}, map[hidden.Text]string{text: "x"}}
	values := map[string]any{
		"itself": text, "a pointer": &text, "a list": []hidden.Text{text}, "a map": map[string]hidden.Text{"x": text},
		"a key":           map[hidden.Text]int{text: 1},
		"exported fields": exported{text, &text, text, []hidden.Text{text}, map[string]hidden.Text{"x": text}},
		"other fields":    held, "a pointer to them": &held,
		"embedded": struct{ hidden.Text }{text},
		"an error": fmt.Errorf("wrapped: %w", errors.Join(fmt.Errorf("token %v", text), fmt.Errorf("%+v", held))),
	}
	for name, value := range values {
		told := map[string]string{}
		for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %b %o %c %U %t %e %g %p %T %w %!") {
			told[verb] = fmt.Sprintf(verb, value)
		}
		told["Sprint"], told["Sprintln"] = fmt.Sprint(value), fmt.Sprintln(value)
		var log bytes.Buffer
		for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
			slog.New(h).Info("told", "value", value, slog.Group("in", slog.Any("value", value)))
		}
		told["slog"] = log.String()
		for encoding, encode := range map[string]func(any) ([]byte, error){"encoding/json": json.Marshal, "json v2": func(v any) ([]byte, error) { return jsonv2.Marshal(v) }, "XML": xml.Marshal, "YAML": yaml.Marshal} {
			func() {
				defer func() { told[encoding+"'s panic"] = fmt.Sprint(recover()) }() // of what it can't encode
				b, err := encode(value)
				told[encoding] = fmt.Sprint(string(b), err)
			}()
		}
		var binary bytes.Buffer
		gob.NewEncoder(&binary).Encode(value)
		told["gob"] = binary.String()
		func() {
			defer func() { told["panic"] = fmt.Sprintf("%v %+v", recover(), value) }()
			panic(value)
		}()
		for how, said := range told {
			if strings.Contains(said, canary) || strings.Contains(said, hex.EncodeToString([]byte(canary))) || strings.Contains(said, strings.ToUpper(hex.EncodeToString([]byte(canary)))) || strings.Contains(said, "99 97 110 97 114 121") {
				t.Errorf("%s by %s: %s", name, how, said)
			}
		}
	}
}

func TestATextIsToldByRevealAlone(t *testing.T) {
	a, b, c := hidden.New(canary), hidden.New(canary), hidden.New("another")
	if a.Reveal() != canary || a.IsZero() {
		t.Error("the text is not revealed")
	}
	if !a.Equal(b) || a.Equal(c) || a.Equal(hidden.Text{}) || !(hidden.Text{}).Equal(hidden.New("")) {
		t.Error("texts are not compared by what they are")
	}
	if got := hidden.New("token").Fingerprint(); got != "3c469e9d6c58" { // printf token | sha256sum
		t.Errorf("fingerprint %s", got)
	}
	if none := (hidden.Text{}); !none.IsZero() || none.Reveal() != "" || none.Fingerprint() != "" || none.Sum() != [32]byte{} || none.String() != "(hidden)" {
		t.Error("no text is not none")
	}
}
