// Package index finds near neighbours of fingerprints: exact range search in Hamming space, in
// memory, while entries come and go.
//
// An entry is one piece of known media. It lies in a bank and has any number of signals; each
// signal is one row of the index. A query gives a value and a radius and gets every row of the same
// algorithm that differs in at most so many bits: always what a loop over all rows would find, never
// an approximation.
//
// # Writing
//
// The index follows a log of changes that lives elsewhere. [Index.Apply] takes a stretch of it, with
// the sequence number that the index stands for afterwards; a caller starts by giving the whole state as of
// some number to a new index, best by [Index.Load], and continues with what follows it in the log. Changes
// state what is, not what differs, and a number that was reached before is ignored: after a crash or
// a doubt, reading a stretch of the log again is harmless. Who has no log counts up from 1.
//
// # Reading
//
// [Index.Snapshot] is the index at one sequence number. A snapshot never changes and needs no lock:
// whoever holds one gets answers of that moment, for as long as they hold it. [Snapshot.Search] answers
// one query, [Snapshot.SearchMany] several that belong together, and [Snapshot.Join] a long list.
//
// The algorithm of a query decides what a radius is. Perceptual hashes ([hashing.PDQ] and the 64-bit
// ones) are compared bit by bit. Digests ([hashing.MD5], [hashing.SHA256]) are equal or not, and are
// looked up rather than compared. Signals of different algorithms never meet, even where their
// values have the same width.
//
// # Saving
//
// [Index.Save] writes the index to a folder, [Open] has it back without making its tables again: files are verified,
// then mapped as they are. The format is documented in docs/format/segment.md. A saved index is a cache of the
// log, told apart by its [Mark]: one that is damaged is refused, and made again.
//
// # Inside
//
// New rows come into a delta that is compared row by row, with the vector instructions that the processor
// has (the environment variable VIGIE_KERNEL chooses others); a few ten thousand take some microseconds. When it is full,
// a segment is made of it in the background: immutable, with tables in which a search finds its rows by
// looking at a small part of them. Segments merge as they add up, which leaves a number logarithmic in the number of
// rows, and drops the dead. None of this stops readers or writers, or is seen by them. The tables are exact at
// every radius: the documentation of the package segment has the proof. Where they would cost more than
// comparing all rows, all are compared.
//
// # Limits
//
// All rows are in memory, those of PDQ with 160 bytes and some more for their columns, and twice as much while segments merge:
// see [Options.MemoryLimit]. An algorithm may have 2^31-1 rows. Machines must be little-endian and of 64 bits;
// on others the package does not compile.
package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"vigie/hashing"
	"vigie/index/internal/kernel"
	"vigie/index/internal/segment"
)

// EntryID is the caller's number of an entry. None has the number 0.
type EntryID uint64

// BankID is the caller's number of a bank.
type BankID uint32

// Change is one step of the change log as the index needs it. Exactly one of the two forms is used:
//
//   - an entry's new state: Entry is set; Signals are all rows it is to have from now on (none: it
//     stops matching). Whatever rows it had before, in whichever bank, are replaced. Hidden is false.
//   - a bank's visibility: Entry is 0 and Signals is empty; Hidden says whether all entries of Bank
//     stop matching (deleted) or match again (restored), whatever is applied to them meanwhile.
type Change struct {
	Bank    BankID
	Entry   EntryID
	Signals []hashing.Signal
	Hidden  bool
}

// ErrInvalid is wrapped by the errors about a change or query that the caller should not have sent.
var ErrInvalid = errors.New("invalid")

func (c Change) validate() error {
	if c.Entry == 0 && len(c.Signals) > 0 {
		return fmt.Errorf("%w: signals without an entry", ErrInvalid)
	}
	if c.Entry != 0 && c.Hidden {
		return fmt.Errorf("%w: entry %d is hidden alone; only banks can be", ErrInvalid, c.Entry)
	}
	for _, s := range c.Signals {
		if err := validate(s.Algorithm, s.Value); err != nil {
			return fmt.Errorf("entry %d: %w", c.Entry, err)
		}
	}
	return nil
}

// validate checks what both stored and asked signals must be: of a known algorithm, and no wider than it.
func validate(a hashing.Algorithm, v hashing.Value) error {
	if !a.Valid() {
		return fmt.Errorf("%w: algorithm number %d is unknown", ErrInvalid, uint8(a))
	}
	for _, w := range v[a.Bits()/64:] {
		if w != 0 {
			return fmt.Errorf("%w: %s value has bits set beyond the first %d", ErrInvalid, a, a.Bits())
		}
	}
	return nil
}

