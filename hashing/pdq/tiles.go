package pdq

const (
	lanes  = 64 // running sums that a kernel keeps, and the side of its tiles
	stride = lanes * 4

	maxBytes = 257     // this many bytes of the largest value have a sum that fits 16 bits
	maxTiled = 1 << 15 // the longest side whose windows are within that, and whose lanes are few megabytes
)

// axis is how one dimension is filtered: as a stream of n values with zeros before and after. In step t
// value t enters the running sum, value t-size leaves it, and result t-ahead is known. Adding and
// subtracting zeros changes no sum, so that the ends need no case of their own: only the count by
// which the sum is divided shrinks there.
type axis struct {
	n, ahead, behind, size int

	counts, recips []float32        // of each step; 1 where there is no result
	steps          [2][side]int     // from one sampled result to the next, for both sets of places
	at             [2][side]float32 // counts at the sampled results
}

func (a *axis) set(n int) {
	if a.n == n {
		return
	}
	a.n = n
	a.ahead, a.behind = window(n)
	a.size = a.ahead + 1 + a.behind
	steps := tiled(n) + a.ahead + lanes // at most as many are taken in whole tiles
	a.counts, a.recips = grow(a.counts, steps), grow(a.recips, steps)
	for t := range a.counts {
		a.counts[t], a.recips[t] = 1, 1
	}
	for i := range n {
		a.counts[i+a.ahead] = a.count(i)
		a.recips[i+a.ahead] = recip(a.counts[i+a.ahead])
	}
	for set, places := range sampledAt(n) {
		taken := 0
		for i, at := range places {
			a.steps[set][i] = at + a.ahead + 1 - taken
			taken += a.steps[set][i]
			a.at[set][i] = a.count(at)
		}
	}
}

func (a *axis) count(i int) float32 {
	return float32(min(i+a.ahead, a.n-1) - max(i-a.behind, 0) + 1)
}

// tiled rounds up to whole tiles.
func tiled(n int) int { return (n + lanes - 1) / lanes * lanes }

// recip is the rounded reciprocal of a count, with which a kernel divides without a division:
// q = sum*r, then q += (sum-q*count)*r with fused products. (P. Markstein, Computation of elementary
// functions on the IBM RISC System/6000 processor, 1990.) It gives the correctly rounded quotient for
// every significand and every count to 300, which was tried exhaustively, as long as nothing of it
// underflows. If no luma but zero is below 2^-10 ([tiny]), all values are multiples of 2^-33, the
// means of the rows of 2^-66, as a count has at most 9 bits, and the remainders of 2^-99.
func recip(count float32) float32 { return 1 / count }

// tiny is what kernel.least gives for 2^-10.
const tiny = 2*0x3a800000 - 1

// tiles is the scratch memory of the Jarosz filter in tiles.
type tiles struct {
	x, y   axis
	rows   []float32      // size rows of the past and 64 new ones, filtered along; each row padded
	sums   []float32      // running sums of the columns
	lanes  []float32      // 64 rows, column after column, between zeros
	narrow []float32      // all rows at the 64 sampled columns, between zeros
	along  [lanes]float32 // running sums of 64 rows
	tile   [lanes * lanes]float32
}

