package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "vigie/api/v1"
	"vigie/storage"
	"vigie/storage/journal"
)

// TestBackupUnderLoad takes backups of a node while clients flag and retract, and restores them. Each is the node's log up to some
// change: the same root as the node has there, every flag that was acknowledged up to there, with its media, and a node on
// it answers as it should.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const clients = 4
	flags := 400
	if underRace {
		flags = 120 // each is looked at in every backup
	}
	k := &killing{T: t, data: filepath.Join(dir, "data"), seed: 9, all: map[int64]*flagRecord{}}
	k.start()
	for _, args := range [][]string{{"banks", "create", "lists"}, {"banks", "create", "--keep-media", "pictures"}} {
		if code, _, warn := k.vigie(args...); code != 0 {
			t.Fatal(warn)
		}
	}
	k.admin = k.key(t, v1.Admin)
	backups := filepath.Join(dir, "backups")
	var taken []backedUp
	take := func(wantNew bool) {
		code, out, warn := k.vigie("backup", backups, "--json")
		var b backedUp
		if err := json.Unmarshal([]byte(out), &b); code != 0 || err != nil {
			t.Errorf("backup: exit %d: %s%s %v", code, out, warn, err)
			return
		}
		if wantNew != (b.NewMedia > 0) {
			t.Errorf("the backup has %d media that are new", b.NewMedia)
		}
		taken = append(taken, b)
	}

	jobs := k.jobs(0, flags)
	// While each backup is taken the clients may send a quarter of the flags, and it begins when pictures have come since the one
	// before: so each has something new, on however slow a machine.
	let, sent := make(chan bool, flags), make(chan bool)
	var pictures atomic.Int64
	go func() {
		defer close(sent)
		k.send(jobs, clients, func(r *flagRecord, _ int64) {
			if r.picture != nil {
				pictures.Add(1)
			}
			<-let
		})
	}()
	for range 3 {
		had := pictures.Load()
		for range flags / 4 {
			let <- true
		}
		eventually(t, "two pictures more are acknowledged", func() bool { return pictures.Load() >= had+2 })
		take(true)
	}
	close(let)
	<-sent
	take(true)
	take(false)
	if len(taken) != 5 || t.Failed() { // which has been said
		t.FailNow()
	}
	if during := taken[2].Seq; during >= taken[3].Seq || taken[3].Seq != taken[4].Seq {
		t.Errorf("backups are as of changes %d, %d and %d: they were not taken under load", during, taken[3].Seq, taken[4].Seq)
	}
	live := k.changes()
	t.Logf("backups as of changes %d, %d, %d and %d", taken[0].Seq, taken[1].Seq, taken[2].Seq, taken[3].Seq)
	k.end()

	for i, b := range taken[:4] {
		data := filepath.Join(dir, fmt.Sprintf("restored-%d", i))
		code, out, warn := runVigie(os.Environ(), "restore", b.Backup, "--data", data, "--json")
		var r restored
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatalf("restore: exit %d: %s%s %v", code, out, warn, err)
		}
		if c := live[b.Seq-1]; b.Root != c.Root || r.Root != c.Root || r.Seq != b.Seq {
			t.Errorf("the backup is as of change %d, root %s; restored %d, %s; the node has %s there", b.Seq, b.Root, r.Seq, r.Root, c.Root)
		}
		k.restored(data, b, jobs, live)
	}
}

// restored looks at a node on a restored folder.
func (k *killing) restored(data string, b backedUp, jobs []*flagRecord, live []v1.Change) {
	k.Helper()
	r := *k
	r.data = data
	r.start()
	changes := r.changes()
	if !slices.EqualFunc(changes, live[:b.Seq], func(x, y v1.Change) bool { return x.Root == y.Root && x.Record == y.Record }) {
		k.Errorf("the restored log of %d changes is not the node's up to %d", len(changes), b.Seq)
	}
	entries := map[int64]v1.Entry{}
	for _, e := range r.entries() {
		entries[e.Id] = e
	}
	r.checkFiles(slices.Collect(maps.Values(entries)))
	had := 0
	for _, job := range jobs {
		e, there := entries[job.acknowledged.Entry.Id]
		if there != (uint64(job.acknowledged.Seq) <= b.Seq) {
			k.Errorf("flag %d is change %d, the backup is as of %d; it is there: %v", job.number, job.acknowledged.Seq, b.Seq, there)
		}
		if there && (job.picture != nil || job.number%10 == 1) { // a part of the many
			had++
			if matches := r.matches(job, e.Id); matches != (e.Status == v1.Active) {
				k.Errorf("entry %d is %s; it matches: %v", e.Id, e.Status, matches)
			}
		}
	}
	if had == 0 {
		k.Error("nothing was restored")
	}
	if code, found := examine(k.T, data, "--deep"); code != 0 || faultsOf(found) != nil {
		k.Errorf("doctor: exit %d: %+v", code, found)
	}
	r.end()
}

