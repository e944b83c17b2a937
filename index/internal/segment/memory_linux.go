package segment

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gets zeroed memory that the collector neither scans nor counts, in huge pages if the kernel
// has them to give: tables are read at random, and small pages cost a search a quarter more time.
func allocate(n int) ([]byte, error) {
	const huge = 2 << 20
	memory, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil && n >= huge {
		_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // an advice
	}
	return memory, err
}

func release(memory []byte) { _ = unix.Munmap(memory) }

// load gives access to the first n bytes of a file, at whose start it stands or not, and says how to drop it.
func load(f *os.File, n int, copied bool) (memory []byte, drop func([]byte), err error) {
	if !copied {
		memory, err = unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
		return memory, release, err
	}
	if memory, err = allocate(n); err != nil {
		return nil, nil, err
	}
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(n)), memory); err != nil {
		release(memory)
		return nil, nil, err
	}
	return memory, release, nil
}
