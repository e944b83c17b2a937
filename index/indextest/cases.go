package indextest

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/index"
)

// near is a centre with the first n bits flipped.
func near(centre, n int) hashing.Value {
	v := centres[centre]
	for bit := range n {
		v[bit/64] ^= 1 << (63 - bit%64)
	}
	return v
}

var (
	zeros hashing.Value
	ones  = hashing.Value{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
)

func signal(a hashing.Algorithm, v hashing.Value) hashing.Signal {
	return hashing.Signal{Algorithm: a, Version: a.Version(), Quality: hashing.MaxQuality, Value: clip(a, v)}
}

func pdq(v hashing.Value) hashing.Signal { return signal(hashing.PDQ, v) }

func entry(e index.EntryID, b index.BankID, signals ...hashing.Signal) index.Change {
	return index.Change{Entry: e, Bank: b, Signals: signals}
}

// equals are n entries from 1 in bank 1 that all have the same signal.
func equals(n int, s hashing.Signal) []index.Change {
	changes := make([]index.Change, n)
	for i := range changes {
		changes[i] = entry(index.EntryID(i+1), 1, s)
	}
	return changes
}

// hits are entries 1 to n of bank 1, all at distance d.
func hits(n, d int) []index.Hit {
	h := make([]index.Hit, n)
	for i := range h {
		h[i] = index.Hit{Entry: index.EntryID(i + 1), Bank: 1, Distance: d}
	}
	return h
}

func ask(a hashing.Algorithm, v hashing.Value, radius int) index.Query {
	return index.Query{Algorithm: a, Value: clip(a, v), Radius: radius}
}

func limited(q index.Query, limit int) index.Query { q.Limit = limit; return q }

func inBanks(q index.Query, banks map[index.BankID]int) index.Query { q.Banks = banks; return q }

func complete(h ...index.Hit) index.Result { return index.Result{Hits: h, Total: len(h)} }

func runCases(t *testing.T, newEngine func(*testing.T) Engine) {
	cli := pdq(near(0, 3))
	cli.Variant = hashing.CLI
	pair := []index.Change{entry(1, 1, pdq(near(0, 0))), entry(2, 2, pdq(near(0, 10)))}
	first := index.Hit{Entry: 1, Bank: 1}
	second := index.Hit{Entry: 2, Bank: 2, Distance: 10}
	hideFirst, showFirst := index.Change{Bank: 1, Hidden: true}, index.Change{Bank: 1}

	for _, c := range []struct {
		name  string
		steps [][]index.Change // one Apply each, from seq 1
		query index.Query
		want  index.Result
	}{
		{"empty", nil, ask(hashing.PDQ, zeros, 256), complete()},
		{"empty, nothing applied", [][]index.Change{nil}, ask(hashing.PHash, ones, 64), complete()},
		{"one row, equal", [][]index.Change{equals(1, pdq(near(0, 0)))}, ask(hashing.PDQ, near(0, 0), 0), complete(hits(1, 0)...)},
		{"one row, at the radius", [][]index.Change{equals(1, pdq(near(0, 31)))}, ask(hashing.PDQ, near(0, 0), 31), complete(hits(1, 31)...)},
		{"one row, beyond the radius", [][]index.Change{equals(1, pdq(near(0, 32)))}, ask(hashing.PDQ, near(0, 0), 31), complete()},
		{"two equal rows", [][]index.Change{equals(2, pdq(near(0, 0)))}, ask(hashing.PDQ, near(0, 0), 31), complete(hits(2, 0)...)},
		{"four equal rows", [][]index.Change{equals(4, pdq(near(0, 5)))}, ask(hashing.PDQ, near(0, 0), 31), complete(hits(4, 5)...)},
		{"sixteen equal rows", [][]index.Change{equals(16, pdq(near(0, 0)))}, ask(hashing.PDQ, near(0, 0), 0), complete(hits(16, 0)...)},
		{"five thousand equal rows", [][]index.Change{equals(5000, pdq(zeros))}, ask(hashing.PDQ, near(0, 0), 256), complete(hits(5000, zeros.Distance(near(0, 0)))...)},
		{"equal rows of one entry", [][]index.Change{{entry(1, 1, pdq(ones), pdq(ones))}}, ask(hashing.PDQ, ones, 0), complete(hits(1, 0)[0], hits(1, 0)[0])},

		{"all zeros", [][]index.Change{equals(2, pdq(zeros))}, ask(hashing.PDQ, zeros, 0), complete(hits(2, 0)...)},
		{"all ones", [][]index.Change{equals(2, pdq(ones))}, ask(hashing.PDQ, ones, 31), complete(hits(2, 0)...)},
		{"zeros from ones, 255", [][]index.Change{equals(2, pdq(zeros))}, ask(hashing.PDQ, ones, 255), complete()},
		{"zeros from ones, 256", [][]index.Change{equals(2, pdq(zeros))}, ask(hashing.PDQ, ones, 256), complete(hits(2, 256)...)},
		{"zeros from ones, 64 bits", [][]index.Change{equals(2, signal(hashing.DHash, zeros))}, ask(hashing.DHash, ones, 64), complete(hits(2, 64)...)},
		{"more than all bits", [][]index.Change{pair}, ask(hashing.PDQ, near(0, 0), math.MaxInt), complete(first, second)},
		{"negative radius", [][]index.Change{pair}, ask(hashing.PDQ, near(0, 0), -1), complete()},
		{"64 bits, at the radius", [][]index.Change{equals(3, signal(hashing.PHash, near(1, 10)))}, ask(hashing.PHash, near(1, 0), 10), complete(hits(3, 10)...)},
		{"64 bits, beyond the radius", [][]index.Change{equals(3, signal(hashing.PHash, near(1, 10)))}, ask(hashing.PHash, near(1, 0), 9), complete()},
		{"another algorithm", [][]index.Change{equals(3, signal(hashing.PHash, zeros))}, ask(hashing.AHash, zeros, 64), complete()},

		{
			"a SHA-256 among equal PDQ",
			[][]index.Change{append(equals(8, pdq(zeros)), entry(9, 1, signal(hashing.SHA256, zeros)))},
			ask(hashing.SHA256, zeros, 31), complete(index.Hit{Entry: 9, Bank: 1}),
		},
		{
			"a PDQ among equal SHA-256",
			[][]index.Change{append(equals(8, signal(hashing.SHA256, zeros)), entry(9, 1, pdq(zeros)))},
			ask(hashing.PDQ, zeros, 31), complete(index.Hit{Entry: 9, Bank: 1}),
		},
		{"equal digests", [][]index.Change{equals(20, signal(hashing.MD5, near(2, 0)))}, ask(hashing.MD5, near(2, 0), 0), complete(hits(20, 0)...)},
		{"a digest one bit off", [][]index.Change{equals(20, signal(hashing.SHA256, near(2, 1)))}, ask(hashing.SHA256, near(2, 0), 256), complete()},
		{"a digest, negative radius", [][]index.Change{equals(1, signal(hashing.SHA256, zeros))}, ask(hashing.SHA256, zeros, -1), complete()},
		{
			"a digest, negative radius in its bank",
			[][]index.Change{equals(1, signal(hashing.SHA256, zeros))},
			inBanks(ask(hashing.SHA256, zeros, 0), map[index.BankID]int{1: -1, 2: 5}), complete(),
		},

		{
			"order: distance, entry, variant",
			[][]index.Change{{entry(7, 1, cli, pdq(near(0, 3))), entry(3, 2, pdq(near(0, 3))), entry(9, 1, pdq(near(0, 1)))}},
			ask(hashing.PDQ, near(0, 0), 31),
			complete(index.Hit{Entry: 9, Bank: 1, Distance: 1}, index.Hit{Entry: 3, Bank: 2, Distance: 3},
				index.Hit{Entry: 7, Bank: 1, Distance: 3}, index.Hit{Entry: 7, Bank: 1, Distance: 3, Variant: hashing.CLI}),
		},
		{"limit among equals", [][]index.Change{equals(16, pdq(zeros))}, limited(ask(hashing.PDQ, zeros, 0), 5), index.Result{Hits: hits(5, 0), Total: 16}},
		{"limit takes the nearest", [][]index.Change{{pair[1]}, {pair[0]}}, limited(ask(hashing.PDQ, near(0, 0), 31), 1), index.Result{Hits: []index.Hit{first}, Total: 2}},
		{"negative limit", [][]index.Change{equals(16, pdq(zeros))}, limited(ask(hashing.PDQ, zeros, 0), -1), complete(hits(16, 0)...)},

		{"banks: one", [][]index.Change{pair}, inBanks(ask(hashing.PDQ, near(0, 0), 0), map[index.BankID]int{2: 10}), complete(second)},
		{"banks: radius each", [][]index.Change{pair}, inBanks(ask(hashing.PDQ, near(0, 0), 31), map[index.BankID]int{1: 0, 2: 9}), complete(first)},
		{"banks: negative", [][]index.Change{pair}, inBanks(ask(hashing.PDQ, near(0, 0), 31), map[index.BankID]int{1: -1, 2: 31}), complete(second)},
		{"banks: none", [][]index.Change{pair}, inBanks(ask(hashing.PDQ, near(0, 0), 31), map[index.BankID]int{}), complete()},
		{"banks before limit", [][]index.Change{pair}, limited(inBanks(ask(hashing.PDQ, near(0, 0), 31), map[index.BankID]int{2: 31}), 1), complete(second)},

		{"retracted", [][]index.Change{pair, {entry(1, 1)}}, ask(hashing.PDQ, near(0, 0), 31), complete(second)},
		{"retracted and restored", [][]index.Change{pair, {entry(1, 1)}, {pair[0]}}, ask(hashing.PDQ, near(0, 0), 31), complete(first, second)},
		{"retracted and restored at once", [][]index.Change{pair, {entry(1, 1), pair[0]}}, ask(hashing.PDQ, near(0, 0), 31), complete(first, second)},
		{
			"replaced",
			[][]index.Change{pair, {entry(1, 3, pdq(near(0, 4)))}},
			ask(hashing.PDQ, near(0, 0), 31),
			complete(index.Hit{Entry: 1, Bank: 3, Distance: 4}, second),
		},
		{
			"the last of several states",
			[][]index.Change{{entry(1, 1, pdq(zeros)), entry(1, 1, pdq(ones)), entry(1, 1, pdq(near(0, 0)))}},
			ask(hashing.PDQ, zeros, 256), complete(index.Hit{Entry: 1, Bank: 1, Distance: zeros.Distance(near(0, 0))}),
		},

		{"hidden", [][]index.Change{pair, {hideFirst}}, ask(hashing.PDQ, near(0, 0), 31), complete(second)},
		{"hidden, asked for", [][]index.Change{pair, {hideFirst}}, inBanks(ask(hashing.PDQ, near(0, 0), 31), map[index.BankID]int{1: 31}), complete()},
		{"hidden before it had entries", [][]index.Change{{hideFirst}, pair}, ask(hashing.PDQ, near(0, 0), 31), complete(second)},
		{"hidden, digest", [][]index.Change{equals(2, signal(hashing.MD5, ones)), {hideFirst}}, ask(hashing.MD5, ones, 0), complete()},
		{"hidden and shown", [][]index.Change{pair, {hideFirst}, {showFirst}}, ask(hashing.PDQ, near(0, 0), 31), complete(first, second)},
		{
			"replaced while hidden",
			[][]index.Change{pair, {hideFirst}, {entry(1, 1, pdq(near(0, 2)))}, {showFirst}},
			ask(hashing.PDQ, near(0, 0), 5), complete(index.Hit{Entry: 1, Bank: 1, Distance: 2}),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, oracle := newEngine(t), NewOracle()
			for i, changes := range c.steps {
				apply(t, e, uint64(i+1), changes)
				apply(t, oracle, uint64(i+1), changes)
			}
			if diff := cmp.Diff(c.want, search(t, e.Snapshot(), c.query)); diff != "" {
				t.Errorf("Search: (-want +got)\n%s", diff)
			}
			CompareQueries(t, e.Snapshot(), oracle.Snapshot(), []index.Query{c.query, c.query})
			compareStats(t, e.Snapshot(), oracle.Snapshot())
		})
	}
}

