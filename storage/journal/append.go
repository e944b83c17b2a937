package journal

import (
	"context"
	"fmt"
	"os"
	"time"
)

// maxGroup is how many bytes of frames callers may leave to the writer: one group is on its way to the disk, and one is
// pending.
const maxGroup = 4 << 20

// group is the records that share a sync.
type group struct {
	buf     []byte // frames
	records uint64
	first   time.Time     // when the first was put
	taken   chan struct{} // closed when nothing can be put any more
	done    chan struct{} // closed when err says what came of it
	err     error
}

func newGroup(buf []byte) *group {
	return &group{buf: buf[:0], taken: make(chan struct{}), done: make(chan struct{})}
}

// Append writes a record, and returns its id when the record is on the disk. A kind is 1 to 32 of a-z, 0-9, '.', '_' and
// '-'; a body is JSON of at most [MaxBody] bytes, and the caller's again when Append returns.
//
// Errors are [ErrInvalid]; [ErrFull], at once; [ErrClosed]; ctx's, or those of the disk. After an error of ctx or of the disk the
// record may still be there later, and be handed on: it was not acknowledged, and that is all. A disk that failed is tried
// again, with a new file, by the next call: a full one recovers when there is room.
func (j *Journal) Append(ctx context.Context, kind string, body []byte) (ID, error) {
	if err := checkRecord(kind, body); err != nil {
		return ID{}, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return ID{}, err
		}
		g, number, err := j.put(kind, body)
		if err != nil {
			return ID{}, err
		}
		wait := g.done
		if number == 0 {
			wait = g.taken
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return ID{}, ctx.Err()
		}
		if number != 0 {
			return ID{j.node, number}, g.err
		}
	}
}

// put puts a record into the pending group. If there is no room for it the number is 0.
func (j *Journal) put(kind string, body []byte) (*group, uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	g, size := j.pending, frameSize(kind, body)
	switch {
	case j.closed:
		return nil, 0, ErrClosed
	case j.bytes+int64(size) > j.o.MaxBytes:
		return nil, 0, ErrFull
	case len(g.buf) > 0 && len(g.buf)+size > maxGroup:
		return g, 0, nil
	}
	now, number := j.o.Now(), j.next
	if g.records == 0 {
		g.first = now
	}
	g.buf = appendFrame(g.buf, number, now, kind, body)
	g.records++
	j.next++
	j.bytes += int64(size)
	signal(j.wake)
	return g, number, nil
}

// file is one of the folder, as far as it is on the disk.
type file struct {
	name        string
	first, last uint64 // numbers
	end         int64  // of the last record, or of what may hold it
	growing     bool   // the writer is writing it
	damaged     bool   // it is not to be removed
	told        uint64 // the record behind the last hole that was told of

	// Where Ship goes on, if not at a record behind it.
	off  int64
	next uint64
}

// writer is the goroutine that writes groups.
type writer struct {
	j   *Journal
	to  *file    // nil: the next group begins a file
	out *os.File // of to
}

func (w *writer) run() {
	j := w.j
	defer close(j.stopped)
	defer w.leave()
	for range j.wake {
		g, renew := j.take()
		if renew {
			w.leave()
		}
		if g == nil {
			continue
		}
		if err := w.write(g); err != nil {
			w.leave()
			j.fail(g, fmt.Errorf("write the journal: %w", err))
		}
	}
}

// take takes the pending group; nil: it is empty. renew says that it begins a file.
func (j *Journal) take() (g *group, renew bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	renew, j.renew = j.renew, false
	if j.pending.records > 0 {
		g = j.pending
		j.pending, j.spare = newGroup(j.spare), nil
		close(g.taken)
	}
	return g, renew
}

// write brings a group to the disk and answers its callers.
func (w *writer) write(g *group) error {
	j, f := w.j, w.to
	if f != nil && f.end >= j.o.FileBytes {
		w.leave()
		f = nil
	}
	if f == nil {
		first := j.durable + 1 // which only this goroutine changes
		f = &file{name: fileName(first), first: first, last: first - 1, end: headerSize, off: headerSize, next: first, growing: true}
		var err error
		if w.out, err = place(j.dir, f.name, appendHeader(nil, j.node, first), j.o); err != nil {
			return err
		}
	}
	if _, err := j.o.write(w.out, g.buf); err != nil {
		return err
	}
	if err := j.o.sync(w.out); err != nil {
		return err
	}

	j.mu.Lock()
	if w.to == nil {
		w.to = f
		j.files = append(j.files, f)
	}
	if j.shipped == j.durable {
		j.oldest = g.first
	}
	f.end += int64(len(g.buf))
	f.last += g.records
	j.durable = f.last
	j.syncs++
	j.spare = g.buf
	j.mu.Unlock()
	close(g.done)
	signal(j.grown)
	return nil
}

// leave ends a file: what comes goes to the next one. All that is acknowledged is synced; how closing goes does not matter.
func (w *writer) leave() {
	if w.out != nil {
		_ = w.out.Close()
	}
	if w.to != nil {
		w.j.mu.Lock()
		w.to.growing = false
		w.j.mu.Unlock()
		signal(w.j.grown)
	}
	w.to, w.out = nil, nil
}

// fail tells a group that it was not written, and the pending one with it, whose numbers come behind; they are given again.
func (j *Journal) fail(g *group, err error) {
	j.mu.Lock()
	pending := j.pending
	j.pending = newGroup(nil)
	j.next = j.durable + 1
	j.bytes -= int64(len(g.buf) + len(pending.buf))
	j.mu.Unlock()
	close(pending.taken)
	for _, g := range []*group{g, pending} {
		g.err = err
		close(g.done)
	}
}
