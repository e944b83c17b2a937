package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
// Where the records go may have lost some that it had, as a database does that is restored from a backup. Then deliver answers
// [Behind], and what the folder still has of them is handed on again, in order, before what comes next. Records that are in no
// file any more are told to Options.Fault.
//
// Files whose records were all delivered are removed.
func (j *Journal) Ship(ctx context.Context, deliver func(context.Context, []Record) error) error {
	return j.ship(ctx, false, deliver)
}

// ShipFiles is [Journal.Ship] by whole files: deliver gets all records of one that is complete, as [Options].FileBytes and
// [Journal.Renew] have it, and gets the same ones again, but for a crash at the end of the last file: then there may be some more
// behind them. So a file may become a file elsewhere. Its records are in memory meanwhile.
func (j *Journal) ShipFiles(ctx context.Context, deliver func(context.Context, []Record) error) error {
	return j.ship(ctx, true, deliver)
}

func (j *Journal) ship(ctx context.Context, whole bool, deliver func(context.Context, []Record) error) error {
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
		j.mu.Lock()
		again := j.again
		j.again = nil
		j.mu.Unlock()
		if again != nil {
			j.rewind(*again)
		}
		if time.Since(failed) > lastRetry {
			if err := j.removeShipped(); err != nil {
				failed = time.Now()
				j.o.Fault(fmt.Errorf("remove files of the journal: %w", err))
			}
		}
		f := j.unshipped()
		if f == nil || whole && f.growing {
			select {
			case <-j.grown:
			case <-time.After(lastRetry):
			case <-ctx.Done():
			}
			continue
		}
		var b batch
		ok := j.retry(ctx, "read the journal", func(late bool) (err error) {
			b, err = j.read(f, frames, whole, late)
			return err
		})
		var behind *Behind
		if ok && len(b.records) > 0 {
			b.records[0].Gap = b.records[0].ID.Number - 1 - j.there
			ok = j.retry(ctx, "mark what the journal hands on", func(bool) error { return j.saveMark(b.next - 1) }) &&
				j.retry(ctx, "deliver the journal", func(bool) error {
					err := deliver(ctx, b.records)
					if is, lacks := errors.AsType[*Behind](err); lacks && is.Shipped < j.there {
						behind = is
						return nil
					}
					return err
				})
		}
		if !ok {
			break
		}
		if behind != nil {
			j.rewind(behind.Shipped)
			continue
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

// Behind is what deliver answers if it lacks records from before the first one that it was given, but for those that the folder
// lacks, too ([Record].Gap). Shipped is the number of the last one that it has.
type Behind struct{ Shipped uint64 }

func (b *Behind) Error() string {
	return fmt.Sprintf("records after %d are missing, which were handed on before", b.Shipped)
}

// Again has records after a number handed on again, if it was found that where they went does not have them any more; see
// [Behind]. It does not wait for that. seen are the stats of before it was found: if Ship has gone back since, it does not again.
func (j *Journal) Again(after uint64, seen Stats) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if after < j.there && seen.Rewinds == j.rewinds {
		j.again = &after
		signal(j.grown)
	}
}

// Renumber is for where records go having those up to a number, as it says, which the folder knows nothing of: the folder is an older
// copy then, whose next numbers were given before, or the process ended before it noted what it had handed on. What comes up to there is
// taken for handed on, and the next record gets a number beyond. again are those of them that were not, since what has their numbers there
// is something else: they get numbers of their own, at once, and keep their times.
//
// All of again are in the folder, synced, before what they are made of may leave it: after a crash in between the folder has both, alike but for the
// numbers. Renumber is for before the first Append and before Ship; an error otherwise. The Gap of again does not count.
func (j *Journal) Renumber(to uint64, again []Record) error {
	if !j.shipping.TryLock() {
		return errors.New("journal: its records are being shipped already")
	}
	defer j.shipping.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return ErrClosed
	case to <= j.shipped && len(again) == 0:
		return nil
	case j.next != j.durable+1 || j.syncs > 0 || to >= maxNumber:
		return fmt.Errorf("%w: records are numbered already, or %d is no number", ErrInvalid, to)
	}
	first := max(j.durable, to) + 1
	if len(again) > 0 {
		f, err := j.wholeFile(first, again)
		if err != nil {
			return fmt.Errorf("journal: give records other numbers: %w", err)
		}
		if j.shipped == j.durable {
			j.oldest = again[0].At
		}
		j.files = append(j.files, f)
		j.bytes += f.end - headerSize
	}
	j.durable = first - 1 + uint64(len(again))
	j.next, j.shipped, j.there = j.durable+1, max(j.shipped, to), max(j.there, to)
	return j.saveMark(0)
}

