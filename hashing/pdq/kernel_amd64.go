package pdq

import "golang.org/x/sys/cpu"

var avx2 = kernel{
	"avx2", columnsAVX2, refinedAVX2, sampledAVX2, leastAVX2, transposeAVX2, boxBytesAVX2, productAVX2, stepsAVX2,
}

var avx512 = kernel{
	"avx512", columnsAVX512, refinedAVX512, sampledAVX512, leastAVX512, transposeAVX512, boxBytesAVX512, productAVX512, stepsAVX512,
}

// kernels lists what this processor can run, the fastest first.
func kernels() (able []*kernel) {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		able = append(able, &avx512)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		able = append(able, &avx2)
	}
	return append(able, &portable)
}

//go:noescape
func columnsAVX512(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)

//go:noescape
func refinedAVX512(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)

//go:noescape
func leastAVX512(src *float32, n int) uint32

//go:noescape
func sampledAVX512(dst, src *float32, back int, steps *int, counts *float32, n int)

//go:noescape
func transposeAVX512(dst *float32, dstStride int, src *float32, srcStride int)

//go:noescape
func boxBytesAVX512(dst *float32, src *uint8, n, size int, count, recip float32)

//go:noescape
func productAVX512(dst, left, right *float32, n int)

//go:noescape
func stepsAVX512(samples *float32) int

//go:noescape
func columnsAVX2(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)

//go:noescape
func refinedAVX2(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)

//go:noescape
func leastAVX2(src *float32, n int) uint32

//go:noescape
func sampledAVX2(dst, src *float32, back int, steps *int, counts *float32, n int)

//go:noescape
func transposeAVX2(dst *float32, dstStride int, src *float32, srcStride int)

//go:noescape
func boxBytesAVX2(dst *float32, src *uint8, n, size int, count, recip float32)

//go:noescape
func productAVX2(dst, left, right *float32, n int)

//go:noescape
func stepsAVX2(samples *float32) int
