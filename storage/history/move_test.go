package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"vigie/internal/tests3"
	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/journal"
)

// keeping is a store that cannot delete, as if the process ended before, so many times.
type keeping struct {
	Store
	times atomic.Int32
}

func (k *keeping) Delete(ctx context.Context, name string) error {
	if k.times.Add(-1) >= 0 {
		return errors.New("meant")
	}
	return k.Store.Delete(ctx, name)
}

// TestMove: files of a folder that the history had before are in the bucket in the end, each upload once, whatever happened in between; and
// until then they are found where they are. What the journal still has of them is not sealed again.
func TestMove(t *testing.T) {
	t.Parallel()
	p, clock := newPlace(t), func() time.Time { return noon.Add(2 * time.Hour) }
	h, stop := p.open(t, p.folder, Options{Now: clock})
	want := map[journal.ID]Record{}
	var records []journal.Record
	for n := range 100 {
		r := upload(n)
		id := add(t, h, r)
		want[id] = r
		records = append(records, journal.Record{ID: id, Body: r.appendBody(nil)})
	}
	seal(t, h)
	stop()

	former, store := &keeping{Store: p.folder}, openBucket(t, tests3.Bucket(t), bucket.Options{})
	former.times.Store(2)
	h, err := Open(p.dir, store, Options{Scan: scan, Now: clock, Shared: true, Former: former})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "before they are moved", inFiles(t, h, everything), want)
	if h.Moved() || names(t, store, "") != nil {
		t.Error("moved before Run")
	}
	if err := h.moveFiles(t.Context()); err == nil {
		t.Error("the end of the process was not seen")
	}
	if len(names(t, store, "")) == 0 || len(names(t, p.folder, "")) == 0 {
		t.Errorf("%v, %v: the test shows nothing", names(t, store, ""), names(t, p.folder, ""))
	}
	same(t, "half-way", inFiles(t, h, everything), want)
	if err := h.seal(t.Context(), records); err != nil { // as after a crash between the file and the journal's note
		t.Fatal(err)
	}
	same(t, "sealed again", inFiles(t, h, everything), want)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	h, stop = p.open(t, store, Options{Now: clock, Shared: true, Former: former})
	defer stop()
	select {
	case <-h.moved:
	case <-time.After(time.Minute):
		t.Fatal("not moved after a minute")
	}
	same(t, "moved", inFiles(t, h, everything), want)
	if left := names(t, p.folder, ""); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestShared: of files that nodes share, a node erases nothing by itself, and ends nothing; EraseFile and ExpireFiles do so for all nodes.
