package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

var rewrite = flag.Bool("update", false, "rewrite golden files")

// TestTree compares the tree with tlog, which reads stored nodes where the tree keeps its edge.
func TestTree(t *testing.T) {
	t.Parallel()
	var stored []tlog.Hash
	read := func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	}
	var tree storage.Tree
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, tlog.HashReaderFunc(read))
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := storage.LoadTree(uint64(n), func(indexes []int64) (edge []storage.Hash, err error) {
			if !slices.IsSorted(indexes) {
				t.Errorf("indexes are not sorted: %v", indexes)
			}
			hashes, err := read(indexes)
			for _, h := range hashes {
				edge = append(edge, storage.Hash(h))
			}
			return edge, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if tree.Root() != storage.Hash(want) || loaded.Root() != storage.Hash(want) || loaded.Size() != uint64(n) {
			t.Fatalf("%d records: root %x, loaded %x, want %x", n, tree.Root(), loaded.Root(), want)
		}
		record := fmt.Append(nil, "record ", n)
		nodes, err := tlog.StoredHashes(n, record, tlog.HashReaderFunc(read))
		if err != nil {
			t.Fatal(err)
		}
		before := tree.Root()
		next, got := tree.Append(record)
		if tree.Root() != before {
			t.Fatal("Append changed its receiver")
		}
		if fmt.Sprint(got) != fmt.Sprint(asHashes(nodes)) || int64(len(stored)) != tlog.StoredHashIndex(0, n) {
			t.Fatalf("record %d: nodes %x, want %x", n, got, nodes)
		}
		stored, tree = append(stored, nodes...), next
	}
	_, err := storage.LoadTree(3, func([]int64) ([]storage.Hash, error) { return nil, nil })
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("missing nodes: got %v, want ErrCorrupt", err)
	}
}

func asHashes(nodes []tlog.Hash) (hashes []storage.Hash) {
	for _, n := range nodes {
		hashes = append(hashes, storage.Hash(n))
	}
	return hashes
}

