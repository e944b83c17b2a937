package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// addPair adds two banks in one transaction, each with its change.
func addPair(ctx context.Context, s *Store, name string) error {
	return s.Update(ctx, func(w storage.Writer) error {
		for _, half := range []string{"a", "b"} {
			bank := storage.Bank{Name: name + half, Description: strings.Repeat("x", 2000)}
			if err := w.CreateBank(&bank); err != nil {
				return err
			}
			if err := w.Append(&storage.Change{Kind: storage.BankCreated, Bank: bank.ID, Body: []byte("{}")}); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestBackup copies a catalogue again and again while writers fill it. Each copy is a moment of it: all that was committed
// before, transactions whole, the log verifying up to a root that the catalogue had at that number.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "c %?#'.db"), storage.Options{})
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for n := range 3 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := addPair(t.Context(), s.Store, fmt.Sprintf("%d-%d", n, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var last storage.Head
	for i := range 5 {
		if err := s.Wait(t.Context(), last.Seq); err != nil { // so that there is something new
			t.Fatal(err)
		}
		before, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("copy %d's.db", i))
		if err := Backup(t.Context(), s.path, path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the copy has mode %v, %v", info.Mode(), err)
		}
		copied := open(t, path, storage.Options{})
		head, err := storage.VerifyLog(t.Context(), copied, nil)
		if err != nil {
			t.Fatal(err)
		}
		if head.Seq < before.Seq || head.LogID != before.LogID {
			t.Errorf("the copy is as of change %d of %s, though %d of %s was there before", head.Seq, head.LogID, before.Seq, before.LogID)
		}
		changes, err := s.Changes(t.Context(), head.Seq-1, 1)
		if err != nil || changes[0].Root != head.Root {
			t.Errorf("change %d has another root in the copy; %v", head.Seq, err)
		}
		err = copied.View(t.Context(), func(r storage.Reader) error {
			banks, err := r.Banks()
			if len(banks)%2 != 0 || uint64(len(banks)) != head.Seq {
				t.Errorf("%d banks at change %d: half a transaction was copied", len(banks), head.Seq)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		last = head
	}
	stop()
	writers.Wait()
}

// TestBackupIsWhole: a copy of everything a catalogue can hold is the same, less what was deleted.
func TestBackupIsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const secret = "the note that was erased"
	s := open(t, filepath.Join(dir, "c.db"), storage.Options{})
	bank := storage.Bank{Name: "b"}
	e := storage.Entry{Status: storage.Active, Note: secret, Labels: []string{"l"}, Signals: []hashing.Signal{storagetest.Signal(hashing.PDQ, 1)}, Sources: []storage.Source{{Actor: "local", Origin: "o"}}}
	err := s.Update(t.Context(), func(w storage.Writer) error {
		if err := w.CreateBank(&bank); err != nil {
			return err
		}
		e.Bank = bank.ID
		err := w.CreateEntry(&e)
		return errors.Join(err, w.Append(&storage.Change{Kind: storage.EntryAdded, Bank: bank.ID, Entry: e.ID, Body: []byte("{}")}))
	})
	if err == nil {
		e.Note = ""
		err = s.Update(t.Context(), func(w storage.Writer) error { return w.UpdateEntry(e) })
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy.db")
	if err := Backup(t.Context(), s.path, path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || bytes.Contains(text, []byte(secret)) {
		t.Errorf("what was erased is in the copy; %v", err)
	}
	if diff := cmp.Diff(storagetest.Dump(t, s), storagetest.Dump(t, open(t, path, storage.Options{}))); diff != "" {
		t.Errorf("(-catalogue +copy)\n%s", diff)
	}
}

// TestBackupRefused: what cannot be copied leaves nothing.
func TestBackupRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "c.db"), storage.Options{})
	taken := filepath.Join(dir, "taken")
	text := filepath.Join(dir, "text")
	for _, f := range []string{taken, text} {
		if err := os.WriteFile(f, []byte(strings.Repeat("text ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Backup(t.Context(), s.path, taken); !errors.Is(err, fs.ErrExist) {
		t.Errorf("onto a file: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	to := filepath.Join(dir, "to")
	for name, err := range map[string]error{
		"not a catalogue": Backup(t.Context(), text, to),
		"nothing":         Backup(t.Context(), filepath.Join(dir, "nothing"), to),
		"no folder":       Backup(t.Context(), s.path, filepath.Join(dir, "none", "to")),
		"cancelled":       Backup(cancelled, s.path, to),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy that failed is there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a catalogue was made: %v", err)
	}
}

// TestSnapshot: a snapshot stays what it was while the catalogue goes on, and changes nothing.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "c %?#.db"), storage.Options{})
	if err := addPair(t.Context(), s.Store, "first"); err != nil {
		t.Fatal(err)
	}
	opening, opened := context.WithCancel(t.Context())
	snapshot, err := OpenSnapshot(opening, s.path)
	if err != nil {
		t.Fatal(err)
	}
	opened() // the snapshot outlives the context of its opening
	want := storagetest.Dump(t, s)
	if err := addPair(t.Context(), s.Store, "second"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, storagetest.Dump(t, snapshot)); diff != "" {
		t.Errorf("(-then +snapshot)\n%s", diff)
	}
	rows, err := snapshot.Rows(t.Context())
	if err != nil || rows["banks"] != 2 || rows["log"] != 2 || rows["log_hashes"] != 3 || rows["entries"] != 0 {
		t.Errorf("rows are %v, %v", rows, err)
	}
	if faults, err := snapshot.Integrity(t.Context()); faults != nil || err != nil {
		t.Errorf("integrity: %v, %v", faults, err)
	}
	if err := snapshot.Update(t.Context(), func(storage.Writer) error { return nil }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("update: %v", err)
	}
	waiting, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := snapshot.Wait(waiting, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait beyond its head: %v", err)
	}
	if err := errors.Join(snapshot.Wait(t.Context(), 1), snapshot.Close()); err != nil {
		t.Error(err)
	}
}

// TestSnapshotRefused: as TestRefused, and what is older.
func TestSnapshotRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statements string // on a catalogue
		want       error
	}{
		"newer":           {"PRAGMA user_version = 99", ErrNewer},
		"older":           {"PRAGMA user_version = 1", ErrOlder},
		"somebody else's": {"PRAGMA application_id = 1", ErrForeign},
	} {
		path := filepath.Join(t.TempDir(), "c.db")
		s, err := OpenSQLite(t.Context(), path, storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := connectSQLite(path, url.Values{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(test.statements)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSnapshot(t.Context(), path); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

// TestIntegrity: what SQLite finds wrong is told.
func TestIntegrity(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	s, err := OpenSQLite(t.Context(), path, storage.Options{})
	if err == nil {
		err = errors.Join(addPair(t.Context(), s, "x"), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := connectSQLite(path, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("PRAGMA foreign_keys = 0; INSERT INTO entry_labels (entry, ord, label) VALUES (7, 0, 'of nobody')")
	var root, size int64
	if err == nil {
		err = db.QueryRow("SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'banks_live_name'").Scan(&root, &size)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	look := func(want string) {
		t.Helper()
		snapshot, err := OpenSnapshot(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer snapshot.Close()
		faults, err := snapshot.Integrity(t.Context())
		if err != nil || !strings.Contains(strings.Join(faults, "\n"), want) {
			t.Errorf("want %q in %q; %v", want, faults, err)
		}
	}
	look("of entry_labels refers to a row of entries that is not there")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt(make([]byte, 100), (root-1)*size)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	look("malformed")
}
