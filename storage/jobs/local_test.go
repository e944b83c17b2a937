package jobs_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"vigie/storage/jobs"
)

// TestForeign: what is not ours, or of a later version, is refused.
func TestForeign(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"another program's": "CREATE TABLE a (b)",
		"later version":     "PRAGMA user_version = 1000",
	} {
		path := filepath.Join(t.TempDir(), "jobs.db")
		if name == "later version" {
			e, err := jobs.OpenLocal(t.Context(), path, nil, jobs.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if e, err := jobs.OpenLocal(t.Context(), path, nil, jobs.Options{}); err == nil {
			t.Errorf("%s file was opened", name)
			_ = e.Close()
		}
	}
}

// TestPoison: a job that ends its process every time dies, too, in the end.
func TestPoison(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	of := map[string]jobs.Handler{"work": {Attempts: 1, Do: func(context.Context, jobs.Run) error { return nil }}}
	e, err := jobs.OpenLocal(t.Context(), path, of, jobs.Options{})
	if err == nil {
		err = e.Enqueue(t.Context(), jobs.Job{Kind: "work"})
	}
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	// As a process leaves it that was killed at work.
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.ExecContext(t.Context(), "UPDATE job SET state = 'running', runs = 1, failed = 1")
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	e, err = jobs.OpenLocal(t.Context(), path, of, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	all, err := e.Dead(t.Context(), "work", 0, 10)
	if err != nil || len(all) != 1 || all[0].Error != "its process has ended" {
		t.Errorf("%+v, %v", all, err)
	}
}
