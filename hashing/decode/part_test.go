package decode

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"testing"

	"vigie/hashing"
)

// A part has the pixels of the picture at full scale, however the picture itself was decoded; the oracle are those
// that the standard library decodes.
func TestPart(t *testing.T) {
	drawn := image.NewNRGBA(image.Rect(0, 0, 1301, 1103))
	for y := range 1103 {
		for x := range 1301 {
			drawn.SetNRGBA(x, y, color.NRGBA{uint8(128 + 100*math.Sin(float64(x*y)/9e3)), uint8(x / 6), uint8(y / 5), uint8(255 - x%3)})
		}
	}
	gray := image.NewGray(drawn.Rect)
	for i := range gray.Pix {
		gray.Pix[i] = drawn.Pix[4*i]
	}
	for _, c := range []struct {
		name   string
		img    image.Image
		encode func(b *bytes.Buffer, m image.Image) error
		scaled bool
	}{
		{"jpeg", drawn, func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }, true},
		{"gray jpeg", gray, func(b *bytes.Buffer, m image.Image) error { return jpeg.Encode(b, m, nil) }, true},
		{"png", drawn, func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) }, false},
		{"gray png", gray, func(b *bytes.Buffer, m image.Image) error { return png.Encode(b, m) }, false},
	} {
		var b bytes.Buffer
		if err := c.encode(&b, c.img); err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b.Bytes(), hashing.DefaultLimits())
		if err != nil || c.scaled != (m.pixels.scale > 1) {
			t.Fatalf("%s: %v", c.name, err)
		}
		full, err := m.Full()
		if err != nil || full.Width != 1301 || full.Height != 1103 {
			t.Fatalf("%s: %v", c.name, err)
		}
		decoded, _, err := image.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		at := func(x, y int) float64 {
			if m, ok := decoded.(*image.YCbCr); ok {
				return float64(m.Y[m.YOffset(x, y)])
			}
			n := color.NRGBAModel.Convert(decoded.At(x, y)).(color.NRGBA)
			return float64(lumaOf(n.R, n.G, n.B))
		}
		var l Luma
		for _, r := range []image.Rectangle{image.Rect(0, 0, 9, 7), image.Rect(301, 203, 558, 490), image.Rect(1290, 1100, 1301, 1103)} {
			for _, factor := range []int{1, 2, 4} {
				full.Part(&l, r, factor)
				if l.Width != (r.Dx()+factor-1)/factor || l.Height != (r.Dy()+factor-1)/factor {
					t.Fatalf("%s: %d x %d of %v by %d", c.name, l.Width, l.Height, r, factor)
				}
				for i := range l.Width * l.Height {
					got := 0.0
					if l.Bytes != nil {
						got = float64(l.Bytes[i])
					} else {
						got = float64(l.Floats[i])
					}
					square := image.Rect(0, 0, factor, factor).Add(r.Min).Add(image.Pt(i%l.Width, i/l.Width).Mul(factor)).Intersect(r)
					sum := 0.0
					for y := square.Min.Y; y < square.Max.Y; y++ {
						for x := square.Min.X; x < square.Max.X; x++ {
							sum += at(x, y)
						}
					}
					if want := sum / float64(square.Dx()*square.Dy()); math.Abs(got-want) > 1.01 {
						t.Fatalf("%s: %v by %d at %v: %.2f, want %.2f", c.name, r, factor, square.Min, got, want)
					}
				}
			}
		}
	}
}
