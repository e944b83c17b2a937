package matcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/history"
	"vigie/storage/jobs"
	"vigie/storage/sqlstore"
)

// refusing is a store that does not replace one file.
type refusing struct {
	history.Store
	name atomic.Pointer[string] // nil: it takes all
}

func (r *refusing) Put(ctx context.Context, name string, data []byte) error {
	if refused := r.name.Load(); refused != nil && name == *refused {
		return errors.New("meant")
	}
	return r.Store.Put(ctx, name, data)
}

// byHand has files that nodes share, and jobs that nobody does; do does one that a node asks for.
func byHand(t *testing.T) (p *place, engine jobs.Engine, do func(l *looker, last uint64) error) {
	p = newPlace(t, catalogues["sqlite"](t))
	p.shared = true
	engine, err := jobs.OpenLocal(t.Context(), filepath.Join(t.TempDir(), "jobs.db"), map[string]jobs.Handler{
		matcher.LookbackJob: {Do: func(context.Context, jobs.Run) error { return nil }},
		matcher.UploadsJob:  {Do: func(context.Context, jobs.Run) error { return nil }},
	}, jobs.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, engine.Close()) })
	return p, engine, func(l *looker, last uint64) error {
		args, _ := json.Marshal(map[string]any{"node": l.history.Node(), "last": last})
		return l.UploadsHandler().Do(l.ctx, jobs.Run{Args: args})
	}
}

// erased is the last erasure that is noted under a name.
func (p *place) erased(name string) (id uint64) {
	p.t.Helper()
	must(p.t, p.catalogue.View(p.t.Context(), func(r storage.Reader) (err error) {
		id, err = r.Erased(name)
		return err
	}))
	return id
}

// TestErasedBesideFaults: neither a damaged file nor one that cannot be written anew keeps uploads from being erased from the others; what
// may come right is tried again.
func TestErasedBesideFaults(t *testing.T) {
	t.Parallel()
	p, engine, do := byHand(t)
	store := &refusing{Store: p.store}
	p.store = store
	a := p.node(t.TempDir(), 0, engine)
	a.keeps("erases", 30)
	other := p.node(t.TempDir(), 0, engine)
	other.parties = a.parties
	for _, l := range []*looker{a, other} {
		l.post("erases", "gone", upload)
		l.post("erases", "stays", upload)
		must(t, l.history.Seal(l.ctx))
	}
	file, damaged := "", "" // other's
	for f, err := range a.history.Files(a.ctx, history.Query{}) {
		must(t, err)
		if f.Node == other.history.Node() {
			file = f.Name()
			f.Node = "0123abcd"
			damaged = f.Name()
		}
	}
	must(t, store.Put(t.Context(), damaged, []byte("damaged")))
	store.name.Store(&file)
	_, err := a.EraseContent(a.ctx, a.who("erases"), "gone")
	must(t, err)
	a.soon(func() bool { return slices.Equal(a.kept(), []string{"stays"}) })

	if err := do(a, 1); err == nil || len(a.faults.list()) < 2 { // it is to be tried again; that, and the damage
		t.Errorf("%v, %v", err, a.faults.list())
	}
	equal(t, p.erased("files of "+a.history.Node()), uint64(0))
	must(t, p.store.Delete(t.Context(), damaged))
	equal(t, a.inFiles(), []string{"gone", "stays", "stays"})
	must(t, store.Store.Put(t.Context(), damaged, []byte("damaged")))
	store.name.Store(nil)
	must(t, do(a, 1))
	equal(t, p.erased("files of "+a.history.Node()), uint64(1))
	must(t, p.store.Delete(t.Context(), damaged))
	equal(t, a.inFiles(), []string{"stays", "stays"})
}

// TestErasedOnce: files of a node that is gone are not gone through again for what was erased from them; those of one that is back are; and
// who posts something again after its erasure has it kept.
func TestErasedOnce(t *testing.T) {
	t.Parallel()
	p, engine, do := byHand(t)
	files := &opened{Store: p.store, opens: map[string]int{}}
	p.store = files
	dir := t.TempDir()
	a, b := p.node(t.TempDir(), 0, engine), p.node(t.TempDir(), 0, engine)
	a.keeps("one", 30)
	a.keeps("another", 30)
	gone, down := p.node(t.TempDir(), 0, engine), p.node(dir, 0, engine)
	for _, l := range []*looker{b, gone, down} {
		l.parties = a.parties
		l.post("one", "x", upload)
		must(t, l.history.Seal(l.ctx))
	}
	down.post("one", "x", upload) // is in its journal
	gone.end()
	down.end()
	erase := func(party, content string, id uint64) {
		t.Helper()
		_, err := a.EraseContent(a.ctx, a.who(party), content)
		must(t, err)
		for _, l := range []*looker{a, b} {
			must(t, do(l, id))
		}
	}
	b.soon(func() bool { return slices.Equal(b.kept(), []string{"x"}) })
	erase("one", "x", 1)
	equal(t, a.inFiles(), []string{})
	b.soon(func() bool { return p.erased(b.history.Node()) == 1 }) // so it has let go of it
	equal(t, b.kept(), []string{})

	before := files.of(gone.history.Node())
	b.post("one", "x", upload) // again
	must(t, b.history.Seal(b.ctx))
	late := p.node(t.TempDir(), 0, engine) // of which nothing is noted
	late.parties = a.parties
	late.post("one", "x", upload)
	must(t, late.history.Seal(late.ctx))
	late.end()
	erase("another", "y", 2)
	equal(t, files.of(gone.history.Node())-before, 0)
	equal(t, a.inFiles(), []string{"x"})

	down = p.node(dir, 0, engine)
	down.soon(func() bool { return len(down.kept()) == 0 })
	must(t, down.history.Seal(down.ctx)) // as its erasing does
	equal(t, a.inFiles(), []string{"x", "x"})
	must(t, do(down, 2))
	equal(t, a.inFiles(), []string{"x"}) // b's
}

// TestErasedAfterSetBack: what is erased after the catalogue was set back under a running node has numbers that were there before, and is
// erased all the same.
func TestErasedAfterSetBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &replaced{}
	c.is(sqlite(t, filepath.Join(dir, "first.db")))
	l := newPlace(t, c).node(t.TempDir(), 0, nil)
	l.keeps("erases", 30)
	for _, content := range []string{"before", "after", "stays"} {
		l.post("erases", content, upload)
	}
	backup := filepath.Join(dir, "backup.db")
	must(t, sqlstore.Backup(l.ctx, filepath.Join(dir, "first.db"), backup))
	erase := func(content string, left ...string) {
		t.Helper()
		_, err := l.EraseContent(l.ctx, l.who("erases"), content)
		must(t, err)
		l.soon(func() bool { return slices.Equal(l.kept(), left) })
	}
	erase("before", "after", "stays")
	c.is(sqlite(t, backup))
	erase("after", "stays")
}
