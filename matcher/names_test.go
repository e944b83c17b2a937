package matcher_test

import (
	"errors"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// TestBankNames: what a party calls its banks neither tells another anything nor stands in its way.
func TestBankNames(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		named := func(who matcher.Principal, name string) (b storage.Bank, err error) {
			err = w.down.View(w.ctx, func(r storage.Reader) (err error) {
				b, err = matcher.NamedBank(r, who, name)
				return err
			})
			return b, err
		}
		is := func(who matcher.Principal, name string, want storage.Bank) {
			t.Helper()
			b, err := named(who, name)
			must(t, err)
			equal(t, b.ID, want.ID)
		}
		isNot := func(who matcher.Principal, name string, want error) {
			t.Helper()
			if _, err := named(who, name); !errors.Is(err, want) {
				t.Errorf("%s asks for %s: %v, want %v", who.Actor, name, err, want)
			}
		}
		source, mallory, platform := w.who("source"), w.who("mallory"), w.who("platform")

		// A name that another has is free, be the other's bank seen or not, alive or not.
		theirs := w.bank("source", "list", block())
		mine := w.bank("mallory", "list", block())
		is(source, "list", theirs)
		is(mallory, "list", mine)
		is(source, "source:list", theirs)
		isNot(mallory, "source:list", matcher.ErrUnknownBank)
		isNot(mallory, "nobody:list", matcher.ErrUnknownBank)
		isNot(platform, "list", matcher.ErrUnknownBank)
		wantErr(t, second(w.CreateBank(w.ctx, source, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("list")}})), matcher.ErrBankExists)
		must(t, second(w.DeleteBank(w.ctx, source, "list")))
		must(t, second(w.ChangeBank(w.ctx, mallory, "list", matcher.BankEdit{Description: ptr("d")})))
		must(t, second(w.RestoreBank(w.ctx, mallory, "list"))) // which was never deleted: nothing to do
		is(source, "list", theirs)                             // though it is deleted, and another's is not
		must(t, second(w.RestoreBank(w.ctx, source, "list")))

		// One bank of others goes by its bare name; of several it must be said whose.
		open := matcher.BankEdit{Open: ptr(true)}
		must(t, second(w.ChangeBank(w.ctx, source, "list", open)))
		is(platform, "list", theirs)
		must(t, second(w.ChangeBank(w.ctx, mallory, "list", open)))
		is(platform, "source:list", theirs)
		is(platform, "mallory:list", mine)
		isNot(platform, "list", matcher.ErrAmbiguous)
		_, err := named(platform, "list")
		if !strings.Contains(err.Error(), "mallory:list, source:list") {
			t.Errorf("it is not said which: %v", err)
		}
		is(source, "list", theirs) // an own one is never in doubt
		must(t, second(w.DeleteBank(w.ctx, mallory, "list")))
		is(platform, "list", theirs)
		isNot(platform, "list:list", matcher.ErrUnknownBank)
		isNot(platform, ":list", matcher.ErrUnknownBank)
		isNot(platform, "source:", matcher.ErrUnknownBank)

		// What is deleted does not hide what is not, nor keep its owner from having it back.
		gone := w.bank("platform", "list", block())
		must(t, second(w.DeleteBank(w.ctx, platform, "list")))
		is(platform, "list", theirs)
		wantErr(t, second(w.ChangeBank(w.ctx, platform, "list", open)), matcher.ErrUnknownBank)
		must(t, second(w.RestoreBank(w.ctx, platform, "list")))
		is(platform, "list", gone)
		must(t, second(w.DeleteBank(w.ctx, platform, "list")))
		must(t, second(w.DeleteBank(w.ctx, source, "list")))
		is(platform, "list", gone) // of what is deleted, its own
		must(t, second(w.RestoreBank(w.ctx, source, "list")))

		// Whoever oversees sees that there are two, and says which.
		must(t, second(w.RestoreBank(w.ctx, mallory, "list")))
		isNot(local, "list", matcher.ErrAmbiguous)
		is(local, "mallory:list", mine)
	})
}

// TestBankNamesInChecks: a verdict calls banks as the party that asks does, which may ask for them by these names.
func TestBankNamesInChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("source", "list", shared("block"))
	w.at("list", "e", 4)
	w.bank("mallory", "list", shared("block"))
	w.at("list", "f", 6)
	for _, name := range []string{"source:list", "mallory:list"} {
		w.subscribe("platform", name, matcher.SubscriptionEdit{})
	}
	asked := func(banks ...string) (found []string) {
		q := w.ask("platform")
		q.Banks = banks
		for _, f := range w.check(q).Matches {
			found = append(found, f.Bank.Name)
		}
		return found
	}
	equal(t, asked(), []string{"source:list", "mallory:list"})
	equal(t, asked("mallory:list"), []string{"mallory:list"})
	q := w.ask("platform")
	q.Banks = []string{"list"}
	_, err := w.Check(w.ctx, q)
	wantErr(t, err, matcher.ErrAmbiguous)
	w.bank("platform", "list", block())
	w.at("list", "g", 8)
	equal(t, asked("list"), []string{"list"})
	equal(t, asked("platform:list", "source:list"), []string{"source:list", "list"})
	// A list for a known-good bank is not refused for being near what that bank has, whichever way it is named.
	w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Action: ptr("log")}})
	w.at("good", "h", 90)
	for _, name := range []string{"good", "platform:good"} {
		row := matcher.Listed{Signals: []hashing.Signal{away(upload, 92)}}
		out, _, err := w.FlagList(w.ctx, w.who("platform"), name, []matcher.Listed{row}, matcher.ListOptions{DryRun: true})
		must(t, err)
		must(t, out[0].Err)
	}
	// But for what another's has that is called the same, even while one's own does not count.
	w.bank("mallory", "trusted", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
	w.at("trusted", "i", 60)
	w.subscribe("platform", "mallory:trusted", matcher.SubscriptionEdit{})
	w.bank("platform", "trusted", block())
	w.subscribe("platform", "trusted", matcher.SubscriptionEdit{On: ptr(false)})
	row := matcher.Listed{Signals: []hashing.Signal{away(upload, 61)}}
	out, _, err := w.FlagList(w.ctx, w.who("platform"), "trusted", []matcher.Listed{row}, matcher.ListOptions{DryRun: true})
	must(t, err)
	wantErr(t, out[0].Err, matcher.ErrKnownGood)
	q.Banks = []string{"platform:other"}
	_, err = w.Check(w.ctx, q)
	wantErr(t, err, matcher.ErrUnknownBank)
}