func runRefusals(t *testing.T, e Engine) {
	oracle := NewOracle()
	good := entry(1, 1, pdq(zeros))
	apply(t, e, 5, []index.Change{good})
	apply(t, oracle, 5, []index.Change{good})

	for name, bad := range map[string]index.Change{
		"signals without an entry": {Bank: 1, Signals: []hashing.Signal{pdq(zeros)}},
		"a hidden entry":           {Entry: 2, Bank: 1, Hidden: true},
		"no algorithm":             entry(2, 1, hashing.Signal{}),
		"an unknown algorithm":     entry(2, 1, hashing.Signal{Algorithm: 99}),
		"a value too wide":         entry(2, 1, hashing.Signal{Algorithm: hashing.PHash, Value: hashing.Value{1, 0, 0, 1}}),
		"a digest too wide":        entry(2, 1, pdq(ones), hashing.Signal{Algorithm: hashing.MD5, Value: ones}),
	} {
		wantInvalid(t, name, e.Apply(t.Context(), 6, []index.Change{entry(3, 1, pdq(zeros)), bad}))
	}
	for name, bad := range map[string]index.Query{
		"no algorithm":         {},
		"an unknown algorithm": {Algorithm: 200},
		"a value too wide":     {Algorithm: hashing.AHash, Value: ones},
		"a digest too wide":    {Algorithm: hashing.MD5, Value: ones},
	} {
		_, err := e.Snapshot().Search(t.Context(), bad)
		wantInvalid(t, name, err)
		_, err = e.Snapshot().SearchMany(t.Context(), []index.Query{ask(hashing.PDQ, zeros, 0), bad})
		wantInvalid(t, name, err)
	}

	// A number that was reached is ignored.
	apply(t, e, 5, []index.Change{entry(1, 1)})
	apply(t, e, 4, []index.Change{entry(4, 1, pdq(zeros))})
	apply(t, e, 0, []index.Change{entry(4, 1, pdq(zeros))})

	compareStats(t, e.Snapshot(), oracle.Snapshot())
	CompareQueries(t, e.Snapshot(), oracle.Snapshot(), []index.Query{ask(hashing.PDQ, zeros, 256)})
}

func runCancelled(t *testing.T, e Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	oracle := NewOracle()
	for seq, changes := range [][]index.Change{equals(3, pdq(zeros)), equals(5, signal(hashing.MD5, zeros))} {
		apply(t, e, uint64(seq+1), changes)
		apply(t, oracle, uint64(seq+1), changes)
	}
	if err := e.Apply(ctx, 9, []index.Change{entry(9, 1, pdq(zeros))}); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: error %v, want context.Canceled", err)
	}
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.MD5} {
		q := ask(a, zeros, 31)
		if _, err := e.Snapshot().Search(ctx, q); !errors.Is(err, context.Canceled) {
			t.Errorf("Search: error %v, want context.Canceled", err)
		}
		if _, err := e.Snapshot().SearchMany(ctx, []index.Query{q, q}); !errors.Is(err, context.Canceled) {
			t.Errorf("SearchMany: error %v, want context.Canceled", err)
		}
	}
	compareStats(t, e.Snapshot(), oracle.Snapshot())
}
