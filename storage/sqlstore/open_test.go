package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// TestPragmas asks the live connections.
func TestPragmas(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	ctx := context.Background()
	ask := func(db interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}, want map[string]string,
	) {
		t.Helper()
		for pragma, value := range want {
			var got string
			if err := db.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil {
				t.Errorf("%s: %v", pragma, err)
			} else if got != value {
				t.Errorf("%s is %s, want %s", pragma, got, value)
			}
		}
	}
	newest, err := newestMigration(sqliteDialect)
	if err != nil {
		t.Fatal(err)
	}
	ask(s.conn, map[string]string{
		"busy_timeout": "10000", "journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"query_only": "0", "application_id": "1447642953", "user_version": fmt.Sprint(newest),
	})
	if n := s.writer.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("%d writing connections", n)
	}
	for range 5 { // five at a time, so that they are different connections
		conn, err := s.reader.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask(conn, map[string]string{"busy_timeout": "10000", "journal_mode": "wal", "foreign_keys": "1", "query_only": "1"})
		if _, err := conn.ExecContext(ctx, "UPDATE log_head SET seq = 9"); err == nil {
			t.Error("a reader can write")
		}
	}
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	other, err := connectSQLite(s.path, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(ctx, "PRAGMA busy_timeout = 0; UPDATE log_head SET seq = 9"); err == nil {
		t.Error("a writing transaction does not lock the database at its beginning")
	}
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, filepath.Join(dir, "c.db"), storage.Options{})
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, %v", f.Name(), info.Mode().Perm(), err)
		}
	}
}

// TestRefused: files that are not ours, or too new, give a clear error and stay as they are.
func TestRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	alter := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := connectSQLite(path, url.Values{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = db.Exec(statements)
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		want error
	}{
		"text":             {func(t *testing.T, path string) { os.WriteFile(path, []byte(strings.Repeat("text ", 100)), 0o600) }, ErrForeign},
		"short":            {func(t *testing.T, path string) { os.WriteFile(path, []byte("x"), 0o600) }, ErrForeign},
		"somebody else's":  {alter("CREATE TABLE banks (id INTEGER)"), ErrForeign},
		"another WAL file": {alter("PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER)"), ErrForeign},
		"newer": {func(t *testing.T, path string) {
			s, err := OpenSQLite(ctx, path, storage.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			alter("PRAGMA user_version = 99")(t, path)
		}, ErrNewer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "c.db")
			test.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenSQLite(ctx, path, storage.Options{}); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the file was changed; %v", err)
			}
		})
	}
	if _, err := OpenSQLite(ctx, filepath.Join(t.TempDir(), "none", "c.db"), storage.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v", err)
	}
}

// TestStampedOnly: a process that died between the stamp and the first migration leaves a file that
// opens.
func TestStampedOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	if err := claimSQLite(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	open(t, path, storage.Options{})
}

// TestMigrationsSetVersion: the header's number is what tells an older binary to keep off.
func TestMigrationsSetVersion(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	newest, err := newestMigration(sqliteDialect)
	if err != nil {
		t.Fatal(err)
	}
	var version int64
	if err := s.conn.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil || version != newest {
		t.Errorf("user_version is %d, the last migration %d; %v", version, newest, err)
	}
}

