package segment

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
)

func joined(t testing.TB, s *Segment, queries []Value, radius int) (all []Pair) {
	var mu sync.Mutex
	err := s.Join(t.Context(), queries, radius, 2, func(p []Pair) {
		mu.Lock()
		all = append(all, p...)
		mu.Unlock()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestJoin compares with single searches.
func TestJoin(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	most := 20_000
	if raceDetector {
		most = 1000
	}
	for _, n := range []int{0, 1, 100, most} {
		rows := set(r, hashing.PDQ, n)
		s := build(t, hashing.PDQ, rows)
		for _, many := range []int{0, 1, 10, 3000} {
			queries := make([]Value, many)
			for i, q := range set(r, hashing.PDQ, many) {
				queries[i] = q.Value
			}
			for _, radius := range []int{-1, 0, 15, 31, 47} {
				var want []Pair
				var scratch Scratch
				for i := range queries {
					found, _ := s.Near(&queries[i], radius, &scratch, nil)
					for _, f := range found {
						want = append(want, Pair{uint32(i), f.Row, f.Distance})
					}
				}
				got := joined(t, s, queries, radius)
				order := func(a, b Pair) int { return cmp.Or(cmp.Compare(a.Query, b.Query), cmp.Compare(a.Row, b.Row)) }
				slices.SortFunc(want, order)
				slices.SortFunc(got, order)
				if !slices.Equal(got, want) {
					t.Fatalf("%d rows, %d queries, radius %d: %d pairs, want %d", n, many, radius, len(got), len(want))
				}
			}
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	const n = 1_000_000
	rows := make([]Row, n)
	queries := make([]Value, n)
	for i := range rows {
		rows[i] = Row{Value: Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}, Entry: uint64(i)}
		queries[i] = Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
	}
	s := build(b, hashing.PDQ, rows)
	for b.Loop() {
		began := time.Now()
		joined(b, s, queries, 31)
		b.ReportMetric(n/time.Since(began).Seconds(), "queries/s")
	}
}
