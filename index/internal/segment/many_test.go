package segment

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"vigie/hashing"
)

// checkMany compares what many searches do with a plain loop over the rows.
func checkMany(t *testing.T, rows []Row, queries []Value, radius int, many func(m *Searcher, found func([]Pair)) error) {
	t.Helper()
	var got, want []Pair
	for i, q := range queries {
		for _, f := range brute(rows, q, radius) {
			want = append(want, Pair{uint32(i), f.Row, f.Distance})
		}
	}
	if err := many(new(Searcher), func(pairs []Pair) { got = append(got, pairs...) }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Pair) int { return cmp.Or(cmp.Compare(a.Query, b.Query), cmp.Compare(a.Row, b.Row)) })
	if !slices.Equal(got, want) {
		t.Fatalf("%d rows, %d queries, radius %d: %d pairs, want %d", len(rows), len(queries), radius, len(got), len(want))
	}
}

// values are to ask for: half of them are near rows.
func values(r *rand.Rand, a hashing.Algorithm, rows []Row, n int) []Value {
	all := make([]Value, n)
	for i, row := range set(r, a, n) {
		all[i] = row.Value
		if len(rows) > 0 && i%2 == 0 {
			all[i] = rows[r.IntN(len(rows))].Value
			all[i][0] ^= 1 << r.IntN(64)
		}
	}
	return all
}

func TestMany(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash} {
		for _, n := range []int{0, 1, 7, 8, 9, 100, 3000} {
			rows := set(r, a, n)
			s := build(t, a, rows)
			for _, many := range []int{0, 1, 5, 6, 7, 8, 9, 17, 30} {
				queries := values(r, a, rows, many)
				for _, radius := range []int{-1, 0, 8, 31, halfDecides, halfDecides + 1, maxProbed + 1, 256, 300, math.MaxInt} {
					checkMany(t, rows, queries, radius, func(m *Searcher, found func([]Pair)) error {
						return s.Many(t.Context(), queries, radius, m, found)
					})
				}
			}
		}
	}
}

// TestManyPieces compares with more rows than are compared at a time, and without the tables.
func TestManyPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, n := range []int{piece - 1, piece, piece + 1, 2*piece + 9} {
		rows := set(r, hashing.PDQ, n)
		s := build(t, hashing.PDQ, rows)
		queries := values(r, hashing.PDQ, rows, 19)
		for _, radius := range []int{20, halfDecides, 120} {
			checkMany(t, rows, queries, radius, func(m *Searcher, found func([]Pair)) error {
				return m.Planes(t.Context(), s.a, s.b, 0, n, queries, radius, found)
			})
		}
	}
}

func TestManyCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := rand.New(rand.NewPCG(15, 16))
	rows := set(r, hashing.PDQ, 100)
	s := build(t, hashing.PDQ, rows)
	queries := values(r, hashing.PDQ, rows, 10)
	for _, radius := range []int{0, 100} { // by tables, and flat
		err := s.Many(ctx, queries, radius, new(Searcher), func([]Pair) { t.Error("a pair") })
		if err != context.Canceled {
			t.Errorf("radius %d: %v", radius, err)
		}
	}
}

// TestProbe searches by tables where the planner would not, too.
func TestProbe(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for _, n := range []int{1, 9, 100, 1000} {
		rows := set(r, hashing.PDQ, n)
		s := build(t, hashing.PDQ, rows)
		queries := values(r, hashing.PDQ, rows, 10)
		for _, radius := range []int{0, 1, 14, 15, 16, 31, 32, 47, 63, 64, maxProbed, 150, 255, 256} {
			var th thresholds
			th.split(radius)
			checkMany(t, rows, queries, radius, func(m *Searcher, found func([]Pair)) error {
				for i := range queries {
					m.Found, _, _ = s.probe(&queries[i], radius, &th, math.MaxInt, &m.Scratch, m.Found[:0])
					m.pair(i)
					m.give(found)
				}
				return nil
			})
		}
	}
}

