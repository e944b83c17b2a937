package kernel

import (
	"math/bits"
	"os"
	"slices"
	"unsafe"
)

// A Range is a bucket: the positions [Lo, Hi) among a table's sketches. Lo <= Hi.
type Range struct{ Lo, Hi uint32 }

// A Pair is the positions of a row and of a query within their slices.
type Pair struct{ Row, Query uint32 }

// Padding is how many sketches must be readable behind those that [Scan] and [JoinBucket] are given.
const Padding = 16

const (
	blockRows  = 8
	blockWords = 16
	batch      = 8 // queries of Flat128x8
	maxRadius  = 256
	maxLimit   = 32
)

// kernel is the implementation for one instruction set. Its functions are those of the same name with
// their arguments checked: radii are 0 to 256, limits 0 to 32.
type kernel struct {
	name string

	flat128        func(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int)
	flat256        func(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int)
	flat64         func(words []uint64, q uint64, radius int, out []uint32) (n, read int)
	flat128x8      func(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int)
	prefetch       func(off []uint32, masks []uint16, c uint16, shift uint)
	ranges         func(off []uint32, masks []uint16, c uint16, shift uint, sketch []uint32, out []Range) (total int)
	scan           func(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int)
	joinBucket     func(rows, queries []uint32, limit int, out []Pair) (n, done int)
	prefetchRows   func(plane []uint64, rows []uint32)
	prefetchValues func(base unsafe.Pointer, size uintptr, at []uint32)
}

var chosen = choose(os.Getenv("VIGIE_KERNEL"))

// choose returns the kernel of that name, else the fastest that this processor can run.
func choose(name string) *kernel {
	able := kernels()
	if i := slices.IndexFunc(able, func(k *kernel) bool { return k.name == name }); i >= 0 {
		return able[i]
	}
	return able[0]
}

// Kernel names the implementation in use: "avx512", "avx2" or "portable". It is the fastest that the
// processor can run, unless the environment variable VIGIE_KERNEL named another of these when the
// program started.
func Kernel() string { return chosen.name }

// Flat128 finds the rows of plane a whose 128 bits differ from q0, q1 in at most radius. It writes
// their numbers, counted from the start of a, to out in ascending order, and returns how many it wrote
// and how many blocks it has read. It stops early before a block when out has fewer than 8 places left.
//
// It panics if len(out) < 8.
func Flat128(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int) {
	_ = out[blockRows-1]
	if radius < 0 {
		return 0, len(a) / blockWords
	}
	return chosen.flat128(a, q0, q1, min(radius, maxRadius), out)
}

// Flat256 is [Flat128] for rows of 256 bits, in planes of the same length. It reads b only in blocks
// that have rows within the radius by their first half, so that a small radius costs no more than
// Flat128.
//
// It panics if len(out) < 8 or b is shorter than a.
func Flat256(a, b []uint64, q *[4]uint64, radius int, out []uint32) (n, blocks int) {
	_ = out[blockRows-1]
	if radius < 0 {
		return 0, len(a) / blockWords
	}
	return chosen.flat256(a, b[:len(a)], q[0], q[1], q[2], q[3], min(radius, maxRadius), out)
}

// Flat64 is [Flat128] for a column of any number of 64-bit rows. It returns how many words it has
// read; if it stops early, that is a multiple of 8.
//
// It panics if len(out) < 8.
func Flat64(words []uint64, q uint64, radius int, out []uint32) (n, read int) {
	_ = out[blockRows-1]
	if radius < 0 {
		return 0, len(words)
	}
	return chosen.flat64(words, q, min(radius, maxRadius), out)
}

// Flat128x8 is [Flat128] for 8 queries in one pass: rows[i] is within the radius of q[queries[i]].
// Results are ordered by block, then by query, then by row. It stops early before a block when fewer
// than 64 places are left.
//
// It panics if rows has fewer than 64 places, or queries fewer than rows.
func Flat128x8(a []uint64, q *[8][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int) {
	_ = rows[batch*blockRows-1]
	if radius < 0 {
		return 0, len(a) / blockWords
	}
	return chosen.flat128x8(a, q, min(radius, maxRadius), rows, queries[:len(rows)])
}

// Prefetch loads the offsets that [Ranges] will read into the cache. It is a hint, which the portable
// kernel does not take.
//
// It panics if off has not 1<<(16-shift) + 1 offsets.
func Prefetch(off []uint32, masks []uint16, c uint16, shift uint) {
	_ = off[1<<16>>shift]
	chosen.prefetch(off, masks, c, shift)
}

// Ranges writes a bucket for each of masks to out: that with the key k = (c^mask) >> shift, which is
// the sketches [off[k], off[k+1]). It returns the sum of their sizes, and prefetches the first 64
// sketches of each. shift is at most 16.
//
// It panics if off has not 1<<(16-shift) + 1 offsets, or out is shorter than masks.
func Ranges(off []uint32, masks []uint16, c uint16, shift uint, sketch []uint32, out []Range) (total int) {
	_ = off[1<<16>>shift]
	return chosen.ranges(off, masks, c, shift, sketch, out[:len(masks)])
}

// Scan finds the sketches of all ranges that differ from q in at most limit bits. It writes their
// positions to out, range by range, and returns how many it wrote and how many ranges it has finished.
// It stops early before a range that has more sketches than out has places left.
//
// All ranges lie within sketch. Scan reads beyond them, though never reports what it finds there: it
// panics if cap(sketch) is not at least len(sketch) + [Padding], unless sketch is empty.
func Scan(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int) {
	checkPadding(sketch)
	if limit < 0 {
		return 0, len(ranges)
	}
	return chosen.scan(sketch, ranges, q, min(limit, maxLimit), out)
}

// JoinBucket finds the pairs of one of rows and one of queries, both sketches, that differ in at most
// limit bits. It writes them to out, query by query, and returns how many it wrote and how many queries
// it has finished. It stops early before a query when out has fewer than len(rows) places left.
//
// It panics if cap(rows) is not at least len(rows) + [Padding], unless rows is empty.
func JoinBucket(rows, queries []uint32, limit int, out []Pair) (n, done int) {
	checkPadding(rows)
	if limit < 0 || len(rows) == 0 {
		return 0, len(queries)
	}
	return chosen.joinBucket(rows, queries, min(limit, maxLimit), out)
}

func checkPadding(sketch []uint32) {
	if len(sketch) > 0 {
		_ = sketch[:len(sketch)+Padding]
	}
}

// PrefetchRows loads the words of these rows of a plane into the cache: a hint as [Prefetch].
func PrefetchRows(plane []uint64, rows []uint32) { chosen.prefetchRows(plane, rows) }

// PrefetchWords loads words[i] for each i of at into the cache: a hint as [Prefetch].
func PrefetchWords[W uint32 | uint64](words []W, at []uint32) {
	var w W
	chosen.prefetchValues(unsafe.Pointer(unsafe.SliceData(words)), unsafe.Sizeof(w), at)
}

// Distance is the number of bits, 0 to 256, in which a row of the planes a and b differs from q.
func Distance(a, b []uint64, row uint32, q *[4]uint64) int {
	i := int(row)/blockRows*blockWords + int(row)%blockRows
	return bits.OnesCount64(a[i]^q[0]) + bits.OnesCount64(a[i+blockRows]^q[1]) +
		bits.OnesCount64(b[i]^q[2]) + bits.OnesCount64(b[i+blockRows]^q[3])
}
