package matcher

import (
	"encoding/binary"
	"testing"
	"time"

	"vigie/storage"
)

func numbered(n int) (c content) {
	binary.BigEndian.PutUint64(c[:], uint64(n))
	return c
}

// TestFloodsAreForgotten counts more contents than are remembered: of an entry one more than its bound, of all no longer
// than an hour.
func TestFloodsAreForgotten(t *testing.T) {
	t.Parallel()
	const bound = 10
	var f floods
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 {
		if got, want := f.note(1, numbered(i), bound, now), i >= bound; got != want {
			t.Fatalf("content %d: too many: %t", i, got)
		}
	}
	if n := len(f.entries[1]); n != bound+1 {
		t.Errorf("%d contents are remembered", n)
	}
	for id := storage.EntryID(2); id < 500; id++ {
		f.note(id, numbered(1), bound, now)
	}
	f.note(1, numbered(1), bound, now.Add(floodTime+time.Second))
	if n := len(f.entries); n != 1 {
		t.Errorf("%d entries are remembered after an hour", n)
	}
	f.forget(1)
	if f.note(1, numbered(7), bound, now) || len(f.entries[1]) != 1 {
		t.Errorf("after it was forgotten: %v", f.entries)
	}
}

// TestFirsts sees each once, as far as there is room.
func TestFirsts(t *testing.T) {
	t.Parallel()
	var f firsts
	for i := range int64(mostFirsts + 10) {
		if s := (signIn{"k", "a", i}); !f.first(s) || f.first(s) {
			t.Fatalf("number %d is not seen once", i)
		}
	}
	if !(len(f.now)+len(f.old) <= 2*mostFirsts) || f.first(signIn{"k", "a", mostFirsts - 1}) {
		t.Errorf("%d and %d are remembered", len(f.now), len(f.old))
	}
	for i := range int64(3 * mostFirsts) {
		f.first(signIn{"l", "a", i})
	}
	if len(f.now)+len(f.old) > 2*mostFirsts {
		t.Errorf("%d and %d are remembered", len(f.now), len(f.old))
	}
}
