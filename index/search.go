package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"vigie/hashing"
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
}

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
	answers := []answer{s.ask(q)}
	if err := s.search(ctx, answers); err != nil {
		return Result{}, err
	}
	return answers[0].result(), nil
}

// SearchMany answers every query as [Snapshot.Search] would, in the same order, but passes over the
// rows only once. If one of them is invalid, none is answered. The queries may mix algorithms.
func (s *Snapshot) SearchMany(ctx context.Context, queries []Query) ([]Result, error) {
	answers := make([]answer, len(queries))
	for i, q := range queries {
		if err := validate(q.Algorithm, q.Value); err != nil {
			return nil, fmt.Errorf("query %d of %d: %w", i, len(queries), err)
		}
		answers[i] = s.ask(q)
	}
	if err := s.search(ctx, answers); err != nil {
		return nil, err
	}
	results := make([]Result, len(queries))
	for i := range answers {
		results[i] = answers[i].result()
	}
	return results, nil
}

// blockRows are compared with all queries before the next ones are read: 32 kB of 256-bit rows,
// which stay in the core's first cache meanwhile.
const blockRows = 1024

func (s *Snapshot) search(ctx context.Context, answers []answer) error {
	group := make([]*answer, 0, len(answers)) // to the queries of one algorithm
	var found []near
	for a, segments := range s.segments {
		group = group[:0]
		for i := range answers {
			if answers[i].Algorithm == a && answers[i].reach >= 0 {
				group = append(group, &answers[i])
			}
		}
		if len(group) == 0 {
			continue
		}
		for _, g := range segments {
			if a.Exact() {
				for _, w := range group {
					for _, row := range g.equal(w.Value) {
						w.add(g, int(row), 0)
					}
				}
				continue
			}
			for from := 0; from < len(g.entries); from += blockRows {
				if err := ctx.Err(); err != nil {
					return err
				}
				block := g.words[from*g.width : min(from+blockRows, len(g.entries))*g.width]
				for _, w := range group {
					found = g.scan(found[:0], block, w.Value, w.reach)
					for _, f := range found {
						w.add(g, from+f.row, f.distance)
					}
				}
			}
		}
	}
	return ctx.Err()
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
func (w *answer) add(g segment, row, distance int) {
	bank := g.banks[row]
	if g.isDead(row) || w.hidden[bank] {
		return
	}
	if w.Banks != nil {
		if radius, ok := w.Banks[bank]; !ok || distance > radius {
			return
		}
	}
	w.total++
	h := Hit{Entry: g.entries[row], Bank: bank, Variant: g.variants[row], Time: g.time(row), Distance: distance}
	if w.full && compareHits(h, w.worst) >= 0 {
		return
	}
	w.hits = append(w.hits, h)
	if w.Limit > 0 && len(w.hits)/2 >= w.Limit {
		w.cut()
		w.full, w.worst = true, w.hits[w.Limit-1]
	}
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
