package matcher_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

// TestJoinHashes: the verdicts of 10,000 hashes joined are those of 10,000 checks. Of each kind of rule there is a case.
func TestJoinHashes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	calm := func(n *matcher.NewBank) { n.Flood = ptr(0) }
	w.bank("platform", "own", shared("block", calm))
	w.bank("platform", "some", shared("hold", calm, func(n *matcher.NewBank) { n.EnabledRatio, n.MinQuality = ptr(0.5), ptr(70) }))
	w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
	w.bank("platform", "test", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Flood: ptr(0)}})
	w.bank("authority", "others", shared("block", calm))
	w.subscribe("platform", "others", matcher.SubscriptionEdit{On: ptr(true), Cap: &map[hashing.Algorithm]int{hashing.PDQ: 12}})
	var known []hashing.Signal
	n := uint64(100)
	flag := func(bank, words string, f matcher.Flagging) storage.EntryID {
		known = append(known, f.Signals...)
		return w.entry(bank, words, words, f)
	}
	fresh := func() hashing.Signal { n++; return signal(hashing.PDQ, n) }
	for _, bank := range []string{"own", "some", "good", "test", "others"} {
		for range 4 {
			flag(bank, bank+" entry", matcher.Flagging{Signals: []hashing.Signal{fresh()}})
		}
	}
	before := w.head()
	suppressed := fresh()
	flag("own", "near known good", matcher.Flagging{Signals: []hashing.Signal{suppressed}})
	flag("good", "good", matcher.Flagging{Signals: []hashing.Signal{away(suppressed, 10)}})
	flag("own", "ruled", matcher.Flagging{Signals: []hashing.Signal{fresh()}, Labels: []string{"context:label_only"}})
	disputed := fresh()
	flag("own", "disputed", matcher.Flagging{Signals: []hashing.Signal{disputed}})
	w.opine("authority", "disputed", storage.Disagree)
	out := flag("own", "disabled", matcher.Flagging{Signals: []hashing.Signal{fresh()}})
	must(t, w.Overlay(w.ctx, w.who("platform"), out, true, nil, "a test"))
	var film []hashing.Signal
	for i := range 30 {
		s := fresh()
		s.Time = uint32(i) * 1000
		film = append(film, s)
	}
	flag("own", "film", matcher.Flagging{Signals: film})
	must(t, w.Follower().Await(w.ctx, w.head()))

	draw := rand.New(rand.NewPCG(1, 2))
	hashes := make([]hashing.Signal, 10_000)
	for i := range hashes {
		s := signal(hashing.PDQ, uint64(1_000_000+i))
		if i%3 > 0 {
			s = known[draw.IntN(len(known))]
			s.Time = 0
			s.Value = hashing.Value(pdq.DihedralOf(pdq.Hash(s.Value))[draw.IntN(8)])
			if draw.IntN(5) == 0 {
				for k := range s.Value {
					s.Value[k] = ^s.Value[k]
				}
			}
			s = away(s, draw.IntN(45))
		}
		s.Quality = []hashing.Quality{100, 71, 60, 10, hashing.QualityUnknown}[draw.IntN(5)]
		hashes[i] = s
	}
	hashes[7].Value = hashing.Value{} // blank

	for name, q := range map[string]matcher.HashList{
		"all":       {Who: w.who("platform")},
		"other":     {Who: w.who("authority")},
		"one bank":  {Who: w.who("platform"), Banks: []string{"own"}},
		"new ones":  {Who: w.who("platform"), Since: before},
		"of nobody": {Who: w.who("stranger")},
	} {
		levels := map[matcher.Level]int{}
		next := 0
		none := func(until int) { // what the join did not name
			for ; next < until; next++ {
				if v := w.check(question(q, hashes[next])); v.Level != matcher.None {
					t.Fatalf("%s: hash %d is not found, a check says %s", name, next, w.verdictWords(v))
				}
			}
		}
		must(t, w.JoinHashes(w.ctx, q, hashes, func(i int, v matcher.Verdict) error {
			if i < next {
				t.Fatalf("%s: %d comes after %d", name, i, next-1)
			}
			none(i)
			next++
			want := w.check(question(q, hashes[i]))
			want.Timings, want.Staleness = v.Timings, v.Staleness
			if diff := cmp.Diff(want, v, cmp.AllowUnexported(matcher.Suppression{}, matcher.Track{})); diff != "" {
				t.Fatalf("%s: hash %d (-check +join):\n%s", name, i, diff)
			}
			levels[v.Level]++
			return nil
		}))
		none(len(hashes))
		if known := name != "of nobody"; known != (levels[matcher.Match] > 100) || name == "all" && levels[matcher.Likely] < 100 {
			t.Errorf("%s: levels %v", name, levels)
		}
	}

	// Upright: of the matches as they are, all; and no others.
	upright := map[int]bool{}
	must(t, w.JoinHashes(w.ctx, matcher.HashList{Who: w.who("platform"), Upright: true}, hashes, func(i int, v matcher.Verdict) error {
		upright[i] = true
		for _, f := range v.Matches {
			equal(t, f.Transform, hashing.Identity)
		}
		return nil
	}))
	must(t, w.JoinHashes(w.ctx, matcher.HashList{Who: w.who("platform")}, hashes, func(i int, v matcher.Verdict) error {
		if v.Level == matcher.Match && v.Matches[0].Transform == hashing.Identity && !upright[i] {
			t.Errorf("hash %d is not found upright", i)
		}
		return nil
	}))
	if len(upright) < 100 {
		t.Errorf("%d are found upright", len(upright))
	}
}

