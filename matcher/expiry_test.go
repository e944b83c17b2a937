package matcher_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/sqlstore"
	"vigie/storage/storagetest"
)

// expiring is a world, and the clock by which its catalogue and its node go.
func expiring(t testing.TB) (*world, *storagetest.Clock) {
	clock := storagetest.NewClock()
	c, err := memory.New(storage.Options{Now: clock.Now})
	must(t, err)
	w := worldOver(t, c, matcher.Options{Now: clock.Now})
	w.bank("platform", "own", matcher.NewBank{})
	return w, clock
}

// due is a time to come, as it is kept.
func due(c *storagetest.Clock, in time.Duration) time.Time {
	return c.Now().Add(in).UTC().Truncate(time.Millisecond)
}

func (w *world) expire(want int) {
	w.t.Helper()
	n, err := w.ExpireEntries(w.ctx)
	must(w.t, err)
	equal(w.t, n, want)
	must(w.t, w.Await(w.ctx, uint64(len(w.changes()))))
}

// An entry matches until some node has noticed that its time has come, which is a change; a restored one matches again, for good.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w, clock := expiring(t)
	who := w.who("platform")
	matches := func() int { return w.check(w.ask("platform")).MatchesTotal }
	at := due(clock, time.Hour)
	out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(4).Signals, ExpiresAt: at})
	must(t, err)
	id := out.Entry.ID
	equal(t, w.node.entry(id).ExpiresAt, at)
	w.expire(0)
	clock.Advance(2 * time.Hour)
	equal(t, matches(), 1) // no check looks at a clock
	w.expire(1)
	equal(t, matches(), 0)
	w.expire(0)

	changes := w.changes()
	last := changes[len(changes)-1]
	var body storage.EntryBody
	must(t, json.Unmarshal(last.Body, &body))
	equal(t, []any{last.Kind, last.Actor, last.Entry, body.Status, body.ExpiresAt, len(body.Signals)},
		[]any{storage.EntryExpired, "system", id, storage.Expired, at, 1})

	must(t, w.Restore(w.ctx, who, id, "it is seen again"))
	equal(t, w.node.entry(id).ExpiresAt, time.Time{})
	equal(t, matches(), 1)
	w.expire(0)

	later := due(clock, time.Hour)
	must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &later}))
	must(t, w.Retract(w.ctx, who, id, "a test"))
	clock.Advance(time.Hour)
	w.expire(0) // it is out already
	must(t, w.Restore(w.ctx, who, id, "a test"))
	w.expire(0)
	equal(t, w.node.entry(id).Status, storage.Active)
}

// Of many that are due at once, each expires once, however many nodes look.
func TestExpiryOfMany(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	c, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "c.db"), storage.Options{Now: clock.Now})
	must(t, err)
	a := start(t, c, matcher.Options{Now: clock.Now})
	b := followWith(t, c, index.New(index.Options{}), matcher.Options{Now: clock.Now, Patience: patience})
	defer b.stop()
	a.bank("bank", "block", nil)
	const many = 1300
	var items []matcher.Listed
	for i := range many {
		item := listed(signal(hashing.MD5, uint64(i)))
		item.ExpiresAt = due(clock, time.Duration(1+i%7)*time.Minute)
		items = append(items, item)
	}
	a.flagList(local, "bank", matcher.ListOptions{}, items[:1000]...)
	a.flagList(local, "bank", matcher.ListOptions{}, items[1000:]...)
	stays := a.flagSignals("bank", signal(hashing.MD5, many)).Entry.ID
	clock.Advance(time.Hour)

	var running sync.WaitGroup
	var counts [4]int
	for i := range counts {
		running.Go(func() {
			n, err := []*node{a, b}[i%2].ExpireEntries(a.ctx)
			counts[i] = n
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	equal(t, counts[0]+counts[1]+counts[2]+counts[3], many)
	seen := map[storage.EntryID]int{}
	changes, err := c.Changes(t.Context(), 0, 10_000)
	must(t, err)
	for _, change := range changes {
		if change.Kind == storage.EntryExpired {
			seen[change.Entry]++
		}
	}
	equal(t, len(seen), many)
	for id, n := range seen {
		if n != 1 || id == stays {
			t.Errorf("entry %d has expired %d times", id, n)
		}
	}
	head := uint64(len(changes))
	for _, n := range []*node{a, b} {
		must(t, n.Await(n.ctx, head))
		equal(t, n.Follower().State().Snapshot.Stats().Entries, 1)
	}
	equal(t, a.Follower().Sums()[len(a.Follower().Sums())-1], b.Follower().Sums()[len(b.Follower().Sums())-1])
}

func TestExpiryRefused(t *testing.T) {
	t.Parallel()
	w, clock := expiring(t)
	who := w.who("platform")
	id := w.entry("own", "e", "", flagging(4))
	for _, at := range []time.Time{clock.Now(), clock.Now().Add(-time.Hour), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(8).Signals, ExpiresAt: at})
		wantInput(t, err, "expires_at")
		wantInput(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &at}), "expires_at")
		item := listed(signal(hashing.MD5, 1))
		item.ExpiresAt = at
		equal(t, w.flagList(who, "own", matcher.ListOptions{}, item), []string{"expires_at"})
	}
	equal(t, w.node.entry(id).ExpiresAt, time.Time{})
}

