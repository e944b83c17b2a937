package matcher_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/text"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

// replaced is a catalogue in whose place another one may come, as when its database is restored from a backup.
type replaced struct {
	now  atomic.Pointer[storage.Catalogue]
	view atomic.Pointer[func() error] // before a view; nil: nothing is wrong
}

func (r *replaced) is(c storage.Catalogue)       { r.now.Store(&c) }
func (r *replaced) catalogue() storage.Catalogue { return *r.now.Load() }

func (r *replaced) Head(ctx context.Context) (storage.Head, error) { return r.catalogue().Head(ctx) }
func (r *replaced) Wait(ctx context.Context, after uint64) error {
	return r.catalogue().Wait(ctx, after)
}

func (r *replaced) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	return r.catalogue().Changes(ctx, after, limit)
}

func (r *replaced) View(ctx context.Context, fn func(storage.Reader) error) error {
	if before := r.view.Load(); before != nil {
		if err := (*before)(); err != nil {
			return err
		}
	}
	return r.catalogue().View(ctx, fn)
}

func (r *replaced) Update(ctx context.Context, fn func(storage.Writer) error) error {
	return r.catalogue().Update(ctx, fn)
}
func (r *replaced) Close() error { return nil }

func sqlite(t testing.TB, path string) storage.Catalogue {
	c, err := sqlstore.OpenSQLite(context.Background(), path, storage.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// within asks again until something is so.
func within(t testing.TB, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// holdsAll wants a node to have what its catalogue has.
func holdsAll(t testing.TB, n *node) {
	t.Helper()
	var want matcher.Sum
	must(t, n.catalogue.View(n.ctx, func(r storage.Reader) (err error) {
		want, err = matcher.CatalogueDigest(n.ctx, r)
		return err
	}))
	s := n.Follower().State()
	counted, err := s.Snapshot.Digest(n.ctx)
	must(t, err)
	if s.Seq != want.Seq || s.Snapshot.Kept() != want.Digest || counted != want.Digest {
		t.Errorf("the node has %s as of %d, the catalogue %s as of %d", s.Snapshot.Kept(), s.Seq, want.Digest, want.Seq)
	}
}

// TestAnotherLog restores a backup under a running node, which has more or fewer changes since than the node has seen, or is
// of another catalogue at all.
func TestAnotherLog(t *testing.T) {
	t.Parallel()
	for what, more := range map[string]int{"behind": 0, "as far": 2, "beyond": 5, "another catalogue": -1} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			first := sqlite(t, filepath.Join(dir, "first.db"))
			c := &replaced{}
			c.is(first)
			var diverged told[error]
			var rebuilt told[matcher.Rebuilt]
			texts := matcher.NewTexts(c, filepath.Join(dir, "text"), nil)
			n := start(t, c, matcher.Options{Texts: texts, Events: matcher.Events{Diverged: diverged.add, Rebuilt: rebuilt.add}})
			ctx, stop := context.WithCancel(n.ctx)
			ended := make(chan error)
			go func() { ended <- texts.Run(ctx) }()
			defer func() { stop(); <-ended }()

			n.bank("bank", "block", nil)
			kept := n.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}, Note: "amber"})
			backup := filepath.Join(dir, "backup.db")
			must(t, sqlstore.Backup(n.ctx, filepath.Join(dir, "first.db"), backup))
			for i, note := range []string{"basalt", "basalt"} { // what the backup lacks
				n.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 10+uint64(i))}, Note: note})
			}
			found := func(word string) int {
				t.Helper()
				r, err := n.SearchText(n.ctx, local, matcher.TextQuery{Text: text.Query{Text: word, Limit: 10}, MinSeq: 0})
				must(t, err)
				return len(r.Entries)
			}
			within(t, "texts of the first", func() bool { return found("basalt") == 2 })

			var next storage.Catalogue
			if more < 0 {
				next = sqlite(t, filepath.Join(dir, "other.db"))
				o := follow(t, next, matcher.Options{Patience: patience})
				o.bank("bank", "block", nil)
				o.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 20)}, Note: "cobalt"})
				o.stop()
			} else {
				next = sqlite(t, backup)
				o := follow(t, next, matcher.Options{Patience: patience})
				for i := range more {
					o.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 20+uint64(i))}, Note: "cobalt"})
				}
				o.stop()
			}
			before := n.Follower().State()
			c.is(next)
			within(t, "the new index", func() bool { return len(rebuilt.list()) > 0 })
			holdsAll(t, n)
			if len(diverged.list()) != 1 || n.Follower().Diverged() != 1 {
				t.Errorf("told %v", diverged.list())
			}
			now := n.Follower().State()
			want := matcher.Rebuilt{Seq: before.Seq, Entries: 3, NowSeq: now.Seq, NowEntries: 1 + max(more, 0), Missing: max(2-max(more, 0), 0)}
			equal(t, rebuilt.list(), []matcher.Rebuilt{want})
			if more >= 0 {
				equal(t, matched(n.checkSignals(signal(hashing.PDQ, 1))), ids(kept))
			}
			equal(t, n.checkSignals(signal(hashing.PDQ, 10)).Level, matcher.None)
			equal(t, len(matched(n.checkSignals(signal(hashing.PDQ, 20)))) == 1, more != 0)
			within(t, "texts of the second", func() bool {
				s, ok := texts.State()
				return ok && !s.Rebuilding && s.Mark.Seq == now.Seq && found("basalt") == 0
			})
			equal(t, found("cobalt") > 0, more != 0)
			for _, s := range n.Follower().Sums() {
				if s.Seq > now.Seq {
					t.Errorf("a digest as of %d of the log before", s.Seq)
				}
			}

			// What is written goes on from there, and what is saved is taken for what it is.
			n.flagSignals("bank", signal(hashing.PDQ, 30))
			holdsAll(t, n)
			saved := filepath.Join(dir, "index")
			seq, err := n.Follower().Save(n.ctx, saved)
			must(t, err)
			x, err := matcher.OpenIndex(n.ctx, next, saved, index.Options{})
			must(t, err)
			equal(t, x.Snapshot().Seq(), seq)
			if x, err := matcher.OpenIndex(n.ctx, first, saved, index.Options{}); err == nil || x.Snapshot().Seq() != 0 {
				t.Errorf("the catalogue of before takes it for its own: %v", err)
			}
		})
	}
}

