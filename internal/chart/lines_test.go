package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// elements are the attributes of all elements of a name.
func elements(t *testing.T, c Lines, name string) (found []map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == name {
			attributes := map[string]string{}
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			found = append(found, attributes)
		}
	}
}

func TestLinesAreToScale(t *testing.T) {
	t.Parallel()
	points := []Point{{0, 1}, {5, 10}, {10, 100}, {7, 0}, {7, -1}, {math.NaN(), 5}, {3, math.Inf(1)}}
	dots := elements(t, Lines{Y: Axis{Log: true}, Lines: []Line{{Points: points}}}, "circle")
	if len(dots) != 3 {
		t.Fatalf("%d points were drawn, want the 3 that a logarithmic axis can show", len(dots))
	}
	at := func(i int, direction string) float64 { return number(t, dots[i][direction]) }
	if across := at(2, "cx") - at(0, "cx"); math.Abs(across-plot) > 0.01 {
		t.Errorf("0 and 10 are %v pixels apart, want %d", across, plot)
	}
	if half := at(1, "cx") - at(0, "cx"); math.Abs(half-plot/2) > 0.01 {
		t.Errorf("0 and 5 are %v pixels apart, want %d", half, plot/2)
	}
	for i := range 2 {
		if up := at(i, "cy") - at(i+1, "cy"); math.Abs(up-plotHigh/2) > 0.01 {
			t.Errorf("a factor of ten is %v pixels, want %v", up, plotHigh/2)
		}
	}
	if lines := elements(t, Lines{Lines: []Line{{Points: points}, {}}}, "polyline"); len(lines) != 2 {
		t.Errorf("%d lines, want 2", len(lines))
	}
	if many := elements(t, Lines{Lines: []Line{{Points: make([]Point, fewPoints+1)}}}, "circle"); len(many) != 0 {
		t.Error("a line of many points is drawn with dots")
	}
}

func TestMarksAreLinesAcrossThePlot(t *testing.T) {
	t.Parallel()
	upright, level := 0, 0
	for _, l := range elements(t, Lines{Lines: []Line{{Points: []Point{{1, 1}}}}}, "line") {
		across, down := number(t, l["x2"])-number(t, l["x1"]), number(t, l["y2"])-number(t, l["y1"])
		switch {
		case across == 0 && down >= plotHigh:
			upright++
		case down == 0 && math.Abs(across-plot) < .01:
			level++
		}
	}
	if upright != 6 || level != 6 {
		t.Errorf("%d upright and %d level lines, want one for each of 6 marks", upright, level)
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log    bool
		values []float64
		want   []float64
	}{
		{false, []float64{3, 93}, []float64{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100}},
		{false, nil, []float64{0, .2, .4, .6, .8, 1}},
		{false, []float64{0}, []float64{0, .2, .4, .6, .8, 1}},
		{true, []float64{3, 40_000}, []float64{1, 10, 100, 1000, 10_000, 100_000}},
		{true, []float64{1e6, 1e7, 5e7}, []float64{1e6, 2e6, 5e6, 1e7, 2e7, 5e7}},
		{true, []float64{30, 40}, []float64{20, 50}},
		{true, []float64{10}, []float64{10, 20}},
		{true, nil, []float64{1, 2}},
		{true, []float64{0, -3}, []float64{1, 2}},
	} {
		got := Axis{Log: c.log}.scale(c.values).marks
		same := func(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, b) }
		if !slices.EqualFunc(got, c.want, same) {
			t.Errorf("marks of %v (logarithmic: %v): %v, want %v", c.values, c.log, got, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.01: "0.01", 500: "500", 1000: "1k", 2.5e6: "2.5M", 3e9: "3G", 0.1 + 0.2: "0.3"} {
		if got := short(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestLinesEscapeText(t *testing.T) {
	t.Parallel()
	evil := `<script>alert("&')</script>`
	var b bytes.Buffer
	c := Lines{Title: evil, Description: evil, X: Axis{Name: evil}, Y: Axis{Name: evil}, Lines: []Line{{Name: evil, Colour: evil, Points: []Point{{1, 1}}}}}
	if err := c.WriteSVG(&b); err != nil || strings.Contains(b.String(), "<script") {
		t.Errorf("text was not escaped, or %v", err)
	}
	elements(t, c, "circle") // it is XML
}
