package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "vigie/api/v1"
	"vigie/index"
	"vigie/storage"
	"vigie/storage/datadir"
	"vigie/storage/sqlstore"
)

// patient makes a small data folder by the real commands, with something of everything that the doctor looks at.
func patient(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	s := serve(t, data, nil, "--log-level", "error", "--ffmpeg", "none")
	do := func(args ...string) {
		t.Helper()
		if code, out, warn := s.vigie(args...); code != 0 {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, warn)
		}
	}
	do("banks", "create", "pictures", "--keep-media")
	for i := range 4 {
		m := drawn(uint64(i), 96, 72)
		for name, picture := range map[string][]byte{"a": encoded(".jpg", m), "b": encoded(".png", altered["brighten"](m))} {
			file := filepath.Join(dir, fmt.Sprintf("%d%s", i, name))
			if err := os.WriteFile(file, picture, 0o600); err != nil {
				t.Fatal(err)
			}
			do("flag", "--bank", "pictures", "--label", "test", "--note", "a note", file)
		}
	}
	do("flag", "--bank", "pictures", "--origin", "again", filepath.Join(dir, "0a"))
	do("entries", "retract", "1", "--reason", "a mistake")
	do("entries", "retract", "2", "--reason", "a mistake")
	do("entries", "restore", "2", "--reason", "no mistake")
	do("banks", "create", "other")
	s.key(t, v1.Platform)
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	saveIndexOf(t, data, filepath.Join(data, indexFolder))
	if err := os.Remove(filepath.Join(data, socketFile)); err != nil {
		t.Fatal(err)
	}
	return data
}

// examine runs the doctor, and returns its exit code and findings.
func examine(t *testing.T, data string, args ...string) (code int, found []finding) {
	t.Helper()
	code, out, warn := runVigie(os.Environ(), append([]string{"doctor", "--json", "--data", data, "--ffmpeg", "none"}, args...)...)
	for lines := json.NewDecoder(strings.NewReader(out)); ; {
		var line struct {
			finding
			Summary *doctorSummary
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			t.Fatalf("no summary: exit %d: %s%s", code, out, warn)
		} else if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if line.Summary != nil {
			return code, found
		}
		found = append(found, line.finding)
	}
}

// faultsOf are the checks that found a fault.
func faultsOf(found []finding) (checks []string) {
	for _, f := range found {
		if f.Level == faulty {
			checks = append(checks, f.Check)
		}
	}
	return slices.Compact(checks)
}