// TestSavedBeforeItIsNoticed: an index of the log before is not saved as one of the log that is there now.
func TestSavedBeforeItIsNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := sqlite(t, filepath.Join(dir, "first.db"))
	n := follow(t, first, matcher.Options{Patience: patience})
	n.bank("bank", "block", nil)
	n.stop() // it notices nothing any more
	c := &replaced{}
	c.is(first)
	stuck := follow(t, c, matcher.Options{Patience: patience})
	must(t, stuck.Follower().Await(stuck.ctx, 1))
	stuck.stop()
	other := sqlite(t, filepath.Join(dir, "other.db"))
	o := follow(t, other, matcher.Options{Patience: patience})
	o.bank("another", "block", nil)
	o.stop()
	c.is(other)
	_, err := stuck.Follower().Save(stuck.ctx, filepath.Join(dir, "index"))
	must(t, err)
	if _, err := matcher.OpenIndex(t.Context(), other, filepath.Join(dir, "index"), index.Options{}); err == nil {
		t.Error("it passes for an index of the other log")
	}
}

// TestOldStateAnswers while the new one is read: checks go on, numbers are relied on by nobody, and the staleness tells.
func TestOldStateAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &replaced{}
		c.is(catalogues["memory"](t))
		rebuilt := told[matcher.Rebuilt]{}
		n := start(t, c, matcher.Options{Patience: 2 * time.Second, Events: matcher.Events{Rebuilt: rebuilt.add, Diverged: func(error) {}}})
		n.bank("bank", "block", nil)
		old := n.flagSignals("bank", signal(hashing.PDQ, 1))
		for i := range 5 {
			n.bank(fmt.Sprint("bank", i), "block", nil)
		}
		time.Sleep(time.Hour)
		if s := n.Follower().Staleness(); s > time.Second {
			t.Errorf("stale for %v, though nothing happens", s)
		}
		next := catalogues["memory"](t)
		goOn := make(chan struct{})
		var first atomic.Bool
		wait := func() error { // the follower, which comes first, waits; checks go without
			if !first.CompareAndSwap(false, true) {
				return errDown
			}
			<-goOn
			return nil
		}
		c.view.Store(&wait)
		c.is(next)
		time.Sleep(10 * time.Second)
		if s := n.Follower().Staleness(); s < 9*time.Second || s > 12*time.Second {
			t.Errorf("stale for %v after 10 s", s)
		}
		ctx, cancel := context.WithTimeout(n.ctx, time.Second)
		defer cancel()
		if n.Follower().Await(n.ctx, 0) != nil || !errors.Is(n.Follower().Await(ctx, old.Seq), context.DeadlineExceeded) {
			t.Error("a number of a log is relied on that is not there any more")
		}
		equal(t, matched(n.checkSignals(signal(hashing.PDQ, 1))), ids(old))
		close(goOn)
		c.view.Store(nil)
		time.Sleep(2 * time.Second)
		head, err := next.Head(n.ctx)
		must(t, err)
		if s := n.Follower().State(); s.LogID != head.LogID || s.Seq != 0 || len(rebuilt.list()) != 1 || n.Follower().Staleness() > time.Second {
			t.Errorf("now %s at %d, stale for %v", s.LogID, s.Seq, n.Follower().Staleness())
		}
		n.bank("bank", "block", nil)
		equal(t, n.checkSignals(signal(hashing.PDQ, 1)).Level, matcher.None)
	})
}

