package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Query asks for all rows of one algorithm within a radius of a value.
type Query struct {
	Algorithm hashing.Algorithm
	Value     hashing.Value
	// Radius is the largest distance that counts, in every bank. A negative radius finds nothing, one
	// of the algorithm's bits or more everything; for digests any other radius is taken as 0.
	Radius int
	// Banks, if not nil, names the only banks to search and the radius in each; Radius is then
	// ignored. It is applied inside the search, before Limit. A negative radius leaves its bank out.
	Banks map[BankID]int
	// Limit, if positive, cuts the answer to the nearest Limit hits; Result.Total says how many there are.
	Limit int
	// Method says how rows are found, never which.
	Method Method
}

// Method is a way to search.
type Method uint8

const (
	Auto  Method = iota // what is expected to be fastest
	Flat                // compares all rows, by vector instructions
	Brute               // compares all rows, by a plain loop: slow, and what the others are checked by
)

// Hit is one row within the radius. An entry that has several such rows has several hits.
type Hit struct {
	Entry    EntryID
	Bank     BankID
	Variant  hashing.Variant // of the stored row
	Time     uint32          // of the stored row: where in a video, in milliseconds
	Distance int             // in bits, 0 to the algorithm's Bits
}

// Result is the answer to one query: hits in the order (distance, entry, variant, time), complete unless
// Total is larger than len(Hits). Hits is nil if there is none; it belongs to the caller.
type Result struct {
	Hits  []Hit
	Total int // rows within the radius, those cut by Limit included
}

// Search answers one query. An invalid one (unknown algorithm, bits set beyond the algorithm's) gets
// an error that wraps [ErrInvalid]. If ctx ends before the search, the error is ctx.Err().
func (s *Snapshot) Search(ctx context.Context, q Query) (Result, error) {
	if err := validate(q.Algorithm, q.Value); err != nil {
		return Result{}, fmt.Errorf("query: %w", err)
	}
	m := searchers.Get().(*searcher)
	defer searchers.Put(m)
	m.one = s.ask(q)
	if err := s.search(ctx, m); err != nil {
		return Result{}, err
	}
	r := m.one.result()
	s.shadow.sample(ctx, s, q, r)
	return r, nil
}

