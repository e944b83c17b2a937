package sqlstore

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// scans are the steps of a plan that read the whole of something. What a query makes for itself may be read whole: groups
// (g), the parties that have matches (p), and lists of numbers.
var scans = regexp.MustCompile(`SCAN (\w+)`)

// TestPlans: the queries that run on large tables use the index that was made for them, and none sorts.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	now := time.Now()
	entries := func(q storage.EntryQuery) func() (string, []any) {
		return func() (string, []any) { return entryListing(q).ofGroup(1, 5, 9) }
	}
	matches := func(q storage.MatchQuery) func() (string, []any) {
		return func() (string, []any) {
			if q.Party == 0 {
				return matchListing(q).heads(matchParties, nil, 5)
			}
			return matchListing(q).ofGroup(1, 5, 9)
		}
	}
	text := func(query string, args ...any) func() (string, []any) {
		return func() (string, []any) { return query, args }
	}
	signal := storagetest.Signal(hashing.PDQ, 1)
	d := s.dialect
	for _, test := range []struct {
		name, index string // a name in brackets: it may sort, as it is about few rows
		ask         func() (string, []any)
	}{
		{"with a signal", "entry_signals_value", text(selectEntriesWith, signal.Algorithm.String(), signalBytes(signal), "", 1)},
		{
			"a signal of an entry", "entry_signals_value (algorithm=? AND value=? AND entry=?)",
			text(selectSignalOf, signal.Algorithm.String(), signalBytes(signal), 1, "", 0),
		},

		{"all entries", "INTEGER PRIMARY KEY (rowid>?)", entries(storage.EntryQuery{})},
		{"all active entries", "INTEGER PRIMARY KEY (rowid>?)", entries(storage.EntryQuery{Status: storage.Active})},
		{"of a bank", "entries_bank (bank=? AND id>?)", entries(storage.EntryQuery{Bank: 1})},
		{"of a status", "entries_status (bank=? AND status=? AND id>?)", entries(storage.EntryQuery{Bank: 1, Status: storage.Active})},
		{"of an unusual status", "entries_status (bank=? AND status=? AND id>?)", entries(storage.EntryQuery{Status: storage.Quarantined})},
		{"waiting", "entries_waiting (bank=? AND id>?)", entries(storage.EntryQuery{Waiting: true})},
		{"waiting, of a bank", "entries_waiting (bank=? AND id>?)", entries(storage.EntryQuery{Bank: 1, Waiting: true})},
		{
			"waiting, of a status, with a label", "entries_waiting (bank=? AND id>?)",
			entries(storage.EntryQuery{Waiting: true, Status: storage.Proposed, Label: "x"}),
		},
		{"with a label", "COVERING INDEX entry_labels_label (label=? AND bank=? AND entry>?)", entries(storage.EntryQuery{Label: "x"})},
		{
			"with a label, active", "COVERING INDEX entry_labels_label (label=? AND bank=? AND entry>?)",
			entries(storage.EntryQuery{Bank: 1, Label: "x", Status: storage.Active}),
		},
		{
			"with a label, of an unusual status", "entries_status (bank=? AND status=? AND id>?)",
			entries(storage.EntryQuery{Bank: 1, Label: "x", Status: storage.Retracted}),
		},
		{"heads of banks", "entries_status (bank=? AND status=? AND id>?)", func() (string, []any) {
			return entryListing(storage.EntryQuery{Status: storage.Active, Banks: []storage.BankID{1}}).heads(d.idList, "[1,2]", 5)
		}},

		{"all matches", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) { return matchListing(storage.MatchQuery{}).ofGroup(0, 5, 9) }},
		{"matches of a time", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) {
			return matchListing(storage.MatchQuery{From: now, Until: now}).ofGroup(0, 5, 9)
		}},
		{"of a party", "matches_party (party=? AND ord<?)", matches(storage.MatchQuery{Party: 1})},
		{"of a party and a time", "matches_party (party=? AND ord<?)", matches(storage.MatchQuery{Party: 1, From: now})},
		{"of a level", "matches_level (party=? AND level=? AND ord<?)", matches(storage.MatchQuery{Party: 1, Level: "match"})},
		{"of a level, of all", "matches_level (party=? AND level=? AND ord<?)", matches(storage.MatchQuery{Level: "match"})},
		{"of a content", "matches_content (party=? AND content=? AND ord<?)", matches(storage.MatchQuery{Party: 1, Content: "x"})},
		{
			"of a content, and all else", "matches_content (party=? AND content=? AND ord<?)",
			matches(storage.MatchQuery{Content: "x", Standing: true, Level: "match", Entry: 1, Bank: 1, From: now, Until: now}),
		},
		{"standing", "matches_standing (party=? AND ord<?)", matches(storage.MatchQuery{Party: 1, Standing: true})},
		{"standing, of all", "matches_standing (party=? AND ord<?)", matches(storage.MatchQuery{Standing: true, From: now})},
		{"of an entry", "match_entries_entry (party=? AND entry=? AND ord<?)", matches(storage.MatchQuery{Party: 1, Entry: 1})},
		{"of an entry, of all", "match_entries_entry (party=? AND entry=? AND ord<?)", matches(storage.MatchQuery{Entry: 1})},
		{
			"of an entry, and else", "match_entries_entry (party=? AND entry=? AND ord<?)",
			matches(storage.MatchQuery{Party: 1, Entry: 1, Bank: 1, Level: "match", From: now}),
		},
		{"of an entry, standing", "match_entries_entry_standing (party=? AND entry=? AND ord<?)", matches(storage.MatchQuery{Entry: 1, Standing: true})},
		{"of a bank", "match_entries_bank (party=? AND bank=? AND ord<?)", matches(storage.MatchQuery{Party: 1, Bank: 1})},
		{"of a bank, standing", "match_entries_bank_standing (party=? AND bank=? AND ord<?)", matches(storage.MatchQuery{Bank: 1, Standing: true, Level: "x"})},
		{"parties with matches", "SEARCH matches USING COVERING INDEX", text(matchParties)},
		{"counters", "SEARCH c USING PRIMARY KEY (entry=? AND step>?)", text(selectCounters(d), "[1]", 1, 1)},
		{"old counts", "match_counts_step (step<?)", text(sweepCounts, 1, 1)},
		{"judgements", "match_entries_judged (entry=? AND party=? AND judged>?)", text(selectJudgements, 1, 1, 1)},
		{"judges", "match_entries_judged (entry=? AND party>?)", text(selectJudges, 1)},
		{"alarms", "COVERING INDEX overlays_alarm (entry=?)", text(selectAlarms, 1, 1)},
		{"what is taken", "overlays_taken (entry=?)", text(selectTaken, 1)},
		{"statuses", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)", text(selectStatuses+d.ids("$1")+")", "[1]", 1)},
		{"(decisions)", "decisions_match (match=?)", text(selectDecisions(d), "a", "[1]")},
		{"old matches", "matches_at (party=? AND at<?)", text(removeMatches, 1, 1, 1)},
		{"erased content", "matches_content (party=? AND content=?)", text(eraseContent, 1, "x")},

		{"sign-ins", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) { return signInListing(storage.SignInQuery{}).ofGroup(0, 5, 9) }},
		{"sign-ins of a party", "sign_ins_party (party=? AND ord<?)", func() (string, []any) {
			return signInListing(storage.SignInQuery{Party: 1, From: now, Until: now}).ofGroup(1, 5, 9)
		}},
		{"old sign-ins", "sign_ins_at (at<?)", text(removeSignIns, 1, 1)},
		{"old outcomes", "remembered_at (at<?)", text(removeRemembered, 1, 1)},
	} {
		query, args := test.ask()
		steps, err := list(t.Context(), s.reader, func(row scanner) (step string, err error) {
			var id, parent, unused int
			err = row.Scan(&id, &parent, &unused, &step)
			return step, err
		}, "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", test.name, err, query)
		}
		plan := strings.Join(steps, "\n")
		for _, scan := range scans.FindAllStringSubmatch(plan, -1) {
			if table := scan[1]; table != "g" && table != "p" && table != "json_each" && table != "CONSTANT" {
				t.Errorf("%s reads the whole of %s:\n%s\n%s", test.name, table, query, plan)
			}
		}
		sorts := strings.Contains(plan, "TEMP B-TREE") && !strings.HasPrefix(test.name, "(")
		if sorts || !strings.Contains(plan, test.index) {
			t.Errorf("%s is not read by %s:\n%s\n%s", test.name, test.index, query, plan)
		}
	}
}
