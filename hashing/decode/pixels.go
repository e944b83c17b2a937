package decode

import (
	"image"
	"image/color"
)

// pixels is access to a decoded picture of any type, row by row. Each kind of image.Image has one loop.
type pixels struct {
	width, height int
	// scale is by what the decoder divided the sides: 1, but for JPEG 1, 2, 4 or 8.
	scale int
	// plane is the luma itself where the source stores it as bytes of the full range, else nil: row y
	// begins at y*stride.
	plane  []uint8
	stride int
	// luma sets dst, which is as long as a row, to the luma of row y, 0..255, alpha dropped.
	luma func(dst []float32, y int)
	// full decodes a picture of another scale anew, at scale 1.
	full func() (pixels, error)
	// alpha sets dst to the alpha of row y, 255 for opaque. It is nil if all are opaque.
	alpha func(dst []uint8, y int)
}

// whole sets dst to the plane, without a copy if its rows follow each other.
func (p *pixels) whole(dst *Luma) {
	if p.stride == p.width {
		dst.Width, dst.Height, dst.Bytes, dst.Floats = p.width, p.height, p.plane[:p.width*p.height:p.width*p.height], nil
		return
	}
	dst.ownBytes(p.width, p.height)
	for y := range p.height {
		copy(dst.Bytes[y*p.width:][:p.width], p.plane[y*p.stride:])
	}
}

// part is a rectangle of p, which is not empty. It has memory of its own and is not safe for concurrent use.
func (p *pixels) part(r image.Rectangle) pixels {
	part := pixels{width: r.Dx(), height: r.Dy(), scale: 1, stride: p.stride}
	if p.plane != nil {
		part.plane = p.plane[r.Min.Y*p.stride+r.Min.X:]
	}
	line := make([]float32, r.Max.X)
	part.luma = func(dst []float32, y int) {
		p.luma(line, r.Min.Y+y)
		copy(dst, line[r.Min.X:])
	}
	return part
}

// lumaOf is the definition: float32, from left to right, no product fused with a sum, as PDQ's
// reference computes it.
func lumaOf(r, g, b uint8) float32 { return ofRed[r] + ofGreen[g] + ofBlue[b] }

