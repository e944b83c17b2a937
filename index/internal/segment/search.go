package segment

import (
	"math/bits"
	"runtime"
	"slices"

	"vigie/index/internal/kernel"
)

// Found is a row within the radius of a query.
type Found struct {
	Row      uint32
	Distance uint32
}

// Scratch is memory for searches, one at a time. The zero value is ready.
type Scratch struct {
	ranges [2][]kernel.Range
	at     []uint32 // positions in a table
}

// Positions is room for some row numbers.
func (s *Scratch) Positions() []uint32 {
	if len(s.at) == 0 {
		s.at = make([]uint32, 4096)
	}
	return s.at
}

// Work says how rows were found, for statistics.
type Work struct {
	Buckets int  // looked into
	Scanned int  // sketches or rows compared
	Flat    bool // all rows were compared, one by one
}

// Costs, in comparisons of a row's first half or of a sketch: of a bucket, whatever is in it, and of a row that is
// compared in full. They are rough; a wrong guess costs time, and no answer.
const (
	bucketCost = 8
	flatCost   = 2
)

// halfDecides is the largest radius for which nearly no row passes by its first 128 bits alone: random ones
// differ in 64 of them, give or take 5.7.
const halfDecides = 40

// Near appends to found all rows within the radius of q, in no order, each once, those of no interest to the
// caller included. A negative radius finds nothing. It allocates only if scratch or found are too small.
func (s *Segment) Near(q *Value, radius int, scratch *Scratch, found []Found) ([]Found, Work) {
	defer runtime.KeepAlive(s)
	switch {
	case radius < 0 || s.Len() == 0:
		return found, Work{}
	case s.a == nil:
		return s.nearWords(q[0], radius, scratch, found)
	}
	radius = min(radius, 256)
	var t thresholds
	t.split(radius)
	before, work := len(found), Work{}
	if s.worthwhile(&t, radius) {
		var ok bool
		if found, work, ok = s.probe(q, radius, &t, scratch, found); ok {
			return found, work
		}
	}
	return s.Flat(q, radius, scratch, found[:before]), Work{Scanned: s.Len(), Flat: true}
}

// thresholds is T of the package's documentation.
type thresholds [Chunks]int

// split deals radius+1 out evenly.
func (t *thresholds) split(radius int) {
	for i := range t {
		t[i] = (radius+1)*(i+1)/Chunks - (radius+1)*i/Chunks
	}
}

// limit is the most bits in which three chunks may differ, from t on.
func (t *thresholds) limit(i int) int { return t[i] + t[(i+1)%Chunks] + t[(i+2)%Chunks] - 1 }

// flatBudget is what a flat scan costs.
func (s *Segment) flatBudget(radius int) int {
	if radius > halfDecides {
		return flatCost * s.Len()
	}
	return s.Len()
}

// worthwhile reports whether tables would be cheaper than a flat scan if all buckets were of one size.
func (s *Segment) worthwhile(t *thresholds, radius int) bool {
	set, cost := &maskSets[s.Prefix], 0
	for _, n := range t {
		buckets := set.below[n]
		cost += buckets*bucketCost + buckets*s.Len()>>s.Prefix
	}
	return cost < s.flatBudget(radius)
}

// probe searches by the tables. It gives up, and says so, when the buckets turn out so large that a flat scan
// is cheaper.
func (s *Segment) probe(q *Value, radius int, t *thresholds, scratch *Scratch, found []Found) (_ []Found, work Work, ok bool) {
	set, shift := &maskSets[s.Prefix], uint(16-s.Prefix)
	masks := func(i int) []uint16 { return set.masks[:set.below[t[i]]] }
	for i := range s.tables {
		if t[i] > 0 {
			kernel.Prefetch(s.tables[i].directory, masks(i), chunk(q, i), shift)
		}
	}
	budget := s.flatBudget(radius)
	// The buckets of the next table are on their way to the cache while those of this one are read.
	open := func(i int) []kernel.Range {
		m := masks(i)
		ranges := slices.Grow(scratch.ranges[i%2][:0], len(m))[:len(m)]
		scratch.ranges[i%2] = ranges
		if len(m) > 0 {
			work.Buckets += len(m)
			work.Scanned += kernel.Ranges(s.tables[i].directory, m, chunk(q, i), shift, s.tables[i].sketches, ranges)
		}
		return ranges
	}
	ranges := open(0)
	for i := range s.tables {
		var next []kernel.Range
		if i+1 < len(s.tables) {
			next = open(i + 1)
		}
		if work.Buckets*bucketCost+work.Scanned > budget {
			return nil, Work{}, false
		}
		sketch := uint32(chunk(q, (i+1)%Chunks)) | uint32(chunk(q, (i+2)%Chunks))<<16
		for d := range t[i] { // buckets that differ in d bits
			from, to := set.below[d], set.below[d+1]
			found = s.scan(i, ranges[from:min(to, len(ranges))], sketch, q, radius, t, d, scratch, found)
		}
		ranges = next
	}
	return found, work, true
}

