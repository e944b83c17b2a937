package index

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// ShadowEvery is the share of live queries that are asked again: one in so many.
const ShadowEvery = 10_000

// Shadow tells of a query that was answered by tables and vector instructions, and again by a plain loop over all rows.
type Shadow struct {
	Err  error         // what was different, or nil; it names no value
	Took time.Duration // of the loop
}

// shadow asks some queries again, one at a time, in the background. What comes meanwhile is passed over.
type shadow struct {
	every  uint64
	tell   func(Shadow)
	asked  atomic.Uint64
	atWork atomic.Bool
}

// sample is called with each query and its answer.
func (h *shadow) sample(ctx context.Context, s *Snapshot, q Query, r Result) {
	if h == nil || q.Method != Auto || h.asked.Add(1)%h.every != 0 || !h.atWork.CompareAndSwap(false, true) {
		return
	}
	q.Banks = maps.Clone(q.Banks) // the caller may change it
	r.Hits, ctx = slices.Clone(r.Hits), context.WithoutCancel(ctx)
	go func() {
		defer h.atWork.Store(false)
		began := time.Now()
		err := s.again(ctx, q, r)
		h.tell(Shadow{err, time.Since(began)})
	}()
}

// again compares an answer with that of a plain loop.
func (s *Snapshot) again(ctx context.Context, q Query, got Result) error {
	q.Method = Brute
	want, err := s.Search(ctx, q)
	if err != nil {
		return err
	}
	if got.Total != want.Total || !slices.Equal(got.Hits, want.Hits) {
		return fmt.Errorf("a search for %s as of change %d found %d rows; a plain loop over all rows finds %d", q.Algorithm, s.seq, got.Total, want.Total)
	}
	return nil
}

// Canary searches for some rows that are in the index, as they are and a few bits away, and compares with a plain
// loop: a quick proof, before anybody relies on it, that an index that was just loaded can find anything at all on
// this machine.
func (s *Snapshot) Canary(ctx context.Context) error {
	for a, parts := range s.parts {
		for _, p := range parts {
			if p.live() == 0 {
				continue
			}
			row := p.Len() / 2
			for p.dead.has(row) || s.hidden[BankID(p.Bank(row))] {
				if row++; row == p.Len() {
					row = 0
				}
				if row == p.Len()/2 {
					break // all that is alive is hidden
				}
			}
			r := p.Row(row)
			q := Query{Algorithm: a, Value: original(a, r.Value), Radius: 8, Limit: 1000}
			if !a.Exact() {
				for b := range 5 {
					q.Value[0] ^= 1 << (b * 7)
				}
			}
			found, err := s.Search(ctx, q)
			if err == nil {
				err = s.again(ctx, q, found)
			}
			alive := !p.dead.has(row) && !s.hidden[BankID(r.Bank)]
			if err == nil && alive && found.Total == 0 {
				err = fmt.Errorf("a row of %s that is in the index is not found", a)
			}
			if err != nil {
				return fmt.Errorf("canary: %w", err)
			}
		}
	}
	return nil
}
