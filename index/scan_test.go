package index_test

import (
	"cmp"
	"context"
	"errors"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"vigie/hashing"
	"vigie/index"
)

type scanPair struct{ query, row, distance int }

// naive is the loop that anybody would write over values in a slice.
func naive(queries, rows []hashing.Value, radius int) (all []scanPair) {
	for r, v := range rows {
		for q, w := range queries {
			d := 0
			for i := range v {
				d += bits.OnesCount64(v[i] ^ w[i])
			}
			if d <= radius {
				all = append(all, scanPair{q, r, d})
			}
		}
	}
	return all
}

// scanRows are random rows, as values and as bytes, some of which are near the queries.
func scanRows(r *rand.Rand, n, queries int) (values, asked []hashing.Value, rows []byte) {
	draw := func() hashing.Value { return hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()} }
	for range queries {
		asked = append(asked, draw())
	}
	for range n {
		v := draw()
		if queries > 0 && r.IntN(10) == 0 {
			v = asked[r.IntN(queries)]
			for range r.IntN(60) {
				bit := r.IntN(256)
				v[bit/64] ^= 1 << (bit % 64)
			}
		}
		values = append(values, v)
		rows = append(rows, v.Bytes(32)...)
	}
	return values, asked, rows
}

func TestScanFlat(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 7, 8, 9, 1000, 8191, 8192, 8193, 20_001} {
		for _, queries := range []int{0, 1, 5, 8, 9, 17} {
			values, asked, rows := scanRows(r, n, queries)
			for _, radius := range []int{-1, 0, 31, 48, 49, 60, 256} {
				if radius == 256 && n > 1000 {
					continue
				}
				var got []scanPair
				if err := index.ScanFlat(t.Context(), asked, radius, rows, func(q, row, d int) { got = append(got, scanPair{q, row, d}) }); err != nil {
					t.Fatal(err)
				}
				slices.SortFunc(got, func(a, b scanPair) int { return cmp.Or(a.row-b.row, a.query-b.query) })
				if want := naive(asked, values, radius); !slices.Equal(got, want) {
					t.Fatalf("%d rows, %d queries, radius %d: %d pairs, want %d", n, queries, radius, len(got), len(want))
				}
			}
		}
	}
}

func TestScanFlatErrors(t *testing.T) {
	t.Parallel()
	none := func(int, int, int) { t.Error("found something") }
	if err := index.ScanFlat(t.Context(), make([]hashing.Value, 1), 10, make([]byte, 33), none); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("33 bytes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := index.ScanFlat(ctx, make([]hashing.Value, 1), 10, make([]byte, 32), none); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// BenchmarkScanFlat scans a million rows for the eight orientations of a picture, by one goroutine, beside the loop that one
// would write without it.
func BenchmarkScanFlat(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 4))
	values, _, rows := scanRows(r, 1_000_000, 0)
	_, queries, _ := scanRows(r, 0, 8)
	rate := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*float64(len(values))/b.Elapsed().Seconds()/1e6, "Mrows/s")
	}
	for _, n := range []int{1, 4, 8} {
		b.Run("queries="+string(rune('0'+n))+"/simd", func(b *testing.B) {
			for b.Loop() {
				if err := index.ScanFlat(b.Context(), queries[:n], 31, rows, func(int, int, int) {}); err != nil {
					b.Fatal(err)
				}
			}
			rate(b)
		})
		b.Run("queries="+string(rune('0'+n))+"/loop", func(b *testing.B) {
			for b.Loop() {
				naive(queries[:n], values, 31)
			}
			rate(b)
		})
	}
}