// reduce fills grids from floats, or from bytes if floats is nil: the first of them, or with two sets
// of places all.
//
// The picture is worked through in bands of 64 rows, so that all but it stays in the cache. Rows are
// filtered 64 at once, transposed into lanes; columns likewise, as they lie. As the second round's row
// pass and column pass are looked at in 64 places each, only there they are divided.
func (s *tiles) reduce(k *kernel, grids *[4]grid, floats []float32, bytes []uint8, width, height, sets int) {
	s.x.set(width)
	s.y.set(height)
	x, y := &s.x, &s.y
	padded := tiled(width) + lanes/4 // no power of two, as equal offsets compete for places in a cache
	s.rows = grow(s.rows, (y.size+lanes)*padded)
	clear(s.rows)
	s.sums = grow(s.sums, tiled(width))
	clear(s.sums)
	s.lanes = grow(s.lanes, (x.size+tiled(width)+x.ahead)*lanes)
	bands := tiled(height+y.ahead) / lanes
	narrow := (y.size + bands*lanes + y.ahead) * lanes
	s.narrow = grow(s.narrow, sets*narrow)

	columns := k.refined
	fresh := s.rows[y.size*padded:]
	for band := range bands {
		top := band * lanes
		rows := max(0, min(lanes, height-top))
		if floats == nil {
			s.bytes(k, fresh, padded, bytes[min(top*width, len(bytes)):], rows)
		} else if !s.floats(k, fresh, padded, floats[min(top*width, len(floats)):], rows) {
			columns = k.columns
		}
		for at := 0; at < width; at += lanes {
			columns(&s.tile[0], &fresh[at], padded*4, y.size*padded*4, &s.sums[at], &y.counts[top], &y.recips[top], lanes)
			k.transpose(&s.lanes[(x.size+at)*lanes], stride, &s.tile[0], stride)
		}
		clear(s.lanes[:x.size*lanes])
		clear(s.lanes[(x.size+width)*lanes:][:x.ahead*lanes])
		for set := range sets {
			k.sampled(&s.tile[0], &s.lanes[x.size*lanes], x.size*stride, &x.steps[set][0], &x.at[set][0], side)
			k.transpose(&s.narrow[set*narrow+(y.size-y.ahead+top)*lanes], stride, &s.tile[0], stride)
		}
		copy(s.rows, s.rows[lanes*padded:])
	}
	for set := range sets {
		all := s.narrow[set*narrow:][:narrow]
		clear(all[:y.size*lanes])
		clear(all[(y.size+height)*lanes:][:y.ahead*lanes])
		for down := range sets {
			k.sampled(&grids[set*leftRight+down*topBottom][0], &all[y.size*lanes], y.size*stride, &y.steps[down][0], &y.at[down][0], side)
		}
	}
}

// bytes filters rows of the picture along, and clears the rest of the band.
// Sums of bytes are exact, so their order does not matter.
func (s *tiles) bytes(k *kernel, dst []float32, padded int, src []uint8, rows int) {
	x := &s.x
	inner := x.n - x.size + 1 // results with a full window
	for r := range rows {
		in, out := src[r*x.n:][:x.n], dst[r*padded:][:x.n]
		if inner < lanes {
			boxRow(out, in)
			continue
		}
		sum := 0
		for _, v := range in[:x.ahead] {
			sum += int(v)
		}
		for i := range x.behind {
			sum += int(in[i+x.ahead])
			out[i] = float32(sum) / float32(i+x.ahead+1)
		}
		k.boxBytes(&out[x.behind], &in[0], inner, x.size, float32(x.size), recip(float32(x.size)))
		sum = 0
		for _, v := range in[x.n-1-x.behind:] {
			sum += int(v)
		}
		for i := range x.ahead {
			out[x.n-1-i] = float32(sum) / float32(i+x.behind+1)
			sum += int(in[x.n-1-x.behind-1-i])
		}
	}
	clear(dst[rows*padded : lanes*padded])
}

// floats filters rows of the picture along, and clears the rest of the band. It reports whether there
// was no tiny value. It goes from tile to tile, with the last size columns before each.
func (s *tiles) floats(k *kernel, dst []float32, padded int, src []float32, rows int) bool {
	if rows == 0 {
		clear(dst[:lanes*padded])
		return true
	}
	x := &s.x
	clear(s.lanes[:x.size*lanes])
	clear(s.along[:])
	fresh := s.lanes[x.size*lanes:]
	common := true
	// advance filters n columns from step t on.
	advance := func(t, n int) {
		s.gather(k, fresh, src, t, rows)
		columns := k.refined
		if k.least(&fresh[0], lanes) < tiny {
			columns, common = k.columns, false
		}
		columns(&s.tile[0], &fresh[0], stride, x.size*stride, &s.along[0], &x.counts[t], &x.recips[t], n)
		copy(s.lanes, s.lanes[n*lanes:][:x.size*lanes])
	}
	for t := 0; t < x.ahead; t += lanes {
		advance(t, min(lanes, x.ahead-t)) // no results yet
	}
	for at := 0; at < x.n; at += lanes {
		advance(at+x.ahead, lanes)
		k.transpose(&dst[at], padded*4, &s.tile[0], stride)
	}
	return common
}

// gather turns the tile at column t into lanes, with zeros beyond the picture.
func (s *tiles) gather(k *kernel, dst, src []float32, t, rows int) {
	width := max(0, min(lanes, s.x.n-t))
	if width == lanes && rows == lanes {
		k.transpose(&dst[0], stride, &src[t], s.x.n*4)
		return
	}
	clear(s.tile[:])
	if width > 0 {
		for r := range rows {
			copy(s.tile[r*lanes:][:width], src[r*s.x.n+t:])
		}
	}
	k.transpose(&dst[0], stride, &s.tile[0], stride)
}