// What the bank has keeps its expiry, unless a later one is named. What has expired is flagged anew, by people; by lists if they
// name a later time, or they would undo each week what has ended.
func TestExpiryFlaggedAgain(t *testing.T) {
	t.Parallel()
	w, clock := expiring(t)
	who := w.who("platform")
	hour := func(n int) time.Time { return due(clock, time.Duration(n)*time.Hour) }
	flag := func(at time.Time) matcher.Flagged {
		t.Helper()
		out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(4).Signals, ExpiresAt: at})
		must(t, err)
		return out
	}
	first := flag(hour(5)).Entry.ID
	for _, step := range []struct{ again, want time.Time }{{hour(3), hour(5)}, {time.Time{}, hour(5)}, {hour(7), hour(7)}} {
		out := flag(step.again)
		equal(t, []any{out.Created, out.Entry.ID, out.Entry.ExpiresAt, w.node.entry(first).ExpiresAt}, []any{false, first, step.want, step.want})
		changes := w.changes()
		var body storage.EntryBody
		must(t, json.Unmarshal(changes[len(changes)-1].Body, &body))
		equal(t, body.ExpiresAt, step.want)
	}
	item := func(at time.Time) matcher.Listed {
		i := listed(flagging(4).Signals...)
		i.ExpiresAt = at
		return i
	}
	both := func(at time.Time, want string) { // a dry run says the same
		t.Helper()
		equal(t, w.flagList(who, "own", matcher.ListOptions{DryRun: true}, item(at)), []string{want})
		equal(t, w.flagList(who, "own", matcher.ListOptions{}, item(at)), []string{want})
	}
	both(time.Time{}, "sourced")
	both(time.Time{}, "same")
	both(hour(7), "same")
	both(hour(8), "sourced")
	both(hour(8), "same")
	equal(t, w.node.entry(first).ExpiresAt, hour(8))
	equal(t, w.flagList(who, "own", matcher.ListOptions{DryRun: true}, item(hour(9)), item(hour(9))), []string{"sourced", "same"})

	until := hour(8)
	clock.Advance(9 * time.Hour)
	w.expire(1)
	both(time.Time{}, "taken-back")
	both(hour(1), "created")
	clock.Advance(2 * time.Hour)
	w.expire(1)
	out := flag(time.Time{})
	equal(t, []any{out.Created, len(out.Retracted), out.Entry.ExpiresAt}, []any{true, 0, time.Time{}})
	wantErr(t, w.Restore(w.ctx, who, first, "a test"), matcher.ErrDuplicate)
	equal(t, w.node.entry(first).ExpiresAt, until)
}

func TestExpiryEdited(t *testing.T) {
	t.Parallel()
	w, clock := expiring(t)
	who := w.who("platform")
	id := w.entry("own", "e", "", flagging(4))
	at, before := due(clock, time.Hour), len(w.changes())
	must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &at}))
	must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &at})) // changes nothing
	equal(t, w.kinds()[len(w.kinds())-1], storage.EntryChanged)
	equal(t, len(w.changes()), before+1)
	clock.Advance(2 * time.Hour)
	must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &at, Note: ptr("n")})) // as it is, though it has passed
	must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: &time.Time{}}))
	w.expire(0)
	equal(t, w.node.entry(id).ExpiresAt, time.Time{})
}

