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
// the sequence number that the index stands for afterwards; a caller starts by applying the whole
// state as of some number to a new index, and continues with what follows it in the log. Changes
// state what is, not what differs, and a number that was reached before is ignored: after a crash or
// a doubt, reading a stretch of the log again is harmless.
//
// # Reading
//
// [Index.Snapshot] is the index at one sequence number. A snapshot never changes and needs no lock:
// whoever holds one gets answers of that moment, for as long as they hold it. Several queries that
// belong together go to one [Snapshot.SearchMany], which passes over the rows once for all of them.
//
// The algorithm of a query decides what a radius is. Perceptual hashes ([hashing.PDQ] and the 64-bit
// ones) are compared bit by bit. Digests ([hashing.MD5], [hashing.SHA256]) are equal or not, and are
// looked up rather than compared. Signals of different algorithms never meet, even where their
// values have the same width.
//
// # Inside
//
// Rows stand in immutable segments, one algorithm each, in columns. Every Apply adds a small segment
// and marks the rows that it replaces as dead in a copy of their segment's tombstones, so that a
// snapshot shares with its predecessor all that did not change. Small segments merge into larger
// ones as they add up, which leaves a number of segments logarithmic in the number of rows, and
// drops the dead. Merging happens inside Apply: most calls take microseconds, a rare one rewrites
// everything (about a second at a million entries with digests), while readers go on. Searches for
// perceptual hashes read all rows, with portable code: 2 to 3 milliseconds for a million.
package index

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"vigie/hashing"
)

// EntryID names an entry; BankID the bank it is in. Both are the caller's numbers. No entry has the number 0.
type (
	EntryID uint64
	BankID  uint32
)

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

// Options adjust an index. The zero value is what everyone wants; there is nothing to adjust yet.
type Options struct{}

// Index holds the current [Snapshot] and replaces it by the next one. Its methods may be called from
// any number of goroutines.
type Index struct {
	snapshot atomic.Pointer[Snapshot]
	applying chan struct{} // holds a token while an Apply is under way; a mutex that waits with a context
}

// New returns an empty index at sequence number 0.
func New(Options) *Index {
	x := &Index{applying: make(chan struct{}, 1)}
	x.snapshot.Store(&Snapshot{})
	return x
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
	case x.applying <- struct{}{}:
		defer func() { <-x.applying }()
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
	x.snapshot.Store(now.next(seq, changes))
	return nil
}
