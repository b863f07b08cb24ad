package usage

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// drawing is one SVG. A page has each plot in three widths and shows one, so that letters keep their size.
type drawing struct {
	// Name is the size: large, medium or small.
	Name          string
	Width, Height int
	Lines         []ruler
	Texts         []letters
	Columns       []column
	Paths         []path
	Dots          []dot
}

type ruler struct{ X1, Y1, X2, Y2 string }

type letters struct{ X, Y, Anchor, Class, Text string }

// column is what one moment or one name has; Title is told when pointed at.
type column struct {
	X, Y, Width, Height string // where a pointer hits it
	Title               string
	Bars                []bar
}

type bar struct{ X, Y, Width, Height, Class string }

type path struct{ D, Class string }

type dot struct{ X, Y, Class string }

// size is a drawing's name and width.
type size struct {
	name  string
	width int
}

var (
	wholeSizes = []size{{"large", 1080}, {"medium", 720}, {"small", 340}}
	halfSizes  = []size{{"large", 520}, {"medium", 720}, {"small", 340}}
)

const (
	plotHeight = 240
	topMargin  = 12
	bottom     = 26
	leftMargin = 48
)

// px is a coordinate.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// compact is a number in few letters: 1234567 is 1.23M.
func compact(v float64) string {
	for _, u := range []struct {
		from, unit float64
		letter     string
	}{{999.5e9, 1e12, "T"}, {999.5e6, 1e9, "B"}, {999.5e3, 1e6, "M"}, {9999.5, 1e3, "k"}} {
		if v >= u.from {
			return significant(v/u.unit) + u.letter
		}
	}
	return significant(v)
}

// significant is a number with three digits that count, or all of them before the point.
func significant(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 999.5:
		return separated(int64(math.Round(v)))
	case v < 1e-6:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(v))))
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// money is an amount in few letters, with cents where there are dollars.
func money(v float64) string {
	if v >= 0.995 && v < 9999.5 {
		s := fmt.Sprintf("%.2f", v)
		whole, cents, _ := strings.Cut(s, ".")
		n, _ := strconv.ParseInt(whole, 10, 64)
		return separated(n) + "." + cents
	}
	return compact(v)
}

// ticks are round numbers from 0 to at least most; whole ones, where there is no half of what is counted.
func ticks(most float64, whole bool) []float64 {
	if whole {
		most = max(most, 4)
	} else if most <= 0 {
		most = 1
	}
	unit := math.Pow10(int(math.Floor(math.Log10(most / 4))))
	step := 10 * unit
	for _, n := range []float64{1, 2, 2.5, 5} {
		if 4*n*unit >= most*0.999 && !(whole && n == 2.5) {
			step = n * unit
			break
		}
	}
	all := []float64{0}
	for i := 1; all[len(all)-1] < most*0.999; i++ {
		all = append(all, float64(i)*step)
	}
	return all
}

// frame is the plane of a plot over time.
type frame struct {
	*drawing
	scale         scale
	left, right   float64
	top, baseline float64
	most          float64
	slot          float64
}

// newFrame draws the axes up to most, with a label at each tick.
func newFrame(z size, s scale, most float64, whole bool, unit string) frame {
	f := frame{drawing: &drawing{Name: z.name, Width: z.width, Height: plotHeight}, scale: s,
		left: leftMargin, right: float64(z.width) - 8, top: topMargin, baseline: plotHeight - bottom}
	marks := ticks(most, whole)
	f.most = marks[len(marks)-1]
	for _, v := range marks {
		y := px(f.y(v))
		f.Lines = append(f.Lines, ruler{px(f.left), y, px(f.right), y})
		f.Texts = append(f.Texts, letters{px(f.left - 8), px(f.y(v) + 4), "end", "", compact(v) + unit})
	}
	f.slot = (f.right - f.left) / float64(len(s.starts))
	for i := range s.starts {
		if text := s.label(i, f.slot); text != "" {
			anchor, x := "middle", f.x(i)
			if x+20 > f.right {
				anchor, x = "end", f.right
			}
			f.Texts = append(f.Texts, letters{px(x), px(f.baseline + 18), anchor, "", text})
		}
	}
	return f
}

// x is the middle of a column.
func (f frame) x(i int) float64 { return f.left + (float64(i)+0.5)*f.slot }

func (f frame) y(v float64) float64 { return f.baseline - v/f.most*(f.baseline-f.top) }

// column is what a pointer hits of moment i.
func (f frame) column(i int, title string) column {
	return column{X: px(f.left + float64(i)*f.slot), Y: px(f.top), Width: px(f.slot), Height: px(f.baseline - f.top), Title: title}
}

