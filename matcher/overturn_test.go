package matcher_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

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

		// It is heard when the owner overturns one, too; a restoration is the answer to what was decided before.
		equal(t, taken(w.overturns("source", "a")), fmt.Sprint("for all [", id, "], for itself []"))
		equal(t, w.entryOf("e").Status, storage.Quarantined)
		must(t, w.Restore(w.ctx, w.who("source"), id, "it is right"))
		equal(t, taken(w.overturns("source", "d", "e")), "for all [], for itself []")
		equal(t, w.entryOf("e").Status, storage.Active)
		equal(t, taken(w.overturns("source", "f")), fmt.Sprint("for all [", id, "], for itself []"))
	})
}

// TestOverturnedByTwo: parties together take an entry out for all, as long as they may read it.
func TestOverturnedByTwo(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		for _, p := range []string{"one", "two", "former"} {
			w.who(p)
		}
		members := []string{"one", "two", "former"}
		w.bank("source", "list", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Members: &members, Overturn: &storage.Overturn{Rate: 0.6, Min: 4}}})
		id := w.at("list", "e", 4)
		w.overturns("former", "a", "b", "c")
		late := w.match("former", "d")
		must(t, w.ship(w.ctx))
		_, err := w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{"one", "two"}})
		must(t, err)
		equal(t, taken(w.decide("former", late, storage.WrongMatch)), "for all [], for itself []") // it may not read it any more
		equal(t, taken(w.overturns("one", "a", "b", "c")), "for all [], for itself []")
		w.decide("two", func() storage.MatchID {
			w.subscribe("two", "list", matcher.SubscriptionEdit{})
			return w.match("two", "a")
		}(), storage.Removed) // 3 of 4, of one party
		equal(t, w.entryOf("e").Status, storage.Active)
		d := w.overturns("two", "b") // 4 of 5, of two
		equal(t, taken(d), fmt.Sprint("for all [", id, "], for itself []"))
		if e := w.entryOf("e"); e.Status != storage.Quarantined || !strings.Contains(e.Reason, "4 of 5 uploads") {
			t.Errorf("%s: %s", e.Status, e.Reason)
		}
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
	})
}

// TestFloodOfOne: what floods a party is taken out for it; for all, if it floods another party, too.
func TestFloodOfOne(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Flood = ptr(2) }))
		id := w.at("list", "e", 12)
		picture := func(n int) *hashing.Media { return media([]byte(fmt.Sprint("not a picture ", n))) }
		floods := func(party string, withMedia bool, n int) (last matcher.Verdict) {
			t.Helper()
			w.subscribe(party, "list", matcher.SubscriptionEdit{})
			for i := range n {
				q := w.ask(party, content(i))
				if withMedia {
					q.Media = picture(i)
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
			party     string
			withMedia bool
		}{{"hashes", false}, {"also-hashes", false}, {"platform", true}, {"hashes-again", false}} {
			v := floods(test.party, test.withMedia, 3)
			equal(t, []any{v.Matches[0].Flooded, v.Matches[0].Action.String()}, []any{true, "review"})
			equal(t, []any{disabled(test.party), w.entryOf("e").Status}, []any{true, storage.Active})
			equal(t, len(matched(w.check(w.ask(test.party, content(0))))), 0)
		}
		floods("calm", true, 2)
		equal(t, disabled("calm"), false)
		i := slices.IndexFunc(w.changes(), func(c storage.Change) bool { return c.Kind == storage.OverlaySet })
		if c := w.changes()[i]; c.Actor != "system" || c.Party != w.parties["hashes"] || !strings.Contains(string(c.Private), "more than 2 different contents") {
			t.Errorf("change %+v", c)
		}

		// Who takes its overlay back does not speak for others any more.
		must(t, w.Overlay(w.ctx, w.who("platform"), id, false, nil, ""))
		floods("second", true, 3)
		equal(t, []any{disabled("second"), w.entryOf("e").Status}, []any{true, storage.Active})
		floods("third", true, 3)
		equal(t, []any{disabled("third"), w.entryOf("e").Status}, []any{false, storage.Quarantined})
		must(t, w.Restore(w.ctx, w.who("source"), id, "a test"))
		floods("fourth", true, 3) // it begins anew
		equal(t, []any{disabled("fourth"), w.entryOf("e").Status}, []any{true, storage.Active})

		// The owner's own checks take it out, with media or without.
		floods("source", false, 3)
		equal(t, w.entryOf("e").Status, storage.Quarantined)

		// Whatever took it out, a restoration answers it.
		must(t, w.Restore(w.ctx, w.who("source"), id, "a test"))
		floods("source", false, 2)
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
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		who := w.who("platform")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 4 {
					n := 4*i + j
					q := matcher.Question{Who: who, Signals: []hashing.Signal{content(n)}, Media: media([]byte(fmt.Sprint("not a picture ", n)))}
					if _, err := w.Check(w.ctx, q); err != nil && !strings.Contains(err.Error(), "format") {
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
