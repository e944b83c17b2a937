package matcher_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

// logOf fills a catalogue with a bank and an entry for each number.
func logOf(t *testing.T, c storage.Catalogue, entries ...uint64) {
	t.Helper()
	n := follow(t, c, matcher.Options{Patience: patience})
	defer n.stop()
	n.bank("bank", "block", nil)
	for _, e := range entries {
		n.flagSignals("bank", signal(hashing.PDQ, e))
	}
}

// saved is an index of a catalogue as it was saved and opened again.
func saved(t *testing.T, c storage.Catalogue) *index.Index {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "index")
	n := follow(t, c, matcher.Options{Patience: patience})
	defer n.stop()
	must(t, n.Follower().Await(n.ctx, 1))
	_, err := n.Follower().Save(n.ctx, dir)
	must(t, err)
	x, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{})
	must(t, err)
	return x
}

// TestSavedIndexMeetsAnotherLog: a saved index was held against the log, and then another one takes its place, before the index
// is loaded: one that ends at the same change, or later.
func TestSavedIndexMeetsAnotherLog(t *testing.T) {
	t.Parallel()
	for _, more := range [][]uint64{{20}, {20, 30, 31}} {
		first, other := sqlite(t, filepath.Join(t.TempDir(), "first.db")), sqlite(t, filepath.Join(t.TempDir(), "other.db"))
		logOf(t, first, 1)
		logOf(t, other, more...)
		n := followWith(t, other, saved(t, first), matcher.Options{Patience: patience})
		must(t, n.Follower().Await(n.ctx, 0))
		holdsAll(t, n)
		equal(t, n.checkSignals(signal(hashing.PDQ, 1)).Level, matcher.None)
		equal(t, len(matched(n.checkSignals(signal(hashing.PDQ, 20)))), 1)
		n.stop()
	}
}

// TestRestoredLogMeetsASavedIndex is the same with logs of one identity, of which only the roots tell: a backup was restored, and has gone
// on otherwise.
func TestRestoredLogMeetsASavedIndex(t *testing.T) {
	t.Parallel()
	first := catalogues["memory"](t)
	logOf(t, first, 1, 2)
	x := saved(t, first)
	for _, seq := range []uint64{3, 4} {
		other := &otherwise{Catalogue: catalogues["memory"](t), as: first}
		logOf(t, other.Catalogue, []uint64{20, 30, 40}[:seq-1]...)
		var faults told[error]
		n := followWith(t, other, x, matcher.Options{Patience: patience, Events: matcher.Events{Fault: faults.add}})
		must(t, n.Follower().Await(n.ctx, 0))
		holdsAll(t, n)
		n.stop()
		x = saved(t, first)
	}
}

// otherwise is a catalogue under the identity of another one's log.
type otherwise struct {
	storage.Catalogue
	as storage.Catalogue
}

func (o *otherwise) rename(h storage.Head, err error) (storage.Head, error) {
	of, err2 := o.as.Head(context.Background())
	h.LogID = of.LogID
	return h, errors.Join(err, err2)
}

func (o *otherwise) Head(ctx context.Context) (storage.Head, error) {
	return o.rename(o.Catalogue.Head(ctx))
}

func (o *otherwise) View(ctx context.Context, fn func(storage.Reader) error) error {
	return o.Catalogue.View(ctx, func(r storage.Reader) error { return fn(renamed{r, o}) })
}

type renamed struct {
	storage.Reader
	o *otherwise
}

func (r renamed) Head() (storage.Head, error) { return r.o.rename(r.Reader.Head()) }

// fewChanges hands out pages of the log for a while.
type fewChanges struct {
	*replaced
	left atomic.Int64
}

func (f *fewChanges) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	if f.left.Add(-1) < 0 {
		return nil, errDown
	}
	return f.replaced.Changes(ctx, after, limit)
}

