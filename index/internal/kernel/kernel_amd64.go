package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

var avx2 = kernel{
	"avx2", flat128AVX2, flat256AVX2, flat64AVX2, flat128x8AVX2,
	prefetchOffsetsAsm, rangesAsm, scanAVX2, joinBucketAVX2, prefetchRowsAsm, prefetchValuesAsm,
}

var avx512 = kernel{
	"avx512", flat128AVX512, flat256AVX512, flat64AVX512, flat128x8AVX512,
	prefetchOffsetsAsm, rangesAsm, scanAVX512, joinBucketAVX512, prefetchRowsAsm, prefetchValuesAsm,
}

// kernels lists what this processor can run, the fastest first.
func kernels() (able []*kernel) {
	x := &cpu.X86
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VPOPCNTDQ && x.HasBMI2 && x.HasPOPCNT {
		able = append(able, &avx512)
	}
	if x.HasAVX2 && x.HasPOPCNT {
		able = append(able, &avx2)
	}
	return append(able, &portable)
}

//go:noescape
func flat128AVX512(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int)

//go:noescape
func flat256AVX512(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int)

//go:noescape
func flat64AVX512(words []uint64, q uint64, radius int, out []uint32) (n, read int)

//go:noescape
func flat128x8AVX512(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int)

//go:noescape
func scanAVX512(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int)

//go:noescape
func joinBucketAVX512(rows, queries []uint32, limit int, out []Pair) (n, done int)

//go:noescape
func flat128AVX2(a []uint64, q0, q1 uint64, radius int, out []uint32) (n, blocks int)

//go:noescape
func flat256AVX2(a, b []uint64, q0, q1, q2, q3 uint64, radius int, out []uint32) (n, blocks int)

//go:noescape
func flat64AVX2(words []uint64, q uint64, radius int, out []uint32) (n, read int)

//go:noescape
func flat128x8AVX2(a []uint64, q *[batch][2]uint64, radius int, rows []uint32, queries []uint8) (n, blocks int)

//go:noescape
func scanAVX2(sketch []uint32, ranges []Range, q uint32, limit int, out []uint32) (n, done int)

//go:noescape
func joinBucketAVX2(rows, queries []uint32, limit int, out []Pair) (n, done int)

//go:noescape
func prefetchOffsetsAsm(off []uint32, masks []uint16, c uint16, shift uint)

//go:noescape
func rangesAsm(off []uint32, masks []uint16, c uint16, shift uint, sketch []uint32, out []Range) (total int)

//go:noescape
func prefetchRowsAsm(plane []uint64, rows []uint32)

//go:noescape
func prefetchValuesAsm(base unsafe.Pointer, size uintptr, at []uint32)
