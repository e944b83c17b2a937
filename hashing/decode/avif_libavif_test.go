//go:build nodynamic

package decode

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"math"
	"strings"
	"testing"

	"github.com/gen2brain/avif"

	"vigie/hashing"
)

// The ramps run from 17 to 234, from left to right.
func TestAVIF(t *testing.T) {
	for _, name := range []string{"ramp8.avif", "ramp10.avif"} {
		m, err := Decode(read(t, "testdata", name), hashing.DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Format != "avif" || m.Width != 64 || m.Height != 48 || m.HasAlpha {
			t.Errorf("%s: %s, %d x %d, alpha %t", name, m.Format, m.Width, m.Height, m.HasAlpha)
		}
		luma, w, _ := reduced(t, m, Bare)
		for i, v := range luma {
			if want := 17 + 217*float64(i%w)/63; math.Abs(float64(v)-want) > 3 {
				t.Fatalf("%s: column %d is %v, want %.0f", name, i%w, v, want)
			}
		}
	}
}

func TestAVIFAlpha(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 32, 32))
	draw.Draw(m, m.Rect, image.NewUniform(color.NRGBA{200, 200, 200, 100}), image.Point{}, draw.Src)
	var buf bytes.Buffer
	if err := avif.Encode(&buf, m, avif.Options{Quality: 90, QualityAlpha: 90}); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(buf.Bytes(), hashing.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if !got.HasAlpha {
		t.Error("no alpha")
	}
	for over, want := range map[Backdrop]float64{Bare: 200, OverWhite: 233.4, OverBlack: 78.4} {
		if luma, w, _ := reduced(t, got, over); math.Abs(float64(luma[16*w+16])-want) > 3 {
			t.Errorf("backdrop %d: %v, want %v", over, luma[16*w+16], want)
		}
	}
}

func TestDamagedAVIF(t *testing.T) {
	data := read(t, "testdata", "ramp8.avif")
	for _, keep := range []int{16, len(data) / 2, len(data) - 20} {
		if _, err := Decode(data[:keep], hashing.DefaultLimits()); err == nil || kindOf(t, err) != hashing.Corrupt {
			t.Errorf("%d of %d bytes: %v", keep, len(data), err)
		}
	}
}

// The library tells nothing of a bitstream that it cannot decode.
func TestAVIFOfNothing(t *testing.T) {
	for _, name := range []string{"ramp8.avif", "ramp10.avif"} {
		data := bytes.Clone(read(t, "testdata", name))
		clear(data[bytes.Index(data, []byte("mdat"))+4:])
		m, err := Decode(data, hashing.DefaultLimits())
		if err == nil {
			t.Errorf("%s: %d x %d, alpha %t", name, m.Width, m.Height, m.HasAlpha)
			continue
		}
		if kindOf(t, err) != hashing.Corrupt || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAVIF(f *testing.F) {
	const magic = "\x00\x00\x00\x1cftypavif"
	for _, name := range []string{"ramp8.avif", "ramp10.avif"} {
		f.Add(read(f, "testdata", name)[len(magic):])
	}
	fuzz(f, "avif", magic)
}
