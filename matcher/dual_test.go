package matcher_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// dual is a bank under dual control.
func dual(action string) matcher.NewBank {
	return matcher.NewBank{BankEdit: matcher.BankEdit{Action: &action, Dual: ptr(true)}}
}

func flagging(distance int) matcher.Flagging {
	return matcher.Flagging{Signals: []hashing.Signal{away(upload, distance)}}
}

func TestDualEntry(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		who, second := w.who("platform"), w.colleague("platform")
		matches := func() int { return w.check(w.ask("platform")).MatchesTotal }
		status := func() string {
			e := w.entryOf("e")
			words := string(e.Status)
			if e.Proposal != nil {
				words += fmt.Sprintf(", %s by %s", e.Proposal.Kind, e.Proposal.Actor)
			}
			return words
		}
		out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(12).Signals})
		must(t, err)
		id := out.Entry.ID
		w.flagged["e"] = id
		if out.Matchable || !out.Created {
			t.Errorf("flagged %+v", out)
		}
		w.opine("platform", "e", storage.Saw) // there is a change in between
		for _, step := range []struct {
			name    string
			do      func() error
			err     error
			status  string
			matches int
		}{
			{"flagged", func() error { return nil }, nil, "proposed, entry.confirmed by platform", 0},
			{"confirmed by who flagged it", func() error { return w.Confirm(w.ctx, who, id) }, matcher.ErrSecondPerson, "proposed, entry.confirmed by platform", 0},
			{"restored instead", func() error { return w.Restore(w.ctx, second, id, "a test") }, matcher.ErrPending, "proposed, entry.confirmed by platform", 0},
			{"confirmed", func() error { return w.Confirm(w.ctx, second, id) }, nil, "active", 1},
			{"confirmed again", func() error { return w.Confirm(w.ctx, second, id) }, matcher.ErrNothingProposed, "active", 1},
			{"rejected too late", func() error { return w.Reject(w.ctx, second, id, "a test") }, matcher.ErrNothingProposed, "active", 1},
			{"retracted, for which one suffices", func() error { return w.Retract(w.ctx, who, id, "a test") }, nil, "retracted", 0},
			{"restored", func() error { return w.Restore(w.ctx, second, id, "a test") }, nil, "retracted, entry.restored by platform's colleague", 0},
			{"restored again", func() error { return w.Restore(w.ctx, who, id, "a test") }, matcher.ErrPending, "retracted, entry.restored by platform's colleague", 0},
			{"that confirmed by oneself", func() error { return w.Confirm(w.ctx, second, id) }, matcher.ErrSecondPerson, "retracted, entry.restored by platform's colleague", 0},
			{"that rejected by oneself", func() error { return w.Reject(w.ctx, second, id, "a test") }, nil, "retracted", 0},
			{"restored once more", func() error { return w.Restore(w.ctx, second, id, "a test") }, nil, "retracted, entry.restored by platform's colleague", 0},
			{"and confirmed", func() error { return w.Confirm(w.ctx, who, id) }, nil, "active", 1},
		} {
			if err := step.do(); !errors.Is(err, step.err) {
				t.Errorf("%s: answered %v, want %v", step.name, err, step.err)
			}
			if got := status(); got != step.status || matches() != step.matches {
				t.Errorf("%s: %s, %d matches; want %s, %d", step.name, got, matches(), step.status, step.matches)
			}
		}
		var told []string
		for _, c := range w.changes() {
			if c.Entry == id && c.Kind != storage.OpinionGiven {
				told = append(told, fmt.Sprintf("%s by %s", c.Kind, c.Actor))
			}
		}
		equal(t, told, []string{
			"entry.added by platform", "entry.confirmed by platform's colleague", "entry.retracted by platform",
			"entry.proposed by platform's colleague", "entry.rejected by platform's colleague",
			"entry.proposed by platform's colleague", "entry.restored by platform",
		})
	})
}

// One that is rejected, or taken back by who flagged it, was never active, and can be flagged again.
func TestDualEntryRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("platform", "own", dual("block"))
	for i, take := range []func(storage.EntryID) error{
		func(id storage.EntryID) error { return w.Reject(w.ctx, w.colleague("platform"), id, "no") },
		func(id storage.EntryID) error { return w.Retract(w.ctx, w.who("platform"), id, "no") },
	} {
		name := fmt.Sprint("e", i)
		id := w.propose("own", name, "", flagging(12))
		wantInput(t, w.Reject(w.ctx, w.colleague("platform"), id, ""), "reason")
		must(t, take(id))
		e := w.entryOf(name)
		if e.Status != storage.Retracted || e.Proposal != nil || e.Reason != "no" {
			t.Errorf("taken back: %+v", e)
		}
	}
	equal(t, w.check(w.ask("platform")).MatchesTotal, 0)
	equal(t, w.flagged["e0"] != w.flagged["e1"], true)
}