// TestCrowd asks for a value that many rows are equal to: tables find each of them in every table, and have to give up.
func TestCrowd(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	crowd, far := Value{1, 2, 3, 4}, Value{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	near := crowd
	near[3] ^= 1<<63 | 1
	for _, members := range []int{20, 300, 20_000} { // the few hundred are in no large bucket, but pass
		rows := make([]Row, 20_000)
		for i := range rows {
			rows[i] = Row{Value: crowd, Entry: uint64(i)}
			if i >= members {
				rows[i].Value = random(r)
			}
		}
		s := build(t, hashing.PDQ, rows)
		for _, q := range []struct {
			value Value
			found int
		}{{crowd, members}, {near, members}, {far, 0}} {
			found, work := s.Near(&q.value, 31, new(Scratch), nil)
			if flat := q.found >= 300; len(found) != q.found || work.Flat != flat {
				t.Errorf("%d members, asked for %x: found %d rows by %+v, want %d, flat %t", members, q.value, len(found), work, q.found, flat)
			}
		}
	}
}

// TestWidestDirectories asks for the ends of directories of 16 bits.
func TestWidestDirectories(t *testing.T) {
	if raceDetector {
		t.Skip("it is slow under the race detector")
	}
	r := rand.New(rand.NewPCG(19, 20))
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash} {
		rows := set(r, a, 1<<19)
		s := build(t, a, rows)
		if s.Prefix != 16 {
			t.Fatalf("directories of %d bits", s.Prefix)
		}
		ones := Value{math.MaxUint64}
		if a.Bits() == 256 {
			ones = Value{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
		}
		queries := []Value{{}, ones, rows[7].Value, rows[1000].Value}
		for _, radius := range []int{0, 5, 11} {
			checkMany(t, rows, queries, radius, func(m *Searcher, found func([]Pair)) error {
				return s.Many(t.Context(), queries, radius, m, found)
			})
		}
	}
}

// TestPlans holds the planner to what it knows.
func TestPlans(t *testing.T) {
	for width := range plans {
		p := &plans[width]
		if p[maxProbed].row < fullCost {
			t.Errorf("directories of %d bits: tables may pay beyond radius %d", width, maxProbed)
		}
		for radius := 1; radius < len(p); radius++ {
			if p[radius].fixed < p[radius-1].fixed || p[radius].row < p[radius-1].row {
				t.Errorf("directories of %d bits: radius %d costs less than %d", width, radius, radius-1)
			}
		}
	}
	// What it expects of the buckets, and of the sketches that pass, is what random rows have.
	r := rand.New(rand.NewPCG(17, 18))
	const n = 20_000
	s := uniform(t, r, n)
	for _, radius := range []int{15, 31, 47} {
		var m Searcher
		var th thresholds
		th.split(radius)
		sum := 0.0
		const searches = 200
		for range searches {
			q := random(r)
			_, work, _ := s.probe(&q, radius, &th, math.MaxInt, &m.Scratch, nil)
			tables := 0
			for _, n := range th {
				tables += min(n, 1)
			}
			sum += float64(tables*tableCost + work.Buckets*bucketCost + work.Scanned + work.Passed*passCost)
		}
		p := plans[s.Prefix][radius]
		if got, want := sum/searches, p.fixed+p.row*n; math.Abs(got/want-1) > 0.1 {
			t.Errorf("radius %d: costs %.0f, expected were %.0f", radius, got, want)
		}
	}
}

func random(r *rand.Rand) Value { return Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()} }

// uniform is a segment of random rows.
func uniform(t testing.TB, r *rand.Rand, n int) *Segment {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Value: random(r), Entry: uint64(i)}
	}
	return build(t, hashing.PDQ, rows)
}

// BenchmarkPlan measures what the planner chooses from: a search by tables, a flat scan, and what it takes, in
// nanoseconds. Of several rounds the fastest counts, since other programs disturb it.
func BenchmarkPlan(b *testing.B) {
	const searches = 20
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20} {
		s := uniform(b, r, n)
		for _, radius := range []int{0, 8, 15, 20, 31, 40, 47, 56, 63, 72, 80} {
			b.Run(fmt.Sprintf("rows=%d/radius=%d", n, radius), func(b *testing.B) {
				var t thresholds
				t.split(radius)
				var m Searcher
				var work Work
				ways := []func(q *Value){
					func(q *Value) { m.Found, work, _ = s.probe(q, radius, &t, math.MaxInt, &m.Scratch, m.Found[:0]) },
					func(q *Value) { m.Found = s.Flat(q, radius, &m.Scratch, m.Found[:0]) },
					func(q *Value) { m.Found, _ = s.Near(q, radius, &m.Scratch, m.Found[:0]) },
				}
				least := []float64{math.Inf(1), math.Inf(1), math.Inf(1)}
				for b.Loop() {
					for i, search := range ways {
						var began time.Time
						for k := range searches + 5 { // the first ones find another's rows in the cache
							if k == 5 {
								began = time.Now()
							}
							q := random(r)
							search(&q)
						}
						least[i] = min(least[i], float64(time.Since(began))/searches)
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(least[0], "tables-ns")
				b.ReportMetric(least[1], "flat-ns")
				b.ReportMetric(least[2], "auto-ns")
				b.ReportMetric(least[2]/min(least[0], least[1]), "auto/best")
				b.ReportMetric(float64(work.Buckets), "buckets")
				b.ReportMetric(float64(work.Scanned), "scanned")
				b.ReportMetric(float64(work.Passed), "passed")
			})
		}
	}
}
