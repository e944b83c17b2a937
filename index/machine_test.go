package index_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// TestMachine lives through a long random history, with all that happens to an index happening at a time: changes of all
// kinds, merges, saves, restarts from what was saved with the rest of the log applied again, searches in all ways of new and
// old snapshots. What each search should find is known from an oracle as of the same change. VIGIE_MACHINE sets how long
// (10m is the full proof, with -race -timeout 20m), VIGIE_MACHINE_SEED repeats the changes of a former run.
func TestMachine(t *testing.T) {
	length, seed := 2*time.Second, uint64(time.Now().UnixNano())
	if testing.Short() {
		length = time.Second / 2
	}
	if text := os.Getenv("VIGIE_MACHINE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("VIGIE_MACHINE: %v", err)
		}
	}
	if text := os.Getenv("VIGIE_MACHINE_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("VIGIE_MACHINE_SEED: %v", err)
		}
	}
	t.Logf("VIGIE_MACHINE=%v VIGIE_MACHINE_SEED=%d", length, seed)

	m := &machine{T: t, dir: t.TempDir(), oracle: indextest.NewOracle(), at: map[uint64]indextest.Snapshot{0: indextest.NewOracle().Snapshot()}}
	m.gen = machineGen(seed, 0)
	m.live.Store(index.New(index.SmallDeltas(64)))
	m.apply(1, m.gen.Changes(5000)...)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 2 {
		readers.Go(func() { m.read(machineGen(seed, uint64(i+1)), done) })
	}
	for began := time.Now(); !t.Failed() && (time.Since(began) < length || m.count.missing() != nil && time.Since(began) < length+time.Minute); {
		m.round()
	}
	close(done)
	readers.Wait()
	m.saving.Wait()
	if missing := m.count.missing(); missing != nil {
		t.Errorf("never: %v", missing)
	}
	t.Log(m.count.String())
}

func machineGen(seed, stream uint64) indextest.Gen {
	return indextest.Gen{Source: rand.New(rand.NewPCG(seed, stream)), Entries: 6000, Banks: 6, Centres: 200}
}

// machine is an index that changes, is saved and opened again, and beside it what it should be, now and some time ago.
type machine struct {
	*testing.T
	dir    string
	gen    indextest.Gen
	live   atomic.Pointer[index.Index]
	oracle *indextest.Oracle

	past   []index.Change // some of what was applied
	log    []step         // what came since the last save
	parts  map[any]bool   // segments of the newest snapshot
	saving sync.WaitGroup
	busy   atomic.Bool
	saved  atomic.Uint64 // as of when the last save is; 0: it was opened

	mu    sync.Mutex
	at    map[uint64]indextest.Snapshot // the oracle as of each change, from the last save on
	order []uint64

	count counts
}

type step struct {
	seq     uint64
	changes []index.Change
}

// counts are how often what happened.
type counts struct {
	Flagged, Retracted, Restored, Moved, Hidden, Shown, Bulks, Replayed, Overlapped, Skipped, Refused   atomic.Int64
	Merged, Saved, Opened, Mapped, Copied, Again, Collected, Compared, Old, AcrossOpening, Probed, Hits atomic.Int64
}

func (c *counts) each(yield func(string, int64) bool) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if !yield(v.Type().Field(i).Name, v.Field(i).Addr().Interface().(*atomic.Int64).Load()) {
			return
		}
	}
}

// missing is what never happened.
func (c *counts) missing() (names []string) {
	for name, n := range c.each {
		if n == 0 {
			names = append(names, name)
		}
	}
	return names
}

func (c *counts) String() string {
	var text []string
	for name, n := range c.each {
		text = append(text, fmt.Sprintf("%s %d", strings.ToLower(name), n))
	}
	return strings.Join(text, ", ")
}

// round is some changes, and at its end a restart, if a save has ended, and the next save.
func (m *machine) round() {
	for range 20 + m.gen.IntN(40) {
		m.change()
		if m.Failed() {
			return
		}
	}
	if !m.busy.Load() && m.saved.Load() > 0 {
		m.open()
	}
	if m.busy.CompareAndSwap(false, true) {
		x := m.live.Load()
		m.saving.Go(func() { // changes and merges go on meanwhile
			defer m.busy.Store(false)
			seq, err := x.Save(m.Context(), m.dir, func(seq uint64) (index.Mark, error) { return index.Mark{Log: "log", Root: fmt.Sprint(seq)}, nil })
			if err != nil {
				m.Errorf("save: %v", err)
				return
			}
			m.saved.Store(seq)
			m.count.Saved.Add(1)
		})
	}
	if m.gen.IntN(2) == 0 { // readers alone would keep the processors from it for long
		m.saving.Wait()
	}
	if m.gen.IntN(4) == 0 { // the memory of what is not used any more is really gone
		runtime.GC()
		m.count.Collected.Add(1)
	}
}