// halfCaughtUp is a node whose saved index is as of change 2 of a log with 603, that has read some of it, and gets no more.
func halfCaughtUp(t *testing.T) (*node, *fewChanges, *index.Index) {
	first := sqlite(t, filepath.Join(t.TempDir(), "first.db"))
	logOf(t, first, 1)
	x := saved(t, first)
	for i := range 600 {
		must(t, first.Update(t.Context(), func(w storage.Writer) error {
			return w.Append(&storage.Change{Kind: storage.BankChanged, Bank: 1, Actor: "local", Body: []byte(fmt.Sprintf(`{"name":"bank","policy":{"action":"block"},"deleted":%t}`, i%2 == 0))})
		}))
	}
	c := &fewChanges{replaced: &replaced{}}
	c.is(first)
	c.left.Store(1)
	n := followWith(t, c, x, matcher.Options{Patience: patience, Events: matcher.Events{Fault: func(error) {}}})
	within(t, "some of it", func() bool { return x.Snapshot().Seq() > 2 })
	return n, c, x
}

// TestCatchUpMeetsAnotherLog: half of what a saved index lacks was read when the database went away; it comes back as another one.
func TestCatchUpMeetsAnotherLog(t *testing.T) {
	t.Parallel()
	n, c, _ := halfCaughtUp(t)
	other := sqlite(t, filepath.Join(t.TempDir(), "other.db"))
	logOf(t, other, 20)
	for i := range 700 {
		must(t, other.Update(t.Context(), func(w storage.Writer) error {
			return w.Append(&storage.Change{Kind: storage.BankChanged, Bank: 1, Actor: "local", Body: []byte(fmt.Sprintf(`{"name":"bank","policy":{"action":"block"},"deleted":%t}`, i%2 == 0))})
		}))
	}
	c.is(other)
	c.left.Store(1000)
	must(t, n.Follower().Await(n.ctx, 0))
	holdsAll(t, n)
	n.stop()
}

// TestSaveEnds whatever the follower was at when it was stopped: while it caught up, and when it had lost its log.
func TestSaveEnds(t *testing.T) {
	t.Parallel()
	n, c, x := halfCaughtUp(t)
	n.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "index")
	seq, err := n.Follower().Save(ctx, dir)
	must(t, err)
	equal(t, seq, x.Snapshot().Seq())
	c.left.Store(1000)
	again, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{})
	must(t, err)
	equal(t, again.Snapshot().Seq(), seq)

	c.left.Store(1000)
	lost := follow(t, c, matcher.Options{Patience: patience, Events: matcher.Events{Fault: func(error) {}}})
	must(t, lost.Follower().Await(lost.ctx, 600))
	down := func() error { return errDown }
	c.view.Store(&down)
	c.is(catalogues["memory"](t))
	within(t, "that it notices", func() bool { return lost.Follower().Diverged() > 0 })
	lost.stop()
	if _, err := lost.Follower().Save(ctx, filepath.Join(t.TempDir(), "index")); err == nil || ctx.Err() != nil {
		t.Errorf("an index of no use is saved: %v, %v", err, ctx.Err())
	}
	equal(t, lost.Follower().Diverged(), uint64(1))
}

// late is a catalogue of which a view fails behind what was done with it, and of which an answer may be on its way for long.
type late struct {
	*replaced
	failing atomic.Bool
	tried   atomic.Int64
	hold    atomic.Pointer[chan struct{}] // Head answers what was so when it was asked
	held    atomic.Bool
}

func (l *late) View(ctx context.Context, fn func(storage.Reader) error) error {
	err := l.replaced.View(ctx, fn)
	if l.failing.Load() {
		l.tried.Add(1)
		return errDown
	}
	return err
}

func (l *late) Head(ctx context.Context) (storage.Head, error) {
	head, err := l.replaced.Head(ctx)
	if hold := l.hold.Load(); hold != nil {
		l.held.Store(true)
		<-*hold
	}
	return head, err
}

