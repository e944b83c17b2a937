package decode

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/gen2brain/jpegn"

	"vigie/hashing"
	"vigie/internal/datatest"
)

// flatBlocks writes JPEGs whose blocks are each of one level: there are only the lowest coefficients. It
// can write what no encoder here does.
type flatBlocks struct {
	blocks     image.Point // of 8 x 8 pixels
	levels     []func(x, y int) uint8
	ids        string
	adobe      int // the transform of an APP14 segment; -1 for none
	frame      byte
	precision  byte
	scans      [][]int // the components of each; nil for one scan of all
	segments   []byte  // put in front
	keep       float64 // the share of each scan's data that is kept, 0..1
	progressed bool    // the scans hold the lowest coefficient alone
}

func flat(levels ...func(x, y int) uint8) flatBlocks {
	return flatBlocks{blocks: image.Pt(6, 5), levels: levels, ids: "\x01\x02\x03\x04"[:len(levels)], adobe: -1, frame: 0xc0, precision: 8, keep: 1}
}

func (f flatBlocks) encode() []byte {
	segment := func(to []byte, marker byte, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint16(append(to, 0xff, marker), uint16(2+len(body))), body...)
	}
	data := append([]byte{0xff, 0xd8}, f.segments...)
	if f.adobe >= 0 {
		data = segment(data, 0xee, append([]byte("Adobe\x00\x64\x00\x00\x00\x00"), byte(f.adobe))...)
	}
	data = segment(data, 0xdb, append([]byte{0}, slices.Repeat([]byte{8}, 64)...)...) // a level is one step
	header := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{f.precision}, uint16(8*f.blocks.Y)), uint16(8*f.blocks.X))
	header = append(header, byte(len(f.levels)))
	for i := range f.levels {
		header = append(header, f.ids[i], 0x11, 0)
	}
	data = segment(data, f.frame, header...)
	// The 12 sizes of differences have codes of 4 bits; the end of a block is one zero bit.
	counts := make([]byte, 16)
	counts[3] = 12
	data = segment(data, 0xc4, slices.Concat([]byte{0}, counts, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})...)
	data = segment(data, 0xc4, slices.Concat([]byte{0x10, 1}, make([]byte, 15), []byte{0})...)
	scans := f.scans
	if scans == nil {
		all := make([]int, len(f.levels))
		for i := range all {
			all[i] = i
		}
		scans = [][]int{all}
	}
	for _, components := range scans {
		body := []byte{byte(len(components))}
		for _, c := range components {
			body = append(body, f.ids[c], 0)
		}
		last := byte(63)
		if f.progressed {
			last = 0
		}
		data = segment(data, 0xda, append(body, 0, last, 0)...)
		coded := f.scan(components)
		data = append(data, coded[:int(f.keep*float64(len(coded)))]...)
	}
	return append(data, 0xff, 0xd9)
}

// scan is the entropy-coded data of some components.
func (f flatBlocks) scan(components []int) (out []byte) {
	var held uint64
	var n int
	put := func(v uint32, width int) {
		held, n = held<<width|uint64(v), n+width
		for n >= 8 {
			b := byte(held >> (n - 8))
			out = append(out, b)
			if b == 0xff {
				out = append(out, 0)
			}
			n -= 8
			held &= 1<<n - 1
		}
	}
	before := make([]int, len(f.levels))
	for y := range f.blocks.Y {
		for x := range f.blocks.X {
			for _, c := range components {
				level := int(f.levels[c](x, y)) - 128
				d := level - before[c]
				before[c] = level
				size := bits.Len(uint(max(d, -d)))
				put(uint32(size), 4)
				if d < 0 {
					d += 1<<size - 1
				}
				put(uint32(d), size)
				if !f.progressed {
					put(0, 1)
				}
			}
		}
	}
	put(0x7f, 7)
	return out
}

func ramp(x, y int) uint8                 { return uint8(20 + 30*x + 10*y) }
func ramp2(x, y int) uint8                { return uint8(200 - 20*x - 9*y) }
func always(v uint8) func(x, y int) uint8 { return func(x, y int) uint8 { return v } }

