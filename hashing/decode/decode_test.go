package decode

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"vigie/hashing"
)

// Four WebP files of one pixel: there is no encoder here.
const (
	webpLossy    = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
	webpLossless = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="
	webpAlpha    = "UklGRkoAAABXRUJQVlA4WAoAAAAQAAAAAAAAAAAAQUxQSAwAAAARBxAR/Q9ERP8DAABWUDggGAAAABQBAJ0BKgEAAQAAAP4AAA3AAP7mtQAAAA=="
	webpAnimated = "UklGRlIAAABXRUJQVlA4WAoAAAASAAAAAAAAAAAAQU5JTQYAAAD/////AABBTk1GJgAAAAAAAAAAAAAAAAAAAGQAAABWUDhMDQAAAC8AAAAQBxAREYiI/gcA"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type encoder func(io.Writer, image.Image) error

func encodeJPEG(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }
func encodeGIF(w io.Writer, m image.Image) error  { return gif.Encode(w, m, nil) }
func encodeTIFF(w io.Writer, m image.Image) error { return tiff.Encode(w, m, nil) }
func encodeTIFFDeflate(w io.Writer, m image.Image) error {
	return tiff.Encode(w, m, &tiff.Options{Compression: tiff.Deflate, Predictor: true})
}

func encoded(t testing.TB, m image.Image, encode encoder) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// drawn fills m with noise, of which the alpha lies in the given range.
func drawn[M draw.Image](m M, minAlpha int) M {
	r := rand.New(rand.NewPCG(1, 2))
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			v := func() uint16 { return uint16(r.UintN(0x10000)) }
			alpha := uint16(minAlpha*0x101 + r.IntN(0xffff-minAlpha*0x101+1))
			m.Set(x, y, color.NRGBA64{v(), v(), v(), alpha})
		}
	}
	return m
}

var clear8 = color.Palette{color.NRGBA{200, 100, 50, 0}, color.NRGBA{10, 200, 30, 128}, color.NRGBA{255, 255, 255, 255}, color.NRGBA{0, 0, 90, 255}}

// reduced is m's luma as float32, whichever way it is held, written into memory that another picture left.
func reduced(t testing.TB, m *Image, over Backdrop) (luma []float32, w, h int) {
	t.Helper()
	l := dirty()
	m.Reduced(l, over)
	return floats(t, l), l.Width, l.Height
}

// sampled is the same of the samples.
func sampled(t testing.TB, m *Image) (luma []float32, w, h int) {
	t.Helper()
	l := dirty()
	m.Sampled(l)
	return floats(t, l), l.Width, l.Height
}

func dirty() *Luma {
	var l Luma
	m := &Image{Width: 50, Height: 40, pixels: pixelsOf(drawn(image.NewGray(image.Rect(0, 0, 50, 40)), 255), false)}
	m.Reduced(&l, Bare)
	m.pixels.plane = nil
	m.Reduced(&l, Bare)
	return &l
}

func floats(t testing.TB, l *Luma) []float32 {
	t.Helper()
	if (l.Bytes == nil) == (l.Floats == nil) || len(l.Bytes)+len(l.Floats) != l.Width*l.Height {
		t.Fatalf("%d x %d pixels in %d bytes and %d floats", l.Width, l.Height, len(l.Bytes), len(l.Floats))
	}
	if l.Bytes == nil {
		return l.Floats
	}
	all := make([]float32, len(l.Bytes))
	for i, v := range l.Bytes {
		all[i] = float32(v)
	}
	return all
}

