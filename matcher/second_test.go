package matcher_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

// TestSecondPerson: another key of the same person is not another person, nor is a key that was made to confirm.
func TestSecondPerson(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	c, err := memory.New(storage.Options{Now: clock.Now})
	must(t, err)
	w := worldOver(t, c, matcher.Options{Now: clock.Now})
	w.bank("platform", "own", dual("block"))
	key := func(name string) matcher.Principal {
		k, _, err := w.CreateKey(w.ctx, w.who("platform"), matcher.NewKey{Name: name, Role: storage.Admin})
		must(t, err)
		return matcher.Principal{Actor: k.ID, Party: k.Party, Role: k.Role}
	}
	who, again, other := key("Ann Lee"), key(" ann lee"), key("Bob Ray")
	clock.Advance(time.Second)
	flagged, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(12).Signals})
	must(t, err)
	change := matcher.BankEdit{Description: ptr("d")}
	must(t, second(w.ChangeBank(w.ctx, who, "own", change)))
	clock.Advance(time.Second)
	for name, p := range map[string]matcher.Principal{"the same key": who, "the same person's": again, "a new one": key("Cy Fox")} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, w.Confirm(w.ctx, p, flagged.Entry.ID), matcher.ErrSecondPerson)
			wantErr(t, second(w.ConfirmBank(w.ctx, p, "own")), matcher.ErrSecondPerson)
		})
	}
	must(t, w.Confirm(w.ctx, other, flagged.Entry.ID))
	must(t, second(w.ConfirmBank(w.ctx, other, "own")))
}

// TestDualLabels: under dual control the context rule, which has a say about the action, takes two people in either direction.
func TestDualLabels(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		id := w.at("own", "e", 4, "context:label_only", "severity:2")
		who, colleague := w.who("platform"), w.colleague("platform")
		label := func(labels ...string) error {
			return w.Edit(w.ctx, who, id, matcher.EntryEdit{Labels: &labels, Note: ptr(fmt.Sprint(labels))})
		}
		is := func(action matcher.Action, labels ...string) {
			t.Helper()
			equal(t, w.check(w.ask("platform")).Action, action)
			equal(t, w.entryOf("e").Labels, labels)
		}
		must(t, label("context:label_only", "severity:3")) // no say about the action
		is(matcher.ActionLabel, "context:label_only", "severity:3")

		must(t, label())
		is(matcher.ActionLabel, "context:label_only", "severity:3")
		equal(t, w.entryOf("e").Note, "[]") // the note has no say
		equal(t, w.entryOf("e").Proposal.Kind, storage.EntryChanged)
		wantErr(t, w.Confirm(w.ctx, who, id), matcher.ErrSecondPerson)
		wantErr(t, label("context:review_always"), matcher.ErrPending)
		must(t, w.Confirm(w.ctx, colleague, id))
		is(matcher.ActionBlock)

		must(t, label("context:review_always"))
		is(matcher.ActionBlock)
		must(t, w.Reject(w.ctx, colleague, id, "no"))
		is(matcher.ActionBlock)
		must(t, label("context:review_always"))
		must(t, w.Confirm(w.ctx, colleague, id))
		is(matcher.ActionReview, "context:review_always")

		// Nor does the party get round it by what it holds of the entry for itself.
		wantInput(t, w.Overlay(w.ctx, who, id, false, []string{"mine"}, ""), "labels")
		must(t, w.Overlay(w.ctx, who, id, false, []string{"context:review_always", "mine"}, ""))
		must(t, w.Overlay(w.ctx, who, id, true, nil, "")) // of a bank that is not known-good: as retracting
		must(t, w.Overlay(w.ctx, who, id, false, nil, ""))
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Action: ptr("log"), Open: ptr(true)}})
		good := w.at("good", "g", 60)
		wantInput(t, w.Overlay(w.ctx, who, good, true, nil, ""), "disabled")
		must(t, w.Overlay(w.ctx, w.who("other"), good, true, nil, "")) // another party counts what it likes

		// What is proposed does not keep an entry from being taken out.
		must(t, label())
		must(t, w.Retract(w.ctx, who, id, "wrong"))
		if e := w.entryOf("e"); e.Status != storage.Retracted || e.Proposal != nil {
			t.Errorf("retracted: %+v", e)
		}
	})
}

// TestOwnerSeesNoMoreThanItsEntries: of others' matches an owner learns nothing that is not about its own entries, not even by
// asking for it.
func TestOwnerSeesNoMoreThanItsEntries(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("source", "list", shared("block"))
		w.bank("third", "other", shared("block")) // which the source reads
		w.bank("platform", "own", block())
		id := w.at("list", "e", 40) // beyond the radius: to look at, at most
		w.at("own", "f", 2)
		w.bank("source", "trial", shared("block", func(n *matcher.NewBank) { n.Kind = storage.TestBank }))
		trial := w.at("trial", "t", 4)
		w.at("other", "g", 3)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.subscribe("platform", "other", matcher.SubscriptionEdit{})
		w.bank("third", "thirds", block())
		w.at("thirds", "h", 5)
		w.subscribe("third", "trial", matcher.SubscriptionEdit{})
		equal(t, w.check(w.ask("third")).Level, matcher.Match)
		q := w.ask("platform")
		q.ContentID, q.Band = "post-1", true
		w.check(q)
		must(t, w.ship(w.ctx))
		of := func(party string, q storage.MatchQuery) []matcher.MatchView {
			t.Helper()
			q.Entry, q.Limit = cmp.Or(q.Entry, id), 10
			views, err := w.Matches(w.ctx, w.who(party), q)
			must(t, err)
			return views
		}
		views := of("source", storage.MatchQuery{})
		equal(t, len(views), 1)
		mine := of("platform", storage.MatchQuery{})[0]
		equal(t, []string{mine.Level, mine.Action}, []string{"match", "block"})
		theirs := views[0]
		if theirs.Level == "match" || theirs.Action != "" {
			t.Errorf("the owner is told %s, %s: it is another bank's", theirs.Level, theirs.Action)
		}
		equal(t, of("source", storage.MatchQuery{Entry: trial})[0].Level, "none")
		equal(t, len(of("source", storage.MatchQuery{Bank: w.bankOf("e")})), 1)
		for name, q := range map[string]storage.MatchQuery{
			"content": {Content: "post-1"}, "level": {Level: "match"}, "bank": {Bank: w.bankOf("g")},
		} {
			if found := of("source", q); len(found) > 0 {
				t.Errorf("asked for by %s, the owner finds %d", name, len(found))
			}
			if found := of("platform", q); len(found) != 1 {
				t.Errorf("asked for by %s, who checked finds %d", name, len(found))
			}
		}
		counted := func(p matcher.Principal) uint64 {
			t.Helper()
			c, err := w.Counters(w.ctx, p, []storage.EntryID{id})
			must(t, err)
			return c[id].Total
		}
		equal(t, []uint64{counted(w.who("source")), counted(local), counted(w.who("platform")), counted(w.who("stranger"))}, []uint64{1, 1, 0, 0})
	})
}

func (w *world) bankOf(entry string) storage.BankID {
	w.t.Helper()
	return w.entryOf(entry).Bank
}
