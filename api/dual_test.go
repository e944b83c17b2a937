package api_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// TestDualControlOfEntries adds, retracts and restores where a second person has to agree.
func TestDualControlOfEntries(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.keys["second"] = n.key("operator", storage.Analyst)
	_, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "careful", Dual: some(true)})
	must(t, err)
	level := func() v1.Level {
		t.Helper()
		got, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}})
		must(t, err)
		return got.JSON200.Level
	}
	flagged := n.flag("careful", nil, digest(1))
	id := flagged.Entry.Id
	equal(t, "status", flagged.Entry.Status, v1.Proposed)
	equal(t, "matchable", flagged.Matchable, false)
	equal(t, "proposal", flagged.Entry.Proposal.Kind, "entry.confirmed")
	equal(t, "level while proposed", level(), v1.LevelNone)

	waiting, err := n.as("second").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{Waiting: some(true)})
	must(t, err)
	equal(t, "waiting", len(waiting.JSON200.Entries), 1)
	own, err := n.as("analyst").ConfirmEntryWithResponse(t.Context(), id)
	must(t, err)
	equal(t, "confirming one's own", problemType(own.ApplicationproblemJSONDefault), "second-person")
	confirm := func(who string) *v1.ConfirmEntryResponse {
		t.Helper()
		got, err := n.as(who).ConfirmEntryWithResponse(t.Context(), id)
		must(t, err)
		return got
	}
	equal(t, "confirmed", confirm("second").JSON200.Status, v1.Active)
	equal(t, "level when confirmed", level(), v1.LevelMatch)
	equal(t, "confirmed again", problemType(confirm("second").ApplicationproblemJSONDefault), "nothing-proposed")

	retracted, err := n.as("analyst").RetractWithResponse(t.Context(), id, reason("mistake")) // what stops matching does not wait
	must(t, err)
	equal(t, "retracted", retracted.JSON200.Status, v1.Retracted)
	restored, err := n.as("analyst").RestoreWithResponse(t.Context(), id, reason("no mistake"))
	must(t, err)
	equal(t, "restored", restored.JSON200.Status, v1.Retracted)
	equal(t, "what is proposed", words(restored.JSON200.Proposal.Kind, *restored.JSON200.Proposal.Reason), "entry.restored no mistake")
	again, err := n.as("analyst").RestoreWithResponse(t.Context(), id, reason("no mistake"))
	must(t, err)
	equal(t, "proposed again", problemType(again.ApplicationproblemJSONDefault), "pending")
	rejected, err := n.as("analyst").RejectEntryWithResponse(t.Context(), id, reason("a mistake after all"))
	must(t, err)
	equal(t, "rejected", words(rejected.JSON200.Status, rejected.JSON200.Proposal == nil), "retracted true")
	empty, err := n.as("analyst").RejectEntryWithResponse(t.Context(), id, reason("twice"))
	must(t, err)
	equal(t, "rejected again", problemType(empty.ApplicationproblemJSONDefault), "nothing-proposed")
	waiting, err = n.as("second").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{Waiting: some(true)})
	must(t, err)
	equal(t, "waiting at the end", len(waiting.JSON200.Entries), 0)
}

// TestDualControlOfBanks changes a bank that needs a second person.
func TestDualControlOfBanks(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.keys["second"] = n.key("operator", storage.Admin)
	_, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "careful", Dual: some(true)})
	must(t, err)
	change := func() *v1.ChangeBankResponse {
		t.Helper()
		got, err := n.as("admin").ChangeBankWithResponse(t.Context(), "careful", v1.BankChange{Open: some(true), Members: &[]string{"shop"}})
		must(t, err)
		return got
	}
	proposed := change().JSON200
	equal(t, "as it is", words(proposed.Open, len(proposed.Members)), "false 0")
	would := proposed.Proposal.Bank
	equal(t, "as it would be", words(proposed.Proposal.Kind, would.Open, would.Members, would.Deleted), "bank.changed true [shop] false")
	equal(t, "another change", problemType(change().ApplicationproblemJSONDefault), "pending")
	own, err := n.as("admin").ConfirmBankWithResponse(t.Context(), "careful")
	must(t, err)
	equal(t, "confirming one's own", problemType(own.ApplicationproblemJSONDefault), "second-person")
	rejected, err := n.as("admin").RejectBankWithResponse(t.Context(), "careful")
	must(t, err)
	equal(t, "rejected", words(rejected.JSON200.Open, rejected.JSON200.Proposal == nil), "false true")
	none, err := n.as("second").ConfirmBankWithResponse(t.Context(), "careful")
	must(t, err)
	equal(t, "confirming nothing", problemType(none.ApplicationproblemJSONDefault), "nothing-proposed")
	change()
	confirmed, err := n.as("second").ConfirmBankWithResponse(t.Context(), "careful")
	must(t, err)
	equal(t, "confirmed", words(confirmed.JSON200.Open, confirmed.JSON200.Members, confirmed.JSON200.Proposal == nil), "true [shop] true")
}

// TestKnownGood flags what is like something good, and checks what is nearer to that.
func TestKnownGood(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.keys["second"] = n.key("operator", storage.Analyst)
	kind := v1.KnownGoodBank
	made, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "good", Kind: &kind})
	must(t, err)
	equal(t, "needs a second person", made.JSON201.Dual, true)
	n.bank("bad")
	pdq := func(flipped int) v1.Signal {
		return v1.Signal{Algorithm: v1.Pdq, Value: strings.Repeat("f0", flipped) + strings.Repeat("0f", 32-flipped)}
	}
	good := n.flag("good", nil, pdq(0)).Entry.Id
	_, err = n.as("second").ConfirmEntryWithResponse(t.Context(), good)
	must(t, err)

	flag := func(despite bool) *v1.FlagResponse {
		t.Helper()
		got, err := n.as("analyst").FlagWithResponse(t.Context(), "bad", v1.FlagSignals{Signals: v1.Signals{pdq(2)}, DespiteKnownGood: &despite})
		must(t, err)
		return got
	}
	equal(t, "near what is good", problemType(flag(false).ApplicationproblemJSONDefault), "known-good")
	equal(t, "despite that", flag(true).StatusCode(), http.StatusCreated)

	got, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{pdq(0)}})
	must(t, err)
	v := got.JSON200
	equal(t, "verdict", words(v.Level, v.Action, v.MatchesTotal), "none none 1")
	m := v.Matches[0]
	equal(t, "suppressed by", *m.SuppressedBy, v1.Suppression{Entry: good, Bank: "good", Algorithm: v1.Pdq, Distance: 0})
	equal(t, "limits", limitsText(m.Limits), "suppressed")
	got, err = n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{pdq(2)}})
	must(t, err)
	equal(t, "nearer to what is bad", words(got.JSON200.Level, got.JSON200.Matches[0].SuppressedBy == nil), "match true")
}

// TestTestBank shows matches that count for nothing.
func TestTestBank(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	kind, block := v1.TestBank, v1.ActionBlock
	_, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "trial", Kind: &kind, Action: &block})
	must(t, err)
	n.flag("trial", nil, digest(1))
	got, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}})
	must(t, err)
	m := got.JSON200.Matches[0]
	equal(t, "verdict", words(got.JSON200.Level, got.JSON200.Action), "none none")
	equal(t, "match", words(m.Level, m.Action, *m.Test, limitsText(m.Limits)), "match log true test")
}
