package matcher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/history"
)

// opened is a store that counts how often each file is opened.
type opened struct {
	history.Store
	mu    sync.Mutex
	opens map[string]int
}

func (c *opened) Open(ctx context.Context, name string) (history.Object, error) {
	c.mu.Lock()
	c.opens[name]++
	c.mu.Unlock()
	return c.Store.Open(ctx, name)
}

// of is how often files of a node were opened.
func (c *opened) of(node string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, times := range c.opens {
		if strings.Contains(name, "/"+node+"-") {
			n += times
		}
	}
	return n
}

// inFiles are the content ids in all files, as a node sees them, sorted; nil: one was written anew meanwhile.
func (l *looker) inFiles() []string {
	l.t.Helper()
	found := []string{}
	q := history.Query{Values: []hashing.Value{{}}, Radius: 256}
	for f, err := range l.history.Files(l.ctx, q) {
		must(l.t, err)
		err := l.history.SearchFile(l.ctx, f, q, func(h history.Hit) error {
			found = append(found, h.ContentID)
			return nil
		})
		if errors.Is(err, bucket.ErrReplaced) { // something is erased from it just now
			return nil
		}
		must(l.t, err)
	}
	slices.Sort(found)
	return found
}

// TestLookbackInBucket: files that nodes share are searched once, by whichever node, also those of a node that is gone.
func TestLookbackInBucket(t *testing.T) {
	t.Parallel()
	p := newPlace(t, catalogues["sqlite"](t)).inBucket()
	files := &opened{Store: p.store, opens: map[string]int{}}
	p.store = files
	a := p.node(t.TempDir(), 0, nil)
	a.bank("owner", "bank", shared("block"))
	a.keeps("owner", 30)
	b, gone := p.node(t.TempDir(), 0, a.engine), p.node(t.TempDir(), 0, a.engine)
	for i, l := range []*looker{a, b, gone} {
		l.parties = a.parties
		l.post("owner", fmt.Sprint("on ", i), upload)
	}
	must(t, gone.history.Seal(t.Context()))
	gone.end()
	must(t, b.history.Seal(t.Context())) // in a file, and in its window
	before := files.of(gone.history.Node())

	_, err := a.Flag(a.ctx, matcher.Flagging{Who: a.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
	must(t, err)
	b.done()
	a.done()
	equal(t, a.past("owner"), []string{"on 0", "on 1", "on 2"})
	equal(t, files.of(gone.history.Node())-before, 1)
	for _, l := range []*looker{a, b} {
		equal(t, len(l.faults.list()), 0)
	}
}

// TestLookbackAfterRestore: a restored catalogue may know less far through the files than its log goes. A node that never was here looks
// through them.
func TestLookbackAfterRestore(t *testing.T) {
	t.Parallel()
	p := newPlace(t, catalogues["sqlite"](t)).inBucket()
	a := p.node(t.TempDir(), 0, nil)
	a.bank("owner", "bank", shared("block"))
	a.keeps("owner", 30)
	dir := t.TempDir()
	gone := p.node(dir, 0, a.engine)
	gone.parties = a.parties
	gone.post("owner", "on gone", upload)
	gone.end()
	head, err := a.catalogue.Head(a.ctx)
	must(t, err)
	_, err = a.Flag(a.ctx, matcher.Flagging{Who: a.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
	must(t, err)
	a.done()
	equal(t, a.past("owner"), []string{})

	p.seal(t, dir, history.Options{Shared: true})
	must(t, a.catalogue.Update(a.ctx, func(w storage.Writer) error { return w.RewindLooked(head.Seq) }))

	fresh := p.node(t.TempDir(), 0, a.engine)
	fresh.parties = a.parties
	fresh.done()
	a.done() // which may have done the job
	equal(t, a.past("owner"), []string{"on gone"})
}

// TestErasedInBucket: what a party has erased leaves the files of all nodes, of one that is gone, and of one that was down and had it in its
// journal, of which files are written when it is back.
func TestErasedInBucket(t *testing.T) {
	t.Parallel()
	p := newPlace(t, catalogues["sqlite"](t)).inBucket()
	must(t, p.store.Put(t.Context(), "party=1/hour=2020-01-01T00/0123abcd-1-2.parquet", []byte("its time has passed")))
	dir := t.TempDir()
	a := p.node(t.TempDir(), 0, nil)
	a.keeps("erases", 30)
	down, gone := p.node(dir, 0, a.engine), p.node(t.TempDir(), 0, a.engine)
	all := []*looker{a, down, gone}
	for _, l := range all {
		l.parties = a.parties
		for _, content := range []string{"gone", "stays"} {
			l.post("erases", content, upload)
		}
	}
	must(t, gone.history.Seal(t.Context()))
	gone.end()
	down.end()
	_, err := a.EraseContent(a.ctx, a.who("erases"), "gone")
	must(t, err)
	a.soon(func() bool { return slices.Equal(a.kept(), []string{"stays"}) })
	a.soon(func() bool { return slices.Equal(a.inFiles(), []string{"stays", "stays"}) }) // its own, and those of the one that is gone
	down = p.node(dir, 0, a.engine)
	down.soon(func() bool { return slices.Equal(down.kept(), []string{"stays"}) })
	down.soon(func() bool { return slices.Equal(down.inFiles(), []string{"stays", "stays", "stays"}) })
	for _, l := range []*looker{a, down} {
		l.soon(func() bool {
			var id uint64
			must(t, p.catalogue.View(a.ctx, func(r storage.Reader) (err error) {
				id, err = r.Erased(l.history.Node())
				return err
			}))
			return id == 1
		})
		equal(t, len(l.faults.list()), 0)
	}
	for name, err := range p.store.List(t.Context(), "party=1/") {
		must(t, err)
		t.Errorf("%s is there still", name)
	}
}

// TestLookbackWhileMoved: what a node kept in a folder of its own before it shared a bucket is found, also if it is flagged while the files are
// on their way; and then it is in the bucket.
func TestLookbackWhileMoved(t *testing.T) {
	t.Parallel()
	p, dir := newPlace(t, catalogues["sqlite"](t)), t.TempDir()
	a := p.node(dir, 1, nil)
	a.bank("owner", "bank", shared("block"))
	a.keeps("owner", 30)
	a.post("owner", "in a file", upload)
	must(t, a.history.Seal(t.Context()))
	a.post("owner", "in the journal", upload)
	parties := a.parties
	a.end()
	former := &held{Store: p.store, may: make(chan struct{})}
	worker := p.inBucket().node(t.TempDir(), 1, nil) // does the jobs, and does not see into the folder
	p.former = former
	a = p.node(dir, 1, worker.engine)
	a.parties = parties
	_, err := a.Flag(a.ctx, matcher.Flagging{Who: a.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
	must(t, err)
	a.done()
	equal(t, a.past("owner"), []string{"in the journal"})
	equal(t, a.history.Moved(), false)
	close(former.may)
	a.soon(a.history.Moved)
	a.soon(func() bool { a.done(); worker.done(); return len(a.past("owner")) == 2 })
	equal(t, a.past("owner"), []string{"in a file", "in the journal"})
	must(t, a.history.Seal(t.Context()))
	equal(t, a.inFiles(), []string{"in a file", "in the journal"})
	for name, err := range p.former.List(t.Context(), "") {
		must(t, err)
		t.Errorf("%s was left", name)
	}
	equal(t, len(a.faults.list())+len(worker.faults.list()), 0)
}

// held is a store that gives nothing away until it may; and that nobody else sees into.
type held struct {
	history.Store
	may chan struct{}
}

func (h *held) Open(ctx context.Context, name string) (history.Object, error) {
	select {
	case <-h.may:
		return h.Store.Open(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asked is a catalogue in which something happens when it is first asked how far a node has looked; it does not say then.
type asked struct {
	storage.Catalogue
	node  string
	once  sync.Once
	first func()
}

func (c *asked) View(ctx context.Context, fn func(storage.Reader) error) error {
	return c.Catalogue.View(ctx, func(r storage.Reader) error { return fn(askedReader{r, c}) })
}

type askedReader struct {
	storage.Reader
	c *asked
}

func (r askedReader) Looked(node string) (seq uint64, err error) {
	if node == r.c.node {
		r.c.once.Do(func() {
			r.c.first()
			err = errors.New("meant")
		})
	}
	if err != nil {
		return 0, err
	}
	return r.Reader.Looked(node)
}

// TestLookbackMovedAtFirst: what a node kept in a folder of its own is found also if it is flagged, and the folder moved, before the node
// knows how far it has looked.
func TestLookbackMovedAtFirst(t *testing.T) {
	t.Parallel()
	p, dir := newPlace(t, catalogues["sqlite"](t)), t.TempDir()
	a := p.node(dir, 1, nil)
	a.bank("owner", "bank", shared("block"))
	a.keeps("owner", 30)
	a.post("owner", "in a file", upload)
	must(t, a.history.Seal(t.Context()))
	parties := a.parties
	a.end()
	former := &held{Store: p.store, may: make(chan struct{})}
	worker := p.inBucket().node(t.TempDir(), 1, nil) // does the jobs, and does not see into the folder
	worker.parties = parties
	p.former = former
	p.catalogue = &asked{Catalogue: p.catalogue, node: a.history.Node(), first: func() {
		_, err := worker.Flag(worker.ctx, matcher.Flagging{Who: worker.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
		must(t, err)
		worker.done()
		equal(t, worker.past("owner"), []string{})
		close(former.may)
		worker.soon(func() bool {
			for range former.List(t.Context(), "") {
				return false
			}
			return true
		})
	}}
	a = p.node(dir, 1, worker.engine)
	a.parties = parties
	a.soon(func() bool { a.done(); worker.done(); return len(a.past("owner")) == 1 })
	equal(t, len(a.faults.list()), 1) // that of asked
}
