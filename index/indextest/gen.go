package indextest

import (
	"cmp"
	"math"
	"math/rand/v2"

	"vigie/hashing"
	"vigie/index"
)

// Source is where a [Gen] gets its choices: a *rand.Rand, or a property test that wants to shrink them.
type Source interface {
	IntN(n int) int // in [0, n)
}

// Gen draws signals, changes and queries of a small crowded world, where everything meets: few
// entries in few banks, and values near a handful of centres that all algorithms share. Many values
// are equal, others differ by up to 40 bits; all zeros and all ones are among them.
type Gen struct {
	Source
	Entries int // how many different entries there are; some of them have numbers at the far end
	Banks   int // how many banks
	Centres int // how many centres; 0 is 4, at most 1000
}

// centres are random values: about 128 bits from each other.
var centres = func() (c [1000]hashing.Value) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range c {
		c[i] = uniform(rng)
	}
	return c
}()

func uniform(rng *rand.Rand) hashing.Value {
	return hashing.Value{rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()}
}

// clip clears the bits that the algorithm does not have.
func clip(a hashing.Algorithm, v hashing.Value) hashing.Value {
	for i := a.Bits() / 64; i < len(v); i++ {
		v[i] = 0
	}
	return v
}

// flip inverts n random bits of the first width; one may be hit twice.
func flip(src Source, v hashing.Value, width, n int) hashing.Value {
	for range n {
		bit := src.IntN(width)
		v[bit/64] ^= 1 << (63 - bit%64)
	}
	return v
}

// pick draws one of the choices.
func pick[T any](src Source, choices ...T) T { return choices[src.IntN(len(choices))] }

// Algorithm draws an algorithm, PDQ more often than others.
func (g Gen) Algorithm() hashing.Algorithm {
	return pick(g, append(hashing.Algorithms(), hashing.PDQ, hashing.PDQ)...)
}

// Value draws a value of the algorithm.
func (g Gen) Value(a hashing.Algorithm) hashing.Value {
	var v hashing.Value
	n := cmp.Or(g.Centres, 4)
	switch i := g.IntN(n + 2); i {
	case n: // all zeros
	case n + 1:
		v = hashing.Value{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
	default:
		v = centres[i]
	}
	flips := pick(g, 0, 0, 0, 1, g.IntN(41))
	if a.Exact() {
		flips = min(flips, 1)
	}
	return flip(g, clip(a, v), a.Bits(), flips)
}

// Signal draws a signal.
func (g Gen) Signal() hashing.Signal {
	a := g.Algorithm()
	s := hashing.Signal{Algorithm: a, Version: a.Version(), Quality: hashing.MaxQuality, Value: g.Value(a)}
	if !a.Exact() {
		s.Variant = pick(g, hashing.Plain, hashing.Plain, hashing.CLI, hashing.White, hashing.Trimmed, hashing.Framed)
		s.Time = pick(g, uint32(0), 0, 0, 1, 1000, math.MaxUint32)
	}
	return s
}

// Bank draws one of the banks, 0 among them.
func (g Gen) Bank() index.BankID { return index.BankID(g.IntN(g.Banks)) }

// Entry draws the number of an entry, never 0.
func (g Gen) Entry() index.EntryID {
	i := index.EntryID(g.IntN(g.Entries))
	if i%7 == 6 {
		return math.MaxUint64 - i
	}
	return i + 1
}

// Flag draws a state of an entry with one signal or more: new, or in place of another, maybe in another bank.
func (g Gen) Flag() index.Change {
	c := index.Change{Entry: g.Entry(), Bank: g.Bank()}
	for range 1 + pick(g, 0, 0, 1, 2, 6) {
		c.Signals = append(c.Signals, g.Signal())
	}
	return c
}

// Retract draws an entry that is to stop matching, whether it ever matched or not.
func (g Gen) Retract() index.Change { return index.Change{Entry: g.Entry(), Bank: g.Bank()} }

// HideOrShow draws a bank's visibility.
func (g Gen) HideOrShow() index.Change {
	return index.Change{Bank: g.Bank(), Hidden: pick(g, false, true)}
}

// Changes draws n changes of all kinds, some of the same entry or bank.
func (g Gen) Changes(n int) []index.Change {
	changes := make([]index.Change, n)
	for i := range changes {
		switch g.IntN(12) {
		default:
			changes[i] = g.Flag()
		case 9, 10:
			changes[i] = g.Retract()
		case 11:
			changes[i] = g.HideOrShow()
		}
	}
	return changes
}

// Query draws a query with or without a radius for each bank, with or without a limit, by any method.
func (g Gen) Query() index.Query {
	a := g.Algorithm()
	q := index.Query{
		Algorithm: a, Value: g.Value(a), Radius: g.radius(), Limit: pick(g, 0, 0, 1, 2, 3, 10, math.MaxInt),
		Method: pick(g, index.Auto, index.Auto, index.Flat, index.Brute),
	}
	if g.IntN(3) == 0 {
		q.Banks = map[index.BankID]int{}
		for range g.IntN(g.Banks + 1) {
			q.Banks[g.Bank()] = g.radius()
		}
	}
	return q
}

// Queries draws n queries.
func (g Gen) Queries(n int) []index.Query {
	queries := make([]index.Query, n)
	for i := range queries {
		queries[i] = g.Query()
	}
	return queries
}

func (g Gen) radius() int {
	return pick(g, 31, 0, 1, 8, 10, 15, 20, 30, 32, 40, 47, 63, 64, 100, 128, 255, 256, 1000, -1)
}

// Catalogue makes n entries, numbered from 1, that look like a real catalogue to a search: one PDQ
// signal each, in 8 banks; uniform values (which is what PDQ gives for photographs), one in twenty
// in clusters of up to 50 near-duplicates within 24 bits. The same seed gives the same entries.
func Catalogue(n int, seed uint64) []index.Change {
	rng := rand.New(rand.NewPCG(seed, 0))
	changes := make([]index.Change, n)
	signals := make([]hashing.Signal, n)
	var centre hashing.Value
	copies := 0
	for i := range changes {
		v := uniform(rng)
		switch {
		case copies > 0:
			v = flip(rng, centre, 256, rng.IntN(25))
			copies--
		case rng.IntN(1000) == 0:
			centre, copies = v, rng.IntN(101)
		}
		signals[i] = hashing.Signal{Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: hashing.MaxQuality, Value: v}
		changes[i] = index.Change{Entry: index.EntryID(i + 1), Bank: index.BankID(rng.IntN(8)), Signals: signals[i : i+1 : i+1]}
	}
	return changes
}

// Queries makes n PDQ queries of the given radius: values near entries of the catalogue (within 24
// bits) for the given share of them, others uniform.
func Queries(n int, seed uint64, radius int, catalogue []index.Change, hits float64) []index.Query {
	rng := rand.New(rand.NewPCG(seed, 1))
	queries := make([]index.Query, n)
	for i := range queries {
		v := uniform(rng)
		if rng.Float64() < hits {
			v = flip(rng, catalogue[rng.IntN(len(catalogue))].Signals[0].Value, 256, rng.IntN(25))
		}
		queries[i] = index.Query{Algorithm: hashing.PDQ, Value: v, Radius: radius}
	}
	return queries
}