// The fast decoder decodes CMYK to zeros and says nothing. What comes out of here has to be the picture.
func TestCMYKIsNotDecodedToZeros(t *testing.T) {
	f := flat(ramp, ramp2, ramp, always(255)) // Adobe's CMYK is inverted: without black
	f.adobe = 0
	checkBlocks(t, f.encode(), func(x, y int) float64 {
		return float64(lumaOf(color.CMYKToRGB(255-ramp(x, y), 255-ramp2(x, y), 255-ramp(x, y), 0)))
	})
	if m, err := Decode(read(t, datatest.Folder(t), "threatexchange", "modes", "CMYK.jpg"), hashing.DefaultLimits()); err != nil {
		t.Error(err)
	} else if luma, _, _ := reduced(t, m, Bare); slices.Max(luma) < 200 {
		t.Errorf("brightest is %v", slices.Max(luma))
	}
}

// checkBlocks decodes data and compares the middle of each block.
func checkBlocks(t *testing.T, data []byte, want func(x, y int) float64) {
	t.Helper()
	m, err := Decode(data, hashing.DefaultLimits())
	if err != nil {
		t.Error(err)
		return
	}
	luma, w, h := reduced(t, m, Bare)
	for y := 4; y < h; y += 8 {
		for x := 4; x < w; x += 8 {
			if got, want := float64(luma[y*w+x]), want(x/8, y/8); math.Abs(got-want) > 1.5 {
				t.Errorf("block %d,%d: luma %v, want %v", x/8, y/8, got, want)
				return
			}
		}
	}
}

