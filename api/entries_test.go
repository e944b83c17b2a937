package api_test

import (
	"fmt"
	"net/http"
	"testing"

	v1 "vigie/api/v1"
)

// TestEntriesByCursor lists the same entries in pages of many sizes, with each filter.
func TestEntriesByCursor(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("even")
	n.bank("odd")
	const entries = 60
	banks := [2]string{"even", "odd"}
	var all []v1.Entry
	for i := range entries {
		e := n.flag(banks[i%2], []string{fmt.Sprintf("third:%d", i%3)}, digest(i)).Entry
		if i%5 == 0 {
			got, err := n.as("analyst").RetractWithResponse(t.Context(), e.Id, reason("test"))
			must(t, err)
			e = *got.JSON200
		}
		all = append(all, e)
	}
	text := func(s string) *string { return &s }
	status := func(s v1.Status) *v1.Status { return &s }
	for _, test := range []struct {
		name   string
		params v1.ListEntriesParams
		wants  func(i int) bool
	}{
		{"all", v1.ListEntriesParams{}, func(int) bool { return true }},
		{"of a bank", v1.ListEntriesParams{Bank: text("odd")}, func(i int) bool { return i%2 == 1 }},
		{"retracted", v1.ListEntriesParams{Status: status(v1.Retracted)}, func(i int) bool { return i%5 == 0 }},
		{"active", v1.ListEntriesParams{Status: status(v1.Active)}, func(i int) bool { return i%5 != 0 }},
		{"by label", v1.ListEntriesParams{Label: text("third:2")}, func(i int) bool { return i%3 == 2 }},
		{
			"all filters",
			v1.ListEntriesParams{Bank: text("even"), Status: status(v1.Active), Label: text("third:1")},
			func(i int) bool { return i%2 == 0 && i%5 != 0 && i%3 == 1 },
		},
		{"no such label", v1.ListEntriesParams{Label: text("nothing")}, func(int) bool { return false }},
	} {
		for _, limit := range []int{1, 7, 30, 60, 1000} {
			t.Run(fmt.Sprintf("%s by %d", test.name, limit), func(t *testing.T) {
				t.Parallel()
				var want []v1.Entry
				for i, e := range all {
					if test.wants(i) {
						want = append(want, e)
					}
				}
				var got []v1.Entry
				params, pages := test.params, 0
				params.Limit = &limit
				for {
					page, err := n.as("auditor").ListEntriesWithResponse(t.Context(), &params)
					must(t, err)
					pages++
					got = append(got, page.JSON200.Entries...)
					if params.Cursor = page.JSON200.Next; params.Cursor == nil {
						break
					}
					equal(t, "length of a full page", len(page.JSON200.Entries), limit)
				}
				equal(t, "pages", pages, max(1, (len(want)+limit-1)/limit))
				equal(t, "entries", len(got), len(want))
				for i := range min(len(got), len(want)) {
					equal(t, "id", got[i].Id, want[i].Id)
					equal(t, "bank", got[i].Bank, want[i].Bank)
					equal(t, "seq", got[i].Seq, want[i].Seq)
				}
			})
		}
	}
}

// TestChangeEntry changes labels and note, each alone and both.
func TestChangeEntry(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	id := n.flag("known", []string{"old"}, digest(0)).Entry.Id
	note, labels := "a note", v1.Labels{"b", "a", "b"}
	for _, test := range []struct {
		name              string
		change            v1.EntryChange
		wantNote, wantOne string
		wantLabels        int
	}{
		{"note", v1.EntryChange{Note: &note}, note, "old", 1},
		{"labels", v1.EntryChange{Labels: &labels}, note, "a", 2},
		{"no labels, no note", v1.EntryChange{Labels: &v1.Labels{}, Note: new(string)}, "", "", 0},
	} {
		got, err := n.as("analyst").ChangeEntryWithResponse(t.Context(), id, test.change)
		must(t, err)
		equal(t, "status", got.StatusCode(), http.StatusOK)
		equal(t, test.name+": note", got.JSON200.Note, test.wantNote)
		equal(t, test.name+": labels", len(got.JSON200.Labels), test.wantLabels)
		if test.wantLabels > 0 {
			equal(t, test.name+": first label", got.JSON200.Labels[0], test.wantOne)
		}
	}
}
