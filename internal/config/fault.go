package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Fault is one thing wrong with the configuration, and what to do about it.
type Fault struct {
	File string `json:"file"`
	// Line and Column begin at 1; 0 is unknown.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path leads to the value: issuers[0].url. It is "" for a fault of a whole file.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// String is the form that editors and compilers share: file:line:column: path: message.
func (f Fault) String() string { return f.text("") }

// Warning is String for what is no fault, and says so: file:line:column: warning: path: message.
func (f Fault) Warning() string { return f.text("warning: ") }

func (f Fault) text(severity string) string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": " + severity)
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return Printable(b.String())
}

// Fault is one that another package finds, at a path of the document or the nearest thing around it.
func (c *Config) Fault(path, format string, args ...any) Fault {
	return faultAt(c.File, c.at, path, format, args...)
}

func faultAt(file string, at map[string]*yaml.Node, path, format string, args ...any) Fault {
	f := Fault{File: file, Path: path, Message: fmt.Sprintf(format, args...)}
	for p := path; ; p = p[:max(0, strings.LastIndexAny(p, ".["))] {
		if n := at[p]; n != nil {
			f.Line, f.Column = n.Line, n.Column
		}
		if f.Line > 0 || p == "" {
			return f
		}
	}
}

// Faults is everything wrong, as one error.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Sort orders faults as the files do, and drops repeats.
func (fs Faults) Sort() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(fs)
}

// Err is nil where there are no faults.
func (fs Faults) Err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}
