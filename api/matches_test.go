package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/fixtures"
)

// found checks and answers the id of what was found.
func (n *node) found(who, content string, s v1.Signal) string {
	n.t.Helper()
	got, err := n.as(who).CheckWithResponse(n.t.Context(), v1.CheckSignals{Signals: v1.Signals{s}, ContentId: &content})
	must(n.t, err)
	if got.JSON200 == nil || got.JSON200.Match == nil {
		n.t.Fatalf("check: %s: %s", got.Status(), got.Body)
	}
	return *got.JSON200.Match
}

// TestMatchIsTheVerdict reads what a check found: the same JSON, but for what is left out.
func TestMatchIsTheVerdict(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	picture := string(fixtures.Read("hills.jpg"))
	body, kind := form("file", picture, "labels", "a,b")
	equal(t, "flagged", n.send("POST", "/v1/banks/known/entries", body, kind).StatusCode, http.StatusCreated)
	body, kind = form("file", picture, "content_id", "post 4711")
	answer := read(t, n.send("POST", "/v1/check", body, kind).Body)
	var verdict map[string]any
	must(t, json.Unmarshal([]byte(answer), &verdict))
	id := verdict["match"].(string)
	must(t, n.ledger.ship(t.Context()))

	got, err := n.as("auditor").GetMatchWithResponse(t.Context(), id)
	must(t, err)
	m := got.JSON200
	equal(t, "match", words(m.Id, m.Party, *m.ContentId, m.Level, or(m.Action), m.Entries), words(id, "operator", "post 4711", "match", "review", m.Entries))
	equal(t, "entry", words(m.Entries[0].Entry, *m.Entries[0].Bank, m.Entries[0].Level, m.Entries[0].Exact), "1 known match true")
	var kept map[string]any
	must(t, json.Unmarshal(m.Verdict, &kept))
	for _, left := range []string{"match", "signals", "content_id", "timings"} {
		delete(verdict, left)
		delete(kept, left)
	}
	want, _ := json.Marshal(verdict)
	have, _ := json.Marshal(kept)
	equal(t, "verdict", string(have), string(want))
	for _, secret := range hexes.FindAllString(answer, -1) {
		if strings.Contains(string(m.Verdict), secret) && secret != verdict["log_id"] {
			t.Errorf("the record holds %s", secret)
		}
	}

	nothing, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(9)}})
	must(t, err)
	equal(t, "nothing is found, nothing recorded", nothing.JSON200.Match, nil)
	n.ledger.full = true
	body, kind = form("file", picture)
	var v v1.Verdict
	must(t, json.Unmarshal([]byte(read(t, n.send("POST", "/v1/check", body, kind).Body)), &v))
	equal(t, "a full journal", words(v.Level, or(v.Unrecorded), v.Match == nil), "match true true")
}

