package kernel_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigie/index/internal/kernel"
)

// Slices that end where memory ends: a kernel that reads or writes a place more crashes.
func TestKernelsStayWithinTheirSlices(t *testing.T) {
	const size, page = 1 << 16, 1 << 16
	end := func() []uint64 {
		memory, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(memory) })
		if err := unix.Mprotect(memory[size:], unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
		return unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), size/8)
	}
	in, results := end(), end()
	in32, out := halves(in), halves(results)
	pairs := unsafe.Slice((*kernel.Pair)(unsafe.Pointer(&results[0])), len(results))
	by := make([]uint8, len(out))
	defer kernel.Use(kernel.Kernel())
	for _, name := range kernel.Kernels() {
		kernel.Use(name)
		for n := range 201 {
			blocks := n / 8 * 16
			plane := in[len(in)-blocks:]
			for _, room := range []int{n, n + 1, max(n/2, 8)} {
				for _, radius := range []int{0, 256} {
					if room >= 8 {
						kernel.Flat128(plane, 0, 0, radius, out[len(out)-room:])
						kernel.Flat256(plane, plane, &[4]uint64{}, radius, out[len(out)-room:])
						kernel.Flat64(in[len(in)-n:], 0, radius, out[len(out)-room:])
						kernel.Flat128x8(plane, &[8][2]uint64{}, radius, out[len(out)-8*room:], by)
					}
					start := len(in32) - kernel.Padding - n
					sketch := in32[start : start+n]
					kernel.Scan(sketch, []kernel.Range{{Lo: 0, Hi: uint32(n)}}, 0, radius, out[len(out)-room:])
					kernel.JoinBucket(sketch, make([]uint32, 3), radius, pairs[len(pairs)-3*room:])
				}
			}
		}
	}
}
