package main

import (
	"context"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/index"
)

// live inserts, deletes and searches at the same time; then, when nothing changes any more, searches at the same pace.
// Every answer near a row is checked, and some by a plain loop over the rows of the same snapshot.
func (b *searchBench) live(ctx context.Context, x *index.Index) (*liveReport, error) {
	l := &live{searchBench: b, x: x, base: x.Snapshot().Seq(), totals: []total{{rows: b.n}}, probes: make(chan probe), samples: make(chan sample)}
	l.plan()
	shown := b.app.countdown(int(b.Live/time.Second), "seconds")
	defer shown.end()
	began := time.Now()
	end := began.Add(b.Live)
	var busy searched
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { defer close(l.probes); return l.change(running, began, end) })
	g.Go(func() (err error) { defer close(l.samples); busy, err = l.ask(running, began, end); return err })
	g.Go(func() error { return l.watch(running) })
	g.Go(func() error { return l.repeat(running) })
	g.Go(func() error { l.record(running, began, end, shown.done); return nil })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := x.Settle(ctx); err != nil {
		return nil, err
	}
	runtime.GC()    // what the merges left is not the idle index's
	l.samples = nil // nothing else is at work
	l.seconds, busy.seconds = nil, l.seconds
	began = time.Now()
	idle, err := l.ask(ctx, began, began.Add(min(b.Live, time.Minute)))
	if err != nil {
		return nil, err
	}
	return l.report(ctx, took, busy, idle)
}

// live is a run of it.
type live struct {
	*searchBench
	x    *index.Index
	base uint64 // seq of the index before the first change

	// Which rows are deleted: of the first n every one in turn, in an order that leaps about; and, if enough rows are
	// inserted, every other time one of these.
	leap, back int // row k*leap%n is the k-th of the first n; back undoes it
	spacing    int // between the inserted rows that are deleted; 0: none is

	mu     sync.Mutex
	totals []total // by seq, from base on

	probes  chan probe
	samples chan sample

	seconds []liveSecond
	visible []timed
	worst   time.Duration // a change took at most
	checked int           // by a plain loop
	wrong   int
}

// total is how many rows and deletions there were in all by some change.
type total struct{ rows, deleted int }

// probe is a row that is about to be inserted.
type probe struct {
	row int
	at  time.Time
}

// sample is an answer that is to be compared with a plain loop's.
type sample struct {
	s *index.Snapshot
	q index.Query
	r index.Result
}

// timed is how long something took, and when.
type timed struct{ at, took time.Duration }

// searched is what ask found.
type searched struct {
	took    []timed // from when a search was due: waiting for a processor, or for the search before, is in it
	alone   []timed // of these, the searches themselves
	checked int
	wrong   int
	seconds []liveSecond
}

// plan chooses the rows that are to be deleted.
func (l *live) plan() {
	n := big.NewInt(int64(l.n))
	for l.leap = max(1, l.n*5/13); ; l.leap++ {
		if back := new(big.Int).ModInverse(big.NewInt(int64(l.leap)), n); back != nil || l.n == 1 {
			if back != nil {
				l.back = int(back.Int64())
			}
			break
		}
	}
	l.spacing = l.Inserts / max(1, l.Deletes)
}

// victim is the row that the k-th deletion removes.
func (l *live) victim(k int) int {
	switch {
	case l.spacing == 0:
		return k % l.n * l.leap % l.n
	case k%2 == 0:
		return k / 2 % l.n * l.leap % l.n
	}
	return l.n + k/2*l.spacing
}

// deletion is the number of the first deletion that removes a row.
func (l *live) deletion(row int) int {
	switch inserted := row - l.n; {
	case inserted < 0 && l.spacing == 0:
		return row * l.back % l.n
	case inserted < 0:
		return 2 * (row * l.back % l.n)
	case l.spacing > 0 && inserted%l.spacing == 0:
		return 2*(inserted/l.spacing) + 1
	}
	return math.MaxInt
}

