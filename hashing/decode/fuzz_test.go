package decode

import (
	"image"
	"image/color/palette"
	"image/png"
	"testing"

	"golang.org/x/image/bmp"

	"vigie/hashing"
)

// Each target begins every input with its format's own bytes, so that the fuzzer never wanders off to
// another decoder, and can be run alone:
//
//	go test -fuzz '^FuzzPNG$' -fuzztime 1m -fuzzminimizetime 10x ./hashing/decode

func FuzzJPEG(f *testing.F) { fuzz(f, "jpeg", "\xff\xd8\xff") }
func FuzzPNG(f *testing.F)  { fuzz(f, "png", "\x89PNG\r\n\x1a\n") }
func FuzzGIF(f *testing.F)  { fuzz(f, "gif", "GIF89a") }
func FuzzWebP(f *testing.F) { fuzz(f, "webp", "RIFF\x00\x01\x00\x00WEBP") }
func FuzzBMP(f *testing.F)  { fuzz(f, "bmp", "BM") }
func FuzzTIFF(f *testing.F) { fuzz(f, "tiff", "II*\x00") }

// fuzz decodes anything that begins like the format. Whatever it is, the answer is an error of a kind
// that blames the media, or a picture within the limits whose luma can be read in every way.
func fuzz(f *testing.F, name, magic string) {
	gray := drawn(image.NewGray(image.Rect(0, 0, 17, 9)), 255)
	soft := drawn(image.NewNRGBA(image.Rect(0, 0, 9, 17)), 0)
	few := drawn(image.NewPaletted(image.Rect(0, 0, 8, 8), palette.WebSafe), 255)
	progressive := flat(ramp, ramp2, ramp)
	progressive.frame, progressive.progressed = 0xc2, true
	large := flat(ramp)
	large.blocks = image.Pt(32, 32)
	seeds := map[string][][]byte{
		"jpeg": {
			encoded(f, gray, encodeJPEG), encoded(f, soft, encodeJPEG), flat(ramp).encode(), flat(ramp, ramp2, ramp).encode(),
			flat(ramp, ramp2, ramp, ramp).encode(), progressive.encode(), large.encode(),
		},
		"png": {
			encoded(f, gray, png.Encode), encoded(f, soft, png.Encode), encoded(f, few, png.Encode),
			encoded(f, drawn(image.NewNRGBA64(gray.Rect), 0), png.Encode), encoded(f, drawn(image.NewPaletted(gray.Rect, clear8), 0), png.Encode),
			pngOfSteps(f, steps(), false), pngOfSteps(f, steps(), true),
		},
		"gif": {encoded(f, gray, encodeGIF), encoded(f, few, encodeGIF), encodeSteps(f, "gif", steps())},
		"webp": {
			unbase64(f, webpLossy), unbase64(f, webpLossless), unbase64(f, webpAlpha), unbase64(f, webpAnimated),
			lossyWebP(f, soft), losslessWebP(f, soft), encodeSteps(f, "webp", steps()),
		},
		"bmp":  {encoded(f, gray, bmp.Encode), encoded(f, soft, bmp.Encode), encoded(f, few, bmp.Encode)},
		"tiff": {encoded(f, gray, encodeTIFF), encoded(f, soft, encodeTIFF), encoded(f, few, encodeTIFFDeflate)},
	}
	if giant := giants(f)[name]; giant != nil {
		seeds[name] = append(seeds[name], giant)
	}
	for _, seed := range seeds[name] {
		f.Add(seed[len(magic):])
	}
	limits := hashing.Limits{Bytes: 1 << 16, Side: 2000, Pixels: 1 << 15} // small, for many tries a second
	f.Fuzz(func(t *testing.T, rest []byte) {
		data := append([]byte(magic), rest...)
		_, costErr := Cost(data, limits)
		m, err := Decode(data, limits)
		if err == nil && costErr != nil {
			t.Fatalf("decoded, although: %v", costErr)
		}
		if err != nil {
			if kind := kindOf(t, err); kind != hashing.Corrupt && kind != hashing.TooLarge && kind != hashing.Unsupported {
				t.Fatalf("blamed as %s", kind)
			}
			if len(err.Error()) > 300 {
				t.Fatalf("error of %d bytes", len(err.Error()))
			}
			return
		}
		if m.Format != name || limits.CheckSize(m.Width, m.Height) != nil {
			t.Fatalf("%s, %d x %d", m.Format, m.Width, m.Height)
		}
		for _, over := range []Backdrop{Bare, OverWhite, OverBlack} {
			checkLuma(t)(reduced(t, m, over))
		}
		checkLuma(t)(sampled(t, m))
		last, n := uint32(0), 0
		for at, frame := range m.Further(3) {
			if frame.Width != m.Width || frame.Height != m.Height || frame.Format != name || at < last {
				t.Fatalf("%s at %d after %d, %d x %d", frame.Format, at, last, frame.Width, frame.Height)
			}
			checkLuma(t)(reduced(t, frame, OverWhite))
			last = at
			n++
		}
		if n > 3 {
			t.Fatalf("%d frames", n)
		}
	})
}

func checkLuma(t *testing.T) func(luma []float32, w, h int) {
	return func(luma []float32, w, h int) {
		if len(luma) != w*h {
			t.Fatalf("%d values for %d x %d", len(luma), w, h)
		}
		for _, v := range luma {
			if !(v >= 0 && v <= 255.01) {
				t.Fatalf("luma %v", v)
			}
		}
	}
}
