package index

import (
	"cmp"
	"maps"
	"slices"

	"vigie/hashing"
)

// Snapshot is the index at one sequence number. It is immutable: any number of goroutines may search
// it, while the index moves on.
type Snapshot struct {
	seq      uint64
	segments map[hashing.Algorithm][]segment // the largest first; each larger than all behind it together
	hidden   map[BankID]bool
	entries  int // that have live rows
}

// Seq is the sequence number that the snapshot stands for; see [Index.Apply].
func (s *Snapshot) Seq() uint64 { return s.seq }

// next is the snapshot after valid changes. It shares with s what did not change.
func (s *Snapshot) next(seq uint64, changes []Change) *Snapshot {
	n := &Snapshot{seq: seq, segments: maps.Clone(s.segments), hidden: s.hidden, entries: s.entries}
	if len(changes) == 0 {
		return n
	}
	if n.segments == nil {
		n.segments = map[hashing.Algorithm][]segment{}
	}
	n.hidden = hide(s.hidden, changes)
	states := lastStates(changes)

	// The entries' old rows die. An entry has all its live rows from one earlier change.
	entries := make([]EntryID, len(states))
	for i, c := range states {
		entries[i] = c.Entry
	}
	lived := make([]bool, len(entries))
	for a, segments := range n.segments {
		n.segments[a] = slices.Clone(segments)
		for i, g := range segments {
			n.segments[a][i] = g.without(entries, lived)
		}
	}

	// Their new rows make one new segment for each algorithm.
	for i, c := range states {
		if lived[i] {
			n.entries--
		}
		if len(c.Signals) > 0 {
			n.entries++
		}
	}
	for _, a := range hashing.Algorithms() {
		if g := newSegment(a, states); g.live() > 0 {
			n.segments[a] = append(n.segments[a], g)
		}
		n.segments[a] = settle(a, n.segments[a])
	}
	return n
}

// Values returns the live rows of one algorithm that an entry has, ordered by variant, time and value;
// nil if it has none or its bank is hidden. Versions and qualities are not kept: they are 0. It takes
// time by the logarithm of the number of rows.
func (s *Snapshot) Values(a hashing.Algorithm, e EntryID) (signals []hashing.Signal) {
	for _, g := range s.segments[a] {
		row, _ := slices.BinarySearch(g.entries, e)
		for ; row < len(g.entries) && g.entries[row] == e; row++ {
			if g.isDead(row) || s.hidden[g.banks[row]] {
				continue
			}
			signal := hashing.Signal{Algorithm: a, Variant: g.variants[row], Time: g.time(row)}
			copy(signal.Value[:], g.value(row))
			signals = append(signals, signal)
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

// Stats describe a snapshot.
type Stats struct {
	Seq      uint64
	Entries  int                       // that have live rows, hidden banks included
	Rows     map[hashing.Algorithm]int // live rows, hidden banks included; no zeros
	Dead     int                       // replaced or removed rows that still take memory
	Segments int
	Bytes    int64 // of rows, lookup tables and tombstones; what older snapshots still hold is not in it
}

// Stats counts what the snapshot holds. It takes time only by the number of segments.
func (s *Snapshot) Stats() Stats {
	st := Stats{Seq: s.seq, Entries: s.entries, Rows: map[hashing.Algorithm]int{}}
	for a, segments := range s.segments {
		for _, g := range segments {
			st.Rows[a] += g.live()
			st.Dead += g.deaths
			st.Segments++
			st.Bytes += g.bytes()
		}
	}
	return st
}
