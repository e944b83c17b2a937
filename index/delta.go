package index

import (
	"context"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// delta is the newest rows, in the order in which they came, compared one by one. It never changes, but
// can be carried on: the longer one shares what both have.
type delta struct {
	algorithm hashing.Algorithm
	rows      []meta
	// Values of 256 bits lie in planes (kernel.Flat256), as far as they fill blocks of 8 rows. The last block is the
	// delta's own, since a longer one puts more rows in it.
	a, b         []uint64
	lastA, lastB [16]uint64
	words        []uint64 // other values, one after the other
	spans        segment.Spans
}

// meta is a row without its value.
type meta struct {
	entry   uint64
	bank    uint32
	time    uint32
	variant uint8
}

func newDelta(a hashing.Algorithm) *delta { return &delta{algorithm: a, spans: segment.NoSpans()} }

// with is the delta and more rows. Only the newest delta may be carried on, and only once.
func (d *delta) with(rows []segment.Row) *delta {
	n := *d
	for _, r := range rows {
		if i := len(n.rows) % 8; n.planes() {
			n.lastA[i], n.lastA[i+8], n.lastB[i], n.lastB[i+8] = r.Value[0], r.Value[1], r.Value[2], r.Value[3]
			if i == 7 {
				n.a, n.b = append(n.a, n.lastA[:]...), append(n.b, n.lastB[:]...)
			}
		} else {
			n.words = append(n.words, r.Value[:n.width()]...)
		}
		n.rows = append(n.rows, meta{r.Entry, r.Bank, r.Time, r.Variant})
		n.spans = n.spans.With(r)
	}
	return &n
}

func (d *delta) planes() bool { return d.algorithm.Bits() == 256 && !d.algorithm.Exact() }

func (d *delta) width() int { return d.algorithm.Bits() / 64 }

func (d *delta) Len() int { return len(d.rows) }

func (d *delta) Spans() segment.Spans { return d.spans }

func (d *delta) Bytes() int64 {
	const metaBytes = 24
	return int64(metaBytes*cap(d.rows) + 8*cap(d.words) + 8*cap(d.a) + 8*cap(d.b) + 2*8*16)
}

func (d *delta) Bank(row int) uint32 { return d.rows[row].bank }

func (d *delta) Row(row int) segment.Row {
	m := d.rows[row]
	return segment.Row{Value: d.value(row), Entry: m.entry, Bank: m.bank, Variant: m.variant, Time: m.time}
}

func (d *delta) value(row int) (v segment.Value) {
	if !d.planes() {
		copy(v[:], d.words[row*d.width():(row+1)*d.width()])
		return v
	}
	a, b, at := d.a, d.b, row/8*16+row%8
	if at >= len(a) {
		a, b, at = d.lastA[:], d.lastB[:], row%8
	}
	return segment.Value{a[at], a[at+8], b[at], b[at+8]}
}

// Near, Flat and Brute are those of [segment.Segment]; the first two are the same.
func (d *delta) Near(q *segment.Value, radius int, scratch *segment.Scratch, found []segment.Found) ([]segment.Found, segment.Work) {
	return d.Flat(q, radius, scratch, found), segment.Work{Scanned: len(d.rows), Flat: true}
}

func (d *delta) Flat(q *segment.Value, radius int, scratch *segment.Scratch, found []segment.Found) []segment.Found {
	out := scratch.Positions()
	if !d.planes() {
		return segment.FlatWords(d.words, q[0], radius, out, found)
	}
	found = segment.FlatPlanes(d.a, d.b, 0, len(d.rows), q, radius, out, found)
	return segment.FlatPlanes(d.lastA[:], d.lastB[:], len(d.rows)&^7, len(d.rows), q, radius, out, found)
}

// Many is [segment.Segment.Many].
func (d *delta) Many(ctx context.Context, queries []segment.Value, radius int, m *segment.Searcher, found func([]segment.Pair)) error {
	if !d.planes() {
		return m.OneByOne(ctx, d, queries, radius, found)
	}
	err := m.Planes(ctx, d.a, d.b, 0, len(d.rows), queries, radius, found)
	if err != nil {
		return err
	}
	return m.Planes(ctx, d.lastA[:], d.lastB[:], len(d.rows)&^7, len(d.rows), queries, radius, found)
}

func (d *delta) Brute(q *segment.Value, radius int, found []segment.Found) []segment.Found {
	if !d.planes() {
		return segment.BruteWords(d.words, q[0], radius, found)
	}
	found = segment.BrutePlanes(d.a, d.b, 0, len(d.rows), q, radius, found)
	return segment.BrutePlanes(d.lastA[:], d.lastB[:], len(d.rows)&^7, len(d.rows), q, radius, found)
}

// Equal is [segment.Segment.Equal].
func (d *delta) Equal(v *segment.Value) (rows []uint32) {
	for i, w := 0, d.width(); i < len(d.words)/w; i++ {
		if d.words[i*w] == v[0] && d.value(i) == *v {
			rows = append(rows, uint32(i))
		}
	}
	return rows
}
