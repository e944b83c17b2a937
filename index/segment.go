package index

import (
	"math/bits"
	"slices"

	"vigie/hashing"
)

// segment is rows of one algorithm, and which of them are dead. The rows are written once and never
// change. The tombstones belong to the snapshot: one that lets rows die has a copy of its own. They
// name rows of this segment, never entries, so that an entry may come back in another segment.
type segment struct {
	*rows
	dead   []uint64 // bit i%64 of dead[i/64] is set if row i is dead; nil if none is
	deaths int      // number of bits set in dead
}

// rows are columns of equal length, ordered by entry. The rows of an entry are thus found by binary
// search, and merging is one pass.
type rows struct {
	width    int      // words in a value: 1, 2 or 4
	words    []uint64 // of row i: words[i*width : (i+1)*width]
	entries  []EntryID
	banks    []BankID
	variants []hashing.Variant
	times    []uint32 // in a video; nil if all are 0
	byValue  []uint32 // of digests: the numbers of the rows, ordered by value; nil otherwise
}

// makeRows returns no rows, with room for n.
func makeRows(a hashing.Algorithm, n int) *rows {
	width := a.Bits() / 64
	return &rows{
		width:    width,
		words:    make([]uint64, 0, n*width),
		entries:  make([]EntryID, 0, n),
		banks:    make([]BankID, 0, n),
		variants: make([]hashing.Variant, 0, n),
	}
}

func (r *rows) add(value []uint64, e EntryID, b BankID, v hashing.Variant, time uint32) {
	if time != 0 && r.times == nil { // pictures alone need no times
		r.times = make([]uint32, len(r.entries), cap(r.entries))
	}
	if r.times != nil {
		r.times = append(r.times, time)
	}
	r.words = append(r.words, value...)
	r.entries = append(r.entries, e)
	r.banks = append(r.banks, b)
	r.variants = append(r.variants, v)
}

func (r *rows) time(row int) uint32 {
	if r.times == nil {
		return 0
	}
	return r.times[row]
}

func (r *rows) value(row int) []uint64 { return r.words[row*r.width : (row+1)*r.width] }

// finish makes a segment of rows that are complete.
func (r *rows) finish(a hashing.Algorithm) segment {
	if a.Exact() {
		r.byValue = make([]uint32, len(r.entries))
		for i := range r.byValue {
			r.byValue[i] = uint32(i)
		}
		slices.SortFunc(r.byValue, func(x, y uint32) int {
			return slices.Compare(r.value(int(x)), r.value(int(y)))
		})
	}
	return segment{rows: r}
}

// newSegment holds the rows of algorithm a of the given states, which are ordered by entry.
func newSegment(a hashing.Algorithm, states []Change) segment {
	n := 0
	for _, c := range states {
		for _, s := range c.Signals {
			if s.Algorithm == a {
				n++
			}
		}
	}
	r := makeRows(a, n)
	for _, c := range states {
		for _, s := range c.Signals {
			if s.Algorithm == a {
				r.add(s.Value[:r.width], c.Entry, c.Bank, s.Variant, s.Time)
			}
		}
	}
	return r.finish(a)
}

func (g segment) live() int { return len(g.entries) - g.deaths }

func (g segment) isDead(row int) bool {
	return g.dead != nil && g.dead[row/64]&(1<<(row%64)) != 0
}

func (g segment) bytes() int64 {
	return int64(8*len(g.words) + 8*len(g.entries) + 4*len(g.banks) + len(g.variants) +
		4*len(g.times) + 4*len(g.byValue) + 8*len(g.dead))
}

