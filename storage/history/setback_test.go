package history

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"vigie/hashing"
)

// TestSetBack: uploads of a node whose folder was set back to an older one have numbers that are taken. None is lost, and none is there
// twice, also when what the older folder had not sealed is sealed again.
func TestSetBack(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	store, err := OpenFolder(filepath.Join(base, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir, copied := filepath.Join(base, "node"), filepath.Join(base, "copy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	faults := 0
	now := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	value := func(n byte) hashing.Value { return hashing.ValueFromBytes([]byte{n, 31: n}) }
	add := func(h *History, n byte) {
		if _, err := h.Append(t.Context(), Record{Party: 7, At: now, ContentID: string(rune(n)), PDQ: value(n), Quality: 90}); err != nil {
			t.Fatal(err)
		}
	}
	run := func(seal bool, do func(*History)) {
		h, err := Open(dir, store, Options{Scan: scan, Now: func() time.Time { return now }, Fault: func(err error) {
			t.Log(err)
			faults++
		}})
		if err != nil {
			t.Fatal(err)
		}
		if seal {
			ended := make(chan error)
			go func() { ended <- h.Run(t.Context()) }()
			do(h)
			if err := h.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer func() { <-ended }()
		} else {
			do(h)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run(true, func(h *History) { add(h, 1) })
	run(false, func(h *History) { add(h, 2) }) // not sealed when it is copied
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	run(true, func(h *History) {
		for n := byte(3); n < 10; n++ {
			add(h, n)
		}
	})
	if faults > 0 {
		t.Errorf("%d faults", faults)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, dir); err != nil {
		t.Fatal(err)
	}
	run(true, func(h *History) { add(h, 20) }) // upload 3 a second time
	run(true, func(h *History) {
		for n := byte(21); n < 30; n++ { // some beyond the numbers that are taken
			add(h, n)
		}
	})
	if faults == 0 {
		t.Error("nobody is told")
	}
	run(true, func(h *History) {
		for n := byte(1); n < 30; n++ {
			want, got := 1, 0
			if n >= 10 && n < 20 {
				want = 0
			}
			q := Query{Party: 7, Values: []hashing.Value{value(n)}}
			for f, err := range h.Files(t.Context(), q) {
				if err != nil {
					t.Fatal(err)
				}
				if err := h.SearchFile(t.Context(), f, q, func(Hit) error { got++; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Errorf("upload %d is in %d files, not %d", n, got, want)
			}
		}
	})
}
