package segment

import (
	"context"
	"runtime"

	"vigie/index/internal/kernel"
)

// Many finds what [Segment.Near] would find for each of many queries, in the calling goroutine: found gets the pairs,
// some at a time, in no order, and may not keep the slice. Where tables are worthwhile it is one search after the
// other: a [Segment.Join] pays only from about as many queries on as the tables have buckets. Else it is one pass over
// all rows. It ends early, with an error, only if ctx does.
func (s *Segment) Many(ctx context.Context, queries []Value, radius int, m *Searcher, found func([]Pair)) error {
	defer runtime.KeepAlive(s)
	if s.a == nil || s.worthwhile(radius) {
		return m.OneByOne(ctx, s, queries, radius, found)
	}
	return m.Planes(ctx, s.a, s.b, 0, s.Len(), queries, radius, found)
}

// OneByOne is [Segment.Many] of any rows, by as many searches.
func (m *Searcher) OneByOne(ctx context.Context, rows interface {
	Near(q *Value, radius int, scratch *Scratch, found []Found) ([]Found, Work)
}, queries []Value, radius int, found func([]Pair),
) error {
	for i := range queries {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.Found, _ = rows.Near(&queries[i], radius, &m.Scratch, m.Found[:0])
		m.pair(i)
		m.give(found)
	}
	return nil
}

// Planes is [Segment.Many] of rows in planes, which are as [FlatPlanes] has them. A piece of them is compared with all
// queries while it is in the processor's cache.
func (m *Searcher) Planes(ctx context.Context, a, b []uint64, first, total int, queries []Value, radius int, found func([]Pair)) error {
	for ; len(a) > 0; first += piece {
		n := min(2*piece, len(a))
		for from := 0; from < len(queries); from += group {
			if err := ctx.Err(); err != nil {
				return err
			}
			some := queries[from:min(from+group, len(queries))]
			if len(some) >= enough && radius <= halfDecides {
				m.group(a[:n], b[:n], first, total, some, from, radius)
			} else {
				for i := range some {
					m.Found = FlatPlanes(a[:n], b[:n], first, total, &some[i], radius, m.Scratch.Positions(), m.Found[:0])
					m.pair(from + i)
				}
			}
			m.give(found)
		}
		a, b = a[n:], b[n:]
	}
	return nil
}

// A kernel compares rows with a group of queries in about the time of some single scans, as long as it has to look at
// first halves only. A smaller group is filled up, if it is large enough for that.
const (
	group  = 8
	enough = 6
)

// group adds the pairs of a group of queries, the first of which is called from.
func (m *Searcher) group(a, b []uint64, first, total int, queries []Value, from, radius int) {
	s, at := &m.Scratch, m.Scratch.Positions()
	if len(s.of) < len(at) {
		s.of = make([]uint8, len(at))
	}
	for i := range s.halves {
		s.halves[i] = [2]uint64(queries[min(i, len(queries)-1)][:2])
	}
	for len(a) > 0 {
		n, blocks := kernel.Flat128x8(a, &s.halves, radius, at, s.of)
		for k, row := range at[:n] {
			q := int(s.of[k])
			if q >= len(queries) {
				continue
			}
			if d := kernel.Distance(a, b, row, &queries[q]); d <= radius && first+int(row) < total {
				m.Pairs = append(m.Pairs, Pair{uint32(from + q), uint32(first) + row, uint32(d)})
			}
		}
		a, b, first = a[16*blocks:], b[16*blocks:], first+8*blocks
	}
}

// pair adds what was found for a query to the pairs.
func (m *Searcher) pair(query int) {
	for _, f := range m.Found {
		m.Pairs = append(m.Pairs, Pair{uint32(query), f.Row, f.Distance})
	}
}

// give hands the pairs over.
func (m *Searcher) give(found func([]Pair)) {
	if len(m.Pairs) > 0 {
		found(m.Pairs)
	}
	m.Pairs = m.Pairs[:0]
}
