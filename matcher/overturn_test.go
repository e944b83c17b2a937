package matcher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// judged is a list that its owner shares with everyone, with a bound on what is overturned, and an entry.
func (w *recorded) judged(rate float64, least int) storage.EntryID {
	w.t.Helper()
	w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: rate, Min: least} }))
	return w.at("list", "e", 4)
}

// overturns has a party overturn matches of contents, and lists what came of the last.
func (w *recorded) overturns(party string, contents ...string) matcher.Decided {
	w.t.Helper()
	w.subscribe(party, "list", matcher.SubscriptionEdit{})
	var d matcher.Decided
	for _, c := range contents {
		d = w.decide(party, w.match(party, c), storage.WrongMatch)
	}
	return d
}

// taken is what a decision has taken out, for whom.
func taken(d matcher.Decided) string {
	return fmt.Sprint("for all ", d.Quarantined, ", for itself ", d.Disabled)
}

// TestOverturnedByOne: a party alone takes an entry out for itself, and the owner for all.
func TestOverturnedByOne(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		id := w.judged(0.5, 3)
		w.subscribe("other", "list", matcher.SubscriptionEdit{})
		w.subscribe("stranger", "list", matcher.SubscriptionEdit{})
		must(t, w.Overlay(w.ctx, w.who("stranger"), id, false, []string{"mine"}, ""))
		equal(t, taken(w.overturns("stranger", "x", "x", "x", "x", "y", "y")), "for all [], for itself []") // two contents
		before := len(w.changes())
		equal(t, taken(w.overturns("stranger", "z")), fmt.Sprint("for all [], for itself [", id, "]"))
		equal(t, w.entryOf("e").Status, storage.Active)
		equal(t, len(matched(w.check(w.ask("stranger")))), 0)
		equal(t, matched(w.check(w.ask("other"))), []storage.EntryID{id})
		equal(t, matched(w.check(w.ask("source"))), []storage.EntryID{id})
		o, err := w.OverlayOf(w.who("stranger"), id)
		must(t, err)
		equal(t, o, storage.Overlay{Party: w.parties["stranger"], Entry: id, Disabled: true, Labels: []string{"mine"}})
		i := slices.IndexFunc(w.changes()[before:], func(c storage.Change) bool { return c.Kind == storage.OverlaySet })
		c := w.changes()[before+i]
		if i < 0 || c.Actor != "system" || c.Party != w.parties["stranger"] || !strings.Contains(string(c.Private), "3 of 3 uploads") {
			t.Errorf("the change: %+v", c)
		}

		// The owner's own do for all; a restoration is the answer to what was decided before.
		equal(t, taken(w.overturns("source", "a", "b")), "for all [], for itself []")
		equal(t, taken(w.overturns("source", "c")), fmt.Sprint("for all [", id, "], for itself []"))
		equal(t, w.entryOf("e").Status, storage.Quarantined)
		must(t, w.Restore(w.ctx, w.who("source"), id, "it is right"))
		equal(t, taken(w.overturns("source", "d", "e")), "for all [], for itself []")
		equal(t, w.entryOf("e").Status, storage.Active)
		equal(t, taken(w.overturns("source", "f")), fmt.Sprint("for all [", id, "], for itself []"))
	})
}

// shownPicture is the picture of photo, and its hash.
var shownPicture = sync.OnceValues(func() ([]byte, hashing.Signal) {
	data := pngOf(drawn(1))
	p, err := pictures.Picture(context.Background(), data)
	if err != nil {
		panic(err)
	}
	return data, p.Signals[0]
})

// photo is the n-th of files of one picture, which all have other bytes.
func photo(n int) *hashing.Media {
	data, _ := shownPicture()
	return media(fmt.Appendf(slices.Clip(data), "file %d", n))
}

// pictured is an entry near the upload, and near the picture of photo.
func (w *world) pictured(bank, name string, distance int) storage.EntryID {
	w.t.Helper()
	_, shown := shownPicture()
	return w.of(bank, name, "", away(upload, distance), away(shown, distance))
}

// shown is what a party's check of a file found.
func (w *recorded) shown(party, content string) storage.MatchID {
	w.t.Helper()
	v := w.check(matcher.Question{Who: w.who(party), Media: photo(0), ContentID: content})
	if v.MatchID == (storage.MatchID{}) {
		w.t.Fatalf("nothing recorded: %+v", v)
	}
	return v.MatchID
}

