package sqlstore

import (
	"context"
	"database/sql"
	"errors"
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
	ask(s.conn, map[string]string{
		"busy_timeout": "10000", "journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"query_only": "0", "application_id": "1447642953", "user_version": "2",
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

// TestOlderCatalogue: what the first version stored is read by this one.
func TestOlderCatalogue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	s := open(t, path, storage.Options{})
	want := storage.Entry{Status: storage.Active, Signals: []hashing.Signal{storagetest.Signal(hashing.PDQ, 1)}, Sources: []storage.Source{{Actor: "local"}}}
	bank := storage.Bank{Name: "b"}
	err := s.Update(t.Context(), func(w storage.Writer) error {
		if err := w.CreateBank(&bank); err != nil {
			return err
		}
		want.Bank = bank.ID
		return w.CreateEntry(&want)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{ // back to the first migration
		"ALTER TABLE entry_signals DROP COLUMN time_ms", "ALTER TABLE entries DROP COLUMN duration_ms",
		"DELETE FROM goose_db_version WHERE version_id = 2", "PRAGMA user_version = 1",
	} {
		if _, err := db.ExecContext(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err = open(t, path, storage.Options{}).View(t.Context(), func(r storage.Reader) error {
		got, err := r.Entry(want.ID)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Error(err)
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
