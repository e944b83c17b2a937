package matcher_test

import (
	"errors"
	"fmt"
	"image"
	"image/draw"
	"slices"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// TestPosterOfAKnownGoodPhotograph: the poster is found by its whole, and the photograph in it, which is known good, by a part.
func TestPosterOfAKnownGoodPhotograph(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	photograph := drawn(7)
	poster := func(words int) *image.Gray { // white, with the photograph and dark bars for words, some of which differ
		img := image.NewGray(image.Rect(0, 0, 600, 600))
		draw.Draw(img, img.Rect, image.White, image.Point{}, draw.Src)
		draw.Draw(img, photograph.Rect.Add(image.Pt(140, 200)), photograph, image.Point{}, draw.Src)
		for i := range 14 {
			box := image.Rect(60+38*i, 40, 60+38*i+30-i%words*6, 160)
			draw.Draw(img, box, image.Black, image.Point{}, draw.Src)
		}
		return img
	}
	w.bank("platform", "own", block())
	w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
	bad := w.entry("own", "poster", "", matcher.Flagging{Media: media(jpegOf(poster(4), 80))})
	asked := func() matcher.Verdict {
		return w.check(matcher.Question{Who: w.who("platform"), Media: media(pngOf(poster(3)))})
	}
	before := asked()
	if before.Level != matcher.Match || before.Matches[0].Entry != bad || before.Matches[0].Distance < 4 {
		t.Fatalf("without known good: %s", w.verdictWords(before))
	}
	w.entry("good", "photograph", "", matcher.Flagging{Media: media(pngOf(photograph))})
	if v := asked(); v.Level < matcher.Likely || v.Action != matcher.ActionHold || v.Matches[0].Variant != hashing.Plain { // by its whole
		t.Errorf("the poster is cleared by the photograph in it: %s", w.verdictWords(v))
	}
	// It is the photograph indeed that is found in it: where that is flagged, it is suppressed.
	other := drawn(7)
	draw.Draw(other, image.Rect(0, 0, 36, 36), image.White, image.Point{}, draw.Src)
	w.entry("own", "changed", "", matcher.Flagging{Media: media(pngOf(other))})
	v := asked()
	i := slices.IndexFunc(v.Matches, func(f matcher.Found) bool { return f.Entry == w.flagged["changed"] })
	if i < 0 || v.Matches[i].SuppressedBy == nil || v.Matches[i].Variant != hashing.Framed {
		t.Errorf("a photograph that is farther than the known-good one: %s", w.verdictWords(v))
	}
}

// TestSuppressorsCount: what a known-good entry has suppressed is on record with it, and counted, as what an entry matches is.
func TestSuppressorsCount(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		for i := range 3 { // suppressed by the same one, in one check
			w.at("own", fmt.Sprint("bad-", i), 20+i)
		}
		good, idle := w.at("good", "good", 2), w.at("good", "idle", 31)
		first := w.match("platform", "a")
		w.match("platform", "b")
		must(t, w.ship(w.ctx))
		equal(t, w.counters(good), storage.Counters{Hour: 2, Day: 2, Total: 2})
		equal(t, w.counters(idle), storage.Counters{})
		equal(t, w.counters(w.flagged["bad-0"]).Total, uint64(2))
		of, err := w.Matches(w.ctx, w.who("platform"), storage.MatchQuery{Limit: 10, Entry: good})
		must(t, err)
		if len(of) != 2 || of[1].ID != first {
			t.Errorf("what it has suppressed: %+v", of)
		}
		// Nothing counted; so a decision has to say whom it is about.
		_, err = w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: first, Ruling: storage.BadHash})
		if e := new(matcher.InputError); !errors.As(err, &e) {
			t.Errorf("a decision that names nothing: %v", err)
		}
		_, err = w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: first, Ruling: storage.BadHash, Entries: []storage.EntryID{good}})
		must(t, err)
	})
}