// TestDamagedBackup: a backup of which anything is damaged or missing is refused by the name of the file, and leaves nothing; one that
// is whole, and one of whose media were lost before, is restored.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	healthy := patient(t)
	good := filepath.Join(t.TempDir(), "backups")
	if code, _, warn := runVigie(os.Environ(), "backup", good, "--data", healthy); code != 0 {
		t.Fatal(warn)
	}
	all, err := filepath.Glob(filepath.Join(good, "*Z"))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	name := filepath.Base(all[0])
	blobs := func(root string) []string {
		all, err := filepath.Glob(filepath.Join(root, mediaFolder, "??", "??", "*"))
		if err != nil || len(all) < 2 {
			t.Fatal(all, err)
		}
		return all
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 8; return b }
	edit := func(old, new string) func(string) error {
		return func(root string) error {
			path := filepath.Join(root, name, manifestFile)
			text, err := os.ReadFile(path)
			if !strings.Contains(string(text), old) {
				return errors.Join(err, fmt.Errorf("%q is not in the manifest", old))
			}
			return os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600)
		}
	}
	for what, c := range map[string]struct {
		damage func(root string) error
		says   string // "": it is restored
	}{
		"as it was made":             {func(string) error { return nil }, ""},
		"a flipped catalogue":        {func(root string) error { return alter(filepath.Join(root, name, catalogueFile), flip) }, catalogueFile},
		"a cut catalogue":            {func(root string) error { return os.Truncate(filepath.Join(root, name, catalogueFile), 4096) }, catalogueFile},
		"no catalogue":               {func(root string) error { return os.Remove(filepath.Join(root, name, catalogueFile)) }, catalogueFile},
		"a flipped blob":             {func(root string) error { return alter(blobs(root)[1], flip) }, filepath.Base(blobs(good)[1])},
		"a missing blob":             {func(root string) error { return os.Remove(blobs(root)[0]) }, filepath.Base(blobs(good)[0])},
		"no media":                   {func(root string) error { return os.RemoveAll(filepath.Join(root, mediaFolder)) }, mediaFolder},
		"half a manifest":            {func(root string) error { return os.Truncate(filepath.Join(root, name, manifestFile), 100) }, manifestFile},
		"no manifest":                {func(root string) error { return os.Remove(filepath.Join(root, name, manifestFile)) }, manifestFile},
		"a manifest of another seq":  {edit(`"seq": `, `"seq": 1`), manifestFile},
		"a manifest of another root": {edit(`"root": "`, `"root": "00`), manifestFile},
		"a manifest of the future":   {edit(`"version": 1`, `"version": 2`), "version 1"},
		"a manifest of other files":  {edit(`"name": "catalogue.db"`, `"name": "../../catalogue.db"`), manifestFile},
		"a manifest of more files":   {edit(`"files": [`, `"files": [{"name": "journal/../../x", "size": 1, "sha256": ""},`), "journal/../../x"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root, data := filepath.Join(dir, "backups"), filepath.Join(dir, "data")
			cloneFolder(t, good, root)
			if err := c.damage(root); err != nil {
				t.Fatal(err)
			}
			code, out, warn := runVigie(os.Environ(), "restore", root, "--data", data)
			if c.says == "" {
				if code != 0 {
					t.Fatalf("exit %d: %s", code, warn)
				}
				return
			}
			if code == 0 || !strings.Contains(warn, c.says) {
				t.Errorf("exit %d, want a refusal that names %s: %s%s", code, c.says, out, warn)
			}
			t.Log(warn)
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}

	t.Run("media lost before", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		data, root, restored := filepath.Join(dir, "data"), filepath.Join(dir, "backups"), filepath.Join(dir, "restored")
		cloneFolder(t, healthy, data)
		if err := errors.Join(os.Remove(blobs(data)[0]), alter(blobs(data)[1], flip)); err != nil { // the second is then the next one
			t.Fatal(err)
		}
		lost := []string{filepath.Base(blobs(healthy)[0]), filepath.Base(blobs(data)[1])}
		code, out, _ := runVigie(os.Environ(), "backup", root, "--data", data, "--json")
		var b backedUp
		if err := json.Unmarshal([]byte(out), &b); code != exitFailed || err != nil || !slices.Equal(b.Missing, lost) {
			t.Errorf("exit %d, missing are %q, want %q; %v", code, b.Missing, lost, err)
		}
		if code, _, warn := runVigie(os.Environ(), "restore", root, "--data", restored); code != 0 || !strings.Contains(warn, "2 media were missing") {
			t.Errorf("exit %d: %s", code, warn)
		}
		if code, found := examine(t, restored); code != exitFailed || !slices.Equal(faultsOf(found), []string{"media"}) {
			t.Errorf("doctor: exit %d: %+v", code, found)
		}
	})

	t.Run("a log that does not verify", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		data, root := filepath.Join(dir, "data"), filepath.Join(dir, "backups")
		cloneFolder(t, healthy, data)
		alterCatalogue(t, data, "DELETE FROM log WHERE seq = 3")
		code, _, warn := runVigie(os.Environ(), "backup", root, "--data", data)
		left, err := filepath.Glob(filepath.Join(root, "*Z*"))
		if code != exitFailed || !strings.Contains(warn, "change 3: missing") || left != nil || err != nil {
			t.Errorf("exit %d: %s; it left %v, %v", code, warn, left, err)
		}
	})
}

