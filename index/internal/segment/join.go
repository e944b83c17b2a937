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
// and whole buckets are compared: what is read once serves all queries that want it. It pays from some
// ten thousand queries on, and wherever a search by tables does; else it is a search after the other.
func (s *Segment) Join(ctx context.Context, queries []Value, radius, workers int, found func([]Pair)) error {
	defer runtime.KeepAlive(s)
	radius = min(radius, 256)
	if radius < 0 || s.Len() == 0 || len(queries) == 0 {
		return nil
	}
	var t thresholds
	t.split(radius)
	if s.a == nil || !s.worthwhile(&t, radius) || len(queries) < 1<<s.Prefix/8 {
		return s.joinOneByOne(ctx, queries, radius, workers, found)
	}
	var todo sync.WaitGroup
	tables := make(chan int)
	for range max(workers, 1) {
		todo.Go(func() {
			j := joiner{s: s, queries: queries, radius: radius, t: &t, found: found}
			for i := range tables {
				j.table(ctx, i)
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

func (s *Segment) joinOneByOne(ctx context.Context, queries []Value, radius, workers int, found func([]Pair)) error {
	return Each(ctx, len(queries), 64, workers, func(m *Searcher, from, to int) {
		m.Pairs = m.Pairs[:0]
		for q := from; q < to; q++ {
			m.Found, _ = s.Near(&queries[q], radius, &m.Scratch, m.Found[:0])
			for _, f := range m.Found {
				m.Pairs = append(m.Pairs, Pair{uint32(q), f.Row, f.Distance})
			}
		}
		if len(m.Pairs) > 0 {
			found(m.Pairs)
		}
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
	radius  int
	t       *thresholds
	found   func([]Pair)

	ends     []uint32 // of the buckets of queries
	sketches []uint32 // of the queries, bucket by bucket
	ids      []uint32
	near     []kernel.Pair
	pairs    []Pair
}

// table joins by table i.
func (j *joiner) table(ctx context.Context, i int) {
	j.sort(i)
	b, set, shift := &j.s.tables[i], &maskSets[j.s.Prefix], 16-j.s.Prefix
	from := uint32(0)
	for k, to := range j.ends {
		if from == to {
			continue
		}
		if k%1024 == 0 && ctx.Err() != nil {
			return
		}
		sketches, ids := j.sketches[from:to], j.ids[from:to]
		from = to
		for d := range j.t[i] {
			limit := j.t.limit(i) - d
			for _, m := range set.masks[set.below[d]:set.below[d+1]] {
				k := k ^ int(m>>shift)
				first, last := b.directory[k], b.directory[k+1]
				if first < last {
					j.bucket(i, b, first, last, sketches, ids, limit)
				}
			}
		}
	}
	j.flush()
}

// sort puts the queries into buckets by their chunk i, as makeTable does with rows.
func (j *joiner) sort(i int) {
	shift, n := 16-j.s.Prefix, len(j.queries)
	if len(j.ends) == 0 {
		j.ends = make([]uint32, 1<<j.s.Prefix)
		j.sketches, j.ids = make([]uint32, n, n+kernel.Padding), make([]uint32, n)
	}
	clear(j.ends)
	for q := range j.queries {
		j.ends[chunk(&j.queries[q], i)>>shift]++
	}
	sum := uint32(0)
	for k, n := range j.ends {
		j.ends[k] = sum
		sum += n
	}
	for q := range j.queries {
		v := &j.queries[q]
		k := chunk(v, i) >> shift
		at := j.ends[k]
		j.ends[k]++
		j.sketches[at] = uint32(chunk(v, (i+1)%Chunks)) | uint32(chunk(v, (i+2)%Chunks))<<16
		j.ids[at] = uint32(q)
	}
}

// bucket compares a bucket of rows with one of queries.
func (j *joiner) bucket(i int, b *table, first, last uint32, sketches, ids []uint32, limit int) {
	for len(sketches) > 0 {
		if len(j.near) < int(last-first) {
			j.near = make([]kernel.Pair, max(4096, 2*int(last-first)))
		}
		n, done := kernel.JoinBucket(b.sketches[first:last], sketches, limit, j.near)
		for _, p := range j.near[:n] {
			row, q := b.rows[first+p.Row], ids[p.Query]
			x := j.s.differences(&j.queries[q], row)
			if distance := ones(&x); distance <= j.radius && !j.s.earlier(&x, i, j.t) {
				if j.pairs = append(j.pairs, Pair{q, row, uint32(distance)}); len(j.pairs) == 1024 {
					j.flush()
				}
			}
		}
		sketches, ids = sketches[done:], ids[done:]
	}
}

func (j *joiner) flush() {
	if len(j.pairs) > 0 {
		j.found(j.pairs)
	}
	j.pairs = j.pairs[:0]
}