// SearchMany answers every query as [Snapshot.Search] would, in the same order. Rows that are compared one by one are
// read once for all queries, and take half the time. If one of them is invalid, none is answered. The queries may
// mix algorithms. It uses one processor; for very many queries of one radius see [Snapshot.Join].
func (s *Snapshot) SearchMany(ctx context.Context, queries []Query) ([]Result, error) {
	for i, q := range queries {
		if err := validate(q.Algorithm, q.Value); err != nil {
			return nil, fmt.Errorf("query %d of %d: %w", i, len(queries), err)
		}
	}
	answers := make([]answer, len(queries))
	crowds := map[kind]*crowd{}
	for i, q := range queries {
		w := &answers[i]
		*w = s.ask(q)
		k := kind{w.Algorithm, w.Method, w.reach}
		if crowds[k] == nil {
			crowds[k] = new(crowd)
		}
		crowds[k].add(w)
	}
	m := searchers.Get().(*searcher)
	defer searchers.Put(m)
	for k, c := range crowds {
		if err := s.searchMany(ctx, m, k, c); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	results := make([]Result, len(queries))
	for i := range answers {
		results[i] = answers[i].result()
		s.shadow.sample(ctx, s, queries[i], results[i])
	}
	return results, nil
}

// searchers are the memory of one search at a time.
var searchers = sync.Pool{New: func() any { return new(searcher) }}

type searcher struct {
	segment.Searcher
	one   answer
	value segment.Value
}

// search answers m.one.
func (s *Snapshot) search(ctx context.Context, m *searcher) error {
	w := &m.one
	if w.reach >= 0 {
		m.value = stored(w.Algorithm, w.Value)
		for _, p := range s.parts[w.Algorithm] {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.find(p, w, &m.value)
		}
	}
	return ctx.Err()
}

// find adds to an answer what is in a part.
func (m *searcher) find(p part, w *answer, v *segment.Value) {
	switch {
	case w.Algorithm.Exact() && w.Method == Brute:
		for row := range p.Len() {
			if p.Row(row).Value == *v {
				w.add(p, row, 0)
			}
		}
		return
	case w.Algorithm.Exact():
		for _, row := range p.Equal(v) {
			w.add(p, int(row), 0)
		}
		return
	case w.Method == Auto:
		m.Found, _ = p.Near(v, w.reach, &m.Scratch, m.Found[:0])
	case w.Method == Flat:
		m.Found = p.Flat(v, w.reach, &m.Scratch, m.Found[:0])
	default:
		m.Found = p.Brute(v, w.reach, m.Found[:0])
	}
	for _, f := range m.Found {
		w.add(p, int(f.Row), int(f.Distance))
	}
}

// kind is what queries have in common that are searched for together.
type kind struct {
	algorithm hashing.Algorithm
	method    Method
	reach     int
}

// crowd is queries of one kind.
type crowd struct {
	answers []*answer
	values  []segment.Value
}

func (c *crowd) add(w *answer) {
	c.answers, c.values = append(c.answers, w), append(c.values, stored(w.Algorithm, w.Value))
}

// searchMany answers a crowd, part by part: what one query brings to the cache, the next one finds there.
func (s *Snapshot) searchMany(ctx context.Context, m *searcher, k kind, c *crowd) error {
	if k.reach < 0 {
		return nil
	}
	for _, p := range s.parts[k.algorithm] {
		if k.method == Auto && !k.algorithm.Exact() {
			err := p.Many(ctx, c.values, k.reach, &m.Searcher, func(pairs []segment.Pair) {
				for _, f := range pairs {
					c.answers[f.Query].add(p, int(f.Row), int(f.Distance))
				}
			})
			if err != nil {
				return err
			}
			continue
		}
		for i, w := range c.answers {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.find(p, w, &c.values[i])
		}
	}
	return nil
}

// answer collects the hits of a query.
type answer struct {
	Query
	hidden map[BankID]bool
	reach  int // the largest radius in any bank
	hits   []Hit
	total  int
	full   bool // there are Limit hits
	worst  Hit  // if full: the last of the nearest Limit ones so far; what is behind it need not be kept
}

func (s *Snapshot) ask(q Query) answer {
	w := answer{Query: q, hidden: s.hidden, reach: q.Radius}
	if q.Banks != nil {
		w.reach = -1
		for _, radius := range q.Banks {
			w.reach = max(w.reach, radius)
		}
	}
	return w
}

// add takes a row within reach, unless it is dead or its bank does not admit it.
func (w *answer) add(p part, row, distance int) {
	h, ok := w.hit(p, row, distance)
	if !ok {
		return
	}
	w.total++
	if w.full && compareHits(h, w.worst) >= 0 {
		return
	}
	w.hits = append(w.hits, h)
	if w.Limit > 0 && len(w.hits)/2 >= w.Limit {
		w.cut()
		w.full, w.worst = true, w.hits[w.Limit-1]
	}
}

// hit is a row within reach, if it is alive and its bank admits it.
func (w *answer) hit(p part, row, distance int) (h Hit, ok bool) {
	bank := BankID(p.Bank(row))
	if p.dead.has(row) || w.hidden[bank] {
		return h, false
	}
	if w.Banks != nil {
		if radius, ok := w.Banks[bank]; !ok || distance > radius {
			return h, false
		}
	}
	r := p.Row(row)
	return Hit{Entry: EntryID(r.Entry), Bank: bank, Variant: hashing.Variant(r.Variant), Time: r.Time, Distance: distance}, true
}

// cut orders the hits and keeps the nearest Limit of them. It is called once for every Limit hits
// added, which bounds both the memory and the time.
func (w *answer) cut() {
	slices.SortFunc(w.hits, compareHits)
	if w.Limit > 0 {
		w.hits = w.hits[:min(len(w.hits), w.Limit)]
	}
}

func (w *answer) result() Result {
	w.cut()
	return Result{Hits: w.hits, Total: w.total}
}

// compareHits orders hits as a [Result] has them.
func compareHits(a, b Hit) int {
	return cmp.Or(
		cmp.Compare(a.Distance, b.Distance),
		cmp.Compare(a.Entry, b.Entry),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.Time, b.Time),
	)
}