// TestOlderCatalogue: what earlier versions stored is read by this one, and the log verifies.
func TestOlderCatalogue(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	options := storage.Options{Now: clock.Now}
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "new.db"), options)
	bank := storage.Bank{Name: "b", Policy: storage.Policy{Action: "hold"}}
	entry := storage.Entry{
		Labels: []string{"y", "x"}, Note: "private", Signals: []hashing.Signal{storagetest.Signal(hashing.PDQ, 1)}, Sources: []storage.Source{{Actor: "local"}},
	}
	key := storage.Key{ID: "k", Role: storage.Admin}
	err := s.Update(t.Context(), func(w storage.Writer) error {
		if err := w.CreateBank(&bank); err != nil {
			return err
		}
		entry.Bank = bank.ID
		return errors.Join(
			w.Append(&storage.Change{Kind: storage.BankCreated, Bank: bank.ID, Body: []byte(`{"name":"b","policy":{"action":"hold"}}`)}),
			storagetest.AddEntry(w, &entry),
			w.CreateKey(&key),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := storagetest.Dump(t, s)
	if owner, kind := want.Banks[0].Owner, want.Banks[0].Kind; owner != storage.Operator || kind != storage.Positive || want.Keys[0].Party != storage.Operator {
		t.Fatalf("what older versions mean: owner %d, kind %s, party %d", owner, kind, want.Keys[0].Party)
	}
	for version := int64(1); version < 3; version++ {
		path := filepath.Join(dir, fmt.Sprint(version))
		older(t, path, version, s.path)
		migrated := open(t, path, options)
		if diff := cmp.Diff(want, storagetest.Dump(t, migrated)); diff != "" {
			t.Errorf("version %d (-want +got)\n%s", version, diff)
		}
		if _, err := storage.VerifyLog(t.Context(), migrated, nil); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
		err := migrated.View(t.Context(), func(r storage.Reader) error {
			labelled, err := r.Entries(storage.EntryQuery{Bank: bank.ID, Label: "x", Limit: 9})
			if len(labelled) != 1 {
				t.Errorf("version %d: %d entries have the label", version, len(labelled))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		err = migrated.Update(t.Context(), func(w storage.Writer) error { return storagetest.AddEntry(w, &storage.Entry{Bank: bank.ID}) })
		if err != nil {
			t.Errorf("version %d takes nothing more: %v", version, err)
		}
	}
}

// older makes a catalogue in the schema of an earlier version, with what a newer one holds.
func older(t *testing.T, path string, version int64, newer string) {
	t.Helper()
	ctx := t.Context()
	if err := stampSQLite(ctx, path); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	files, err := fs.Sub(migrations, sqliteDialect.migrations)
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(sqliteDialect.goose, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "ATTACH $1 AS newer", newer); err != nil {
		t.Fatal(err)
	}
	text := func(row scanner) (s string, err error) {
		err = row.Scan(&s)
		return s, err
	}
	tables, err := list(ctx, db, text, "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%'")
	if err != nil || len(tables) < 8 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, table := range tables {
		columns, err := list(ctx, db, text, "SELECT name FROM pragma_table_info($1, 'main')", table)
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Join(columns, ", ")
		if _, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO main.%s (%s) SELECT %s FROM newer.%s", table, names, names, table)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCrowd: readers beyond the limit of connections wait, as long as their contexts let them.
func TestCrowd(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	limit := s.reader.Stats().MaxOpenConnections
	if want := max(8, 4*runtime.GOMAXPROCS(0)); limit != want {
		t.Fatalf("limit is %d, want %d", limit, want)
	}
	crowd := max(200, 2*limit)
	release := make(chan bool)
	var wait sync.WaitGroup
	for range crowd {
		wait.Go(func() {
			err := s.View(t.Context(), func(r storage.Reader) error {
				_, err := r.Head()
				<-release
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 2000 { // until everybody has a place or waits for one
		if stats := s.reader.Stats(); stats.InUse == limit && stats.WaitCount >= int64(crowd-limit) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if stats := s.reader.Stats(); stats.OpenConnections != limit || stats.InUse != limit || stats.WaitCount != int64(crowd-limit) {
		t.Errorf("%d readers: %+v", crowd, stats)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := s.View(ctx, func(storage.Reader) error { t.Error("it ran"); return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader that has waited too long: %v", err)
	}
	if err := s.Update(t.Context(), func(storage.Writer) error { return nil }); err != nil {
		t.Errorf("a writer among them: %v", err)
	}
	close(release)
	wait.Wait()
	if stats := s.reader.Stats(); stats.OpenConnections > limit || stats.InUse != 0 {
		t.Errorf("afterwards: %+v", stats)
	}
}
