package matcher_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/indextest"
	"vigie/matcher"
	"vigie/storage"
)

// A node that loads the catalogue knows what one knows that has followed every change.
func TestFollowerLoadsWhatItWouldFollow(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("told"), Description: ptr("at length")}})
		must(t, err)
		a := n.flagMedia(pngOf(drawn(1)))
		n.flagSignals("told", signal(hashing.PDQ, 1))
		n.retract(a.Entry.ID)
		_, err = n.DeleteBank(n.ctx, local, "told")
		must(t, err)
		_, _, err = n.CreateKey(n.ctx, local, matcher.NewKey{Name: "key", Role: storage.Admin})
		must(t, err)

		fresh := follow(t, n.catalogue, matcher.Options{})
		defer fresh.stop()
		followed := n.Follower().State()
		must(t, fresh.Follower().Await(n.ctx, followed.Seq))
		loaded := fresh.Follower().State()
		equal(t, loaded.Banks, followed.Banks)
		equal(t, loaded.Keys, followed.Keys)
		equal(t, loaded.Snapshot.Stats().Rows, followed.Snapshot.Stats().Rows)
		if loaded.Seq != followed.Seq || loaded.LogID != followed.LogID || loaded.Snapshot.Seq() != loaded.Seq {
			t.Errorf("loaded %d of %s, followed %d of %s", loaded.Seq, loaded.LogID, followed.Seq, followed.LogID)
		}
	})
}

// A published state never changes, whatever follows.
func TestFollowerStatesAreImmutable(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := n.Follower().State()
	n.changeBank("bank", matcher.BankEdit{Name: ptr("other")})
	_, _, err := n.CreateKey(n.ctx, local, matcher.NewKey{Name: "key", Role: storage.Admin})
	must(t, err)
	n.flagSignals("other", signal(hashing.PDQ, 1))
	if before.Banks[1].Name != "bank" || len(before.Keys) != 0 || before.Snapshot.Stats().Entries != 0 || before.Seq != 1 {
		t.Errorf("the state of change 1 is now %+v", before)
	}
}

func TestFollowerBeforeTheFirstLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &faulty{Catalogue: catalogues["memory"](t)}
		c.down.Store(true)
		var faults told[error]
		n := follow(t, c, matcher.Options{Events: matcher.Events{Fault: faults.add}})
		defer n.stop()
		synctest.Wait()
		if n.Follower().State() != nil || n.Follower().Seq() != 0 || len(faults.list()) != 1 {
			t.Errorf("a state without a catalogue, after %d faults", len(faults.list()))
		}
		_, err := n.Check(n.ctx, matcher.Question{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}})
		wantErr(t, err, matcher.ErrNotReady)
		ctx, cancel := context.WithTimeout(n.ctx, time.Second)
		defer cancel()
		wantErr(t, n.Follower().Await(ctx, 0), context.DeadlineExceeded)
		c.down.Store(false)
		must(t, n.Follower().Await(n.ctx, 0))
	})
}

func TestFollowerBacksOffAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &faulty{Catalogue: catalogues["memory"](t)}
		var times told[time.Time]
		var applied told[uint64]
		n := start(t, c, matcher.Options{Events: matcher.Events{
			Fault:   func(err error) { wantErr(t, err, errDown); times.add(time.Now()) },
			Applied: func(seq uint64, changes int, lag time.Duration) { applied.add(seq) },
		}})
		n.bank("bank", "block", nil)
		old := n.flagSignals("bank", signal(hashing.PDQ, 1))

		c.down.Store(true)
		other := start(t, c.Catalogue, matcher.Options{})
		missed := other.flagSignals("bank", signal(hashing.PDQ, 2))
		time.Sleep(time.Minute)
		equal(t, matched(n.checkSignals(signal(hashing.PDQ, 1))), ids(old))
		equal(t, n.checkSignals(signal(hashing.PDQ, 2)).Level, matcher.None)
		faults := times.list()
		faults = faults[:len(faults)-1] // the last is of the check, which lacked labels
		var waits []time.Duration
		for i := range faults[1:] {
			waits = append(waits, faults[i+1].Sub(faults[i]))
		}
		ms := time.Millisecond
		equal(t, waits[:9], []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms})

		c.down.Store(false)
		must(t, n.Follower().Await(n.ctx, missed.Seq))
		equal(t, matched(n.checkSignals(signal(hashing.PDQ, 2))), ids(missed))
		equal(t, applied.list(), []uint64{1, 2, 3})
	})
}

// badLog hands out a log with something wrong in it, as long as it is bad.
type badLog struct {
	storage.Catalogue
	bad  atomic.Bool
	harm func([]storage.Change) []storage.Change
}