// The share of each colour in luma, by its value.
var ofRed, ofGreen, ofBlue = func() (r, g, b [256]float32) {
	for i := range r {
		r[i], g[i], b[i] = float32(0.299*float32(i)), float32(0.587*float32(i)), float32(0.114*float32(i))
	}
	return r, g, b
}()

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
	size := img.Bounds().Size()
	p := pixels{width: size.X, height: size.Y, scale: 1}
	switch m := img.(type) {
	case *image.YCbCr:
		p.setPlane(m.Y, m.YStride, studio)
	case *image.NYCbCrA:
		p.setPlane(m.Y, m.YStride, studio)
		p.alpha = func(dst []uint8, y int) { copy(dst, m.A[y*m.AStride:]) }
	case *image.Gray:
		p.setPlane(m.Pix, m.Stride, false)
	case *image.Paletted:
		p.setPalette(m, m.Palette)
	case *image.NRGBA:
		p.luma = func(dst []float32, y int) {
			row := m.Pix[y*m.Stride:][:4*len(dst)]
			for i := range dst {
				c := row[4*i:][:4:4]
				dst[i] = lumaOf(c[0], c[1], c[2])
			}
		}
		p.alpha = fourth(m.Pix, m.Stride)
	case *image.RGBA:
		p.luma = func(dst []float32, y int) {
			row := m.Pix[y*m.Stride:][:4*len(dst)]
			for i := range dst {
				c := row[4*i:][:4:4]
				if a := c[3]; a == 255 {
					dst[i] = lumaOf(c[0], c[1], c[2])
				} else {
					dst[i] = lumaOf(unmultiply(c[0], a), unmultiply(c[1], a), unmultiply(c[2], a))
				}
			}
		}
		p.alpha = fourth(m.Pix, m.Stride)
	case *image.Gray16:
		p.luma = func(dst []float32, y int) {
			row := m.Pix[y*m.Stride:][:2*len(dst)]
			for i := range dst {
				dst[i] = float32(to8(uint16(row[2*i])<<8 | uint16(row[2*i+1])))
			}
		}
	case *image.NRGBA64:
		p.luma = func(dst []float32, y int) {
			row := m.Pix[y*m.Stride:][:8*len(dst)]
			for i := range dst {
				c := row[8*i:][:6:6]
				dst[i] = lumaOf(to8(uint16(c[0])<<8|uint16(c[1])), to8(uint16(c[2])<<8|uint16(c[3])), to8(uint16(c[4])<<8|uint16(c[5])))
			}
		}
		p.alpha = func(dst []uint8, y int) {
			row := m.Pix[y*m.Stride:][:8*len(dst)]
			for i := range dst {
				dst[i] = to8(uint16(row[8*i+6])<<8 | uint16(row[8*i+7]))
			}
		}
	case *image.CMYK:
		p.luma = func(dst []float32, y int) {
			row := m.Pix[y*m.Stride:][:4*len(dst)]
			for i := range dst {
				c := row[4*i:][:4:4]
				dst[i] = lumaOf(color.CMYKToRGB(c[0], c[1], c[2], c[3]))
			}
		}
	default: // *image.RGBA64 (16-bit PNG and TIFF) and what decoders may yet invent
		at := func(x, y int) color.RGBA64 { return color.RGBA64Model.Convert(img.At(x, y)).(color.RGBA64) }
		if direct, ok := img.(image.RGBA64Image); ok {
			at = direct.RGBA64At
		}
		p.luma = func(dst []float32, y int) {
			for x := range dst {
				c := at(x, y)
				dst[x] = lumaOf(to8(unmultiply16(c.R, c.A)), to8(unmultiply16(c.G, c.A)), to8(unmultiply16(c.B, c.A)))
			}
		}
		p.alpha = func(dst []uint8, y int) {
			for x := range dst {
				dst[x] = to8(at(x, y).A)
			}
		}
	}
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		p.alpha = nil
	}
	return p
}

// setPlane makes p a picture of one byte a pixel.
func (p *pixels) setPlane(pix []uint8, stride int, studio bool) {
	if !studio {
		p.plane, p.stride = pix, stride
	}
	p.lookUp(pix, stride, lumaTable(studio))
}

// lookUp reads one byte a pixel, and looks its luma up.
func (p *pixels) lookUp(pix []uint8, stride int, table *[256]float32) {
	p.luma = func(dst []float32, y int) {
		row := pix[y*stride:][:len(dst)]
		for i, v := range row {
			dst[i] = table[v]
		}
	}
}

// fourth reads the last byte of pixels of four bytes.
func fourth(pix []uint8, stride int) func([]uint8, int) {
	return func(dst []uint8, y int) {
		row := pix[y*stride:][:4*len(dst)]
		for i := range dst {
			dst[i] = row[4*i+3]
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

// setPalette reads m, whose bounds may begin anywhere, with its own palette's alpha and the colours
// of another, so that a colour that m's palette lost to transparency can be given back.
func (p *pixels) setPalette(m *image.Paletted, colours color.Palette) {
	var luma [256]float32
	var alpha [256]uint8
	for i, c := range colours[:min(len(colours), 256)] {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		luma[i] = lumaOf(n.R, n.G, n.B)
	}
	for i, c := range m.Palette[:min(len(m.Palette), 256)] {
		alpha[i] = color.NRGBAModel.Convert(c).(color.NRGBA).A
	}
	p.lookUp(m.Pix, m.Stride, &luma)
	p.alpha = func(dst []uint8, y int) {
		row := m.Pix[y*m.Stride:][:len(dst)]
		for i, v := range row {
			dst[i] = alpha[v]
		}
	}
	if m.Opaque() {
		p.alpha = nil
	}
}
