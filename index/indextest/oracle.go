package indextest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"vigie/hashing"
	"vigie/index"
)

// Oracle is an [Engine] too simple to be wrong: entries in maps, copied when they change, searched
// by loops. It follows the documentation of [index], not its code.
type Oracle struct {
	mu  sync.Mutex
	now *state
}

// NewOracle returns an empty oracle.
func NewOracle() *Oracle { return &Oracle{now: &state{}} }

type state struct {
	seq     uint64
	entries [256]map[index.EntryID]index.Change // the last one of each entry that has signals, by its number modulo 256
	hidden  map[index.BankID]bool
}

func (s *state) all() iter.Seq[index.Change] {
	return func(yield func(index.Change) bool) {
		for _, entries := range s.entries {
			for _, e := range entries {
				if !yield(e) {
					return
				}
			}
		}
	}
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
	next := &state{seq: seq, entries: o.now.entries, hidden: map[index.BankID]bool{}}
	maps.Copy(next.hidden, o.now.hidden)
	copied := map[index.EntryID]bool{}
	for _, c := range changes {
		if c.Entry == 0 && len(c.Signals) > 0 || c.Entry != 0 && c.Hidden {
			return fmt.Errorf("%w change", index.ErrInvalid)
		}
		for _, s := range c.Signals {
			if !wellFormed(s.Algorithm, s.Value) {
				return fmt.Errorf("%w signal", index.ErrInvalid)
			}
		}
		if c.Entry == 0 {
			next.hidden[c.Bank] = c.Hidden
			continue
		}
		entries := &next.entries[c.Entry%256]
		if !copied[c.Entry%256] {
			copied[c.Entry%256] = true
			fresh := map[index.EntryID]index.Change{}
			maps.Copy(fresh, *entries)
			*entries = fresh
		}
		delete(*entries, c.Entry)
		if len(c.Signals) > 0 {
			c.Signals = slices.Clone(c.Signals)
			(*entries)[c.Entry] = c
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
	st := index.Stats{Seq: s.seq, Rows: map[hashing.Algorithm]int{}}
	for e := range s.all() {
		st.Entries++
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
	for e := range s.all() {
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
			if signal.Algorithm != q.Algorithm || s.hidden[e.Bank] {
				continue
			}
			if d := signal.Value.Distance(q.Value); d <= radius {
				r.Hits = append(r.Hits, index.Hit{Entry: e.Entry, Bank: e.Bank, Variant: signal.Variant, Time: signal.Time, Distance: d})
			}
		}
	}
	slices.SortFunc(r.Hits, compareHits)
	r.Total = len(r.Hits)
	if q.Limit > 0 {
		r.Hits = r.Hits[:min(q.Limit, r.Total)]
	}
	return r, nil
}

// compareHits orders hits as [index.Result] says.
func compareHits(a, b index.Hit) int {
	return cmp.Or(
		cmp.Compare(a.Distance, b.Distance),
		cmp.Compare(a.Entry, b.Entry),
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.Time, b.Time),
	)
}

func (s *state) Values(a hashing.Algorithm, e index.EntryID) (values []hashing.Signal) {
	c := s.entries[e%256][e]
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

func (s *state) Join(ctx context.Context, q index.Query, values []hashing.Value, found func(int, index.Hit) error) error {
	q.Limit = 0
	for i, v := range values {
		q.Value = v
		r, err := s.Search(ctx, q)
		if err != nil {
			return err
		}
		for _, h := range r.Hits {
			if err := found(i, h); err != nil {
				return err
			}
		}
	}
	return nil
}
