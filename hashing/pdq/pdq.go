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

// Hasher computes hashes. It keeps its scratch memory, at most about as large as the largest buffer it
// has seen as float32 and a kilobyte for each row and column, and allocates nothing once that is grown.
// The zero value is ready. It is not safe for concurrent use: have one for each goroutine.
type Hasher struct {
	// Exact makes Dihedral and DihedralBytes sample the filtered picture where its mirrored copies would
	// be sampled, too, instead of deriving all orientations from one set of samples. That costs about
	// a tenth more time. Over 168 photographs, drawings and screenshots in their 7 other orientations,
	// hashes were 0.1 bits from those of the pictures really turned in the mean and 16 at most; without
	// it 8 in the mean and 104 at most, and over 31 for 26 of the 1176. Element 0 stays the same.
	Exact bool

	kernel *kernel // nil: the chosen one
	tiles  tiles   // of the kernels but the portable one

	rows   []float32 // the luma after the first pass along rows; width x height
	sums   []float32 // running sums of the columns; width
	line   []float32 // one row of the first round's result; width
	wide   []float32 // the same row, filtered along once more; width
	narrow []float32 // the second round's row pass, at the 64 sampled columns; 64 x height
	grids  [4]grid   // by mirroring; if not exact, only the first
	half   [freqs * side]float32
	coeffs [freqs * freqs]float32
	keys   [freqs * freqs]int32
	left   [freqs * freqs]int32
}

// grid is a reduced picture, 64 x 64.
type grid [side * side]float32

// What is mirrored in a grid of samples, as an index of grids.
const (
	leftRight = 1
	topBottom = 2
)

// Hash returns the PDQ hash and quality (0 to 100) of a luma buffer: width x height values of 0..255,
// row after row, of which it changes nothing. Luma is 0.299 R + 0.587 G + 0.114 B, summed in that
// order in float32 and not rounded, as in the reference.
//
// The reference's smallest picture is 5 x 5: below that, and when the buffer is shorter than
// width*height, the result is the zero hash and quality 0. Values that are not finite give some hash
// of no meaning.
func (h *Hasher) Hash(luma []float32, width, height int) (Hash, int) {
	if !valid(len(luma), width, height) {
		return Hash{}, 0
	}
	h.reduce(luma, nil, width, height, 1)
	return h.hash()
}

// HashBytes is [Hasher.Hash] of a luma buffer of bytes, as decoders of JPEG and of video have it: rows
// without padding. It gives what Hash gives for the same values as float32, and takes less time.
func (h *Hasher) HashBytes(luma []uint8, width, height int) (Hash, int) {
	if !valid(len(luma), width, height) {
		return Hash{}, 0
	}
	h.reduce(nil, luma, width, height, 1)
	return h.hash()
}

func (h *Hasher) hash() (Hash, int) {
	h.transform(0)
	return h.bits(0), h.quality()
}

// Dihedral returns the hashes of the picture in its eight orientations, computed from one cosine
// transform, and the quality that they share. The order is: as it is, turned by 90, 180 and 270 degrees
// counter-clockwise, top to bottom (the reference's flipX), left to right (flipY), mirrored at the
// main diagonal (flipPlus1), mirrored at the other one (flipMinus1).
//
// Element 0 always equals the result of [Hasher.Hash] for the same buffer. (The reference's dihedral
// entry point filters 64 x 64 pictures, where its plain one does not; here neither does.) The others
// differ from the hash of a picture that was really turned, as sampling is not symmetric: sometimes
// by more than the 31 bits within which copies are found. With [Hasher.Exact] they differ by rounding,
// and by a few bits where the longest side is below 257 pixels.
func (h *Hasher) Dihedral(luma []float32, width, height int) ([8]Hash, int) {
	if !valid(len(luma), width, height) {
		return [8]Hash{}, 0
	}
	h.reduce(luma, nil, width, height, h.sets())
	return h.dihedral()
}

// DihedralBytes is [Hasher.Dihedral] of a luma buffer of bytes; see [Hasher.HashBytes].
func (h *Hasher) DihedralBytes(luma []uint8, width, height int) ([8]Hash, int) {
	if !valid(len(luma), width, height) {
		return [8]Hash{}, 0
	}
	h.reduce(nil, luma, width, height, h.sets())
	return h.dihedral()
}

