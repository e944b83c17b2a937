// Package chart draws bar and line charts as SVG, for reports and documentation.
//
//	c := chart.Bars{
//		Title: "Time by format", Unit: "ms",
//		Series: []chart.Series{{Name: "decode", Colour: chart.Palette[0]}, {Name: "hash", Colour: chart.Palette[1]}},
//		Groups: []chart.Group{{Name: "JPEG", Bars: []chart.Bar{{Label: "1080p", Values: []float64{9, 2}}}}},
//	}
//	err := c.WriteSVG(w)
//
// The files stand alone: no scripts, no fonts or styles from elsewhere. They have a title and a
// description for those who do not see them, and a white ground for dark pages.
package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// Palette is colours that stay apart for the colour-blind and in gray print: blue, sky blue and orange
// after Okabe and Ito (Color Universal Design, 2008), and two grays.
var Palette = []string{"#00558c", "#56b4e9", "#e69f00", "#5a5a5a", "#c8c8c8"}

// Bars is a chart of horizontal bars, one below the other. The values of a bar are stacked.
type Bars struct {
	Title       string
	Description string  // for those who do not see the chart: a sentence or two
	Unit        string  // of the values, shown at the axis
	Max         float64 // the end of the axis; 0: the first mark beyond the longest bar
	Notes       string  // heads the column of the bars' notes
	Series      []Series
	Groups      []Group
}

// Series says what the values at one place of every bar are.
type Series struct {
	Name   string
	Colour string // "#rrggbb"
}

// Group is some bars under a heading; without a name there is none.
type Group struct {
	Name string
	Bars []Bar
}

// Bar is one bar: a value for each series. Values that are missing, negative or not finite are drawn as 0.
type Bar struct {
	Label  string
	Values []float64
	Note   string // stands right of the bars
}

// The layout, in pixels.
const (
	margin  = 16
	plot    = 480  // from 0 to the end of the axis
	letter  = 6.6  // of the labels, on average; of the wider headings, 1.2 times that
	rowStep = 18.0 // from bar to bar
	barHigh = 12.0
	heading = 30.0 // above a group
	above   = 84.0 // title, legend and marks
	below   = 44.0 // marks and unit
)

// WriteSVG draws the chart. Errors are those of w.
func (c Bars) WriteSVG(w io.Writer) error {
	end, step := c.axis()
	labels, notes := c.widest()
	left, legend := margin+labels+8, c.legend()
	rows := 0.0
	for _, g := range c.Groups {
		rows += g.height()
	}
	width := max(left+plot+notes+margin+12, margin+float64(utf8.RuneCountInString(c.Title))*9+margin, margin+legend)
	height := above + rows + below

	d := &drawing{}
	d.open(width, height, c.Title, c.Description)
	x := float64(margin)
	for _, s := range c.Series {
		d.rect(x, 40, 12, 12, s.Colour, "")
		d.text(x+18, 50, "", s.Name)
		x += legendStep(s.Name)
	}

	for v := 0.0; v <= end+step/1000; v += step {
		at := left + plot*v/end
		d.put(`<line x1="%s" y1="%s" x2="%[1]s" y2="%[3]s" stroke="#d8d8d8"/>`, num(at), num(above-6), num(above+rows))
		for _, y := range []float64{above - 12, above + rows + 16} {
			d.text(at, y, `text-anchor="middle" fill="#555"`, num(v))
		}
	}
	if c.Notes != "" {
		d.text(left+plot+10+notes, above-12, `text-anchor="end" fill="#555"`, c.Notes)
	}
	d.text(left+plot/2, above+rows+34, `text-anchor="middle" fill="#555"`, c.Unit)

	y := above
	for _, g := range c.Groups {
		if g.Name != "" {
			d.text(margin, y+heading-9, `font-weight="bold"`, g.Name)
			y += heading
		}
		for _, b := range g.Bars {
			d.text(left-8, y+barHigh-1, `text-anchor="end"`, b.Label)
			from := 0.0
			for i, s := range c.Series {
				v := min(b.value(i), end-from)
				if v > 0 {
					hint := fmt.Sprintf("%s, %s: %s %s", b.Label, s.Name, num(b.value(i)), c.Unit)
					d.rect(left+plot*from/end, y, plot*v/end, barHigh, s.Colour, hint)
				}
				from += v
			}
			if b.Note != "" {
				d.text(left+plot+10+notes, y+barHigh-1, `text-anchor="end" fill="#333"`, b.Note)
			}
			y += rowStep
		}
	}
	d.put(`</svg>`)
	_, err := w.Write(d.Bytes())
	return err
}

