package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// picture is an SVG in the making. Its colours follow the reader's scheme, also where a page shows it as an image.
type picture struct {
	title         string
	width, height float64
	body          strings.Builder
}

const style = `<style>
text { font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; fill: #1b1a18; }
text.title { font-size: 15px; font-weight: 640; }
text.soft { fill: #67635c; font-size: 12px; }
text.ours { font-weight: 640; }
.paper { fill: #fbfaf8; }
.grid { stroke: #e6e2da; }
.mark { stroke: #67635c; stroke-dasharray: 3 3; }
.thin { stroke: #67635c; stroke-width: 1.5; }
.s0 { fill: #b9b4aa; } .s1 { fill: #2a78d6; } .s2 { fill: #eb6834; } .s3 { fill: #1baf7a; } .s4 { fill: #eda100; }
path.line { fill: none; stroke: #2a78d6; stroke-width: 1.5; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
text { fill: #eeece7; }
text.soft { fill: #a09c94; }
.paper { fill: #1b1b1a; }
.grid { stroke: #33312e; }
.mark, .thin { stroke: #a09c94; }
.s0 { fill: #6d6962; } .s1 { fill: #3987e5; } .s2 { fill: #d95926; } .s3 { fill: #199e70; } .s4 { fill: #c98500; }
path.line { stroke: #3987e5; }
}
</style>
`

const (
	pictureWidth = 760
	margin       = 20
	// labels is the width of names before a plot, top the height of the title above it.
	labels = 210
	top    = 52
	// numbers is the room for a number after the longest bar.
	numbers = 74
)

func newPicture(title string, height float64) *picture {
	p := &picture{title: title, width: pictureWidth, height: height}
	p.rect(0, 0, p.width, height, "paper", "")
	p.text(margin, 26, "start", "title", title)
	return p
}

func (p *picture) rect(x, y, width, height float64, class, title string) {
	if title != "" {
		title = "<title>" + html.EscapeString(title) + "</title>"
	}
	fmt.Fprintf(&p.body, `<rect x="%s" y="%s" width="%s" height="%s" rx="2" class="%s">%s</rect>`+"\n", px(x), px(y), px(width), px(height), class, title)
}

func (p *picture) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&p.body, `<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>`+"\n", px(x1), px(y1), px(x2), px(y2), class)
}

func (p *picture) dot(x, y float64, class, title string) {
	fmt.Fprintf(&p.body, `<circle cx="%s" cy="%s" r="5" class="%s"><title>%s</title></circle>`+"\n", px(x), px(y), class, html.EscapeString(title))
}

func (p *picture) text(x, y float64, anchor, class, text string) {
	fmt.Fprintf(&p.body, `<text x="%s" y="%s" text-anchor="%s" class="%s">%s</text>`+"\n", px(x), px(y), anchor, class, html.EscapeString(text))
}

func (p *picture) path(points [][2]float64, class string) {
	var d []string
	for _, at := range points {
		d = append(d, px(at[0])+" "+px(at[1]))
	}
	fmt.Fprintf(&p.body, `<path d="M%s" class="%s"/>`+"\n", strings.Join(d, "L"), class)
}

func (p *picture) String() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" aria-label="%s">`+"\n",
		px(p.width), px(p.height), html.EscapeString(p.title)) + style + p.body.String() + "</svg>\n"
}

// px is a coordinate.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// axis maps values to places from left to right.
type axis struct {
	low, high   float64
	left, right float64
	log         bool
}

// logAxis goes by powers of ten, and holds low and high.
func logAxis(low, high, left, right float64) axis {
	floor := math.Pow(10, math.Floor(math.Log10(low)))
	ceiling := math.Pow(10, math.Ceil(math.Log10(high)))
	if ceiling <= floor {
		ceiling = floor * 10
	}
	return axis{floor, ceiling, left, right, true}
}

// at is a value's place. What is off the axis is at its end.
func (a axis) at(v float64) float64 {
	v = min(max(v, a.low), a.high)
	share := (v - a.low) / (a.high - a.low)
	if a.log {
		share = math.Log10(v/a.low) / math.Log10(a.high/a.low)
	}
	return a.left + share*(a.right-a.left)
}

// ticks are round values on the axis: powers of ten, or about five steps.
func (a axis) ticks() (all []float64) {
	if a.log {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/5)))
	for _, n := range []float64{1, 2, 5, 10} {
		if (a.high-a.low)/(n*step) <= 6 {
			step *= n
			break
		}
	}
	for v := math.Ceil(a.low/step) * step; v <= a.high*1.001; v += step {
		all = append(all, v)
	}
	return all
}

// across draws a horizontal axis with its grid, from the top of a plot to its bottom.
func (p *picture) across(a axis, bottom float64, unit string) {
	for _, v := range a.ticks() {
		p.line(a.at(v), top-8, a.at(v), bottom, "grid")
		p.text(a.at(v), bottom+16, "middle", "soft", short(v)+unit)
	}
}

// short is a number with three digits that count, and no more zeros than it needs.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 999.5e3:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case math.Abs(v) >= 9999.5:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	case math.Abs(v) >= 99.5:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	decimals := min(max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))), 3)
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