func (h *Hasher) dihedral() ([8]Hash, int) {
	h.transform(0)
	identity := h.bits(0)
	mirrored := func(grid int, mask uint64) Hash {
		if h.Exact {
			h.transform(grid)
		}
		return h.bits(mask)
	}
	flipX := mirrored(topBottom, evenRows)
	flipY := mirrored(leftRight, evenColumns)
	both := mirrored(leftRight|topBottom, evenRows^evenColumns)
	return dihedral(identity, flipX, flipY, both), h.quality()
}

// sets is how many sets of places are sampled in each direction.
func (h *Hasher) sets() int {
	if h.Exact {
		return 2
	}
	return 1
}

func valid(n, width, height int) bool {
	return width >= minSide && height >= minSide && width <= n/height
}

// reduce fills the first sets * sets of h.grids, sets being 1 or 2: the picture, floats or else bytes,
// after the Jarosz filter, which is two rounds of a box along the rows and then along the columns
// (downscaling.cpp, jaroszFilterFloat and decimateFloat).
func (h *Hasher) reduce(floats []float32, bytes []uint8, width, height, sets int) {
	if h.kernel == nil {
		h.kernel = chosen
	}
	switch {
	case width == side && height == side:
		copy(h.grids[0][:], floats)
		for i, v := range bytes[:min(len(bytes), side*side)] {
			h.grids[0][i] = float32(v)
		}
		for i := 1; i < sets*sets; i++ {
			h.grids[i] = h.grids[0] // what is not filtered is symmetric
		}
	case h.kernel.columns != nil && width <= maxTiled && height <= maxTiled:
		h.tiles.reduce(h.kernel, &h.grids, floats, bytes, width, height, sets)
	case floats != nil:
		reduce(h, floats, width, height, sets)
	default:
		reduce(h, bytes, width, height, sets)
	}
}

// reduce is the portable Jarosz filter.
//
// Only 64 x 64 results are ever looked at, so the last pass runs over the 64 sampled columns alone.
// Columns are summed side by side, one row at a time: the same additions in the same order as one
// column after the other, along the cache lines instead of across.
func reduce[T uint8 | float32](h *Hasher, luma []T, width, height, sets int) {
	h.rows = grow(h.rows, width*height)
	h.sums = grow(h.sums, max(width, side))
	h.line = grow(h.line, max(width, side))
	h.wide = grow(h.wide, width)
	h.narrow = grow(h.narrow, sets*side*height)

	for y := range height {
		boxRow(h.rows[y*width:][:width], luma[y*width:][:width])
	}
	columns, rows := sampledAt(width), sampledAt(height)
	for box := newColumns(h.rows, h.sums[:width], height); box.next(h.line); {
		boxRow(h.wide, h.line[:width])
		for set := range sets {
			for i, x := range columns[set] {
				h.narrow[(set*height+box.out-1)*side+i] = h.wide[x]
			}
		}
	}
	for set := range sets {
		var i [2]int
		for box := newColumns(h.narrow[set*height*side:], h.sums[:side], height); box.next(h.line); {
			for down := range sets {
				for ; i[down] < side && rows[down][i[down]] == box.out-1; i[down]++ {
					copy(h.grids[set*leftRight+down*topBottom][i[down]*side:][:side], h.line)
				}
			}
		}
	}
}