// denies has a party overturn what its files matched, and lists what came of the last.
func (w *recorded) denies(party string, contents ...string) (d matcher.Decided) {
	w.t.Helper()
	w.subscribe(party, "list", matcher.SubscriptionEdit{})
	for _, c := range contents {
		d = w.decide(party, w.shown(party, c), storage.WrongMatch)
	}
	return d
}

// TestOverturnedByTwo: two parties that are both beyond the bound take an entry out for all, as long as they may read it.
func TestOverturnedByTwo(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		for _, p := range []string{"one", "two", "former"} {
			w.who(p)
		}
		members := []string{"one", "two", "former"}
		w.bank("source", "list", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Members: &members, Overturn: &storage.Overturn{Rate: 0.6, Min: 4}}})
		id := w.pictured("list", "e", 4)
		w.denies("former", "a", "b", "c")
		late := w.shown("former", "d")
		must(t, w.ship(w.ctx))
		_, err := w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{"one", "two"}})
		must(t, err)
		equal(t, taken(w.decide("former", late, storage.WrongMatch)), "for all [], for itself []") // it may not read it any more
		equal(t, taken(w.denies("one", "a", "b", "c")), "for all [], for itself []")
		equal(t, taken(w.denies("one", "d")), fmt.Sprint("for all [], for itself [", id, "]"))
		w.subscribe("two", "list", matcher.SubscriptionEdit{})
		w.decide("two", w.shown("two", "a"), storage.Removed)
		equal(t, taken(w.denies("two", "b", "c")), "for all [], for itself []") // 6 of 7, of which 4 of one party
		equal(t, w.entryOf("e").Status, storage.Active)
		equal(t, taken(w.denies("two", "d")), fmt.Sprint("for all [", id, "], for itself []"))
		if e := w.entryOf("e"); e.Status != storage.Quarantined || !strings.Contains(e.Reason, "7 of 8 uploads") {
			t.Errorf("%s: %s", e.Status, e.Reason)
		}
		must(t, w.Restore(w.ctx, w.who("source"), id, "it is right"))
		equal(t, len(matched(w.check(w.ask("one")))), 1) // it answers for those for whom it was out alone, too
	})
}

// TestOverturnedByMany: none of them is beyond the bound by itself.
func TestOverturnedByMany(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: 0.5, Min: 4} }))
		id := w.pictured("list", "e", 4)
		w.denies("one", "a", "b", "c")
		equal(t, taken(w.denies("two", "a", "b", "c")), "for all [], for itself []")
		equal(t, taken(w.denies("three", "a")), fmt.Sprint("for all [", id, "], for itself []"))
	})
}

// TestNobodyOverturnsForOthersAlone: one honest mistake of another party does not make what one party says everybody's, and
// hashes that are made up say nothing to others.
func TestNobodyOverturnsForOthersAlone(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: 0.5, Min: 4} }))
		id := w.pictured("list", "e", 4)
		w.denies("honest", "a")
		contents := []string{"a", "b", "c", "d"}
		alone := fmt.Sprint("for all [], for itself [", id, "]")
		equal(t, taken(w.overturns("bare", contents...)), alone)
		equal(t, taken(w.denies("whole", contents...)), alone)
		equal(t, taken(w.overturns("bare-too", contents...)), alone)
		w.subscribe("both", "list", matcher.SubscriptionEdit{})
		var d matcher.Decided
		for _, c := range contents { // made-up hashes beside any file
			v := w.check(matcher.Question{Who: w.who("both"), Media: media(pngOf(drawn(2))), Signals: []hashing.Signal{upload}, ContentID: c})
			d = w.decide("both", v.MatchID, storage.WrongMatch)
		}
		equal(t, taken(d), alone)
		equal(t, w.entryOf("e").Status, storage.Active)
	})
}

// TestOverturnedByTheOperator: for all, by what it was shown; not by hashes that can be made up.
func TestOverturnedByTheOperator(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: 0.5, Min: 2} }))
		id := w.pictured("list", "e", 4)
		w.subscribe("operator", "list", matcher.SubscriptionEdit{})
		a, b := w.shown("operator", "a"), w.shown("operator", "b")
		equal(t, taken(w.overturns("operator", "a", "b")), fmt.Sprint("for all [], for itself [", id, "]"))
		w.decide("operator", a, storage.WrongMatch)
		equal(t, w.entryOf("e").Status, storage.Active)
		equal(t, taken(w.decide("operator", b, storage.WrongMatch)), fmt.Sprint("for all [", id, "], for itself []"))
	})
}

