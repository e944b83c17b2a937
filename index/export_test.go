package index

import "vigie/index/internal/segment"

// SmallDeltas makes segments of so few rows that a short history has many.
func SmallDeltas(n int) Options { return Options{deltaRows: n} }

// Shadowed has every so many queries answered again.
func Shadowed(every uint64, tell func(Shadow)) Options {
	return Options{deltaRows: 50, shadowEvery: every, Shadow: tell}
}

// Spoil makes tables of the snapshot find nothing, as a fault would.
func (s *Snapshot) Spoil() {
	for _, parts := range s.parts {
		for i, p := range parts {
			parts[i].rows = blind{p.rows}
		}
	}
}

type blind struct{ rows }

func (blind) Near(_ *segment.Value, _ int, _ *segment.Scratch, found []segment.Found) ([]segment.Found, segment.Work) {
	return found, segment.Work{}
}
