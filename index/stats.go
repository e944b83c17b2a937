package index

import "vigie/hashing"

// Stats describe a snapshot.
type Stats struct {
	Seq      uint64
	Entries  int                       // that have live rows, hidden banks included
	Rows     map[hashing.Algorithm]int // live rows, hidden banks included; no zeros
	Dead     int                       // replaced or removed rows that still take memory
	Segments int                       // parts that are searched one after the other, deltas included
	Bytes    int64                     // of rows, tables and tombstones; what older snapshots still hold is not in it
}

// Stats counts what the snapshot holds. It takes time only by the number of segments.
func (s *Snapshot) Stats() Stats {
	st := Stats{Seq: s.seq, Entries: s.entries, Rows: map[hashing.Algorithm]int{}}
	for a := range s.parts {
		of := s.StatsOf(a)
		if of.Rows > 0 {
			st.Rows[a] = of.Rows
		}
		st.Dead += of.Dead
		st.Segments += of.Segments + of.Deltas
		st.Bytes += of.Bytes
	}
	return st
}

// AlgorithmStats describe the rows of one algorithm in a snapshot. Bytes/Rows is what a live row costs.
type AlgorithmStats struct {
	Rows, Dead int // live rows, and dead ones that still take memory
	Segments   int // with tables
	Deltas     int // compared row by row: one that grows, and full ones that are becoming a segment
	Bytes      int64
}

// StatsOf counts the rows of one algorithm. It takes time only by the number of segments.
func (s *Snapshot) StatsOf(a hashing.Algorithm) (st AlgorithmStats) {
	for _, p := range s.parts[a] {
		st.Rows += p.live()
		st.Dead += p.dead.n
		st.Bytes += p.Bytes() + p.dead.bytes()
		if _, ok := p.rows.(*delta); ok {
			st.Deltas++
		} else {
			st.Segments++
		}
	}
	return st
}
