package kernel_test

import "unsafe"

func address(words []uint64) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(words)))) }

// halves is the same memory as 32-bit words.
func halves(words []uint64) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}
