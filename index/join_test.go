package index_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// TestJoin compares with single searches, in an index with all kinds of parts.
func TestJoin(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	g := indextest.Gen{Source: r, Entries: 3000, Banks: 4}
	x := index.New(index.SmallDeltas(700))
	live(t, x, g, 4000, 6)
	s := x.Snapshot()
	type answer struct {
		value int
		hit   index.Hit
	}
	order := func(a, b answer) int {
		return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.hit.Distance, b.hit.Distance), cmp.Compare(a.hit.Entry, b.hit.Entry),
			cmp.Compare(a.hit.Variant, b.hit.Variant), cmp.Compare(a.hit.Time, b.hit.Time))
	}
	for _, a := range hashing.Algorithms() {
		var values []hashing.Value
		many := 500
		if a == hashing.PDQ {
			many = 5000 // deltas are made segments of
		}
		for len(values) < many {
			for _, signal := range g.Flag().Signals {
				if signal.Algorithm == a {
					values = append(values, signal.Value)
				}
			}
		}
		for _, q := range []index.Query{
			{Algorithm: a, Radius: 20},
			{Algorithm: a, Radius: -1},
			{Algorithm: a, Banks: map[index.BankID]int{1: 31, 2: 0, 3: -1}},
		} {
			var want, got []answer
			for i, v := range values {
				q.Value = v
				found, err := s.Search(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range found.Hits {
					want = append(want, answer{i, h})
				}
			}
			err := s.Join(t.Context(), q, values, func(i int, h index.Hit) error {
				got = append(got, answer{i, h})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(want, order)
			slices.SortFunc(got, order)
			if !slices.Equal(want, got) {
				t.Fatalf("%s %+v: %d hits, want %d", a, q, len(got), len(want))
			}
			enough := errors.New("enough")
			err = s.Join(t.Context(), q, values, func(int, index.Hit) error { return enough })
			if len(want) > 0 && err != enough || len(want) == 0 && err != nil {
				t.Fatalf("got %v", err)
			}
		}
	}
	if err := s.Join(t.Context(), index.Query{Algorithm: hashing.PHash}, []hashing.Value{{0, 1}}, nil); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// TestJoinOfACrowd ends a join of which every value is near every row, at the first pair.
func TestJoinOfACrowd(t *testing.T) {
	var changes []index.Change
	for i := range 20_000 {
		changes = append(changes, index.Change{Bank: 1, Entry: index.EntryID(i + 1), Signals: []hashing.Signal{{Algorithm: hashing.PDQ}}})
	}
	for _, full := range []int{1000, 1 << 20} {
		x, enough := index.New(index.SmallDeltas(full)), errors.New("enough")
		if err := x.Apply(t.Context(), 1, changes); err != nil {
			t.Fatal(err)
		}
		if err := x.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		pairs := 0
		err := x.Snapshot().Join(t.Context(), index.Query{Algorithm: hashing.PDQ, Radius: 31}, make([]hashing.Value, 40_000), func(int, index.Hit) error {
			pairs++
			return enough
		})
		if err != enough || pairs != 1 {
			t.Errorf("%v after %d pairs", err, pairs)
		}
	}
}