// What comes out of a lossless file must be what its pixels say, whichever type the decoder chooses.
// The expectation is computed from the picture before encoding, through the general interface.
func TestLumaOfEveryKind(t *testing.T) {
	r := image.Rect(0, 0, 37, 23)
	for _, c := range []struct {
		name     string
		img      image.Image
		encode   encoder
		alpha    bool
		tolerate float64 // levels, where multiplying by alpha loses precision
	}{
		{"png/nrgba", drawn(image.NewNRGBA(r), 0), png.Encode, true, 0},
		{"png/opaque", drawn(image.NewNRGBA(r), 255), png.Encode, false, 0},
		{"png/gray", drawn(image.NewGray(r), 255), png.Encode, false, 0},
		{"png/gray16", drawn(image.NewGray16(r), 255), png.Encode, false, 0},
		{"png/nrgba64", drawn(image.NewNRGBA64(r), 0), png.Encode, true, 0},
		{"png/opaque64", drawn(image.NewNRGBA64(r), 255), png.Encode, false, 0},
		{"png/palette", drawn(image.NewPaletted(r, palette.Plan9), 255), png.Encode, false, 0},
		{"png/transparent palette", drawn(image.NewPaletted(r, clear8), 0), png.Encode, true, 0},
		{"gif/palette", drawn(image.NewPaletted(r, palette.Plan9), 255), encodeGIF, false, 0},
		{"bmp/24", drawn(image.NewRGBA(r), 255), bmp.Encode, false, 0},
		{"bmp/32", drawn(image.NewNRGBA(r), 0), bmp.Encode, false, 0}, // whose fourth byte means nothing
		{"bmp/8", drawn(image.NewGray(r), 255), bmp.Encode, false, 0},
		{"tiff/nrgba", drawn(image.NewNRGBA(r), 0), encodeTIFF, true, 0},
		{"tiff/premultiplied", drawn(image.NewRGBA(r), 100), encodeTIFF, true, 1},
		{"tiff/premultiplied 16", drawn(image.NewRGBA64(r), 100), encodeTIFF, true, 1},
		{"tiff/deflate", drawn(image.NewRGBA(r), 255), encodeTIFFDeflate, false, 0},
		{"tiff/gray16", drawn(image.NewGray16(r), 255), encodeTIFF, false, 0},
		{"tiff/palette", drawn(image.NewPaletted(r, palette.Plan9), 255), encodeTIFF, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode(encoded(t, c.img, c.encode), hashing.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if format, _, _ := strings.Cut(c.name, "/"); m.Format != format || m.Width != 37 || m.Height != 23 || m.HasAlpha != c.alpha {
				t.Errorf("got %s %d x %d, alpha %t", m.Format, m.Width, m.Height, m.HasAlpha)
			}
			for _, over := range []Backdrop{Bare, OverWhite, OverBlack} {
				luma, w, h := reduced(t, m, over)
				if w != 37 || h != 23 || len(luma) != w*h {
					t.Fatalf("%d x %d, %d values", w, h, len(luma))
				}
				if !c.alpha {
					over = Bare
				}
				for i, got := range luma {
					if want := expected(c.img, i%w, i/w, over); math.Abs(float64(got)-want) > c.tolerate+1e-3 {
						t.Fatalf("backdrop %d, pixel %d,%d: luma %v, want %v", over, i%w, i/w, got, want)
					}
				}
			}
		})
	}
}

// expected is the definition of luma in float64, from the colour's own type.
func expected(m image.Image, x, y int, over Backdrop) float64 {
	n := color.NRGBA64Model.Convert(m.At(x, y)).(color.NRGBA64)
	eight := func(v uint16) float64 { return math.Round(float64(v) * 255 / 65535) }
	luma := 0.299*eight(n.R) + 0.587*eight(n.G) + 0.114*eight(n.B)
	if p, ok := m.(*image.Paletted); ok { // which forgets nothing under transparency
		c := color.NRGBAModel.Convert(p.Palette[p.ColorIndexAt(x, y)]).(color.NRGBA)
		luma = 0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)
	}
	if p, ok := m.(*image.NRGBA); ok {
		c := p.NRGBAAt(x, y)
		luma = 0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)
	}
	alpha := eight(n.A) / 255
	switch over {
	case OverWhite:
		return luma*alpha + 255*(1-alpha)
	case OverBlack:
		return luma * alpha
	}
	return luma
}