// change is one thing that a log may say.
func (m *machine) change() {
	g, c := m.gen, &m.count
	one := func(n *atomic.Int64, change ...index.Change) {
		m.apply(1, change...)
		n.Add(1)
	}
	switch g.IntN(16) {
	default:
		one(&c.Flagged, g.Flag())
	case 5, 6:
		one(&c.Retracted, g.Retract())
	case 7:
		if len(m.past) > 0 {
			one(&c.Restored, m.past[g.IntN(len(m.past))])
		}
	case 8:
		if len(m.past) > 0 {
			moved := m.past[g.IntN(len(m.past))]
			moved.Bank, moved.Hidden = g.Bank(), false
			one(&c.Moved, moved)
		}
	case 9:
		one(&c.Hidden, index.Change{Bank: g.Bank(), Hidden: true})
	case 10, 11:
		one(&c.Shown, index.Change{Bank: g.Bank()})
	case 12:
		m.apply(uint64(1+g.IntN(9)), g.Changes(2+g.IntN(150))...)
		c.Bulks.Add(1)
	case 13: // a number that was reached
		seq := m.live.Load().Snapshot().Seq()
		m.must(m.live.Load().Apply(m.Context(), seq-uint64(g.IntN(int(min(seq, 100))+1)), g.Changes(3)))
		c.Replayed.Add(1)
	case 14: // a stretch that begins before it
		m.apply(1, append(m.past[max(0, len(m.past)-g.IntN(20)):len(m.past):len(m.past)], g.Flag())...)
		c.Overlapped.Add(1)
	case 15: // changes that concern other things, and what should not have been sent
		m.apply(uint64(1 + g.IntN(100)))
		c.Skipped.Add(1)
		if err := m.live.Load().Apply(m.Context(), 1<<60, []index.Change{g.Flag(), {Entry: g.Entry(), Hidden: true}}); err == nil {
			m.Error("a hidden entry is accepted")
		}
		c.Refused.Add(1)
	}
	parts := m.live.Load().Snapshot().Segments()
	for p := range parts {
		if !m.parts[p] {
			m.count.Merged.Add(1)
		}
	}
	m.parts = parts
}

// apply tells the oracle before the index, so that readers find what they need.
func (m *machine) apply(ahead uint64, changes ...index.Change) {
	s := step{m.oracle.Snapshot().Seq() + ahead, changes}
	m.must(m.oracle.Apply(m.Context(), s.seq, changes))
	m.mu.Lock()
	m.at[s.seq] = m.oracle.Snapshot()
	m.order = append(m.order, s.seq)
	m.mu.Unlock()
	m.log = append(m.log, s)
	m.past = append(m.past, changes...)
	m.past = m.past[max(0, len(m.past)-2000):]
	m.must(m.live.Load().Apply(m.Context(), s.seq, changes))
}

// open goes on with what was saved, as after a restart.
func (m *machine) open() {
	o := index.SmallDeltas(64)
	o.Copied = m.gen.IntN(2) == 0
	x, mark, err := index.Open(m.dir, o)
	if err != nil {
		m.Errorf("open: %v", err)
		return
	}
	seq := m.saved.Swap(0)
	if want := (index.Mark{Log: "log", Root: fmt.Sprint(seq)}); mark != want || x.Snapshot().Seq() != seq {
		m.Errorf("opened %+v as of change %d, want %+v as of %d", mark, x.Snapshot().Seq(), want, seq)
	}
	m.live.Store(x)
	if o.Copied {
		m.count.Copied.Add(1)
	} else {
		m.count.Mapped.Add(1)
	}
	after := m.log[:0]
	for _, s := range m.log {
		if s.seq > seq {
			m.must(x.Apply(m.Context(), s.seq, s.changes))
			m.count.Again.Add(1)
			after = append(after, s)
		}
	}
	m.log, m.parts = after, x.Snapshot().Segments()
	m.mu.Lock()
	for len(m.order) > 0 && m.order[0] < seq {
		delete(m.at, m.order[0])
		m.order = m.order[1:]
	}
	m.mu.Unlock()
	m.count.Opened.Add(1)
}

func (m *machine) must(err error) {
	if err != nil {
		m.Error(err)
	}
}

// moment is a snapshot, and what it should be.
type moment struct {
	got   *index.Snapshot
	want  indextest.Snapshot
	index *index.Index
}

// now is the newest snapshot; false if it was replaced so fast that what it should be is forgotten.
func (m *machine) now() (moment, bool) {
	x := m.live.Load()
	s := x.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	want, ok := m.at[s.Seq()]
	return moment{s, want, x}, ok
}

// read compares snapshots with what they should be, new ones and some that it has held for long.
func (m *machine) read(g indextest.Gen, done chan struct{}) {
	quit := indextest.Goroutine{T: m.T}
	var held []moment
	for last := (moment{}); ; {
		select {
		case <-done:
			return
		default:
		}
		now, ok := m.now()
		if !ok {
			continue
		}
		if last.index == now.index && now.got.Seq() < last.got.Seq() {
			quit.Fatalf("went back from change %d to %d", last.got.Seq(), now.got.Seq())
		}
		last = now
		m.compare(quit, now, g)
		if len(held) < 6 {
			held = append(held, now)
			continue
		}
		i := g.IntN(len(held))
		m.compare(quit, held[i], g)
		m.count.Old.Add(1)
		if held[i].index != now.index {
			m.count.AcrossOpening.Add(1)
		}
		if g.IntN(10) == 0 {
			held[i] = now
		}
	}
}

func (m *machine) compare(t indextest.TB, at moment, g indextest.Gen) {
	n := 1 + g.IntN(5)
	m.count.Hits.Add(int64(indextest.Compare(t, at.got, at.want, g, n)))
	m.count.Compared.Add(int64(n))
	if at.got.Probed(g.Value(hashing.PDQ), 8) {
		m.count.Probed.Add(1)
	}
}