func TestKindsOfJPEG(t *testing.T) {
	luma := func(x, y int) float64 { return float64(ramp(x, y)) }
	rgb := func(x, y int) float64 { return float64(lumaOf(ramp(x, y), ramp2(x, y), 90)) }
	coloured := func() flatBlocks { return flat(ramp, always(90), ramp2) }
	exif := "Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
	for _, c := range []struct {
		name string
		file func() flatBlocks
		fast bool
		want func(x, y int) float64
	}{
		{"gray", func() flatBlocks { return flat(ramp) }, true, luma},
		{"colour", coloured, true, luma},
		{"adobe says colour", func() flatBlocks { f := coloured(); f.adobe = 1; return f }, true, luma},
		{"adobe says rgb", func() flatBlocks { f := flat(ramp, ramp2, always(90)); f.adobe = 0; return f }, false, rgb},
		{"ids say rgb", func() flatBlocks { f := flat(ramp, ramp2, always(90)); f.ids = "RGB"; return f }, false, rgb},
		{"extended sequential", func() flatBlocks { f := coloured(); f.frame = 0xc1; return f }, false, luma},
		{"a scan for each component", func() flatBlocks { f := coloured(); f.scans = [][]int{{0}, {1}, {2}}; return f }, false, luma},
		{"luma last", func() flatBlocks { f := coloured(); f.scans = [][]int{{2}, {1}, {0}}; return f }, false, luma},
		{"progressive", func() flatBlocks { f := coloured(); f.frame, f.progressed = 0xc2, true; return f }, true, luma},
		{"progressive gray", func() flatBlocks { f := flat(ramp); f.frame, f.progressed = 0xc2, true; return f }, true, luma},
		{"turned by EXIF", func() flatBlocks {
			f := coloured()
			f.segments = append([]byte{0xff, 0xe1, 0, byte(2 + len(exif))}, exif...)
			return f
		}, true, luma},
		{"black", func() flatBlocks { return flat(always(0), always(128), always(128)) }, true, func(x, y int) float64 { return 0 }},
		{"black gray", func() flatBlocks { return flat(always(0)) }, true, func(x, y int) float64 { return 0 }},
		{"gray of one level", func() flatBlocks { return flat(always(128)) }, true, func(x, y int) float64 { return 128 }},
		{"a black bar below", func() flatBlocks {
			return flat(func(x, y int) uint8 { return uint8(max(0, 40*(3-y))) })
		}, true, func(x, y int) float64 { return float64(max(0, 40*(3-y))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.file().encode()
			if got := readJPEG(data); got.plain() != c.fast {
				t.Errorf("plain %t: %+v", got.plain(), got)
			}
			checkBlocks(t, data, c.want)
		})
	}
}

// Where there is nothing to be decoded, the answer has to be an error, not a black or gray picture.
func TestJPEGThatDecodesToNothing(t *testing.T) {
	for _, frame := range []byte{0xc0, 0xc2} {
		empty := flat(ramp, ramp, ramp)
		empty.frame, empty.progressed, empty.keep = frame, frame == 0xc2, 0
		chroma := flat(ramp, ramp, ramp)
		chroma.frame, chroma.progressed, chroma.scans = frame, frame == 0xc2, [][]int{{1}, {2}}
		gray := flat(ramp)
		gray.frame, gray.progressed, gray.keep = frame, frame == 0xc2, 0
		none := flat(ramp)
		none.frame, none.scans = frame, [][]int{}
		for name, f := range map[string]flatBlocks{"no data": empty, "no luma": chroma, "no data, gray": gray, "no scan": none} {
			m, err := Decode(f.encode(), hashing.DefaultLimits())
			if err == nil {
				t.Errorf("%#x, %s: decoded to %+v", frame, name, m)
			} else if kindOf(t, err) != hashing.Corrupt {
				t.Errorf("%#x, %s: %v", frame, name, err)
			}
		}
	}
	for name, change := range map[string]func(*flatBlocks){
		"arithmetic": func(f *flatBlocks) { f.frame = 0xc9 }, "12 bits": func(f *flatBlocks) { f.frame, f.precision = 0xc1, 12 },
		"lossless": func(f *flatBlocks) { f.frame = 0xc3 },
	} {
		f := flat(ramp, ramp, ramp)
		change(&f)
		if _, err := Decode(f.encode(), hashing.DefaultLimits()); err == nil || kindOf(t, err) != hashing.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The fast decoder leaves zeros, without an error, behind a place where it cannot go on. If that is seen
// it is for the standard library to say what the file is.
func TestJPEGThatBreaksOff(t *testing.T) {
	f := flat(ramp, ramp2, ramp)
	f.blocks = image.Pt(20, 20)
	data := f.encode()
	at := len(data) / 2
	copy(data[at:], bytes.Repeat([]byte{0xef}, 8)) // codes that the table has not
	img, err := jpegn.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("the fast decoder has learned to tell: %v", err)
	}
	if !gaveUp(img) {
		t.Error("not seen")
	}
	if _, err := Decode(data, hashing.DefaultLimits()); err == nil || kindOf(t, err) != hashing.Corrupt {
		t.Errorf("got %v", err)
	}
}

// Decoding at a scale is the mean of squares, or nearly: the decoder rounds down.
func TestJPEGAtScale(t *testing.T) {
	for _, size := range []image.Point{{1024, 1024}, {1501, 1031}, {2100, 2049}, {4100, 4099}, {1300, 8200}} {
		m := image.NewGray(image.Rectangle{Max: size})
		for y := range size.Y {
			for x := range size.X {
				m.Pix[y*m.Stride+x] = uint8(128 + 60*math.Sin(float64(x)/37) + 60*math.Cos(float64(x+3*y)/53))
			}
		}
		data := encoded(t, m, encodeJPEG)
		got, err := Decode(data, hashing.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if got.Width != size.X || got.Height != size.Y || got.pixels.scale != min(8, reduction(size.X, size.Y)) {
			t.Errorf("%v: %d x %d at %d", size, got.Width, got.Height, got.pixels.scale)
		}
		full, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		plain := &Image{Width: size.X, Height: size.Y, pixels: pixelsOf(full, false)}
		luma, w, h := reduced(t, got, Bare)
		want, ww, wh := reduced(t, plain, Bare)
		if w != ww || h != wh {
			t.Fatalf("%v: %d x %d, want %d x %d", size, w, h, ww, wh)
		}
		sum := 0.0
		for i, v := range luma {
			sum += math.Abs(float64(v - want[i]))
		}
		if mean := sum / float64(len(luma)); mean > 1.3 {
			t.Errorf("%v: %.2f levels from the means", size, mean)
		}
		luma, w, h = sampled(t, got)
		want, _, _ = sampled(t, plain)
		sum = 0
		for i, v := range luma {
			sum += math.Abs(float64(v - want[i]))
		}
		if mean := sum / float64(len(luma)); w != 512 || h != 512 || mean > 8 { // half a square away
			t.Errorf("%v: samples %d x %d, %.2f levels away", size, w, h, mean)
		}
	}
}

// A Luma may be the image's memory. It must not be written when it is used again.
func TestLumaIsNotWrittenThrough(t *testing.T) {
	var luma Luma
	noise := drawn(image.NewGray(image.Rect(0, 0, 64, 64)), 255)
	m := &Image{Width: 64, Height: 64, pixels: pixelsOf(noise, false)}
	m.Reduced(&luma, Bare)
	if &luma.Bytes[0] != &noise.Pix[0] {
		t.Error("it was copied")
	}
	before := slices.Clone(noise.Pix)
	padded := image.NewGray(image.Rect(0, 0, 60, 64)).SubImage(image.Rect(0, 0, 50, 60)).(*image.Gray)
	other := &Image{Width: 50, Height: 60, pixels: pixelsOf(padded, false)}
	other.Reduced(&luma, Bare)
	large := &Image{Width: 600, Height: 64, pixels: pixelsOf(image.NewGray(image.Rect(0, 0, 600, 64)), false)}
	large.Sampled(&luma)
	if !slices.Equal(noise.Pix, before) {
		t.Error("the picture was overwritten")
	}
}

func TestSniff(t *testing.T) {
	mif := func(brands ...string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(16+4*len(brands)))) + "ftypmif1\x00\x00\x00\x00" + strings.Join(brands, "")
	}
	packet := "\x47" + strings.Repeat("\x00", 187)
	for _, c := range []struct {
		data  string
		name  string
		class Class
	}{
		{"\xff\xd8\xff\xe0", "jpeg", Picture},
		{"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "avif", Compiled},
		{"\x00\x00\x00\x1cftypavis\x00\x00\x00\x00", "avif", Compiled},
		{mif("mif1", "avif", "miaf"), "avif", Compiled},
		{mif("mif1", "heic"), "heic", External},
		{mif(), "heic", External},
		{"\x00\x00\x00\x1cftyphevc\x00\x00\x00\x00", "heic", External},
		{"\x00\x00\x00\x1cftypcrx \x00\x00\x00\x00", "", Unknown},
		{"\x00\x00\x00\x1cftypisom\x00\x00\x00\x00", "mp4", Video},
		{"\x00\x00\x00\x1cftypqt  \x00\x00\x00\x00", "mov", Video},
		{"\x00\x00\x00\x1cftyp3gp4\x00\x00\x00\x00", "3gp", Video},
		{"\x00\x01\x00\x1cmoov", "mov", Video},
		{"Now free of charge", "", Unknown},
		{"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm", "webm", Video},
		{"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska", "matroska", Video},
		{"RIFF\x00\x00\x00\x00AVI LIST", "avi", Video},
		{"FLV\x01", "flv", Video},
		{"\x00\x00\x01\xba\x44", "mpeg", Video},
		{packet + packet + packet, "mpegts", Video},
		{"\x00\x00\x00\x01" + packet + "\x00\x00\x00\x02" + packet + "\x00\x00\x00\x03" + packet, "mpegts", Video},
		{"Going to be a text that begins with a G", "", Unknown},
		{"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "asf", Video},
		{"OggS\x00\x02", "ogg", Video},
		{"", "", Unknown},
		{"\x00", "", Unknown},
	} {
		got := Sniff([]byte(c.data))
		if got.Name != c.name || got.Class != c.class || got.Text == "" || got.Class == Unknown != (got.Name == "") {
			t.Errorf("%q is %+v, want %q, class %d", c.data[:min(len(c.data), 20)], got, c.name, c.class)
		}
	}
	for name, data := range samples(t) {
		if got := Sniff(data); got.Name != name || got.Class != Picture {
			t.Errorf("%s is %+v", name, got)
		}
	}
	decodable := 0
	for _, k := range kinds {
		if k.Class == Picture || k.Class == Compiled {
			decodable++
		}
	}
	if decodable != len(formats) {
		t.Errorf("%d kinds that Decode takes, %d formats", decodable, len(formats))
	}
}
