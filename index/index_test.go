package index_test

import (
	"math/bits"
	"math/rand/v2"
	"runtime"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

func TestIndex(t *testing.T) {
	indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.Of(index.New(index.Options{})) })
}

func TestOracle(t *testing.T) {
	indextest.Run(t, func(*testing.T) indextest.Engine { return indextest.NewOracle() })
}

// TestSegmentsStayFew watches the bounds that merging promises, through a long history of small changes.
func TestSegmentsStayFew(t *testing.T) {
	x := index.New(index.Options{})
	g := indextest.Gen{Source: rand.New(rand.NewPCG(7, 7)), Entries: 3000, Banks: 4}
	for seq := uint64(1); seq <= 20_000; seq++ {
		c := g.Flag()
		if seq > 15_000 { // most of it goes away again
			c = g.Retract()
		}
		if err := x.Apply(t.Context(), seq, []index.Change{c}); err != nil {
			t.Fatal(err)
		}
		st, rows, most := x.Snapshot().Stats(), 0, 0
		for _, n := range st.Rows {
			rows += n
			most += bits.Len(uint(n)) // log2(n)+1
		}
		if st.Segments > most || st.Dead > rows {
			t.Fatalf("seq %d: %d segments of at most %d, %d dead rows beside %d live ones", seq, st.Segments, most, st.Dead, rows)
		}
	}
}

// TestBytes compares the bytes that Stats states with what the heap grows by.
func TestBytes(t *testing.T) {
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
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	x := index.New(index.Options{})
	for seq, c := range [][]index.Change{changes[:n/2], changes[n/2:], retracted} {
		if err := x.Apply(t.Context(), uint64(seq+1), c); err != nil {
			t.Fatal(err)
		}
	}
	grown := heap() - before
	runtime.KeepAlive(changes)
	runtime.KeepAlive(retracted)
	stated := x.Snapshot().Stats().Bytes
	t.Logf("%d bytes a row: Stats says %d, the heap %d", grown/(2*n), stated, grown)
	if stated < grown*95/100 || stated > grown*105/100 {
		t.Errorf("Stats says %d bytes, the heap grew by %d", stated, grown)
	}
}
