package pdq

import (
	"os"
	"slices"
)

// kernel is the arithmetic of [Hasher] for one instruction set. Strides are in bytes. A buffer of
// lanes has 64 values for each position, so that the running sums of 64 rows, or of 64 columns, lie
// side by side and are never added to each other.
type kernel struct {
	name string

	// columns runs 64 sums down n rows. At each it adds the 64 values at src, subtracts those that lie
	// back before them, writes sum / counts[i] to dst, and goes on: src by stride, dst by 64 values.
	columns func(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
	// refined is columns without divisions, for values as [recip] asks for.
	refined func(dst, src *float32, stride, back int, sums, counts, recips *float32, n int)
	// sampled is columns where only n results are wanted, the i-th after steps[i] more rows. Its src
	// is a buffer of lanes, and its sums begin at 0.
	sampled func(dst, src *float32, back int, steps *int, counts *float32, n int)
	// least is the smallest of 2*bits - 1 as uint32 for n times 64 values: zeros are beyond all others,
	// signs count for nothing.
	least func(src *float32, n int) uint32
	// transpose exchanges the rows and columns of a tile of 64 x 64.
	transpose func(dst *float32, dstStride int, src *float32, srcStride int)
	// boxBytes writes n means of size bytes each, the first of which begins at src. n is at least 64,
	// size at most maxBytes, count is size and recip its reciprocal.
	boxBytes func(dst *float32, src *uint8, n, size int, count, recip float32)
	// product multiplies a 16 x 64 matrix by one of 64 x n, n a multiple of 16, as [multiply] does.
	product func(dst, left, right *float32, n int)
	// steps is the sum that makes the quality, as [Hasher.steps].
	steps func(samples *float32) int
}

// portable stands for the plain code of pdq.go.
var portable = kernel{name: "portable"}

// chosen is what a zero Hasher computes with.
var chosen = choose(os.Getenv("VIGIE_KERNEL"))

// choose returns the kernel of that name, else the fastest that this processor can run.
func choose(name string) *kernel {
	able := kernels()
	if i := slices.IndexFunc(able, func(k *kernel) bool { return k.name == name }); i >= 0 {
		return able[i]
	}
	return able[0]
}

// Kernel names the instruction set that hashes are computed with: "avx512", "avx2" or "portable". It is
// the fastest that the processor can run, unless the environment variable VIGIE_KERNEL named
// another of these when the program started. All give the same results.
func Kernel() string { return chosen.name }
