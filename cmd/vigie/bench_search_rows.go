package main

import (
	"bufio"
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/index"
)

// rowSource draws values by their numbers: the i-th of them is always the same, so that none need be kept.
type rowSource struct {
	seed  uint64
	known []hashing.Value // real hashes; none: values are uniform
	odds  [256]uint16     // of a bit to be one, in 65,536ths
}

// Numbers of values that are not rows: queries, and values of a join. A uniform one is near nothing.
const (
	firstQuery = 1 << 40
	firstJoin  = 1 << 41
)

func newRowSource(file string, seed uint64) (*rowSource, error) {
	s := &rowSource{seed: seed}
	if file == "" {
		return s, nil
	}
	text, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	ones := [256]int{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		word, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), ",")
		signal, err := hashing.ParseParts(hashing.PDQ.String(), "", word)
		if err != nil {
			return nil, usagef("--like: %s, line %d: %w", file, len(s.known)+1, err)
		}
		s.known = append(s.known, signal.Value)
		for b := range ones {
			ones[b] += int(signal.Value[b/64] >> (b % 64) & 1)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--like: %s: %w", file, err)
	}
	if len(s.known) < 100 {
		return nil, usagef("--like: %s has %d hashes; a hundred at least say how bits are distributed", file, len(s.known))
	}
	for b, n := range ones {
		s.odds[b] = uint16(n * (1<<16 - 1) / len(s.known))
	}
	return s, nil
}

// One in 20 values is of a cluster: 50 of every 1000 neighbours are copies of one hash.
const (
	clusterEvery = 20
	clusterSpan  = 1000
	clusterBits  = 24 // in which a copy differs at most
)

func (s *rowSource) value(i uint64) (v hashing.Value) {
	var source rand.PCG
	source.Seed(s.seed, i)
	if s.known == nil {
		return hashing.Value{source.Uint64(), source.Uint64(), source.Uint64(), source.Uint64()}
	}
	if r := rand.New(&source); r.IntN(clusterEvery) == 0 {
		return flipped(s.centre(i/clusterSpan), r.IntN(clusterBits+1), r)
	}
	return s.likely(&source)
}

// centre is what the copies of a cluster are near: a real hash, and when there are no more of these, one like them.
func (s *rowSource) centre(cluster uint64) hashing.Value {
	if cluster < uint64(len(s.known)) {
		return s.known[cluster]
	}
	var source rand.PCG
	source.Seed(^s.seed, cluster)
	return s.likely(&source)
}

// likely draws each bit by its odds.
func (s *rowSource) likely(source *rand.PCG) (v hashing.Value) {
	for b := 0; b < len(s.odds); b += 4 {
		x := source.Uint64()
		for k, odds := range s.odds[b : b+4] {
			if uint16(x>>(16*k)) < odds {
				v[b/64] |= 1 << (b%64 + k)
			}
		}
	}
	return v
}

// flipped is a value with n of its bits flipped, no bit twice.
func flipped(v hashing.Value, n int, r *rand.Rand) hashing.Value {
	var done hashing.Value
	for n > 0 {
		b := r.IntN(256)
		if bit := uint64(1) << (b % 64); done[b/64]&bit == 0 {
			done[b/64] |= bit
			v[b/64] ^= bit
			n--
		}
	}
	return v
}

// values draws the first n.
func (s *rowSource) values(n int) []hashing.Value {
	const some = 1 << 16
	values := make([]hashing.Value, n)
	var all sync.WaitGroup
	starts := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for from := range starts {
				for i := from; i < min(from+some, n); i++ {
					values[i] = s.value(uint64(i))
				}
			}
		})
	}
	for from := 0; from < n; from += some {
		starts <- from
	}
	close(starts)
	all.Wait()
	return values
}

// query asks for what is near a value.
func (b *searchBench) query(v hashing.Value, radius int) index.Query {
	return index.Query{Algorithm: hashing.PDQ, Value: v, Radius: radius, Banks: b.banks(radius)}
}

// miss is a query near nothing, as far as chance has it.
func (b *searchBench) miss(i, radius int) index.Query {
	return b.query(b.rows.value(firstQuery+uint64(i)), radius)
}

// hit is a query within the radius of a row that it may find: there is one, the first.
func (b *searchBench) hit(r *rand.Rand, radius int) index.Query {
	row := r.IntN(b.n)
	for q := b.query(hashing.Value{}, radius); ; row = (row + 1) % b.n {
		if _, sought := q.Banks[bankOf(row)]; b.alive(row) && (sought || q.Banks == nil) {
			q.Value = flipped(b.rows.value(uint64(row)), r.IntN(min(radius, joinRadius)+1), r)
			return q
		}
	}
}

// mixed are n queries for a check, spread over the radii: half of them misses, half near one of so many rows, be it dead
// or not, and up to some bits beyond the radius.
func (b *searchBench) mixed(n, rows int, radii []int) []index.Query {
	const beyond = 8
	r := rand.New(rand.NewPCG(b.Seed, firstQuery))
	queries := make([]index.Query, n)
	for i := range queries {
		radius := radii[i%len(radii)]
		if i/len(radii)%2 == 0 {
			queries[i] = b.miss(firstQuery/2+i, radius)
		} else {
			queries[i] = b.query(flipped(b.rows.value(r.Uint64N(uint64(rows))), r.IntN(min(radius+beyond, 256)+1), r), radius)
		}
	}
	return queries
}

// compare asks queries, and reports for each whether the answer is not that of a plain loop over the first so many
// values, which knows neither the index's rows nor its instructions.
func (b *searchBench) compare(ctx context.Context, s *index.Snapshot, rows int, alive func(row int) bool, queries []index.Query) (wrong []bool, err error) {
	if len(queries) == 0 {
		return nil, nil
	}
	shown := b.app.countdown(len(queries), "answers compared")
	defer shown.end()
	values := b.rows.values(rows)
	wrong = make([]bool, len(queries))
	workers := runtime.GOMAXPROCS(0)
	block := min(max(len(queries)/(4*workers), 1), 64) // that a row is compared with while it is in a register
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for from := 0; from < len(queries) && ctx.Err() == nil; from += block {
		g.Go(func() error {
			some := queries[from:min(from+block, len(queries))]
			want, err := bruteHits(ctx, values, alive, some)
			for i := 0; i < len(some) && err == nil; i++ {
				var got index.Result
				got, err = b.search(s, ctx, some[i])
				wrong[from+i] = differ(got, index.Result{Hits: want[i], Total: len(want[i])})
				shown.done()
			}
			return err
		})
	}
	return wrong, g.Wait()
}

// bruteHits are the hits that queries should get, in order.
func bruteHits(ctx context.Context, values []hashing.Value, alive func(row int) bool, queries []index.Query) ([][]index.Hit, error) {
	hits := make([][]index.Hit, len(queries))
	for row := range values {
		if row%(1<<16) == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		v := &values[row]
		for i := range queries {
			q := &queries[i]
			d := bits.OnesCount64(v[0]^q.Value[0]) + bits.OnesCount64(v[1]^q.Value[1]) + bits.OnesCount64(v[2]^q.Value[2]) + bits.OnesCount64(v[3]^q.Value[3])
			if d > q.Radius || !alive(row) {
				continue
			}
			if _, ok := q.Banks[bankOf(row)]; ok || q.Banks == nil {
				hits[i] = append(hits[i], index.Hit{Entry: entryOf(row), Bank: bankOf(row), Distance: d})
			}
		}
	}
	for _, h := range hits {
		sortHits(h)
	}
	return hits, nil
}
