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
		s, queries := x.Snapshot(), indextest.Queries(1000, 2, 31, changes, 0.25)
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Search(b.Context(), queries[i%len(queries)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSearchMany compares SearchMany with as many searches: of segments and a delta, where tables answer and
// where all rows are compared, and of a delta alone.
func BenchmarkSearchMany(b *testing.B) {
	for _, sizes := range [][]int{{1_000_000, 100_000, 40_000}, {64_000}} {
		x := index.New(index.Options{})
		for seq, n := range sizes {
			changes := indextest.Catalogue(n, uint64(seq+1))
			for i := range changes {
				changes[i].Entry += index.EntryID(seq * 10_000_000)
			}
			if err := x.Apply(b.Context(), uint64(seq+1), changes); err != nil {
				b.Fatal(err)
			}
			if err := x.Settle(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		s := x.Snapshot()
		for _, radius := range []int{31, 90} {
			for _, n := range []int{8, 64, 1000} {
				if radius == 90 && n == 1000 {
					continue // it takes seconds
				}
				all := indextest.Queries(16*n, 3, radius, nil, 0)
				next := func(i int) []index.Query { return all[i%16*n:][:n] }
				name := fmt.Sprintf("rows=%d/radius=%d/queries=%d", sizes, radius, n)
				perQuery := func(b *testing.B) {
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/query")
				}
				b.Run(name+"/many", func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						if _, err := s.SearchMany(b.Context(), next(i)); err != nil {
							b.Fatal(err)
						}
					}
					perQuery(b)
				})
				b.Run(name+"/one by one", func(b *testing.B) {
					for i := 0; b.Loop(); i++ {
						for _, q := range next(i) {
							if _, err := s.Search(b.Context(), q); err != nil {
								b.Fatal(err)
							}
						}
					}
					perQuery(b)
				})
			}
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
