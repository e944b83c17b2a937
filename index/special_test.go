package index_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// TestSpecial asks every special case of an index in every shape that one can be in, in every way, and prints what it found.
func TestSpecial(t *testing.T) {
	cluster := 100_000
	if raceDetector || testing.Short() {
		cluster = 10_000
	}
	names := []string{"one delta", "one segment", "segments, a delta, dead rows", "mapped", "copied"}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "CASE\tQUERY\tWANT\t%s\n", strings.ToUpper(strings.Join(names, "\t")))
	asked := 0
	for _, c := range indextest.Specials(cluster) {
		several := severalParts(t, c)
		shapes := append([]*index.Snapshot{oneDelta(t, c), oneSegment(t, c), several.Snapshot()}, reopened(t, several)...)
		for _, q := range c.Questions {
			fmt.Fprintf(w, "%s\t%s\t%d of %d", c.Name, q.Name, len(q.Cut()), len(q.Want))
			for i, s := range shapes {
				answer := "right"
				if err := q.Ask(t.Context(), s); err != nil {
					answer = "WRONG"
					t.Errorf("%s, %s: %s: %v", c.Name, names[i], q.Name, err)
				}
				fmt.Fprintf(w, "\t%s", answer)
				asked++
			}
			fmt.Fprintln(w)
		}
	}
	_ = w.Flush()
	t.Logf("right: by Auto, Flat and Brute, by SearchMany, and by Join\n%s%d answers, each in these five ways", table.String(), asked)
}

func oneDelta(t *testing.T, c indextest.Special) *index.Snapshot {
	x := index.New(index.SmallDeltas(1 << 30))
	applyAll(t, x, c.Changes)
	if segments, _ := parts(x.Snapshot()); segments > 0 {
		t.Fatalf("%s: %d segments", c.Name, segments)
	}
	return x.Snapshot()
}

func oneSegment(t *testing.T, c indextest.Special) *index.Snapshot {
	x := index.New(index.SmallDeltas(1))
	applyAll(t, x, c.Changes)
	if segments, deltas := parts(x.Snapshot()); segments > 1 || deltas > 0 {
		t.Fatalf("%s: %d segments and %d deltas", c.Name, segments, deltas)
	}
	return x.Snapshot()
}

// severalParts spreads the rows over three segments, of which each is much larger than the next, and a delta; with others, of
// a hidden bank, that are equal to a query. Those rows that are not in the first segment were there before, equal to a query.
func severalParts(t *testing.T, c indextest.Special) *index.Index {
	const hidden = 99
	x := index.New(index.SmallDeltas(4))
	n := len(c.Changes)
	cuts := []int{0, n * 94 / 100, n * 997 / 1000, max(n*997/1000, n-3), n}
	queried := map[hashing.Algorithm]hashing.Value{}
	for _, q := range c.Questions {
		queried[q.Query.Algorithm] = q.Query.Value
	}
	other := index.EntryID(1 << 40)
	for i, others := range []int{4000, 200, 8, 0} {
		var changes []index.Change
		if i == 0 {
			changes = append(changes, index.Change{Bank: hidden, Hidden: true})
			for _, real := range c.Changes[cuts[1]:] {
				if len(real.Signals) > 0 {
					real.Signals = slices.Clone(real.Signals)
					real.Signals[0].Value = c.Questions[0].Query.Value
					changes = append(changes, real)
				}
			}
		}
		for a, v := range queried {
			for range others {
				changes = append(changes, index.Change{Entry: other, Bank: hidden, Signals: []hashing.Signal{{Algorithm: a, Value: v}}})
				other++
			}
		}
		applyAll(t, x, append(changes, c.Changes[cuts[i]:cuts[i+1]]...))
	}
	if segments, _ := parts(x.Snapshot()); segments < 3 {
		t.Fatalf("%s: %d segments", c.Name, segments)
	}
	return x
}

// reopened is an index saved and opened again, mapped and copied.
func reopened(t *testing.T, x *index.Index) (opened []*index.Snapshot) {
	dir := t.TempDir()
	save(t, x, dir)
	for _, copied := range []bool{false, true} {
		x, _, err := index.Open(dir, index.Options{Copied: copied})
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, x.Snapshot())
	}
	return opened
}

func parts(s *index.Snapshot) (segments, deltas int) {
	for _, a := range hashing.Algorithms() {
		segments += s.StatsOf(a).Segments
		deltas += s.StatsOf(a).Deltas
	}
	return segments, deltas
}

// applyAll applies changes as the next number, and waits until what is to be merged is.
func applyAll(t *testing.T, x *index.Index, changes []index.Change) {
	t.Helper()
	if err := x.Apply(t.Context(), x.Snapshot().Seq()+1, changes); err != nil {
		t.Fatal(err)
	}
	if err := x.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, x *index.Index, dir string) uint64 {
	t.Helper()
	seq, err := x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return seq
}
