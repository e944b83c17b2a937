package main

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/internal/chart"
)

type searchBenchCmd struct {
	Rows    int    `help:"Rows in the index." default:"1000000"`
	Like    string `help:"Draw them after the bits and the clusters of the PDQ hashes in this file, one a line; else all bits are chance." placeholder:"FILE" type:"existingfile"`
	State   string `help:"fresh: one segment, as it was made; steady: several, saved and loaded again, 1 % of the rows dead, and a filter on banks." enum:"fresh,steady" default:"fresh"`
	Radii   []int  `help:"Radii, in bits." default:"0,8,15,20,31,40,47,63"`
	Queries int    `help:"Queries of each kind at each radius: half of them are near nothing, half near a row." default:"1000"`
	Check   int    `help:"So many of them are compared with a plain loop over all rows." default:"10"`
	Join    int    `help:"Values of a list that is joined with the rows at radius 31; 0: none." default:"0"`
	Seed    uint64 `help:"Seed of the rows and queries." default:"1"`
	benchFiles
}

// searchReport is what vigie bench search finds.
type searchReport struct {
	Kernel     string        `json:"kernel"`
	Processors int           `json:"processors"`
	N          int           `json:"n"`
	Data       string        `json:"data"`
	State      string        `json:"state"`
	Segments   int           `json:"segments"`
	BytesARow  float64       `json:"bytes_per_row"`    // as the index states them
	Resident   float64       `json:"resident_per_row"` // as the system does, less what the program had before
	Build      float64       `json:"build_s"`
	Save       float64       `json:"save_s"`
	Load       float64       `json:"load_s"` // to the first answer; the file is in the system's cache
	Radii      []radiusTimes `json:"radii"`
	JoinRate   float64       `json:"join_queries_per_second,omitempty"`
}

// radiusTimes are those of one radius. It stands alone as JSON, one object a line with --json.
type radiusTimes struct {
	N      int     `json:"n"`
	Data   string  `json:"data"`
	State  string  `json:"state"`
	Radius int     `json:"radius"`
	Engine latency `json:"engine"` // of queries that are near nothing
	Hits   latency `json:"hits"`   // of those near a row
	Flat   struct {
		P50 float64 `json:"p50_us"`
		GBs float64 `json:"gb_per_s"`
	} `json:"flat_simd"`
	Scalar struct {
		P50 float64 `json:"p50_us"`
	} `json:"flat_scalar"`
	Checked     int     `json:"checked"`
	Differences int     `json:"differences"`
	BytesARow   float64 `json:"bytes_per_row"`
	Build       float64 `json:"build_s"`
	Load        float64 `json:"load_s"`
}

type latency struct {
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	OneQPS float64 `json:"qps_1"`
	AllQPS float64 `json:"qps_all"`
}

// Run builds, searches, and prints.
func (c *searchBenchCmd) Run(ctx context.Context, a *app) error {
	if c.Rows < 1 || c.Queries < 2 {
		return usagef("--rows and --queries: %d and %d; they must be at least 1 and 2", c.Rows, c.Queries)
	}
	draw, err := c.source()
	if err != nil {
		return err
	}
	r := searchReport{Kernel: index.Kernel(), Processors: runtime.GOMAXPROCS(0), N: c.Rows, Data: "uniform", State: c.State}
	if c.Like != "" {
		r.Data = "like " + c.Like
	}
	before := residentBytes()
	x := index.New(index.Options{})
	first := c.Rows
	if c.State == "steady" {
		first = c.Rows * 9 / 10
	}
	began := time.Now()
	if err := x.Load(ctx, 1, c.entries(draw, 0, first)); err != nil {
		return err
	}
	r.Build = time.Since(began).Seconds()
	var banks map[index.BankID]int
	if c.State == "steady" {
		if x, err = c.age(ctx, x, draw, first, &r); err != nil {
			return err
		}
		banks = map[index.BankID]int{}
	}
	s := x.Snapshot()
	stats := s.Stats()
	r.Segments, r.BytesARow = stats.Segments, float64(stats.Bytes)/float64(c.Rows)
	for _, radius := range c.Radii {
		t, err := c.radius(ctx, s, draw, radius, banks)
		if err != nil {
			return err
		}
		t.N, t.Data, t.State, t.BytesARow, t.Build, t.Load = r.N, r.Data, r.State, r.BytesARow, r.Build, r.Load
		r.Radii = append(r.Radii, t)
	}
	if c.Join > 0 {
		if r.JoinRate, err = c.join(ctx, s, draw); err != nil {
			return err
		}
	}
	runtime.GC()
	r.Resident = float64(residentBytes()-before) / float64(c.Rows)
	runtime.KeepAlive(x)
	return c.publish(a.printer, r)
}