func (b *badLog) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	changes, err := b.Catalogue.Changes(ctx, after, limit)
	if b.bad.Load() {
		changes = b.harm(changes)
	}
	return changes, err
}

func TestFollowerOfACorruptLog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		harm func([]storage.Change) []storage.Change
	}{
		{"a gap", func(c []storage.Change) []storage.Change { return c[1:] }},
		{"no end", func(c []storage.Change) []storage.Change { return nil }},
		{"a change twice", func(c []storage.Change) []storage.Change { return append(c[:1:1], c...) }},
		{"an entry that cannot be read", func(c []storage.Change) []storage.Change {
			c[len(c)-1].Body = []byte(`{"signals":[{"signal":"new:00"}]}`)
			return c
		}},
		{"a bank that cannot be read", func(c []storage.Change) []storage.Change {
			c[len(c)-1].Kind, c[len(c)-1].Body = storage.BankChanged, []byte("{")
			return c
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &badLog{Catalogue: catalogues["memory"](t), harm: test.harm}
				var faults told[error]
				n := start(t, c, matcher.Options{Patience: 3 * time.Second, Events: matcher.Events{
					Fault: func(err error) { wantErr(t, err, storage.ErrCorrupt); faults.add(err) },
				}})
				n.bank("bank", "block", nil)
				old := n.flagSignals("bank", signal(hashing.PDQ, 1))
				c.bad.Store(true)
				other := start(t, c.Catalogue, matcher.Options{})
				for i := range uint64(3) {
					other.flagSignals("bank", signal(hashing.PDQ, 2+i))
				}
				time.Sleep(time.Minute)
				v := n.checkSignals(signal(hashing.PDQ, 1))
				equal(t, matched(v), ids(old))
				if v.IndexSeq > old.Seq+1 { // one may have been read before it went bad
					t.Errorf("index_seq %d", v.IndexSeq)
				}
				if n := len(faults.list()); n < 10 {
					t.Errorf("%d faults told in a minute", n)
				}
				c.bad.Store(false) // somebody has mended it
				time.Sleep(6 * time.Second)
				equal(t, n.Follower().Seq(), other.Follower().Seq())
			})
		})
	}
}

// Whoever awaits a change is woken by it, not by those before it.
func TestFollowerAwait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t, catalogues["memory"](t), matcher.Options{})
		woken := make(chan uint64, 1)
		go func() {
			must(t, n.Follower().Await(n.ctx, 3))
			woken <- n.Follower().Seq()
		}()
		for seq, name := range []string{"a", "b"} {
			n.bank(name, "log", nil)
			synctest.Wait()
			if len(woken) > 0 {
				t.Errorf("woken by change %d", seq+1)
			}
		}
		n.bank("c", "log", nil)
		equal(t, <-woken, uint64(3))
	})
}

// Checks and flags at the same time: each verdict is of one state, and the state only moves on.
func TestFollowerUnderTraffic(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		s := signal(hashing.PDQ, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 8 {
				// Flag and retraction change places: at an even seq there is an entry, at an odd one none.
				out, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{s}})
				if err == nil {
					err = n.Retract(n.ctx, local, out.Entry.ID, "a test")
				}
				if err != nil {
					t.Error(err)
				}
			}
		}()
		var last uint64
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			v := n.checkSignals(s)
			if v.IndexSeq < last || v.MatchesTotal != int(1-v.IndexSeq%2) {
				t.Fatalf("at %d, after %d: %d matches", v.IndexSeq, last, v.MatchesTotal)
			}
			last = v.IndexSeq
		}
	})
}

// TestMergesAreSeen merges the index while the log stands still: checks search what came of it.
func TestMergesAreSeen(t *testing.T) {
	c := catalogues["memory"](t)
	defer c.Close()
	x := index.New(index.Options{})
	n := followWith(t, c, x, matcher.Options{Patience: patience})
	defer n.stop()
	must(t, n.Follower().Await(n.ctx, 0))
	n.bank("bank", "block", nil)
	seq := n.Follower().Seq()
	must(t, x.Apply(t.Context(), seq+1, indextest.Catalogue(150_000, 1)))
	_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{signal(hashing.PDQ, 1)}})
	must(t, err)
	must(t, n.Follower().Await(n.ctx, seq+1))
	must(t, x.Settle(t.Context()))
	got, want := n.Follower().State().Snapshot.StatsOf(hashing.PDQ), x.Snapshot().StatsOf(hashing.PDQ)
	if got != want || got.Segments == 0 {
		t.Errorf("checks search %+v, the index has %+v", got, want)
	}
}
