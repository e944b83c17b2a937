package index

import (
	"vigie/hashing"
	"vigie/index/internal/segment"
)

// SmallDeltas makes segments of so few rows that a short history has many.
func SmallDeltas(n int) Options { return Options{deltaRows: n} }

// Shadowed has every so many queries answered again.
func Shadowed(every uint64, tell func(Shadow)) Options {
	return Options{deltaRows: 50, shadowEvery: every, Shadow: tell}
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
