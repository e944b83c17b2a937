package sqlstore

import (
	"database/sql"
	"path/filepath"
	"regexp"
	"strconv"
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

// planned is a query that runs on large tables, and the index that was made for it.
type planned struct {
	name  string // in brackets: it may sort, as it is about few rows
	index string // as SQLite shows its use
	ask   func() (string, []any)
}

// allPlanned are the queries in a dialect.
func allPlanned(d dialect) []planned {
	now := time.Now()
	entries := func(q storage.EntryQuery) func() (string, []any) {
		return func() (string, []any) { return entryListing(q).ofGroup(1, 5, 9) }
	}
	matches := func(q storage.MatchQuery) func() (string, []any) {
		return func() (string, []any) {
			if q.Party == 0 {
				return matchListing(d, q).heads(matchParties, nil, 5)
			}
			return matchListing(d, q).ofGroup(1, 5, 9)
		}
	}
	text := func(query string, args ...any) func() (string, []any) {
		return func() (string, []any) { return query, args }
	}
	signal := storagetest.Signal(hashing.PDQ, 1)
	// Only where there are arrays.
	var many []planned
	if d.arrays {
		many = []planned{{
			"(with any of many signals)", "entry_signals_value",
			text(selectEntriesWithAny, []string{signal.Algorithm.String()}, [][]byte{signalBytes(signal)}, []string{""}, 1),
		}}
	}
	return append(many, []planned{
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
		{"due", "COVERING INDEX entries_expiry (expires_at>? AND expires_at<?)", text(selectDue, 1, 9)},
		{"heads of banks", "entries_status (bank=? AND status=? AND id>?)", func() (string, []any) {
			return entryListing(storage.EntryQuery{Status: storage.Active, Banks: []storage.BankID{1}}).heads(d.idList, "[1,2]", 5)
		}},

		{"all matches", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) { return matchListing(d, storage.MatchQuery{}).ofGroup(0, 5, 9) }},
		{"matches of a time", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) {
			return matchListing(d, storage.MatchQuery{From: now, Until: now}).ofGroup(0, 5, 9)
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
		{"what is taken", "overlays_taken (entry=?)", text(selectTaken(d), 1)},
		{"statuses", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)", text(selectStatuses+d.ids("$1")+")", "[1]", 1)},
		{"(decisions)", "decisions_match (match=?)", text(selectDecisions(d), "a", "[1]")},
		{"old matches", "matches_at (party=? AND at<?)", text(removeMatches, 1, 1, 1)},
		{"erased content", "matches_content (party=? AND content=?)", text(eraseContent, 1, "x")},

		{"sign-ins", "INTEGER PRIMARY KEY (rowid<?)", func() (string, []any) { return signInListing(storage.SignInQuery{}).ofGroup(0, 5, 9) }},
		{"sign-ins of a party", "sign_ins_party (party=? AND ord<?)", func() (string, []any) {
			return signInListing(storage.SignInQuery{Party: 1, From: now, Until: now}).ofGroup(1, 5, 9)
		}},
		{"old sign-ins", "sign_ins_at (at<?)", text(removeSignIns, 1, 1)},
		{"shards of a re-scan", "SEARCH rescan_shards USING PRIMARY KEY (rescan=? AND number>?)", text(selectShardsOf(false), 1, 1, 9)},
		{"open shards of a re-scan", "rescan_shards_todo (rescan=? AND todo>?)", text(selectShardsOf(true), 1, 1, 9)},
		{"hits of a re-scan", "rescan_hits_rescan (rescan=? AND id>?)", text(selectRescanHits, 1, 1, 9)},
		{"hits of re-scans on an entry", "rescan_hit_entries_entry (party=? AND entry=? AND hit>?)", text(selectRescanHitsOf, 1, 1, 1, 9)},
		{"failures of a re-scan", "rescan_failures_rescan (rescan=? AND id>?)", text(selectRescanFailures, 1, 1, 9)},
		{"erased hits of re-scans", "rescan_hits_item (item=?)", text(eraseRescanHits, 1, []byte("x"), []byte{})},
		{"erased failures of re-scans", "rescan_failures_item (item=?)", text(eraseRescanFailures, 1, []byte("x"), []byte{})},
		{"old re-scans", "rescans_finished (party=? AND finished_at>? AND finished_at<?)", text(selectOldRescan, 1, 1)},
		{"old hits of a re-scan, by entry", "SEARCH rescan_hit_entries USING PRIMARY KEY (hit=?)", text(removeHitEntries, 1, 1)},
		{"old hits of a re-scan", "rescan_hits_rescan (rescan=?)", text(removeRescanHits, 1, 1)},
		{"old failures of a re-scan", "rescan_failures_rescan (rescan=?)", text(removeRescanFails, 1, 1)},
		{"old shards of a re-scan", "SEARCH rescan_shards USING PRIMARY KEY (rescan=?", text(removeRescanShards, 1, 1)},
		{"whose matches are new", "INTEGER PRIMARY KEY (rowid>?)", text(selectMatchHeads, 1, 9)},
		{"new matches of a party", "matches_party (party=? AND ord>? AND ord<?)", text(selectMatchesAfter(nil), 1, 1, 5, 9)},
		{"new matches of a party that checks found", "matches_party (party=? AND ord>? AND ord<?)", text(selectMatchesAfter(new(bool)), 1, 1, 5, 9)},
		{"(which of them a look-back found)", "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)", text(selectMatchesAfter(new(bool)), 1, 1, 5, 9)},
		{"how much changes hold", "INTEGER PRIMARY KEY (rowid>?)", text(selectChangeSizes, 1, 9)},
		{"past uploads that are matches", "past_uploads_entry (entry=? AND node=? AND number>? AND number<?)", text(selectPastKeys, 1, "a", 1, 9)},
		{"(past uploads of matches)", "SEARCH past_uploads USING INTEGER PRIMARY KEY (rowid=?)", text(selectPast(d), "[1]")},
		{"erasures of names", "erasures_content (content=?)", text(selectErasuresOf(d), `["x"]`)},
		{"new erasures", "INTEGER PRIMARY KEY (rowid>?)", text(selectErasures, 1, 9)},
		{"old erasures", "erasures_at (at<?)", text(removeErasures, 1, 1)},
		{"old outcomes", "remembered_at (at<?)", text(removeRemembered, 1, 1)},
	}...)
}