// TestDoctorFindsPlantedFaults plants faults, each in a copy of a healthy folder: the doctor names each, and that one alone, explains it
// and exits with 1. It finds none in the healthy folder, whether or not a node runs on it.
func TestDoctorFindsPlantedFaults(t *testing.T) {
	t.Parallel()
	healthy := patient(t)
	for _, args := range [][]string{nil, {"--deep"}} {
		if code, found := examine(t, healthy, args...); code != 0 || faultsOf(found) != nil {
			t.Fatalf("the healthy folder: exit %d: %+v", code, found)
		}
	}
	sqlDo := func(statements string) func(*testing.T, string) {
		return func(t *testing.T, data string) { alterCatalogue(t, data, statements) }
	}
	segment := func(data string) string {
		all, err := filepath.Glob(filepath.Join(data, indexFolder, "*.seg"))
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	blob := func(data string) string {
		all, err := filepath.Glob(filepath.Join(data, mediaFolder, "??", "??", "*"))
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 8; return b }
	for _, c := range []struct {
		name  string
		plant func(t *testing.T, data string)
		check string // that finds it
		says  string // part of what it says
		deep  bool   // it takes --deep
	}{
		{"a log row altered", sqlDo("UPDATE log SET kind = 'entry.retracted' WHERE seq = 2"), "log", "change 2: kind", false},
		{"a record altered", sqlDo("UPDATE log SET record = CAST(replace(CAST(record AS TEXT), 'active', 'Active') AS BLOB) WHERE seq = 2"), "log", "change 2", false},
		{"a note altered", sqlDo(`UPDATE log SET private = CAST('{"note":"x"}' AS BLOB) WHERE seq = 2`), "log", "change 2: private", false},
		{"a log row deleted", sqlDo("DELETE FROM log WHERE seq = 3"), "log", "change 3: missing", false},
		{"the last log row deleted", sqlDo("DELETE FROM log WHERE seq = (SELECT seq FROM log_head)"), "log", "missing", false},
		{"the head put back", sqlDo("UPDATE log_head SET seq = seq - 1"), "log", "head", false},
		{"the head and its root put back", sqlDo("UPDATE log_head SET seq = seq - 1, root = (SELECT root FROM log l WHERE l.seq = log_head.seq - 1)"), "log", "though the head is", false},
		{"the head's root altered", sqlDo("UPDATE log_head SET root = zeroblob(32)"), "log", "head", false},
		{"a node of the tree altered", sqlDo("UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 2"), "log", "node 2 of the tree", false},
		{"a node of the tree deleted", sqlDo("DELETE FROM log_hashes WHERE idx = 4"), "log", "node 4 of the tree is missing", false},
		{"a signal altered", sqlDo("UPDATE entry_signals SET value = zeroblob(32) WHERE entry = 3 AND algorithm = 'pdq' AND ord = (SELECT min(ord) FROM entry_signals WHERE entry = 3 AND algorithm = 'pdq')"), "entries", "entry 3 has other signals", false},
		{"a retraction undone", sqlDo("UPDATE entries SET status = 'active' WHERE id = 1"), "entries", "entry 1 has other status (active, by the log retracted)", false},
		{"an expiry altered", sqlDo("UPDATE entries SET expires_at = 4102444800000 WHERE id = 3"), "entries", "entry 3 has other expiry", false},
		{"an entry deleted", sqlDo("DELETE FROM entry_signals WHERE entry = 3; DELETE FROM entry_labels WHERE entry = 3; DELETE FROM entry_sources WHERE entry = 3; DELETE FROM entries WHERE id = 3"), "entries", "entry 3 is in the log, and not in the catalogue", false},
		{"an entry from nowhere", sqlDo("INSERT INTO entries (bank, status, exact_only, note, reason, sha256, bytes, format, width, height, kept, created_at, seq) SELECT bank, status, exact_only, note, reason, zeroblob(32), bytes, format, width, height, 0, created_at, seq FROM entries WHERE id = 2"), "entries", "no change of the log made entry", false},
		{"a policy altered", sqlDo("UPDATE banks SET policy = replace(policy, '31', '3') WHERE id = 1"), "banks and keys", "bank 1", false},
		{"a key given rights", sqlDo("UPDATE keys SET role = 'admin'"), "banks and keys", "is not what the log says", false},
		{"a media file missing", func(t *testing.T, data string) { must(t, os.Remove(blob(data))) }, "media", "1 files are missing", false},
		{"a media file cut", func(t *testing.T, data string) { must(t, os.Truncate(blob(data), 100)) }, "media", "not of the size", false},
		{"a media file corrupted", func(t *testing.T, data string) { must(t, alter(blob(data), flip)) }, "media", "not what their name says", true},
		{"a media row deleted", sqlDo("DELETE FROM media WHERE sha256 = (SELECT sha256 FROM entries WHERE id = 2)"), "media", "the first is entry 2", false},
		{"a section of the index flipped", func(t *testing.T, data string) { must(t, alter(segment(data), flip)) }, "index", filepath.Base(segment(healthy)), false},
		{"a segment missing", func(t *testing.T, data string) { must(t, os.Remove(segment(data))) }, "index", "is not there", false},
		{"an index of another log", func(t *testing.T, data string) {
			other := filepath.Join(t.TempDir(), "data")
			if code, _, warn := runVigie(os.Environ(), "banks", "create", "x", "--data", other); code != 0 {
				t.Fatal(warn)
			}
			must(t, os.RemoveAll(filepath.Join(data, indexFolder)))
			saveIndexOf(t, other, filepath.Join(data, indexFolder))
		}, "index", "another log", false},
		{"an index that lacks a row", func(t *testing.T, data string) { saveLackingIndex(t, data) }, "index", "entry 2 has other rows", true},
		{"a page of the catalogue corrupted", func(t *testing.T, data string) {
			path := filepath.Join(data, catalogueFile)
			page, size := pageOf(t, path, "entry_signals_value")
			must(t, alter(path, func(b []byte) []byte { copy(b[(page-1)*size:], bytes.Repeat([]byte{0xff}, 200)); return b }))
		}, "catalogue", "damaged", false},
		{"a row that refers to nothing", sqlDo("PRAGMA foreign_keys = 0; INSERT INTO entry_labels (entry, ord, label) VALUES (999, 0, 'x')"), "catalogue", "of entry_labels refers to a row of entries that is not there", false},
		{"no catalogue any more", func(t *testing.T, data string) {
			must(t, os.WriteFile(filepath.Join(data, catalogueFile), bytes.Repeat([]byte("text "), 1000), 0o600))
		}, "catalogue", "not a Vigie catalogue", false},
		{"a schema of the future", sqlDo("PRAGMA user_version = 999"), "catalogue", "schema is number 999", false},
		{"a last change in the future", changeTomorrow, "clock", "from now", false},
		{"an owner that does not answer", func(t *testing.T, data string) {
			lock, err := datadir.LockFolder(data)
			must(t, err)
			t.Cleanup(func() { _ = lock.Close() })
		}, "lock", fmt.Sprintf("process %d owns the folder, and does not answer", os.Getpid()), false},
		{"a damaged file of the journal", func(t *testing.T, data string) {
			path := filepath.Join(data, journalFolder, "00000000000000000001.journal.damaged")
			must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)))
		}, "journal", "1 files could not be read to their end", false},
		{"a folder that others can write", func(t *testing.T, data string) { must(t, os.Chmod(data, 0o777)) }, "folder", "can be written by others", false},
		{"a catalogue of another user", func(t *testing.T, data string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			must(t, os.Chown(filepath.Join(data, catalogueFile), 65534, 65534))
		}, "folder", "is of user 65534", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			cloneFolder(t, healthy, data)
			c.plant(t, data)
			if c.deep {
				if _, found := examine(t, data); faultsOf(found) != nil {
					t.Errorf("it is found without --deep, too: %+v", found)
				}
			}
			code, found := examine(t, data, map[bool][]string{true: {"--deep"}}[c.deep]...)
			if got := faultsOf(found); code != exitFailed || !slices.Equal(got, []string{c.check}) {
				t.Fatalf("exit %d, faults in %q, want one in %s: %+v", code, got, c.check, found)
			}
			for _, f := range found {
				if f.Level == faulty && (!strings.Contains(f.Says, c.says) || f.Means == "" || f.Do == "") {
					t.Errorf("want %q, and what it means and what to do, in %+v", c.says, f)
				}
				if f.Level == faulty {
					t.Logf("%s\n  %s\n  %s", f.Says, f.Means, f.Do)
				}
			}
		})
	}

	t.Run("a full disk", func(t *testing.T) {
		t.Parallel()
		data := filepath.Join(t.TempDir(), "data")
		must(t, os.Mkdir(data, 0o700))
		if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=16m,mode=700"); err != nil {
			t.Skipf("no small disk can be had: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(data, unix.MNT_DETACH) })
		cloneFolder(t, healthy, data)
		code, found := examine(t, data)
		if got := faultsOf(found); code != exitFailed || !slices.Equal(got, []string{"disk"}) {
			t.Errorf("exit %d, faults in %q, want one in disk: %+v", code, got, found)
		}
	})

	t.Run("a node runs", func(t *testing.T) {
		t.Parallel()
		data := filepath.Join(t.TempDir(), "data")
		cloneFolder(t, healthy, data)
		s := serve(t, data, nil, "--log-level", "error", "--ffmpeg", "none")
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					s.vigie("banks", "create", fmt.Sprintf("new-%d", i))
				}
			}
		}()
		for range 3 {
			code, found := examine(t, data, "--deep")
			if code != 0 || faultsOf(found) != nil {
				t.Errorf("exit %d: %+v", code, found)
			}
			if want := fmt.Sprintf("process %d serves the folder", s.process.Pid); !slices.ContainsFunc(found, func(f finding) bool { return strings.HasPrefix(f.Says, want) }) {
				t.Errorf("nothing says %q: %+v", want, found)
			}
		}
		close(stop)
		<-ended
	})
}

