package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// Write writes the segment to a new file and syncs it. If it fails, it leaves no file.
func (s *Segment) Write(path string) (err error) {
	defer runtime.KeepAlive(s)
	h := s.header
	var sums sync.WaitGroup
	for i := range h.Sections {
		sums.Go(func() { h.Sections[i].Sum = crc32.Checksum(s.section(i), castagnoli) })
	}
	sums.Wait()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := f.Write(h.encode()); err != nil {
		return err
	}
	for rest := s.memory[headerSize:]; len(rest) > 0; { // by parts, so that no write holds all pages at a time
		part := rest[:min(len(rest), 64<<20)]
		if _, err := f.Write(part); err != nil {
			return err
		}
		rest = rest[len(part):]
	}
	return f.Sync()
}

func (s *Segment) section(i int) []byte {
	at := s.Sections[i].Offset
	return s.memory[at : at+s.Sections[i].Length]
}

// ErrDamaged is wrapped by the errors of [Open] that say that a file is not what was written.
var ErrDamaged = errors.New("damaged")

// Open reads a segment that [Segment.Write] wrote, and verifies all of it. It maps the file, or if copied is set, copies
// it to memory that may lie in huge pages. The file must not be changed as long as the segment lives; it may be removed.
func Open(path string, copied bool) (*Segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := read(f, copied)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func read(f *os.File, copied bool) (*Segment, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	first := make([]byte, headerSize)
	if _, err := io.ReadFull(f, first); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	h, err := decodeHeader(first)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case uint64(info.Size()) != h.Size:
		return nil, fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), h.Size)
	}
	memory, drop, err := load(f, int(h.Size), copied)
	if err != nil {
		return nil, err
	}
	s, err := over(memory, h)
	if err == nil {
		err = s.verify()
	}
	if err != nil {
		drop(memory)
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	runtime.AddCleanup(s, drop, memory)
	return s, nil
}

// verify compares the checksums, and makes sure that no number in a table leads out of it, whoever
// wrote the file.
func (s *Segment) verify() error {
	errs := make([]error, maxSections)
	var todo sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		todo.Go(func() {
			for i := range next {
				errs[i] = s.verifySection(i)
			}
		})
	}
	for i := range maxSections {
		next <- i
	}
	close(next)
	todo.Wait()
	return errors.Join(errs...)
}

var errUnreadable = errors.New("it cannot be read")

// verifySection turns what cannot be read, such as a bad sector below a mapped page, into an error.
func (s *Segment) verifySection(i int) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("section %d: %w: %v", i, errUnreadable, fault)
		default:
			panic(fault)
		}
	}()
	part := s.section(i)
	if crc32.Checksum(part, castagnoli) != s.Sections[i].Sum {
		return fmt.Errorf("the checksum of section %d is wrong", i)
	}
	directory, rows := false, i == secByValue
	if i >= secTables {
		directory, rows = (i-secTables)%3 == 0, (i-secTables)%3 == 2
	}
	switch {
	case directory && len(part) > 0:
		last := uint32(0)
		if first := of[uint32](part)[0]; first != 0 {
			return fmt.Errorf("section %d, a directory, begins at %d", i, first)
		}
		for _, at := range of[uint32](part) {
			if at < last {
				return fmt.Errorf("section %d, a directory, is out of order", i)
			}
			last = at
		}
		if uint64(last) != s.Rows {
			return fmt.Errorf("section %d, a directory, ends at %d of %d rows", i, last, s.Rows)
		}
	case rows:
		most := uint32(0)
		for _, row := range of[uint32](part) {
			most = max(most, row)
		}
		if len(part) > 0 && uint64(most) >= s.Rows {
			return fmt.Errorf("section %d names row %d of %d", i, most, s.Rows)
		}
	}
	return nil
}
