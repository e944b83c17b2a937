package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/storage"
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

// TestExpiry flags for a time in each way that there is, changes that, and takes it back.
func TestExpiry(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	ask := func(method, path, body, contentType string) (int, v1.Entry) {
		t.Helper()
		answer := n.send(method, path, strings.NewReader(body), contentType)
		var out struct {
			v1.Entry
			Flagged v1.Entry `json:"entry"`
		}
		text := read(t, answer.Body)
		if answer.StatusCode < 300 {
			must(t, json.Unmarshal([]byte(text), &out))
		}
		if out.Flagged.Id != 0 {
			return answer.StatusCode, out.Flagged
		}
		return answer.StatusCode, out.Entry
	}
	const until, later = "2099-05-01T06:00:00.123Z", "2099-06-01T00:00:00Z"
	expires := func(e v1.Entry) string {
		if e.ExpiresAt == nil {
			return "never"
		}
		return e.ExpiresAt.Format(time.RFC3339Nano)
	}
	signals := `"signals":[{"algorithm":"sha256","value":"` + digest(0).Value + `"}]`
	status, e := ask("POST", "/v1/banks/b/entries", `{`+signals+`,"expires_at":"`+until+`"}`, asJSON)
	equal(t, "status", status, http.StatusCreated)
	equal(t, "as JSON", expires(e), until)
	body, kind := form("file", "not a picture", "exact_only", "true", "expires_at", "2099-05-01T08:00:00.123+02:00")
	status, uploaded := ask("POST", "/v1/banks/b/entries", read(t, body), kind)
	equal(t, "status", status, http.StatusCreated)
	equal(t, "with the file", expires(uploaded), until)
	n.list("?format=csv", asCSV, strings.NewReader("sha256,expires_at\n"+digest(3).Value+","+until+"\n"))
	_, listed := ask("GET", "/v1/entries/3", "", asJSON)
	equal(t, "in a list", expires(listed), until)
	equal(t, "what has expired in a list", n.list("?format=csv", asCSV, strings.NewReader("sha256,expires_at\n"+digest(4).Value+",2020-01-01\n")).Reasons["not-active"], 1)

	path := fmt.Sprint("/v1/entries/", e.Id)
	for _, step := range []struct {
		change string
		status int
		want   string
	}{
		{`{"note":"n"}`, http.StatusOK, until},
		{`{"expires_at":"` + later + `"}`, http.StatusOK, later},
		{`{"expires_at":"2020-01-01T00:00:00Z"}`, http.StatusBadRequest, later},
		{`{"expires_at":"` + until + `","never_expires":true}`, http.StatusBadRequest, later},
		{`{"expires_at":""}`, http.StatusBadRequest, later},
		{`{"never_expires":false}`, http.StatusOK, later},
		{`{"never_expires":true}`, http.StatusOK, "never"},
	} {
		status, _ := ask("PATCH", path, step.change, asJSON)
		equal(t, step.change, status, step.status)
		_, now := ask("GET", path, "", asJSON)
		equal(t, step.change, expires(now), step.want)
	}
	for _, bad := range []string{`"2020-01-01T00:00:00Z"`, `"soon"`, `null`} {
		status, _ = ask("POST", "/v1/banks/b/entries", `{`+signals+`,"expires_at":`+bad+`}`, asJSON)
		equal(t, bad, status, http.StatusBadRequest)
	}
	body, kind = form("file", "not a picture", "exact_only", "true", "expires_at", "tomorrow")
	status, _ = ask("POST", "/v1/banks/b/entries", read(t, body), kind)
	equal(t, "a part that is no time", status, http.StatusBadRequest)

	// When its time has come, by the catalogue's clock, it is told by its status, in matches as well.
	must(t, n.catalogue.Update(t.Context(), func(w storage.Writer) error {
		e, err := w.Entry(2)
		e.ExpiresAt = time.Now().Add(-time.Second)
		return errors.Join(err, w.UpdateEntry(e))
	}))
	expired, err := n.matcher.ExpireEntries(t.Context())
	must(t, err)
	equal(t, "expired", expired, 1)
	of := v1.Expired
	page, err := n.as("auditor").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{Status: &of})
	must(t, err)
	equal(t, "listed", len(page.JSON200.Entries), 1)
	equal(t, "listed", page.JSON200.Entries[0].Status, v1.Expired)
	status, e = ask("POST", "/v1/entries/2/restore", `{"reason":"a test"}`, asJSON)
	equal(t, "restored", status, http.StatusOK)
	equal(t, "restored", string(e.Status)+" "+expires(e), "active never")
}