// TestNoMemoryForTwo: then the old state goes first.
func TestNoMemoryForTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &replaced{}
		c.is(catalogues["memory"](t))
		var states told[bool]
		n := start(t, c, matcher.Options{Events: matcher.Events{Fault: func(error) {}}})
		n.bank("bank", "block", nil)
		n.flagSignals("bank", signal(hashing.PDQ, 1))
		full := func() error {
			states.add(n.Follower().State() != nil)
			if len(states.list()) == 1 {
				return fmt.Errorf("of two: %w", index.ErrFull)
			}
			return nil
		}
		c.view.Store(&full)
		c.is(catalogues["memory"](t))
		time.Sleep(3 * time.Second)
		equal(t, states.list(), []bool{true, false})
		if n.Follower().State() == nil || n.Follower().Seq() != 0 || n.Follower().Full() {
			t.Error("the node is not ready")
		}
	})
}

// TestOwnChangeOfAnotherLog: a change made through a node that has not noticed yet is not taken for one that it has seen.
func TestOwnChangeOfAnotherLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &replaced{}
		c.is(catalogues["memory"](t))
		n := start(t, c, matcher.Options{Events: matcher.Events{Fault: func(error) {}}})
		for i := range 5 {
			n.bank(fmt.Sprint("bank", i), "block", nil)
		}
		time.Sleep(time.Millisecond)
		c.is(catalogues["memory"](t))
		n.bank("new", "block", nil) // change 1; the node has seen 5
		if names := n.Follower().State().Banks; len(names) != 1 {
			t.Errorf("settled with %d banks", len(names))
		}
	})
}

// TestDigestsAreCommon: whatever the pages were, nodes have digests as of the same changes, and these are the same.
func TestDigestsAreCommon(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	n := start(t, c, matcher.Options{})
	n.bank("bank", "block", nil)
	for i := range 700 {
		must(t, c.Update(n.ctx, func(w storage.Writer) error {
			return w.Append(&storage.Change{Kind: storage.BankChanged, Bank: 1, Actor: "local", Body: []byte(fmt.Sprintf(`{"name":"bank","policy":{"action":"block"},"deleted":%t}`, i%2 == 1))})
		}))
		if i%7 == 0 {
			must(t, n.Follower().Await(n.ctx, uint64(i)))
		}
	}
	late := follow(t, &cutOff{Catalogue: c, at: 1}, matcher.Options{Patience: patience})
	defer late.stop()
	must(t, late.Follower().Await(n.ctx, 701))
	must(t, n.Follower().Await(n.ctx, 701))
	common := slices.ContainsFunc(n.Follower().Sums(), func(s matcher.Sum) bool {
		return s.Seq == 500 && slices.Contains(late.Follower().Sums(), s)
	})
	if !common {
		t.Errorf("nothing in common as of 500: %v and %v", n.Follower().Sums(), late.Follower().Sums())
	}
	if k := len(n.Follower().Sums()); k > storage.MaxNodeSums || k < 10 {
		t.Errorf("%d digests", k)
	}
}

// cutOff is a catalogue that is loaded as of an early change, and followed from there in pages as large as they may be.
type cutOff struct {
	storage.Catalogue
	at uint64
}

func (c *cutOff) View(ctx context.Context, fn func(storage.Reader) error) error {
	return c.Catalogue.View(ctx, func(r storage.Reader) error { return fn(early{r, c}) })
}

type early struct {
	storage.Reader
	c *cutOff
}

func (e early) Head() (storage.Head, error) {
	head, err := e.Reader.Head()
	if err != nil {
		return head, err
	}
	all, err := e.c.Changes(context.Background(), e.c.at-1, 1)
	if err != nil {
		return head, err
	}
	return storage.Head{LogID: head.LogID, Seq: e.c.at, Root: all[0].Root}, nil
}
