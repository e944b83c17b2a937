package index_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
)

// reloaded is an engine that is saved and opened again after every few changes.
type reloaded struct {
	t    *testing.T
	dir  string
	o    index.Options
	mu   sync.Mutex // a folder belongs to one index at a time
	n    int
	live atomic.Pointer[index.Index]
}

func (r *reloaded) Apply(ctx context.Context, seq uint64, changes []index.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.live.Load().Apply(ctx, seq, changes); err != nil {
		return err
	}
	if r.n++; r.n%29 > 0 || r.n > 300 && r.n%290 > 0 { // a long history need not be saved as often
		return nil
	}
	want := index.Mark{Log: "log", Root: strconv.Itoa(r.n)}
	saved, err := r.live.Load().Save(context.WithoutCancel(ctx), r.dir, func(uint64) (index.Mark, error) { return want, nil })
	if err != nil {
		r.t.Errorf("save: %v", err)
		return err
	}
	x, mark, err := index.Open(r.dir, r.o)
	if err != nil {
		r.t.Errorf("open: %v", err)
		return err
	}
	if mark != want || x.Snapshot().Seq() != saved {
		r.t.Errorf("opened %+v at %d, want %+v at %d", mark, x.Snapshot().Seq(), want, saved)
	}
	r.live.Store(x)
	return nil
}

func (r *reloaded) Snapshot() indextest.Snapshot { return r.live.Load().Snapshot() }

func TestReloaded(t *testing.T) {
	for _, copied := range []bool{false, true} {
		if copied && raceDetector {
			continue // both are the same but for the first step
		}
		o := index.SmallDeltas(20)
		o.Copied = copied
		indextest.Run(t, func(t *testing.T) indextest.Engine {
			r := &reloaded{t: t, dir: t.TempDir(), o: o}
			r.live.Store(index.New(o))
			return r
		})
	}
}

func TestOpenNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, _, err := index.Open(dir, index.Options{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
}

// TestCorruption alters the files of a saved index in 200 ways. Each is found, unless the bytes are read by nobody.
func TestCorruption(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	g := indextest.Gen{Source: r, Entries: 2000, Banks: 4}
	x := index.New(index.SmallDeltas(100))
	live(t, x, g, 3000, 5)
	dir := t.TempDir()
	if _, err := x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return index.Mark{}, nil }); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	found, harmless := 0, 0
	for range 200 {
		path := files[r.IntN(len(files))]
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(good)
		switch r.IntN(5) {
		case 0, 1:
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		case 2:
			bad = bad[:r.IntN(len(bad))]
		case 3: // another file's bytes
			if bad, err = os.ReadFile(files[r.IntN(len(files))]); err != nil {
				t.Fatal(err)
			}
		case 4: // a page that never reached the disk
			at := r.IntN(len(bad))
			clear(bad[at:min(at+4096, len(bad))])
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		y, _, err := index.Open(dir, index.Options{})
		switch {
		case errors.Is(err, index.ErrDamaged):
			found++
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		default:
			harmless++
			same(t, x.Snapshot(), y.Snapshot(), g)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d alterations are found, %d alter nothing", found, harmless)
}

func same(t *testing.T, want, got *index.Snapshot, g indextest.Gen) {
	t.Helper()
	for range 20 {
		a := hashing.Algorithms()[g.Source.(*rand.Rand).IntN(len(hashing.Algorithms()))]
		q := index.Query{Algorithm: a, Radius: 40}
		w, err := want.Search(t.Context(), q)
		h, err2 := got.Search(t.Context(), q)
		if err != nil || err2 != nil || len(w.Hits) != len(h.Hits) || !slices.Equal(w.Hits, h.Hits) {
			t.Fatalf("%d hits, want %d", len(h.Hits), len(w.Hits))
		}
	}
}
