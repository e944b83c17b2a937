package main

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/index"
)

// still measures and checks a snapshot.
func (b *searchBench) still(ctx context.Context, s *index.Snapshot) error {
	r, stats := &b.report, s.Stats()
	r.Segments, r.Alive, r.BytesARow = stats.Segments, stats.Rows[hashing.PDQ], b.perRow(stats.Bytes)
	scanned := r.Alive + stats.Dead
	place := map[int]int{} // of a radius in the report
	for _, radius := range b.radii {
		t := radiusTimes{
			N: r.N, Data: r.Data, State: r.State, Radius: radius,
			BytesARow: r.BytesARow, Resident: r.Resident, Build: r.Build, Load: r.Load,
		}
		if b.Queries > 0 {
			if err := b.times(ctx, s, scanned, &t); err != nil {
				return err
			}
		}
		place[radius] = len(r.Radii)
		r.Radii = append(r.Radii, t)
	}
	queries := b.mixed(b.Check, b.n, b.radii)
	wrong, err := b.compare(ctx, s, b.n, b.alive, queries)
	if err != nil {
		return err
	}
	for i, q := range queries {
		r.Radii[place[q.Radius]].tell(wrong[i])
	}
	if b.Join > 0 {
		r.Join, err = b.join(ctx, s)
	}
	return err
}

// times of one radius. Tables and scans take turns, so that ratios are of the same minute.
func (b *searchBench) times(ctx context.Context, s *index.Snapshot, scanned int, t *radiusTimes) error {
	const (
		turns    = 5
		flatTurn = 4                      // scans by vector instructions in each turn
		enough   = 400 * time.Millisecond // for the queries of a turn: what is left then is left out
	)
	long := min(time.Duration(b.Queries)*time.Millisecond/20, 250*time.Millisecond) // to warm up, and to count answers
	r := rand.New(rand.NewPCG(b.Seed, uint64(t.Radius)))
	misses, hits, others := make([]index.Query, b.Queries/2), make([]index.Query, b.Queries/2), make([]index.Query, b.Queries/2)
	for i := range misses {
		misses[i], hits[i], others[i] = b.miss(i, t.Radius), b.hit(r, t.Radius), b.miss(len(misses)+i, t.Radius)
	}
	var tables, near, flat, scalar []float64
	ask := func(queries []index.Query, method index.Method, took *[]float64) (last index.Result, err error) {
		start := time.Now()
		for i, q := range queries {
			if i > 10 && time.Since(start) > enough {
				break
			}
			q.Method = method
			began := time.Now()
			last, err = b.search(s, ctx, q)
			if err != nil {
				return last, err
			}
			*took = append(*took, float64(time.Since(began).Nanoseconds())/1000)
		}
		return last, nil
	}
	for turn := range turns {
		part := func(queries []index.Query) []index.Query {
			return queries[turn*len(queries)/turns : (turn+1)*len(queries)/turns]
		}
		if _, err := b.rate(ctx, s, part(others), 1, long); err != nil { // a scan leaves caches full of itself
			return err
		}
		if _, err := ask(part(misses), index.Auto, &tables); err != nil {
			return err
		}
		if _, err := ask(part(hits), index.Auto, &near); err != nil {
			return err
		}
		for i := range flatTurn {
			q := [][]index.Query{misses, hits}[i%2][turn*len(misses)/turns]
			want, err := b.search(s, ctx, q)
			if err != nil {
				return err
			}
			got, err := ask([]index.Query{q}, index.Flat, &flat)
			if err != nil {
				return err
			}
			different := differ(got, want)
			if i%2 == 1 {
				if got, err = ask([]index.Query{q}, index.Brute, &scalar); err != nil {
					return err
				}
				different = different || differ(got, want)
			}
			t.tell(different)
		}
	}
	var err error
	workers := runtime.GOMAXPROCS(0)
	for range 3 {
		var one, all float64
		if one, err = b.rate(ctx, s, misses, 1, long); err == nil {
			all, err = b.rate(ctx, s, misses, workers, long)
		}
		if err != nil {
			return err
		}
		t.Engine.OneQPS += one / 3
		t.Engine.AllQPS += all / 3
	}
	t.Scaling = t.Engine.AllQPS / t.Engine.OneQPS
	t.Engine.quantiles, t.Hits = quantilesOf(tables), quantilesOf(near)
	t.Flat.P50, t.Scalar.P50 = quantilesOf(flat).P50, quantilesOf(scalar).P50
	t.Flat.GBs = float64(scanned) * flatBytes(t.Radius) / t.Flat.P50 / 1000
	for _, n := range []int{8, 32, 256} {
		m, err := b.many(ctx, s, misses, n, long)
		if err != nil {
			return err
		}
		t.Many = append(t.Many, m)
	}
	return nil
}

