package index_test

import (
	"fmt"
	"testing"

	"vigie/index"
	"vigie/index/indextest"
)

func filled(b *testing.B, n int) (*index.Index, []index.Change) {
	x, changes := index.New(index.Options{}), indextest.Catalogue(n, 1)
	if err := x.Apply(b.Context(), 1, changes); err != nil {
		b.Fatal(err)
	}
	if err := x.Settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	return x, changes
}

func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		x, changes := filled(b, n)
		s := x.Snapshot()
		for _, many := range []int{1, 32} {
			queries := indextest.Queries(many, 2, 31, changes, 0.25)
			b.Run(fmt.Sprintf("rows=%d/queries=%d", n, many), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if many == 1 {
						_, err = s.Search(b.Context(), queries[0])
					} else {
						_, err = s.SearchMany(b.Context(), queries)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n*many), "ns/row/query")
			})
		}
	}
}

// BenchmarkApply applies one entry at a time on top of 100,000: new ones, and states of old ones in turn.
func BenchmarkApply(b *testing.B) {
	for _, replace := range []bool{false, true} {
		b.Run(fmt.Sprintf("rows=100000/replace=%t", replace), func(b *testing.B) {
			const n = 100_000
			x, changes := filled(b, n)
			b.ReportAllocs()
			seq := uint64(1)
			for b.Loop() {
				c := changes[int(seq*7919)%n]
				if !replace {
					c.Entry = index.EntryID(n + seq)
				}
				seq++
				if err := x.Apply(b.Context(), seq, []index.Change{c}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoad applies a whole catalogue to an empty index.
func BenchmarkLoad(b *testing.B) {
	const n = 1_000_000
	changes := indextest.Catalogue(n, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := index.New(index.Options{}).Apply(b.Context(), 1, changes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
}