// source returns what draws rows: the i-th of them is always the same.
func (c *searchBenchCmd) source() (func(i uint64) hashing.Value, error) {
	chance := func(i uint64) *rand.Rand { return rand.New(rand.NewPCG(c.Seed, i)) }
	if c.Like == "" {
		return func(i uint64) hashing.Value {
			r := rand.PCG{}
			r.Seed(c.Seed, i)
			return hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
		}, nil
	}
	text, err := os.Open(c.Like)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	var known []hashing.Value
	ones := [256]int{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		word, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), ",")
		signal, err := hashing.ParseParts("pdq", "", word)
		v := signal.Value
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", c.Like, len(known)+1, err)
		}
		known = append(known, v)
		for b := range ones {
			ones[b] += int(v[b/64] >> (b % 64) & 1)
		}
	}
	if len(known) < 100 {
		return nil, usagef("%s: %d hashes; a hundred at least say how bits are distributed", c.Like, len(known))
	}
	return func(i uint64) (v hashing.Value) {
		r := chance(i)
		if r.IntN(20) == 0 { // of a cluster: 50 copies each, some bits apart
			v = known[int(i/1000)%len(known)]
			for range r.IntN(25) {
				b := r.IntN(256)
				v[b/64] ^= 1 << (b % 64)
			}
			return v
		}
		for b, n := range ones {
			if r.IntN(len(known)) < n {
				v[b/64] |= 1 << (b % 64)
			}
		}
		return v
	}, nil
}

// benchBanks is the number of banks among which the rows are dealt out.
const benchBanks = 4

func (c *searchBenchCmd) entries(draw func(uint64) hashing.Value, from, to int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for i := from; i < to; i++ {
			signals := []hashing.Signal{{Algorithm: hashing.PDQ, Value: draw(uint64(i))}}
			if !yield(index.Change{Bank: index.BankID(i % benchBanks), Entry: index.EntryID(i + 1), Signals: signals}, nil) {
				return
			}
		}
	}
}

// age adds the rest of the rows bit by bit, lets 1 % of all die, saves the index and loads it again.
func (c *searchBenchCmd) age(ctx context.Context, x *index.Index, draw func(uint64) hashing.Value, from int, r *searchReport) (*index.Index, error) {
	const some = 10_000
	seq := uint64(1)
	apply := func(changes []index.Change) error {
		seq++
		return x.Apply(ctx, seq, changes)
	}
	for ; from < c.Rows; from += some {
		var changes []index.Change
		for change := range c.entries(draw, from, min(from+some, c.Rows)) {
			changes = append(changes, change)
		}
		if err := apply(changes); err != nil {
			return nil, err
		}
	}
	var dead []index.Change
	for i := 50; i < c.Rows; i += 100 {
		dead = append(dead, index.Change{Entry: index.EntryID(i + 1)})
	}
	if err := apply(dead); err != nil {
		return nil, err
	}
	if err := x.Settle(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vigie-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	if _, err := x.Save(ctx, dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil }); err != nil {
		return nil, err
	}
	r.Save = time.Since(began).Seconds()
	x = nil
	runtime.GC()
	began = time.Now()
	loaded, _, err := index.Open(dir, index.Options{})
	if err != nil {
		return nil, err
	}
	if _, err := loaded.Snapshot().Search(ctx, index.Query{Algorithm: hashing.PDQ, Value: draw(0), Radius: 31}); err != nil {
		return nil, err
	}
	r.Load = time.Since(began).Seconds()
	return loaded, nil
}

// radius times and checks the queries of one radius.
func (c *searchBenchCmd) radius(ctx context.Context, s *index.Snapshot, draw func(uint64) hashing.Value, radius int, banks map[index.BankID]int) (t radiusTimes, err error) {
	t.Radius = radius
	if banks != nil {
		for b := range index.BankID(benchBanks - 1) {
			banks[b] = radius
		}
	}
	r := rand.New(rand.NewPCG(c.Seed, uint64(radius)))
	var misses, hits []index.Query
	for i := range c.Queries / 2 {
		q := index.Query{Algorithm: hashing.PDQ, Radius: radius, Banks: banks, Value: draw(1<<40 + uint64(i))}
		misses = append(misses, q)
		q.Value = draw(r.Uint64N(uint64(c.Rows)))
		for range r.IntN(max(1, min(radius, 32))) {
			b := r.IntN(256)
			q.Value[b/64] ^= 1 << (b % 64)
		}
		hits = append(hits, q)
	}
	if t.Engine, err = c.latency(ctx, s, misses); err != nil {
		return t, err
	}
	if t.Hits, err = c.latency(ctx, s, hits); err != nil {
		return t, err
	}
	all := append(slices.Clone(misses[:min(len(misses), c.Check/2)]), hits[:min(len(hits), c.Check-c.Check/2)]...)
	var flat, scalar []float64
	for _, q := range all {
		found := [3]index.Result{}
		for i, method := range []index.Method{index.Auto, index.Flat, index.Brute} {
			q.Method = method
			began := time.Now()
			if found[i], err = s.Search(ctx, q); err != nil {
				return t, err
			}
			switch took := float64(time.Since(began).Nanoseconds()) / 1000; method {
			case index.Flat:
				flat = append(flat, took)
			case index.Brute:
				scalar = append(scalar, took)
			}
		}
		t.Checked++
		if !slices.Equal(found[0].Hits, found[2].Hits) || !slices.Equal(found[1].Hits, found[2].Hits) {
			t.Differences++
		}
	}
	slices.Sort(flat)
	slices.Sort(scalar)
	t.Flat.P50, t.Scalar.P50 = quantile(flat, .5), quantile(scalar, .5)
	if t.Flat.P50 > 0 {
		bytes := 16 // of a row, where its first half decides
		if radius > 40 {
			bytes = 32
		}
		t.Flat.GBs = float64(c.Rows*bytes) / t.Flat.P50 / 1000
	}
	return t, nil
}