// TestBackupInterrupted: what a backup left that did not come to its end is no backup, and the next one removes it.
func TestBackupInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, data := filepath.Join(dir, "back[u]ps"), filepath.Join(dir, "data")
	if code, _, warn := runVigie(os.Environ(), "banks", "create", "b", "--data", data); code != 0 {
		t.Fatal(warn)
	}
	draft := filepath.Join(root, "20000101T000000.000Z"+partialSuffix)
	if err := errors.Join(os.MkdirAll(draft, 0o700), os.WriteFile(filepath.Join(draft, manifestFile), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if code, _, warn := runVigie(os.Environ(), "restore", root, "--data", filepath.Join(dir, "new")); code != exitUsage || !strings.Contains(warn, "no backup") {
		t.Errorf("exit %d: %s", code, warn)
	}
	if code, _, warn := runVigie(os.Environ(), "backup", root, "--data", data); code != 0 {
		t.Errorf("exit %d: %s", code, warn)
	}
	if _, err := os.Stat(draft); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if code, _, warn := runVigie(os.Environ(), "restore", root, "--data", filepath.Join(dir, "new")); code != 0 {
		t.Errorf("exit %d: %s", code, warn)
	}
}

// TestBackupJournal: matches that the journal had not handed on yet come into the catalogue when the backup is restored, once
// each, and the restored node begins a journal of its own.
func TestBackupJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, data, restored := filepath.Join(dir, "backups"), filepath.Join(dir, "data"), filepath.Join(dir, "new")
	vigie := func(args ...string) string {
		t.Helper()
		code, out, warn := runVigie(os.Environ(), args...)
		if code != 0 {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, warn)
		}
		return out
	}
	vigie("banks", "create", "b", "--data", data)
	j, err := journal.Open(filepath.Join(data, journalFolder), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(storage.MatchRecord{Party: storage.Operator, Key: "k", ContentID: "c-1", Level: "match", Action: "review", Verdict: json.RawMessage("{}")})
	if err != nil {
		t.Fatal(err)
	}
	id, err := j.Append(t.Context(), "match", record)
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	vigie("backup", root, "--data", data)
	vigie("restore", root, "--data", restored)
	if _, err := os.Stat(filepath.Join(restored, journalFolder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the restored folder has the journal of another node: %v", err)
	}
	for range 2 {
		if out := vigie("matches", "--data", restored, "--json"); strings.Count(out, id.String()) != 1 || !strings.Contains(out, "c-1") {
			t.Errorf("matches of the restored folder: %s", out)
		}
	}
}
