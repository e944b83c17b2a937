package indextest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"vigie/hashing"
	"vigie/index"
)

// Oracle is an [Engine] too simple to be wrong: entries in a map, copied for every change, searched
// by loops. It follows the documentation of [index], not its code.
type Oracle struct {
	mu  sync.Mutex
	now *state
}

// NewOracle returns an empty oracle.
func NewOracle() *Oracle { return &Oracle{now: &state{}} }

type state struct {
	seq     uint64
	entries map[index.EntryID]index.Change // the last one of each entry that has signals
	hidden  map[index.BankID]bool
}

// Apply is [index.Index.Apply].
func (o *Oracle) Apply(ctx context.Context, seq uint64, changes []index.Change) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if seq <= o.now.seq {
		return nil
	}
	next := &state{seq: seq, entries: map[index.EntryID]index.Change{}, hidden: map[index.BankID]bool{}}
	maps.Copy(next.entries, o.now.entries)
	maps.Copy(next.hidden, o.now.hidden)
	for _, c := range changes {
		if c.Entry == 0 && len(c.Signals) > 0 || c.Entry != 0 && c.Hidden {
			return fmt.Errorf("%w change", index.ErrInvalid)
		}
		for _, s := range c.Signals {
			if !wellFormed(s.Algorithm, s.Value) {
				return fmt.Errorf("%w signal", index.ErrInvalid)
			}
		}
		switch {
		case c.Entry == 0:
			next.hidden[c.Bank] = c.Hidden
		case len(c.Signals) == 0:
			delete(next.entries, c.Entry)
		default:
			c.Signals = slices.Clone(c.Signals)
			next.entries[c.Entry] = c
		}
	}
	o.now = next
	return nil
}

// Snapshot is [index.Index.Snapshot].
func (o *Oracle) Snapshot() Snapshot {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func wellFormed(a hashing.Algorithm, v hashing.Value) bool {
	return a.Valid() && v == clip(a, v)
}

func (s *state) Seq() uint64 { return s.seq }

func (s *state) Stats() index.Stats {
	st := index.Stats{Seq: s.seq, Entries: len(s.entries), Rows: map[hashing.Algorithm]int{}}
	for _, e := range s.entries {
		for _, signal := range e.Signals {
			st.Rows[signal.Algorithm]++
		}
	}
	return st
}

func (s *state) Search(ctx context.Context, q index.Query) (index.Result, error) {
	if err := ctx.Err(); err != nil {
		return index.Result{}, err
	}
	if !wellFormed(q.Algorithm, q.Value) {
		return index.Result{}, fmt.Errorf("%w query", index.ErrInvalid)
	}
	var r index.Result
	for _, e := range s.entries {
		radius := q.Radius
		if q.Banks != nil {
			var ok bool
			if radius, ok = q.Banks[e.Bank]; !ok {
				continue
			}
		}
		if q.Algorithm.Exact() {
			radius = min(radius, 0)
		}
		for _, signal := range e.Signals {
			d := signal.Value.Distance(q.Value)
			if signal.Algorithm == q.Algorithm && d <= radius && !s.hidden[e.Bank] {
				r.Hits = append(r.Hits, index.Hit{Entry: e.Entry, Bank: e.Bank, Variant: signal.Variant, Time: signal.Time, Distance: d})
			}
		}
	}
	slices.SortFunc(r.Hits, func(a, b index.Hit) int {
		return cmp.Or(
			cmp.Compare(a.Distance, b.Distance),
			cmp.Compare(a.Entry, b.Entry),
			cmp.Compare(a.Variant, b.Variant),
			cmp.Compare(a.Time, b.Time),
		)
	})
	r.Total = len(r.Hits)
	if q.Limit > 0 {
		r.Hits = r.Hits[:min(q.Limit, r.Total)]
	}
	return r, nil
}

func (s *state) Values(a hashing.Algorithm, e index.EntryID) (values []hashing.Signal) {
	c := s.entries[e]
	for _, signal := range c.Signals {
		if signal.Algorithm == a && !s.hidden[c.Bank] {
			values = append(values, hashing.Signal{Algorithm: a, Variant: signal.Variant, Time: signal.Time, Value: signal.Value})
		}
	}
	slices.SortFunc(values, func(a, b hashing.Signal) int {
		return cmp.Or(cmp.Compare(a.Variant, b.Variant), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Hex(), b.Hex()))
	})
	return values
}

func (s *state) SearchMany(ctx context.Context, queries []index.Query) ([]index.Result, error) {
	results := make([]index.Result, len(queries))
	for i, q := range queries {
		r, err := s.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		results[i] = r
	}
	return results, nil
}
