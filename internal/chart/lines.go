package chart

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// Lines is a chart of lines over one pair of axes. Points that an axis cannot show, because they are not finite or
// because it is logarithmic and they are not positive, are left out.
type Lines struct {
	Title       string
	Description string // for those who do not see the chart: a sentence or two
	X, Y        Axis
	Lines       []Line
}

// Axis is one direction of a chart. It reaches from the least mark to the greatest that the points need.
type Axis struct {
	Name string // what stands there, and its unit
	Log  bool   // each step is a multiple; else the axis begins at 0 or below
}

// Line is points in the order in which they are joined.
type Line struct {
	Name   string
	Colour string // "#rrggbb"
	Points []Point
}

// Point is where a line passes.
type Point struct{ X, Y float64 }

// plotHigh is the height of the plot in pixels; fewPoints is how many points a line has at most for each to be drawn as
// a dot.
const (
	plotHigh  = 300.0
	fewPoints = 70
)

// WriteSVG draws the chart. Errors are those of w.
func (c Lines) WriteSVG(w io.Writer) error {
	x, y := c.X.scale(c.points(func(p Point) float64 { return p.X })), c.Y.scale(c.points(func(p Point) float64 { return p.Y }))
	left := float64(margin) + 8
	for _, v := range y.marks {
		left = max(left, margin+8+letter*float64(utf8.RuneCountInString(short(v))))
	}
	legend := 0.0
	for _, l := range c.Lines {
		legend += legendStep(l.Name)
	}
	width := max(left+plot+2*margin+12, margin+float64(utf8.RuneCountInString(c.Title))*9+margin, margin+legend)
	height := above + plotHigh + below
	across := func(v float64) float64 { return left + plot*x.at(v) }
	down := func(v float64) float64 { return above + plotHigh*(1-y.at(v)) }

	d := &drawing{}
	d.open(width, height, c.Title, c.Description)
	at := float64(margin)
	for _, l := range c.Lines {
		d.rect(at, 40, 12, 12, l.Colour, "")
		d.text(at+18, 50, "", l.Name)
		at += legendStep(l.Name)
	}
	d.text(margin, above-12, `fill="#555"`, c.Y.Name)
	for _, v := range y.marks {
		d.put(`<line x1="%s" y1="%s" x2="%s" y2="%[2]s" stroke="#d8d8d8"/>`, num(left), num(down(v)), num(left+plot))
		d.text(left-8, down(v)+4, `text-anchor="end" fill="#555"`, short(v))
	}
	for _, v := range x.marks {
		d.put(`<line x1="%s" y1="%s" x2="%[1]s" y2="%[3]s" stroke="#d8d8d8"/>`, num(across(v)), num(above), num(above+plotHigh+4))
		d.text(across(v), above+plotHigh+18, `text-anchor="middle" fill="#555"`, short(v))
	}
	d.text(left+plot/2, above+plotHigh+36, `text-anchor="middle" fill="#555"`, c.X.Name)

	for _, l := range c.Lines {
		d.WriteString(`<polyline fill="none" stroke-width="1.5" stroke-linejoin="round" stroke="` + escape(l.Colour) + `" points="`)
		for _, p := range l.Points {
			if x.has(p.X) && y.has(p.Y) {
				fmt.Fprintf(d, "%s,%s ", num(across(p.X)), num(down(p.Y)))
			}
		}
		d.put(`"/>`)
		for _, p := range l.Points {
			if len(l.Points) <= fewPoints && x.has(p.X) && y.has(p.Y) {
				hint := fmt.Sprintf("%s: %s at %s", l.Name, num(p.Y), num(p.X))
				d.put(`<circle cx="%s" cy="%s" r="3" fill="%s"><title>%s</title></circle>`, num(across(p.X)), num(down(p.Y)), escape(l.Colour), escape(hint))
			}
		}
	}
	d.put(`</svg>`)
	_, err := w.Write(d.Bytes())
	return err
}

func (c Lines) points(of func(Point) float64) (values []float64) {
	for _, l := range c.Lines {
		for _, p := range l.Points {
			values = append(values, of(p))
		}
	}
	return values
}

// scale is an axis with its marks, of which the first and the last are its ends.
type scale struct {
	log   bool
	marks []float64
}

// scale lays an axis over values.
func (a Axis) scale(values []float64) scale {
	s := scale{log: a.Log}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if s.has(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		low, high = 1, 1
	}
	if a.Log {
		s.marks = logMarks(low, high)
		return s
	}
	low = min(low, 0)
	if high <= low {
		high = low + 1
	}
	step := stepFor(high - low)
	for v := math.Floor(low/step+1e-9) * step; ; v += step {
		s.marks = append(s.marks, v)
		if v > high-step/1000 {
			return s
		}
	}
}

// logMarks are powers of ten, from the last one below low to the first one above high; over up to two of them twice and
// five times that, too.
func logMarks(low, high float64) []float64 {
	const near = 1e-9 // as good as equal
	first, last := math.Floor(math.Log10(low)+near), math.Ceil(math.Log10(high)-near)
	factors := []float64{1}
	if last-first <= 2 {
		factors = []float64{1, 2, 5}
	}
	var marks []float64
	for e := first; e <= last+1; e++ {
		for _, k := range factors {
			v := k * math.Pow(10, e)
			switch n := len(marks); {
			case n > 1 && marks[n-1] >= high*(1-near):
				return marks
			case n == 1 && v <= low*(1+near):
				marks[0] = v
			default:
				marks = append(marks, v)
			}
		}
	}
	return marks
}

// has reports whether the axis can show a value.
func (s scale) has(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!s.log || v > 0)
}

// at is where a value is: 0 at the first mark, 1 at the last.
func (s scale) at(v float64) float64 {
	low, high := s.marks[0], s.marks[len(s.marks)-1]
	if s.log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	return (v - low) / (high - low)
}

// short writes a mark: thousands and millions by a letter.
func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return num(v/unit.size) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
