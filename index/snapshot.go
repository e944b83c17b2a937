package index

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Snapshot is the index at one sequence number. It is immutable: any number of goroutines may search
// it, while the index moves on.
type Snapshot struct {
	seq     uint64
	parts   map[hashing.Algorithm][]part // settled ones first, the largest before all; then deltas, the newest last
	hidden  map[BankID]bool
	entries int // that have live rows
	digest  Digest
	shadow  *shadow
}

// part is rows of one algorithm, and which of them are dead. The dead belong to the snapshot: one that lets rows die
// has a list of its own. They name rows of this part, never entries, so that an entry may come back in
// another one. An entry has all its live rows in one part, since they come from one change.
type part struct {
	rows
	dead tombs
}

// rows never change. They are a [segment.Segment] or a [delta].
type rows interface {
	Len() int
	Bytes() int64
	Spans() segment.Spans
	Row(row int) segment.Row
	Bank(row int) uint32
	Near(q *segment.Value, radius int, scratch *segment.Scratch, found []segment.Found) ([]segment.Found, segment.Work)
	Many(ctx context.Context, queries []segment.Value, radius int, m *segment.Searcher, found func([]segment.Pair)) error
	Flat(q *segment.Value, radius int, scratch *segment.Scratch, found []segment.Found) []segment.Found
	Brute(q *segment.Value, radius int, found []segment.Found) []segment.Found
	Equal(v *segment.Value) []uint32
}

func (p part) live() int { return p.Len() - p.dead.n }

// of are the live rows of an entry.
func (p part) of(entry uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		if s := p.Spans()[0]; entry < s.Min || entry > s.Max {
			return
		}
		from, to := 0, p.Len()
		s, ordered := p.rows.(*segment.Segment)
		if ordered {
			from, to = s.Find(entry)
		}
		for row := from; row < to; row++ {
			if (ordered || p.rows.(*delta).rows[row].entry == entry) && !p.dead.has(row) && !yield(row) {
				return
			}
		}
	}
}

// Seq is the sequence number that the snapshot stands for; see [Index.Apply].
func (s *Snapshot) Seq() uint64 { return s.seq }

// next is the snapshot after valid changes. It shares with s what did not change. A delta is full at so many rows.
func (s *Snapshot) next(seq uint64, changes []Change, full func(hashing.Algorithm) int) *Snapshot {
	n := &Snapshot{seq: seq, parts: maps.Clone(s.parts), hidden: s.hidden, entries: s.entries, digest: s.digest, shadow: s.shadow}
	if len(changes) == 0 {
		return n
	}
	if n.parts == nil {
		n.parts = map[hashing.Algorithm][]part{}
	}
	n.hidden = hide(s.hidden, changes)
	n.digest.rehidden(s.hidden, n.hidden)
	states := lastStates(changes)

	// The entries' old rows die.
	lived := make([]bool, len(states))
	for a, parts := range n.parts {
		n.parts[a] = slices.Clone(parts)
		for i, p := range parts {
			n.parts[a][i].dead = p.dead.with(n.digest.losing(a, p, p.replaced(states, lived)))
		}
	}
	for i, c := range states {
		if lived[i] {
			n.entries--
		}
		if len(c.Signals) > 0 {
			n.entries++
			n.digest.Add(c)
		}
	}
	// Their new rows come to the delta.
	for a, rows := range newRows(states) {
		n.parts[a] = add(a, n.parts[a], rows, full(a))
	}
	return n
}

// replaced are the live rows of entries that change. It notes which of them had any.
func (p part) replaced(states []Change, lived []bool) iter.Seq[int] {
	return func(yield func(int) bool) {
		span := p.Spans()[0]
		entry := func(c Change, e uint64) int { return cmp.Compare(uint64(c.Entry), e) }
		from, _ := slices.BinarySearchFunc(states, span.Min, entry)
		to, _ := slices.BinarySearchFunc(states, span.Max, entry)
		if to < len(states) && uint64(states[to].Entry) == span.Max {
			to++
		}
		if from >= to {
			return
		}
		if d, ok := p.rows.(*delta); ok {
			for row, m := range d.rows {
				if i, ok := slices.BinarySearchFunc(states[from:to], m.entry, entry); ok && !p.dead.has(row) {
					lived[from+i] = true
					if !yield(row) {
						return
					}
				}
			}
			return
		}
		for i, c := range states[from:to] {
			for row := range p.of(uint64(c.Entry)) {
				lived[from+i] = true
				if !yield(row) {
					return
				}
			}
		}
	}
}

