package segment

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gets zeroed memory that the collector neither scans nor counts, in huge pages if the kernel
// has them to give: tables are read at random, and small pages cost a search a quarter more time.
func allocate(n int) ([]byte, error) {
	memory, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		wantHuge(memory)
	}
	return memory, err
}

func wantHuge(memory []byte) {
	const huge = 2 << 20
	if len(memory) >= huge {
		_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // an advice
	}
}

func release(memory []byte) { _ = unix.Munmap(memory) }

// load gives access to the first n bytes of a file, at whose start it stands or not, and says how to drop it.
func load(f *os.File, n int, copied bool) (memory []byte, drop func([]byte), err error) {
	if !copied {
		if memory, err = unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return nil, nil, err
		}
		// Where the file system keeps files in large folios (ext4, xfs and btrfs of late kernels), they are mapped by huge pages.
		wantHuge(memory)
		_ = unix.Madvise(memory, unix.MADV_POPULATE_READ) // Linux 5.14; else pages are mapped as they are verified
		return memory, release, nil
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