// cloneFolder copies a folder with the rights of its files.
func cloneFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

func alterCatalogue(t *testing.T, data, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, catalogueFile))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statements)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// pageOf is the number of the first page of a table or index, from 1, and the size of pages.
func pageOf(t *testing.T, path, name string) (page, size int64) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.QueryRowContext(t.Context(), "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = $1", name).Scan(&page, &size)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return page, size
}

// changeTomorrow appends a change by a clock that is a day fast.
func changeTomorrow(t *testing.T, data string) {
	t.Helper()
	tomorrow := func() time.Time { return time.Now().Add(24 * time.Hour) }
	c, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(data, catalogueFile), storage.Options{Now: tomorrow})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Update(t.Context(), func(w storage.Writer) error {
		b, err := w.Bank(1)
		if err != nil {
			return err
		}
		body, err := json.Marshal(storage.BankBody{Name: b.Name, Policy: b.Policy})
		return errors.Join(err, w.Append(&storage.Change{Kind: storage.BankChanged, Actor: "local", Bank: 1, Body: body}))
	})
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
}

// saveLackingIndex saves an index with the right mark that lacks the rows of entry 2.
func saveLackingIndex(t *testing.T, data string) {
	t.Helper()
	dir := filepath.Join(data, indexFolder)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	saveIndexOf(t, data, dir)
	saved, err := index.ReadSaved(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(data, catalogueFile), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x := index.New(index.Options{})
	err = x.Load(t.Context(), saved.Seq, func(yield func(index.Change, error) bool) {
		err := c.View(t.Context(), func(r storage.Reader) error {
			page, err := r.Entries(storage.EntryQuery{Limit: 100, Status: storage.Active})
			for _, e := range page {
				if e.ID != 2 && !yield(index.Change{Entry: index.EntryID(e.ID), Bank: index.BankID(e.Bank), Signals: e.Signals}, nil) {
					return nil
				}
			}
			return err
		})
		if err != nil {
			yield(index.Change{}, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return saved.Mark, nil }); err != nil {
		t.Fatal(err)
	}
}

// TestDoctorSettings: addresses that are open to others, and certificates that do not hold.
func TestDoctorSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pairOfFiles(t, 1, cert, key)
	c, err := openCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf := c.now.Load().Leaf
	month := leaf.NotAfter.Add(-30 * 24 * time.Hour)
	for _, c := range []struct {
		config Config
		now    time.Time
		want   []level
	}{
		{Config{Listen: "127.0.0.1:1"}, month, []level{healthy}},
		{Config{Listen: "[::1]:1", ListenPrivate: "localhost:2"}, month, []level{healthy}},
		{Config{Listen: ":1"}, month, []level{warned}},
		{Config{Listen: "10.0.0.1:1", ListenPrivate: "0.0.0.0:2"}, month, []level{warned, warned}},
		{Config{Listen: "nonsense"}, month, []level{faulty}},
		{Config{Listen: ":1", TlsCert: cert, TlsKey: dir}, month, []level{faulty}},
		{Config{Listen: ":1", TlsCert: cert, TlsKey: key}, leaf.NotAfter.Add(-time.Hour), []level{warned}},
		{Config{Listen: ":1", TlsCert: cert, TlsKey: key}, leaf.NotAfter.Add(time.Hour), []level{faulty}},
	} {
		found := checkSettings(t.Context(), &examination{app: &app{Config: c.config}, now: c.now})
		var got []level
		for _, f := range found {
			got = append(got, f.Level)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v at %v: %+v, want %q", c.config, c.now, found, c.want)
		}
	}
}
