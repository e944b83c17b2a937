package index_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math/big"
	"math/rand/v2"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// written is the digest by its documentation, computed by other means.
func written(entries map[index.EntryID]index.Change, hidden map[index.BankID]bool) string {
	sum := new(big.Int)
	add := func(b []byte) {
		h := sha256.Sum256(b)
		sum.Add(sum, new(big.Int).SetBytes(h[:]))
	}
	for _, c := range entries {
		for _, s := range c.Signals {
			b := binary.BigEndian.AppendUint32(nil, uint32(c.Bank))
			b = binary.BigEndian.AppendUint64(b, uint64(c.Entry))
			b = append(b, byte(s.Algorithm), byte(s.Variant))
			b = binary.BigEndian.AppendUint32(b, s.Time)
			add(append(b, s.Value.Bytes(32)...))
		}
	}
	for bank := range hidden {
		add(append(binary.BigEndian.AppendUint32(nil, uint32(bank)), make([]byte, 46)...))
	}
	return fmt.Sprintf("%064x", sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256)))
}

// TestDigest lives through a random history with merges, saves and loads: what is kept, what lies in memory and what the
// documentation says are the same at each step.
func TestDigest(t *testing.T) {
	t.Parallel()
	g := indextest.Gen{Source: rand.New(rand.NewPCG(1, 2)), Entries: 400, Banks: 5, Centres: 50}
	x, dir, seq := index.New(index.SmallDeltas(64)), t.TempDir(), uint64(0)
	entries, hidden := map[index.EntryID]index.Change{}, map[index.BankID]bool{}
	check := func(what string, x *index.Index) {
		t.Helper()
		s := x.Snapshot()
		counted, err := s.Digest(t.Context())
		if want := written(entries, hidden); err != nil || s.Kept().String() != want || counted.String() != want {
			t.Fatalf("%s, %d: kept %s, counted %s, %v; want %s", what, s.Seq(), s.Kept(), counted, err, want)
		}
	}
	check("empty", x)
	for round := range 60 {
		changes := g.Changes(1 + g.IntN(60))
		if round%7 == 0 {
			changes = append(changes, changes...) // each twice
		}
		for _, c := range changes {
			switch {
			case c.Entry != 0:
				entries[c.Entry] = c
			case c.Hidden:
				hidden[c.Bank] = true
			default:
				delete(hidden, c.Bank)
			}
		}
		seq++
		noError(t, x.Apply(t.Context(), seq, changes))
		check("applied", x)
		switch round % 6 {
		case 1:
			noError(t, x.Settle(t.Context()))
			check("merged", x)
		case 3:
			_, err := x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil })
			noError(t, err)
			x, _, err = index.Open(dir, index.SmallDeltas(64))
			noError(t, err)
			check("opened", x)
		case 5:
			all := state(entries, hidden)
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			fresh := index.New(index.SmallDeltas([]int{64, 1 << 20}[round/6%2]))
			noError(t, fresh.Load(t.Context(), seq, each(all)))
			check("loaded", fresh)
			var sum index.Digest
			for _, c := range all {
				sum.Add(c)
			}
			if sum != fresh.Snapshot().Kept() {
				t.Fatalf("added up: %s", sum)
			}
		}
	}
	back, err := index.ParseDigest(x.Snapshot().Kept().String())
	if err != nil || back != x.Snapshot().Kept() {
		t.Errorf("%s is read as %s, %v", x.Snapshot().Kept(), back, err)
	}
	for _, bad := range []string{"", "ab", back.String() + "00", "x" + back.String()[1:]} {
		if _, err := index.ParseDigest(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestDigestShowsDoubles: a row that is there twice is not none.
func TestDigestShowsDoubles(t *testing.T) {
	t.Parallel()
	s := hashing.Signal{Algorithm: hashing.PDQ, Value: hashing.Value{1}}
	var none, one, two index.Digest
	one.Add(index.Change{Entry: 1, Bank: 1, Signals: []hashing.Signal{s}})
	two.Add(index.Change{Entry: 1, Bank: 1, Signals: []hashing.Signal{s, s}})
	if none == one || one == two || two == none {
		t.Errorf("%s, %s, %s", none, one, two)
	}
}

// TestReplace puts another state into an index that is in use, while it merges; then drops all.
func TestReplace(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		x := index.New(index.SmallDeltas(16))
		g := indextest.Gen{Source: rand.New(rand.NewPCG(3, uint64(round))), Entries: 300, Banks: 3, Centres: 50}
		for seq := range uint64(40) {
			noError(t, x.Apply(t.Context(), 100+seq, g.Changes(30)))
		}
		old := x.Snapshot()
		kept := old.Kept()
		other := []index.Change{{Entry: 7, Bank: 1, Signals: []hashing.Signal{{Algorithm: hashing.PDQ, Value: hashing.Value{7}}}}}
		failed := func(yield func(index.Change, error) bool) {
			yield(other[0], fmt.Errorf("%w: the source", index.ErrInvalid))
		}
		if err := x.Replace(t.Context(), 5, failed); err == nil || x.Snapshot().Kept() != kept {
			t.Fatalf("a failure, %v, has left %s", err, x.Snapshot().Kept())
		}
		noError(t, x.Replace(t.Context(), 5, each(other))) // earlier than what it was at
		noError(t, x.Settle(t.Context()))
		s := x.Snapshot()
		if counted, err := s.Digest(t.Context()); err != nil || s.Seq() != 5 || s.Stats().Entries != 1 || counted != s.Kept() {
			t.Fatalf("replaced: %+v, %v", s.Stats(), err)
		}
		if counted, err := old.Digest(t.Context()); err != nil || counted != kept {
			t.Fatalf("a snapshot of before has changed: %v", err)
		}
		noError(t, x.Apply(t.Context(), 6, g.Changes(100)))
		x.Drop()
		noError(t, x.Settle(t.Context()))
		if s := x.Snapshot(); s.Seq() != 0 || s.Stats().Entries != 0 || s.Kept() != (index.Digest{}) {
			t.Fatalf("dropped: %+v", s.Stats())
		}
		noError(t, x.Load(t.Context(), 9, each(other)))
	}
}

func state(entries map[index.EntryID]index.Change, hidden map[index.BankID]bool) (all []index.Change) {
	for _, c := range entries {
		all = append(all, c)
	}
	for b := range hidden {
		all = append(all, index.Change{Bank: b, Hidden: true})
	}
	return all
}

func each(all []index.Change) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// BenchmarkDigest computes the digest of a million rows; ns/row is what each change pays for its rows, too.
func BenchmarkDigest(b *testing.B) {
	x := index.New(index.Options{})
	all := indextest.Catalogue(1_000_000, 1)
	if err := x.Load(b.Context(), 1, each(all)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := x.Snapshot().Digest(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/row")
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
