package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"text/template"
)

//go:embed page.tmpl
var pageText string

// page is docs/bench/README.md.
func (r *results) page() string {
	var b bytes.Buffer
	plots := r.plots()
	t := template.Must(template.New("page").Funcs(template.FuncMap{
		"figure": func(c described, name string) string { return shown(r.Medians[c.Key], name) },
		"plot":   func(name string) bool { return plots[name] != "" },
		"times": func(c described, name string) string {
			v, ok := r.Medians[c.Key][name]
			base := r.Medians["bare"][name]
			if !ok || base == 0 {
				return "–"
			}
			return short(v / base)
		},
		"short":   short,
		"memory":  func(v float64) string { return short(math.Round(v)) },
		"percent": func(share float64) string { return short(math.Round(share*100)) + " %" },
		"streams": func(c described) string {
			text := shown(r.Medians[c.Key], "stream_kib")
			if held := r.Medians[c.Key]["streams_held"]; held > 0 && held < atOnce {
				text += fmt.Sprintf(" (of %.0f)", held)
			}
			return text
		},
		"slowest": func(all []initTime) []initTime { return all[:min(len(all), 8)] },
	}).Parse(pageText))
	if err := t.Execute(&b, r); err != nil {
		panic("bench: " + err.Error()) // the text is ours
	}
	return b.String()
}

// shown is a figure for people, or a dash.
func shown(f figures, name string) string {
	v, ok := f[name]
	if !ok {
		return "–"
	}
	return short(v)
}