func TestKindsWithoutEncoder(t *testing.T) {
	r := image.Rect(0, 0, 2, 1)
	for _, c := range []struct {
		name   string
		img    image.Image
		studio bool
		luma   float32
		alpha  uint8 // of pixel 1
	}{
		{"cmyk without ink", &image.CMYK{Pix: make([]byte, 8), Stride: 8, Rect: r}, false, 255, 255},
		{"cmyk half black", &image.CMYK{Pix: []byte{0, 0, 0, 0, 0, 0, 0, 128}, Stride: 8, Rect: r}, false, 127, 255},
		{"cmyk cyan", &image.CMYK{Pix: []byte{0, 0, 0, 0, 255, 0, 0, 0}, Stride: 8, Rect: r}, false, lumaOf(0, 255, 255), 255},
		{"jpeg range", &image.YCbCr{Y: []byte{0, 77}, Cb: []byte{9, 9}, Cr: []byte{9, 9}, YStride: 2, CStride: 2, Rect: r}, false, 77, 255},
		{"studio white", &image.YCbCr{Y: []byte{0, 235}, Cb: []byte{9, 9}, Cr: []byte{9, 9}, YStride: 2, CStride: 2, Rect: r}, true, 255, 255},
		{"studio black, transparent", &image.NYCbCrA{YCbCr: image.YCbCr{
			Y: []byte{0, 16}, Cb: []byte{9, 9}, Cr: []byte{9, 9},
			YStride: 2, CStride: 2, Rect: r,
		}, A: []byte{255, 3}, AStride: 2}, true, 0, 3},
		{"unknown type", image.NewUniform(color.NRGBA{255, 255, 255, 51}), false, 255, 51},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pixelsOf(c.img, c.studio)
			luma := []float32{-1, -1}
			p.luma(luma, 0)
			if math.Abs(float64(luma[1]-c.luma)) > 1e-3 {
				t.Errorf("luma %v, want %v", luma[1], c.luma)
			}
			alpha := []uint8{255, 255}
			if p.alpha != nil {
				p.alpha(alpha, 0)
			}
			if alpha[1] != c.alpha {
				t.Errorf("alpha %d, want %d", alpha[1], c.alpha)
			}
		})
	}
}

