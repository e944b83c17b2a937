package index_test

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

func TestIndex(t *testing.T) {
	indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.Of(index.New(index.Options{})) })
}

// raceDetector says that the tests run under the race detector, which takes ten times as long, and memory.
var raceDetector bool

// TestMerging has segments made and merged all the time.
func TestMerging(t *testing.T) {
	sizes := []int{1, 3, 20, 300}
	if raceDetector {
		sizes = []int{3, 300}
	}
	for _, n := range sizes {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.Of(index.New(index.SmallDeltas(n))) })
		})
	}
}

func TestOracle(t *testing.T) {
	indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.NewOracle() })
}

// live applies so many changes one by one, of which one in so many retracts an entry, and the others flag one.
func live(t *testing.T, x *index.Index, g indextest.Gen, changes uint64, retracts int) {
	t.Helper()
	for seq := uint64(1); seq <= changes; seq++ {
		c := g.Flag()
		if g.IntN(retracts) == 0 {
			c = g.Retract()
		}
		if err := x.Apply(t.Context(), seq, []index.Change{c}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoad compares a loaded index with one that applied the same.
func TestLoad(t *testing.T) {
	for _, full := range []int{100, 1 << 20} {
		g := indextest.Gen{Source: rand.New(rand.NewPCG(8, 8)), Entries: 1 << 40, Banks: 4}
		want, got := index.New(index.SmallDeltas(full)), index.New(index.SmallDeltas(full))
		entries := map[index.EntryID]index.Change{}
		for range 2000 {
			c := g.Flag()
			entries[c.Entry] = c
		}
		changes := append(slices.Collect(maps.Values(entries)), index.Change{Bank: 2, Hidden: true})
		if err := want.Apply(t.Context(), 7, changes); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		halfway := func(yield func(index.Change, error) bool) {
			_ = yield(changes[0], nil) && yield(index.Change{}, broken)
		}
		if err := got.Load(t.Context(), 7, halfway); err != broken || got.Snapshot().Stats().Entries != 0 {
			t.Fatal(err)
		}
		err := got.Load(t.Context(), 7, func(yield func(index.Change, error) bool) {
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		w, h := want.Snapshot().Stats(), got.Snapshot().Stats()
		if h.Seq != 7 || h.Entries != w.Entries || !maps.Equal(h.Rows, w.Rows) {
			t.Errorf("%+v, want %+v", h, w)
		}
		for _, c := range changes[:300] {
			for _, s := range c.Signals {
				q := index.Query{Algorithm: s.Algorithm, Value: s.Value, Radius: 20}
				a, err := want.Snapshot().Search(t.Context(), q)
				b, err2 := got.Snapshot().Search(t.Context(), q)
				if err != nil || err2 != nil || !slices.Equal(a.Hits, b.Hits) {
					t.Fatalf("%d hits, want %d", len(b.Hits), len(a.Hits))
				}
			}
		}
		if err := got.Load(t.Context(), 8, nil); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("loaded twice: %v", err)
		}
	}
}

// TestPartsStayFew watches the bounds that merging promises, through a long history of small changes.
func TestPartsStayFew(t *testing.T) {
	const full = 50
	x := index.New(index.SmallDeltas(full))
	g := indextest.Gen{Source: rand.New(rand.NewPCG(7, 7)), Entries: 3000, Banks: 4}
	for seq := uint64(1); seq <= 20_000; seq++ {
		c := g.Flag()
		if seq > 15_000 { // most of it goes away again
			c = g.Retract()
		}
		if err := x.Apply(t.Context(), seq, []index.Change{c}); err != nil {
			t.Fatal(err)
		}
		if seq%100 > 0 {
			continue
		}
		if err := x.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		st, rows, most := x.Snapshot().Stats(), 0, 0
		for _, n := range st.Rows {
			rows += n
			most += bits.Len(uint(n)) // log2(n)+1
		}
		deltas := len(hashing.Algorithms())
		if st.Segments > most+deltas || st.Dead > rows+deltas*2*full {
			t.Fatalf("seq %d: %d segments of at most %d, %d dead rows beside %d live ones", seq, st.Segments, most, st.Dead, rows)
		}
	}
}

// TestBytes compares the bytes that Stats states with what the process grows by.
func TestBytes(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	const n = 200_000
	changes := indextest.Catalogue(n, 1)
	for i := range changes {
		md5 := changes[i].Signals[0]
		md5.Algorithm, md5.Value[2], md5.Value[3] = hashing.MD5, 0, 0
		changes[i].Signals = append(changes[i].Signals, md5)
	}
	retracted := make([]index.Change, n/10)
	for i := range retracted {
		retracted[i].Entry = index.EntryID(1 + i*7)
	}
	resident := func() int64 {
		debug.FreeOSMemory()
		return residentBytes(t)
	}
	before := resident()
	x := index.New(index.Options{})
	for seq, c := range [][]index.Change{changes[:n/2], changes[n/2:], retracted} {
		if err := x.Apply(t.Context(), uint64(seq+1), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	grown := resident() - before
	runtime.KeepAlive(changes)
	runtime.KeepAlive(retracted)
	stated := x.Snapshot().Stats().Bytes
	t.Logf("%d bytes a row: Stats says %d, the process %d", grown/(2*n), stated, grown)
	if stated < grown*85/100 || stated > grown*115/100 {
		t.Errorf("Stats says %d bytes, the process grew by %d", stated, grown)
	}
}

// residentBytes is the memory that this process has; where the system does not say, the test is skipped.
func residentBytes(t *testing.T) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