// TestFloodingSuppressor: who is known good for too much suppresses nothing any more, but another may; so that the content is
// looked at, and asked about again.
func TestFloodingSuppressor(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Flood: ptr(1)}})
		w.bank("platform", "also", matcher.NewBank{Kind: storage.KnownGood})
		w.at("own", "bad", 25)
		w.at("good", "near", 2)
		other := w.at("also", "other", 9)
		w.check(w.ask("platform", content(0)))
		v := w.check(w.ask("platform", content(1)))
		equal(t, []any{v.Action, v.Matches[0].Limits, w.entryOf("near").Status}, []any{matcher.ActionReview, []string{matcher.ByFlood}, storage.Quarantined})
		v = w.check(w.ask("platform", content(1)))
		equal(t, []any{v.Level, v.Matches[0].SuppressedBy.Entry}, []any{matcher.None, other})
	})
}

// TestWhatDecidesIsTold: nearer entries that decide nothing, however many, keep nothing out that does.
func TestWhatDecidesIsTold(t *testing.T) {
	t.Parallel()
	for _, near := range []struct {
		name string
		matcher.NewBank
	}{
		{"a test bank", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Action: ptr("block")}}},
		{"a bank that logs", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("log")}}},
		{"what is suppressed", block()},
	} {
		t.Run(near.name, func(t *testing.T) {
			t.Parallel()
			w := oneRecorded(t)
			w.bank("platform", "near", near.NewBank)
			w.bank("platform", "own", block())
			sent := []hashing.Signal{upload}
			if near.name == "what is suppressed" { // as a whole; what decides is found by a part
				w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
				w.at("good", "good", 0)
				w.of("own", "bad", "", away(inside, 25))
				sent = append(sent, framed(inside))
			} else {
				w.at("own", "bad", 25)
			}
			for i := range matcher.MaxMatches + 1 {
				s := away(upload, 2)
				s.Value[3] ^= uint64(i+1) << 3
				w.of("near", fmt.Sprint("near-", i), "", s)
			}
			v := w.check(w.ask("platform", sent...))
			if v.Level != matcher.Match || v.Action != matcher.ActionBlock || v.MatchesTotal != matcher.MaxMatches+2 || len(v.Matches) != matcher.MaxMatches {
				t.Errorf("%s, %s, %d of %d", v.Level, v.Action, len(v.Matches), v.MatchesTotal)
			}
			// Strongest first all the same.
			if last := v.Matches[matcher.MaxMatches-1]; near.name != "what is suppressed" && last.Entry != w.flagged["bad"] {
				t.Errorf("the last is %s, %d away", w.nameOf(last.Entry), last.Distance)
			}
			must(t, w.ship(w.ctx))
			equal(t, w.counters(w.flagged["bad"]).Total, uint64(1))
		})
	}
}

// TestKnownGoodGuard: what is flagged may be near many entries, all of them nearer than the known-good one.
func TestKnownGoodGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
	good := w.at("good", "good", 25)
	w.bank("platform", "own", block())
	for i := range 40 {
		s := away(upload, 2)
		s.Value[3] ^= uint64(i+1) << 3
		w.of("own", fmt.Sprint("near-", i), "", s)
	}
	w.bank("platform", "last", block())
	for name, signals := range map[string][]hashing.Signal{
		"a picture": {upload},
		"a video":   {upload, at(signal(hashing.PDQ, 5), 1000), at(signal(hashing.PDQ, 6), 2000)},
	} {
		f := matcher.Flagging{Bank: "last", Who: w.who("platform"), Signals: signals}
		_, err := w.Flag(w.ctx, f)
		if !errors.Is(err, matcher.ErrKnownGood) {
			t.Errorf("%s: %v", name, err)
		}
		f.DespiteKnownGood = true
		out, err := w.Flag(w.ctx, f)
		must(t, err)
		equal(t, len(out.Neighbours), 20)
		if name := w.nameOf(out.Neighbours[0].Entry); out.Neighbours[0].Entry == good {
			t.Errorf("the strongest neighbour is %s", name)
		}
	} // It is no guard of a known-good bank against itself, whichever way the bank is called.
	for i, bank := range []string{"good", "platform:good"} {
		_, err := w.Flag(w.ctx, matcher.Flagging{Bank: bank, Who: w.who("platform"), Signals: []hashing.Signal{away(upload, 8+i)}})
		must(t, err)
	}
}
