package decode

import (
	"image"
	"image/color"
	"slices"
	"sort"
)

// pixels is access to a decoded picture of any type, one row at a time, at any ascending choice of
// columns: all of them for averages, some for samples. Each kind of image.Image has one loop.
type pixels struct {
	// luma sets dst[i] to the luma, 0..255, of the pixel at (columns[i], y), alpha dropped.
	luma func(dst []float32, y int, columns []int)
	// alpha sets dst[i] to the alpha of that pixel, 255 for opaque. It is nil if all are opaque.
	alpha func(dst []uint8, y int, columns []int)
}

// lumaOf is the definition: float32, from left to right, no product fused with a sum, as PDQ's
// reference computes it.
func lumaOf(r, g, b uint8) float32 {
	return float32(0.299*float32(r)) + float32(0.587*float32(g)) + float32(0.114*float32(b))
}

// to8 scales a 16-bit sample to 8 bits: v*255/65535, rounded.
func to8(v uint16) uint8 { return uint8((uint32(v) + 128) / 257) }

// unmultiply16 restores a colour component that was multiplied by alpha.
func unmultiply16(v, alpha uint16) uint16 {
	if alpha == 0 {
		return 0
	}
	return uint16(min(0xffff, (uint32(v)*0xffff+uint32(alpha)/2)/uint32(alpha)))
}

// unmultiply is the same for 8 bits.
func unmultiply(v, alpha uint8) uint8 {
	if alpha == 0 {
		return 0
	}
	return uint8(min(255, (uint32(v)*255+uint32(alpha)/2)/uint32(alpha)))
}

// pixelsOf gives access to img, whose bounds begin at (0, 0). Studio says that luma of a YCbCr picture
// uses the range 16..235, as in WebP (VP8), and not 0..255 as in JPEG.
func pixelsOf(img image.Image, studio bool) pixels {
	var p pixels
	switch m := img.(type) {
	case *image.YCbCr:
		p = plane(m.Y, m.YStride, lumaTable(studio))
	case *image.NYCbCrA:
		p = plane(m.Y, m.YStride, lumaTable(studio))
		p.alpha = func(dst []uint8, y int, columns []int) {
			row := m.A[y*m.AStride:]
			for i, x := range columns {
				dst[i] = row[x]
			}
		}
	case *image.Gray:
		p = plane(m.Pix, m.Stride, lumaTable(false))
	case *image.Paletted:
		p = palettePixels(m, m.Palette)
	case *image.NRGBA:
		p.luma = func(dst []float32, y int, columns []int) {
			row := m.Pix[y*m.Stride:]
			for i, x := range columns {
				c := row[4*x:][:3:3]
				dst[i] = lumaOf(c[0], c[1], c[2])
			}
		}
		p.alpha = fourth(m.Pix, m.Stride)
	case *image.RGBA:
		p.luma = func(dst []float32, y int, columns []int) {
			row := m.Pix[y*m.Stride:]
			for i, x := range columns {
				c := row[4*x:][:4:4]
				if a := c[3]; a == 255 {
					dst[i] = lumaOf(c[0], c[1], c[2])
				} else {
					dst[i] = lumaOf(unmultiply(c[0], a), unmultiply(c[1], a), unmultiply(c[2], a))
				}
			}
		}
		p.alpha = fourth(m.Pix, m.Stride)
	case *image.Gray16:
		p.luma = func(dst []float32, y int, columns []int) {
			row := m.Pix[y*m.Stride:]
			for i, x := range columns {
				dst[i] = float32(to8(uint16(row[2*x])<<8 | uint16(row[2*x+1])))
			}
		}
	case *image.NRGBA64:
		p.luma = func(dst []float32, y int, columns []int) {
			for i, x := range columns {
				c := m.NRGBA64At(x, y)
				dst[i] = lumaOf(to8(c.R), to8(c.G), to8(c.B))
			}
		}
		p.alpha = func(dst []uint8, y int, columns []int) {
			for i, x := range columns {
				dst[i] = to8(m.NRGBA64At(x, y).A)
			}
		}
	case *image.CMYK:
		p.luma = func(dst []float32, y int, columns []int) {
			row := m.Pix[y*m.Stride:]
			for i, x := range columns {
				c := row[4*x:][:4:4]
				dst[i] = lumaOf(color.CMYKToRGB(c[0], c[1], c[2], c[3]))
			}
		}
	default: // *image.RGBA64 (16-bit PNG and TIFF) and what decoders may yet invent
		at := func(x, y int) color.RGBA64 { return color.RGBA64Model.Convert(img.At(x, y)).(color.RGBA64) }
		if direct, ok := img.(image.RGBA64Image); ok {
			at = direct.RGBA64At
		}
		p.luma = func(dst []float32, y int, columns []int) {
			for i, x := range columns {
				c := at(x, y)
				dst[i] = lumaOf(to8(unmultiply16(c.R, c.A)), to8(unmultiply16(c.G, c.A)), to8(unmultiply16(c.B, c.A)))
			}
		}
		p.alpha = func(dst []uint8, y int, columns []int) {
			for i, x := range columns {
				dst[i] = to8(at(x, y).A)
			}
		}
	}
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		p.alpha = nil
	}
	return p
}