// has reports whether a row is alive after so many insertions and deletions.
func (l *live) has(row int, t total) bool {
	return row < t.rows && (row >= l.n || l.alive(row)) && l.deletion(row) >= t.deleted
}

// at is what there was by a change; now by the last one that was begun.
func (l *live) at(seq uint64) total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals[seq-l.base]
}

func (l *live) now() total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals[len(l.totals)-1]
}

// change inserts and deletes, every few milliseconds what is due by then.
func (l *live) change(ctx context.Context, began, end time.Time) error {
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	var changes []index.Change
	var signals []hashing.Signal // of the changes
	for time.Now().Before(end) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		was, elapsed := l.now(), min(time.Since(began), end.Sub(began)).Seconds()
		next := total{l.n + int(elapsed*float64(l.Inserts)), was.deleted}
		changes, signals = changes[:0], slices.Grow(signals[:0], next.rows-was.rows)[:next.rows-was.rows]
		for row := was.rows; row < next.rows; row++ {
			changes = append(changes, state(row, l.rows.value(uint64(row)), signals[row-was.rows:]))
		}
		for ; next.deleted < int(elapsed*float64(l.Deletes)) && l.victim(next.deleted) < was.rows; next.deleted++ {
			changes = append(changes, index.Change{Entry: entryOf(l.victim(next.deleted))})
		}
		l.mu.Lock()
		l.totals = append(l.totals, next)
		seq := l.base + uint64(len(l.totals)) - 1
		l.mu.Unlock()
		at := time.Now()
		if next.rows > was.rows {
			select {
			case l.probes <- probe{next.rows - 1, at}:
			default: // one is under way
			}
		}
		if err := l.x.Apply(ctx, seq, changes); err != nil {
			return err
		}
		l.worst = max(l.worst, time.Since(at))
	}
	return nil
}

// watch searches for rows that are being inserted until it finds them.
func (l *live) watch(ctx context.Context) error {
	began := time.Now()
	for p := range l.probes {
		q := l.query(l.rows.value(uint64(p.row)), 0)
		q.Banks = nil
		for {
			r, err := l.x.Snapshot().Search(ctx, q)
			if err != nil {
				return err
			}
			if finds(r, p.row) {
				break
			}
			time.Sleep(50 * time.Microsecond)
		}
		l.visible = append(l.visible, timed{p.at.Sub(began), time.Since(p.at)})
	}
	return nil
}

func finds(r index.Result, row int) bool {
	return slices.ContainsFunc(r.Hits, func(h index.Hit) bool { return h.Entry == entryOf(row) })
}

// ask searches at the pace that was asked for, half of the time for nothing, and half for what is near a row: one of
// all, one of the newest, or one that was deleted.
func (l *live) ask(ctx context.Context, began, end time.Time) (found searched, err error) {
	const sampled = 10 * time.Second // between answers that a plain loop repeats: it takes a processor
	r := rand.New(rand.NewPCG(l.Seed, uint64(l.n)))
	pace := time.Second / time.Duration(l.Pace)
	due, lastSample := began, began.Add(-sampled)
	for n := 0; due.Before(end); n, due = n+1, due.Add(pace) {
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return found, ctx.Err()
			}
		}
		row := -1
		q := l.miss(n, joinRadius)
		if n%2 == 0 {
			row = l.pick(r)
			q.Value = flipped(l.rows.value(uint64(row)), r.IntN(joinRadius+1), r)
		}
		s := l.x.Snapshot()
		at := time.Now()
		answer, err := l.search(s, ctx, q)
		if err != nil {
			return found, err
		}
		found.took = append(found.took, timed{due.Sub(began), time.Since(due)})
		found.alone = append(found.alone, timed{due.Sub(began), time.Since(at)})
		if row >= 0 {
			_, sought := q.Banks[bankOf(row)]
			found.checked++
			if finds(answer, row) != (l.has(row, l.at(s.Seq())) && (sought || q.Banks == nil)) {
				found.wrong++
			}
		}
		if at.Sub(lastSample) >= sampled {
			select {
			case l.samples <- sample{s, q, answer}:
				lastSample = at
			default:
			}
		}
	}
	return found, nil
}