func TestJPEGAndWebP(t *testing.T) {
	gray := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range gray.Pix {
		gray.Pix[i] = uint8(i%64 + i/64)
	}
	colour := image.NewRGBA(gray.Rect)
	draw.Draw(colour, colour.Rect, gray, image.Point{}, draw.Src)
	for _, c := range []struct {
		name string
		img  image.Image
	}{{"gray", gray}, {"colour", colour}} {
		m, err := Decode(encoded(t, c.img, encodeJPEG), hashing.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		luma, w, _ := reduced(t, m, OverWhite)
		for i, got := range luma {
			if want := expected(c.img, i%w, i/w, Bare); math.Abs(float64(got)-want) > 8 {
				t.Fatalf("%s: pixel %d is %v, drawn was %v", c.name, i, got, want)
			}
		}
	}
	for _, c := range []struct {
		name, data string
		alpha      bool
	}{{"lossy", webpLossy, false}, {"lossless", webpLossless, true}, {"lossy with alpha", webpAlpha, true}} {
		m, err := Decode(unbase64(t, c.data), hashing.DefaultLimits())
		if err != nil || m.Format != "webp" || m.Width != 1 || m.Height != 1 || m.HasAlpha != c.alpha {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		}
	}
}

// A GIF may have no global colour table: its frame brings its own. A table that was mistaken for the
// absent global one would decode to black.
func TestGIFLocalTable(t *testing.T) {
	pal := color.Palette{color.RGBA{200, 200, 200, 255}, color.RGBA{40, 40, 40, 255}}
	frame := image.NewPaletted(image.Rect(0, 0, 8, 8), pal)
	frame.SetColorIndex(5, 6, 1)
	data := encoded(t, frame, func(w io.Writer, _ image.Image) error {
		return gif.EncodeAll(w, &gif.GIF{Image: []*image.Paletted{frame}, Delay: []int{0}})
	})
	m, err := Decode(data, hashing.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	luma, width, _ := reduced(t, m, Bare)
	if got, want := [2]float32{luma[0], luma[6*width+5]}, [2]float32{200, 40}; math.Abs(float64(got[0]-want[0])) > 0.01 || math.Abs(float64(got[1]-want[1])) > 0.01 {
		t.Errorf("luma %v, want %v", got, want)
	}
}

// A GIF's first frame may be smaller than its canvas, and may use a colour of the palette for
// transparency. What lies outside is transparent black; what is transparent keeps its colour.
func TestGIFFrame(t *testing.T) {
	pal := color.Palette{color.RGBA{250, 250, 250, 255}, color.RGBA{0, 0, 0, 0}}
	frame := image.NewPaletted(image.Rect(3, 2, 8, 6), pal)
	frame.SetColorIndex(4, 3, 1)
	data := encoded(t, frame, func(w io.Writer, _ image.Image) error {
		return gif.EncodeAll(w, &gif.GIF{
			Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1},
			Config: image.Config{ColorModel: pal, Width: 10, Height: 9},
		})
	})
	// The encoder writes the transparent colour as black; give it one: entry 1 of the global table,
	// which follows the 13 bytes of the header.
	copy(data[13+3:], []byte{90, 90, 90})
	m, err := Decode(data, hashing.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if m.Width != 10 || m.Height != 9 || !m.HasAlpha {
		t.Fatalf("%+v", m)
	}
	for _, c := range []struct {
		name    string
		over    Backdrop
		x, y    int
		isAbout float32
	}{
		{"inside", Bare, 3, 2, 250},
		{"inside, far corner", Bare, 7, 5, 250},
		{"transparent keeps its colour", Bare, 4, 3, 90},
		{"transparent over white", OverWhite, 4, 3, 255},
		{"transparent over black", OverBlack, 4, 3, 0},
		{"inside over white", OverWhite, 3, 2, 250},
		{"left of it", Bare, 2, 2, 0},
		{"right of it", Bare, 8, 5, 0},
		{"below", Bare, 7, 6, 0},
		{"above", Bare, 3, 1, 0},
		{"outside over white", OverWhite, 2, 2, 255},
		{"corner over white", OverWhite, 9, 8, 255},
		{"outside over black", OverBlack, 9, 8, 0},
	} {
		luma, w, _ := reduced(t, m, c.over)
		if got := luma[c.y*w+c.x]; math.Abs(float64(got-c.isAbout)) > 1e-3 {
			t.Errorf("%s: %v, want %v", c.name, got, c.isAbout)
		}
	}
}

func TestReducedAndSampled(t *testing.T) {
	for _, c := range []struct{ w, h, factor, sampledW, sampledH int }{
		{5, 7, 1, 5, 7},
		{512, 512, 1, 512, 512},
		{513, 100, 1, 512, 512},
		{1023, 2000, 1, 512, 512},
		{1024, 1024, 2, 512, 512},
		{1025, 1027, 2, 512, 512},
		{2048, 2049, 4, 512, 512},
		{2051, 2070, 4, 512, 512},
		{3001, 600, 1, 512, 512},
		{2047, 5000, 2, 512, 512},
	} {
		t.Run(fmt.Sprintf("%dx%d", c.w, c.h), func(t *testing.T) {
			g := image.NewGray(image.Rect(0, 0, c.w, c.h))
			r := rand.New(rand.NewPCG(3, 4))
			for i := range g.Pix {
				g.Pix[i] = uint8(r.Uint32())
			}
			m := &Image{Width: c.w, Height: c.h, pixels: pixelsOf(g, false)}
			luma, w, h := reduced(t, m, Bare)
			if w != (c.w+c.factor-1)/c.factor || h != (c.h+c.factor-1)/c.factor || len(luma) != w*h {
				t.Fatalf("reduced to %d x %d, %d values", w, h, len(luma))
			}
			for i, got := range luma {
				sum, n := 0.0, 0.0
				for y := i / w * c.factor; y < min(c.h, (i/w+1)*c.factor); y++ {
					for x := i % w * c.factor; x < min(c.w, (i%w+1)*c.factor); x++ {
						sum, n = sum+float64(g.GrayAt(x, y).Y), n+1
					}
				}
				if math.Abs(float64(got)-sum/n) > 1e-3 {
					t.Fatalf("value %d is %v, want %v", i, got, sum/n)
				}
			}
			luma, w, h = sampled(t, m)
			if w != c.sampledW || h != c.sampledH || len(luma) != w*h {
				t.Fatalf("sampled to %d x %d, %d values", w, h, len(luma))
			}
			for i, got := range luma {
				if want := g.GrayAt(i%w*c.w/w, i/w*c.h/h).Y; got != float32(want) {
					t.Fatalf("sample %d is %v, want %v", i, got, want)
				}
			}
		})
	}
}

// samples is a small file of each format.
func samples(t testing.TB) map[string][]byte {
	m := drawn(image.NewNRGBA(image.Rect(0, 0, 20, 16)), 255)
	return map[string][]byte{
		"jpeg": encoded(t, m, encodeJPEG), "png": encoded(t, m, png.Encode), "gif": encoded(t, m, encodeGIF),
		"bmp": encoded(t, m, bmp.Encode), "tiff": encoded(t, m, encodeTIFF), "webp": unbase64(t, webpLossless),
	}
}

func kindOf(t testing.TB, err error) hashing.MediaErrorKind {
	t.Helper()
	m, ok := hashing.AsMediaError(err)
	if !ok {
		t.Fatalf("%v is no media error", err)
	}
	return m.Kind
}

func TestTruncatedAndTrailing(t *testing.T) {
	for name, data := range samples(t) {
		t.Run(name, func(t *testing.T) {
			for _, keep := range []int{len(data) - 5, len(data) / 2, 18} {
				if name == "tiff" && keep == len(data)-5 {
					continue // its last bytes are one tag's value
				}
				if _, err := Decode(data[:keep], hashing.DefaultLimits()); err == nil || kindOf(t, err) != hashing.Corrupt {
					t.Errorf("%d of %d bytes: %v", keep, len(data), err)
				}
			}
			m, err := Decode(append(slices.Clone(data), "what people append to pictures"...), hashing.DefaultLimits())
			if err != nil {
				t.Fatalf("with bytes behind: %v", err)
			}
			plain, err := Decode(data, hashing.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := reduced(t, m, Bare)
			if want, _, _ := reduced(t, plain, Bare); !slices.Equal(got, want) {
				t.Error("bytes behind change the pixels")
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	for _, c := range []struct{ name, data, says string }{
		{"mp4", "\x00\x00\x00\x20ftypisom\x00\x00", "MP4 video"},
		{"mov", "\x00\x00\x00\x14ftypqt  ", "QuickTime video"},
		{"old mov", "\x00\x00\x00\x08wide\x00\x00", "QuickTime video"},
		{"webm", "\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "WebM"},
		{"matroska", "\x1a\x45\xdf\xa3\x01\x00", "Matroska"},
		{"heic", "\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"},
		{"heif", "\x00\x00\x00\x18ftypmif1\x00\x00", "HEIC"},
		{"avi", "RIFF\x00\x00\x00\x00AVI LIST", "AVI video"},
		{"svg", `<svg xmlns="http://www.w3.org/2000/svg"/>`, "SVG"},
		{"svg with prologue", "\ufeff <?xml version='1.0'?>\n<!-- x --><svg/>", "SVG"},
		{"html", "\n<!DOCTYPE html><p>", "HTML"},
		{"pdf", "%PDF-1.7\n", "PDF"},
		{"text", "BMW is a car. Grüße\n", "plain text"},
		{"zip", "PK\x03\x04\x14", "ZIP"},
		{"noise", "\x80\x81\x82\x83\x84", "an unknown format"},
		{"one byte", "\xff", "an unknown format"},
		{"long text", strings.Repeat("é", 2000), "plain text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode([]byte(c.data), hashing.DefaultLimits())
			if kindOf(t, err) != hashing.Unsupported || !strings.Contains(err.Error(), "this looks like") ||
				!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), accepted) {
				t.Errorf("got %v", err)
			}
		})
	}
	good := samples(t)
	tag := func(id string) int { // where the value of a tag of TIFF stands, one short
		return bytes.LastIndex(good["tiff"], []byte(id+"\x03\x00\x01\x00\x00\x00")) + 8
	}
	for _, c := range []struct {
		name, format string
		at           int
		value        byte
	}{
		{"16-bit bmp", "bmp", 28, 16},
		{"run-length bmp", "bmp", 30, 1},
		{"cmyk tiff", "tiff", tag("\x06\x01"), 5},
		{"lab tiff", "tiff", tag("\x06\x01"), 8},
		{"jpeg tiff", "tiff", tag("\x03\x01"), 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := slices.Clone(good[c.format])
			data[c.at] = c.value
			if _, err := Decode(data, hashing.DefaultLimits()); kindOf(t, err) != hashing.Unsupported {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEmptyAndTooManyBytes(t *testing.T) {
	if _, err := Decode(nil, hashing.DefaultLimits()); kindOf(t, err) != hashing.Empty {
		t.Errorf("got %v", err)
	}
	data := samples(t)["png"]
	limits := hashing.DefaultLimits()
	limits.Bytes = int64(len(data))
	if _, err := Decode(data, limits); err != nil {
		t.Errorf("as long as the limit: %v", err)
	}
	limits.Bytes--
	if _, err := Decode(data, limits); kindOf(t, err) != hashing.TooLarge {
		t.Errorf("longer than the limit: %v", err)
	}
}

// giants are small files whose headers claim a huge picture.
func giants(t testing.TB) map[string][]byte {
	files := samples(t)
	for name, data := range files {
		files[name] = slices.Clone(data)
	}
	be, le := binary.BigEndian, binary.LittleEndian
	p := files["png"]
	be.PutUint32(p[16:], 60_000)
	be.PutUint32(p[20:], 60_000)
	be.PutUint32(p[29:], crc32.ChecksumIEEE(p[12:29]))
	j := files["jpeg"]
	sof := bytes.Index(j, []byte{0xff, 0xc0})
	be.PutUint16(j[sof+5:], 60_000)
	be.PutUint16(j[sof+7:], 60_000)
	le.PutUint16(files["gif"][6:], 60_000)
	le.PutUint16(files["gif"][8:], 60_000)
	le.PutUint32(files["bmp"][18:], 60_000)
	le.PutUint32(files["bmp"][22:], 60_000)
	// TIFF: tags 256 and 257 of the directory.
	ti := files["tiff"]
	dir := le.Uint32(ti[4:])
	for i := range int(le.Uint16(ti[dir:])) {
		entry := ti[int(dir)+2+12*i:]
		if tag := le.Uint16(entry); tag == 256 || tag == 257 {
			le.PutUint16(entry[8:], 60_000)
		}
	}
	w := unbase64(t, webpAlpha)
	w[24], w[25], w[27], w[28] = 0xff, 0x7f, 0xff, 0x7f // VP8X canvas of 32768 x 32768
	files["webp"] = w
	return files
}

// The limits must act before a decoder asks for memory: out of memory cannot be recovered from.
func TestLimitsActOnTheHeader(t *testing.T) {
	for name, data := range giants(t) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode(data, hashing.DefaultLimits())
			runtime.ReadMemStats(&after)
			if kindOf(t, err) != hashing.TooLarge {
				t.Errorf("got %v", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("%d bytes were allocated first", used)
			}
		})
	}
}

func TestDecoderPanics(t *testing.T) {
	header := func([]byte) (image.Config, error) { return image.Config{Width: 1, Height: 1}, nil }
	broken := format{name: "png", header: header, decode: func([]byte, image.Config) (pixels, error) { panic("index out of range") }}
	if _, err := broken.open(nil, hashing.DefaultLimits()); kindOf(t, err) != hashing.Corrupt {
		t.Errorf("got %v", err)
	}
	if _, err := asClaimed(image.NewGray(image.Rect(0, 0, 9, 9)), image.Config{Width: 1, Height: 1}, false); err == nil {
		t.Error("more pixels than the header claims")
	}
	failing := format{name: "png", header: func([]byte) (image.Config, error) { return image.Config{}, errors.New("bad header") }}
	if _, err := failing.open(nil, hashing.DefaultLimits()); kindOf(t, err) != hashing.Corrupt {
		t.Errorf("got %v", err)
	}
}

func BenchmarkReduced(b *testing.B) {
	jpegLike := image.NewYCbCr(image.Rect(0, 0, 1920, 1080), image.YCbCrSubsampleRatio420)
	for _, c := range []struct {
		name string
		img  image.Image
	}{{"ycbcr", jpegLike}, {"nrgba", image.NewNRGBA(jpegLike.Rect)}, {"rgba64", image.NewRGBA64(jpegLike.Rect)}} {
		m := &Image{Width: 1920, Height: 1080, pixels: pixelsOf(c.img, false)}
		var dst Luma
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Reduced(&dst, Bare)
			}
		})
		b.Run(c.name+"/sampled", func(b *testing.B) {
			for b.Loop() {
				m.Sampled(&dst)
			}
		})
	}
}