// without is g with all rows of the entries dead. The entries are in ascending order; lived[i] is set
// if entries[i] had a live row.
func (g segment) without(entries []EntryID, lived []bool) segment {
	owned := false
	row := 0
	for i, e := range entries {
		skip, _ := slices.BinarySearch(g.entries[row:], e)
		for row += skip; row < len(g.entries) && g.entries[row] == e; row++ {
			if g.isDead(row) {
				continue
			}
			if !owned {
				dead := make([]uint64, (len(g.entries)+63)/64)
				copy(dead, g.dead)
				g.dead, owned = dead, true
			}
			g.dead[row/64] |= 1 << (row % 64)
			g.deaths++
			lived[i] = true
		}
	}
	return g
}

// settle merges so many of the last segments that each one left has more live rows than all behind
// it together, and no fewer live rows than dead ones. Hence n rows stand in at most log2(n)+1
// segments, and take at most twice their memory. A row is rewritten when its segment has at least
// doubled, or at the expense of as many rows that died: about log2(n) times in its life.
//
// The slice is changed.
func settle(a hashing.Algorithm, segments []segment) []segment {
	first, behind := len(segments), 0
	for i, g := range slices.Backward(segments) {
		if g.live() <= behind || g.live() < g.deaths {
			first = i
		}
		behind += g.live()
	}
	if first == len(segments) {
		return segments
	}
	merged := merge(a, segments[first:])
	segments = segments[:first]
	if merged.live() > 0 {
		segments = append(segments, merged)
	}
	return segments
}

// merge copies the live rows into one segment.
func merge(a hashing.Algorithm, segments []segment) segment {
	n := 0
	for _, g := range segments {
		n += g.live()
	}
	r := makeRows(a, n)
	at := make([]int, len(segments)) // the next row of each segment
	for range n {
		from := -1 // the segment whose next live row has the smallest entry
		for i, g := range segments {
			for at[i] < len(g.entries) && g.isDead(at[i]) {
				at[i]++
			}
			if at[i] < len(g.entries) && (from < 0 || g.entries[at[i]] < segments[from].entries[at[from]]) {
				from = i
			}
		}
		g, row := segments[from], at[from]
		r.add(g.value(row), g.entries[row], g.banks[row], g.variants[row], g.time(row))
		at[from]++
	}
	return r.finish(a)
}

// equal returns the numbers of the rows that have the value, dead ones included. Only digests have it.
func (r *rows) equal(v hashing.Value) []uint32 {
	want := v[:r.width]
	first, _ := slices.BinarySearchFunc(r.byValue, want, func(row uint32, want []uint64) int {
		return slices.Compare(r.value(int(row)), want)
	})
	n := 0
	for first+n < len(r.byValue) && slices.Equal(r.value(int(r.byValue[first+n])), want) {
		n++
	}
	return r.byValue[first : first+n]
}

// scan appends to found the rows of a block, a part of words, within the radius. It is blind to
// tombstones and banks: few rows get so far.
func (r *rows) scan(found []near, block []uint64, v hashing.Value, radius int) []near {
	if r.width == 1 {
		return near64(found, block, v, radius)
	}
	return near256(found, block, v, radius)
}

// near is a row within a radius. The row is counted from the beginning of what was searched.
type near struct{ row, distance int }

// near256 appends to found what lies within the radius among rows of four words.
//
// Half of the bits decide first: their distance alone is beyond the radius for nearly all rows.
func near256(found []near, words []uint64, v hashing.Value, radius int) []near {
	for row := 0; len(words) >= 4; row++ {
		w := (*[4]uint64)(words)
		words = words[4:]
		d := bits.OnesCount64(w[0]^v[0]) + bits.OnesCount64(w[1]^v[1])
		if d > radius {
			continue
		}
		d += bits.OnesCount64(w[2]^v[2]) + bits.OnesCount64(w[3]^v[3])
		if d <= radius {
			found = append(found, near{row, d})
		}
	}
	return found
}

// near64 does the same among rows of one word.
func near64(found []near, words []uint64, v hashing.Value, radius int) []near {
	for row, w := range words {
		if d := bits.OnesCount64(w ^ v[0]); d <= radius {
			found = append(found, near{row, d})
		}
	}
	return found
}
