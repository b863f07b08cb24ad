package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Printable is s on one line, with everything escaped that a terminal obeys, or that turns the direction of a
// line. What people are shown holds what others wrote: names, claims, policies.
func Printable(s string) string { return printable(s, "") }

// PrintableText is Printable for several lines: line ends and tabs stay.
func PrintableText(s string) string { return printable(s, "\n\t") }

func printable(s, keep string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) || strings.ContainsRune(keep, r) }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// PrintableJSON is JSON with the same escaped in its strings, as JSON has it.
func PrintableJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n', unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
