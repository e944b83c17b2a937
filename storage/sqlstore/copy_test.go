package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// empties make an empty catalogue that can be opened again.
var empties = map[string]func(t *testing.T) (s *Store, reopen func() *Store){
	"sqlite": func(t *testing.T) (*Store, func() *Store) {
		s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
		return s.Store, func() *Store { return s.Reopen(t).(onDisk).Store }
	},
	"postgres": func(t *testing.T) (*Store, func() *Store) {
		s := openPostgres(t, migrated(t), storage.Options{})
		return s.Store, func() *Store { return s.Reopen(t).(inPostgres).Store }
	},
}

// overCopies runs a test for each pair of databases.
func overCopies(t *testing.T, test func(t *testing.T, from, to *Store, reopen func() *Store)) {
	for a, from := range empties {
		for b, to := range empties {
			t.Run(a+" to "+b, func(t *testing.T) {
				t.Parallel()
				source, _ := from(t)
				fill(t, source)
				target, reopen := to(t)
				test(t, source, target, reopen)
			})
		}
	}
}

// fill brings random steps of all kinds into a catalogue, and rows that were there once.
func fill(t *testing.T, s *Store) {
	t.Helper()
	storagetest.Fill(t, s)
	for n := range 2 {
		err := s.Update(t.Context(), func(w storage.Writer) error {
			var entries []*storage.Entry
			for i := range 400 {
				e := typical(uint64(400*n + i))
				entries = append(entries, &e)
			}
			return storagetest.AddEntries(w, entries)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopy: a copy answers as the catalogue does, and goes on as it would have.
func TestCopy(t *testing.T) {
	t.Parallel()
	overCopies(t, func(t *testing.T, from, to *Store, reopen func() *Store) {
		seen := map[string]int64{}
		err := Copy(t.Context(), from, to, CopyOptions{Progress: func(table string, rows, of int64) {
			if rows > of || rows < seen[table] {
				t.Errorf("%s: %d of %d", table, rows, of)
			}
			seen[table] = rows
		}})
		if err != nil {
			t.Fatal(err)
		}
		want := storagetest.Dump(t, from)
		if seen["entries"] != int64(len(want.Entries)) || seen["verified"] != int64(want.Head.Seq) || len(want.Entries) < 800 || len(want.Matches) == 0 || len(want.SignIns) == 0 {
			t.Errorf("told of %v; there are %d entries, %d matches and %d sign-ins", seen, len(want.Entries), len(want.Matches), len(want.SignIns))
		}
		for range 2 {
			if diff := cmp.Diff(want, storagetest.Dump(t, to)); diff != "" {
				t.Fatalf("the copy differs (-source +copy):\n%s", diff)
			}
			to = reopen()
		}
		// What comes next has the same numbers in both.
		var next [2][]string
		for i, s := range []*Store{from, to} {
			err := s.Update(t.Context(), func(w storage.Writer) error {
				e := storage.Entry{Bank: 1, Signals: []hashing.Signal{storagetest.Signal(hashing.MD5, 1)}}
				b, p := storage.Bank{Name: "next"}, storage.Party{Name: "next"}
				err := errors.Join(storagetest.AddEntry(w, &e), w.CreateBank(&b), w.CreateParty(&p),
					w.AddMatches("000000ff", []storage.MatchRecord{{ID: storage.MatchID{Node: "000000ff", Number: 1}}}),
					w.AddSignIns("000000ff", []storage.SignIn{{ID: storage.MatchID{Node: "000000ff", Number: 2}}}))
				m, err2 := w.Match(storage.MatchID{Node: "000000ff", Number: 1})
				signIns, err3 := w.SignIns(storage.SignInQuery{Limit: 1})
				next[i] = []string{fmt.Sprint(e.ID, b.ID, p.ID, m.Ord, signIns)}
				return errors.Join(err, err2, err3)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(next[0], next[1]); diff != "" {
			t.Errorf("what comes next differs (-source +copy):\n%s", diff)
		}
		if _, err := storage.VerifyLog(t.Context(), to, nil); err != nil {
			t.Error(err)
		}
		begun := func(context.Context) error { t.Error("a copy into a full catalogue has begun"); return nil }
		if err := Copy(t.Context(), from, to, CopyOptions{Begun: begun}); !errors.Is(err, storage.ErrExists) {
			t.Errorf("into a full catalogue: %v", err)
		}
	})
}

// TestCopyEndedHalfWay: what a copy has left that ended anywhere is refused, also after a restart, and copied anew.
func TestCopyEndedHalfWay(t *testing.T) {
	t.Parallel()
	overCopies(t, func(t *testing.T, from, to *Store, reopen func() *Store) {
		for _, at := range []string{"begun", "entries", "log", "verified"} {
			ctx, cancel := context.WithCancel(t.Context())
			end := func(table string) {
				if table == at {
					cancel()
				}
			}
			err := Copy(ctx, from, to, CopyOptions{
				Progress: func(table string, _, _ int64) { end(table) },
				Begun: func(ctx context.Context) error {
					if _, err := to.Head(ctx); !errors.Is(err, ErrUnfinished) {
						t.Errorf("begun, and the target says %v", err)
					}
					end("begun")
					return ctx.Err()
				},
			})
			if err == nil {
				t.Fatalf("it does not end at %s", at)
			}
			for range 2 {
				_, err1 := to.Head(t.Context())
				_, err2 := to.Changes(t.Context(), 0, 1)
				err3 := to.View(t.Context(), func(storage.Reader) error { return nil })
				err4 := to.Update(t.Context(), func(storage.Writer) error { return nil })
				err5 := to.Wait(ctx, 0) // which has ended
				for _, err := range []error{err1, err2, err3, err4, err5, Copy(t.Context(), to, from, CopyOptions{})} {
					if !errors.Is(err, ErrUnfinished) {
						t.Errorf("ended at %s: got %v, want ErrUnfinished", at, err)
					}
				}
				to = reopen()
			}
		}
		if err := Copy(t.Context(), from, to, CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(storagetest.Dump(t, from), storagetest.Dump(t, to)); diff != "" {
			t.Errorf("the copy differs (-source +copy):\n%s", diff)
		}
	})
}

// TestCopyTakesItsTime: a copy into PostgreSQL may take longer than any of a writer's limits, also where it begins anew; what a former one has
// left is not removed row by row; and it is finished whatever becomes of the statistics.
func TestCopyTakesItsTime(t *testing.T) {
	t.Parallel()
	from := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	fill(t, from.Store)
	u := migrated(t)
	to := openPostgres(t, u, storage.Options{})
	config, err := pgx.ParseConfig(u)
	if err != nil {
		t.Fatal(err)
	}
	usual := to.writer
	t.Cleanup(func() { to.writer = usual })
	to.writer = sql.OpenDB(pipelines{stdlib.GetConnector(*sessionOf(config, map[string]string{
		"statement_timeout": "500ms", "idle_in_transaction_session_timeout": "500ms",
	}))})
	defer to.writer.Close()
	a := admin(t, u)
	for _, statement := range []string{
		"SET search_path = vigie",
		"CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END'",
		"CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''row by row''; END'",
		`CREATE FUNCTION known(n bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
			'BEGIN IF current_query() ILIKE ''%analyze%'' THEN RAISE ''no statistics''; END IF; RETURN n; END'`,
		"CREATE TRIGGER slowly BEFORE INSERT ON banks EXECUTE FUNCTION slowly()",
		"CREATE TRIGGER slowly_too BEFORE TRUNCATE ON banks EXECUTE FUNCTION slowly()",
		"CREATE TRIGGER never BEFORE DELETE ON entries FOR EACH ROW EXECUTE FUNCTION never()",
		"CREATE INDEX known ON entries (known(id))",
	} {
		if _, err := a.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = Copy(ctx, from.Store, to.Store, CopyOptions{Progress: func(table string, _, _ int64) {
		if table == "verified" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the copy that is to end: %v", err)
	}
	slept := false
	err = Copy(t.Context(), from.Store, to.Store, CopyOptions{Progress: func(table string, _, _ int64) {
		if table == "verified" && !slept {
			slept = true
			time.Sleep(800 * time.Millisecond) // idle in the transaction
		}
	}})
	if err != nil || !slept {
		t.Fatalf("anew: %v", err)
	}
	if _, err := a.Exec(t.Context(), "ANALYZE vigie.entries"); err == nil {
		t.Error("statistics can be made: nothing is tested")
	}
	if diff := cmp.Diff(storagetest.Dump(t, from), storagetest.Dump(t, to)); diff != "" {
		t.Errorf("the copy differs (-source +copy):\n%s", diff)
	}
}

// TestCopyNoticesLoss: a source whose log is damaged is not copied.
func TestCopyNoticesLoss(t *testing.T) {
	t.Parallel()
	from := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	fill(t, from.Store)
	if _, err := from.conn.ExecContext(t.Context(), "UPDATE log SET actor = 'somebody else' WHERE seq = 5"); err != nil {
		t.Fatal(err)
	}
	to := openPostgres(t, migrated(t), storage.Options{})
	if err := Copy(t.Context(), from.Store, to.Store, CopyOptions{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if _, err := to.Head(t.Context()); !errors.Is(err, ErrUnfinished) {
		t.Errorf("got %v, want ErrUnfinished", err)
	}
}