// scan looks into buckets of table i that differ from the query in d bits.
func (s *Segment) scan(i int, ranges []kernel.Range, sketch uint32, q *Value, radius int, t *thresholds, d int, scratch *Scratch, found []Found) []Found {
	b := &s.tables[i]
	for len(ranges) > 0 {
		n, done := kernel.Scan(b.sketches, ranges, sketch, t.limit(i)-d, scratch.Positions())
		if done == 0 {
			scratch.at = make([]uint32, max(2*len(scratch.at), int(ranges[0].Hi-ranges[0].Lo)))
			continue
		}
		ranges = ranges[done:]
		for _, p := range scratch.at[:n] {
			row := b.rows[p]
			x := s.differences(q, row)
			distance := ones(&x)
			if distance <= radius && !s.earlier(&x, i, t) {
				found = append(found, Found{row, uint32(distance)})
			}
		}
	}
	return found
}

// differences are the bits in which a row differs from q.
func (s *Segment) differences(q *Value, row uint32) Value {
	at := row/8*16 + row%8
	return Value{s.a[at] ^ q[0], s.a[at+8] ^ q[1], s.b[at] ^ q[2], s.b[at+8] ^ q[3]}
}

// earlier reports whether a row was found by a table before i.
func (s *Segment) earlier(x *Value, i int, t *thresholds) bool {
	for k := range i {
		d := bits.OnesCount16(chunk(x, k) >> (16 - s.Prefix))
		if d < t[k] && d+bits.OnesCount16(chunk(x, (k+1)%Chunks))+bits.OnesCount16(chunk(x, (k+2)%Chunks)) <= t.limit(k) {
			return true
		}
	}
	return false
}

// FlatPlanes appends to found all rows of planes that are within the radius of q. The first row of the planes is
// called first; those from total on are padding. The numbers of what may be near are put down in at.
func FlatPlanes(a, b []uint64, first, total int, q *Value, radius int, at []uint32, found []Found) []Found {
	const piece = 16 * 8 << 10 // words, of 64 Ki rows: a kernel cannot be interrupted, and the collector would wait
	for len(a) > 0 {
		n, blocks := kernel.Flat256(a[:min(piece, len(a))], b[:min(piece, len(b))], q, radius, at)
		for _, i := range at[:n] {
			if d := kernel.Distance(a, b, i, q); d <= radius && first+int(i) < total {
				found = append(found, Found{uint32(first) + i, uint32(d)})
			}
		}
		a, b, first = a[16*blocks:], b[16*blocks:], first+8*blocks
	}
	return found
}

// Equal returns the numbers of the rows of digests that have the value. It is part of the segment: the caller
// keeps that alive.
func (s *Segment) Equal(v *Value) []uint32 {
	w := int(s.Width)
	compare := func(row uint32, v *Value) int { return slices.Compare(s.words[int(row)*w:(int(row)+1)*w], v[:w]) }
	from, _ := slices.BinarySearchFunc(s.byValue, v, compare)
	to := from
	for to < len(s.byValue) && compare(s.byValue[to], v) == 0 {
		to++
	}
	return s.byValue[from:to]
}

// nearWords searches 64-bit values: four chunks, whose thresholds add up to radius+1, so that one of them
// differs in fewer bits than its own. The whole value stands in the bucket.
func (s *Segment) nearWords(q uint64, radius int, scratch *Scratch, found []Found) ([]Found, Work) {
	const n = 4
	set, shift, work := &maskSets[s.Prefix], 16-s.Prefix, Work{}
	var t [n]int
	cost := 0
	for i := range t {
		t[i] = min((radius+1)*(i+1)/n-(radius+1)*i/n, 17)
		buckets := set.below[t[i]]
		cost += buckets*bucketCost + buckets*s.Len()>>s.Prefix
	}
	if cost >= s.Len() {
		return s.Flat(&Value{q}, radius, scratch, found), Work{Scanned: s.Len(), Flat: true}
	}
	differs := func(x uint64, i int) bool {
		return bits.OnesCount16(uint16(x>>(16*i))>>shift) >= t[i]
	}
	for i := range t {
		b := &s.tables[i]
		c := uint16(q >> (16 * i))
		for _, m := range set.masks[:set.below[t[i]]] {
			k := (c ^ m) >> shift
			from, to := b.directory[k], b.directory[k+1]
			work.Buckets++
			work.Scanned += int(to - from)
			for p, v := range b.values[from:to] {
				x := v ^ q
				d := bits.OnesCount64(x)
				if d > radius {
					continue
				}
				earlier := false
				for k := range i {
					earlier = earlier || !differs(x, k)
				}
				if !earlier {
					found = append(found, Found{b.rows[int(from)+p], uint32(d)})
				}
			}
		}
	}
	return found, work
}

// FlatWords appends to found all words within the radius of q.
func FlatWords(words []uint64, q uint64, radius int, at []uint32, found []Found) []Found {
	for first := 0; len(words) > 0; {
		n, done := kernel.Flat64(words, q, radius, at)
		for _, i := range at[:n] {
			found = append(found, Found{uint32(first) + i, uint32(bits.OnesCount64(words[i] ^ q))})
		}
		words, first = words[done:], first+done
	}
	return found
}

func chunk(v *Value, i int) uint16 { return uint16(v[i/4] >> (i % 4 * 16)) }

func ones(v *Value) int {
	return bits.OnesCount64(v[0]) + bits.OnesCount64(v[1]) + bits.OnesCount64(v[2]) + bits.OnesCount64(v[3])
}