// TestThereAndBack: another log comes, its index is made but not published, and then the first log is back, as far as the other one was.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	first, other := catalogues["memory"](t), catalogues["memory"](t)
	logOf(t, first, 1)
	logOf(t, other, 20)
	c := &late{replaced: &replaced{}}
	c.is(first)
	n := start(t, c, matcher.Options{Events: matcher.Events{Fault: func(error) {}, Diverged: func(error) {}}})
	must(t, n.Follower().Await(n.ctx, 2))
	c.failing.Store(true)
	c.is(other)
	within(t, "that it is read", func() bool { return c.tried.Load() > 0 })
	equal(t, n.checkSignals(signal(hashing.PDQ, 20)).Level, matcher.None) // the state of the first log answers
	c.is(first)
	c.failing.Store(false)
	within(t, "that it has settled", func() bool { return n.Follower().Has(2) })
	holdsAll(t, n)
	n.flagSignals("bank", signal(hashing.PDQ, 30))
	holdsAll(t, n)
}

// TestDoubtOutlastsAnEarlierLook: a look that was under way when a doubt came says nothing about it.
func TestDoubtOutlastsAnEarlierLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &late{replaced: &replaced{}}
		c.is(catalogues["memory"](t))
		n := start(t, c, matcher.Options{Patience: time.Minute, Events: matcher.Events{Fault: func(error) {}}})
		for i := range 5 {
			n.bank(fmt.Sprint("bank", i), "block", nil)
		}
		goOn := make(chan struct{})
		c.hold.Store(&goOn)
		time.Sleep(2 * time.Second)
		equal(t, c.held.Load(), true)
		c.is(catalogues["memory"](t))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.bank("new", "block", nil) // change 1; the node has seen 5
			if banks := n.Follower().State().Banks; len(banks) != 1 {
				t.Errorf("settled with %d banks", len(banks))
			}
		}()
		synctest.Wait()
		c.hold.Store(nil)
		close(goOn)
		<-ended
	})
}

// strangers are two catalogues with a bank that bounds floods: in the second one the numbers of the first one's entries are those of others.
func strangers(t *testing.T) (*replaced, storage.Catalogue, *node) {
	flood := 1
	edit := matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("bank"), Action: ptr("block"), Flood: &flood}}
	c := &replaced{}
	c.is(catalogues["memory"](t))
	n := follow(t, c, matcher.Options{Patience: patience, Events: matcher.Events{Fault: func(error) {}, Diverged: func(error) {}}})
	_, err := n.CreateBank(n.ctx, local, edit)
	must(t, err)
	n.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}, Labels: []string{"ours"}})
	other := catalogues["memory"](t)
	o := follow(t, other, matcher.Options{Patience: patience})
	_, err = o.CreateBank(o.ctx, local, edit)
	must(t, err)
	for _, e := range []uint64{20, 40} {
		o.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, e)}, Labels: []string{"foreign"}})
	}
	o.stop()
	return c, other, n
}

// wantStrange checks what the old state knows, often enough for a flood, and wants nothing said or done of the new catalogue's entries.
func wantStrange(t *testing.T, n *node, other storage.Catalogue) {
	t.Helper()
	s := signal(hashing.PDQ, 1)
	for i := range 4 {
		s.Value[0] ^= 1 << i
		v := n.checkSignals(s)
		if v.Level == matcher.None || !v.Unexplained || v.Matches[0].Labels != nil {
			t.Errorf("level %v, unexplained %t, labels %v", v.Level, v.Unexplained, v.Matches[0].Labels)
		}
	}
	_, err := n.Check(n.ctx, matcher.Question{Who: local, Signals: []hashing.Signal{s}, Since: 1})
	wantErr(t, err, storage.ErrUnavailable)
	must(t, other.View(n.ctx, func(r storage.Reader) error {
		e, err := r.Entry(1)
		overlays, err2 := r.Overlays()
		if e.Status != storage.Active || len(overlays) > 0 {
			t.Errorf("entry 1 of the other log is %s, with %v", e.Status, overlays)
		}
		return errors.Join(err, err2)
	}))
}