// TestEveryPartyIsHeard: as many decisions as are read, of a party that is not heard or of a large one, hide no other's.
func TestEveryPartyIsHeard(t *testing.T) {
	t.Parallel()
	for _, left := range []bool{true, false} {
		overRecorded(t, func(t *testing.T, w *recorded) {
			w.who("large")
			members := []string{"large"}
			w.bank("source", "list", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Members: &members, Overturn: &storage.Overturn{Rate: 0.5, Min: 3}}})
			id := w.at("list", "e", 4)
			w.overturns("source", "a", "b")
			must(t, w.down.Update(w.ctx, func(tx storage.Writer) error {
				var matches []storage.MatchRecord
				for i := range storage.MaxMatches {
					matches = append(matches, storage.MatchRecord{
						ID: storage.MatchID{Node: "0000000b", Number: uint64(i + 1)}, Party: w.parties["large"], At: w.clock.Now(),
						Entries: []storage.MatchEntry{{Entry: id, Bank: 1, Level: "match"}},
					})
				}
				must(t, tx.AddMatches("0000000b", matches))
				for _, m := range matches {
					must(t, tx.AddDecision(&storage.Decision{Match: m.ID, Party: m.Party, Ruling: storage.Removed, Entries: []storage.EntryID{id}}))
				}
				return nil
			}))
			if left {
				_, err := w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{}})
				must(t, err)
			}
			equal(t, taken(w.overturns("source", "c")), fmt.Sprint("for all [", id, "], for itself []"))
		})
	}
}

// TestAlarmsAge: a flood of one party is heard for a day, and until the owner answers it, which takes two under dual control.
func TestAlarmsAge(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Flood = ptr(2) }))
		id := w.pictured("list", "e", 4)
		floods := func(party string) {
			t.Helper()
			w.subscribe(party, "list", matcher.SubscriptionEdit{})
			for i := range 3 {
				w.check(matcher.Question{Who: w.who(party), Media: photo(i)})
			}
			o, err := w.OverlayOf(w.who(party), id)
			must(t, err)
			equal(t, []any{o.Disabled, w.entryOf("e").Status}, []any{true, storage.Active})
		}
		out := func(party string) bool {
			t.Helper()
			return w.check(w.ask(party)).MatchesTotal == 0
		}
		restored := func(want ...string) { // and for whom
			t.Helper()
			before := len(w.changes())
			must(t, w.Restore(w.ctx, w.who("source"), id, "looked at, it is right"))
			var got []string
			for _, c := range w.changes()[before:] {
				got = append(got, fmt.Sprint(c.Kind, " by ", c.Actor, " for ", c.Party))
			}
			equal(t, got, want)
		}
		lifted := func(party string) string { return fmt.Sprint("overlay.set by system for ", w.parties[party]) }

		floods("one")
		w.clock.Advance(24*time.Hour + time.Millisecond)
		floods("two") // that of one is old
		must(t, w.Overlay(w.ctx, w.who("own"), id, true, nil, ""))
		restored(lifted("one"), lifted("two"), "entry.restored by source for 0")
		restored()
		equal(t, []bool{out("one"), out("two"), out("own")}, []bool{false, false, true})

		floods("one")
		restored(lifted("one"), "entry.restored by source for 0")
		floods("two") // that of one is answered
		equal(t, out("one"), false)

		_, err := w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Dual: ptr(true)})
		must(t, err)
		restored("entry.proposed by source for 0")
		equal(t, out("two"), true)
		must(t, w.Confirm(w.ctx, w.colleague("source"), id))
		equal(t, []any{out("two"), w.entryOf("e").Status}, []any{false, storage.Active})
	})
}

// TestLastWordOnAnUpload: of a content the last ruling counts, and what is put back stays overturned.
func TestLastWordOnAnUpload(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		id := w.judged(0.5, 2)
		first := w.match("source", "a")
		w.decide("source", first, storage.WrongMatch)
		w.decide("source", first, storage.Restored)
		equal(t, w.counters(id).Overturned, uint64(1))
		w.overturns("source", "a") // the same upload again
		equal(t, w.entryOf("e").Status, storage.Active)
		w.decide("source", w.match("source", "a"), storage.Removed) // its last word on it
		d := w.overturns("source", "b")
		equal(t, taken(d), fmt.Sprint("for all [", id, "], for itself []")) // 1 of 2
	})
}