// What is proposed survives its node, and its reason is not in the public part of the log.
func TestProposalsAreKept(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		const reason = "told by Mr. Smith"
		w.bank("platform", "own", dual("block"))
		fresh := w.propose("own", "fresh", "", flagging(12))
		old := w.at("own", "old", 20)
		must(t, w.Retract(w.ctx, w.who("platform"), old, reason))
		must(t, w.Restore(w.ctx, w.who("platform"), old, reason))
		b, err := w.ChangeBank(w.ctx, w.who("platform"), "own", matcher.BankEdit{Action: ptr("log")})
		must(t, err)
		if b.Policy.Action != "block" || b.Proposal == nil || b.Proposal.Bank.Policy.Action != "log" {
			t.Errorf("proposed %+v", b)
		}
		for _, c := range w.changes() {
			if strings.Contains(string(c.Body)+string(c.Record), "Smith") {
				t.Errorf("the public part of %s holds the reason", c.Kind)
			}
		}

		after := follow(t, w.catalogue, matcher.Options{Patience: patience})
		defer after.stop()
		must(t, after.Follower().Await(w.ctx, w.Follower().Seq()))
		equal(t, after.Follower().State().Banks, w.Follower().State().Banks)
		q := w.ask("platform")
		equal(t, after.check(q).MatchesTotal, 0)
		wantErr(t, after.Confirm(w.ctx, w.who("platform"), fresh), matcher.ErrSecondPerson)
		must(t, after.Confirm(w.ctx, w.colleague("platform"), fresh))
		must(t, after.Confirm(w.ctx, w.colleague("platform"), old))
		equal(t, w.entryOf("old").Reason, reason)
		_, err = after.ConfirmBank(w.ctx, w.colleague("platform"), "own")
		must(t, err)
		v := after.check(q)
		equal(t, []any{v.MatchesTotal, v.Action}, []any{2, matcher.ActionLog})
	})
}

// Of those who confirm at the same time one does it, and the others are told that there is nothing left.
func TestConfirmsAtTheSameTime(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		id := w.propose("own", "e", "", flagging(12))
		must(t, second(w.ChangeBank(w.ctx, w.who("platform"), "own", matcher.BankEdit{Action: ptr("log")})))
		before := len(w.changes())
		for name, confirm := range map[string]func(matcher.Principal) error{
			"entry": func(p matcher.Principal) error { return w.Confirm(w.ctx, p, id) },
			"bank":  func(p matcher.Principal) error { return second(w.ConfirmBank(w.ctx, p, "own")) },
		} {
			const people = 6
			errs := make([]error, people)
			var wg sync.WaitGroup
			for i := range people {
				p := w.who("platform")
				p.Actor = fmt.Sprint("colleague ", i)
				wg.Go(func() { errs[i] = confirm(p) })
			}
			wg.Wait()
			done := 0
			for _, err := range errs {
				if err == nil {
					done++
				} else {
					wantErr(t, err, matcher.ErrNothingProposed)
				}
			}
			if done != 1 {
				t.Errorf("%d confirmed the %s", done, name)
			}
		}
		equal(t, len(w.changes()), before+2)
	})
}

func TestDualBank(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		w.at("own", "e", 12)
		who, other := w.who("platform"), w.colleague("platform")
		action := func() string { v := w.check(w.ask("platform")); return v.Action.String() }

		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Action: ptr("label")})))
		equal(t, action(), "block")
		wantErr(t, second(w.ChangeBank(w.ctx, other, "own", matcher.BankEdit{Action: ptr("hold")})), matcher.ErrPending)
		wantErr(t, second(w.DeleteBank(w.ctx, other, "own")), matcher.ErrPending)
		wantErr(t, second(w.ConfirmBank(w.ctx, who, "own")), matcher.ErrSecondPerson)
		must(t, second(w.ConfirmBank(w.ctx, other, "own")))
		equal(t, action(), "label")
		wantErr(t, second(w.ConfirmBank(w.ctx, other, "own")), matcher.ErrNothingProposed)

		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Action: ptr("log")})))
		must(t, second(w.RejectBank(w.ctx, who, "own"))) // by who proposed it
		equal(t, action(), "label")

		must(t, second(w.DeleteBank(w.ctx, who, "own")))
		equal(t, action(), "label")
		must(t, second(w.ConfirmBank(w.ctx, other, "own")))
		equal(t, action(), "none")
		must(t, second(w.RestoreBank(w.ctx, other, "own")))
		equal(t, action(), "none")
		must(t, second(w.ConfirmBank(w.ctx, who, "own")))
		equal(t, action(), "label")

		// A name that is free when it is proposed may be taken when it is confirmed.
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Name: ptr("new")})))
		w.bank("platform", "new", block())
		wantErr(t, second(w.ConfirmBank(w.ctx, other, "own")), matcher.ErrBankExists)
		must(t, second(w.RejectBank(w.ctx, other, "own")))

		// To end dual control takes two as well; then one suffices.
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Dual: ptr(false)})))
		must(t, second(w.ConfirmBank(w.ctx, other, "own")))
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Action: ptr("hold")})))
		equal(t, action(), "hold")
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Dual: ptr(true)}))) // and to begin it
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Action: ptr("log")})))
		equal(t, action(), "hold")

		// An edit that changes nothing proposes nothing.
		must(t, second(w.RejectBank(w.ctx, who, "own")))
		before := len(w.changes())
		must(t, second(w.ChangeBank(w.ctx, who, "own", matcher.BankEdit{Action: ptr("hold")})))
		equal(t, len(w.changes()), before)
	})
}

