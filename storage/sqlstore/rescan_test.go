package sqlstore

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"vigie/storage"
)

// TestOlderHits: what re-scans had found before a catalogue kept their entries is found by the entries that the verdicts name.
func TestOlderHits(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "c.db")
		olderHits(t, func() (*Store, error) { return OpenSQLite(t.Context(), path, storage.Options{}) }, func() error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			_, err = db.ExecContext(t.Context(), "DROP TABLE rescan_hit_entries; DROP INDEX erasures_content; DELETE FROM goose_db_version WHERE version_id >= 10; PRAGMA user_version = 9")
			return errors.Join(err, db.Close())
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		u := migrated(t)
		olderHits(t, func() (*Store, error) { return OpenPostgres(t.Context(), u, storage.Options{}) }, func() error {
			_, err := admin(t, u).Exec(t.Context(), "DROP TABLE vigie.rescan_hit_entries; DROP INDEX vigie.erasures_content; DELETE FROM vigie.goose_db_version WHERE version_id >= 8")
			return err
		})
	})
}

func olderHits(t *testing.T, open func() (*Store, error), older func() error) {
	update := func(do func(storage.Writer) error) {
		t.Helper()
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Update(t.Context(), do), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	update(func(w storage.Writer) error {
		r := storage.Rescan{Party: storage.Operator, Source: "s"}
		if err := w.CreateRescan(&r); err != nil {
			return err
		}
		_, err1 := w.PlanRescan(r.ID)
		err2 := w.AddShards(r.ID, 1, storage.Plan{Planned: true}, make([]storage.Shard, 1))
		_, _, err3 := w.TakeShard(r.ID, 1)
		return errors.Join(err1, err2, err3, w.SaveShard(storage.ShardProgress{Rescan: r.ID, Shard: 1, Attempt: 1, Hits: []storage.RescanHit{
			{Item: "a", Verdict: []byte(`{"matches":[{"entry":5,"level":"match"},{"entry":5,"level":"likely"},{"entry":6,"level":"none"}]}`)},
			{Item: "x", Verdict: []byte(`{"matches":[{"entry":6,"level":"match","test":true},{"entry":6,"level":"match","suppressed_by":{"entry":1}}]}`)},
			{Item: "b", Verdict: []byte(`{"matches":[{"entry":7,"level":"review","test":false}]}`)},
			{Item: "c", Verdict: []byte(`{}`)},
			{Item: "d"},
			{Item: "e", Verdict: []byte(`{"matches":null}`)},
		}}))
	})
	if err := older(); err != nil {
		t.Fatal(err)
	}
	update(func(w storage.Writer) error {
		for entry, want := range map[storage.EntryID]string{5: "a", 6: "", 7: "b"} {
			hits, err := w.RescanHitsOf(storage.Operator, entry, 0, 9)
			var got string
			for _, h := range hits {
				got += h.Item
			}
			if err != nil || got != want {
				t.Errorf("entry %d: hits %q, %v; want %q", entry, got, err, want)
			}
		}
		r, err := w.EndRescan(1, storage.RescanCancelled, "")
		if err != nil {
			return err
		}
		if _, err := w.ExpireRescans(storage.Operator, r.FinishedAt.Add(time.Second), storage.MaxRemoved); err != nil {
			return err
		}
		var left int
		err = w.(*writer).row("SELECT count(*) FROM rescan_hit_entries").Scan(&left)
		if left != 0 {
			t.Errorf("%d rows are left of hits that have expired", left)
		}
		return err
	})
}
