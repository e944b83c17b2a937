package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"vigie/storage"
)

const (
	maxBatch      = 1000    // records
	maxBatchBytes = 1 << 20 // of their bodies; a single one has as many at most

	// gather is how long Ship waits for more when it has caught up, so that a catalogue gets few batches and large ones.
	gather = 50 * time.Millisecond

	firstRetry, lastRetry = 50 * time.Millisecond, 5 * time.Second
)

// Ship hands records on until ctx ends or the journal is closed; it returns ctx's error or [ErrClosed]. It is to be running
// once at a time.
//
// deliver gets at most 1000 records or 1 MiB of bodies, in order, and keeps them if it likes. When it returns nil they
// are to be safe where they went. When it returns an error, that is told to Options.Fault, and it gets the same records again, after
// 50 ms, then less and less often, at last every 5 s; nothing else is handed on meanwhile, so that a record which is no good is to
// be put aside by deliver itself. What was delivered just before a crash is delivered again: a record that came before,
// as its ID tells, is the same one.
//
// Files whose records were all delivered are removed.
func (j *Journal) Ship(ctx context.Context, deliver func(context.Context, []Record) error) error {
	if !j.shipping.TryLock() {
		return errors.New("journal: its records are being shipped already")
	}
	defer j.shipping.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := j.stopWith(cancel); err != nil {
		return err
	}
	frames := newFrameReader()
	var failed time.Time // when files could not be removed
	for ctx.Err() == nil {
		if time.Since(failed) > lastRetry {
			if err := j.removeShipped(); err != nil {
				failed = time.Now()
				j.o.Fault(fmt.Errorf("remove files of the journal: %w", err))
			}
		}
		f := j.unshipped()
		if f == nil {
			select {
			case <-j.grown:
			case <-time.After(lastRetry):
			case <-ctx.Done():
			}
			continue
		}
		var b batch
		ok := j.retry(ctx, "read the journal", func(late bool) (err error) {
			b, err = j.read(f, frames, late)
			return err
		})
		if ok && len(b.records) > 0 {
			ok = j.retry(ctx, "mark what the journal hands on", func(bool) error { return j.saveMark(b.next - 1) }) &&
				j.retry(ctx, "deliver the journal", func(bool) error { return deliver(ctx, b.records) })
		}
		if !ok {
			break
		}
		if j.advance(f, b); f.growing && !b.full {
			select {
			case <-time.After(gather):
			case <-j.hurry:
			case <-ctx.Done():
			}
		}
	}
	if err := j.saveMark(0); err != nil {
		j.o.Fault(fmt.Errorf("mark what the journal handed on: %w", err))
	}
	return context.Cause(ctx)
}

// stopWith has Close stop Ship.
func (j *Journal) stopWith(cancel context.CancelCauseFunc) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	j.stopShip = cancel
	return nil
}

// retry does something until it goes well or ctx ends; ok tells which. late says that it has failed for a while.
func (j *Journal) retry(ctx context.Context, what string, do func(late bool) error) (ok bool) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := do(wait == lastRetry)
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		j.o.Fault(fmt.Errorf("%s: %w", what, err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
}

// unshipped returns the first file that holds records to be handed on, or nil. It is a copy, as of now.
func (j *Journal) unshipped() *file {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		if f.last > j.shipped {
			now := *f
			return &now
		}
	}
	return nil
}

// batch is what comes next in a file, which may be no more than that nothing can be read.
type batch struct {
	records []Record
	holes   []hole
	off     int64 // where the file goes on
	next    uint64
	full    bool // there is more in the file
}

// read reads a batch. late gives up waiting for a disk that cannot read a page: what is in it is lost.
func (j *Journal) read(f *file, frames *bufio.Reader, late bool) (b batch, err error) {
	in, err := os.Open(filepath.Join(j.dir, f.name))
	if errors.Is(err, os.ErrNotExist) {
		return batch{holes: []hole{{f.off, f.next, f.last + 1}}, off: f.end, next: f.last + 1}, nil
	} else if err != nil {
		return batch{}, err
	}
	defer in.Close()
	s := newScanner(frames, reader{f: in, read: j.o.read, blank: late}, f.off, f.end, f.next, f.last)
	size := 0
	for {
		b.off, b.next = s.off, s.next
		if b.full = len(b.records) == maxBatch; b.full {
			return b, nil
		}
		r, h, err := s.scan()
		if err != nil && !errors.Is(err, io.EOF) {
			return batch{}, err
		}
		if size += len(r.Body); size > maxBatchBytes && len(b.records) > 0 {
			b.full = true
			return b, nil
		}
		if h.found() {
			b.holes = append(b.holes, h)
		}
		if err != nil {
			b.off, b.next = f.end, f.last+1
			return b, nil
		}
		if r.ID.Number > j.shipped { // which only Ship changes
			r.ID.Node = j.node
			b.records = append(b.records, r)
		}
	}
}

