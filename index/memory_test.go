package index_test

import (
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
	"vigie/index/internal/segment"
)

// TestSegmentBytes compares the estimate with segments, whose columns are as narrow and as wide as can be.
func TestSegmentBytes(t *testing.T) {
	for _, a := range hashing.Algorithms() {
		for _, n := range []int{0, 1, 15, 16, 17, 1000, 30_000, 300_000} {
			for _, wide := range []bool{false, true} {
				row, spans := segment.Row{Entry: 1, Bank: 1}, segment.NoSpans()
				spans = spans.With(row)
				if wide {
					spans = spans.With(segment.Row{Entry: 1 << 40, Bank: 1 << 20, Variant: 5, Time: 1 << 30})
				}
				b, err := segment.New(a, n, spans)
				if err != nil {
					t.Fatal(err)
				}
				b.Set(0, slices.Repeat([]segment.Row{row}, n)...)
				got, estimate := b.Finish(1).Bytes(), index.SegmentBytes(a, n)
				if most := got + got/10 + 40<<10; estimate < got || wide && estimate > most {
					t.Errorf("%d rows of %s, wide columns %t: %d bytes, the estimate is %d", n, a, wide, got, estimate)
				}
			}
		}
	}
}

// freed waits until what was merged away is freed.
func freed(t *testing.T, x *index.Index) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); x.Memory().Retired > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("what was merged is not freed: %+v", x.Memory())
		}
		runtime.GC()
	}
}

