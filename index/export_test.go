package index

import (
	"context"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// SmallDeltas makes segments of so few rows that a short history has many.
func SmallDeltas(n int) Options { return Options{deltaRows: n} }

// Shadowed has every so many queries answered again.
func Shadowed(every uint64, tell func(Shadow)) Options {
	return Options{deltaRows: 50, shadowEvery: every, Shadow: tell}
}

// Segments are those of a snapshot, deltas aside, by their identities.
func (s *Snapshot) Segments() map[any]bool {
	all := map[any]bool{}
	for _, parts := range s.parts {
		for _, p := range parts {
			if g, ok := p.rows.(*segment.Segment); ok {
				all[g] = true
			}
		}
	}
	return all
}

// Probed tells whether tables of the snapshot answer a query for PDQ, and not comparing all rows.
func (s *Snapshot) Probed(v hashing.Value, radius int) bool {
	q := stored(hashing.PDQ, v)
	for _, p := range s.parts[hashing.PDQ] {
		if _, work := p.Near(&q, radius, new(segment.Scratch), nil); work.Buckets > 0 {
			return true
		}
	}
	return false
}

// Spoilt is the snapshot with tables that find nothing, as by a fault.
func (s *Snapshot) Spoilt() *Snapshot {
	n := *s
	n.parts = map[hashing.Algorithm][]part{}
	for a, parts := range s.parts {
		for _, p := range parts {
			n.parts[a] = append(n.parts[a], part{blind{p.rows}, p.dead})
		}
	}
	return &n
}

type blind struct{ rows }

func (blind) Near(_ *segment.Value, _ int, _ *segment.Scratch, found []segment.Found) ([]segment.Found, segment.Work) {
	return found, segment.Work{}
}

func (blind) Many(context.Context, []segment.Value, int, *segment.Searcher, func([]segment.Pair)) error {
	return nil
}

func (blind) Equal(*segment.Value) []uint32 { return nil }
