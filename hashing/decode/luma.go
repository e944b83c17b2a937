package decode

import "image"

// SampleSide is the side of the square to which [Image.Sampled] reduces larger pictures.
const SampleSide = 512

// ReducedSide is the length below which [Image.Reduced] never takes the shorter side.
const ReducedSide = 512

// Backdrop says what happens to alpha.
type Backdrop uint8

// The backdrops.
const (
	// Bare drops alpha: the colour under transparent pixels counts.
	Bare Backdrop = iota
	// OverWhite composites the picture over white.
	OverWhite
	// OverBlack composites the picture over black.
	OverBlack
)

// Luma is a picture's luma, 0..255, row after row without padding: as bytes where the source holds
// bytes, else as float32. Bytes may be the memory of the [Image] itself: they are read, not written, and
// hold until the Luma is used again. The zero value is ready; it keeps its memory for the next picture.
type Luma struct {
	Width, Height int
	// Exactly one of the two is set; its length is Width*Height.
	Bytes  []uint8
	Floats []float32

	// The memory of its own, behind Bytes unless these are the image's, and behind Floats.
	bytes  []uint8
	floats []float32
}

// ownBytes makes l a picture of bytes in its own memory, of no defined content.
func (l *Luma) ownBytes(width, height int) {
	l.bytes = grow(l.bytes, width*height)
	l.Width, l.Height, l.Bytes, l.Floats = width, height, l.bytes, nil
}

