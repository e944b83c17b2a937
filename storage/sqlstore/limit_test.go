package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"vigie/storage"
)

// TestPostgresLimit: a transaction that lasts too long ends wherever it is, and nothing of it has happened; those who shared it, and the next
// ones, are none the worse.
func TestPostgresLimit(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	s.dialect.hold = time.Hour // what is together stays so
	ship := func(w storage.Writer) error { return w.SetShipped("aaaaaaaa", 1) }
	wait := func(storage.Writer) error {
		time.Sleep(300 * time.Millisecond) // past the limit
		return nil
	}
	for name, update := range map[string]func(storage.Writer) error{
		"while what is kept is sent": func(w storage.Writer) error {
			return errors.Join(ship(w), w.(*writer).exec("SELECT pg_sleep(1)"))
		},
		"in a query": func(w storage.Writer) error {
			var slept string
			return errors.Join(ship(w), w.(*writer).row("SELECT CAST(pg_sleep(1) AS TEXT)").Scan(&slept))
		},
		"in the turn":                      func(w storage.Writer) error { return errors.Join(ship(w), wait(w)) },
		"in the turn, and all is sent":     func(w storage.Writer) error { _, err := w.Head(); return errors.Join(err, wait(w)) },
		"in the turn, and more is sent":    func(w storage.Writer) error { _ = wait(w); _, err := w.Head(); return errors.Join(err, ship(w)) },
		"in the turn, with an entry in it": func(w storage.Writer) error { return errors.Join(w.Append(&storage.Change{Kind: "lost"}), wait(w)) },
	} {
		for _, others := range [][]func(storage.Writer) error{nil, {ship}} {
			// The committer reads it in an update's turn, which this one is not: none is under way.
			s.dialect.limit = 200 * time.Millisecond
			var outcomes []error
			if others == nil {
				outcomes = []error{s.Update(t.Context(), update)}
			} else {
				outcomes = together(t, s.Store, append(others, update)...)
			}
			s.dialect.limit = time.Minute
			for i, err := range outcomes {
				if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
					t.Errorf("%s, %d of %d: got %v", name, i, len(outcomes), err)
				}
			}
			err := s.Update(t.Context(), func(w storage.Writer) error {
				shipped, err := w.Shipped("aaaaaaaa")
				if shipped != 0 {
					t.Errorf("%s: something of it is there", name)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s, afterwards: %v", name, err)
			}
		}
	}
	if head, err := s.Head(t.Context()); err != nil || head.Seq != 0 {
		t.Errorf("the head is %d, %v", head.Seq, err)
	}
}

// TestPostgresViewHasNoLimit: the limit is for short questions. A view lasts as long as whoever reads a large catalogue needs, such as a fresh
// node that loads millions of entries page by page, and sees one state all the while.
func TestPostgresViewHasNoLimit(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	s, other := openPostgres(t, u, storage.Options{}), openPostgres(t, u, storage.Options{})
	create := func(name string) {
		t.Helper()
		if err := other.Update(t.Context(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: name}) }); err != nil {
			t.Fatal(err)
		}
	}
	create("before")
	s.dialect.limit = 100 * time.Millisecond
	if err := s.asking(t.Context(), func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "SELECT pg_sleep(10)")
		return err
	}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a question that lasts: %v", err)
	}
	if err := s.View(t.Context(), func(r storage.Reader) error {
		for page := range 5 {
			banks, err := r.Banks()
			if err != nil || len(banks) != 1 {
				t.Errorf("page %d: %d banks, %v", page, len(banks), err)
			}
			if page == 0 {
				create("meanwhile")
			}
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	}); err != nil {
		t.Errorf("a view that lasts: %v", err)
	}
}

// TestPostgresMigrationWaits: a new version whose migration has to wait for a lock lets those through who come after it, and migrates
// when the lock is free.
func TestPostgresMigrationWaits(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	a, reader := admin(t, u), admin(t, u)
	for _, statement := range []string{
		"DROP TABLE vigie.rescan_hit_entries", // the last migrations
		"DROP INDEX vigie.rescan_hits_item, vigie.rescan_failures_item, vigie.erasures_content",
		"ALTER TABLE vigie.entries DROP COLUMN expires_at",
		"DELETE FROM vigie.goose_db_version WHERE version_id >= 6",
		"BEGIN",
		"LOCK TABLE vigie.entries IN ACCESS SHARE MODE", // as somebody's long query has
	} {
		if _, err := a.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	opened := make(chan error, 1)
	go func() {
		s, err := OpenPostgres(t.Context(), u, storage.Options{})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	for waits := false; !waits; {
		err := reader.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'vigie.entries'::regclass AND NOT granted)`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-opened:
			t.Fatalf("it does not wait: %v", err)
		default:
		}
	}
	if _, err := reader.Exec(t.Context(), "SET statement_timeout = '20s'"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Exec(t.Context(), "SELECT count(*) FROM vigie.entries"); err != nil {
		t.Errorf("a query meanwhile: %v", err)
	}
	if _, err := a.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}
