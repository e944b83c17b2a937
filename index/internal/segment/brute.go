package segment

import (
	"math/bits"
	"runtime"
)

// Brute is [Segment.Near] by the simplest of loops: what all else is compared with.
func (s *Segment) Brute(q *Value, radius int, found []Found) []Found {
	defer runtime.KeepAlive(s)
	if s.a == nil {
		return BruteWords(s.words, q[0], radius, found)
	}
	return BrutePlanes(s.a, s.b, 0, s.Len(), q, radius, found)
}

// BrutePlanes is [FlatPlanes] by the simplest of loops. Every million rows it lets others go first: see [Polite].
func BrutePlanes(a, b []uint64, first, total int, q *Value, radius int, found []Found) []Found {
	for len(a) > 0 {
		n := min(2<<20, len(a))
		for block := 0; 16*block < n; block++ {
			p, s := (*[16]uint64)(a[16*block:]), (*[16]uint64)(b[16*block:])
			for i := range 8 {
				d := bits.OnesCount64(p[i]^q[0]) + bits.OnesCount64(p[i+8]^q[1]) + bits.OnesCount64(s[i]^q[2]) + bits.OnesCount64(s[i+8]^q[3])
				if row := first + 8*block + i; d <= radius && row < total {
					found = append(found, Found{uint32(row), uint32(d)})
				}
			}
		}
		a, b, first = a[n:], b[n:], first+n/2
		runtime.Gosched()
	}
	return found
}

// BruteWords is [FlatWords] by the simplest of loops.
func BruteWords(words []uint64, q uint64, radius int, found []Found) []Found {
	for row, w := range words {
		if d := bits.OnesCount64(w ^ q); d <= radius {
			found = append(found, Found{uint32(row), uint32(d)})
		}
	}
	return found
}