// TestDecideAboutWhatCountedNot: what was suppressed is overturned by nobody, and decided about only by name.
func TestDecideAboutWhatCountedNot(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: 0.5, Min: 1} }))
		id := w.at("list", "e", 9)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Action: ptr("log")}})
		w.at("good", "g", 2)
		m := w.match("platform", "a")
		_, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: m, Ruling: storage.WrongMatch})
		wantInput(t, err, "entries")
		d, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: m, Ruling: storage.WrongMatch, Entries: []storage.EntryID{id}})
		must(t, err)
		equal(t, taken(d), "for all [], for itself []")
		equal(t, w.counters(id).Overturned, uint64(1))
	})
}

// TestDecideAboutWhatIsOut accepts a decision on an entry that is out, and says so; and matches tell where entries stand.
func TestDecideAboutWhatIsOut(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Overturn = &storage.Overturn{Rate: 0.5, Min: 1} }))
		w.bank("source", "gone", shared("block"))
		a, b, c, d := w.at("list", "a", 4), w.at("list", "b", 5), w.at("list", "c", 6), w.at("gone", "d", 7)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.subscribe("platform", "gone", matcher.SubscriptionEdit{})
		m := w.match("platform", "post")
		must(t, w.ship(w.ctx))
		where := func(who matcher.Principal) map[storage.EntryID]matcher.Present {
			t.Helper()
			page, err := w.Matches(w.ctx, who, storage.MatchQuery{Entry: b, Limit: 1})
			must(t, err)
			return page[0].Now
		}
		active := matcher.Present{Status: storage.Active}
		checks := matcher.Principal{Actor: "k", Party: w.parties["platform"], Role: storage.Platform}
		equal(t, where(checks), map[storage.EntryID]matcher.Present{a: active, b: active, c: active, d: active})
		equal(t, len(w.decide("platform", m, storage.Removed).Inactive), 0)

		own := w.match("source", "case")
		out, err := w.Decide(w.ctx, w.who("source"), matcher.Decision{Match: own, Ruling: storage.BadHash, Entries: []storage.EntryID{a}})
		must(t, err)
		equal(t, out.Quarantined, []storage.EntryID{a})
		must(t, w.Retract(w.ctx, w.who("source"), b, "wrong"))
		must(t, w.Overlay(w.ctx, w.who("platform"), c, true, nil, ""))
		must(t, second(w.DeleteBank(w.ctx, w.who("source"), "gone")))
		now := map[storage.EntryID]matcher.Present{
			a: {Status: storage.Quarantined, Out: matcher.OutOverturned}, b: {Status: storage.Retracted, Out: matcher.OutRetracted},
			c: {Status: storage.Active, Out: matcher.OutDisabled}, d: {Status: storage.Active, Out: matcher.OutDeleted},
		}
		equal(t, where(checks), now)
		one, err := w.Match(w.ctx, checks, m)
		must(t, err)
		equal(t, one.Now, now)
		one, err = w.Match(w.ctx, local, m) // another's overlay is none of theirs
		must(t, err)
		equal(t, one.Now[c], active)
		equal(t, w.decide("platform", m, storage.Restored).Inactive, []storage.EntryID{a, b, d})
	})
}

// TestStandingByEntry: what was removed because of two entries stands on the one that is not found wrong.
func TestStandingByEntry(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		w.bank("platform", "too", block())
		a, b := w.at("own", "a", 4), w.at("too", "b", 6)
		m := w.match("platform", "x")
		w.decide("platform", m, storage.Removed)
		standing := func(q storage.MatchQuery) int {
			t.Helper()
			q.Standing, q.Limit = true, 10
			return len(must2(w.Matches(w.ctx, w.who("platform"), q)))
		}
		_, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: m, Ruling: storage.WrongMatch, Entries: []storage.EntryID{a}})
		must(t, err)
		equal(t, []int{standing(storage.MatchQuery{}), standing(storage.MatchQuery{Entry: a}), standing(storage.MatchQuery{Entry: b}), standing(storage.MatchQuery{Bank: 1}), standing(storage.MatchQuery{Bank: 2})}, []int{1, 0, 1, 0, 1})
		w.decide("platform", m, storage.Restored)
		equal(t, []int{standing(storage.MatchQuery{}), standing(storage.MatchQuery{Entry: b})}, []int{0, 0})
	})
}

