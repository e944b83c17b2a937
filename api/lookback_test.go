package api_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage/history"
)

// TestLookback: a flag answers with past uploads, which come as matches, too; and a retraction with what was removed because of it.
func TestLookback(t *testing.T) {
	t.Parallel()
	store, err := history.OpenFolder(t.TempDir())
	must(t, err)
	h, err := history.Open(t.TempDir(), store, history.Options{Scan: index.ScanFlat})
	must(t, err)
	n := newNode(t, setup{matcher: matcher.Options{History: h}})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	running.Go(func() { _ = n.matcher.LookBack(ctx, nil) })
	defer func() {
		stop()
		running.Wait()
		must(t, h.Close())
		must(t, store.Close())
	}()
	soon := func(is func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("not after a minute")
			}
		}
	}
	soon(func() bool { _, looks := n.matcher.Looked(); return looks })
	n.bank("known")
	changed, err := n.as("admin").ChangePartyWithResponse(t.Context(), "operator", v1.PartyChange{HistoryDays: some(30)})
	must(t, err)
	equal(t, "days", *changed.JSON200.HistoryDays, 30)

	picture := string(fixtures.Read("hills.jpg"))
	for i := range 3 {
		body, kind := form("file", picture, "content_id", fmt.Sprint("post ", i))
		equal(t, "checked", n.send("POST", "/v1/check", body, kind).StatusCode, http.StatusOK)
	}
	body, kind := form("file", picture)
	answer := n.send("POST", "/v1/banks/known/entries", body, kind)
	equal(t, "flagged", answer.StatusCode, http.StatusCreated)
	flagged := decodedAs[v1.Flagged](t, answer)
	past := flagged.PastUploads
	if past == nil || past.OwnTotal != 3 || len(past.Own) != 3 || past.Others != 0 || past.Partial || past.Since == nil {
		t.Fatalf("past uploads: %+v", past)
	}
	var matches []v1.RecordedMatch
	soon(func() bool {
		must(t, n.ledger.ship(t.Context()))
		list, err := n.as("auditor").ListMatchesWithResponse(t.Context(), &v1.ListMatchesParams{Entry: &flagged.Entry.Id})
		must(t, err)
		matches = list.JSON200.Matches
		return len(matches) == 3
	})
	for _, m := range matches {
		if m.Past == nil || m.Past.UploadedAt.IsZero() || m.Past.Upload == m.Id || *m.Key != "lookback" || m.Level != v1.LevelMatch {
			t.Errorf("match %+v of %+v", m, m.Past)
		}
	}
	for _, m := range matches[:2] {
		got, err := n.as("platform").DecideWithResponse(t.Context(), m.Id, v1.NewDecision{Ruling: v1.RulingRemoved})
		must(t, err)
		equal(t, "decided", got.StatusCode(), http.StatusOK)
	}
	gone, err := n.as("analyst").RetractWithResponse(t.Context(), flagged.Entry.Id, v1.Reason{Reason: "x"})
	must(t, err)
	back := gone.JSON200.ToRestore
	equal(t, "to restore", fmt.Sprint(back.Count, " ", back.More, " ", back.Matches), fmt.Sprintf("2 false /v1/matches?entry=%d&standing=true", flagged.Entry.Id))
	equal(t, "to look through", *back.Rescans, v1.FoundByRescans{Hits: fmt.Sprintf("/v1/entries/%d/rescan-hits", flagged.Entry.Id)})
	equal(t, "listed there", n.send("GET", back.Matches, nil).StatusCode, http.StatusOK)
	restored, err := n.as("analyst").RestoreWithResponse(t.Context(), flagged.Entry.Id, v1.Reason{Reason: "x"})
	must(t, err)
	equal(t, "past uploads of what is restored", restored.JSON200.PastUploads.OwnTotal, 3)
}