// TestOldStateAsksNothingOfTheNewLog: entry numbers of the state that still answers are those of other entries in the catalogue.
func TestOldStateAsksNothingOfTheNewLog(t *testing.T) {
	t.Parallel()
	c, other, n := strangers(t)
	defer n.stop()
	goOn := make(chan struct{})
	var first atomic.Bool
	wait := func() error {
		if first.CompareAndSwap(false, true) {
			<-goOn
		}
		return nil
	}
	c.view.Store(&wait)
	c.is(other)
	within(t, "that it notices", func() bool { return n.Follower().Diverged() > 0 && first.Load() })
	wantStrange(t, n, other)
	close(goOn)
	within(t, "that it has settled", func() bool { return n.Follower().Has(3) })
	equal(t, n.checkSignals(signal(hashing.PDQ, 20)).Matches[0].Labels, []string{"foreign"})
}

// TestOldStateBeforeItIsNoticed is the same in the second before the node knows of it.
func TestOldStateBeforeItIsNoticed(t *testing.T) {
	t.Parallel()
	c, other, n := strangers(t)
	n.stop()
	equal(t, n.checkSignals(signal(hashing.PDQ, 1)).Matches[0].Labels, []string{"ours"})
	c.is(other)
	wantStrange(t, n, other)
}

func (o *otherwise) Update(ctx context.Context, fn func(storage.Writer) error) error {
	return o.Catalogue.Update(ctx, func(w storage.Writer) error { return fn(rewritten{w, o}) })
}

type rewritten struct {
	storage.Writer
	o *otherwise
}

func (w rewritten) Head() (storage.Head, error) { return w.o.rename(w.Writer.Head()) }

// TestMatchesOfAnotherPast: what was found before a restore is delivered after it: it is kept, and counts for none of the entries
// that have the numbers now. Once the restored log is shorter than it was, once longer; and in the log that it was found in, it counts.
func TestMatchesOfAnotherPast(t *testing.T) {
	t.Parallel()
	first, shorter, longer := catalogues["memory"](t), catalogues["memory"](t), catalogues["memory"](t)
	logOf(t, first, 1, 2)
	logOf(t, shorter, 20)
	logOf(t, longer, 20, 30, 40)
	for name, to := range map[string]struct {
		catalogue storage.Catalogue
		counts    int
	}{"the same": {first, 1}, "shorter": {&otherwise{shorter, first}, 0}, "longer": {&otherwise{longer, first}, 0}} {
		l, faults := &ledger{now: time.Now}, told[error]{}
		render := func(matcher.Verdict) ([]byte, error) { return []byte("{}"), nil }
		n := follow(t, first, matcher.Options{Patience: patience, Journal: l, Render: render})
		must(t, n.Follower().Await(n.ctx, 3))
		id := n.checkSignals(signal(hashing.PDQ, 1)).MatchID
		n.stop()
		m := follow(t, to.catalogue, matcher.Options{Patience: patience, Events: matcher.Events{Fault: faults.add}})
		must(t, m.Deliver(m.ctx, l.all()))
		match, err := m.Match(m.ctx, local, id)
		must(t, err)
		counters, err := m.Counters(m.ctx, local, []storage.EntryID{1})
		must(t, err)
		if len(match.Entries) != to.counts || counters[1].Total != uint64(to.counts) || len(faults.list()) != 1-to.counts {
			t.Errorf("%s: entries %v, counted %d, told %v", name, match.Entries, counters[1].Total, faults.list())
		}
		m.stop()
	}
}

// TestJournalOfAnotherLog: a catalogue whose log is another one than the journal is for gets nothing.
func TestJournalOfAnotherLog(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	logOf(t, c, 1)
	l := &ledger{now: time.Now}
	_, err := l.Append(t.Context(), "signin", []byte("{}"))
	must(t, err)
	n := follow(t, c, matcher.Options{JournalOf: "another"})
	defer n.stop()
	if err := n.Deliver(n.ctx, l.all()); err == nil {
		t.Error("it is delivered")
	}
	must(t, c.View(n.ctx, func(r storage.Reader) error {
		shipped, err := r.Shipped(ledgerNode)
		equal(t, shipped, uint64(0))
		return err
	}))
}