// sampledAt returns the 64 places at which a dimension of n is sampled: the middles of 64 equal parts,
// and those of a mirrored picture, as this one's places. The truncation of the middles goes the other
// way there, and an even box, which reaches further ahead, reaches further back, by one in each round.
func sampledAt(n int) (at [2][side]int) {
	ahead, behind := window(n)
	for i := range side {
		at[0][i] = int((float64(i) + 0.5) * float64(n) / side)
		at[1][side-1-i] = max(0, n-1-at[0][i]-2*(ahead-behind))
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
func boxRow[T uint8 | float32](dst []float32, src []T) {
	n := len(src)
	ahead, behind := window(n)
	var sum float32
	for _, v := range src[:ahead] {
		sum += float32(v)
	}
	for i := 0; i <= behind; i++ {
		sum += float32(src[i+ahead])
		dst[i] = sum / float32(i+ahead+1)
	}
	size := float32(ahead + behind + 1)
	newest, oldest := src[behind+1+ahead:], src
	out := dst[behind+1:][:len(newest)]
	oldest = oldest[:len(newest)]
	for i, v := range newest {
		sum += float32(v)
		sum -= float32(oldest[i])
		out[i] = sum / size
	}
	for i := n - ahead; i < n; i++ {
		sum -= float32(src[i-behind-1])
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

// quality is the sum of the steps between neighbouring samples, in a scale where 90 * 100 is full
// (pdqhashing.cpp, pdqImageDomainQualityMetric).
func (h *Hasher) quality() int {
	if h.kernel.steps != nil {
		return min(h.kernel.steps(&h.grids[0][0])/90, 100)
	}
	return min(h.steps()/90, 100)
}

// steps sums the steps between neighbours, down and along, each in percent of the range and truncated.
// A single step of 9000 makes the quality full; they are limited so that no conversion overflows.
func (h *Hasher) steps() (sum int) {
	step := func(u, v float32) {
		d := (u - v) * 100 / 255
		if d < 0 {
			d = -d
		}
		if !(d < 1<<16) {
			d = 1 << 16
		}
		sum += int(d)
	}
	for i := range side - 1 {
		for j := range side {
			step(h.grids[0][i*side+j], h.grids[0][(i+1)*side+j])
		}
	}
	for i := range side {
		for j := range side - 1 {
			step(h.grids[0][i*side+j], h.grids[0][i*side+j+1])
		}
	}
	return sum
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

// turned is cosines with rows and columns exchanged.
var turned = func() (d [side * freqs]float32) {
	for i := range freqs {
		for j := range side {
			d[j*freqs+i] = cosines[i*side+j]
		}
	}
	return d
}()

// transform fills h.coeffs, 16 x 16: cosines * the samples of a grid * transposed cosines, and h.keys,
// the same as integers.
func (h *Hasher) transform(grid int) {
	if product := h.kernel.product; product != nil {
		product(&h.half[0], &cosines[0], &h.grids[grid][0], side)
		product(&h.coeffs[0], &h.half[0], &turned[0], freqs)
	} else {
		multiply(h.half[:], cosines[:], h.grids[grid][:], side)
		multiply(h.coeffs[:], h.half[:], turned[:], freqs)
	}
	for i, v := range h.coeffs {
		h.keys[i] = key(v)
	}
}

// multiply writes left * right, 16 x n, to dst. Left is 16 x 64, right 64 x n. Each sum runs over its
// 64 products in order, in float32.
func multiply(dst, left, right []float32, n int) {
	clear(dst)
	for i := range freqs {
		sums := dst[i*n:][:n]
		for k, d := range left[i*side:][:side] {
			for j, v := range right[k*n:][:n] {
				sums[j] += float32(d * v)
			}
		}
	}
}

// key maps floats to integers of the same order: key(a) < key(b) if and only if a < b, key(-a) is
// -key(a), and both zeros have 0.
func key(v float32) int32 {
	bits := int32(math.Float32bits(v))
	if bits < 0 {
		return -(bits & math.MaxInt32)
	}
	return bits
}

// bits compares the coefficients with their median, after negating those whose bit in mask is set. The
// median is the 128th smallest of the 256, which is what the reference's torben.cpp finds; values
// equal to it give zeros.
func (h *Hasher) bits(mask uint64) (hash Hash) {
	signed := func(k int) int32 { // negated without a branch, as hardly any could be predicted
		m := -int32(mask >> (k % 64) & 1)
		return h.keys[k] ^ m - m
	}
	for k := range h.left {
		h.left[k] = signed(k)
	}
	median := int64(nth(h.left[:], len(h.left)/2-1))
	for k := range h.keys {
		hash[3-k/64] |= uint64(median-int64(signed(k))) >> 63 << (k % 64)
	}
	return hash
}

// nth returns the value of rank n, from 0, and spoils the order of values. It goes by one byte after
// the other, from the first, and keeps those values that agree with the wanted one so far, until
// they are so few that they are sorted.
func nth(values []int32, n int) int32 {
	for shift := 24; len(values) > 16 && shift >= 0; shift -= 8 {
		var counts [256]uint16
		for _, v := range values {
			counts[digit(v, shift)]++
		}
		wanted := uint8(0)
		for ; n >= int(counts[wanted]); wanted++ {
			n -= int(counts[wanted])
		}
		kept := 0
		for _, v := range values {
			values[kept] = v
			if digit(v, shift) == wanted {
				kept++
			}
		}
		values = values[:kept]
	}
	slices.Sort(values)
	return values[n]
}

// digit is a byte of v, whose sign is turned into an order of unsigned numbers.
func digit(v int32, shift int) uint8 { return uint8((uint32(v) ^ 1<<31) >> shift) }

// grow returns s with length n, reusing its memory if there is enough of it.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}