// Options adjust an index. The zero value is what everyone wants.
type Options struct {
	// Fault, if not nil, is told of what went wrong in the background, such as a lack of memory for a merge.
	// The index goes on as it is, and tries again with the next change. It must not call the index.
	Fault func(error)
	// Shadow, if not nil, has one in [ShadowEvery] queries answered again in the background, by a plain loop over all
	// rows, and is told whether the answers were the same.
	Shadow func(Shadow)
	// Copied has [Open] copy files to memory, which may lie in huge pages, instead of mapping them: it takes
	// longer to start, and searches take some fifth less.
	Copied bool
	// MemoryLimit, if not 0, is how many bytes the program may take, index and all. Rows for which there is none are
	// refused by [Index.Room], which callers ask before rows come into the log, and by [Index.Load]; merges wait.
	MemoryLimit int64

	deltaRows   int          // of every algorithm; for tests
	shadowEvery uint64       // for tests; 0: ShadowEvery
	process     func() int64 // for tests; nil: measured
}

// Index holds the current [Snapshot] and replaces it by the next one. Its methods may be called from
// any number of goroutines.
type Index struct {
	o        Options
	snapshot atomic.Pointer[Snapshot]
	writing  chan struct{} // holds a token while somebody replaces the snapshot; a mutex that waits with a context

	// In the hands of whoever is writing.
	busy     map[rows]bool // parts that are being merged
	building int64         // bytes of what they become
	tidying  int           // goroutines that merge
	tidied   chan struct{} // closed when there is none
	told     time.Time     // when Fault was told of a merge that waits

	retired   atomic.Int64 // of [Memory]
	postponed atomic.Bool  // of [Memory]

	opened Saved // see Opened

	saving sync.Mutex
	files  map[weak.Pointer[segment.Segment]]string // in which those are that were saved, but not what keeps them; in the hands of whoever is saving
}

// New returns an empty index at sequence number 0.
func New(o Options) *Index {
	x := &Index{o: o, writing: make(chan struct{}, 1), busy: map[rows]bool{}}
	s := &Snapshot{}
	if o.Shadow != nil {
		s.shadow = &shadow{every: cmp.Or(o.shadowEvery, ShadowEvery), tell: o.Shadow}
	}
	x.snapshot.Store(s)
	return x
}

func (x *Index) lock()   { x.writing <- struct{}{} }
func (x *Index) unlock() { <-x.writing }

// deltaRows is how many rows a delta has before the next one is begun and it becomes a segment. PDQ's are compared
// in some 10 microseconds; digests one after the other, so that they are fewer.
func (x *Index) deltaRows(a hashing.Algorithm) int {
	switch {
	case x.o.deltaRows > 0:
		return x.o.deltaRows
	case a.Exact():
		return 4 << 10
	}
	return 64 << 10
}

func (x *Index) fault(err error) {
	if x.o.Fault != nil {
		x.o.Fault(err)
	}
}

// Snapshot returns the index as the last finished [Index.Apply] left it. It takes no lock and costs
// nothing; the memory that only old snapshots use is freed when they are dropped.
func (x *Index) Snapshot() *Snapshot { return x.snapshot.Load() }

// Apply carries the index to seq, which stands for all of the log up to and including that number.
// The changes take effect in the order given, for readers all at once. There may be none: most of a
// log may concern other things than the index. A seq that the index has already reached is ignored,
// whatever the changes say, so that a log can be replayed; the first seq is 1.
//
// One invalid change refuses the call with an error that wraps [ErrInvalid]. Calls from several
// goroutines run one after the other; ctx ends the waiting, but not the work once it has begun. An
// error leaves the index as it was. The slices remain the caller's, and are not kept.
func (x *Index) Apply(ctx context.Context, seq uint64, changes []Change) error {
	select {
	case x.writing <- struct{}{}:
		defer x.unlock()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	now := x.Snapshot()
	if seq <= now.seq {
		return nil
	}
	for i, c := range changes {
		if err := c.validate(); err != nil {
			return fmt.Errorf("change %d of %d: %w", i, len(changes), err)
		}
	}
	next := now.next(seq, changes, x.deltaRows)
	x.snapshot.Store(next)
	if _, ok := x.work(); ok && x.tidying < 2 {
		if x.tidying++; x.tidying == 1 {
			x.tidied = make(chan struct{})
		}
		go x.tidy()
	}
	return nil
}

// Settle waits until nothing is being merged, which changes no answer: for measurements, and before
// the index is saved.
func (x *Index) Settle(ctx context.Context) error {
	for {
		x.lock()
		n, tidied := x.tidying, x.tidied
		x.unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-tidied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Kernel names the vector instructions with which rows are compared: "avx512", "avx2" or "portable". The fastest that
// the processor has is taken, unless the environment variable VIGIE_KERNEL named another when the program started.
func Kernel() string { return kernel.Kernel() }
