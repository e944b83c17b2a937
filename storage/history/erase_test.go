package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/journal"
)

// watched is a store that counts what is read, and may answer otherwise.
type watched struct {
	Store
	opens, reads atomic.Int32
	read         atomic.Pointer[func(name string) error] // before each; nil: nothing is wrong
}

func (w *watched) Open(ctx context.Context, name string) (Object, error) {
	w.opens.Add(1)
	o, err := w.Store.Open(ctx, name)
	return watchedObject{o, w, name}, err
}

func (w *watched) meanwhile(read func(name string) error) { w.read.Store(&read) }

type watchedObject struct {
	Object
	in   *watched
	name string
}

func (o watchedObject) ReadAt(p []byte, off int64) (int, error) {
	o.in.reads.Add(1)
	if read := o.in.read.Load(); read != nil {
		if err := (*read)(o.name); err != nil {
			return 0, err
		}
	}
	return o.Object.ReadAt(p, off)
}

// TestEraseTogether: what several erase from the window at the same time is all gone.
func TestEraseTogether(t *testing.T) {
	t.Parallel()
	for range 5 {
		w, want := newWindow(1<<30, 0), 40
		for n := range 100 {
			w.add(uint64(n+1), upload(n))
		}
		var all sync.WaitGroup
		begin := make(chan struct{})
		for n := range want {
			all.Go(func() {
				<-begin
				w.erase(func(r Record) bool { return r.ContentID == upload(n).ContentID })
			})
		}
		close(begin)
		all.Wait()
		if rows := w.stats().Rows; rows != 100-want {
			t.Fatalf("%d rows are left, want %d", rows, 100-want)
		}
	}
}

