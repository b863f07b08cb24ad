// Package hidden holds the text of credentials: clients' tokens, our own tokens, keys and secrets. However a value
// that has one in it is printed, logged or encoded, the text isn't there; only Reveal tells it.
package hidden

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// Text is a credential's text. The zero value is none.
//
// It is behind a pointer to a pointer because fmt calls no method of a field that isn't exported, and prints what that
// holds: of a pointer to a struct, with a verb that doesn't fit, the struct.
type Text struct{ at **plain }

type plain struct {
	self *plain
	text string
	sum  [sha256.Size]byte
}

// New hides a text; of "" there is nothing to hide.
func New(text string) Text {
	if text == "" {
		return Text{}
	}
	p := &plain{text: text, sum: sha256.Sum256([]byte(text))}
	p.self = p
	return Text{&p.self}
}

// Reveal returns the text, which is for the one place that it is meant for.
func (t Text) Reveal() string {
	if t.at == nil {
		return ""
	}
	return (*t.at).text
}

// IsZero reports whether there is no text.
func (t Text) IsZero() bool { return t.at == nil }

// Sum is the text's SHA-256, computed once. Whoever compares texts compares their sums: the time that takes tells
// nothing of a text, because nobody chooses a text by its sum.
func (t Text) Sum() [sha256.Size]byte {
	if t.at == nil {
		return [sha256.Size]byte{}
	}
	return (*t.at).sum
}

// Equal reports whether both are the same text.
func (t Text) Equal(other Text) bool { return t.Sum() == other.Sum() }

// Fingerprint is the first 12 hexadecimal digits of Sum, which name a token in a record: enough to find a client's
// calls, not to use it. It is "" where there is no text. It is not for what people choose, such as passwords, which
// could be found by trying.
func (t Text) Fingerprint() string {
	if t.at == nil {
		return ""
	}
	return hex.EncodeToString((*t.at).sum[:6])
}

// instead is what is printed.
const instead = "(hidden)"

// String is the same for every text, and so are all the others.
func (t Text) String() string { return instead }

// GoString is for %#v where Format isn't asked.
func (t Text) GoString() string { return instead }

// Format is for every verb; with String alone, %d or %p would go on to what is behind the pointer.
func (t Text) Format(s fmt.State, _ rune) { io.WriteString(s, instead) }

// LogValue is for slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(instead) }

// MarshalText is for encodings: XML's, YAML's, and JSON's of a map's keys.
func (t Text) MarshalText() ([]byte, error) { return []byte(instead), nil }

// MarshalJSON is for JSON.
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + instead + `"`), nil }