func TestShared(t *testing.T) {
	t.Parallel()
	store := openBucket(t, tests3.Bucket(t), bucket.Options{})
	clock := atomic.Pointer[time.Time]{}
	clock.Store(&noon)
	o := Options{Now: func() time.Time { return *clock.Load() }, Shared: true}
	want := map[journal.ID]Record{}
	var nodes []*History
	for range 2 {
		h, stop := newPlace(t).open(t, store, o)
		defer stop()
		for n := range 60 {
			want[add(t, h, upload(n))] = upload(n)
		}
		seal(t, h)
		nodes = append(nodes, h)
	}
	a, b := nodes[0], nodes[1]
	same(t, "files as each node sees them", inFiles(t, a, everything), want)
	same(t, "files as each node sees them", inFiles(t, b, everything), want)

	gone := upload(3).ContentID
	if err := a.Erase(t.Context(), upload(3).Party, []string{gone}); err != nil {
		t.Fatal(err)
	}
	same(t, "files after Erase", inFiles(t, b, everything), want)
	if rows := len(inWindow(t, a, everything)); rows != 59 {
		t.Errorf("%d in the window of who erases", rows)
	}
	for f, err := range b.Files(t.Context(), Query{Party: upload(3).Party}) {
		if err == nil {
			err = b.EraseFile(t.Context(), f, []string{gone})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for id, r := range want {
		if r.ContentID == gone {
			delete(want, id)
		}
	}
	same(t, "files after EraseFile", inFiles(t, a, everything), want)
	if len(want) != 118 {
		t.Errorf("%d left", len(want))
	}

	later := noon.Add(48 * time.Hour)
	clock.Store(&later)
	keep := func(p storage.PartyID) time.Duration { return time.Duration(p) * 24 * time.Hour }
	if err := a.Expire(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	same(t, "files after Expire", inFiles(t, b, everything), want)
	if err := b.ExpireFiles(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	for id, r := range want {
		if !hourOf(r.At).Add(time.Hour + keep(r.Party)).After(later) {
			delete(want, id)
		}
	}
	same(t, "files after ExpireFiles", inFiles(t, a, everything), want)
	if len(want) == 118 || len(want) == 0 {
		t.Errorf("%d left: the test shows nothing", len(want))
	}
}

// TestCopied: files that were copied from the folder of another node, such as one that is lost, are searched like one's own.
func TestCopied(t *testing.T) {
	t.Parallel()
	h, p := run(t, Options{})
	want := map[journal.ID]Record{}
	for n := range 50 {
		want[add(t, h, upload(n))] = upload(n)
	}
	seal(t, h)
	other := newPlace(t)
	for _, name := range names(t, p.folder, "") {
		put(t, other.folder, name, whole(t, p.folder, name))
	}
	back, stop := other.open(t, other.folder, Options{})
	defer stop()
	want[add(t, back, upload(50))] = upload(50)
	seal(t, back)
	same(t, "files", inFiles(t, back, everything), want)
}

// TestVerify: of a file that was changed anywhere, Verify says so, or nothing that anybody reads of it is another.
func TestVerify(t *testing.T) {
	t.Parallel()
	store := &memory{}
	h, stop := newPlace(t).open(t, store, Options{})
	defer stop()
	const n = 40
	for i := range n {
		add(t, h, upload(3*i)) // of one party
	}
	seal(t, h)
	var files []File
	for f, err := range List(t.Context(), store) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		rows, size, err := f.Verify(t.Context(), store)
		described, bytes, err2 := f.Describe(t.Context(), store)
		if err != nil || err2 != nil || rows == 0 || rows != described || size != bytes || size != int64(len(whole(t, store, f.Name()))) {
			t.Fatalf("%s: %d rows, %d bytes, %v; %d, %d, %v", f.Name(), rows, size, err, described, bytes, err2)
		}
	}
	f := files[0]
	was, sound := inFiles(t, h, everything), whole(t, store, f.Name())
	told := 0
	for at := range sound {
		spoilt := append([]byte(nil), sound...)
		spoilt[at] ^= byte(1 + rand.IntN(255))
		put(t, store, f.Name(), spoilt)
		_, _, err := f.Verify(t.Context(), store)
		if errors.Is(err, storage.ErrCorrupt) {
			told++
			continue
		}
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		same(t, fmt.Sprintf("with byte %d of %d changed, which is said to be well", at, len(sound)), inFiles(t, h, everything), was)
		if err := f.read(t.Context(), store, func(o *opened) error {
			mayHave, err := o.filters()
			for id, r := range was {
				if err == nil && f.covers(int64(id.Number)) && r.Party == f.Party && hourOf(r.At).Equal(f.Hour) && !mayHave(r.ContentID) {
					t.Errorf("with byte %d changed an erasure misses upload %v", at, id)
				}
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	if told < len(sound)/2 {
		t.Errorf("of %d bytes, %d were missed", len(sound), told)
	}
	put(t, store, f.Name(), sound)
	other := f
	other.Last++
	put(t, store, other.Name(), sound)
	for what, look := range map[string]func(File, context.Context, Store) (int64, int64, error){"Describe": File.Describe, "Verify": File.Verify} {
		if _, _, err := look(other, t.Context(), store); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: another file's bytes: %v", what, err)
		}
	}
	if err := store.Delete(t.Context(), f.Name()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Verify(t.Context(), store); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
}