// latency times queries one after the other, then by all processors.
func (c *searchBenchCmd) latency(ctx context.Context, s *index.Snapshot, queries []index.Query) (l latency, err error) {
	for _, q := range queries[:min(len(queries), 100)] { // what the first ones touch is not counted
		if _, err := s.Search(ctx, q); err != nil {
			return l, err
		}
	}
	took := make([]float64, 0, len(queries))
	began := time.Now()
	for _, q := range queries {
		at := time.Now()
		if _, err := s.Search(ctx, q); err != nil {
			return l, err
		}
		took = append(took, float64(time.Since(at).Nanoseconds())/1000)
	}
	l.OneQPS = float64(len(queries)) / time.Since(began).Seconds()
	slices.Sort(took)
	l.P50, l.P99 = quantile(took, .5), quantile(took, .99)
	var all sync.WaitGroup
	began = time.Now()
	workers := runtime.GOMAXPROCS(0)
	for range workers {
		all.Go(func() {
			for _, q := range queries {
				_, _ = s.Search(ctx, q) // it was answered before
			}
		})
	}
	all.Wait()
	l.AllQPS = float64(workers*len(queries)) / time.Since(began).Seconds()
	return l, nil
}

// join is how many values of a list are joined in a second.
func (c *searchBenchCmd) join(ctx context.Context, s *index.Snapshot, draw func(uint64) hashing.Value) (float64, error) {
	values := make([]hashing.Value, c.Join)
	for i := range values {
		values[i] = draw(1<<41 + uint64(i))
	}
	began := time.Now()
	err := s.Join(ctx, index.Query{Algorithm: hashing.PDQ, Radius: 31}, values, func(int, index.Hit) error { return nil })
	return float64(c.Join) / time.Since(began).Seconds(), err
}

func (r searchReport) bench() string { return "search" }

func (r searchReport) about() string {
	text := fmt.Sprintf("%d rows (%s), %s, in %s; kernel %s, %s.\nBuilt in %.2f s; %.1f bytes a row stated, %.1f resident.",
		r.N, r.Data, r.State, plural(r.Segments, "part"), r.Kernel, plural(r.Processors, "processor"), r.Build, r.BytesARow, r.Resident)
	if r.Load > 0 {
		text += fmt.Sprintf(" Saved in %.2f s, loaded and verified to the first answer in %.2f s.", r.Save, r.Load)
	}
	if r.JoinRate > 0 {
		text += fmt.Sprintf("\n%.0f values a second are joined at radius 31.", r.JoinRate)
	}
	return text
}

func (r searchReport) sheets() []sheet {
	us := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	return []sheet{{
		title: "One query, in microseconds",
		note:  "Misses are near nothing, hits near a row. Flat: all rows compared, by vector instructions and by a plain loop.",
		head:  []string{"radius", "miss p50", "p99", "hit p50", "p99", "a second, 1 processor", "all", "flat", "GB/s", "plain loop", "flat / miss", "loop / miss", "checked", "differences"},
		rows: rowsOf(r.Radii, func(t radiusTimes) []string {
			return []string{
				fmt.Sprint(t.Radius), us(t.Engine.P50), us(t.Engine.P99), us(t.Hits.P50), us(t.Hits.P99),
				fmt.Sprintf("%.0f", t.Engine.OneQPS), fmt.Sprintf("%.0f", t.Engine.AllQPS), us(t.Flat.P50), us(t.Flat.GBs), us(t.Scalar.P50),
				fmt.Sprintf("%.0f", t.Flat.P50/t.Engine.P50), fmt.Sprintf("%.0f", t.Scalar.P50/t.Engine.P50), fmt.Sprint(t.Checked), fmt.Sprint(t.Differences),
			}
		}),
	}}
}

func (r searchReport) chart() chart.Bars {
	c := chart.Bars{
		Title: fmt.Sprintf("Microseconds for a search among %d rows", r.N), Unit: "us",
		Description: r.about(),
		Series:      []chart.Series{{Name: "median", Colour: chart.Palette[0]}},
	}
	var bars []chart.Bar
	for _, t := range r.Radii {
		bars = append(bars, chart.Bar{Label: fmt.Sprintf("radius %d", t.Radius), Values: []float64{t.Engine.P50}, Note: fmt.Sprintf("%.1f", t.Engine.P50)})
	}
	c.Groups = []chart.Group{{Bars: bars}}
	return c
}

// residentBytes is the memory that this process has, files mapped included; 0 where the system does not say.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