// pick chooses a row.
func (l *live) pick(r *rand.Rand) int {
	const newest = 100_000 // of which some are still compared one by one
	now := l.now()
	switch kind := r.IntN(3); {
	case kind == 0 && now.deleted > 0:
		return l.victim(r.IntN(now.deleted))
	case kind == 1:
		return now.rows - 1 - r.IntN(min(now.rows, newest))
	}
	return r.IntN(now.rows)
}

// repeat compares samples with a plain loop over the same snapshot.
func (l *live) repeat(ctx context.Context) error {
	for a := range l.samples {
		a.q.Method = index.Brute
		want, err := a.s.Search(ctx, a.q)
		if err != nil {
			return err
		}
		l.checked++
		if differ(a.r, want) {
			l.wrong++
		}
	}
	return nil
}

// record notes every second how large the index is.
func (l *live) record(ctx context.Context, began, end time.Time, tick func()) {
	for at := time.Second; ; at += time.Second {
		select {
		case <-time.After(min(time.Until(began.Add(at)), time.Until(end))):
		case <-ctx.Done():
			return
		}
		stats := l.x.Snapshot().Stats()
		l.seconds = append(l.seconds, liveSecond{Second: len(l.seconds), Segments: stats.Segments, Rows: stats.Rows[hashing.PDQ], Resident: residentBytes() - l.empty})
		tick()
		if !time.Now().Before(end) {
			return
		}
	}
}

// report sums up, and compares some answers of the final index with those of a plain loop over rows drawn again.
func (l *live) report(ctx context.Context, took time.Duration, busy, idle searched) (*liveReport, error) {
	s := l.x.Snapshot()
	last := l.at(s.Seq())
	r := &liveReport{
		Duration: took.Seconds(), Rows: s.Stats().Rows[hashing.PDQ], Segments: s.Stats().Segments,
		AskedInserts: l.Inserts, AskedDeletes: l.Deletes, Pace: l.Pace,
		Inserts: float64(last.rows-l.n) / took.Seconds(), Deletes: float64(last.deleted) / took.Seconds(),
		LongestChange: l.worst.Seconds() * 1000,
		LiveAlone:     quantilesOf(microseconds(busy.alone)), IdleAlone: quantilesOf(microseconds(idle.alone)),
		Live: quantilesOf(microseconds(busy.took)), Idle: quantilesOf(microseconds(idle.took)), Visible: quantilesOf(microseconds(l.visible)),
		Searches: len(busy.took), Checked: busy.checked + idle.checked + l.checked, Differences: busy.wrong + idle.wrong + l.wrong,
		Seconds: busy.seconds,
	}
	r.KeptUp = r.Inserts >= .99*float64(l.Inserts) && r.Deletes >= .99*float64(l.Deletes)
	if r.Idle.P99 > 0 {
		r.Ratio = r.Live.P99 / r.Idle.P99
	}
	for i := range r.Seconds {
		second := &r.Seconds[i]
		second.Search, second.Visible = quantilesOf(microseconds(within(busy.took, i))), quantilesOf(microseconds(within(l.visible, i)))
	}
	const enough = 1000
	queries := l.mixed(min(l.Check, enough), last.rows, []int{joinRadius})
	wrong, err := l.compare(ctx, s, last.rows, func(row int) bool { return l.has(row, last) }, queries)
	for _, w := range wrong {
		r.Checked++
		if w {
			r.Differences++
		}
	}
	return r, err
}

// within are those of a second; all are in the order of time.
func within(all []timed, second int) []timed {
	from := func(s int) int {
		i, _ := slices.BinarySearchFunc(all, time.Duration(s)*time.Second, func(t timed, at time.Duration) int { return int(t.at - at) })
		return i
	}
	return all[from(second):from(second+1)]
}

func microseconds(all []timed) []float64 {
	us := make([]float64, len(all))
	for i, t := range all {
		us[i] = float64(t.took.Nanoseconds()) / 1000
	}
	return us
}
