package pdq

import (
	"math"
	"slices"
)

const (
	side    = 64 // samples that the picture is reduced to, each way
	freqs   = 16 // frequencies kept, each way
	minSide = 5  // the reference hashes nothing smaller
)

// Hasher computes hashes. It keeps its scratch memory, about as large as the largest buffer it has
// seen, and allocates nothing once that is grown. The zero value is ready. It is not safe for
// concurrent use: have one for each goroutine.
type Hasher struct {
	rows    []float32 // the luma after the first pass along rows; width x height
	sums    []float32 // running sums of the columns; width
	line    []float32 // one row of the first round's result; width
	wide    []float32 // the same row, filtered along once more; width
	narrow  []float32 // the second round's row pass, at the 64 sampled columns; 64 x height
	samples [side * side]float32
	half    [freqs * side]float32
	coeffs  [freqs * freqs]float32
	signed  [freqs * freqs]float32
	sorted  [freqs * freqs]float32
}

// Hash returns the PDQ hash and quality (0 to 100) of a luma buffer: width x height values of 0..255,
// row after row, of which it changes nothing. Luma is 0.299 R + 0.587 G + 0.114 B, summed in that
// order in float32 and not rounded, as in the reference.
//
// The reference's smallest picture is 5 x 5: below that, and when the buffer is shorter than
// width*height, the result is the zero hash and quality 0. Values that are not finite give some hash
// of no meaning.
func (h *Hasher) Hash(luma []float32, width, height int) (Hash, int) {
	if !valid(luma, width, height) {
		return Hash{}, 0
	}
	h.reduce(luma, width, height)
	h.transform()
	return h.bits(0, 0), h.quality()
}

// Dihedral returns the hashes of the picture in its eight orientations, computed from one cosine
// transform, and the quality that they share. The order is: as it is, turned by 90, 180 and 270 degrees
// counter-clockwise, top to bottom (the reference's flipX), left to right (flipY), mirrored at the
// main diagonal (flipPlus1), mirrored at the other one (flipMinus1).
//
// Element 0 always equals the result of [Hasher.Hash] for the same buffer. (The reference's dihedral
// entry point filters 64 x 64 pictures, where its plain one does not; here neither does.) The others
// differ by a few bits from the hash of a picture that was really turned, as sampling is not symmetric.
func (h *Hasher) Dihedral(luma []float32, width, height int) ([8]Hash, int) {
	if !valid(luma, width, height) {
		return [8]Hash{}, 0
	}
	h.reduce(luma, width, height)
	h.transform()
	return dihedral(h.bits(0, 0), h.bits(evenRows, 0), h.bits(0, evenColumns), h.bits(evenRows, evenColumns)), h.quality()
}

func valid(luma []float32, width, height int) bool {
	return width >= minSide && height >= minSide && width <= len(luma)/height
}

// reduce fills h.samples: the picture after the Jarosz filter, which is two rounds of a box along the
// rows and then along the columns (downscaling.cpp, jaroszFilterFloat and decimateFloat).
//
// Only 64 x 64 results are ever looked at, so the last pass runs over the 64 sampled columns alone.
// Columns are summed side by side, one row at a time: the same additions in the same order as one
// column after the other, along the cache lines instead of across.
func (h *Hasher) reduce(luma []float32, width, height int) {
	if width == side && height == side {
		copy(h.samples[:], luma)
		return
	}
	h.rows = grow(h.rows, width*height)
	h.sums = grow(h.sums, max(width, side))
	h.line = grow(h.line, max(width, side))
	h.wide = grow(h.wide, width)
	h.narrow = grow(h.narrow, side*height)

	for y := range height {
		boxRow(h.rows[y*width:][:width], luma[y*width:][:width])
	}
	columns := sampledAt(width)
	for box := newColumns(h.rows, h.sums[:width], height); box.next(h.line); {
		boxRow(h.wide, h.line[:width])
		for i, x := range columns {
			h.narrow[(box.out-1)*side+i] = h.wide[x]
		}
	}
	rows := sampledAt(height)
	i := 0
	for box := newColumns(h.narrow, h.sums[:side], height); i < side && box.next(h.line); {
		for ; i < side && rows[i] == box.out-1; i++ {
			copy(h.samples[i*side:][:side], h.line)
		}
	}
}

// sampledAt returns the 64 places at which a dimension of n is sampled: the middles of 64 equal parts.
func sampledAt(n int) (at [side]int) {
	for i := range at {
		at[i] = int((float64(i) + 0.5) * float64(n) / side)
	}
	return at
}

// window describes the reference's box filter over n values (box1DFloat): value i of its result is the
// mean of those from i-behind to i+ahead, as far as they exist. Even boxes reach further ahead.
// The mean is a running sum divided by its count. The sum is float32 and collects rounding errors,
// which are part of the definition: at each step the newest value is added, then the oldest subtracted.
func window(n int) (ahead, behind int) {
	size := (n + 2*side - 1) / (2 * side)
	ahead = (size+2)/2 - 1
	return ahead, size - 1 - ahead
}

