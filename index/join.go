package index

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// joinBatch is how many values are joined at a time: enough that the buckets of queries are worth it, some 50 MB.
const joinBatch = 1 << 20

// Join answers very many queries that differ in their values only, such as a list of hashes of all that was
// posted before. It finds for each what [Snapshot.Search] would find with q and that value, and calls found
// with the value's place in the list and the hit: in no order, but not at the same time. The work is shared by
// all processors. q.Limit is not looked at. An error of found ends it, as ctx does.
func (s *Snapshot) Join(ctx context.Context, q Query, values []hashing.Value, found func(value int, h Hit) error) error {
	for i, v := range values {
		if err := validate(q.Algorithm, v); err != nil {
			return fmt.Errorf("value %d of %d: %w", i, len(values), err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q.Limit = 0
	w := s.ask(q)
	var mu sync.Mutex
	give := func(p part, first int, pairs []segment.Pair) {
		mu.Lock()
		defer mu.Unlock()
		for _, pair := range pairs {
			h, ok := w.hit(p, int(pair.Row), int(pair.Distance))
			if !ok || ctx.Err() != nil {
				continue
			}
			if err := found(first+int(pair.Query), h); err != nil {
				cancel(err)
			}
		}
	}
	parts, free, err := s.joinable(q.Algorithm, len(values))
	defer free()
	if err != nil {
		return err
	}
	room := make([]segment.Value, min(joinBatch, len(values)))
	for first := 0; first < len(values) && w.reach >= 0; first += joinBatch {
		batch := room[:min(joinBatch, len(values)-first)]
		_ = segment.Each(ctx, len(batch), 4096, runtime.GOMAXPROCS(0), func(_ *segment.Searcher, from, to int) {
			for i := from; i < to; i++ {
				batch[i] = stored(q.Algorithm, values[first+i])
			}
		}) // what ends with ctx ends below
		for _, p := range parts {
			if err := p.join(ctx, q.Algorithm, batch, w.reach, func(pairs []segment.Pair) { give(p, first, pairs) }); err != nil {
				return context.Cause(ctx)
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// joinable are the parts of an algorithm, with a segment made of each delta if the values are so many that it pays.
// These are to be freed afterwards: the collector does not know how large they are.
func (s *Snapshot) joinable(a hashing.Algorithm, values int) (parts []part, free func(), err error) {
	const pays = 4096
	var made []*segment.Segment
	free = func() {
		for _, g := range made {
			g.Free()
		}
	}
	parts = slices.Clone(s.parts[a])
	for i, p := range parts {
		if _, ok := p.rows.(*delta); ok && values >= pays && p.live() > 0 {
			g, err := job{a, []part{p}}.do(runtime.GOMAXPROCS(0))
			if err != nil {
				return nil, free, err
			}
			made = append(made, g)
			parts[i] = part{rows: g}
		}
	}
	return parts, free, nil
}

// join compares all rows of a part with all values.
func (p part) join(ctx context.Context, a hashing.Algorithm, values []segment.Value, radius int, found func([]segment.Pair)) error {
	workers := runtime.GOMAXPROCS(0)
	if g, ok := p.rows.(*segment.Segment); ok && !a.Exact() {
		return g.Join(ctx, values, radius, workers, found)
	}
	if !a.Exact() {
		return segment.Share(ctx, p, values, radius, workers, found)
	}
	return segment.Each(ctx, len(values), 256, workers, func(m *segment.Searcher, from, to int) {
		m.Pairs = m.Pairs[:0]
		for i := from; i < to; i++ {
			for _, row := range p.Equal(&values[i]) {
				m.Pairs = append(m.Pairs, segment.Pair{Query: uint32(i), Row: row})
			}
		}
		if len(m.Pairs) > 0 {
			found(m.Pairs)
		}
	})
}