// fill applies entries of one row, beginning with number from, for as long as there is room for so many at a time, and
// returns how many there were.
func fill(t *testing.T, x *index.Index, from, batch int) int {
	t.Helper()
	all := indextest.Catalogue(from+1_000_000, 1)[from:]
	for n := 0; ; n += batch {
		err := x.Room(batch)
		if errors.Is(err, index.ErrFull) {
			if err := x.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			freed(t, x) // what was merged may not be free yet
			err = x.Room(batch)
		}
		if errors.Is(err, index.ErrFull) {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
		if err := x.Apply(t.Context(), x.Snapshot().Seq()+1, all[n:n+batch]); err != nil {
			t.Fatal(err)
		}
		if m := x.Memory(); m.Used()-m.Retired+m.Merge > m.Limit {
			t.Fatalf("%d rows were let in, and the next merge does not fit: %+v", n+batch, m)
		}
	}
}

// TestRoom fills an index until it refuses: whatever it let in can be merged, and what dies makes room.
func TestRoom(t *testing.T) {
	const limit, others = 24 << 20, 4 << 20
	x := index.New(index.Limited(limit, func() int64 { return others }, 1000, func(err error) {
		if !errors.Is(err, index.ErrFull) { // what was merged may not be free yet
			t.Error(err)
		}
	}))
	n := fill(t, x, 0, 500)
	// Two copies of each row fit into what is left: a sixteenth is kept free.
	if least, most := (limit*15/16-others)/2/210, (limit*15/16-others)/2/160; n < least || n > most {
		t.Errorf("%d rows are let in; want %d to %d", n, least, most)
	}
	m := x.Memory()
	if most := int(m.Room() / (2 * index.RowBytes(hashing.PDQ))); m.Room() >= 0 && x.Room(most) != nil || x.Room(max(most, 0)+1) == nil {
		t.Errorf("there is room for %d bytes: %v for %d rows, %v for one more", m.Room(), x.Room(most), most, x.Room(most+1))
	}
	if m.Process != others || m.Limit != limit || m.Index != x.Snapshot().Stats().Bytes {
		t.Errorf("%+v", m)
	}
	retracted := make([]index.Change, n/2)
	for i := range retracted {
		retracted[i].Entry = index.EntryID(1 + i)
	}
	if err := x.Apply(t.Context(), x.Snapshot().Seq()+1, retracted); err != nil {
		t.Fatal(err)
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	freed(t, x)
	if again := fill(t, x, n, 500); again < n/5 {
		t.Errorf("half of %d rows died, and %d are let in", n, again)
	}
	if err := index.New(index.Options{}).Room(1 << 40); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// TestPostponed follows a log into an index that has no memory to merge it: the answers are right, what is small is
// merged, Fault is told once; and all is merged when there is memory.
func TestPostponed(t *testing.T) {
	const limit, full = 64 << 20, 100
	var others atomic.Int64
	var told atomic.Int64
	var kind atomic.Value
	x := index.New(index.Limited(limit, others.Load, full, func(err error) { kind.Store(err); told.Add(1) }))
	oracle := indextest.NewOracle()
	changes := indextest.Catalogue(20_000, 1)
	seq := uint64(0)
	follow := func(n int) {
		t.Helper()
		for range n {
			seq++
			part := changes[:full/2]
			changes = changes[full/2:]
			if err := errors.Join(x.Apply(t.Context(), seq, part), oracle.Apply(t.Context(), seq, part)); err != nil {
				t.Fatal(err)
			}
			if err := x.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			freed(t, x)
		}
		for _, q := range indextest.Queries(20, 3, 31, indextest.Catalogue(20_000, 1), 1) {
			got, err := x.Snapshot().Search(t.Context(), q)
			want, err2 := oracle.Snapshot().Search(t.Context(), q)
			if diff := cmp.Diff(want, got); err != nil || err2 != nil || diff != "" {
				t.Fatal(err, err2, diff)
			}
		}
	}
	follow(200)
	before := x.Snapshot().StatsOf(hashing.PDQ)
	if before.Segments > 5 || before.Deltas > 1 || told.Load() > 0 {
		t.Fatalf("with memory: %+v, Fault was told %d times", before, told.Load())
	}

	others.Store(limit - x.Memory().Used() - 1400<<10) // what there is takes 1700 KiB, what comes now 500
	follow(60)
	m, tight := x.Memory(), x.Snapshot().StatsOf(hashing.PDQ)
	err, _ := kind.Load().(error)
	if !m.Postponed || told.Load() != 1 || !errors.Is(err, index.ErrFull) {
		t.Errorf("with little memory: %+v, Fault was told %d times: %v", m, told.Load(), err)
	}
	if tight.Segments > before.Segments+5 || tight.Deltas > 1 {
		t.Errorf("with little memory: %+v", tight)
	}

	others.Store(limit)
	follow(10)
	if none := x.Snapshot().StatsOf(hashing.PDQ); none.Deltas < tight.Deltas+4 || none.Segments > tight.Segments {
		t.Errorf("without memory: %+v, before %+v", none, tight)
	}

	others.Store(0)
	follow(1)
	if got := x.Snapshot().StatsOf(hashing.PDQ); got.Segments > 5 || got.Deltas > 1 || x.Memory().Postponed {
		t.Errorf("with memory again: %+v, %+v", got, x.Memory())
	}
}

// TestLoadFull loads more than there is memory for.
func TestLoadFull(t *testing.T) {
	changes := indextest.Catalogue(50_000, 1)
	all := func(yield func(index.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
	none := func() int64 { return 0 }
	x := index.New(index.Limited(10<<20, none, 1000, nil))
	if err := x.Load(t.Context(), 7, all); !errors.Is(err, index.ErrFull) || x.Snapshot().Seq() != 0 {
		t.Errorf("50,000 rows into 10 MiB: %v; the index is at change %d", err, x.Snapshot().Seq())
	}
	changes = changes[:20_000]
	if err := x.Load(t.Context(), 7, all); err != nil || x.Snapshot().Stats().Entries != 20_000 {
		t.Errorf("20,000 rows into 10 MiB: %v", err)
	}
}

// TestMergePeak compares what a merge takes with what Memory says that it will.
func TestMergePeak(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	const n = 400_000
	x := index.New(index.Options{})
	if err := x.Apply(t.Context(), 1, indextest.Catalogue(n, 1)); err != nil {
		t.Fatal(err)
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	const dead = n/2 + 1 // more than live: all is merged
	retracted := make([]index.Change, dead)
	for i := range retracted {
		retracted[i].Entry = index.EntryID(1 + i)
	}
	if err := x.Apply(t.Context(), 2, retracted[2:]); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
	before := residentBytes(t)
	if err := x.Apply(t.Context(), 3, retracted[:2]); err != nil {
		t.Fatal(err)
	}
	estimate := x.Memory().Merge
	peak, settled := int64(0), make(chan error)
	go func() { settled <- x.Settle(t.Context()) }()
	for done := false; !done; {
		peak = max(peak, residentBytes(t))
		select {
		case err := <-settled:
			if done = true; err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Millisecond):
		}
	}
	runtime.KeepAlive(retracted)
	took := peak - before
	t.Logf("a merge of %d rows took %d MiB at most, the estimate is %d MiB", n-dead, took>>20, estimate>>20)
	if st := x.Snapshot().StatsOf(hashing.PDQ); st.Rows != n-dead || st.Dead > 0 {
		t.Fatalf("it was not merged: %+v", st)
	}
	if took > estimate*115/100 || took < estimate*60/100 {
		t.Errorf("a merge took %d bytes, the estimate is %d", took, estimate)
	}
	freed(t, x)
	m := x.Memory()
	if slices.Contains([]int64{m.Index, m.Process}, 0) || m.Used() < residentBytes(t)/2 || m.Used() > residentBytes(t)*2 {
		t.Errorf("%+v, and the process takes %d bytes", m, residentBytes(t))
	}
}
