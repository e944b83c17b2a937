package jobs

import (
	"path/filepath"
	"testing"
)

// TestLocalSettings: acknowledged means on the disk, which killing a process never shows.
func TestLocalSettings(t *testing.T) {
	t.Parallel()
	e, err := OpenLocal(t.Context(), filepath.Join(t.TempDir(), "jobs.db"), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		var got string
		if err := e.(*localEngine).db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, not %s: %v", pragma, got, want, err)
		}
	}
}
