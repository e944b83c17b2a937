package decode

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"github.com/gen2brain/jpegn"
	xdraw "golang.org/x/image/draw"

	"vigie/hashing"
	"vigie/internal/datatest"
)

func read(t testing.TB, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Photographs: one of 12 megapixels, and what is made of it at 1080p.
func BenchmarkJPEG(b *testing.B) {
	large := read(b, datatest.Folder(b), "threatexchange", "exif", "exif-rotn-6.jpg")
	photo, err := jpeg.Decode(bytes.NewReader(large))
	if err != nil {
		b.Fatal(err)
	}
	hd := image.NewRGBA(image.Rect(0, 0, 1920, 1080))
	xdraw.ApproxBiLinear.Scale(hd, hd.Rect, photo, image.Rect(0, 0, 4032, 2268), xdraw.Src, nil)
	atQuality := func(q int) []byte {
		var buf bytes.Buffer
		if err := jpeg.Encode(&buf, hd, &jpeg.Options{Quality: q}); err != nil {
			b.Fatal(err)
		}
		return buf.Bytes()
	}
	for _, c := range []struct {
		name string
		data []byte
	}{{"1080p small", atQuality(78)}, {"1080p large", atQuality(96)}, {"12MP", large}} {
		config, err := jpeg.DecodeConfig(bytes.NewReader(c.data))
		if err != nil {
			b.Fatal(err)
		}
		scale := min(8, reduction(config.Width, config.Height))
		name := fmt.Sprintf("%s %d KB/", c.name, len(c.data)>>10)
		b.Run(name+"jpegn at scale", func(b *testing.B) {
			for b.Loop() {
				if _, err := jpegn.Decode(bytes.NewReader(c.data), &jpegn.Options{ScaleDenom: scale}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"Decode, Reduced, Sampled", func(b *testing.B) {
			var plain, cli Luma
			b.ReportAllocs()
			for b.Loop() {
				m, err := Decode(c.data, hashing.DefaultLimits())
				if err != nil {
					b.Fatal(err)
				}
				m.Reduced(&plain, Bare)
				m.Sampled(&cli)
			}
		})
		b.Run(name+"standard library", func(b *testing.B) {
			for b.Loop() {
				if _, err := jpeg.Decode(bytes.NewReader(c.data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