// TestDecideAgain answers a repeated request as the first time, whatever was decided since.
func TestDecideAgain(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		id := w.judged(0.5, 1)
		m, ctx := w.match("source", "a"), once(w.ctx, "K", 1)
		say := matcher.Decision{Match: m, Ruling: storage.WrongMatch, Reason: "no"}
		first, err := w.Decide(ctx, w.who("source"), say)
		must(t, err)
		equal(t, first.Quarantined, []storage.EntryID{id})
		w.clock.Advance(1)
		w.decide("source", m, storage.Removed)
		again, err := w.Decide(ctx, w.who("source"), say)
		must(t, err)
		equal(t, again, first)
		if n := len(must2(w.Match(w.ctx, w.who("source"), m)).Decisions); n != 2 {
			t.Errorf("%d decisions", n)
		}
		must(t, w.down.Update(w.ctx, func(tx storage.Writer) error {
			_, err := tx.ExpireMatches(w.parties["source"], w.clock.Now().Add(time.Hour), 100)
			return err
		}))
		again, err = w.Decide(ctx, w.who("source"), say) // though the match is gone
		must(t, err)
		equal(t, again, first)
	})
}

// TestFloodOfOne: what floods a party is taken out for it; for all, if it floods another party, too.
func TestFloodOfOne(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Flood = ptr(2) }))
		id := w.pictured("list", "e", 12)
		const hashes, files, both = 1, 2, 3
		floods := func(party string, sends, n int) (last matcher.Verdict) {
			t.Helper()
			w.subscribe(party, "list", matcher.SubscriptionEdit{})
			for i := range n {
				q := matcher.Question{Who: w.who(party)}
				if sends&hashes != 0 {
					q.Signals = []hashing.Signal{content(i)}
				}
				if sends&files != 0 {
					q.Media = photo(i)
				}
				last = w.check(q)
			}
			return last
		}
		disabled := func(party string) bool {
			t.Helper()
			o, err := w.OverlayOf(w.who(party), id)
			must(t, err)
			return o.Disabled
		}
		for _, test := range []struct {
			party string
			sends int
		}{{"hashes", hashes}, {"also-hashes", hashes}, {"platform", files}, {"hashes-again", hashes}, {"both", both}, {"operator", hashes}} {
			v := floods(test.party, test.sends, 3)
			equal(t, []any{v.Matches[0].Flooded, v.Matches[0].Action.String()}, []any{true, "review"})
			equal(t, []any{disabled(test.party), w.entryOf("e").Status}, []any{true, storage.Active})
			equal(t, len(matched(w.check(w.ask(test.party, content(0))))), 0)
		}
		floods("calm", files, 2)
		equal(t, disabled("calm"), false)
		i := slices.IndexFunc(w.changes(), func(c storage.Change) bool { return c.Kind == storage.OverlaySet })
		if c := w.changes()[i]; c.Actor != "system" || c.Party != w.parties["hashes"] || !strings.Contains(string(c.Private), "more than 2 different contents") {
			t.Errorf("change %+v", c)
		}

		// Who takes its overlay back does not speak for others any more.
		must(t, w.Overlay(w.ctx, w.who("platform"), id, false, nil, ""))
		floods("second", files, 3)
		equal(t, []any{disabled("second"), w.entryOf("e").Status}, []any{true, storage.Active})
		floods("third", files, 3)
		equal(t, []any{disabled("third"), w.entryOf("e").Status}, []any{false, storage.Quarantined})
		must(t, w.Restore(w.ctx, w.who("source"), id, "a test"))
		equal(t, []any{disabled("second"), disabled("hashes")}, []any{false, false})
		floods("fourth", files, 3) // it begins anew
		equal(t, []any{disabled("fourth"), w.entryOf("e").Status}, []any{true, storage.Active})

		// The owner's own checks take it out, with media or without.
		floods("source", hashes, 3)
		equal(t, w.entryOf("e").Status, storage.Quarantined)

		// Whatever took it out, a restoration answers it.
		must(t, w.Restore(w.ctx, w.who("source"), id, "a test"))
		floods("source", hashes, 2)
		must(t, w.Retract(w.ctx, w.who("source"), id, "a test"))
		must(t, w.Restore(w.ctx, w.who("source"), id, "a test"))
		w.check(w.ask("source", content(7)))
		equal(t, w.entryOf("e").Status, storage.Active)
	})
}

// TestFloodOfOneAtTheSameTime: many checks of one party at the same time are no second party.
func TestFloodOfOneAtTheSameTime(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Flood = ptr(2) }))
		w.pictured("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		who := w.who("platform")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 4 {
					if _, err := w.Check(w.ctx, matcher.Question{Who: who, Media: photo(4*i + j)}); err != nil && !strings.Contains(err.Error(), "format") {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		set := 0
		for _, c := range w.changes() {
			if c.Kind == storage.OverlaySet {
				set++
			}
		}
		equal(t, []any{set, w.entryOf("e").Status}, []any{1, storage.Active})
	})
}
