//go:build !linux

package segment

import (
	"io"
	"os"
	"unsafe"
)

// allocate gets zeroed memory, aligned to 64 bytes.
func allocate(n int) ([]byte, error) {
	words := make([]uint64, (n+63)/8+8)
	at := unsafe.Pointer(unsafe.SliceData(words))
	skip := -uintptr(at) % 64
	return unsafe.Slice((*byte)(unsafe.Add(at, skip)), n), nil
}

func release([]byte) {}

// load reads the first n bytes of a file.
func load(f *os.File, n int, _ bool) (memory []byte, drop func([]byte), err error) {
	if memory, err = allocate(n); err == nil {
		_, err = io.ReadFull(io.NewSectionReader(f, 0, int64(n)), memory)
	}
	return memory, release, err
}