// stacked draws series on each other.
func stacked(z size, s scale, all []series, whole bool, amount func(float64) string) drawing {
	sums := make([]float64, len(s.starts))
	most := 0.0
	for i := range sums {
		for _, one := range all {
			sums[i] += one.values[i]
		}
		most = max(most, sums[i])
	}
	f := newFrame(z, s, most, whole, "")
	width := min(max(f.slot*0.7, f.slot-10), 40)
	for i, start := range s.starts {
		title := []string{s.full(start) + ": " + amount(sums[i])}
		c := f.column(i, "")
		under := 0.0
		for _, one := range all {
			v := one.values[i]
			if v == 0 {
				continue
			}
			low, high := f.y(under), f.y(under+v)
			under += v
			if under < sums[i]*0.9999 && low-high > 2 {
				high++ // a gap to the next
			}
			c.Bars = append(c.Bars, bar{px(f.x(i) - width/2), px(high), px(width), px(max(low-high, 0.5)), one.Class})
			title = append(title, one.Name+" "+amount(v))
		}
		c.Title = strings.Join(title, "\n")
		f.Columns = append(f.Columns, c)
	}
	return *f.drawing
}

// curve is a line over time; NaN is where there is nothing.
type curve struct {
	name, class string
	values      []float64
}

// curves draws lines of seconds, and the band between the first two.
func curves(z size, s scale, all []curve) drawing {
	most := 0.0
	for _, c := range all {
		for _, v := range c.values {
			if v > most { // not NaN
				most = v
			}
		}
	}
	unit, per := " s", 1.0
	if most < 0.1 {
		unit, per = " ms", 1e3
	}
	f := newFrame(z, s, most*per, false, unit)
	f.most /= per
	// A run is without a hole.
	for from := 0; from < len(s.starts); from++ {
		if math.IsNaN(all[0].values[from]) {
			continue
		}
		to := from
		for to+1 < len(s.starts) && !math.IsNaN(all[0].values[to+1]) {
			to++
		}
		var band []string
		for i := from; i <= to; i++ {
			band = append(band, px(f.x(i))+" "+px(f.y(all[0].values[i])))
		}
		for i := to; i >= from; i-- {
			band = append(band, px(f.x(i))+" "+px(f.y(all[1].values[i])))
		}
		f.Paths = append(f.Paths, path{"M" + strings.Join(band, "L") + "Z", "band"})
		for _, c := range all {
			var line []string
			for i := from; i <= to; i++ {
				line = append(line, px(f.x(i))+" "+px(f.y(c.values[i])))
			}
			f.Paths = append(f.Paths, path{"M" + strings.Join(line, "L"), "line " + c.class})
		}
		from = to
	}
	for i, start := range s.starts {
		title := s.full(start) + ": no answers"
		if !math.IsNaN(all[0].values[i]) {
			title = s.full(start)
			for _, c := range all {
				title += "\n" + c.name + " " + seconds(c.values[i]) + " s"
				if f.slot >= 12 {
					f.Dots = append(f.Dots, dot{px(f.x(i)), px(f.y(c.values[i])), c.class})
				}
			}
		}
		f.Columns = append(f.Columns, f.column(i, title))
	}
	return *f.drawing
}

// share is a bar that lies, of parts with the classes s1, s2 …
type share struct {
	name  string
	parts []float64
	// label stands at its end; title is told when pointed at.
	label, title string
	// rest says that it is of the others.
	rest bool
}

// lying draws bars with their names above.
func lying(z size, all []share) drawing {
	const row, thick = 42, 12
	d := drawing{Name: z.name, Width: z.width, Height: row*len(all) + 4}
	most := 0.0
	for _, one := range all {
		sum := 0.0
		for _, p := range one.parts {
			sum += p
		}
		most = max(most, sum)
	}
	wide := float64(z.width)
	for i, one := range all {
		y := float64(i * row)
		d.Texts = append(d.Texts,
			letters{"0", px(y + 15), "start", "name", shortened(one.name, (z.width-7*len([]rune(one.label))-24)/8)},
			letters{px(wide), px(y + 15), "end", "", one.label})
		c := column{X: "0", Y: px(y), Width: px(wide), Height: px(row), Title: one.title}
		x := 0.0
		for n, p := range one.parts {
			class := fmt.Sprintf("s%d", n+1)
			if one.rest && len(one.parts) == 1 {
				class = "s0"
			}
			if w := p / max(most, 1) * wide; w > 0 {
				c.Bars = append(c.Bars, bar{px(x), px(y + 22), px(max(w-1, 1)), px(thick), class})
				x += w
			}
		}
		d.Columns = append(d.Columns, c)
	}
	return d
}
