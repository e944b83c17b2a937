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
	first, second := flow{party: 1, entry: 1}, flow{party: 2, entry: 1}
	for i := range 1000 {
		if got, want := f.note(first, numbered(i), bound, now), i >= bound; got != want {
			t.Fatalf("content %d: too many: %t", i, got)
		}
	}
	if n := len(f.now[first]); n != bound+1 || f.n != n {
		t.Errorf("%d contents are remembered, counted as %d", n, f.n)
	}
	for id := storage.EntryID(2); id < 500; id++ {
		f.note(flow{party: 1, entry: id}, numbered(1), bound, now)
	}
	if f.note(second, numbered(1), bound, now) || f.note(flow{1, 1, true}, numbered(1), bound, now) {
		t.Error("what floods one floods another")
	}
	f.note(first, numbered(1), bound, now.Add(floodTime+time.Second))
	if n := len(f.now); n != 1 || f.n != 1 {
		t.Errorf("%d flows are remembered after an hour, %d contents", n, f.n)
	}
	f.note(second, numbered(1), bound, now)
	f.forgetEntry(1)
	if f.note(first, numbered(7), bound, now) || len(f.now) != 1 || f.n != 1 {
		t.Errorf("after it was forgotten: %v", f.now)
	}
}

// TestFloodsHaveABound counts contents of more entries than are remembered: the newest are, and what comes again and again
// is not forgotten.
func TestFloodsHaveABound(t *testing.T) {
	t.Parallel()
	var f floods
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	total := func(half map[flow]contents) (n int) {
		for _, seen := range half {
			n += len(seen)
		}
		return n
	}
	steady := flow{party: 9, entry: 1 << 40}
	for i := range 5 * mostFloods / 2 {
		f.note(flow{party: 1, entry: storage.EntryID(i / 2)}, numbered(i), 5, now)
		if i%(mostFloods/8) == 0 {
			if flooded := f.note(steady, numbered(i/(mostFloods/8)%4), 4, now); flooded {
				t.Fatalf("content %d: four contents are more than four", i)
			}
		}
		if i%(mostFloods/8) == 1 && (total(f.now) != f.n || f.n > mostFloods || total(f.old) > mostFloods) {
			t.Fatalf("%d and %d contents are remembered, counted as %d", total(f.now), total(f.old), f.n)
		}
	}
	if !f.note(steady, numbered(99), 4, now) {
		t.Error("what came again and again is forgotten")
	}
	if n := len(f.now[flow{1, 0, false}]) + len(f.old[flow{1, 0, false}]); n != 0 {
		t.Error("the oldest is remembered")
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
