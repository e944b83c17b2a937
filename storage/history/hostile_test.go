package history

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// TestFooterClaims: a file of a few bytes that claims to hold millions of things takes no memory for them.
func TestFooterClaims(t *testing.T) { //nolint:paralleltest // it measures memory
	base := t.TempDir()
	store, err := OpenFolder(filepath.Join(base, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h, err := Open(base, store, Options{Scan: func(context.Context, []hashing.Value, int, []byte, func(int, int, int)) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	f := File{Party: 7, Hour: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Node: "a1b2c3d4", First: 1, Last: 9}
	foot := append(binary.AppendUvarint([]byte{0x15, 0x02, 0x19, 0xfc}, 2_000_000), 0)
	file := binary.LittleEndian.AppendUint32(append([]byte("PAR1"), foot...), uint32(len(foot)))
	if err := store.Put(t.Context(), f.Name(), append(file, "PAR1"...)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = h.SearchFile(t.Context(), f, Query{Values: make([]hashing.Value, 1)}, func(Hit) error { return nil })
	runtime.ReadMemStats(&after)
	if !errors.Is(err, storage.ErrCorrupt) {
		t.Error(err)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 16 {
		t.Errorf("it took %d MB", took)
	}
}

// TestScanKeepsTheBest: of a row that is near many values, only the nearest is kept, the first of those.
func TestScanKeepsTheBest(t *testing.T) {
	t.Parallel()
	h := &History{o: Options{Scan: func(_ context.Context, q []hashing.Value, _ int, rows []byte, found func(int, int, int)) error {
		for value := range q {
			for row := range len(rows)/hashBytes - 1 { // the last is near none
				found(value, row, 20-(value+row)%10)
			}
		}
		return nil
	}}}
	near, err := h.scan(t.Context(), Query{Values: make([]hashing.Value, 1000)}, make([]byte, 100*hashBytes))
	if err != nil || len(near) != 99 || cap(near) > 200 {
		t.Fatalf("%d rows, room for %d, %v", len(near), cap(near), err)
	}
	for i, n := range near {
		if want := (9 - i%10); n.row != i || n.distance != 11 || n.value != want {
			t.Errorf("row %d: %+v, not value %d", i, n, want)
		}
	}
}
