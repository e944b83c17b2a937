package sqlstore

import (
	"path/filepath"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// TestPlans: the queries that run on large tables use the index that was made for them, and none sorts.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	signal := storagetest.Signal(hashing.PDQ, 1)
	for _, test := range []struct {
		name, index string
		ask         func() (string, []any)
	}{
		{"with a signal", "entry_signals_value", func() (string, []any) {
			return selectEntriesWith, []any{signal.Algorithm.String(), signalBytes(signal), "", 1}
		}},
		{"a signal of an entry", "entry_signals_value (algorithm=? AND value=? AND entry=?)", func() (string, []any) {
			return selectSignalOf, []any{signal.Algorithm.String(), signalBytes(signal), 1, "", 0}
		}},
		{"all", "INTEGER PRIMARY KEY (rowid>?)", func() (string, []any) {
			return listing(storage.EntryQuery{After: 5, Limit: 9})
		}},
		{"of a bank", "entries_bank", func() (string, []any) {
			return listing(storage.EntryQuery{After: 5, Limit: 9, Bank: 1, Status: storage.Active})
		}},
		{"with a label", "entry_labels_label", func() (string, []any) {
			return listing(storage.EntryQuery{After: 5, Limit: 9, Label: "x"})
		}},
		{"with a label, of a bank", "entry_labels_label", func() (string, []any) {
			return listing(storage.EntryQuery{After: 5, Limit: 9, Label: "x", Bank: 1})
		}},
	} {
		query, args := test.ask()
		steps, err := list(t.Context(), s.reader, func(row scanner) (step string, err error) {
			var id, parent, unused int
			err = row.Scan(&id, &parent, &unused, &step)
			return step, err
		}, "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		plan := strings.Join(steps, "\n")
		if !strings.Contains(plan, test.index) || strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN") {
			t.Errorf("%s is not read by %s:\n%s", test.name, test.index, plan)
		}
	}
}
