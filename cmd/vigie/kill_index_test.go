package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "vigie/api/v1"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/sqlstore"
)

// TestDamagedIndex starts a node on a saved index that is as it was saved, and on others that are damaged: it says what is
// wrong, makes the index of the catalogue, and answers as before.
func TestDamagedIndex(t *testing.T) {
	t.Parallel()
	k := &killing{T: t, data: filepath.Join(t.TempDir(), "data"), seed: 5, all: map[int64]*flagRecord{}}
	k.start()
	if code, _, warn := k.vigie("banks", "create", "lists"); code != 0 {
		t.Fatal(warn)
	}
	k.admin = k.key(t, v1.Admin)
	jobs := slices.DeleteFunc(k.jobs(0, 60), func(r *flagRecord) bool { return r.picture != nil })
	before, after := jobs[:30], jobs[30:]
	k.send(before, 2, func(*flagRecord, int64) {})
	k.end()
	dir := filepath.Join(k.data, indexFolder)
	saveIndexOf(t, k.data, dir)
	k.start() // what is flagged and retracted from here on is in the log alone
	k.send(after, 2, func(*flagRecord, int64) {})
	k.end()
	good := t.TempDir()
	copyFiles(t, dir, good)

	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segments) < 3 {
		t.Fatal(segments, err)
	}
	manifest, aside := filepath.Join(dir, "MANIFEST"), filepath.Join(dir, "aside")
	names := []string{filepath.Base(segments[0]), filepath.Base(segments[1]), filepath.Base(segments[2])}
	for _, c := range []struct {
		name, says string // says is "" if nothing is wrong
		damage     func() error
	}{
		{"as it was saved", "", func() error { return nil }},
		{"a bit of a segment", names[0], func() error { return alter(segments[0], func(b []byte) []byte { b[len(b)/2] ^= 8; return b }) }},
		{"a header", names[1], func() error { return alter(segments[1], func(b []byte) []byte { b[30]++; return b }) }},
		{"half a segment", names[2], func() error { return alter(segments[2], func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"an empty segment", names[0], func() error { return os.Truncate(segments[0], 0) }},
		{"a missing segment", names[1], func() error { return os.Remove(segments[1]) }},
		{"two segments swapped", names[0], func() error {
			return errors.Join(os.Rename(segments[0], aside), os.Rename(segments[1], segments[0]), os.Rename(aside, segments[1]))
		}},
		{"half a manifest", "MANIFEST", func() error { return alter(manifest, func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"a folder for a manifest", "MANIFEST", func() error {
			if err := os.Remove(manifest); err != nil {
				return err
			}
			return os.Mkdir(manifest, 0o700)
		}},
		{"no manifest", "", func() error { return os.Remove(manifest) }},
	} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, good, dir)
		if err := c.damage(); err != nil {
			t.Fatal(err)
		}
		k.start()
		for _, r := range jobs {
			if matches := k.matches(r, r.acknowledged.Entry.Id); matches == r.retracted {
				t.Errorf("%s: entry %d is retracted: %v; it matches: %v", c.name, r.acknowledged.Entry.Id, r.retracted, matches)
			}
		}
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", k.process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if mapped := strings.Contains(string(maps), dir); mapped != (c.name == "as it was saved") {
			t.Errorf("%s: the saved index is in use: %v", c.name, mapped)
		}
		k.end()
		said := k.stderr.String()
		if !strings.Contains(said, c.says) || strings.Contains(said, "made of the catalogue again") != (c.says != "") {
			t.Errorf("%s: the node should say %q, and that it makes the index again; it said: %s", c.name, c.says, said)
		}
		t.Logf("%s: %s", c.name, strings.TrimSpace(said))
	}
}

// end stops the node.
func (k *killing) end() {
	k.Helper()
	if code, err := k.stop(); code != 0 || err != nil {
		k.Fatalf("the node ended with %d: %v; it said: %s", code, err, k.stderr.String())
	}
}

// saveIndexOf saves the index of a catalogue that no node is on, as a node does after many more changes.
func saveIndexOf(t *testing.T, data, dir string) {
	t.Helper()
	c, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(data, catalogueFile), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x := index.New(index.Options{})
	follower := matcher.New(c, &memory.Blobs{}, hashedBefore{}, x, matcher.Options{Patience: patience}).Follower()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	ended := make(chan error, 1)
	go func() { ended <- follower.Run(ctx) }()
	defer func() { stop(); <-ended }()
	if err := follower.Await(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := follower.Save(ctx, dir); err != nil {
		t.Fatal(err)
	}
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// alter puts a new file in the place of another.
func alter(path string, change func([]byte) []byte) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.WriteFile(path, change(data), 0o600)
}