// TestPlans: SQLite reads what is large by the index that was made for it, and sorts none of it.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	for _, test := range allPlanned(s.dialect) {
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

var (
	// shownIndex is the name in what planned.index shows.
	shownIndex = regexp.MustCompile(`[a-z]+_[a-z_]+`)
	// PostgreSQL has other names for what SQLite calls the primary key.
	primaryKeys = map[string]string{
		"all entries": "entries_pkey", "all active entries": "entries_pkey", "all matches": "matches_pkey", "matches of a time": "matches_pkey",
		"parties with matches": "matches_", "counters": "match_counts_pkey", "statuses": "entries_pkey", "sign-ins": "sign_ins_pkey",
		"shards of a re-scan": "rescan_shards_pkey", "whose matches are new": "matches_pkey", "(which of them a look-back found)": "past_uploads_pkey", "how much changes hold": "log_pkey",
		"new erasures": "erasures_pkey", "old shards of a re-scan": "rescan_shards_pkey",
		"old hits of a re-scan, by entry": "rescan_hit_entries_pkey",
	}
)

// TestPostgresPlans: PostgreSQL can read what is large by the index that was made for it, without sorting. The tables are
// empty, so that what it would rather do says nothing; it is kept from what it must not have to do.
func TestPostgresPlans(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	conn, err := s.reader.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, off := range []string{"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"} {
		if _, err := conn.ExecContext(t.Context(), "SET "+off+" = off"); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range allPlanned(s.dialect) {
		maySort := strings.HasPrefix(test.name, "(")
		if _, err := conn.ExecContext(t.Context(), "SELECT set_config('enable_sort', $1, false)", strconv.FormatBool(maySort)); err != nil {
			t.Fatal(err)
		}
		query, args := test.ask()
		plan := explain(t, conn, query, args)
		index := primaryKeys[test.name]
		if index == "" {
			index = shownIndex.FindString(test.index)
		}
		if strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s reads the whole of a table:\n%s\n%s", test.name, query, plan)
		}
		if sorts := strings.Contains(plan, "Sort"); sorts && !maySort || index == "" || !regexp.MustCompile(`Index (Only )?Scan (Backward )?using `+index).MatchString(plan) {
			t.Errorf("%s is not read by %s:\n%s\n%s", test.name, index, query, plan)
		}
	}
}

func explain(t *testing.T, conn *sql.Conn, query string, args []any) string {
	t.Helper()
	steps, err := list(t.Context(), conn, func(row scanner) (step string, err error) {
		err = row.Scan(&step)
		return step, err
	}, "EXPLAIN "+query, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	return strings.Join(steps, "\n")
}