// wholeFile makes a file of records, which is there with all of them, or not at all.
func (j *Journal) wholeFile(first uint64, records []Record) (*file, error) {
	b := appendHeader(nil, j.node, first)
	number := first
	for _, r := range records {
		if err := checkRecord(r.Kind, r.Body); err != nil {
			return nil, err
		}
		b = appendFrame(b, number, r.At, r.Kind, r.Body)
		number++
	}
	f := &file{name: fileName(first), first: first, last: number - 1, end: int64(len(b)), off: headerSize, next: first}
	out, err := place(j.dir, f.name, b, j.o)
	if err != nil {
		return nil, err
	}
	return f, out.Close()
}

// rewind goes back to a record that is the last one where they go, or as near to it as the files reach. Ship's alone.
func (j *Journal) rewind(to uint64) {
	j.mu.Lock()
	from, there, first := j.shipped, uint64(0), (*file)(nil)
	if to >= j.there {
		j.mu.Unlock()
		return
	}
	j.there = to
	j.rewinds++
	for _, f := range j.files {
		if f.last <= to {
			continue
		}
		if first == nil {
			first = f
		}
		j.bytes += f.off - headerSize
		f.off, f.next = headerSize, f.first
		if f.first <= from {
			there += min(f.last, from) - max(to, f.first-1)
		}
	}
	if first != nil {
		j.shipped = min(from, max(to, first.first-1))
		j.oldest = j.firstTime(first)
	}
	j.mu.Unlock()
	j.o.Fault(fmt.Errorf("journal: records %d to %d were handed on, and where they went does not have them any more: %d of them are in %s and are handed on again, %d are not",
		to+1, from, there, j.dir, from-to-there))
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

// read reads a batch, or the whole file. late gives up waiting for a disk that cannot read a page: what is in it is lost.
func (j *Journal) read(f *file, frames *bufio.Reader, whole, late bool) (b batch, err error) {
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
		if b.full = len(b.records) == maxBatch && !whole; b.full {
			return b, nil
		}
		r, h, err := s.scan()
		if err != nil && !errors.Is(err, io.EOF) {
			return batch{}, err
		}
		if size += len(r.Body); size > maxBatchBytes && len(b.records) > 0 && !whole {
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

// Backlog returns the records that are acknowledged and not handed on, in order, without handing them on. What is damaged is
// passed over: to tell of it is up to Ship, which is not to run meanwhile. It ends with an error if a file cannot be read.
func (j *Journal) Backlog() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		j.shipping.Lock()
		defer j.shipping.Unlock()
		j.mu.Lock()
		shipped := j.shipped
		var files []file
		for _, f := range j.files {
			files = append(files, *f)
		}
		j.mu.Unlock()
		frames := newFrameReader()
		for i := range files {
			if err := j.records(&files[i], frames, shipped, yield); err != nil {
				if !errors.Is(err, errStopped) {
					yield(Record{}, fmt.Errorf("read the journal: %w", err))
				}
				return
			}
		}
	}
}

var errStopped = errors.New("nobody wants more")

// records yields the records of a file that are behind the one shipped last.
func (j *Journal) records(f *file, frames *bufio.Reader, shipped uint64, yield func(Record, error) bool) error {
	in, err := os.Open(filepath.Join(j.dir, f.name))
	if err != nil {
		return err
	}
	defer in.Close()
	s := newScanner(frames, reader{f: in, read: j.o.read}, f.off, f.end, f.next, f.last)
	for {
		r, _, err := s.scan()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if r.ID.Number <= shipped {
			continue
		}
		r.ID.Node = j.node
		if !yield(r, nil) {
			return errStopped
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
			if h.to <= max(j.shipped, f.told) {
				continue // they were handed on before, or it was told
			}
			f.told = h.to
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
		j.there = b.records[n-1].ID.Number
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