// example is the log that docs/format/log.md shows.
func example(t *testing.T) *memory.Catalogue {
	t.Helper()
	c, err := memory.New(storage.Options{Now: storagetest.NewClock().Now, Rand: storagetest.NewRand(42)})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Update(t.Context(), func(w storage.Writer) error {
		bank := storage.Bank{Name: "gifct"}
		entry := storage.Entry{Bank: 1, Status: storage.Active}
		return errors.Join(
			w.CreateBank(&bank), w.CreateEntry(&entry), w.CreateKey(&storage.Key{ID: "k7c2m4x9q1zt"}),
			w.Append(&storage.Change{
				Kind: storage.BankCreated, Actor: "local", Bank: 1,
				Body: json.RawMessage(`{"name":"gifct","policy":{"action":"review","radius":{"pdq":31},"keep_media":false}}`),
			}),
			w.Append(&storage.Change{
				Kind: storage.KeyCreated, Actor: "local", Key: "k7c2m4x9q1zt",
				Body: json.RawMessage(`{"role":"analyst"}`), Private: json.RawMessage(`{"name":"Zoë"}`),
			}),
			w.Append(&storage.Change{
				Kind: storage.EntryAdded, Actor: "k7c2m4x9q1zt", Bank: 1, Entry: 1,
				Body: json.RawMessage(`{"status":"active","labels":["flag & banner"],"signals":[{"signal":"phash:8a3b726e0b32576a","quality":100,"version":1}]}`),
			}),
			w.Append(&storage.Change{
				Kind: storage.PartyChanged, Actor: "local", Party: storage.Operator,
				Body: json.RawMessage(`{"name":"operator","kind":"platform","keep_matches":90}`),
			}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFormat fails when the format of the log changes: the example in the documentation is what the
// code gives, and the code reads it back.
func TestFormat(t *testing.T) {
	t.Parallel()
	const page, begin, end = "../docs/format/log.md", "<!-- example -->\n```\n", "```\n<!-- /example -->"
	c := example(t)
	changes, err := c.Changes(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, change := range changes {
		fmt.Fprintf(&got, "record  %s\n", change.Record)
		if change.Private != nil {
			fmt.Fprintf(&got, "private %s\nsalt    %x\n", change.Private, change.Salt)
		}
		fmt.Fprintf(&got, "leaf    %x\nroot    %x\n\n", storage.Hash(tlog.RecordHash(change.Record)), change.Root)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	want, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no example", page)
	}
	if *rewrite {
		text := before + begin + got.String() + end + after
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got.String() != want {
		t.Errorf("the format is no longer that of %s: got\n%swant\n%s", page, &got, want)
	}
	if _, err := storage.VerifyLog(t.Context(), c, nil); err != nil {
		t.Error(err)
	}
}

// tampered is a log whose changes and head are altered on the way.
type tampered struct {
	storage.Log
	change func(*storage.Change)
	head   func(*storage.Head)
}

func (l tampered) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	changes, err := l.Log.Changes(ctx, after, limit)
	for i := range changes {
		if changes[i].Seq == 2 {
			l.change(&changes[i])
		}
	}
	return slices.DeleteFunc(changes, func(c storage.Change) bool { return c.Kind == "" }), err
}

func (l tampered) Head(ctx context.Context) (storage.Head, error) {
	head, err := l.Log.Head(ctx)
	if l.head != nil {
		l.head(&head)
	}
	return head, err
}

func TestVerifyLog(t *testing.T) {
	t.Parallel()
	c := example(t)
	erased := tampered{c, func(c *storage.Change) { c.Private, c.Salt = nil, nil }, nil}
	var seen uint64
	if head, err := storage.VerifyLog(t.Context(), erased, func(seq uint64) { seen = seq }); err != nil || head.Seq != 4 || seen != 4 {
		t.Errorf("erased private data: head %+v, progress %d, %v", head, seen, err)
	}
	for name, tamper := range map[string]func(*storage.Change){
		"missing":        func(c *storage.Change) { c.Kind = "" },
		"seq":            func(c *storage.Change) { c.Seq = 7 },
		"at":             func(c *storage.Change) { c.At = c.At.Add(1e6) },
		"kind":           func(c *storage.Change) { c.Kind = storage.KeyRevoked },
		"actor":          func(c *storage.Change) { c.Actor = "system" },
		"bank":           func(c *storage.Change) { c.Bank = 1 },
		"entry":          func(c *storage.Change) { c.Entry = 1 },
		"key":            func(c *storage.Change) { c.Key = "other" },
		"party":          func(c *storage.Change) { c.Party = 2 },
		"body":           func(c *storage.Change) { c.Body = json.RawMessage(`{"role":"admin"}`) },
		"no body":        func(c *storage.Change) { c.Body = nil },
		"private":        func(c *storage.Change) { c.Private = json.RawMessage(`{"name":"Ann"}`) },
		"salt":           func(c *storage.Change) { c.Salt[3]++ },
		"salt alone":     func(c *storage.Change) { c.Private = nil },
		"root":           func(c *storage.Change) { c.Root[31]++ },
		"record":         func(c *storage.Change) { c.Record = bytes.Replace(c.Record, []byte("Z"), []byte("z"), 1) },
		"spaced record":  func(c *storage.Change) { c.Record = append(c.Record, ' ') },
		"no record":      func(c *storage.Change) { c.Record = nil },
		"another record": func(c *storage.Change) { *c = storage.Change{Seq: 2, Kind: c.Kind, Record: []byte(`{"seq":2}`)} },
	} {
		_, err := storage.VerifyLog(t.Context(), tampered{c, tamper, nil}, nil)
		if !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "change 2") {
			t.Errorf("%s: got %v, want ErrCorrupt at change 2", name, err)
		}
	}
	for name, tamper := range map[string]func(*storage.Head){
		"root": func(h *storage.Head) { h.Root[0]++ },
		"seq":  func(h *storage.Head) { h.Seq++ },
		"id":   func(h *storage.Head) { h.LogID = "other" },
	} {
		_, err := storage.VerifyLog(t.Context(), tampered{c, func(*storage.Change) {}, tamper}, nil)
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("head's %s: got %v, want ErrCorrupt", name, err)
		}
	}
}
