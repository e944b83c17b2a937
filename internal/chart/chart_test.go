package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

func draw(t *testing.T, c Bars) (svg string, rects []map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), rects
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			r := map[string]string{}
			for _, a := range e.Attr {
				r[a.Name.Local] = a.Value
			}
			rects = append(rects, r)
		}
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBarsAreStackedToScale(t *testing.T) {
	t.Parallel()
	_, rects := draw(t, Bars{
		Max:    100,
		Series: []Series{{"a", "#111111"}, {"b", "#222222"}},
		Groups: []Group{{Name: "g", Bars: []Bar{
			{Label: "one", Values: []float64{25, 50}},
			{Label: "two", Values: []float64{math.NaN(), 75}},
			{Label: "three", Values: []float64{-3}},
			{Label: "four", Values: []float64{90, 90}}, // beyond the axis
		}}},
	})
	bars := rects[3:] // after the ground and the legend
	if len(bars) != 5 {
		t.Fatalf("%d bars, want 5", len(bars))
	}
	zero := number(t, bars[0]["x"])
	for i, want := range []struct{ from, to float64 }{{0, 25}, {25, 75}, {0, 75}, {0, 90}, {90, 100}} {
		from := (number(t, bars[i]["x"]) - zero) / plot * 100
		to := from + number(t, bars[i]["width"])/plot*100
		if math.Abs(from-want.from) > 0.01 || math.Abs(to-want.to) > 0.01 {
			t.Errorf("bar %d goes from %.2f to %.2f, want %v", i, from, to, want)
		}
	}
	if bars[0]["y"] != bars[1]["y"] || bars[1]["y"] == bars[2]["y"] {
		t.Error("values of one bar stand side by side, bars below each other")
	}
}

func TestMarksReachFromTopToBottom(t *testing.T) {
	t.Parallel()
	svg, _ := draw(t, Bars{Max: 1, Series: []Series{{}}, Groups: []Group{{Bars: make([]Bar, 10)}}})
	if want := `y1="78" x2="24" y2="264"`; !strings.Contains(svg, want) {
		t.Errorf("no line with %s", want)
	}
}

func TestTextIsEscapedAndAccessible(t *testing.T) {
	t.Parallel()
	evil := `<script>alert("&')</script>`
	svg, _ := draw(t, Bars{
		Title: evil, Description: evil, Unit: evil, Notes: evil, Series: []Series{{evil, evil}},
		Groups: []Group{{Name: evil, Bars: []Bar{{Label: evil, Values: []float64{1}, Note: evil}}}},
	})
	if strings.Contains(svg, "<script") {
		t.Error("text was not escaped")
	}
	for _, want := range []string{`role="img"`, `aria-labelledby="title desc"`, `<title id="title">`, `<desc id="desc">`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestAxis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ longest, limit, end, step float64 }{
		{0, 0, 1, .2},
		{100, 0, 100, 20},
		{93, 0, 100, 10},
		{7, 0, 7, 1},
		{0.031, 0, 0.035, .005},
		{50, 100, 100, 20},
	} {
		b := Bars{Max: c.limit, Series: []Series{{}}, Groups: []Group{{Bars: []Bar{{Values: []float64{c.longest}}}}}}
		end, step := b.axis()
		if math.Abs(end-c.end) > 1e-9 || math.Abs(step-c.step) > 1e-9 {
			t.Errorf("up to %v of %v: axis to %v by %v, want %v by %v", c.longest, c.limit, end, step, c.end, c.step)
		}
		if n := end / step; n < 4.9 || n > 11 {
			t.Errorf("up to %v: %v marks", c.longest, n)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	if svg, _ := draw(t, Bars{}); !strings.HasPrefix(svg, "<svg ") {
		t.Error("no SVG")
	}
}
