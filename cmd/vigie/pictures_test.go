package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/draw"
	"golang.org/x/image/tiff"
)

// drawn is a picture that nobody has seen before: a soft ground with discs on it, all its own by the
// seed. PDQ gives it quality 100, and two of them are some 128 bits apart.
func drawn(seed uint64, width, height int) *image.RGBA {
	random := rand.New(rand.NewPCG(seed, 0x7669676965))
	shade := func() uint8 { return uint8(random.IntN(256)) }
	ground := image.NewRGBA(image.Rect(0, 0, 8, 8))
	for i := range ground.Pix {
		ground.Pix[i] = shade() | 255*uint8(i%4/3) // every fourth is alpha: opaque
	}
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.ApproxBiLinear.Scale(m, m.Rect, ground, ground.Rect, draw.Src, nil)
	for range 6 {
		paint := color.RGBA{shade(), shade(), shade(), 255}
		cx, cy := random.IntN(width), random.IntN(height)
		r := min(width, height)/20 + random.IntN(min(width, height)/6+1)
		for y := max(0, cy-r); y < min(height, cy+r); y++ {
			for x := max(0, cx-r); x < min(width, cx+r); x++ {
				if (x-cx)*(x-cx)+(y-cy)*(y-cy) < r*r {
					m.SetRGBA(x, y, paint)
				}
			}
		}
	}
	return m
}

// jpegOf is a drawn picture as a file.
func jpegOf(seed uint64, width, height int) []byte {
	return encoded("jpg", drawn(seed, width, height))
}

// encoded writes a picture in the format of an extension.
func encoded(extension string, m image.Image) []byte {
	var b bytes.Buffer
	var err error
	switch strings.TrimPrefix(extension, ".") {
	case "jpg":
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90})
	case "png":
		err = png.Encode(&b, m)
	case "gif":
		err = gif.Encode(&b, m, nil)
	case "bmp":
		err = bmp.Encode(&b, m)
	case "tiff":
		err = tiff.Encode(&b, m, nil)
	default:
		err = fmt.Errorf("no format for %q", extension)
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// altered holds what happens to pictures on their way through the world.
var altered = map[string]func(*image.RGBA) *image.RGBA{
	"none": func(m *image.RGBA) *image.RGBA { return m },
	"shrink": func(m *image.RGBA) *image.RGBA {
		out := image.NewRGBA(image.Rect(0, 0, m.Rect.Dx()*2/3, m.Rect.Dy()*2/3))
		draw.CatmullRom.Scale(out, out.Rect, m, m.Rect, draw.Src, nil)
		return out
	},
	"mirror": func(m *image.RGBA) *image.RGBA {
		return moved(m, m.Rect.Dx(), m.Rect.Dy(), func(x, y int) (int, int) { return m.Rect.Dx() - 1 - x, y })
	},
	"rotate": func(m *image.RGBA) *image.RGBA { // by 90 degrees, clockwise
		return moved(m, m.Rect.Dy(), m.Rect.Dx(), func(x, y int) (int, int) { return y, m.Rect.Dy() - 1 - x })
	},
	"brighten": func(m *image.RGBA) *image.RGBA {
		out := image.NewRGBA(m.Rect)
		for i, v := range m.Pix {
			out.Pix[i] = uint8(min(255, int(v)*9/10+25))
		}
		return out
	},
}

// moved makes a picture whose pixel (x, y) comes from where from says.
func moved(m *image.RGBA, width, height int, from func(x, y int) (int, int)) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			out.SetRGBA(x, y, m.RGBAAt(from(x, y)))
		}
	}
	return out
}

// animated is a GIF of two frames.
func animated(seed uint64) []byte {
	film := gif.GIF{}
	for i := range uint64(2) {
		frame, err := gif.Decode(bytes.NewReader(encoded("gif", drawn(seed+i, 160, 120))))
		if err != nil {
			panic(err)
		}
		film.Image, film.Delay = append(film.Image, frame.(*image.Paletted)), append(film.Delay, 10)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &film); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// cmyk is a JPEG of four inks, made of the scans of four gray ones: no encoder in Go writes it.
func cmyk(seed uint64) []byte {
	m := drawn(seed, 256, 192)
	out := []byte{0xff, 0xd8, 0xff, 0xee, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, 0} // inks are inverted
	var scans []byte
	for ink := range byte(4) {
		plate := image.NewGray(m.Rect)
		for i := range plate.Pix {
			plate.Pix[i] = m.Pix[4*i+int(ink)]
		}
		gray := encoded("jpg", plate)
		sos := bytes.Index(gray, []byte{0xff, 0xda})
		if ink == 0 { // tables and frame header are the same for all, but for the number of inks
			sof := bytes.Index(gray, []byte{0xff, 0xc0})
			rest := sof + 2 + int(binary.BigEndian.Uint16(gray[sof+2:]))
			out = append(out, gray[2:sof]...)
			out = append(out, 0xff, 0xc0, 0, 8+3*4)
			out = append(out, gray[sof+4:sof+9]...) // precision, height, width
			out = append(out, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0)
			out = append(out, gray[rest:sos]...)
		}
		scan := bytes.Clone(gray[sos : len(gray)-2])
		scan[5] = ink + 1
		scans = append(scans, scan...)
	}
	return append(append(out, scans...), 0xff, 0xd9)
}

// pngHeader is a PNG that claims a size and ends there.
func pngHeader(width, height uint32) []byte { return pngOf(width, height, 8, 2, nil) }

// flatPNG is a PNG of one colour whose rows are made while it is packed, so that its size is free.
// depth 8 and kind 0 are gray, depth 16 and kind 6 are RGBA of 8 bytes a pixel.
func flatPNG(width, height uint32, depth, kind byte) []byte {
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	row := make([]byte, 1+int(width)*bytesPerPixel(depth, kind))
	for range height {
		if _, err := w.Write(row); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return pngOf(width, height, depth, kind, packed.Bytes())
}

func bytesPerPixel(depth, kind byte) int {
	return map[byte]int{0: 1, 2: 3, 6: 4}[kind] * int(depth) / 8
}

func pngOf(width, height uint32, depth, kind byte, data []byte) []byte {
	header := binary.BigEndian.AppendUint32(nil, width)
	header = binary.BigEndian.AppendUint32(header, height)
	out := []byte("\x89PNG\r\n\x1a\n")
	out = appendChunk(out, "IHDR", append(header, depth, kind, 0, 0, 0))
	if data != nil {
		out = appendChunk(out, "IDAT", data)
	}
	return appendChunk(out, "IEND", nil)
}

func appendChunk(out []byte, kind string, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	named := append([]byte(kind), data...)
	out = append(out, named...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(named))
}

// bmp24TB is a BMP of 54 bytes that makes a decoder which trusts it ask for 24 TB.
func bmp24TB() []byte {
	m := encoded("bmp", image.NewRGBA(image.Rect(0, 0, 1, 1)))[:54]
	binary.LittleEndian.PutUint32(m[18:], 2_800_000) // width
	binary.LittleEndian.PutUint32(m[22:], 2_150_000) // height; four bytes a pixel in memory
	return m
}

// endless gives the same line for ever.
type endless struct {
	line string
	at   int // where in the line the next read begins
}

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		c := copy(p[n:], e.line[e.at:])
		n, e.at = n+c, (e.at+c)%len(e.line)
	}
	return len(p), nil
}
