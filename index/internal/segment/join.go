package segment

import (
	"context"
	"runtime"
	"sync"

	"vigie/index/internal/kernel"
)

// Pair is a row within the radius of one of many queries.
type Pair struct {
	Query, Row, Distance uint32
}

// Join finds what [Segment.Near] would find for each of many queries, for 256-bit values: found gets the pairs,
// some at a time, in no order, from several goroutines. Queries are put into buckets as rows are,
// and whole buckets are compared: what is read once serves all queries that want it. It pays from about
// as many queries on as the tables have buckets, and wherever a search by tables does; else it is [Segment.Many].
func (s *Segment) Join(ctx context.Context, queries []Value, radius, workers int, found func([]Pair)) error {
	defer runtime.KeepAlive(s)
	radius = min(radius, 256)
	if radius < 0 || s.Len() == 0 || len(queries) == 0 {
		return nil
	}
	var t thresholds
	t.split(radius)
	if s.a == nil || !s.worthwhile(radius) || len(queries) < 1<<s.Prefix {
		return Share(ctx, s, queries, radius, workers, found)
	}
	columns, err := columnsOf(ctx, queries, workers)
	if err != nil {
		return err
	}
	var todo sync.WaitGroup
	tables := make(chan int)
	for range max(workers, 1) {
		todo.Go(func() {
			j := joiner{s: s, queries: queries, columns: columns, radius: radius, t: &t, found: found}
			for i := range tables {
				if ctx.Err() == nil {
					j.table(ctx, i)
				}
			}
		})
	}
	for i := range s.tables {
		if t[i] > 0 {
			tables <- i
		}
	}
	close(tables)
	todo.Wait()
	return ctx.Err()
}

// columnsOf are the chunks of queries, one column each, so that a table does not have to read the others.
func columnsOf(ctx context.Context, queries []Value, workers int) (columns [Chunks][]uint16, err error) {
	for t := range columns {
		columns[t] = make([]uint16, len(queries))
	}
	return columns, Each(ctx, len(queries), 4096, workers, func(_ *Searcher, from, to int) {
		for q := from; q < to; q++ {
			for t := range columns {
				columns[t][q] = chunk(&queries[q], t)
			}
		}
	})
}

// Share is Many of any rows, by so many workers.
func Share(ctx context.Context, rows interface {
	Many(ctx context.Context, queries []Value, radius int, m *Searcher, found func([]Pair)) error
}, queries []Value, radius, workers int, found func([]Pair),
) error {
	return Each(ctx, len(queries), 64, workers, func(m *Searcher, from, to int) {
		_ = rows.Many(ctx, queries[from:to], radius, m, func(pairs []Pair) { // it fails only if ctx has ended
			for i := range pairs {
				pairs[i].Query += uint32(from)
			}
			found(pairs)
		})
	})
}

// Searcher is memory for what one goroutine finds.
type Searcher struct {
	Scratch Scratch
	Found   []Found
	Pairs   []Pair
}

// Each has so many workers go through the numbers below n, some at a time, until ctx ends.
func Each(ctx context.Context, n, some, workers int, do func(m *Searcher, from, to int)) error {
	var todo sync.WaitGroup
	starts := make(chan int)
	for range max(workers, 1) {
		todo.Go(func() {
			var m Searcher
			for from := range starts {
				do(&m, from, min(from+some, n))
			}
		})
	}
	for from := 0; from < n && ctx.Err() == nil; from += some {
		starts <- from
	}
	close(starts)
	todo.Wait()
	return ctx.Err()
}

// joiner is the memory of one worker.
type joiner struct {
	s       *Segment
	queries []Value
	columns [Chunks][]uint16 // of the queries
	radius  int
	t       *thresholds
	found   func([]Pair)

	starts   []uint32 // of the buckets of queries, and their end
	dealt    []uint64 // the queries, bucket by bucket: their numbers, and sketches below
	sketches []uint32
	ids      []uint32
	near     []kernel.Pair
	at, of   []uint32 // what passed by its sketch: positions in the table, and queries
	pairs    []Pair
}

// joinBlock is how many bytes of sketches, of rows and queries, are read again and again at a time: a cache holds them.
const joinBlock = 1 << 20