func (g Group) height() float64 {
	h := rowStep * float64(len(g.Bars))
	if g.Name != "" {
		h += heading
	}
	return h
}

func (b Bar) value(i int) float64 {
	if i >= len(b.Values) || math.IsNaN(b.Values[i]) || math.IsInf(b.Values[i], 0) {
		return 0
	}
	return max(0, b.Values[i])
}

// axis is the end of the axis and the distance of its marks.
func (c Bars) axis() (end, step float64) {
	end = c.Max
	if end <= 0 || math.IsInf(end, 0) || math.IsNaN(end) {
		end = 0
		for _, g := range c.Groups {
			for _, b := range g.Bars {
				sum := 0.0
				for i := range c.Series {
					sum += b.value(i)
				}
				end = max(end, sum)
			}
		}
		if end == 0 {
			end = 1
		}
	}
	step = stepFor(end)
	if c.Max <= 0 {
		end = math.Ceil(end/step-1e-9) * step
	}
	return end, step
}

// stepFor is 1, 2 or 5 times a power of ten, so that a length has five to ten steps.
func stepFor(length float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(length/5)))
	step := power
	for _, k := range []float64{1, 2, 5} {
		if length/(k*power) >= 5 {
			step = k * power
		}
	}
	return step
}

// widest is how much room labels and notes take.
func (c Bars) widest() (labels, notes float64) {
	if c.Notes != "" {
		notes = 16 + letter*float64(utf8.RuneCountInString(c.Notes)) // beside the last mark
	}
	for _, g := range c.Groups {
		for _, b := range g.Bars {
			labels = max(labels, letter*float64(utf8.RuneCountInString(b.Label)))
			notes = max(notes, letter*float64(utf8.RuneCountInString(b.Note)))
		}
	}
	return labels, notes
}

func (c Bars) legend() (width float64) {
	for _, s := range c.Series {
		width += legendStep(s.Name)
	}
	return width
}

func legendStep(name string) float64 { return 42 + letter*float64(utf8.RuneCountInString(name)) }

// drawing is SVG as it is written.
type drawing struct{ bytes.Buffer }

// open begins the drawing, with its title.
func (d *drawing) open(width, height float64, title, description string) {
	d.put(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" `+
		`aria-labelledby="title desc" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#1a1a1a">`, num(width), num(height))
	d.put(`<title id="title">%s</title>`, escape(title))
	d.put(`<desc id="desc">%s</desc>`, escape(description))
	d.put(`<rect width="100%%" height="100%%" fill="#ffffff"/>`)
	d.text(margin, 26, `font-size="16" font-weight="bold"`, title)
}

func (d *drawing) put(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, attributes, s string) {
	if attributes != "" {
		attributes = " " + attributes
	}
	d.put(`<text x="%s" y="%s"%s>%s</text>`, num(x), num(y), attributes, escape(s))
}

// rect has a hint that shows when a pointer rests on it.
func (d *drawing) rect(x, y, w, h float64, colour, hint string) {
	if hint != "" {
		hint = "<title>" + escape(hint) + "</title>"
	}
	d.put(`<rect x="%s" y="%s" width="%s" height="%s" fill="%s">%s</rect>`, num(x), num(y), num(w), num(h), escape(colour), hint)
}

// num writes a number with at most three decimals.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) }

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes every write
	return b.String()
}