// flatBytes is what a flat scan reads of a row: its first 128 bits, and the others of those eight that lie together if
// one of them is within the radius by its first ones, as random ones are by chance.
func flatBytes(radius int) float64 {
	near := 0.0
	for k := range min(radius, 128) + 1 {
		all, _ := math.Lgamma(129)
		ones, _ := math.Lgamma(float64(k + 1))
		zeros, _ := math.Lgamma(float64(129 - k))
		near += math.Exp(all - ones - zeros - 128*math.Ln2)
	}
	return 16 + 16*(1-math.Pow(1-min(near, 1), 8))
}

// rate is how many queries a second so many goroutines answer. Each begins at another one.
func (b *searchBench) rate(ctx context.Context, s *index.Snapshot, queries []index.Query, workers int, long time.Duration) (float64, error) {
	var answered atomic.Int64
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			n := 0
			for i := w * len(queries) / workers; time.Since(began) < long; i++ {
				if _, err := b.search(s, ctx, queries[i%len(queries)]); err != nil {
					return err
				}
				n++
			}
			answered.Add(int64(n))
			return nil
		})
	}
	err := g.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds(), err
}

// many times queries that are asked n at a time.
func (b *searchBench) many(ctx context.Context, s *index.Snapshot, queries []index.Query, n int, long time.Duration) (manyTimes, error) {
	batch, at, asked := make([]index.Query, n), 0, 0
	began := time.Now()
	for asked == 0 || time.Since(began) < long {
		for i := range batch {
			batch[i] = queries[at%len(queries)]
			at++
		}
		if _, err := s.SearchMany(ctx, batch); err != nil {
			return manyTimes{}, err
		}
		asked += n
	}
	return manyTimes{n, float64(time.Since(began).Nanoseconds()) / 1000 / float64(asked)}, nil
}

// join times a join, one value in ten of which is near a row, and compares its hits with those of single queries.
func (b *searchBench) join(ctx context.Context, s *index.Snapshot) (*joinReport, error) {
	r := rand.New(rand.NewPCG(b.Seed, firstJoin))
	values := make([]hashing.Value, b.Join)
	for i := range values {
		if i%10 == 0 {
			values[i] = b.hit(r, joinRadius).Value
		} else {
			values[i] = b.rows.value(firstJoin + uint64(i))
		}
	}
	type pair struct {
		value int
		index.Hit
	}
	var pairs []pair
	q := b.query(hashing.Value{}, joinRadius)
	began := time.Now()
	err := s.Join(ctx, q, values, func(value int, h index.Hit) error {
		pairs = append(pairs, pair{value, h})
		return nil
	})
	if err != nil {
		return nil, err
	}
	j := &joinReport{Values: len(values), Rate: float64(len(values)) / time.Since(began).Seconds(), Hits: len(pairs)}
	slices.SortFunc(pairs, func(x, y pair) int { return cmp.Compare(x.value, y.value) })

	shown := b.app.countdown(len(values), "values asked one by one")
	defer shown.end()
	var different atomic.Int64
	const some = 1000
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(values) && ctx.Err() == nil; from += some {
		g.Go(func() error {
			at, _ := slices.BinarySearchFunc(pairs, from, func(p pair, value int) int { return cmp.Compare(p.value, value) })
			for i := from; i < min(from+some, len(values)); i++ {
				var got []index.Hit
				for ; at < len(pairs) && pairs[at].value == i; at++ {
					got = append(got, pairs[at].Hit)
				}
				sortHits(got)
				q := q
				q.Value = values[i]
				want, err := b.search(s, ctx, q)
				if err != nil {
					return err
				}
				if differ(index.Result{Hits: got, Total: len(got)}, want) {
					different.Add(1)
				}
				shown.done()
			}
			return nil
		})
	}
	err = g.Wait()
	j.Differences = int(different.Load())
	return j, err
}

// differ reports whether two answers are not the same.
func differ(a, b index.Result) bool { return a.Total != b.Total || !slices.Equal(a.Hits, b.Hits) }

// sortHits puts hits of one row each into the order of a [index.Result].
func sortHits(hits []index.Hit) {
	slices.SortFunc(hits, func(a, b index.Hit) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Entry, b.Entry))
	})
}
