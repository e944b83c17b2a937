package indextest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"vigie/hashing"
	"vigie/index"
)

// Special is a case at the edge of what there is: what an index holds, and what it is to find. The answers follow from how
// the rows were made; nothing was searched for them.
type Special struct {
	Name      string
	Changes   []index.Change // one after the other, or all at once
	Questions []Question
}

// Question is a query and all hits within its radius, in order, those that its limit cuts off included.
type Question struct {
	Name  string
	Query index.Query
	Want  []index.Hit
}

// Cut is what of the answer the query's limit leaves.
func (q Question) Cut() []index.Hit {
	if q.Query.Limit > 0 {
		return q.Want[:min(q.Query.Limit, len(q.Want))]
	}
	return q.Want
}

// Ask asks a snapshot by every method, alone, with others and as a join, and returns what it answered otherwise.
func (q Question) Ask(ctx context.Context, s Snapshot) error {
	want := index.Result{Hits: q.Cut(), Total: len(q.Want)}
	wrong := func(way string, got index.Result) error {
		if got.Total == want.Total && slices.Equal(got.Hits, want.Hits) {
			return nil
		}
		return fmt.Errorf("%s: %d hits of %d, want %d of %d in order", way, len(got.Hits), got.Total, len(want.Hits), want.Total)
	}
	var all []index.Query
	for _, m := range []index.Method{index.Auto, index.Flat, index.Brute} {
		query := q.Query
		query.Method = m
		got, err := s.Search(ctx, query)
		if err == nil {
			err = wrong([]string{"Auto", "Flat", "Brute"}[m], got)
		}
		if err != nil {
			return err
		}
		all = append(all, query)
	}
	many, err := s.SearchMany(ctx, all)
	if err != nil {
		return err
	}
	for _, got := range many {
		if err := wrong("SearchMany", got); err != nil {
			return err
		}
	}
	var joined []index.Hit
	err = s.Join(ctx, q.Query, []hashing.Value{q.Query.Value}, func(_ int, h index.Hit) error {
		joined = append(joined, h)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(joined, compareHits)
	want.Hits = q.Want // a join has no limit
	return wrong("Join", index.Result{Hits: joined, Total: len(joined)})
}

// Specials are all special cases. The large cluster has so many near-duplicates.
func Specials(cluster int) []Special {
	all := []Special{specialCluster(cluster), specialBank()}
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash, hashing.SHA256} {
		for _, n := range []int{1, 2, 4} {
			c := Special{Name: fmt.Sprintf("%d equal, %s", n, a), Changes: equals(n, signal(a, near(0, 0)))}
			for _, radius := range []int{-1, 0, 31, a.Bits()} {
				var want []index.Hit
				if radius >= 0 {
					want = hits(n, 0)
				}
				c.Questions = append(c.Questions, question("equal", ask(a, near(0, 0), radius), want))
			}
			c.Questions = append(c.Questions, question("equal", limited(ask(a, near(0, 0), 0), 1), hits(n, 0)))
			all = append(all, c)
		}
	}
	var nothing []Question
	for _, a := range hashing.Algorithms() {
		for _, radius := range []int{0, 256} {
			nothing = append(nothing, question(a.String(), ask(a, zeros, radius), nil))
		}
	}
	some := equals(4, pdq(zeros))
	return append(all,
		Special{"empty", nil, nothing},
		Special{"all retracted", append(some, entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)), nothing},
		Special{"all hidden", append(some[:4:4], index.Change{Bank: 1, Hidden: true}), nothing},
		specialEnds(hashing.PDQ), specialEnds(hashing.DHash),
		specialRadii(hashing.PDQ), specialRadii(hashing.AHash),
	)
}

func question(name string, q index.Query, want []index.Hit) Question {
	name = fmt.Sprintf("%s, radius %d", name, q.Radius)
	if q.Limit > 0 {
		name += fmt.Sprintf(", limit %d", q.Limit)
	}
	return Question{name, q, want}
}