// boxRow filters one row; dst and src have one length.
func boxRow(dst, src []float32) {
	n := len(src)
	ahead, behind := window(n)
	var sum float32
	for _, v := range src[:ahead] {
		sum += v
	}
	for i := 0; i <= behind; i++ {
		sum += src[i+ahead]
		dst[i] = sum / float32(i+ahead+1)
	}
	size := float32(ahead + behind + 1)
	newest, oldest := src[behind+1+ahead:], src
	out := dst[behind+1:][:len(newest)]
	oldest = oldest[:len(newest)]
	for i, v := range newest {
		sum += v
		sum -= oldest[i]
		out[i] = sum / size
	}
	for i := n - ahead; i < n; i++ {
		sum -= src[i-behind-1]
		dst[i] = sum / float32(n-i+behind)
	}
}

// columns filters all columns of a buffer at once, and yields the result row by row.
type columns struct {
	src           []float32 // height rows, each as long as sums
	sums          []float32 // running sums, one for each column
	height        int
	ahead, behind int
	out           int // rows yielded so far
}

func newColumns(src, sums []float32, height int) columns {
	ahead, behind := window(height)
	clear(sums)
	c := columns{src: src, sums: sums, height: height, ahead: ahead, behind: behind}
	for y := range ahead {
		for x, v := range c.row(y) {
			sums[x] += v
		}
	}
	return c
}

func (c *columns) row(y int) []float32 { return c.src[y*len(c.sums):][:len(c.sums)] }

// next writes the next filtered row to dst; it reports false, and writes nothing, after the last.
func (c *columns) next(dst []float32) bool {
	if c.out == c.height {
		return false
	}
	newest, oldest := c.out+c.ahead, c.out-c.behind-1
	count := float32(min(newest, c.height-1) - max(oldest, -1))
	sums := c.sums
	dst = dst[:len(sums)]
	switch {
	case newest < c.height && oldest >= 0:
		add, sub := c.row(newest)[:len(sums)], c.row(oldest)[:len(sums)]
		for x, sum := range sums {
			sum += add[x]
			sum -= sub[x]
			sums[x] = sum
			dst[x] = sum / count
		}
	case newest < c.height:
		for x, v := range c.row(newest) {
			sums[x] += v
			dst[x] = sums[x] / count
		}
	default: // oldest >= 0, as the box is never longer than the column
		for x, v := range c.row(oldest) {
			sums[x] -= v
			dst[x] = sums[x] / count
		}
	}
	c.out++
	return true
}

// quality is the sum of the steps between neighbouring samples, in percent of the range, truncated
// each, in a scale where 90 * 100 is full (pdqhashing.cpp, pdqImageDomainQualityMetric).
func (h *Hasher) quality() int {
	sum := 0
	step := func(u, v float32) {
		d := int((u - v) * 100 / 255)
		sum += max(d, -d)
	}
	for i := range side - 1 {
		for j := range side {
			step(h.samples[i*side+j], h.samples[(i+1)*side+j])
		}
	}
	for i := range side {
		for j := range side - 1 {
			step(h.samples[i*side+j], h.samples[i*side+j+1])
		}
	}
	return min(sum/90, 100)
}

// cosines is the 16 x 64 matrix of the transform: frequencies 1 to 16 (fill_dct_matrix_64_cached in
// pdqhashing.cpp; DC would be frequency 0).
var cosines = func() (d [freqs * side]float32) {
	scale := float32(math.Sqrt(2.0 / side))
	for i := range freqs {
		for j := range side {
			d[i*side+j] = float32(float64(scale) * math.Cos((math.Pi/2/side)*float64(i+1)*float64(2*j+1)))
		}
	}
	return d
}()

// transform fills h.coeffs, 16 x 16: cosines * samples * transposed cosines. Each sum runs over its 64
// products in order, in float32.
func (h *Hasher) transform() {
	clear(h.half[:])
	for i := range freqs {
		sums := h.half[i*side:][:side]
		for k := range side {
			d := cosines[i*side+k]
			for j, v := range h.samples[k*side:][:side] {
				sums[j] += float32(d * v)
			}
		}
	}
	for i := range freqs {
		left := h.half[i*side:][:side]
		for j := range freqs {
			var sum float32
			for k, d := range cosines[j*side:][:side] {
				sum += float32(left[k] * d)
			}
			h.coeffs[i*freqs+j] = sum
		}
	}
}

// bits compares the coefficients with their median, after negating those whose bit is in exactly one
// of the masks. The median is the 128th smallest of the 256, which is what the reference's torben.cpp
// finds; values equal to it give zeros.
func (h *Hasher) bits(rows, columns uint64) Hash {
	mask := rows ^ columns
	for k, v := range h.coeffs {
		if mask>>(k%64)&1 == 1 {
			v = -v
		}
		h.signed[k] = v
	}
	h.sorted = h.signed
	slices.Sort(h.sorted[:])
	median := h.sorted[len(h.sorted)/2-1]
	var hash Hash
	for k, v := range h.signed {
		if v > median {
			hash[3-k/64] |= 1 << (k % 64)
		}
	}
	return hash
}

// grow returns s with length n, reusing its memory if there is enough of it.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
