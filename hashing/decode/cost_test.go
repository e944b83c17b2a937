package decode

import (
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color/palette"
	"image/png"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/image/bmp"

	"vigie/hashing"
)

// raceDetector says that it is on: then much is allocated that else stays on the stack.
var raceDetector bool

// What decoding takes must stay within the estimate, and the estimate within reason.
func TestCost(t *testing.T) {
	if raceDetector {
		t.Skip("counts what is allocated; runs without the race detector")
	}
	r := image.Rect(0, 0, 700, 600)
	progressive := flat(ramp, ramp2, ramp)
	progressive.blocks, progressive.frame, progressive.progressed = image.Pt(90, 80), 0xc2, true
	cmyk := flat(ramp, ramp2, ramp, ramp)
	cmyk.blocks, cmyk.adobe = image.Pt(90, 80), 0
	for name, data := range map[string][]byte{
		"jpeg":             encoded(t, drawn(image.NewRGBA(r), 255), encodeJPEG),
		"jpeg gray":        encoded(t, drawn(image.NewGray(r), 255), encodeJPEG),
		"jpeg progressive": progressive.encode(),
		"jpeg cmyk":        cmyk.encode(),
		"png":              encoded(t, drawn(image.NewNRGBA(r), 0), png.Encode),
		"png gray":         encoded(t, drawn(image.NewGray(r), 255), png.Encode),
		"png 16":           encoded(t, drawn(image.NewNRGBA64(r), 0), png.Encode),
		"png transparent":  transparentGray(encoded(t, drawn(image.NewGray(r), 255), png.Encode)),
		"png palette":      encoded(t, drawn(image.NewPaletted(r, palette.WebSafe), 255), png.Encode),
		"gif":              encoded(t, drawn(image.NewPaletted(r, palette.WebSafe), 255), encodeGIF),
		"webp lossless":    losslessWebP(t, drawn(image.NewNRGBA(r), 0)),
		"webp lossy":       lossyWebP(t, drawn(image.NewRGBA(r), 255)),
		"bmp":              encoded(t, drawn(image.NewRGBA(r), 255), bmp.Encode),
		"tiff":             encoded(t, drawn(image.NewRGBA(r), 255), encodeTIFF),
		"tiff deflate":     encoded(t, drawn(image.NewRGBA64(r), 255), encodeTIFFDeflate),
		"animated gif":     encodeSteps(t, "gif", steps()),
		"animated png":     encodeSteps(t, "png", steps()),
		"animated webp":    encodeSteps(t, "webp", steps()),
	} {
		t.Run(name, func(t *testing.T) {
			cost, err := Cost(data, hashing.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			m, err := Decode(data, hashing.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			var luma Luma
			m.Reduced(&luma, Bare)
			runtime.ReadMemStats(&after)
			// All that was allocated is the most that it can have been at once.
			used := int64(after.TotalAlloc - before.TotalAlloc)
			if used > cost {
				t.Errorf("%d bytes were allocated, %d estimated", used, cost)
			}
			if cost > 8*used+8<<20 {
				t.Errorf("%d bytes were estimated, %d allocated", cost, used)
			}
		})
	}
	for name, data := range giants(t) {
		if _, err := Cost(data, hashing.DefaultLimits()); kindOf(t, err) != hashing.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Cost([]byte("a text"), hashing.DefaultLimits()); kindOf(t, err) != hashing.Unsupported {
		t.Errorf("a text: %v", err)
	}
	if cost, err := Cost(avifOf(imageOf(extents(4000, 4000))), hashing.DefaultLimits()); err != nil || cost < 1<<30 {
		t.Errorf("a large AVIF: %d bytes, %v", cost, err)
	}
}

// transparentGray makes one level of a gray PNG transparent.
func transparentGray(data []byte) []byte {
	chunk := []byte("\x00\x00\x00\x02tRNS\x00\x07")
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	const behindHeader = 8 + 25
	return slices.Concat(data[:behindHeader], chunk, data[behindHeader:])
}