// TestMatchesByFilter lists matches by each filter, in pages of each size.
func TestMatchesByFilter(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.shared("even", "shop")
	n.shared("odd", "shop")
	banks := [2]string{"even", "odd"}
	entries := [2]int64{n.flag("even", nil, digest(0)).Entry.Id, n.flag("odd", nil, digest(1)).Entry.Id}
	const count = 12
	ids := make([]string, count)
	for i := range count {
		ids[i] = n.found("shop platform", fmt.Sprint("post ", i%3), digest(i%2))
	}
	n.found("platform", "post 0", digest(0)) // another party's
	must(t, n.ledger.ship(t.Context()))
	removed := v1.NewDecision{Ruling: v1.RulingRemoved}
	for i := 0; i < count; i += 4 {
		got, err := n.as("shop platform").DecideWithResponse(t.Context(), ids[i], removed)
		must(t, err)
		equal(t, "decided", got.StatusCode(), http.StatusOK)
	}
	match := v1.LevelMatch
	review := v1.LevelReview
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, test := range []struct {
		name  string
		p     v1.ListMatchesParams
		wants func(i int) bool
	}{
		{"all", v1.ListMatchesParams{}, func(int) bool { return true }},
		{"bank", v1.ListMatchesParams{Bank: &banks[1]}, func(i int) bool { return i%2 == 1 }},
		{"entry", v1.ListMatchesParams{Entry: &entries[0]}, func(i int) bool { return i%2 == 0 }},
		{"content", v1.ListMatchesParams{ContentId: some("post 2")}, func(i int) bool { return i%3 == 2 }},
		{"level", v1.ListMatchesParams{Level: &match}, func(int) bool { return true }},
		{"another level", v1.ListMatchesParams{Level: &review}, func(int) bool { return false }},
		{"standing", v1.ListMatchesParams{Standing: some(true)}, func(i int) bool { return i%4 == 0 }},
		{"since an hour ago", v1.ListMatchesParams{From: &past, Until: &future}, func(int) bool { return true }},
		{"later", v1.ListMatchesParams{From: &future}, func(int) bool { return false }},
		{"earlier", v1.ListMatchesParams{Until: &past}, func(int) bool { return false }},
		{"several", v1.ListMatchesParams{Bank: &banks[0], ContentId: some("post 1")}, func(i int) bool { return i%2 == 0 && i%3 == 1 }},
	} {
		var want []string
		for i := count - 1; i >= 0; i-- {
			if test.wants(i) {
				want = append(want, ids[i])
			}
		}
		for _, limit := range []int{1, 5, 12, 500} {
			var got []string
			p := test.p
			p.Limit = &limit
			for {
				page, err := n.as("shop auditor").ListMatchesWithResponse(t.Context(), &p)
				must(t, err)
				for _, m := range page.JSON200.Matches {
					got = append(got, m.Id)
				}
				if p.Cursor = page.JSON200.Next; p.Cursor == nil {
					break
				}
			}
			equal(t, fmt.Sprintf("%s by %d", test.name, limit), strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	all, err := n.as("auditor").ListMatchesWithResponse(t.Context(), nil)
	must(t, err)
	equal(t, "of all parties", len(all.JSON200.Matches), count+1)
	unknown, err := n.as("shop platform").ListMatchesWithResponse(t.Context(), &v1.ListMatchesParams{Bank: some("nobank")})
	must(t, err)
	equal(t, "an unknown bank", problemType(unknown.ApplicationproblemJSONDefault), "unknown-bank")
}

// TestOwnerSeesWhatRestedOnAnEntry lists another party's matches, without what is that party's own.
func TestOwnerSeesWhatRestedOnAnEntry(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.shared("known", "shop")
	entry := n.flag("known", nil, digest(0)).Entry.Id
	id := n.found("shop platform", "post 1", digest(0))
	_, err := n.as("shop platform").DecideWithResponse(t.Context(), id, v1.NewDecision{Ruling: v1.RulingKept, Reason: some("a friend of ours")})
	must(t, err)
	got, err := n.as("analyst").ListMatchesWithResponse(t.Context(), &v1.ListMatchesParams{Entry: &entry}) // of the operator, and no overseer
	must(t, err)
	equal(t, "matches", len(got.JSON200.Matches), 1)
	m := got.JSON200.Matches[0]
	equal(t, "match", words(m.Id, m.Party, m.Decisions[0].Ruling), words(id, "shop", "kept"))
	if m.ContentId != nil || m.Key != nil || m.Decisions[0].Reason != nil || m.Decisions[0].Actor != nil {
		t.Errorf("it tells too much: %s", got.Body)
	}
}

// TestDecisions decides, decides anew, and takes out what is wrong too often.
func TestDecisions(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	_, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "known", Overturn: &v1.Overturn{Rate: 0.5, Min: 2}})
	must(t, err)
	entry := n.flag("known", nil, digest(0)).Entry.Id
	decide := func(match string, d v1.NewDecision) *v1.DecideResponse {
		t.Helper()
		got, err := n.as("platform").DecideWithResponse(t.Context(), match, d)
		must(t, err)
		return got
	}
	first := n.found("platform", "1", digest(0))
	got := decide(first, v1.NewDecision{Ruling: v1.RulingExempt, LabelCorrect: some(false), Reason: some("news")}).JSON200
	equal(t, "decision", words(got.Match, got.Decision.Ruling, got.Decision.Entries, *got.Decision.MatchCorrect, *got.Decision.LabelCorrect, *got.Decision.Reason),
		words(first, "exempt", []int64{entry}, true, false, "news"))
	equal(t, "quarantined", len(got.Quarantined), 0)
	equal(t, "seq", got.Seq, int64(n.head()))
	for name, bad := range map[string]v1.NewDecision{
		"an entry of another match": {Ruling: v1.RulingKept, Entries: &[]int64{entry + 1}},
		"a contradiction":           {Ruling: v1.RulingWrongMatch, MatchCorrect: some(true)},
	} {
		equal(t, name, problemType(decide(first, bad).ApplicationproblemJSONDefault), "invalid-request")
	}
	for name, match := range map[string]string{"unknown": "0123abcd-99", "of another node": "ffffffff-1"} {
		equal(t, name, problemType(decide(match, v1.NewDecision{Ruling: v1.RulingKept}).ApplicationproblemJSONDefault), "unknown-match")
	}
	for _, id := range []string{"1", "0123abcd-0", "0123abcd-01", "0123ABCD-1", "0123abcd-9999999999999999999"} {
		equal(t, id, n.send("GET", "/v1/matches/"+id, nil).StatusCode, http.StatusBadRequest)
	}

	second := n.found("platform", "2", digest(0))
	equal(t, "what it takes out", words(decide(second, v1.NewDecision{Ruling: v1.RulingWrongMatch}).JSON200.Quarantined), words([]int64{entry}))
	e, err := n.as("analyst").GetEntryWithResponse(t.Context(), entry)
	must(t, err)
	equal(t, "entry", words(e.JSON200.Status, *e.JSON200.Counters), words("quarantined", v1.Counters{Hour: 2, Day: 2, Total: 2, Confirmed: 1, Overturned: 1}))
	if !strings.Contains(*e.JSON200.Reason, "overturned") {
		t.Errorf("reason: %s", *e.JSON200.Reason)
	}
	equal(t, "about what is out", words(decide(second, v1.NewDecision{Ruling: v1.RulingRemoved}).JSON200.Inactive), words([]int64{entry}))
	read, err := n.as("platform").GetMatchWithResponse(t.Context(), second)
	must(t, err)
	equal(t, "decisions", words(read.JSON200.Decisions[0].Ruling, read.JSON200.Decisions[1].Ruling), "wrong_match removed")
	equal(t, "where it stands", words(*read.JSON200.Entries[0].Status, *read.JSON200.Entries[0].Out), "quarantined overturned")

	n.party("shop")
	n.shared("theirs", "shop")
	_, err = n.as("admin").ChangeBankWithResponse(t.Context(), "theirs", v1.BankChange{Overturn: &v1.Overturn{Rate: 0.5, Min: 1}})
	must(t, err)
	entry = n.flag("theirs", nil, digest(7)).Entry.Id
	alone, err := n.as("shop platform").DecideWithResponse(t.Context(), n.found("shop platform", "1", digest(7)), v1.NewDecision{Ruling: v1.RulingBadHash})
	must(t, err)
	equal(t, "by another party alone", words(alone.JSON200.Quarantined, alone.JSON200.Disabled), words([]int64{}, []int64{entry}))
}

// TestEraseContent takes a name out of the party's matches, whatever it is made of.
func TestEraseContent(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.shared("known", "shop")
	n.flag("known", nil, digest(0))
	const name = "user/4711?x=ü%2F..#\"'"
	ids := []string{n.found("shop platform", name, digest(0)), n.found("shop platform", name, digest(0)), n.found("platform", name, digest(0))}
	other := n.found("shop platform", "other", digest(0))
	for _, matches := range []int{2, 0} {
		got, err := n.as("shop platform").EraseContentWithResponse(t.Context(), v1.ContentName{ContentId: name})
		must(t, err)
		equal(t, "erased", got.JSON200.Matches, matches)
	}
	for i, id := range append(ids, other) {
		got, err := n.as("auditor").GetMatchWithResponse(t.Context(), id)
		must(t, err)
		equal(t, id, or(got.JSON200.ContentId), []string{"", "", name, "other"}[i])
		if i < 2 && strings.Contains(string(got.Body), "4711") {
			t.Errorf("%s still tells the name: %s", id, got.Body)
		}
	}
}
