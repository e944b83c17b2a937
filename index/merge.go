package index

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// job is some neighbouring parts of one algorithm that become one segment.
type job struct {
	algorithm hashing.Algorithm
	parts     []part
}

// tierRatio is how many times the rows of all segments behind it a segment has at least.
const tierRatio = 7

// find looks for a job: parts that nobody is at work on, behind all that somebody is at work on.
//
// Full deltas become segments; and the last segments are merged, so many of them that each one left has more than
// tierRatio times the live rows of all behind it together, and no fewer live rows than dead ones. Hence n rows stand in
// few segments, the deltas aside, each at least tierRatio+1 times as large with all behind it as that is: 3 up to
// 33 million rows, 4 up to 268 million, with deltas of 64 Ki. They take at most twice their memory.
//
// A search looks into every segment, and cold ones cost it some microseconds each, however small; a row is written
// again some tierRatio+1 times in each of the tiers that it goes through. A larger ratio is for searches, a smaller
// one for insertions: of 1 to 15, those cost 15, 15, 17, 19, 29 rewrites a row at 10 million (ratios 1, 3, 5, 7, 15).
//
// A job that does not fit into memory is left, and what is behind its first part looked at in the same way.
func (s *Snapshot) find(busy map[rows]bool, full func(hashing.Algorithm) int, fits func(job) bool) (job, bool) {
	for a, parts := range s.parts {
		from := 0
		for i, p := range parts {
			if busy[p.rows] {
				from = i + 1
			}
		}
		parts = parts[from:]
		if n := len(parts); n > 0 { // the newest delta grows on
			if _, open := parts[n-1].rows.(*delta); open && parts[n-1].Len() < full(a) {
				parts = parts[:n-1]
			}
		}
		for len(parts) > 0 {
			first, behind := len(parts), 0
			for i, p := range slices.Backward(parts) {
				_, delta := p.rows.(*delta)
				if delta || p.live() <= tierRatio*behind || p.live() < p.dead.n {
					first = i
				}
				behind += p.live()
			}
			if first == len(parts) {
				break
			}
			if j := (job{a, slices.Clone(parts[first:])}); fits(j) {
				return j, true
			}
			parts = parts[first+1:]
		}
	}
	return job{}, false
}

// do copies the live rows into one segment, ordered by entry. It returns nil if there are none.
func (j job) do(workers int) (*segment.Segment, error) {
	n, spans := 0, segment.NoSpans()
	for _, p := range j.parts {
		n += p.live()
		spans = spans.Join(p.Spans())
	}
	if n == 0 {
		return nil, nil
	}
	b, err := segment.New(j.algorithm, n, spans)
	if err != nil {
		return nil, err
	}
	at := make([]cursor, 0, len(j.parts))
	for _, p := range j.parts {
		c := cursor{part: p, order: p.byEntry()}
		if c.next() {
			at = append(at, c)
		}
	}
	for row := 0; len(at) > 0; {
		least := 0
		for i := range at {
			if at[i].entry < at[least].entry {
				least = i
			}
		}
		for e := at[least].entry; at[least].entry == e; { // all rows of an entry are in one part
			b.Set(row, at[least].row)
			row++
			segment.Polite(row)
			if !at[least].next() {
				at = slices.Delete(at, least, least+1)
				break
			}
		}
	}
	return b.Finish(workers), nil
}

// cursor goes through the live rows of a part in the order of their entries.
type cursor struct {
	part
	order []uint32 // of the rows, if they are not in order
	at    int
	row   segment.Row
	entry uint64
}

func (c *cursor) next() bool {
	for ; c.at < c.Len(); c.at++ {
		i := c.at
		if c.order != nil {
			i = int(c.order[i])
		}
		if !c.dead.has(i) {
			c.row = c.Row(i)
			c.entry = c.row.Entry
			c.at++
			return true
		}
	}
	return false
}

// byEntry is the order of a delta's rows by entry; nil if they are in order.
func (p part) byEntry() []uint32 {
	d, ok := p.rows.(*delta)
	byEntry := func(x, y meta) int { return cmp.Compare(x.entry, y.entry) }
	if !ok || slices.IsSortedFunc(d.rows, byEntry) {
		return nil
	}
	order := make([]uint32, d.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortStableFunc(order, func(x, y uint32) int { return byEntry(d.rows[x], d.rows[y]) })
	return order
}

// has tells whether the parts of a job are in the snapshot.
func (s *Snapshot) has(j job) bool {
	return slices.ContainsFunc(s.parts[j.algorithm], func(p part) bool { return p.rows == j.parts[0].rows })
}

// merged is the snapshot with the parts of a job replaced by one. What died in them meanwhile is dead in it.
func (s *Snapshot) merged(j job, g *segment.Segment) *Snapshot {
	n := *s
	n.parts = make(map[hashing.Algorithm][]part, len(s.parts))
	for a, parts := range s.parts {
		n.parts[a] = parts
	}
	parts := s.parts[j.algorithm]
	from := slices.IndexFunc(parts, func(p part) bool { return p.rows == j.parts[0].rows })
	var put []part
	if g != nil {
		p := part{rows: g}
		for i, was := range j.parts {
			now := parts[from+i]
			p.dead = p.dead.with(func(yield func(int) bool) {
				last := uint64(0) // entry: the rows of one stand together, and die together
				for row := range now.dead.since(was.dead) {
					entry := now.Row(row).Entry
					if entry == last {
						continue
					}
					last = entry
					first, last := g.Find(entry)
					for k := first; k < last; k++ {
						if !yield(k) {
							return
						}
					}
				}
			})
		}
		put = append(put, p)
	}
	n.parts[j.algorithm] = slices.Replace(slices.Clone(parts), from, from+len(j.parts), put...)
	return &n
}

// tidy does what jobs there are, until there is none. At most two goroutines do so at a time: one may be at work
// on many rows for long, and the newest ones should not have to wait for it.
func (x *Index) tidy() {
	for {
		x.lock()
		j, ok := x.work()
		if !ok {
			x.endTidy()
			x.unlock()
			return
		}
		for _, p := range j.parts {
			x.busy[p.rows] = true
		}
		x.building += j.bytes()
		x.unlock()

		g, err := j.do(max(runtime.GOMAXPROCS(0)/2, 1))

		x.lock()
		for _, p := range j.parts {
			delete(x.busy, p.rows)
		}
		x.building -= j.bytes()
		if err != nil { // no memory: what there is goes on as it is
			x.fault(fmt.Errorf("merge %d parts of the index: %w", len(j.parts), err))
			x.endTidy()
			x.unlock()
			return
		}
		if now := x.Snapshot(); now.has(j) {
			x.snapshot.Store(now.merged(j, g))
			x.retire(j)
		} else if g != nil { // all was replaced meanwhile
			g.Free()
		}
		x.unlock()
		if g != nil && g.Bytes() > 64<<20 {
			j = job{}
			runtime.GC() // the memory of the parts that are no more is freed when they are collected
		}
	}
}

// endTidy counts a goroutine that merges less; whoever writes calls it.
func (x *Index) endTidy() {
	if x.tidying--; x.tidying == 0 {
		close(x.tidied)
	}
}