// specialCluster has n near-duplicates of one picture, entry e at distance e%21, and a thousand of another one.
func specialCluster(n int) Special {
	c := Special{Name: fmt.Sprintf("%d near-duplicates", n)}
	within := func(radius int) (h []index.Hit) {
		for d := 0; d <= min(radius, 20); d++ {
			for e := (d + 20) % 21; e < n; e += 21 {
				h = append(h, index.Hit{Entry: index.EntryID(e + 1), Bank: index.BankID(e % 3), Distance: d})
			}
		}
		return h
	}
	for i := range n {
		c.Changes = append(c.Changes, entry(index.EntryID(i+1), index.BankID(i%3), pdq(near(0, (i+1)%21))))
	}
	for i := range 1000 {
		c.Changes = append(c.Changes, entry(index.EntryID(n+i+1), 1, pdq(near(1, i%21))))
	}
	for _, radius := range []int{0, 7, 20, 31} {
		c.Questions = append(c.Questions, question("its centre", ask(hashing.PDQ, near(0, 0), radius), within(radius)))
	}
	for _, limit := range []int{1, 1000, n - 1, n, n + 1} {
		c.Questions = append(c.Questions, question("its centre", limited(ask(hashing.PDQ, near(0, 0), 31), limit), within(31)))
	}
	return c
}

// specialBank has one hash in a bank, beside a thousand nearer ones in another.
func specialBank() Special {
	only := index.Hit{Entry: 5000, Bank: 7, Distance: 3}
	c := Special{Name: "a bank of one hash", Changes: append(equals(1000, pdq(near(0, 0))), entry(only.Entry, only.Bank, pdq(near(0, 3))))}
	for _, radius := range []int{-1, 0, 2, 3, 31, 256} {
		var want []index.Hit
		if radius >= 3 {
			want = []index.Hit{only}
		}
		q := inBanks(ask(hashing.PDQ, near(0, 0), radius), map[index.BankID]int{7: radius})
		c.Questions = append(c.Questions, question("that bank", q, want), question("that bank", limited(q, 1), want))
	}
	return c
}

// specialEnds has all zeros and all ones, twice each, as rows and as queries.
func specialEnds(a hashing.Algorithm) Special {
	changes := equals(4, signal(a, zeros))
	changes[2].Signals, changes[3].Signals = []hashing.Signal{signal(a, ones)}, []hashing.Signal{signal(a, ones)}
	c := Special{Name: fmt.Sprintf("all zeros and all ones, %s", a), Changes: changes}
	all := a.Bits()
	for i, v := range []hashing.Value{zeros, ones} {
		for _, radius := range []int{-1, 0, 1, all - 1, all, all + 1, math.MaxInt} {
			near, far := hits(4, 0)[2*i:2*i+2], hits(4, all)[2-2*i:4-2*i]
			var want []index.Hit
			if radius >= 0 {
				want = near
			}
			if radius >= all {
				want = append(want[:2:2], far...)
			}
			c.Questions = append(c.Questions, question([]string{"zeros", "ones"}[i], ask(a, v, radius), want))
		}
	}
	return c
}

// specialRadii has a row at each distance from a query.
func specialRadii(a hashing.Algorithm) Special {
	c := Special{Name: fmt.Sprintf("a row at every distance, %s", a)}
	var all []index.Hit
	for d := range a.Bits() + 1 {
		c.Changes = append(c.Changes, entry(index.EntryID(d+1), 1, signal(a, near(0, d))))
		all = append(all, index.Hit{Entry: index.EntryID(d + 1), Bank: 1, Distance: d})
	}
	for _, radius := range []int{-1, 0, 1, 31, 40, 63, 64, 65, 255, 256, 257} {
		c.Questions = append(c.Questions, question("the first", ask(a, near(0, 0), radius), all[:min(radius, a.Bits())+1]))
	}
	return c
}

func runSpecial(t *testing.T, newEngine func(*testing.T) Engine) {
	for _, c := range Specials(3000) {
		e := newEngine(t)
		apply(t, e, 1, c.Changes)
		for _, q := range c.Questions {
			if err := q.Ask(t.Context(), e.Snapshot()); err != nil {
				t.Errorf("%s: %s: %v", c.Name, q.Name, err)
			}
		}
	}
}
