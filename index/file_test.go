package index_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"

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

// TestDamage alters the files of a saved index in every way that comes to mind, and in 200 random ones. Each is refused,
// unless the bytes are read by nobody, and then it answers as before; none is served.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	d := &damaging{t: t, dir: t.TempDir(), g: indextest.Gen{Source: r, Entries: 1000, Banks: 4}, seen: map[string]*[3]int{}}
	d.x = twin(t, 1)
	save(t, d.x, d.dir)
	d.good = readAll(t, d.dir)
	older := t.TempDir()
	save(t, twin(t, 2), older) // the same numbers of rows, other values
	d.older = readAll(t, older)
	names := slices.Sorted(maps.Keys(d.good))
	if len(names) < 1+2*len(hashing.Algorithms()) || !slices.Equal(names, slices.Sorted(maps.Keys(d.older))) {
		t.Fatalf("%v beside %v", names, slices.Collect(maps.Keys(d.older)))
	}

	d.try("nothing", false, nil)
	for i, name := range names {
		good := d.good[name]
		d.try("a file is missing", true, altered{name: nil})
		for _, other := range names[i+1:] {
			d.try("two files are swapped", true, altered{name: d.good[other], other: good})
		}
		d.try("an older file is under the name of a new one", true, altered{name: d.older[name]})
		for _, n := range []int{1, 64, 4096} {
			d.try("bytes are appended", true, altered{name: append(slices.Clone(good), make([]byte, n)...)})
		}
		for range 10 {
			d.try("it is cut off, anywhere", true, altered{name: good[:r.IntN(len(good)-1)]})
		}
		if name == "MANIFEST" {
			for at := range good[:len(good)-1] {
				d.try("a bit of the manifest is flipped", true, altered{name: flipped(r, good, at, at+1)})
			}
			continue
		}
		ends := map[uint64]bool{4096: true}
		for at := uint64(0); at < 4096; at += 64 {
			d.try("a bit of a header is flipped", true, altered{name: flipped(r, good, int(at), int(at)+64)})
		}
		for _, s := range sections(good) {
			if s.to > s.from {
				for range 3 {
					d.try("a bit of a section is flipped", true, altered{name: flipped(r, good, int(s.from), int(s.to))})
				}
				if before := d.older[name][s.from:s.to]; !bytes.Equal(good[s.from:s.to], before) {
					d.try("a section is that of the older file", true, altered{name: slices.Concat(good[:s.from], before, good[s.to:])})
				}
			}
			if pad := (s.to + 63) &^ 63; pad > s.to {
				d.try("a bit between sections is flipped", false, altered{name: flipped(r, good, int(s.to), int(pad))})
			}
			ends[s.to] = true
		}
		for end := range ends {
			d.try("it is cut off where a section ends", true, altered{name: good[:end]})
		}
		d.try("a bit behind the last section is flipped", false, altered{name: flipped(r, good, len(good)-64, len(good))})
	}
	for range 200 {
		name, other := names[r.IntN(len(names))], names[r.IntN(len(names))]
		bad := slices.Clone(d.good[name])
		switch r.IntN(5) {
		case 0, 1:
			bad = flipped(r, bad, 0, len(bad))
		case 2:
			bad = bad[:r.IntN(len(bad))]
		case 3:
			bad = d.good[other]
		case 4: // a page that never reached the disk
			at := r.IntN(len(bad))
			clear(bad[at:min(at+4096, len(bad))])
		}
		d.try("at random", false, altered{name: bad})
	}

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ALTERED\tTIMES\tREFUSED AS DAMAGED\tOPENED: NOBODY READS THEM\tOPENED: WRONG\n")
	for _, kind := range d.kinds {
		n := d.seen[kind]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", kind, n[0]+n[1]+n[2], n[0], n[1], n[2])
	}
	_ = w.Flush()
	t.Logf("\n%s", table.String())
}

// altered files by their names; nil: there is none.
type altered map[string][]byte

// damaging opens a saved index whose files are altered.
type damaging struct {
	t           *testing.T
	x           *index.Index // as it was saved
	dir         string
	good, older altered
	g           indextest.Gen
	kinds       []string
	seen        map[string]*[3]int // times refused, opened with the right answers, and with wrong ones
}