// A bank of what is known good is under dual control, and stays so.
func TestKnownGoodBank(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		b := w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Dual: ptr(false)}})
		equal(t, b.Dual, true)
		before := len(w.changes())
		must(t, second(w.ChangeBank(w.ctx, w.who("platform"), "good", matcher.BankEdit{Dual: ptr(false)})))
		equal(t, len(w.changes()), before)
		must(t, second(w.ChangeBank(w.ctx, w.who("platform"), "good", matcher.BankEdit{Radius: &radii{hashing.PDQ: 5}, Dual: ptr(false)})))
		equal(t, w.Follower().State().Banks[b.ID].Policy.Radius, radii{hashing.PDQ: 31})
		must(t, second(w.ConfirmBank(w.ctx, w.colleague("platform"), "good")))
		equal(t, w.Follower().State().Banks[b.ID].Policy.Radius, radii{hashing.PDQ: 5})
		equal(t, w.Follower().State().Banks[b.ID].Dual, true)

		// To add to it and to take from it both take two.
		id := w.propose("good", "g", "", flagging(0))
		equal(t, w.entryOf("g").Status, storage.Proposed)
		must(t, w.Confirm(w.ctx, w.colleague("platform"), id))
		must(t, w.Retract(w.ctx, w.who("platform"), id, "a test"))
		equal(t, w.entryOf("g").Status, storage.Active)
		wantErr(t, w.Retract(w.ctx, w.colleague("platform"), id, "a test"), matcher.ErrPending)
		wantErr(t, w.Confirm(w.ctx, w.who("platform"), id), matcher.ErrSecondPerson)
		must(t, w.Confirm(w.ctx, w.colleague("platform"), id))
		equal(t, w.entryOf("g").Status, storage.Retracted)

		_, err := w.CreateBank(w.ctx, w.who("platform"), matcher.NewBank{Kind: "bad", BankEdit: matcher.BankEdit{Name: ptr("b")}})
		wantInput(t, err, "kind")
	})
}

// What is near a known-good entry is flagged only by who says so; also by one whose party merely subscribes to it.
func TestFlagNearKnownGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
	w.at("good", "g", 8)
	w.bank("platform", "own", block())
	flag := func(distance int, despite bool) error {
		_, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: w.who("platform"), Signals: flagging(distance).Signals, DespiteKnownGood: despite})
		return err
	}
	must(t, flag(1, false)) // to which it does not subscribe
	w.subscribe("platform", "good", matcher.SubscriptionEdit{})
	wantErr(t, flag(2, false), matcher.ErrKnownGood)
	must(t, flag(2, true))
	must(t, flag(40, false)) // 32 bits from it
}

// Under dual control, what a flag adds to a media that the bank has needs a second person, too, and can be confirmed.
func TestDualFlagAddsSignals(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		pdq := away(upload, 12)
		had := w.of("own", "had", "", pdq)

		// The same is a further source.
		out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: w.colleague("platform"), Signals: []hashing.Signal{pdq}})
		must(t, err)
		if out.Created || out.Entry.ID != had || len(out.Entry.Sources) != 2 {
			t.Errorf("flagged again: %+v", out)
		}

		more := w.propose("own", "more", "", matcher.Flagging{Signals: []hashing.Signal{pdq, uploadBytes}})
		if more == had || len(w.entryOf("had").Signals) != 1 {
			t.Error("a signal was added by one person")
		}
		equal(t, len(matched(w.check(w.ask("platform", uploadBytes)))), 0)
		must(t, w.Confirm(w.ctx, w.colleague("platform"), more))
		equal(t, matched(w.check(w.ask("platform", uploadBytes))), []storage.EntryID{more})
	})
}

