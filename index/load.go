package index

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Load fills an empty index with the state of the world as of seq, as [Index.Apply] would, but makes its
// segments at once: each entry and each bank comes once, in any order, those of entries best in ascending order. Besides
// the index itself it takes some 60 bytes a row meanwhile. If it fails, the index is as empty as before: so it does, with an
// error that wraps [ErrFull], as soon as what was read takes more than [Options.MemoryLimit].
func (x *Index) Load(ctx context.Context, seq uint64, changes iter.Seq2[Change, error]) error {
	x.lock()
	defer x.unlock()
	if x.Snapshot().seq > 0 || seq == 0 {
		return fmt.Errorf("%w: load change %d into an index at change %d", ErrInvalid, seq, x.Snapshot().seq)
	}
	return x.load(ctx, seq, changes)
}

// Replace is [Index.Load] for an index that may hold something, of another log, say: that answers until all is read, and
// then what was read takes its place at one stroke. seq may be any number, 0 for what is empty. If it fails, the index is as
// it was. Both have to fit into [Options.MemoryLimit]; if they do not, [Index.Drop] makes room.
func (x *Index) Replace(ctx context.Context, seq uint64, changes iter.Seq2[Change, error]) error {
	x.lock()
	defer x.unlock()
	before := x.Snapshot()
	if err := x.load(ctx, seq, changes); err != nil {
		return err
	}
	x.leave(before)
	return nil
}

// Drop empties the index, back to sequence number 0. Memory is given back as soon as nobody holds a snapshot of before.
func (x *Index) Drop() {
	x.lock()
	defer x.unlock()
	before := x.Snapshot()
	x.snapshot.Store(&Snapshot{shadow: before.shadow})
	x.leave(before)
}

// leave counts what a snapshot that was replaced still takes. Whoever writes calls it.
func (x *Index) leave(before *Snapshot) {
	for a, parts := range before.parts {
		x.retire(job{a, parts})
	}
}

func (x *Index) load(ctx context.Context, seq uint64, changes iter.Seq2[Change, error]) error {
	s := &Snapshot{seq: seq, hidden: map[BankID]bool{}, parts: map[hashing.Algorithm][]part{}, shadow: x.Snapshot().shadow}
	var all [math.MaxUint8 + 1]pile // by algorithm
	for c, err := range x.loading(changes) {
		if err == nil {
			err = cmp.Or(c.validate(), ctx.Err())
		}
		switch {
		case err != nil:
			return err
		case c.Entry == 0 && c.Hidden:
			s.hidden[c.Bank] = true
			s.digest.Add(c)
		case len(c.Signals) > 0:
			s.entries++
			for a, row := range rowsOf(c) {
				all[a].add(row)
			}
		}
	}
	for a := range all {
		if all[a].n == 0 {
			continue
		}
		a := hashing.Algorithm(a)
		r, d, err := all[a].part(a, x.deltaRows(a))
		if err != nil {
			return err
		}
		s.digest.plus(d)
		s.parts[a] = []part{{rows: r}}
	}
	x.snapshot.Store(s)
	return nil
}

// pile is very many rows, in chunks: a slice that grows would be copied, and take twice the memory.
type pile struct {
	chunks [][]segment.Row
	n      int
	spans  segment.Spans
	last   uint64 // entry
	mixed  bool   // not in the order of entries
}

const pileChunk = 1 << 16

func (p *pile) add(r segment.Row) {
	if p.n%pileChunk == 0 {
		p.chunks = append(p.chunks, make([]segment.Row, 0, pileChunk))
	}
	if p.n == 0 {
		p.spans = segment.NoSpans()
	}
	last := len(p.chunks) - 1
	p.chunks[last] = append(p.chunks[last], r)
	p.spans = p.spans.With(r)
	p.mixed = p.mixed || r.Entry < p.last
	p.last = r.Entry
	p.n++
}

// part makes a segment of the rows, or a delta if they do not fill one, and sums them up. The pile is empty afterwards.
func (p *pile) part(a hashing.Algorithm, full int) (_ rows, sum Digest, err error) {
	chunks := p.chunks
	p.chunks = nil
	if p.mixed {
		all := slices.Concat(chunks...)
		slices.SortStableFunc(all, func(x, y segment.Row) int { return cmp.Compare(x.Entry, y.Entry) })
		chunks = slices.Collect(slices.Chunk(all, pileChunk))
	}
	if p.n < full {
		all := slices.Concat(chunks...)
		for i, r := range all {
			sum.plus(rowDigest(a, r.Value, r.Entry, r.Bank, r.Variant, r.Time))
			all[i].Value = stored(a, r.Value)
		}
		return newDelta(a).with(all), sum, nil
	}
	b, err := segment.New(a, p.n, p.spans)
	if err != nil {
		return nil, sum, err
	}
	workers := runtime.GOMAXPROCS(0)
	var todo sync.WaitGroup
	next := make(chan int)
	sums := make([]Digest, workers)
	for worker := range workers {
		todo.Go(func() {
			for i := range next {
				for k, r := range chunks[i] {
					sums[worker].plus(rowDigest(a, r.Value, r.Entry, r.Bank, r.Variant, r.Time))
					chunks[i][k].Value = stored(a, r.Value)
				}
				b.Set(i*pileChunk, chunks[i]...)
				chunks[i] = nil // it can be collected while the rest goes on
			}
		})
	}
	for i := range chunks {
		next <- i
	}
	close(next)
	todo.Wait()
	for _, part := range sums {
		sum.plus(part)
	}
	return b.Finish(workers), sum, nil
}
