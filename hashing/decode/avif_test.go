package decode

import (
	"bytes"
	"encoding/binary"
	"image"
	"strings"
	"testing"

	"vigie/hashing"
)

// box is a box of an ISO base media file.
func box(kind string, body ...string) string {
	all := strings.Join(body, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(all)))) + kind + all
}

func sizes(v ...uint32) string {
	var b []byte
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return string(b)
}

func avifOf(boxes ...string) []byte {
	return []byte(box("ftyp", "avif\x00\x00\x00\x00avifmif1miaf") + strings.Join(boxes, ""))
}

func extents(width, height uint32) string { return box("ispe", sizes(0, width, height)) }

func imageOf(properties ...string) string {
	return box("meta", sizes(0), box("iprp", box("ipco", properties...)))
}

func trackOf(width, height uint16) string {
	entry := string(append(make([]byte, 24), byte(width>>8), byte(width), byte(height>>8), byte(height)))
	return box("moov", box("trak", box("mdia", box("minf", box("stbl", box("stsd", sizes(0, 1), box("av01", entry)))))))
}

func TestHeaderOfAVIF(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want image.Point
	}{
		{"an image", avifOf(imageOf(extents(640, 480))), image.Pt(640, 480)},
		{"with a small alpha", avifOf(imageOf(extents(640, 480), extents(320, 240))), image.Pt(640, 480)},
		{"tiles before the whole", avifOf(imageOf(extents(512, 512), box("av1C", "abcd"), extents(1000, 800))), image.Pt(1000, 800)},
		{"a sequence", avifOf(trackOf(320, 200)), image.Pt(320, 200)},
		{"both", avifOf(imageOf(extents(64, 900)), trackOf(320, 200)), image.Pt(320, 900)},
		{"behind others", avifOf(box("free", "xyz"), "\x00\x00\x00\x01mdat"+sizes(0, 20, 7), imageOf(extents(5, 6))), image.Pt(5, 6)},
		{"a last box without a length", avifOf("\x00\x00\x00\x00meta" + sizes(0) + box("iprp", box("ipco", extents(7, 8)))), image.Pt(7, 8)},
	} {
		config, err := headerOfAVIF(c.data)
		if got := image.Pt(config.Width, config.Height); err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
		for cut := range c.data { // nothing may panic, nothing may be invented
			if config, err := headerOfAVIF(c.data[:cut]); err == nil && (config.Width > c.want.X || config.Height > c.want.Y) {
				t.Errorf("%s, %d bytes: %d x %d", c.name, cut, config.Width, config.Height)
			}
		}
	}
	for name, data := range map[string][]byte{
		"a box that is cut": append(avifOf(imageOf(extents(5, 6))), "\x00\x00\x01\x00mdat"...), "nothing": avifOf(), "no extents": avifOf(imageOf()), "no height": avifOf(imageOf(extents(5, 0))),
		"too deep": avifOf(strings.Repeat("\x00\x00\x00\x00moov", 50) + extents(5, 6)),
	} {
		if _, err := Decode(data, hashing.DefaultLimits()); kindOf(t, err) != hashing.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the header claims is refused before a decoder runs.
func TestAVIFBomb(t *testing.T) {
	for name, size := range map[string]image.Point{
		"a side": image.Pt(40_000, 10), "pixels": image.Pt(9_000, 9_000), "its own limit": image.Pt(4_001, 4_000), "absurd": image.Pt(1<<32-1, 1<<32-1),
	} {
		if _, err := Decode(avifOf(imageOf(extents(uint32(size.X), uint32(size.Y)))), hashing.DefaultLimits()); kindOf(t, err) != hashing.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAVIFHeader(f *testing.F) {
	f.Add(avifOf(imageOf(extents(640, 480))))
	f.Add(avifOf(trackOf(320, 200)))
	f.Add(read(f, "testdata", "ramp8.avif"))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := headerOfAVIF(data)
		if err == nil && (config.Width <= 0 || config.Height <= 0 || config.Width > AVIFPixels/config.Height) {
			t.Errorf("%d x %d", config.Width, config.Height)
		}
		if err == nil && !bytes.Contains(data, []byte("ispe")) && !bytes.Contains(data, []byte("av01")) {
			t.Error("a size from nowhere")
		}
	})
}