// saveMark writes down what was delivered, and that records up to handed will be.
func (j *Journal) saveMark(handed uint64) error {
	m := j.mark
	m.shipped = j.shipped
	m.handed = max(m.handed, m.shipped, handed)
	if m == j.mark {
		return nil
	}
	var err error
	j.mark, err = m.save(j.dir, j.o, j.mark)
	return err
}

// advance notes that a batch was delivered.
func (j *Journal) advance(was *file, b batch) {
	var faults []error
	j.mu.Lock()
	for _, f := range j.files {
		if f.name != was.name {
			continue
		}
		for _, h := range b.holes {
			f.damaged = true
			if h.to <= j.shipped {
				continue // they were handed on before
			}
			lost := h.to - max(h.from, j.shipped+1)
			j.lost += lost
			faults = append(faults, fmt.Errorf("journal: %w: %s at byte %d: damage before record %d: %d records are lost",
				storage.ErrCorrupt, filepath.Join(j.dir, f.name), h.off, h.to, lost))
		}
		j.bytes -= b.off - f.off
		f.off, f.next = b.off, b.next
	}
	j.shipped = max(j.shipped, b.next-1)
	if n := len(b.records); n > 0 {
		j.oldest = b.records[n-1].At // those that follow are not older
	}
	j.advanced()
	j.mu.Unlock()
	for _, err := range faults {
		j.o.Fault(err)
	}
}

// removeShipped removes files that are wholly handed on and not written any more. The mark goes before: what is not there
// must not be looked for.
func (j *Journal) removeShipped() error {
	j.mu.Lock()
	var done []*file
	for _, f := range j.files {
		if f.growing || f.last > j.shipped {
			break
		}
		done = append(done, f)
	}
	j.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	if err := j.saveMark(0); err != nil {
		return err
	}
	for _, f := range done {
		if err := f.remove(j.dir); err != nil {
			return err
		}
	}
	if err := syncDir(j.dir, j.o); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files = j.files[len(done):]
	for _, f := range done { // what a file holds beyond its last record
		j.bytes -= f.end - f.off
	}
	j.advanced()
	return nil
}

// Renew has the next record begin a file, so that all before it leave the folder once they are delivered. It does not wait
// for that.
func (j *Journal) Renew() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.leaveFile()
}

// leaveFile asks the writer for that. mu is held.
func (j *Journal) leaveFile() {
	if !j.closed {
		j.renew = true
		signal(j.wake)
	}
}

// Flush returns when all that was acknowledged before is delivered, and gone from the folder, but for what is damaged.
// [Journal.Ship] does that meanwhile; without it, Flush waits until ctx ends or the journal is closed.
func (j *Journal) Flush(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	target := j.durable
	j.leaveFile()
	return j.await(ctx, true, func() bool { return j.shipped >= target && (len(j.files) == 0 || j.files[0].first > target) })
}

// Reach returns when a record is delivered, or known to be lost. It only waits: nothing is done sooner for it, so that it may
// be called as often as anybody likes. Errors are [ErrInvalid], at once, for an id that this journal has not acknowledged;
// [ErrClosed], and ctx's.
func (j *Journal) Reach(ctx context.Context, id ID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id.Node != j.node || id.Number == 0 || id.Number > j.durable {
		return fmt.Errorf("%w: %s is no record of this journal", ErrInvalid, id)
	}
	return j.await(ctx, false, func() bool { return j.shipped >= id.Number })
}

// await waits until Ship has come so far; hurry has it gather no more than there is. mu is held.
func (j *Journal) await(ctx context.Context, hurry bool, there func() bool) error {
	for !there() {
		if j.closed {
			return ErrClosed
		}
		progress := j.progress
		if hurry {
			signal(j.hurry)
		}
		j.mu.Unlock()
		var err error
		select {
		case <-progress:
		case <-j.stopped:
		case <-ctx.Done():
			err = ctx.Err()
		}
		j.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}
