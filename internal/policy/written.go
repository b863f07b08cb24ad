package policy

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// Written is a policy as its author knows it.
type Written struct {
	ID   string `json:"id"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Text is the policy's own, from its first annotation to its semicolon.
	Text    string `json:"text"`
	Forbids bool   `json:"-"`
	// Meaning is, in a matrix, the policy in one form, without its id: it is the same where only layout, comments
	// and annotations differ.
	Meaning string `json:"-"`

	// scope is what stands for principal, action and resource, and conditions are the clauses, when
	// or unless included; all as they were written.
	scope      [3]string
	conditions []string
}

// Written lists all policies as they were written, in the order of the configuration's files.
func (p *Policies) Written() []Written {
	all := make([]Written, len(p.order))
	for i, id := range p.order {
		all[i] = *p.written[id]
	}
	return all
}

// newWritten finds the parts of a policy that has been parsed. text may hold what follows it. Cedar's
// own form of a policy would be another text than the one its author looks for.
func newWritten(policy *cedar.Policy, text string) *Written {
	pos := policy.Position()
	w := &Written{ID: idOf(policy), File: pos.Filename, Line: pos.Line, Text: text, Forbids: policy.Effect() == cedar.Forbid}
	s := scanner{text: text}
	word := s.next()
	for word == "@" {
		s.next()
		if word = s.next(); word == "(" {
			s.enclosed()
			word = s.next()
		}
	}
	s.next() // the parenthesis after permit or forbid
	copy(w.scope[:], s.enclosed())
	for {
		word := s.next()
		start := s.at - len(word)
		switch word {
		case "when", "unless":
			s.next()
			s.enclosed()
			w.conditions = append(w.conditions, text[start:s.at])
		case ";":
			w.Text = text[:s.at]
			return w
		default: // which no policy that was parsed has
			return w
		}
	}
}

// scanner reads the tokens of a text that is Cedar.
type scanner struct {
	text string
	at   int
}

// next returns the next token, or "" at the end: a word, a string with its quotes, or one character.
func (s *scanner) next() string {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.HasPrefix(rest, "//"):
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				s.at += end
			} else {
				s.at = len(s.text)
			}
		case strings.ContainsRune(" \t\r\n\f\v", rune(rest[0])):
			s.at++
		default:
			n := 1
			if rest[0] == '"' {
				for n < len(rest) && rest[n] != '"' {
					if rest[n] == '\\' {
						n++
					}
					n++
				}
				n = min(n+1, len(rest))
			} else {
				for isWord(rest[0]) && n < len(rest) && isWord(rest[n]) {
					n++
				}
			}
			s.at += n
			return rest[:n]
		}
	}
	return ""
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// enclosed reads to the end of the bracket that was just opened, and returns what stands between its
// commas.
func (s *scanner) enclosed() []string {
	var parts []string
	start := s.at
	for depth := 1; ; {
		switch s.next() {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth == 0 {
				return append(parts, strings.TrimSpace(s.text[start:s.at-1]))
			}
		case ",":
			if depth == 1 {
				parts = append(parts, strings.TrimSpace(s.text[start:s.at-1]))
				start = s.at
			}
		case "":
			return parts
		}
	}
}
