package kernel

import (
	"math/bits"
	"unsafe"
)

// portable is the kernel for all processors, and the oracle of the others.
var portable = kernel{
	name:           "portable",
	flat128:        flat128,
	flat256:        flat256,
	flat64:         flat64,
	flat128x8:      flat128x8,
	prefetch:       func([]uint32, []uint16, uint16, uint) {},
	ranges:         ranges,
	scan:           scan,
	joinBucket:     joinBucket,
	prefetchRows:   func([]uint64, []uint32) {},
	prefetchValues: func(unsafe.Pointer, uintptr, []uint32) {},
}

func flat128(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int) {
	for ; len(a) >= blockWords && len(out)-n >= blockRows; blocks++ {
		block := (*[blockWords]uint64)(a)
		a = a[blockWords:]
		for i := range blockRows {
			if bits.OnesCount64(block[i]^q0)+bits.OnesCount64(block[blockRows+i]^q1) <= radius {
				out[n] = uint32(blocks*blockRows + i)
				n++
			}
		}
	}
	return n, blocks
}

func flat256(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int) {
	for ; len(a) >= blockWords && len(out)-n >= blockRows; blocks++ {
		blockA, blockB := (*[blockWords]uint64)(a), (*[blockWords]uint64)(b)
		a, b = a[blockWords:], b[blockWords:]
		for i := range blockRows {
			d := bits.OnesCount64(blockA[i]^q0) + bits.OnesCount64(blockA[blockRows+i]^q1)
			if d > radius {
				continue
			}
			d += bits.OnesCount64(blockB[i]^q2) + bits.OnesCount64(blockB[blockRows+i]^q3)
			if d <= radius {
				out[n] = uint32(blocks*blockRows + i)
				n++
			}
		}
	}
	return n, blocks
}

func flat64(words []uint64, q uint64, radius int, out []uint32) (n, read int) {
	for read < len(words) && len(out)-n >= blockRows {
		for _, w := range words[read:min(read+blockRows, len(words))] {
			if bits.OnesCount64(w^q) <= radius {
				out[n] = uint32(read)
				n++
			}
			read++
		}
	}
	return n, read
}

func flat128x8(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int) {
	for ; len(a) >= blockWords && len(rows)-n >= batch*blockRows; blocks++ {
		for k := range q {
			found, _ := flat128(a[:blockWords], q[k][0], q[k][1], radius, rows[n:])
			for range found {
				rows[n] += uint32(blocks * blockRows)
				queries[n] = uint8(k)
				n++
			}
		}
		a = a[blockWords:]
	}
	return n, blocks
}

func ranges(off []uint32, masks []uint16, c uint16, shift uint, _ []uint32, out []Range) (total int) {
	for i, m := range masks {
		k := int(c^m) >> shift
		out[i] = Range{off[k], off[k+1]}
		total += int(off[k+1] - off[k])
	}
	return total
}

func scan(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int) {
	for _, r := range ranges {
		if int(r.Hi-r.Lo) > len(out)-n {
			break
		}
		for i, s := range sketch[r.Lo:r.Hi] {
			if bits.OnesCount32(s^q) <= limit {
				out[n] = r.Lo + uint32(i)
				n++
			}
		}
		done++
	}
	return n, done
}

func joinBucket(rows, queries []uint32, limit int, out []Pair) (n, done int) {
	for ; done < len(queries) && len(rows) <= len(out)-n; done++ {
		q := queries[done]
		for i, r := range rows {
			if bits.OnesCount32(r^q) <= limit {
				out[n] = Pair{Row: uint32(i), Query: uint32(done)}
				n++
			}
		}
	}
	return n, done
}
