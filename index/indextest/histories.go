package indextest

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"vigie/index"
)

// machine is an engine and an oracle with the same random history.
type machine struct {
	engine Engine
	oracle *Oracle
	seq    uint64
	past   []index.Change // all that was applied, in order
	held   []pair
}

// pair are snapshots of one moment.
type pair struct{ got, want Snapshot }

type rapidSource struct{ t *rapid.T }

func (s rapidSource) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(s.t, "choice") }

func newGen(t *rapid.T) Gen { return Gen{Source: rapidSource{t}, Entries: 30, Banks: 4} }

func runHistories(t *testing.T, newEngine func(*testing.T) Engine) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{engine: newEngine(t), oracle: NewOracle()}
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"flag":    func(t *rapid.T) { m.apply(t, 1, newGen(t).Flag()) },
			"retract": func(t *rapid.T) { m.apply(t, 1, newGen(t).Retract()) },
			"restore": m.restore,
			"bank":    func(t *rapid.T) { m.apply(t, 1, newGen(t).HideOrShow()) },
			"bulk":    m.bulk,
			"nothing": func(t *rapid.T) { m.apply(t, uint64(1+newGen(t).IntN(1000))) },
			"replay":  m.replay,
			"overlap": m.overlap,
			"refuse":  m.refuse,
			"search":  m.search,
			"hold":    m.hold,
			"look":    m.look,
		})
	})
}

func (m *machine) apply(t *rapid.T, ahead uint64, changes ...index.Change) {
	m.seq += ahead
	m.past = append(m.past, changes...)
	apply(t, m.engine, m.seq, changes)
	apply(t, m.oracle, m.seq, changes)
}

func (m *machine) check(t *rapid.T) { compareStats(t, m.engine.Snapshot(), m.oracle.Snapshot()) }

// restore gives an entry a state again that it, or another change of it, had before.
func (m *machine) restore(t *rapid.T) {
	if len(m.past) == 0 {
		t.Skip("nothing yet")
	}
	m.apply(t, 1, m.past[newGen(t).IntN(len(m.past))])
}

func (m *machine) bulk(t *rapid.T) {
	g := newGen(t)
	m.apply(t, uint64(1+g.IntN(50)), g.Changes(2+g.IntN(40))...)
}

// replay applies something under a number that was reached before.
func (m *machine) replay(t *rapid.T) {
	g := newGen(t)
	seq := m.seq - uint64(g.IntN(int(min(m.seq, 1000))+1))
	apply(t, m.engine, seq, g.Changes(1+g.IntN(3)))
}

// overlap applies a stretch of the log of which a part was applied before.
func (m *machine) overlap(t *rapid.T) {
	g := newGen(t)
	again := m.past[len(m.past)-g.IntN(min(len(m.past), 20)+1):]
	m.apply(t, 1, append(again[:len(again):len(again)], g.Changes(g.IntN(3))...)...)
}

// refuse applies a change that is invalid, among valid ones.
func (m *machine) refuse(t *rapid.T) {
	g := newGen(t)
	changes := append(g.Changes(g.IntN(3)), index.Change{Entry: g.Entry(), Hidden: true})
	wantInvalid(t, "a hidden entry", m.engine.Apply(t.Context(), m.seq+1, changes))
}

func (m *machine) search(t *rapid.T) {
	g := newGen(t)
	Compare(t, m.engine.Snapshot(), m.oracle.Snapshot(), g, g.IntN(12))
}

// hold keeps the snapshots of this moment, in place of older ones if there are many.
func (m *machine) hold(t *rapid.T) {
	p := pair{m.engine.Snapshot(), m.oracle.Snapshot()}
	if len(m.held) < 5 {
		m.held = append(m.held, p)
	} else {
		m.held[newGen(t).IntN(len(m.held))] = p
	}
}

// look asks a snapshot that was held while the index went on.
func (m *machine) look(t *rapid.T) {
	if len(m.held) == 0 {
		t.Skip("none held")
	}
	g := newGen(t)
	p := m.held[g.IntN(len(m.held))]
	Compare(t, p.got, p.want, g, 1+g.IntN(8))
}

// runCrowd has thousands of rows of every algorithm, in large and small batches.
func runCrowd(t *testing.T, e Engine) {
	g := Gen{Source: rand.New(rand.NewPCG(9, 9)), Entries: 6000, Banks: 6}
	oracle := NewOracle()
	var held []pair
	for i, n := range []int{5000, 1, 900, 30, 2, 3000, 1, 1, 300, 2000, 1, 64, 1} {
		changes := g.Changes(n)
		apply(t, e, uint64(i+1), changes)
		apply(t, oracle, uint64(i+1), changes)
		held = append(held, pair{e.Snapshot(), oracle.Snapshot()})
		for _, p := range held[max(0, i-3):] {
			Compare(t, p.got, p.want, g, 5)
		}
	}
}

// runConcurrent lets readers hold and ask snapshots while changes are applied. What they are to find
// at every number is known beforehand.
func runConcurrent(t *testing.T, e Engine) {
	const last, readers = 2000, 4
	g := Gen{Source: rand.New(rand.NewPCG(3, 4)), Entries: 100, Banks: 4}
	oracle := NewOracle()
	log := make([][]index.Change, last+1)
	at := []Snapshot{oracle.Snapshot()}
	for seq := 1; seq <= last; seq++ {
		log[seq] = g.Changes(g.IntN(4))
		apply(t, oracle, uint64(seq), log[seq])
		at = append(at, oracle.Snapshot())
	}

	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			quit := Goroutine{t}
			g := Gen{Source: rand.New(rand.NewPCG(5, uint64(i))), Entries: 100, Banks: 4}
			held := []Snapshot{e.Snapshot()}
			for !t.Failed() {
				s := e.Snapshot()
				if s.Seq() < held[len(held)-1].Seq() {
					t.Errorf("seq went back from %d to %d", held[len(held)-1].Seq(), s.Seq())
					return
				}
				held = append(held[max(0, len(held)-8):], s)
				old := held[g.IntN(len(held))]
				Compare(quit, old, at[old.Seq()], g, 1+g.IntN(3))
				if s.Seq() == last {
					return
				}
			}
		})
	}
	// Two appliers follow the same log: every step is applied twice, or ignored.
	for range 2 {
		wg.Go(func() {
			for seq := 1; seq <= last && !t.Failed(); seq++ {
				if err := e.Apply(t.Context(), uint64(seq), log[seq]); err != nil {
					t.Errorf("Apply: %v", err)
				}
			}
		})
	}
	wg.Wait()
	compareStats(t, e.Snapshot(), at[last])
}

// Goroutine fails a test from a goroutine other than the test's own, and ends that goroutine.
type Goroutine struct{ *testing.T }

// Fatalf is [testing.T.Errorf], and ends the goroutine that calls it.
func (g Goroutine) Fatalf(format string, args ...any) {
	g.Helper()
	g.Errorf(format, args...)
	runtime.Goexit()
}