// table joins by table i. It goes through the buckets in blocks, and through a block by one mask after the other:
// then the rows' buckets, too, are one block that is read from one end to the other, but for the order within.
func (j *joiner) table(ctx context.Context, i int) {
	j.sort(i)
	set, shift := &maskSets[j.s.Prefix], 16-j.s.Prefix
	buckets := 1 << j.s.Prefix
	block := buckets
	for block > 1 && (j.s.Len()+len(j.queries))*4/buckets*block > joinBlock {
		block /= 2
	}
	for from := 0; from < buckets && ctx.Err() == nil; from += block {
		for d := range j.t[i] {
			for _, m := range set.masks[set.below[d]:set.below[d+1]] {
				j.block(ctx, i, from, from+block, int(m>>shift), j.t.limit(i)-d)
			}
		}
	}
	j.verify(i)
	j.flush()
}

// block joins the buckets of queries from one to before another with those of rows that differ by the mask.
func (j *joiner) block(ctx context.Context, i, from, to, mask, limit int) {
	b := &j.s.tables[i]
	for k := from; k < to; k++ {
		if k%1024 == 0 && ctx.Err() != nil {
			return
		}
		first, last := b.directory[k^mask], b.directory[k^mask+1]
		if lo, hi := j.starts[k], j.starts[k+1]; first < last && lo < hi {
			j.bucket(ctx, i, b, first, last, j.sketches[lo:hi], j.ids[lo:hi], limit)
		}
	}
}

// sort puts the queries into buckets by their chunk i, as makeTable does with rows.
func (j *joiner) sort(i int) {
	shift, n := 16-j.s.Prefix, len(j.queries)
	if len(j.starts) == 0 {
		j.starts = make([]uint32, 1<<j.s.Prefix+1)
		j.dealt, j.sketches, j.ids = make([]uint64, n), make([]uint32, n), make([]uint32, n)
	}
	clear(j.starts)
	ends := j.starts[1:]
	first, next, after := j.columns[i], j.columns[(i+1)%Chunks][:n], j.columns[(i+2)%Chunks][:n]
	for _, c := range first {
		ends[c>>shift]++
	}
	sum := uint32(0)
	for k, n := range ends {
		ends[k] = sum // where bucket k begins; it ends as where it ends
		sum += n
	}
	for q, c := range first { // in one word each, since what is dealt out to so many places misses the cache
		at := &ends[c>>shift]
		j.dealt[*at] = uint64(q)<<32 | uint64(after[q])<<16 | uint64(next[q])
		*at++
	}
	for at, d := range j.dealt {
		j.sketches[at], j.ids[at] = uint32(d), uint32(d>>32)
	}
}

// bucket compares a bucket of rows with one of queries.
func (j *joiner) bucket(ctx context.Context, i int, b *table, first, last uint32, sketches, ids []uint32, limit int) {
	for {
		if len(j.near) < int(last-first) {
			j.near = make([]kernel.Pair, max(4096, 2*int(last-first)))
		}
		n, done := kernel.JoinBucket(b.sketches[first:last], sketches, limit, j.near)
		for _, p := range j.near[:n] {
			j.at, j.of = append(j.at, first+p.Row), append(j.of, ids[p.Query])
		}
		if len(j.at) >= 256 {
			j.verify(i)
		}
		sketches, ids = sketches[done:], ids[done:]
		if len(sketches) == 0 || ctx.Err() != nil {
			return
		}
	}
}

// verify compares what passed by its sketch in full: some at a time, which come from all over the memory.
func (j *joiner) verify(i int) {
	rows := j.at // as positions, and then by their numbers
	kernel.PrefetchWords(j.s.tables[i].rows, rows)
	for k, p := range rows {
		rows[k] = j.s.tables[i].rows[p]
	}
	kernel.PrefetchRows(j.s.a, rows)
	kernel.PrefetchRows(j.s.b, rows)
	for k, row := range rows {
		q := j.of[k]
		x := j.s.differences(&j.queries[q], row)
		if distance := ones(&x); distance <= j.radius && !j.s.earlier(&x, i, j.t) {
			if j.pairs = append(j.pairs, Pair{q, row, uint32(distance)}); len(j.pairs) == 1024 {
				j.flush()
			}
		}
	}
	j.at, j.of = j.at[:0], j.of[:0]
}

func (j *joiner) flush() {
	if len(j.pairs) > 0 {
		j.found(j.pairs)
	}
	j.pairs = j.pairs[:0]
}
