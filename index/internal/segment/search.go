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
	at     []uint32         // positions in a table, or of rows
	halves [group][2]uint64 // the first halves of queries
	of     []uint8          // which of them a row of at is near
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
	Passed  int  // sketches near enough for their rows to be compared in full, those found before aside
	Flat    bool // all rows were compared, one by one
}

// Near appends to found all rows within the radius of q, in no order, each once, those of no interest to the
// caller included. A negative radius finds nothing. It allocates only if scratch or found are too small.
func (s *Segment) Near(q *Value, radius int, scratch *Scratch, found []Found) ([]Found, Work) {
	defer runtime.KeepAlive(s)
	switch {
	case radius < 0 || s.Len() == 0:
		return found, Work{}
	case s.a == nil:
		return s.nearWords(q[0], min(radius, 64), scratch, found)
	}
	if s.worthwhile(radius) {
		var t thresholds
		t.split(radius)
		if probed, work, ok := s.probe(q, radius, &t, s.flatBudget(radius), scratch, found); ok {
			return probed, work
		}
	}
	return s.Flat(q, radius, scratch, found), Work{Scanned: s.Len(), Flat: true}
}

// probe searches by the tables. It gives up, and says so, when it turns out to cost more than the budget, since the
// query is in a crowd.
func (s *Segment) probe(q *Value, radius int, t *thresholds, budget int, scratch *Scratch, found []Found) (_ []Found, work Work, ok bool) {
	set, shift := &maskSets[s.Prefix], uint(16-s.Prefix)
	masks := func(i int) []uint16 { return set.masks[:set.below[t[i]]] }
	for i := range s.tables {
		if t[i] > 0 {
			kernel.Prefetch(s.tables[i].directory, masks(i), chunk(q, i), shift)
		}
	}
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
		if work.Buckets*bucketCost+work.Scanned+work.Passed*passCost > budget {
			return nil, Work{}, false
		}
		sketch := uint32(chunk(q, (i+1)%Chunks)) | uint32(chunk(q, (i+2)%Chunks))<<16
		for d := range t[i] { // buckets that differ in d bits
			from, to := set.below[d], set.below[d+1]
			passed := 0
			found, passed = s.scan(i, ranges[from:to], sketch, q, radius, t, d, scratch, found)
			work.Passed += passed
		}
		ranges = next
	}
	return found, work, true
}

// scan looks into buckets of table i that differ from the query in d bits. It returns how many sketches passed, too.
func (s *Segment) scan(i int, ranges []kernel.Range, sketch uint32, q *Value, radius int, t *thresholds, d int, scratch *Scratch, found []Found) (_ []Found, passed int) {
	b := &s.tables[i]
	for len(ranges) > 0 {
		n, done := kernel.Scan(b.sketches, ranges, sketch, t.limit(i)-d, scratch.Positions())
		if done == 0 {
			scratch.at = make([]uint32, max(2*len(scratch.at), int(ranges[0].Hi-ranges[0].Lo)))
			continue
		}
		ranges = ranges[done:]
		if n == 0 {
			continue
		}
		passed += n
		rows := scratch.at[:n] // as positions, and then by their numbers
		kernel.PrefetchWords(b.rows, rows)
		for k, p := range rows {
			rows[k] = b.rows[p]
		}
		kernel.PrefetchRows(s.a, rows)
		kernel.PrefetchRows(s.b, rows)
		for _, row := range rows {
			x := s.differences(q, row)
			distance := ones(&x)
			switch {
			case distance > radius:
			case s.earlier(&x, i, t):
				passed-- // it is in the cache
			default:
				found = append(found, Found{row, uint32(distance)})
			}
		}
	}
	return found, passed
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
	set, shift := &maskSets[s.Prefix], 16-s.Prefix
	var t [n]int
	buckets := 0
	for i := range t {
		t[i] = (radius+1)*(i+1)/n - (radius+1)*i/n
		buckets += set.below[t[i]]
	}
	if buckets*wordsCost+buckets*s.Len()>>s.Prefix >= s.Len() {
		return s.Flat(&Value{q}, radius, scratch, found), Work{Scanned: s.Len(), Flat: true}
	}
	// earlier reports whether a value that differs by x was found by a table before i.
	earlier := func(x uint64, i int) bool {
		for k := range i {
			if bits.OnesCount16(uint16(x>>(16*k))>>shift) < t[k] {
				return true
			}
		}
		return false
	}
	work := Work{Buckets: buckets}
	for i := range t {
		b := &s.tables[i]
		c := uint16(q >> (16 * i))
		for _, m := range set.masks[:set.below[t[i]]] {
			k := int(c^m) >> shift
			from, to := b.directory[k], b.directory[k+1]
			work.Scanned += int(to - from)
			first := len(found)
			found = FlatWords(b.values[from:to], q, radius, scratch.Positions(), found)
			near := found[first:]
			found = found[:first]
			for _, f := range near {
				if p := from + f.Row; !earlier(b.values[p]^q, i) {
					found = append(found, Found{b.rows[p], f.Distance})
				}
			}
		}
	}
	return found, work
}

func chunk(v *Value, i int) uint16 { return uint16(v[i/4] >> (i % 4 * 16)) }

func ones(v *Value) int {
	return bits.OnesCount64(v[0]) + bits.OnesCount64(v[1]) + bits.OnesCount64(v[2]) + bits.OnesCount64(v[3])
}