// ownFloats is the same for floats.
func (l *Luma) ownFloats(width, height int) {
	l.floats = grow(l.floats, width*height)
	l.Width, l.Height, l.Bytes, l.Floats = width, height, nil, l.floats
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// reduction is the largest power of two by which both sides can be divided, so that the shorter one
// stays at [ReducedSide] or more.
func reduction(width, height int) int {
	factor := 1
	for min(width, height) >= 2*factor*ReducedSide {
		factor *= 2
	}
	return factor
}

// Reduced sets dst to the picture's luma, divided by the largest power of two that keeps the shorter
// side at 512 pixels or more. Pictures whose shorter side is under 1024 come as they are. Each value is
// the mean of a square of pixels, of fewer at the right and bottom edges where they are ragged; of
// a JPEG it is what the cosine transform gives at that scale, as far as 1/8, which is nearly the same.
//
// From this buffer PDQ is within a few bits of that of the full picture, at a fraction of the cost: the
// squares are smaller than PDQ's own box filter, which spans at least 4 pixels of 512.
//
// dst holds Bytes if no averages were taken and the source stores luma as bytes of the full range.
// It uses dst's memory if that is large enough. The full-size luma is never held.
func (m *Image) Reduced(dst *Luma, over Backdrop) {
	m.reduced(dst, over, reduction(m.Width, m.Height)/m.pixels.scale)
}

// reduced is Reduced by a factor.
func (m *Image) reduced(dst *Luma, over Backdrop, factor int) {
	p := &m.pixels
	if factor == 1 && p.plane != nil && (over == Bare || !m.HasAlpha) {
		p.whole(dst)
		return
	}
	width, height := (p.width+factor-1)/factor, (p.height+factor-1)/factor
	dst.ownFloats(width, height)
	if factor == 1 {
		rows := m.rows(over)
		for y := range height {
			rows.read(dst.Floats[y*width:][:width], y)
		}
		return
	}
	rows := m.rows(over)
	line, sums := make([]float32, p.width), make([]float32, p.width) // of the rows that make one, column by column
	for y := range height {
		lines := min(factor, p.height-y*factor)
		rows.read(sums, y*factor)
		for i := 1; i < lines; i++ {
			rows.read(line, y*factor+i)
			for x, v := range line[:len(sums)] {
				sums[x] += v
			}
		}
		average(dst.Floats[y*width:][:width], sums, factor, lines)
	}
}

// Full is m with all its pixels: m itself, but of a JPEG that was decoded at a fraction of its size, which is
// decoded once more. It takes no more memory than [Cost] says. Its error is that of the decoder.
func (m *Image) Full() (*Image, error) {
	if m.pixels.scale == 1 {
		return m, nil
	}
	p, err := m.pixels.full()
	if err != nil {
		return nil, decoderError(m.Format, err)
	}
	return &Image{Format: m.Format, Width: m.Width, Height: m.Height, pixels: p}, nil
}

// Part sets dst to the luma of a rectangle of the picture, which lies within it and is not empty, divided by a
// factor as [Image.Reduced] divides; alpha is dropped. m is one that [Image.Full] returned.
func (m *Image) Part(dst *Luma, r image.Rectangle, factor int) {
	part := Image{pixels: m.pixels.part(r)}
	part.reduced(dst, Bare, factor)
}

// average sets each value of dst to the mean of the next factor values of sums, each of which is
// the sum of so many lines.
func average(dst, sums []float32, factor, lines int) {
	whole := len(sums) / factor
	share := 1 / float32(lines*factor)
	if factor == 2 {
		for x := range dst[:whole] {
			pair := sums[2*x:][:2:2]
			dst[x] = (pair[0] + pair[1]) * share
		}
	} else {
		for x := range dst[:whole] {
			var sum float32
			for _, v := range sums[x*factor:][:factor] {
				sum += v
			}
			dst[x] = sum * share
		}
	}
	if rest := sums[whole*factor:]; len(rest) > 0 {
		var sum float32
		for _, v := range rest {
			sum += v
		}
		dst[whole] = sum / float32(lines*len(rest))
	}
}

// Sampled sets dst to the luma that PDQ's reference command line hashes: if a side is longer than 512
// pixels, 512 x 512 of the pixels (column x*width/512, row y*height/512, the aspect ratio ignored),
// else all of them. See pdq/cpp/io/pdqio.cpp; the sampling is CImg's resize without interpolation.
// Of a JPEG the pixels are those at the scale of [Image.Reduced]. Memory and type of the result are as there.
func (m *Image) Sampled(dst *Luma) {
	p := &m.pixels
	if m.Width <= SampleSide && m.Height <= SampleSide {
		m.Reduced(dst, Bare) // at factor 1
		return
	}
	var columns [SampleSide]int
	for x := range columns {
		columns[x] = x * p.width / SampleSide
	}
	if p.plane != nil {
		dst.ownBytes(SampleSide, SampleSide)
		for y := range SampleSide {
			row := p.plane[y*p.height/SampleSide*p.stride:][:p.width]
			out := dst.Bytes[y*SampleSide:][:SampleSide]
			for i, x := range columns {
				out[i] = row[x]
			}
		}
		return
	}
	dst.ownFloats(SampleSide, SampleSide)
	line := make([]float32, p.width)
	for y := range SampleSide {
		p.luma(line, y*p.height/SampleSide)
		out := dst.Floats[y*SampleSide:][:SampleSide]
		for i, x := range columns {
			out[i] = line[x]
		}
	}
}

// rows reads the picture's luma row by row over a backdrop.
type rows struct {
	*pixels
	line []uint8 // a row of alpha; nil if alpha does not matter
	over float32 // luma of the backdrop
}

func (m *Image) rows(over Backdrop) rows {
	r := rows{pixels: &m.pixels}
	if over != Bare && m.HasAlpha {
		r.line = make([]uint8, r.width)
	}
	if over == OverWhite {
		r.over = 255
	}
	return r
}

// read sets dst to row y.
func (r *rows) read(dst []float32, y int) {
	r.luma(dst, y)
	if r.line == nil {
		return
	}
	r.alpha(r.line, y)
	for i, a := range r.line {
		dst[i] = (float32(dst[i]*float32(a)) + float32(r.over*float32(255-a))) / 255
	}
}
