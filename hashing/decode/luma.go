package decode

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

// Reduced returns the picture's luma, 0..255, row after row, divided by the largest power of two
// that keeps the shorter side at 512 pixels or more: each value is the mean of a square of pixels, of
// fewer at the right and bottom edges where they are ragged. Pictures whose shorter side is under 1024
// come as they are.
//
// From this buffer PDQ is within a few bits of that of the full picture, at a fraction of the cost: the
// squares are smaller than PDQ's own box filter, which spans at least 4 pixels of 512.
//
// The result uses the memory of dst if it is large enough. The full-size luma is never held.
func (m *Image) Reduced(dst []float32, over Backdrop) (luma []float32, width, height int) {
	factor := 1
	for min(m.Width, m.Height) >= 2*factor*ReducedSide {
		factor *= 2
	}
	width, height = (m.Width+factor-1)/factor, (m.Height+factor-1)/factor
	luma = grow(dst, width*height)
	rows := m.rows(everyColumn(m.Width), over)
	if factor == 1 {
		for y := range height {
			copy(luma[y*width:], rows.at(y))
		}
		return luma, width, height
	}
	sums := make([]float32, m.Width) // of the rows that make one, column by column
	for y := range height {
		lines := min(factor, m.Height-y*factor)
		copy(sums, rows.at(y*factor))
		for i := 1; i < lines; i++ {
			for x, v := range rows.at(y*factor + i)[:len(sums)] {
				sums[x] += v
			}
		}
		out := luma[y*width:][:width]
		for x := range out {
			square := sums[x*factor : min((x+1)*factor, m.Width)]
			var sum float32
			for _, v := range square {
				sum += v
			}
			out[x] = sum / float32(lines*len(square))
		}
	}
	return luma, width, height
}

// Sampled returns the luma that PDQ's reference command line hashes: if a side is longer than 512
// pixels, 512 x 512 of the pixels (column x*width/512, row y*height/512, the aspect ratio ignored),
// else all of them. See pdq/cpp/io/pdqio.cpp; the sampling is CImg's resize without interpolation.
// The result uses the memory of dst if it is large enough.
func (m *Image) Sampled(dst []float32) (luma []float32, width, height int) {
	width, height = m.Width, m.Height
	if width > SampleSide || height > SampleSide {
		width, height = SampleSide, SampleSide
	}
	columns := make([]int, width)
	for x := range columns {
		columns[x] = x * m.Width / width
	}
	luma = grow(dst, width*height)
	rows := m.rows(columns, Bare)
	for y := range height {
		copy(luma[y*width:], rows.at(y*m.Height/height))
	}
	return luma, width, height
}

// rows reads the picture's luma row by row, at some columns, over a backdrop.
type rows struct {
	pixels  pixels
	columns []int
	luma    []float32
	alpha   []uint8
	over    float32 // luma of the backdrop
}

func (m *Image) rows(columns []int, over Backdrop) *rows {
	r := &rows{pixels: m.pixels, columns: columns, luma: make([]float32, len(columns))}
	if over != Bare && m.HasAlpha {
		r.alpha = make([]uint8, len(columns))
	}
	if over == OverWhite {
		r.over = 255
	}
	return r
}

// at returns row y; the next call overwrites it.
func (r *rows) at(y int) []float32 {
	r.pixels.luma(r.luma, y, r.columns)
	if r.alpha == nil {
		return r.luma
	}
	r.pixels.alpha(r.alpha, y, r.columns)
	for i, a := range r.alpha {
		r.luma[i] = (float32(r.luma[i]*float32(a)) + float32(r.over*float32(255-a))) / 255
	}
	return r.luma
}

func everyColumn(width int) []int {
	columns := make([]int, width)
	for x := range columns {
		columns[x] = x
	}
	return columns
}

func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