// plane reads one byte a pixel, and looks its luma up.
func plane(pix []uint8, stride int, table *[256]float32) pixels {
	return pixels{luma: func(dst []float32, y int, columns []int) {
		row := pix[y*stride:]
		for i, x := range columns {
			dst[i] = table[row[x]]
		}
	}}
}

// fourth reads the last byte of pixels of four bytes.
func fourth(pix []uint8, stride int) func([]uint8, int, []int) {
	return func(dst []uint8, y int, columns []int) {
		row := pix[y*stride:]
		for i, x := range columns {
			dst[i] = row[4*x+3]
		}
	}
}

// lumaTable maps a stored luma byte to 0..255. The studio range of ITU-R BT.601 has black at 16 and
// white at 235; what lies outside is clipped.
func lumaTable(studio bool) *[256]float32 {
	var table [256]float32
	for i := range table {
		table[i] = float32(i)
		if studio {
			table[i] = min(255, max(0, (float32(i)-16)*255/219))
		}
	}
	return &table
}

// palettePixels reads m, whose bounds may begin anywhere, with its own palette's alpha and the colours
// of another, so that a colour that m's palette lost to transparency can be given back.
func palettePixels(m *image.Paletted, colours color.Palette) pixels {
	var luma [256]float32
	var alpha [256]uint8
	for i, c := range colours[:min(len(colours), 256)] {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		luma[i] = lumaOf(n.R, n.G, n.B)
	}
	for i, c := range m.Palette[:min(len(m.Palette), 256)] {
		alpha[i] = color.NRGBAModel.Convert(c).(color.NRGBA).A
	}
	p := plane(m.Pix, m.Stride, &luma)
	p.alpha = func(dst []uint8, y int, columns []int) {
		row := m.Pix[y*m.Stride:]
		for i, x := range columns {
			dst[i] = alpha[row[x]]
		}
	}
	if m.Opaque() {
		p.alpha = nil
	}
	return p
}

// gifPixels places a GIF's first frame on its canvas. What the frame does not cover is transparent
// black, as browsers show it.
//
// The standard library blackens the palette's transparent colour. If the frame uses the global
// palette, which the header still has, that colour is taken from there: the colour under transparent
// pixels counts.
func gifPixels(m *image.Paletted, canvas image.Rectangle, global color.Model) pixels {
	colours := m.Palette
	if g, ok := global.(color.Palette); ok && samePalette(m.Palette, g) {
		colours = slices.Concat(g, m.Palette[len(g):]) // std lengthens it for a transparent index beyond its end
	}
	frame := palettePixels(m, colours)
	if m.Rect == canvas {
		return frame
	}
	// within returns the part of the columns that the frame covers, counted from its left side.
	within := func(y int, columns []int) (from int, inside []int) {
		if y < m.Rect.Min.Y || y >= m.Rect.Max.Y {
			return 0, nil
		}
		from = sort.SearchInts(columns, m.Rect.Min.X)
		inside = slices.Clone(columns[from:sort.SearchInts(columns, m.Rect.Max.X)])
		for i := range inside {
			inside[i] -= m.Rect.Min.X
		}
		return from, inside
	}
	return pixels{
		luma: func(dst []float32, y int, columns []int) {
			clear(dst)
			if from, inside := within(y, columns); len(inside) > 0 {
				frame.luma(dst[from:], y-m.Rect.Min.Y, inside)
			}
		},
		alpha: func(dst []uint8, y int, columns []int) {
			clear(dst)
			if from, inside := within(y, columns); len(inside) > 0 {
				if frame.alpha != nil {
					frame.alpha(dst[from:], y-m.Rect.Min.Y, inside)
					return
				}
				for i := range inside {
					dst[from+i] = 255
				}
			}
		},
	}
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
