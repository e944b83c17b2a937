package index

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Load fills an empty index with the state of the world as of seq, as [Index.Apply] would, but makes its
// segments at once: each entry and each bank comes once, in any order, those of entries best in ascending order. Besides
// the index itself it takes some 60 bytes a row meanwhile. If it fails, the index is as empty as before.
func (x *Index) Load(ctx context.Context, seq uint64, changes iter.Seq2[Change, error]) error {
	x.lock()
	defer x.unlock()
	if x.Snapshot().seq > 0 || seq == 0 {
		return fmt.Errorf("%w: load change %d into an index at change %d", ErrInvalid, seq, x.Snapshot().seq)
	}
	s := &Snapshot{seq: seq, hidden: map[BankID]bool{}, parts: map[hashing.Algorithm][]part{}, shadow: x.Snapshot().shadow}
	all := map[hashing.Algorithm][]segment.Row{}
	for c, err := range changes {
		if err == nil {
			err = cmp.Or(c.validate(), ctx.Err())
		}
		switch {
		case err != nil:
			return err
		case c.Entry == 0 && c.Hidden:
			s.hidden[c.Bank] = true
		case len(c.Signals) > 0:
			s.entries++
			appendRows(all, c)
		}
	}
	for a, rows := range all {
		byEntry := func(x, y segment.Row) int { return cmp.Compare(x.Entry, y.Entry) }
		if !slices.IsSortedFunc(rows, byEntry) {
			slices.SortStableFunc(rows, byEntry)
		}
		if len(rows) < x.deltaRows(a) {
			s.parts[a] = []part{{rows: newDelta(a).with(rows)}}
			continue
		}
		spans := segment.NoSpans()
		for _, r := range rows {
			spans = spans.With(r)
		}
		b, err := segment.New(a, len(rows), spans)
		if err != nil {
			return err
		}
		for _, r := range rows {
			b.Add(r)
		}
		delete(all, a)
		rows = nil // it can be collected while the tables are made
		s.parts[a] = []part{{rows: b.Finish(runtime.GOMAXPROCS(0))}}
	}
	x.snapshot.Store(s)
	return nil
}