// Under dual control a second person confirms what lets an entry match longer; of a known-good bank any other time.
func TestExpiryUnderDualControl(t *testing.T) {
	t.Parallel()
	hours := func(clock *storagetest.Clock, n int) *time.Time {
		at := due(clock, time.Duration(n)*time.Hour)
		if n == 0 {
			at = time.Time{}
		}
		return &at
	}
	for _, c := range []struct {
		kind     storage.BankKind
		from, to int // hours; 0: never
		waits    bool
	}{
		{storage.Positive, 0, 5, false},
		{storage.Positive, 5, 3, false},
		{storage.Positive, 5, 7, true},
		{storage.Positive, 5, 0, true},
		{storage.KnownGood, 0, 5, true},
		{storage.KnownGood, 5, 3, true},
		{storage.KnownGood, 5, 7, true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			w, clock := expiring(t)
			bank := dual("log")
			bank.Kind = c.kind
			w.bank("platform", "dual", bank)
			who, second := w.who("platform"), w.colleague("platform")
			out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "dual", Who: who, Signals: flagging(4).Signals, ExpiresAt: *hours(clock, c.from)})
			must(t, err)
			id := out.Entry.ID
			must(t, w.Confirm(w.ctx, second, id))

			must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: hours(clock, c.to)}))
			e := w.node.entry(id)
			equal(t, e.Proposal != nil, c.waits)
			if c.waits {
				equal(t, e.ExpiresAt, *hours(clock, c.from))
				wantErr(t, w.Confirm(w.ctx, who, id), matcher.ErrSecondPerson)
				must(t, w.Confirm(w.ctx, second, id))
			}
			equal(t, w.node.entry(id).ExpiresAt, *hours(clock, c.to))

			again, err := w.Flag(w.ctx, matcher.Flagging{Bank: "dual", Who: who, Signals: flagging(4).Signals, ExpiresAt: *hours(clock, 100)})
			must(t, err)
			equal(t, []any{again.Entry.ID, again.Entry.ExpiresAt}, []any{id, *hours(clock, c.to)}) // no flag goes around it
		})
	}

	t.Run("beside a proposal", func(t *testing.T) {
		w, clock := expiring(t)
		w.bank("platform", "dual", dual("log"))
		who, second := w.who("platform"), w.colleague("platform")
		out, err := w.Flag(w.ctx, matcher.Flagging{Bank: "dual", Who: who, Signals: flagging(4).Signals})
		must(t, err)
		id := out.Entry.ID
		must(t, w.Confirm(w.ctx, second, id))
		must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{Labels: &[]string{"context:review_always"}}))
		if w.node.entry(id).Proposal == nil {
			t.Fatal("labels of a context rule are not proposed")
		}
		must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: hours(clock, 5)})) // needs nobody else, and is not taken back
		must(t, w.Confirm(w.ctx, second, id))
		e := w.node.entry(id)
		equal(t, []any{e.Labels, e.ExpiresAt}, []any{[]string{"context:review_always"}, *hours(clock, 5)})
		must(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: hours(clock, 9), Labels: &[]string{"b", "context:review_always"}}))
		wantErr(t, w.Edit(w.ctx, who, id, matcher.EntryEdit{ExpiresAt: hours(clock, 7)}), matcher.ErrPending)
		clock.Advance(6 * time.Hour)
		w.expire(1) // what waits does not hold it up
		must(t, w.Confirm(w.ctx, second, id))
		e = w.node.entry(id)
		if e.Status != storage.Expired || !slices.Contains(e.Labels, "b") || e.ExpiresAt.Before(clock.Now()) {
			t.Errorf("confirmed: %+v", e)
		}
		must(t, w.Restore(w.ctx, who, id, "a test")) // proposed
		must(t, w.Confirm(w.ctx, second, id))
		equal(t, w.node.entry(id).ExpiresAt, e.ExpiresAt) // it is still to come
	})
}

// A matcher whose catalogue fails says so, and goes on with the rest the next time.
func TestExpiryFails(t *testing.T) {
	t.Parallel()
	w, clock := expiring(t)
	_, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: w.who("platform"), Signals: flagging(4).Signals, ExpiresAt: due(clock, time.Hour)})
	must(t, err)
	clock.Advance(time.Hour)
	w.down.down.Store(true)
	_, err = w.ExpireEntries(w.ctx)
	wantErr(t, err, errDown)
	w.down.down.Store(false)
	w.expire(1)
}