func question(q matcher.HashList, s hashing.Signal) matcher.Question {
	return matcher.Question{Who: q.Who, Banks: q.Banks, Since: q.Since, Signals: []hashing.Signal{s}}
}

// head is the number of the last change.
func (w *world) head() uint64 {
	head, err := w.down.Head(w.ctx)
	must(w.t, err)
	return head.Seq
}

// TestJoinHashesErrors: what cannot be joined, and what ends it.
func TestJoinHashesErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("platform", "own", shared("block"))
	w.at("own", "e", 0)
	nothing := func(int, matcher.Verdict) error { return nil }
	q := matcher.HashList{Who: w.who("platform")}
	framed, timed, poor := upload, upload, upload
	framed.Variant, timed.Time, poor.Quality = hashing.Framed, 5, 120
	for _, s := range []hashing.Signal{signal(hashing.PHash, 1), framed, timed, poor} {
		wantInput(t, w.JoinHashes(w.ctx, q, []hashing.Signal{upload, s}, nothing), "hashes")
	}
	must(t, w.JoinHashes(w.ctx, q, nil, nothing))
	wantErr(t, w.JoinHashes(w.ctx, matcher.HashList{Who: q.Who, Banks: []string{"x"}}, nil, nothing), matcher.ErrUnknownBank)
	meant := errors.New("meant")
	wantErr(t, w.JoinHashes(w.ctx, q, []hashing.Signal{upload, upload}, func(int, matcher.Verdict) error { return meant }), meant)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	wantErr(t, w.JoinHashes(ctx, q, []hashing.Signal{upload}, nothing), context.Canceled)
	w.down.down.Store(true)
	err := w.JoinHashes(w.ctx, q, []hashing.Signal{upload}, nothing)
	if err == nil || !strings.Contains(err.Error(), "entries that match") {
		t.Errorf("without the catalogue: %v", err)
	}
	w.down.down.Store(false)
}

// BenchmarkJoinHashes joins hashes, of which one in a hundred matches, with a million entries.
func BenchmarkJoinHashes(b *testing.B) {
	x := index.New(index.Options{})
	n := followWith(b, catalogues["memory"](b), x, matcher.Options{Patience: patience})
	defer n.stop()
	bank := n.bank("own", "block", nil)
	n.flagSignals("own", signal(hashing.PDQ, 1<<40))
	head, err := n.catalogue.Head(n.ctx)
	must(b, err)
	changes := make([]index.Change, 1_000_000) // which come with the next change
	for i := range changes {
		changes[i] = index.Change{Bank: index.BankID(bank.ID), Entry: index.EntryID(10 + i), Signals: []hashing.Signal{signal(hashing.PDQ, uint64(i))}}
	}
	must(b, errors.Join(x.Apply(n.ctx, head.Seq+1, changes), x.Settle(n.ctx)))
	n.flagSignals("own", signal(hashing.PDQ, 1<<41))
	for name, upright := range map[string]bool{"upright": true, "all transforms": false} {
		b.Run(name, func(b *testing.B) {
			many := 1 << 20 // as re-scans ask
			if !upright {
				many = 1 << 17
			}
			hashes := make([]hashing.Signal, many)
			for i := range hashes {
				hashes[i] = signal(hashing.PDQ, uint64(1<<30+i))
				if i%100 == 0 {
					hashes[i] = away(signal(hashing.PDQ, uint64(i/2)), 20)
				}
			}
			for b.Loop() {
				hits := 0
				must(b, n.JoinHashes(n.ctx, matcher.HashList{Who: local, Upright: upright}, hashes, func(int, matcher.Verdict) error {
					hits++
					return nil
				}))
				if hits != (len(hashes)+99)/100 {
					b.Fatalf("%d hits", hits)
				}
			}
			b.ReportMetric(float64(b.N*len(hashes))/b.Elapsed().Seconds(), "hashes/s")
		})
	}
}
