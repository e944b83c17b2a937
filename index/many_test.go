package index_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// sameAsOne wants SearchMany to answer as as many searches do, and as a plain loop over all rows.
func sameAsOne(t *testing.T, s *index.Snapshot, queries []index.Query) {
	t.Helper()
	many, err := s.SearchMany(t.Context(), queries)
	if err != nil || len(many) != len(queries) {
		t.Fatalf("%d answers to %d queries: %v", len(many), len(queries), err)
	}
	for i, q := range queries {
		for _, q.Method = range []index.Method{index.Auto, index.Brute} {
			one, err := s.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if one.Total != many[i].Total || !slices.Equal(one.Hits, many[i].Hits) || (one.Hits == nil) != (many[i].Hits == nil) {
				t.Fatalf("query %d of %d, %+v: %d hits of %d, want %d of %d", i, len(queries), q, len(many[i].Hits), many[i].Total, len(one.Hits), one.Total)
			}
		}
	}
}

// TestSearchMany asks mixed queries of an index with all kinds of parts, dead rows and a hidden bank, as it is and loaded.
func TestSearchMany(t *testing.T) {
	g := indextest.Gen{Source: rand.New(rand.NewPCG(31, 32)), Entries: 3000, Banks: 4}
	x := index.New(index.SmallDeltas(700))
	live(t, x, g, 3000, 6)
	if err := x.Apply(t.Context(), 5000, []index.Change{{Bank: 3, Hidden: true}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil }); err != nil {
		t.Fatal(err)
	}
	mapped, _, err := index.Open(dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 20
	if raceDetector || testing.Short() {
		rounds = 5
	}
	for name, s := range map[string]*index.Snapshot{"live": x.Snapshot(), "mapped": mapped.Snapshot()} {
		t.Run(name, func(t *testing.T) {
			g := indextest.Gen{Source: rand.New(rand.NewPCG(33, 34)), Entries: 3000, Banks: 4}
			for range rounds {
				queries := g.Queries(1 + g.IntN(100))
				for i := range queries {
					if g.IntN(8) == 0 {
						queries[i].Method = index.Flat
					}
				}
				sameAsOne(t, s, queries)

				// Of one kind, as a picture's are, whatever their filters.
				for i := range queries {
					queries[i].Algorithm, queries[i].Value = hashing.PDQ, g.Value(hashing.PDQ)
					queries[i].Radius, queries[i].Method = 31, index.Auto
					if queries[i].Banks != nil {
						queries[i].Banks = map[index.BankID]int{g.Bank(): 31, g.Bank(): 8}
					}
				}
				sameAsOne(t, s, queries)
			}
		})
	}
}

// TestSearchManyBlocks has deltas with every number of rows in the last block.
func TestSearchManyBlocks(t *testing.T) {
	g := indextest.Gen{Source: rand.New(rand.NewPCG(35, 36)), Entries: 1 << 40, Banks: 3}
	for rows := range 21 {
		t.Run(strconv.Itoa(rows), func(t *testing.T) {
			x := index.New(index.Options{})
			changes := make([]index.Change, rows)
			for i := range changes {
				changes[i] = index.Change{Entry: index.EntryID(i + 1), Bank: g.Bank(), Signals: []hashing.Signal{{Algorithm: hashing.PDQ, Value: g.Value(hashing.PDQ)}}}
			}
			retracted := []index.Change{{Entry: 2}, {Entry: 9}} // if they are there
			for seq, c := range [][]index.Change{changes, retracted} {
				if err := x.Apply(t.Context(), uint64(seq+1), c); err != nil {
					t.Fatal(err)
				}
			}
			for _, radius := range []int{-1, 0, 31, 48, 49, 100, 256} {
				for _, many := range []int{0, 1, 5, 6, 7, 8, 9, 16, 23, 100} {
					queries := make([]index.Query, many)
					for i := range queries {
						queries[i] = index.Query{Algorithm: hashing.PDQ, Value: g.Value(hashing.PDQ), Radius: radius, Limit: g.IntN(4)}
					}
					sameAsOne(t, x.Snapshot(), queries)
				}
			}
		})
	}
}

// TestSearchManyCancelled ends between two of the searches.
func TestSearchManyCancelled(t *testing.T) {
	x := index.New(index.Options{})
	if err := x.Apply(t.Context(), 1, indextest.Catalogue(100, 1)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 20} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r, err := x.Snapshot().SearchMany(ctx, make([]index.Query, n)); n > 0 && !errors.Is(err, index.ErrInvalid) || n == 0 && err != context.Canceled || r != nil {
			t.Errorf("%d invalid queries: %d answers, %v", n, len(r), err)
		}
		queries := indextest.Queries(n, 1, 31, nil, 0)
		if r, err := x.Snapshot().SearchMany(ctx, queries); err != context.Canceled || r != nil {
			t.Errorf("%d queries: %d answers, %v", n, len(r), err)
		}
	}
}

// TestMissAllocatesNothing searches for what is not there, in segments and deltas of every algorithm.
func TestMissAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has pools forget")
	}
	x := index.New(index.SmallDeltas(3000))
	rng := rand.New(rand.NewPCG(37, 38))
	random := func(a hashing.Algorithm) (v hashing.Value) {
		for w := range a.Bits() / 64 {
			v[w] = rng.Uint64()
		}
		return v
	}
	for seq := range 3 {
		changes := make([]index.Change, 2000)
		for i := range changes {
			changes[i].Entry = index.EntryID(seq*len(changes) + i + 1)
			for _, a := range hashing.Algorithms() {
				changes[i].Signals = append(changes[i].Signals, hashing.Signal{Algorithm: a, Value: random(a)})
			}
		}
		if err := x.Apply(t.Context(), uint64(seq+1), changes); err != nil {
			t.Fatal(err)
		}
		if err := x.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s := x.Snapshot()
	for _, a := range hashing.Algorithms() {
		for _, radius := range []int{0, 3, 16, 31, 60} {
			if a.Bits() == 64 && radius > 3 {
				continue // it would be no miss
			}
			for _, method := range []index.Method{index.Auto, index.Flat, index.Brute} {
				q := index.Query{Algorithm: a, Radius: radius, Method: method}
				allocated := testing.AllocsPerRun(20, func() {
					q.Value = random(a)
					if r, err := s.Search(t.Context(), q); err != nil || r.Total > 0 {
						t.Fatalf("found %d: %v", r.Total, err)
					}
				})
				if allocated > 0 {
					t.Errorf("%s, radius %d, method %d: %.0f allocations", a, radius, method, allocated)
				}
			}
		}
	}
}
