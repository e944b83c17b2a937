package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"runtime/debug"
	"time"

	"vigie/hashing"
	"vigie/index"
)

// build makes the index: of rows in memory at once; a steady one of the first of them, then bit by bit, and by saving
// it to the folder and loading it from there.
func (b *searchBench) build(ctx context.Context, dir string) (*index.Index, error) {
	x, err := b.fill(ctx)
	if err != nil || !b.steady() {
		return x, err
	}
	first, err := b.grow(ctx, x, dir)
	if err != nil {
		return nil, err
	}
	x = nil
	settledBytes() // x is gone when the next one is opened
	began := time.Now()
	x, _, err = index.Open(dir, b.options())
	if err != nil {
		return nil, err
	}
	answer, err := b.search(x.Snapshot(), ctx, b.first())
	if err != nil {
		return nil, err
	}
	b.report.Load = time.Since(began).Seconds()
	if differ(answer, first) {
		return nil, fmt.Errorf("the index that was loaded answers its first query otherwise than the one that was saved")
	}
	return x, nil
}

// options are a node's.
func (b *searchBench) options() index.Options {
	return index.Options{
		Fault: func(err error) { b.app.warn("%v", err) },
		Shadow: func(s index.Shadow) {
			if s.Err != nil {
				b.app.warn("WRONG ANSWER: %v", s.Err)
			}
		},
		MemoryLimit: MemoryLimit{percent: 85}.of(availableMemory(root())),
	}
}

// first is the first query that a loaded index answers. It finds the first row.
func (b *searchBench) first() index.Query { return b.query(b.rows.value(0), joinRadius) }

// fill loads the rows: of a steady index less than half, so that the rest brings about a merge of the largest segment.
func (b *searchBench) fill(ctx context.Context) (*index.Index, error) {
	values := b.rows.values(b.firstRows())
	drawn := settledBytes()
	peak := watchPeak()
	x := index.New(b.options())
	began := time.Now()
	err := x.Load(ctx, 1, states(values))
	b.report.Build = time.Since(began).Seconds()
	b.report.PeakBuild = float64(peak()-drawn) / float64(len(values))
	return x, err
}

func (b *searchBench) firstRows() int {
	if b.steady() {
		return max(1, b.n*45/100)
	}
	return b.n
}

// states are the rows as changes, which are valid until the next one.
func states(values []hashing.Value) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		var signals [1]hashing.Signal
		for row, v := range values {
			if !yield(state(row, v, signals[:]), nil) {
				return
			}
		}
	}
}

// grow adds the rest of the rows, lets 1 % of all die, and saves the index. It returns the answer to the first query.
func (b *searchBench) grow(ctx context.Context, x *index.Index, dir string) (index.Result, error) {
	const some = 10_000
	settledBytes()
	peak := watchPeak()
	began := time.Now()
	signals := make([]hashing.Signal, some)
	changes := make([]index.Change, 0, some)
	for from := b.firstRows(); from < b.n; from += some {
		changes = changes[:0]
		for row := from; row < min(from+some, b.n); row++ {
			changes = append(changes, state(row, b.rows.value(uint64(row)), signals[row-from:]))
		}
		if err := x.Apply(ctx, x.Snapshot().Seq()+1, changes); err != nil {
			return index.Result{}, err
		}
	}
	changes = changes[:0]
	for row := range b.n {
		if !b.alive(row) {
			changes = append(changes, index.Change{Entry: entryOf(row)})
		}
	}
	if err := x.Apply(ctx, x.Snapshot().Seq()+1, changes); err != nil {
		return index.Result{}, err
	}
	if err := x.Settle(ctx); err != nil {
		return index.Result{}, err
	}
	b.report.Grow = time.Since(began).Seconds()
	b.report.PeakMerge = b.perRow(peak() - b.empty)

	q := b.first()
	q.Method = index.Brute
	first, err := x.Snapshot().Search(ctx, q)
	if err != nil {
		return first, err
	}
	began = time.Now()
	_, err = x.Save(ctx, dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil })
	b.report.Save = time.Since(began).Seconds()
	return first, err
}

func (b *searchBench) perRow(bytes int64) float64 { return float64(bytes) / float64(b.n) }

// settledBytes is the memory that is left when all that nobody needs is given back.
func settledBytes() int64 {
	for before := int64(math.MaxInt64); ; {
		debug.FreeOSMemory()
		time.Sleep(50 * time.Millisecond) // segments are unmapped in the background
		now := residentBytes()
		if now > before-before/100 || now == 0 {
			return now
		}
		before = now
	}
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

// watchPeak returns what tells the most resident bytes since: as the system counted them if it can be told to begin
// anew, and in any case as they were every few milliseconds.
func watchPeak() func() int64 {
	begun := false
	if f, err := os.OpenFile("/proc/self/clear_refs", os.O_WRONLY, 0); err == nil {
		_, err = f.WriteString("5")
		begun = err == nil
		_ = f.Close()
	}
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := residentBytes()
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-tick.C:
				most = max(most, residentBytes())
			case <-stop:
				tick.Stop()
				peak <- most
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		most := <-peak
		if begun {
			most = max(most, highWater())
		}
		return most
	}
}

// highWater is the most resident bytes as the system counts them.
func highWater() (n int64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	if _, rest, ok := bytes.Cut(text, []byte("VmHWM:")); ok {
		_, _ = fmt.Sscan(string(rest), &n) // 0 if it is no number
	}
	return n << 10
}
