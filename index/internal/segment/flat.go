package segment

import (
	"math/bits"
	"runtime"

	"vigie/index/internal/kernel"
)

// piece is how many rows are compared at a time: they stay in the processor's cache while one query after the other
// is compared with them, and a kernel, which cannot be interrupted, does not keep the collector waiting.
const piece = 16 << 10

// Flat is [Segment.Near] without the tables.
func (s *Segment) Flat(q *Value, radius int, scratch *Scratch, found []Found) []Found {
	defer runtime.KeepAlive(s)
	if s.a == nil {
		return FlatWords(s.words, q[0], radius, scratch.Positions(), found)
	}
	return FlatPlanes(s.a, s.b, 0, s.Len(), q, radius, scratch.Positions(), found)
}

// FlatPlanes appends to found all rows of planes that are within the radius of q. The first row of the planes is
// called first; those from total on are padding. The numbers of what may be near are put down in at.
func FlatPlanes(a, b []uint64, first, total int, q *Value, radius int, at []uint32, found []Found) []Found {
	for len(a) > 0 {
		n, blocks := kernel.Flat256(a[:min(2*piece, len(a))], b[:min(2*piece, len(b))], q, radius, at)
		for _, i := range at[:n] {
			if d := kernel.Distance(a, b, i, q); d <= radius && first+int(i) < total {
				found = append(found, Found{uint32(first) + i, uint32(d)})
			}
		}
		a, b, first = a[16*blocks:], b[16*blocks:], first+8*blocks
	}
	return found
}

// FlatWords appends to found all words within the radius of q.
func FlatWords(words []uint64, q uint64, radius int, at []uint32, found []Found) []Found {
	for first := 0; len(words) > 0; {
		n, done := kernel.Flat64(words[:min(piece, len(words))], q, radius, at)
		for _, i := range at[:n] {
			found = append(found, Found{uint32(first) + i, uint32(bits.OnesCount64(words[i] ^ q))})
		}
		words, first = words[done:], first+done
	}
	return found
}
