package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"slices"
)

func decodeGIF(data []byte, config image.Config) (pixels, error) {
	img, err := gif.Decode(bytes.NewReader(data))
	if err != nil {
		return pixels{}, err
	}
	m, ok := img.(*image.Paletted)
	canvas := image.Rect(0, 0, config.Width, config.Height)
	if !ok || !m.Rect.In(canvas) {
		return pixels{}, errors.New("the frame is larger than the header claims")
	}
	return gifPixels(m, canvas, config.ColorModel), nil
}

// gifPixels places a GIF's first frame on its canvas.
//
// The standard library blackens the palette's transparent colour. If the frame uses the global
// palette, which the header still has, that colour is taken from there: the colour under transparent
// pixels counts.
func gifPixels(m *image.Paletted, canvas image.Rectangle, global color.Model) pixels {
	colours := m.Palette
	if g, ok := global.(color.Palette); ok && samePalette(m.Palette, g) {
		colours = slices.Concat(g, m.Palette[len(g):]) // std lengthens it for a transparent index beyond its end
	}
	p := pixels{width: m.Rect.Dx(), height: m.Rect.Dy(), scale: 1}
	p.setPalette(m, colours)
	return placed(p, m.Rect, canvas)
}

// samePalette reports whether p is global but for entries that became transparent.
func samePalette(p, global color.Palette) bool {
	if len(p) < len(global) {
		return false
	}
	for i, c := range global {
		if p[i] != c && p[i] != (color.RGBA{}) {
			return false
		}
	}
	return true
}

// framesOfGIF follows the blocks of a GIF (the specification of GIF 89a, 1990) to its end, or to where it
// is damaged. Each frame is decoded as a file of its own.
func framesOfGIF(data []byte) *animation {
	const (
		header        = 13
		extension     = 0x21
		imageHeader   = 0x2c
		graphic       = 0xf9
		trailer       = 0x3b
		hasTable      = 0x80
		isTransparent = 1
	)
	if len(data) < header {
		return nil
	}
	table := func(flags byte) int { return 3 << (flags&7 + 1) }
	le := binary.LittleEndian
	a := &animation{canvas: image.Pt(int(le.Uint16(data[6:])), int(le.Uint16(data[8:])))}
	at := header
	if data[10]&hasTable != 0 {
		at += table(data[10])
	}
	if at > len(data) {
		return nil
	}
	global := data[:at]
	p, control := part{opaque: true, blend: true}, []byte(nil)
	for at < len(data) {
		switch data[at] {
		case extension:
			end := endOfBlocks(data, at+2)
			if end < 0 {
				return a
			}
			if block := data[at:end]; len(block) >= 8 && block[1] == graphic && block[2] == 4 {
				control = block[:8]
				p = part{opaque: block[3]&isTransparent == 0, blend: true, delay: 10 * uint32(le.Uint16(block[4:]))}
				switch block[3] >> 2 & 7 {
				case 2:
					p.dispose = erase
				case 3:
					p.dispose = restore
				}
			}
			at = end
		case imageHeader:
			if len(data)-at < 11 {
				return a
			}
			x, y := int(le.Uint16(data[at+1:])), int(le.Uint16(data[at+3:]))
			p.rect = image.Rect(x, y, x+int(le.Uint16(data[at+5:])), y+int(le.Uint16(data[at+7:])))
			blocks := at + 10
			if data[at+9]&hasTable != 0 {
				blocks += table(data[at+9])
			}
			end := endOfBlocks(data, blocks+1) // behind the code size
			if end < 0 {
				return a
			}
			pieces, rect := [][]byte{global, control, data[at:end], {trailer}}, p.rect
			p.decode = func() (pixels, error) {
				img, err := gif.Decode(bytes.NewReader(slices.Concat(pieces...)))
				if err != nil {
					return pixels{}, err
				}
				m, ok := img.(*image.Paletted)
				if !ok || m.Rect != rect {
					return pixels{}, errors.New("not the frame that its header claims")
				}
				frame := pixels{width: rect.Dx(), height: rect.Dy(), scale: 1}
				frame.setPalette(m, m.Palette)
				return frame, nil
			}
			if !a.add(p) {
				return a
			}
			p, control = part{opaque: true, blend: true}, nil
			at = end
		default: // the trailer, or damage
			return a
		}
	}
	return a
}

// endOfBlocks is where the sub-blocks end that begin at from: behind the empty one, -1 without one.
func endOfBlocks(data []byte, from int) int {
	for from < len(data) {
		n := int(data[from])
		from += 1 + n
		if n == 0 {
			return from
		}
	}
	return -1
}
