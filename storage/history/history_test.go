package history

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/journal"
)

// scan is the plain loop.
func scan(ctx context.Context, queries []hashing.Value, radius int, rows []byte, found func(query, row, distance int)) error {
	for row := range len(rows) / hashBytes {
		v := hashing.ValueFromBytes(rows[row*hashBytes:][:hashBytes])
		for q, w := range queries {
			if d := v.Distance(w); d <= radius {
				found(q, row, d)
			}
		}
	}
	return ctx.Err()
}

type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// place is where a history is.
type place struct {
	dir    string
	folder *Folder
}

func newPlace(t *testing.T) place {
	t.Helper()
	return openPlace(t, t.TempDir())
}

func openPlace(t tb, dir string) place {
	t.Helper()
	f, err := OpenFolder(filepath.Join(dir, "files"))
	if err != nil {
		t.Fatal(err)
	}
	return place{dir, f}
}

// opened opens a history and runs it; stop ends both.
func (p place) open(t tb, store Store, o Options) (h *History, stop func()) {
	t.Helper()
	if o.Scan == nil {
		o.Scan = scan
	}
	h, err := Open(p.dir, store, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	return h, sync.OnceFunc(func() {
		cancel()
		<-done
		if err := h.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
}

func run(t *testing.T, o Options) (*History, place) {
	t.Helper()
	p := newPlace(t)
	h, stop := p.open(t, p.folder, o)
	t.Cleanup(stop)
	return h, p
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// upload makes the n-th record: of one of three parties, at one of two hours.
func upload(n int) Record {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	return Record{
		Party: storage.PartyID(1 + n%3), At: noon.Add(time.Duration(n%5)*15*time.Minute + time.Duration(n)*time.Millisecond),
		ContentID: fmt.Sprintf("post/%d \"é", n), Quality: hashing.Quality(n % 101),
		PDQ: hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()},
	}
}

func add(t tb, h *History, r Record) journal.ID {
	t.Helper()
	id, err := h.Append(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// everything is a query that finds all rows.
var everything = Query{Values: []hashing.Value{{}}, Radius: 256}

// inWindow and inFiles are what is found there. Nothing is there twice.
func inWindow(t tb, h *History, q Query) map[journal.ID]Record {
	t.Helper()
	all := map[journal.ID]Record{}
	if err := h.Search(context.Background(), q, func(hit Hit) error {
		if _, twice := all[hit.ID]; twice {
			t.Errorf("%v is in the window twice", hit.ID)
		}
		all[hit.ID] = hit.Record
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func inFiles(t tb, h *History, q Query) map[journal.ID]Record {
	t.Helper()
	all := map[journal.ID]Record{}
	for f, err := range h.Files(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if err := h.SearchFile(context.Background(), f, q, func(hit Hit) error {
			if _, twice := all[hit.ID]; twice {
				t.Errorf("%v is in files twice", hit.ID)
			}
			if hit.ID.Node != f.Node || hit.ID.Number < f.First || hit.ID.Number > f.Last || hit.Party != f.Party || !hourOf(hit.At).Equal(f.Hour) {
				t.Errorf("%v of %v is in %s", hit.ID, hit.At, f.Name())
			}
			all[hit.ID] = hit.Record
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// same compares what was found with what is to be.
func same(t tb, what string, got, want map[journal.ID]Record) {
	t.Helper()
	for id, r := range want {
		if g, ok := got[id]; !ok || g != r {
			t.Errorf("%s: %v is %+v, want %+v", what, id, g, r)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d, want %d", what, len(got), len(want))
	}
}

func seal(t tb, h *History) {
	t.Helper()
	if err := h.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	clock := func() time.Time { return noon.Add(2 * time.Hour) }
	h, stop := p.open(t, p.folder, Options{Now: clock})
	want := map[journal.ID]Record{}
	for n := range 100 {
		want[add(t, h, upload(n))] = upload(n)
	}
	same(t, "window", inWindow(t, h, everything), want)
	same(t, "files before they are sealed", inFiles(t, h, everything), nil)
	seal(t, h)
	same(t, "window", inWindow(t, h, everything), want)
	same(t, "files", inFiles(t, h, everything), want)
	if s := h.Stats(); s.Journal.Backlog != 0 || s.Window.Rows != 100 {
		t.Errorf("%+v", s)
	}
	for n := 100; n < 150; n++ {
		want[add(t, h, upload(n))] = upload(n)
	}
	stop()

	// What is sealed and what is not come back into the window; the rest is sealed now.
	h, stop = p.open(t, p.folder, Options{Now: clock})
	defer stop()
	seal(t, h)
	same(t, "files", inFiles(t, h, everything), want)
	deadline := time.Now().Add(20 * time.Second)
	for h.Stats().Window.Rows < len(want) && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // polls what Run reads
	}
	same(t, "window", inWindow(t, h, everything), want)
}

// TestLoad: what was sealed, but not known to be when the process ended, comes into the window once; what was before does, too, the newest
// files first, as far as there is room.
func TestLoad(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	clock := func() time.Time { return noon.Add(2 * time.Hour) }
	h, stop := p.open(t, p.folder, Options{Now: clock})
	want, late := map[journal.ID]Record{}, map[journal.ID]Record{}
	for n := range 20 {
		want[add(t, h, upload(n))] = upload(n)
	}
	seal(t, h)
	var records []journal.Record
	for n := 20; n < 30; n++ {
		id := add(t, h, upload(n))
		want[id], late[id] = upload(n), upload(n)
		records = append(records, journal.Record{ID: id, Body: upload(n).appendBody(nil)})
	}
	if err := h.seal(t.Context(), records); err != nil { // and nobody tells the journal
		t.Fatal(err)
	}
	stop()
	for room, want := range map[int64]map[journal.ID]Record{1: late, 1 << 30: want} {
		h, err := Open(p.dir, p.folder, Options{Scan: scan, WindowBytes: room, Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.load(t.Context()); err != nil {
			t.Error(err)
		}
		same(t, "window", inWindow(t, h, everything), want)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestQuery holds answers against a loop over the records.
func TestQuery(t *testing.T) {
	t.Parallel()
	now := noon.Add(50 * time.Minute) // the clock was ahead: some are of later
	h, _ := run(t, Options{Now: func() time.Time { return now }})
	all := map[journal.ID]Record{}
	for n := range 500 {
		r := upload(n)
		for bit := range n % 70 { // near upload(0), or not
			if bit == 0 {
				r.PDQ = upload(0).PDQ
			}
			r.PDQ[bit%4] ^= 1 << (bit / 2)
		}
		all[add(t, h, r)] = r
	}
	seal(t, h)
	mirrored := upload(0).PDQ
	mirrored[3] ^= 0xffff
	for _, q := range []Query{
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 31},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 0},
		{Values: []hashing.Value{upload(1).PDQ, mirrored, upload(0).PDQ, upload(0).PDQ}, Radius: 40},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 60, Party: 2},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 60, Party: 9},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 60, From: noon.Add(30 * time.Minute)},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 60, Party: 1, From: noon.Add(10 * time.Minute), Until: noon.Add(time.Hour)},
		{Values: []hashing.Value{upload(0).PDQ}, Radius: 60, Until: all[journal.ID{Node: h.Node(), Number: 100}].At},
	} {
		var want []Hit
		for id, r := range all {
			best := Hit{id, r, 0, 1000}
			for i, v := range q.Values {
				if d := v.Distance(r.PDQ); d < best.Distance {
					best.Value, best.Distance = i, d
				}
			}
			if best.Distance <= q.Radius && (q.Party == 0 || q.Party == r.Party) && !r.At.Before(q.From) && (q.Until.IsZero() || r.At.Before(q.Until) || r.At.After(now)) {
				want = append(want, best)
			}
		}
		byNumber := func(a, b Hit) int { return cmp.Compare(a.ID.Number, b.ID.Number) }
		slices.SortFunc(want, byNumber)
		var got []Hit
		take := func(hit Hit) error { got = append(got, hit); return nil }
		if err := h.Search(t.Context(), q, take); err != nil {
			t.Fatal(err)
		}
		if slices.SortFunc(got, byNumber); !slices.Equal(got, want) {
			t.Errorf("window: %d hits, want %d", len(got), len(want))
		}
		got = nil
		for f, err := range h.Files(t.Context(), q) {
			if err == nil {
				err = h.SearchFile(t.Context(), f, q, take)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if slices.SortFunc(got, byNumber); !slices.Equal(got, want) {
			t.Errorf("files: %d hits, want %d", len(got), len(want))
		}
	}

	meant := errors.New("meant")
	fails := func(Hit) error { return meant }
	if err := h.Search(t.Context(), everything, fails); !errors.Is(err, meant) {
		t.Errorf("window: %v", err)
	}
	for f := range h.Files(t.Context(), everything) {
		if err := h.SearchFile(t.Context(), f, everything, fails); !errors.Is(err, meant) {
			t.Errorf("file: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Search(ctx, everything, take0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := h.Search(t.Context(), Query{Radius: 10}, take0); !errors.Is(err, ErrInvalid) {
		t.Errorf("no values: %v", err)
	}
}

func take0(Hit) error { return nil }

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	h, _ := run(t, Options{})
	for what, alter := range map[string]func(*Record){
		"no party":    func(r *Record) { r.Party = 0 },
		"no id":       func(r *Record) { r.ContentID = "" },
		"a long id":   func(r *Record) { r.ContentID = string(make([]byte, MaxContentID+1)) },
		"not UTF-8":   func(r *Record) { r.ContentID = "\xff" },
		"before 1970": func(r *Record) { r.At = time.Unix(-1, 0) },
		"no time":     func(r *Record) { r.At = time.Time{} },
		"year 10,000": func(r *Record) { r.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := upload(1)
		alter(&r)
		if _, err := h.Append(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := h.Stats(); n.Journal.Appended != 0 || n.Window.Rows != 0 {
		t.Errorf("%+v", n)
	}
}

// TestErase: what is erased is in no file of the folder any more, and in nothing that is searched, however it was stored; all else is.
func TestErase(t *testing.T) {
	t.Parallel()
	h, p := run(t, Options{Now: func() time.Time { return noon }})
	want := map[journal.ID]Record{}
	for n := range 3000 {
		want[add(t, h, upload(n))] = upload(n)
		if n == 1500 {
			seal(t, h)
		}
	}
	if err := os.WriteFile(filepath.Join(h.dir, "00000000000000000001.journal.damaged"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := []int{3, 300, 2100, 2997}
	var ids []string
	for _, n := range gone {
		ids = append(ids, upload(n).ContentID)
		for id, r := range want {
			if r == upload(n) {
				delete(want, id)
			}
		}
	}
	present := func(v hashing.Value) (in []string) {
		err := fs.WalkDir(os.DirFS(p.dir), ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(filepath.Join(p.dir, name))
			if r := (Record{Party: 1, At: noon, ContentID: "x", PDQ: v}).appendBody(nil); bytes.Contains(b, v.Bytes(hashBytes)) || bytes.Contains(b, r[len(r)-6-hashDigits:len(r)-6]) {
				in = append(in, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	for _, n := range append(gone, 4, 2998) { // so that the test would see them
		if in := present(upload(n).PDQ); len(in) != 1 {
			t.Fatalf("upload %d is in %v", n, in)
		}
	}
	if err := h.Erase(t.Context(), 1, append(ids, "unknown")); err != nil {
		t.Fatal(err)
	}
	same(t, "window", inWindow(t, h, everything), want)
	same(t, "files", inFiles(t, h, everything), want)
	for _, n := range gone {
		if in := present(upload(n).PDQ); in != nil {
			t.Errorf("upload %d is in %v", n, in)
		}
	}
	for _, n := range []int{4, 2998} {
		if in := present(upload(n).PDQ); len(in) != 1 {
			t.Errorf("upload %d is in %v", n, in)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, "*.damaged")); left != nil {
		t.Errorf("left: %v", left)
	}
	for _, c := range *h.window.chunks.Load() {
		for _, n := range gone {
			if bytes.Contains(c.hashes, upload(n).PDQ.Bytes(hashBytes)) || bytes.Contains(c.ids, []byte(upload(n).ContentID)) {
				t.Errorf("upload %d is in memory", n)
			}
		}
	}

	if err := h.EraseParty(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for id, r := range want {
		if r.Party == 2 {
			delete(want, id)
		}
	}
	same(t, "window", inWindow(t, h, everything), want)
	same(t, "files", inFiles(t, h, everything), want)
	if err := h.Erase(t.Context(), 0, ids); !errors.Is(err, ErrInvalid) {
		t.Errorf("no party: %v", err)
	}
}

// TestEraseStays: a file that a crash makes seal write again does not bring back what was erased from it meanwhile.
func TestEraseStays(t *testing.T) {
	t.Parallel()
	h, _ := run(t, Options{Now: func() time.Time { return noon }})
	var records []journal.Record
	for n := range 10 {
		r := upload(3 * n) // of one party
		id := add(t, h, r)
		records = append(records, journal.Record{ID: id, Body: r.appendBody(nil)})
	}
	seal(t, h)
	var ids []string
	for n := range 10 {
		ids = append(ids, upload(3*n).ContentID)
	}
	if err := h.Erase(t.Context(), 1, ids); err != nil {
		t.Fatal(err)
	}
	if err := h.seal(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	same(t, "files", inFiles(t, h, everything), nil)
	// More behind them, which was not acknowledged: only that is new.
	more := upload(30)
	id := journal.ID{Node: h.Node(), Number: 11}
	if err := h.seal(t.Context(), append(records, journal.Record{ID: id, Body: more.appendBody(nil)})); err != nil {
		t.Fatal(err)
	}
	same(t, "files", inFiles(t, h, everything), map[journal.ID]Record{id: more})
}

func TestExpire(t *testing.T) {
	t.Parallel()
	now := noon
	var clock sync.Mutex
	h, p := run(t, Options{Now: func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return now
	}})
	want := map[journal.ID]Record{}
	for n := range 60 {
		want[add(t, h, upload(n))] = upload(n)
	}
	seal(t, h)
	clock.Lock()
	now = noon.Add(4*time.Hour + 30*time.Minute)
	clock.Unlock()
	keep := func(party storage.PartyID) time.Duration {
		return map[storage.PartyID]time.Duration{1: 0, 2: 3 * time.Hour, 3: 30 * 24 * time.Hour}[party]
	}
	if err := h.Expire(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	window := map[journal.ID]Record{}
	for id, r := range want {
		if !r.At.Before(now.Add(-keep(r.Party))) {
			window[id] = r
		}
		if hourOf(r.At).Add(time.Hour+keep(r.Party)).Compare(now) <= 0 {
			delete(want, id)
		}
	}
	if len(want) == 0 || len(want) == 60 || len(window) == len(want) {
		t.Fatalf("%d and %d are left: nothing is tested", len(want), len(window))
	}
	same(t, "window", inWindow(t, h, everything), window)
	same(t, "files", inFiles(t, h, everything), want)
	if _, err := os.Stat(filepath.Join(p.dir, "files", "party=1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of party 1: %v", err)
	}
}

// away is a store that fails as long as it is told to.
type away struct {
	Store
	mu    sync.Mutex
	fails error
}

func (a *away) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = err
}

func (a *away) Put(ctx context.Context, name string, data []byte) error {
	a.mu.Lock()
	err := a.fails
	a.mu.Unlock()
	if err != nil {
		return err
	}
	return a.Store.Put(ctx, name, data)
}

// TestStoreAway: while the store fails, everything stays in the window beyond its budget; when it is back the window shrinks, and
// files have everything.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	store := &away{Store: p.folder, fails: errors.New("meant")}
	h, stop := p.open(t, store, Options{WindowBytes: 1, Now: func() time.Time { return noon }})
	defer stop()
	want := map[journal.ID]Record{}
	const n = 2*chunkRows + 10
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 64 { // so that they share syncs
		all.Go(func() {
			for k := i; k < n; k += 64 {
				id := add(t, h, upload(k))
				mu.Lock()
				want[id] = upload(k)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	same(t, "window", inWindow(t, h, everything), want)
	store.set(nil)
	seal(t, h)
	same(t, "files", inFiles(t, h, everything), want)
	if s := h.Stats().Window; s.Rows != 10 {
		t.Errorf("%+v", s)
	}
}

// TestForget: chunks leave the window when their rows are too old.
func TestForget(t *testing.T) {
	t.Parallel()
	w := newWindow(1<<30, 0)
	for n := range uint64(10) {
		r := upload(int(n))
		r.At = noon
		if n == 9 {
			r.At = noon.Add(60 * 24 * time.Hour) // too far for the chunk
		}
		w.add(n+1, r)
	}
	w.forget(noon.Add(time.Hour))
	if s := w.stats(); s.Rows != 10 || !s.Since.Equal(noon) {
		t.Errorf("what is not sealed: %+v", s)
	}
	w.seal(9)
	w.forget(noon)
	if s := w.stats(); s.Rows != 10 {
		t.Errorf("what is not too old: %+v", s)
	}
	w.forget(noon.Add(time.Hour))
	if s := w.stats(); s.Rows != 1 || !s.Since.Equal(noon.Add(60*24*time.Hour)) {
		t.Errorf("%+v", s)
	}
	w.seal(10)
	w.forget(noon.Add(90 * 24 * time.Hour))
	if s := w.stats(); s != (WindowStats{}) {
		t.Errorf("%+v", s)
	}
	w.add(1<<40, upload(1))
	w.add(1<<40-5, upload(2))
	w.add(1, upload(3))
	var numbers []uint64
	for _, c := range *w.chunks.Load() {
		for i := range c.rows {
			n, _ := c.row(i)
			numbers = append(numbers, n)
		}
	}
	if !slices.Equal(numbers, []uint64{1 << 40, 1<<40 - 5, 1}) {
		t.Errorf("%v", numbers)
	}
}

func TestParseFile(t *testing.T) {
	t.Parallel()
	f := File{7, noon, "a1b2c3d4", 1, 4711}
	const name = "party=7/hour=2026-11-22T12/a1b2c3d4-1-4711.parquet"
	if got, err := ParseFile(name); f.Name() != name || got != f || err != nil {
		t.Errorf("%s; %+v, %v", f.Name(), got, err)
	}
	for _, bad := range []string{
		"", "x", "party=7", "party=7/hour=2026-11-22T12/", "party=07/hour=2026-11-22T12/a1b2c3d4-1-4711.parquet",
		"party=7/hour=2026-11-22T25/a1b2c3d4-1-4711.parquet", "party=7/hour=2026-11-22T12/../../x-1-2.parquet",
		"party=7/hour=2026-11-22T12/a1b2c3d4-5-4.parquet", "party=7/hour=2026-11-22T12/a1b2c3d4-1-4711.parquet.tmp",
		"party=7/hour=2026-11-22T12/A1B2C3D4-1-2.parquet", "party=7/hour=2026-11-22T12/a1b2c3d4-1-99999999999999999999.parquet",
	} {
		if _, err := ParseFile(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestBody: the body that docs/format/uploads.md shows.
func TestBody(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "format", "uploads.md"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := hashing.ParseParts("pdq", "", "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22")
	if err != nil {
		t.Fatal(err)
	}
	r := Record{7, time.UnixMilli(1_795_341_600_000).UTC(), "post/4711", s.Value, 90}
	if body := r.appendBody(nil); !bytes.Contains(text, body) {
		t.Errorf("%s is not in the page", body)
	} else if got, err := parseBody(body); got != r {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseBody(f *testing.F) {
	f.Add(upload(1).appendBody(nil))
	f.Add([]byte("[]"))
	f.Add([]byte(`[1,2,3,"","x"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseBody(b)
		if err != nil {
			return
		}
		if again, err := parseBody(r.appendBody(nil)); err != nil || again != r {
			t.Errorf("%q: %+v, %+v, %v", b, r, again, err)
		}
	})
}

// failing is a store whose files cannot be read from some request on.
type failing struct {
	Store
	left  int
	fails error
}

type failingObject struct {
	Object
	of *failing
}

func (f *failing) Open(ctx context.Context, name string) (Object, error) {
	o, err := f.Store.Open(ctx, name)
	return failingObject{o, f}, err
}

func (f failingObject) ReadAt(p []byte, off int64) (int, error) {
	if f.of.left--; f.of.left < 0 {
		return 0, f.of.fails
	}
	return f.Object.ReadAt(p, off)
}

// TestReadFails: a store that fails is no damage, whichever request it is; and nothing is searched in part without an error.
func TestReadFails(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	store := &failing{Store: p.folder, fails: errors.New("meant")}
	h, stop := p.open(t, store, Options{Now: func() time.Time { return noon }})
	defer stop()
	for n := range 30 {
		add(t, h, upload(3*n))
	}
	seal(t, h)
	for f := range h.Files(t.Context(), everything) {
		for n := 0; ; n++ {
			store.left = n
			found := 0
			err := h.SearchFile(t.Context(), f, everything, func(Hit) error { found++; return nil })
			if err == nil && store.left >= 0 && found > 0 {
				break
			}
			if !errors.Is(err, store.fails) || errors.Is(err, storage.ErrCorrupt) || n > 100 {
				t.Fatalf("request %d: %v", n, err)
			}
		}
	}
}

// TestDamagedFile flips bits of a file: it is read as it was, or storage.ErrCorrupt; hashes are never wrong.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	h, p := run(t, Options{Now: func() time.Time { return noon }})
	want := map[journal.ID]Record{}
	for n := range 20 {
		r := upload(3 * n)
		r.At = noon
		want[add(t, h, r)] = r
	}
	seal(t, h)
	var file File
	for f, err := range h.Files(t.Context(), everything) {
		if file = f; err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(p.dir, "files", file.Name())
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got := map[journal.ID]Record{}
		err := h.SearchFile(t.Context(), file, everything, func(hit Hit) error { got[hit.ID] = hit.Record; return nil })
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			same(t, what, got, want)
		}
		if err := h.Erase(t.Context(), 1, []string{"none"}); err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: erase: %v", what, err)
		}
	}
	begin := bytes.Index(good, upload(0).PDQ.Bytes(hashBytes))
	far := Query{Values: []hashing.Value{upload(1).PDQ}}
	for at := range good {
		if testing.Short() && at%17 != 0 {
			continue
		}
		b := slices.Clone(good)
		b[at] ^= 1 << (at % 8)
		check(fmt.Sprintf("byte %d of %d", at, len(b)), b)
		if i := at - begin; i >= 0 && i < 20*hashBytes { // a hash that is damaged is no miss
			if err := h.SearchFile(t.Context(), file, far, take0); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("byte %d of the hashes: %v", i, err)
			}
		}
	}
	for n := 0; n < len(good); n += 97 {
		check(fmt.Sprintf("cut at %d", n), good[:n])
	}
}