// try opens the folder with some files altered; it must be refused, or if it need not, answer as before.
func (d *damaging) try(kind string, must bool, files altered) {
	d.t.Helper()
	if d.seen[kind] == nil {
		d.kinds = append(d.kinds, kind)
		d.seen[kind] = new([3]int)
	}
	if n := d.seen[kind]; (raceDetector || testing.Short()) && n[0]+n[1]+n[2] > 10 && d.g.IntN(8) > 0 {
		return // some of each kind
	}
	d.write(files)
	y, _, err := index.Open(d.dir, index.Options{Copied: d.g.IntN(2) == 0})
	manifest, is := files["MANIFEST"]
	switch missing := is && manifest == nil; {
	case errors.Is(err, os.ErrNotExist) != missing: // a caller would take it for a folder in which nothing was ever saved
		d.t.Errorf("%s: %v", kind, err)
	case missing, errors.Is(err, index.ErrDamaged):
		d.seen[kind][0]++
	case err != nil:
		d.t.Fatalf("%s: %v", kind, err)
	case must:
		d.seen[kind][2]++
		d.t.Errorf("%s, of %v: it was opened", kind, slices.Sorted(maps.Keys(files)))
	default:
		d.seen[kind][1]++
		indextest.Compare(d.t, y.Snapshot(), d.x.Snapshot(), d.g, 5)
		for _, a := range hashing.Algorithms() { // all rows
			indextest.CompareQueries(d.t, y.Snapshot(), d.x.Snapshot(), []index.Query{{Algorithm: a, Radius: 256}})
		}
	}
	for name := range files {
		d.write(altered{name: d.good[name]})
	}
}

func (d *damaging) write(files altered) {
	for name, data := range files {
		path := filepath.Join(d.dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // it may be mapped: a new file takes its place
			d.t.Fatal(err)
		}
		if data == nil {
			continue
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

// twin is an index with the same history, but for the values, as another one: in its folder files have the same names.
func twin(t *testing.T, seed uint64) *index.Index {
	r := rand.New(rand.NewPCG(seed, 1))
	g := indextest.Gen{Source: r, Entries: 1000, Banks: 4}
	x := index.New(index.SmallDeltas(100))
	for batch := range 2 {
		var changes []index.Change
		for i := range []int{2000, 100}[batch] {
			c := index.Change{Entry: index.EntryID(batch*2000 + i + 1), Bank: index.BankID(i % 4)}
			for _, a := range hashing.Algorithms() {
				c.Signals = append(c.Signals, hashing.Signal{Algorithm: a, Value: g.Value(a), Variant: hashing.Variant(i % 3), Time: uint32(i % 70_000)})
			}
			changes = append(changes, c)
		}
		applyAll(t, x, changes)
	}
	applyAll(t, x, []index.Change{{Entry: 5}, {Entry: 1300}, {Bank: 2, Hidden: true}})
	return x
}

func readAll(t *testing.T, dir string) altered {
	t.Helper()
	files := altered{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// flipped is data with a bit inverted in a byte from one on to before another.
func flipped(r *rand.Rand, data []byte, from, to int) []byte {
	bad := slices.Clone(data)
	bad[from+r.IntN(to-from)] ^= 1 << r.IntN(8)
	return bad
}

// sections reads where they are from the header, by docs/format/segment.md.
func sections(file []byte) (all []struct{ from, to uint64 }) {
	for i := range 56 {
		at := file[120+24*i:]
		from := binary.LittleEndian.Uint64(at)
		all = append(all, struct{ from, to uint64 }{from, from + binary.LittleEndian.Uint64(at[8:])})
	}
	return all
}

// TestSaveElsewhere saves an index to a second folder, and to one of which a file was removed: each is complete.
func TestSaveElsewhere(t *testing.T) {
	x := twin(t, 3)
	g := indextest.Gen{Source: rand.New(rand.NewPCG(13, 14)), Entries: 1000, Banks: 4}
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two, one} {
		if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) > 0 {
			if err := os.Remove(files[0]); err != nil {
				t.Fatal(err)
			}
		}
		save(t, x, dir)
		y, _, err := index.Open(dir, index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		indextest.Compare(t, y.Snapshot(), x.Snapshot(), g, 20)
	}
}
