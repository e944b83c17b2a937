package pdq_test

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"vigie/hashing/pdq"
)

// A buffer that ends where memory ends: a kernel that reads a value more crashes. The same at its
// beginning.
func TestKernelsReadNothingBeyondTheBuffer(t *testing.T) {
	const size, page = 1 << 20, 1 << 16
	memory, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	for i := range memory {
		memory[i] = uint8(i * 7)
	}
	for _, guard := range [][]byte{memory[:page], memory[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	inner := memory[page : page+size]
	for _, name := range pdq.Kernels() {
		h := pdq.With(name)
		for w := 5; w < 600; w += 1 + w/20 {
			for _, height := range []int{5, 63, 64, 65, 130} {
				n := w * height
				h.DihedralBytes(inner[:n], w, height)
				h.DihedralBytes(inner[size-n:], w, height)
				first := unsafe.Slice((*float32)(unsafe.Pointer(&inner[0])), n)
				last := unsafe.Slice((*float32)(unsafe.Pointer(&inner[size-4*n])), n)
				h.Dihedral(first, w, height)
				h.Dihedral(last, w, height)
			}
		}
	}
}