// One that waits does not hide that another active entry has the same media.
func TestDualTwins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("platform", "own", dual("block"))
	pdq := away(upload, 12)
	old := w.of("own", "old", "", pdq)
	must(t, w.Retract(w.ctx, w.who("platform"), old, "a test"))
	w.propose("own", "waits", "", matcher.Flagging{Signals: []hashing.Signal{pdq}})
	w.of("own", "active", "", pdq, uploadBytes) // more than what waits
	must(t, w.Restore(w.ctx, w.who("platform"), old, "a test"))
	wantErr(t, w.Confirm(w.ctx, w.colleague("platform"), old), matcher.ErrDuplicate)
}

// TestDualKeepsMedia: under dual control, other bytes of a picture that the bank has are an entry of their own, with their media.
func TestDualKeepsMedia(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("d"), Dual: ptr(true), KeepMedia: ptr(true)}})
	must(t, err)
	first := pngOf(drawn(1))
	for _, data := range [][]byte{first, append(slices.Clone(first), "trailing"...)} {
		f, err := n.Flag(n.ctx, matcher.Flagging{Bank: "d", Media: media(data)})
		must(t, err)
		if !f.Created || !f.Entry.Media.Kept {
			t.Errorf("created %t, kept %t", f.Created, f.Entry.Media.Kept)
		}
	}
}

// TestLabelsBesideAProposal: what is labelled while a context rule waits stays when that is confirmed, and what was proposed beside it
// comes.
func TestLabelsBesideAProposal(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		id := w.at("own", "e", 4)
		who := w.who("platform")
		label := func(labels ...string) error { return w.Edit(w.ctx, who, id, matcher.EntryEdit{Labels: &labels}) }
		must(t, label("old", "x"))
		must(t, label("beside", "context:label_only", "old", "x"))
		equal(t, w.entryOf("e").Labels, []string{"old", "x"})
		wantErr(t, label("context:review_always"), matcher.ErrPending)
		must(t, label("tlp:red", "x"))
		equal(t, w.entryOf("e").Labels, []string{"tlp:red", "x"})
		equal(t, w.entryOf("e").Proposal.Labels, []string{"beside", "context:label_only", "tlp:red", "x"})
		must(t, w.Confirm(w.ctx, w.colleague("platform"), id))
		equal(t, w.entryOf("e").Labels, []string{"beside", "context:label_only", "tlp:red", "x"})

		// Together they are bounded as labels are.
		many := make([]string, 32)
		for i := range many {
			many[i] = fmt.Sprint("l", i)
		}
		must(t, label("beside"))
		must(t, w.Confirm(w.ctx, w.colleague("platform"), id))
		must(t, label("beside", "context:label_only"))
		wantInput(t, label(many...), "labels")
		equal(t, w.entryOf("e").Labels, []string{"beside"})
	})
}

// TestSubscriptionAroundDual: nobody does alone by the subscription to a bank of one's own what takes two people there.
func TestSubscriptionAroundDual(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "list", dual("review"))
		w.at("list", "e", 9)
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Action: ptr("log")}})
		w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
		subscribe := func(bank string, edit matcher.SubscriptionEdit) error {
			_, err := w.Subscribe(w.ctx, w.who("platform"), bank, edit)
			return err
		}
		before := len(w.changes())
		for _, c := range []struct {
			bank  string
			edit  matcher.SubscriptionEdit
			field string
		}{
			{"list", matcher.SubscriptionEdit{Action: ptr("block")}, "action"},
			{"list", matcher.SubscriptionEdit{Action: ptr("hold")}, "action"},
			{"good", matcher.SubscriptionEdit{Action: ptr("label")}, "action"},
			{"good", matcher.SubscriptionEdit{On: ptr(false)}, "on"},
			{"good", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 5}}, "cap"},
		} {
			wantInput(t, subscribe(c.bank, c.edit), c.field)
		}
		equal(t, len(w.changes()), before)
		action := func() string { return w.check(w.ask("platform")).Action.String() }
		equal(t, action(), "review")

		// One person may heed a bank less, and say that it counts as it is; and do with others' banks what one likes.
		for _, c := range []struct {
			edit   matcher.SubscriptionEdit
			action string
		}{
			{matcher.SubscriptionEdit{Action: ptr("log")}, "log"},
			{matcher.SubscriptionEdit{Action: ptr("")}, "review"},
			{matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 8}}, "none"},
			{matcher.SubscriptionEdit{Cap: &radii{}}, "review"},
			{matcher.SubscriptionEdit{On: ptr(false)}, "none"},
			{matcher.SubscriptionEdit{On: ptr(true)}, "review"},
		} {
			must(t, subscribe("list", c.edit))
			equal(t, action(), c.action)
		}
		must(t, subscribe("good", matcher.SubscriptionEdit{On: ptr(true)}))
		must(t, subscribe("source:good", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 5}}))
		must(t, subscribe("source:good", matcher.SubscriptionEdit{On: ptr(false)}))
	})
}
