package issuer

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

// The memory for verified tokens has room for so many, and the least recently used one makes room. Junk takes no place.
func TestTheMemoryOfTokensIsBounded(t *testing.T) {
	w := newWorld(t, "")
	for i := range maxRemembered + 100 {
		w.remembered.Add(sha256.Sum256(binary.AppendVarint(nil, int64(i))), verified{})
	}
	if n := w.remembered.Len(); n != maxRemembered {
		t.Errorf("%d are remembered, of %d", n, maxRemembered)
	}

	w.remembered.Purge()
	const room = 8
	w.remembered.Resize(room)
	var tokens []string
	for i := range room + 1 {
		tokens = append(tokens, w.token(m{"azp": string(rune('a' + i))}))
		w.accepts(t, tokens[i])
	}
	for i := range 1000 {
		if _, _, err := w.Verify(t.Context(), w.junk(i)); err == nil {
			t.Fatal("junk is accepted")
		}
	}
	for i, raw := range tokens[1:] {
		if who, remembered, err := w.Verify(t.Context(), raw); err != nil || !remembered || who.ClientID != string(rune('b'+i)) {
			t.Errorf("token %d: %v, remembered %t, %v", i+1, who, remembered, err)
		}
	}
	if who, remembered, err := w.Verify(t.Context(), tokens[0]); err != nil || remembered || who.ClientID != "a" {
		t.Errorf("the first token: %v, remembered %t, %v", who, remembered, err)
	}
	if n := w.remembered.Len(); n != room {
		t.Errorf("%d are remembered, of %d", n, room)
	}
}
