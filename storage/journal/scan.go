package journal

import (
	"bufio"
	"errors"
	"io"
	"os"
	"syscall"
)

// scanner reads the frames of a file one after the other, and finds the next good one behind what is damaged.
type scanner struct {
	r    *bufio.Reader // can peek at a frame of any size
	off  int64         // of what comes next
	next uint64        // its number
	last uint64        // of the file: frames beyond it are not its own
}

func newScanner(r *bufio.Reader, f io.ReaderAt, from, to int64, next, last uint64) *scanner {
	r.Reset(io.NewSectionReader(f, from, to-from))
	return &scanner{r, from, next, last}
}

func newFrameReader() *bufio.Reader { return bufio.NewReaderSize(nil, maxFrame) }

// hole is a part of a file that holds no good frame, though records from..to-1 should be there. It may be that none is
// missing: then bytes are there that nobody has written.
type hole struct {
	off      int64
	from, to uint64
}

func (h hole) found() bool { return h.off != 0 }

// scan returns the next good record of the file, and the hole before it, if there is one. io.EOF says that there is no
// further record; then the hole, if found, is what is left of the file.
//
// Records are damaged rarely, and what is not a frame looks like one only by chance (see checkRecord), so that every byte may
// be tried.
func (s *scanner) scan() (r Record, h hole, err error) {
	began := s.off
	for s.next <= s.last {
		head, err := s.r.Peek(fixedSize)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Record{}, hole{}, err
		}
		size, number, ok := frameHead(head)
		// As many records are missing, at most, as there is room for in what was passed over.
		if ok && number >= s.next && number <= s.last && number-s.next <= uint64(s.off-began)/minFrame {
			frame, err := s.r.Peek(size)
			if err != nil && !errors.Is(err, io.EOF) {
				return Record{}, hole{}, err
			}
			if err == nil {
				if r, ok = parseFrame(frame); ok {
					if s.off != began {
						h = hole{began, s.next, number}
					}
					s.pass(size)
					s.next = number + 1
					return r, h, nil
				}
			}
		}
		s.pass(1)
	}
	if s.next <= s.last {
		h = hole{began, s.next, s.last + 1}
	}
	return Record{}, h, io.EOF
}

func (s *scanner) pass(n int) {
	n, _ = s.r.Discard(n) // of what was peeked at
	s.off += int64(n)
}

// reader reads a file as Options say.
type reader struct {
	f     *os.File
	read  func(f *os.File, p []byte, off int64) (int, error)
	blank bool // pages that the disk does not give are zeros, instead of an error
}

const pageSize = 4096

// ReadAt implements [io.ReaderAt].
func (r reader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.read(r.f, p, off)
	if !r.blank || !errors.Is(err, syscall.EIO) {
		return n, err
	}
	for n = 0; n < len(p); {
		page := p[n:min(len(p), n+pageSize-int(off+int64(n))%pageSize)]
		m, err := r.read(r.f, page, off+int64(n))
		if errors.Is(err, syscall.EIO) {
			clear(page)
			m, err = len(page), nil
		}
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}