// newRows are the rows of states, by algorithm.
func newRows(states []Change) map[hashing.Algorithm][]segment.Row {
	all := map[hashing.Algorithm][]segment.Row{}
	for _, c := range states {
		for a, row := range rowsOf(c) {
			row.Value = stored(a, row.Value)
			all[a] = append(all[a], row)
		}
	}
	return all
}

// rowsOf are the rows of a state, with the values that it has; see stored.
func rowsOf(c Change) iter.Seq2[hashing.Algorithm, segment.Row] {
	return func(yield func(hashing.Algorithm, segment.Row) bool) {
		for _, s := range c.Signals {
			row := segment.Row{Value: s.Value, Entry: uint64(c.Entry), Bank: uint32(c.Bank), Variant: uint8(s.Variant), Time: s.Time}
			if !yield(s.Algorithm, row) {
				return
			}
		}
	}
}

// stored is a value as parts have it, original what it was.
func stored(a hashing.Algorithm, v hashing.Value) segment.Value {
	if a.Bits() == 256 && !a.Exact() {
		return segment.Permute(v)
	}
	return v
}

func original(a hashing.Algorithm, v segment.Value) hashing.Value {
	if a.Bits() == 256 && !a.Exact() {
		return segment.Restore(v)
	}
	return v
}

// add puts rows into the newest delta, or into a new one if that is full.
func add(a hashing.Algorithm, parts []part, rows []segment.Row, full int) []part {
	if last := len(parts) - 1; last >= 0 {
		if d, ok := parts[last].rows.(*delta); ok && d.Len() < full {
			parts[last].rows = d.with(rows)
			return parts
		}
	}
	return append(parts, part{rows: newDelta(a).with(rows)})
}

// Values returns the live rows of one algorithm that an entry has, ordered by variant, time and value;
// nil if it has none or its bank is hidden. Versions and qualities are not kept: they are 0. It takes
// time by the logarithm of the number of rows, and passes over the newest ones.
func (s *Snapshot) Values(a hashing.Algorithm, e EntryID) (signals []hashing.Signal) {
	for _, p := range s.parts[a] {
		for row := range p.of(uint64(e)) {
			r := p.Row(row)
			if s.hidden[BankID(r.Bank)] {
				continue
			}
			signals = append(signals, hashing.Signal{Algorithm: a, Variant: hashing.Variant(r.Variant), Time: r.Time, Value: original(a, r.Value)})
		}
	}
	slices.SortFunc(signals, func(a, b hashing.Signal) int {
		return cmp.Or(cmp.Compare(a.Variant, b.Variant), cmp.Compare(a.Time, b.Time), slices.Compare(a.Value[:], b.Value[:]))
	})
	return signals
}

// hide is the set of hidden banks after the changes.
func hide(hidden map[BankID]bool, changes []Change) map[BankID]bool {
	after := maps.Clone(hidden)
	for _, c := range changes {
		if c.Entry != 0 {
			continue
		}
		if after == nil {
			after = map[BankID]bool{}
		}
		if c.Hidden {
			after[c.Bank] = true
		} else {
			delete(after, c.Bank)
		}
	}
	return after
}

// lastStates picks the last state of every entry that changes, in the order of their numbers.
func lastStates(changes []Change) []Change {
	states := make([]Change, 0, len(changes))
	for _, c := range changes {
		if c.Entry != 0 {
			states = append(states, c)
		}
	}
	slices.SortStableFunc(states, func(a, b Change) int { return cmp.Compare(a.Entry, b.Entry) })
	last := states[:0]
	for i, c := range states {
		if i+1 == len(states) || states[i+1].Entry != c.Entry {
			last = append(last, c)
		}
	}
	return last
}