// TestEraseBesideDamage: a damaged file is told of, and left until its time has passed. It keeps nothing else from being erased.
func TestEraseBesideDamage(t *testing.T) {
	t.Parallel()
	var faults atomic.Int32
	store := &memory{}
	h, stop := newPlace(t).open(t, store, Options{
		Now: func() time.Time { return noon.Add(2 * time.Hour) }, Fault: func(err error) {
			if errors.Is(err, storage.ErrCorrupt) {
				faults.Add(1)
			}
		},
	})
	defer stop()
	want := map[journal.ID]Record{}
	var ids []string
	for n := 0; n < 300; n += 3 { // of one party, in two hours
		want[add(t, h, upload(n))] = upload(n)
		ids = append(ids, upload(n).ContentID)
	}
	seal(t, h)
	files := names(t, store, "")
	if len(files) != 2 {
		t.Fatalf("%v", files)
	}
	slices.Sort(files)
	spoilt := whole(t, store, files[0])[:100]
	put(t, store, files[0], spoilt)
	for i := range 2 { // by those who have the files alone, and by those who share them
		if i == 0 {
			if err := h.Erase(t.Context(), 1, ids[:50]); err != nil {
				t.Fatal(err)
			}
		} else {
			for _, name := range files {
				f, err := ParseFile(name)
				if err == nil {
					err = h.EraseFile(t.Context(), f, ids[50:])
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := int(faults.Load()); got != i+1 {
			t.Errorf("%d faults told", got)
		}
		sound, err := ParseFile(files[1])
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		if err := h.SearchFile(t.Context(), sound, everything, func(hit Hit) error {
			if at := slices.Index(ids, hit.ContentID); at < 50*(i+1) {
				t.Errorf("%q is there still", hit.ContentID)
			}
			left++
			return nil
		}); err != nil || left == 0 && i == 0 {
			t.Errorf("%d left, %v", left, err)
		}
		if !slices.Equal(whole(t, store, files[0]), spoilt) {
			t.Error("the damaged file was changed")
		}
	}
	if err := h.Expire(t.Context(), func(storage.PartyID) time.Duration { return 0 }); err != nil {
		t.Fatal(err)
	}
	if left := names(t, store, ""); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestReadsFew: however many uploads there are or are to be erased, a store in a network is asked a few times for a file.
func TestReadsFew(t *testing.T) {
	t.Parallel()
	store := &watched{Store: &memory{}}
	h, stop := newPlace(t).open(t, store, Options{})
	defer stop()
	for n := 0; n < 1500; n += 15 { // of one party and hour
		add(t, h, upload(n))
	}
	seal(t, h)
	files := names(t, store, "")
	f, err := ParseFile(files[0])
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	asked := func(what string, opens, reads int, do func() error) {
		t.Helper()
		store.opens.Store(0)
		store.reads.Store(0)
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if o, r := int(store.opens.Load()), int(store.reads.Load()); o > opens || r > reads || r == 0 {
			t.Errorf("%s opens %d times and reads %d times", what, o, r)
		}
	}
	asked("Verify", 1, 1, func() error { _, _, err := f.Verify(t.Context(), store); return err })
	asked("EraseFile", 1, 10, func() error {
		var ids []string
		for n := range 200 {
			ids = append(ids, fmt.Sprint("unknown ", n))
		}
		return h.EraseFile(t.Context(), f, ids)
	})
}

// TestReplaced: a file from which something is erased while it is read is read anew; nothing is told twice.
func TestReplaced(t *testing.T) {
	t.Parallel()
	store := &watched{Store: &memory{}}
	p := newPlace(t)
	h, stop := p.open(t, store, Options{Now: func() time.Time { return noon }})
	defer stop()
	want := map[journal.ID]Record{}
	for n := 0; n < 1500; n += 15 {
		want[add(t, h, upload(n))] = upload(n)
	}
	seal(t, h)
	f, err := ParseFile(names(t, store, "")[0])
	if err != nil {
		t.Fatal(err)
	}
	last := upload(1485).ContentID
	for what, do := range map[string]func(at int) error{
		"Describe": func(int) error { _, _, err := f.Describe(t.Context(), store); return err },
		"Verify": func(int) error {
			rows, _, err := f.Verify(t.Context(), store)
			if err == nil && rows != 100 {
				err = fmt.Errorf("%d rows", rows)
			}
			return err
		},
		"SearchFile": func(int) error {
			same(t, "found", inFiles(t, h, everything), want) // each once
			return nil
		},
		"load": func(int) error {
			other, err := Open(t.TempDir(), store, Options{Scan: scan, Now: func() time.Time { return noon }})
			if err != nil {
				return err
			}
			_, err = other.loadFile(t.Context(), f)
			if rows := other.Stats().Window.Rows; err == nil && rows != 100 {
				err = fmt.Errorf("%d rows", rows)
			}
			return errors.Join(err, other.Close())
		},
		"EraseFile": func(int) error {
			if err := h.EraseFile(t.Context(), f, []string{last}); err != nil {
				return err
			}
			rows, _, err := f.Describe(t.Context(), store)
			if err == nil && rows != 99 {
				err = fmt.Errorf("%d rows", rows)
			}
			return err
		},
	} {
		sound := whole(t, store.Store, f.Name())
		for at, replaced := 0, true; replaced; at++ {
			put(t, store, f.Name(), sound)
			left := at
			replaced = false
			store.meanwhile(func(string) error {
				if left--; left == -1 {
					replaced = true
					return bucket.ErrReplaced
				}
				return nil
			})
			if err := do(at); err != nil {
				t.Errorf("%s, replaced before read %d: %v", what, at, err)
			}
			if at == 0 && !replaced {
				t.Errorf("%s reads nothing", what)
			}
		}
		store.meanwhile(func(string) error { return nil })
		put(t, store, f.Name(), sound)
	}
	store.meanwhile(func(string) error { return bucket.ErrReplaced }) // for ever
	if _, _, err := f.Verify(t.Context(), store); !errors.Is(err, bucket.ErrReplaced) {
		t.Error(err)
	}
}

// TestMoveLeaves: one file that cannot be read does not keep the others from being moved. What is in memory is erased before they are, and
// that file does not outlast its time, nor an erasure of its party.
func TestMoveLeaves(t *testing.T) {
	t.Parallel()
	p, clock := newPlace(t), func() time.Time { return noon.Add(3 * time.Hour) }
	h, stop := p.open(t, p.folder, Options{Now: clock})
	for n := range 100 {
		add(t, h, upload(n))
	}
	seal(t, h)
	stop()

	faults := 0
	former, store := &watched{Store: p.folder}, &memory{}
	unreadable := []string{names(t, p.folder, "party=1/")[0], names(t, p.folder, "party=2/")[0]}
	former.meanwhile(func(name string) error {
		if slices.Contains(unreadable, name) {
			return fs.ErrPermission
		}
		return nil
	})
	h, err := Open(p.dir, store, Options{Scan: scan, Now: clock, Shared: true, Former: former, Fault: func(err error) {
		if errors.Is(err, fs.ErrPermission) {
			faults++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	close(h.loaded) // what Run does, step by step
	go func() { _ = h.journal.ShipFiles(t.Context(), h.seal) }()

	gone := upload(300) // of party 1
	add(t, h, gone)
	erased := make(chan error, 1)
	go func() { erased <- h.Erase(t.Context(), gone.Party, []string{gone.ContentID}) }()
	for until := time.Now().Add(time.Minute); len(inWindow(t, h, everything)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("after a minute it is in the window still, while files wait to be moved")
		}
	}
	if left := names(t, p.folder, "party=1/"); !slices.Contains(left, unreadable[0]) || len(erased) > 0 {
		t.Errorf("erased before files were moved; left: %v", left)
	}
	if err := h.moveFiles(t.Context()); err != nil || faults != 2 {
		t.Fatalf("%d faults told, %v", faults, err)
	}
	if left := names(t, p.folder, ""); !slices.Equal(left, unreadable) {
		t.Errorf("moved but for %v", left)
	}
	close(h.moved)
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	if left := names(t, p.folder, ""); !slices.Equal(left, unreadable[1:]) {
		t.Errorf("left after an erasure of party 1: %v", left)
	}
	if err := h.Expire(t.Context(), func(storage.PartyID) time.Duration { return 0 }); err != nil {
		t.Fatal(err)
	}
	if left := names(t, p.folder, ""); left != nil || len(names(t, store, "")) == 0 {
		t.Errorf("left when its time has passed: %v", left)
	}
}
