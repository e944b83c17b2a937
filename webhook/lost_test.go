package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/webhook"
)

// past brings matches that a look-back found.
func (w *world) past(party storage.PartyID, n int) {
	w.t.Helper()
	must(w.t, w.store.Catalogue.Update(w.ctx, func(wr storage.Writer) error {
		var all []storage.MatchRecord
		for range n {
			w.matches++
			all = append(all, storage.MatchRecord{
				ID: storage.MatchID{Node: "aaaaaaaa", Number: w.matches}, At: w.clock.Now(), Party: party, Level: "match", Action: "block", IndexSeq: 7,
				Entries: []storage.MatchEntry{{Entry: 1, Bank: 1, Level: "match"}},
				Past:    &storage.PastUpload{Upload: storage.MatchID{Node: "bbbbbbbb", Number: w.matches}, At: w.clock.Now()},
			})
		}
		return wr.AddMatches("aaaaaaaa", all)
	}))
}

// ids are those of the events that have come, each once, and how many came twice.
func (r *receiver) ids() (ids map[string]bool, twice int) {
	ids = map[string]bool{}
	for _, d := range r.take() {
		for _, e := range d.Events {
			if ids[e.ID] {
				twice++
			}
			ids[e.ID] = true
		}
	}
	return ids, twice
}

// TestMixed: matches of checks are told though a look-back finds any number between them, and the other way round; who wants both is
// told of both.
func TestMixed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.party("a"), w.party("b")
	checks, pasts, both := w.receiver(nil), w.receiver(nil), w.receiver(nil)
	w.hook(a, checks, matcher.EventMatch)
	w.hook(a, pasts, matcher.EventLookback)
	w.hook(a, both, matcher.EventMatch, matcher.EventLookback)
	w.match(a.Party, "first")
	w.past(a.Party, 600)
	w.match(a.Party, "second")
	w.past(b.Party, 5000) // which nobody here is told of, but make the way long
	w.match(a.Party, "third")
	w.past(a.Party, 7)
	for range 3 {
		w.tell()
	}
	w.engine.all(w.ctx, time.Hour)
	for what, want := range map[string]int{"of checks": 3, "of the look-back": 607, "of both": 610} {
		ids, twice := map[string]*receiver{"of checks": checks, "of the look-back": pasts, "of both": both}[what].ids()
		equal(t, what, fmt.Sprint(len(ids), twice), fmt.Sprint(want, 0))
	}
	equal(t, "jobs left", len(w.engine.waiting)+len(w.engine.dead), 0)

	// A webhook that comes to want more than it did is told of all of it that lies within its deliveries.
	widened := w.receiver(nil)
	h := w.hook(a, widened, matcher.EventMatch)
	w.match(a.Party, "first")
	w.past(a.Party, 1200)
	w.match(a.Party, "second")
	must(t, w.service.Pass(w.ctx))
	_, err := w.service.Change(w.ctx, a, h.ID, matcher.WebhookEdit{Kinds: &every})
	must(t, err)
	w.engine.all(w.ctx, time.Hour)
	ids, twice := widened.ids()
	equal(t, "of what it wants meanwhile", fmt.Sprint(len(ids), twice), "1202 0")
}

// interrupted does something before its n-th View.
type interrupted struct {
	storage.Catalogue
	mu    sync.Mutex
	after int
	do    func()
}

func (i *interrupted) View(ctx context.Context, fn func(storage.Reader) error) error {
	i.mu.Lock()
	do := i.do
	if i.after--; i.after >= 0 {
		do = nil
	} else {
		i.do = nil
	}
	i.mu.Unlock()
	if do != nil {
		do()
	}
	return i.Catalogue.View(ctx, fn)
}

// TestMadeMeanwhile: a webhook that is made, or switched on, at any moment of a pass is told of all that comes after.
func TestMadeMeanwhile(t *testing.T) {
	t.Parallel()
	for after := range 6 {
		store := &interrupted{}
		w := newWorldIn(t, func(c storage.Catalogue) storage.Catalogue {
			store.Catalogue = c
			return store
		})
		a, b := w.party("a"), w.party("b")
		w.hook(a, w.receiver(nil), every...)
		made, on := w.receiver(nil), w.receiver(nil)
		off := w.hook(b, on, every...)
		_, err := w.service.Change(w.ctx, b, off.ID, matcher.WebhookEdit{On: ptr(false)})
		must(t, err)
		w.bank(b, "b", matcher.BankEdit{})
		w.tell()
		w.match(a.Party, "x") // something to do
		head, err := w.store.Head(w.ctx)
		must(t, err)
		must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
		happened := false
		store.mu.Lock()
		store.after, store.do = after, func() {
			happened = true
			w.hook(b, made, every...)
			_, err := w.service.Change(w.ctx, b, off.ID, matcher.WebhookEdit{On: ptr(true)})
			must(t, err)
			w.match(b.Party, "planted")
			w.flag(b, "b", 1)
		}
		store.mu.Unlock()
		for range 5 {
			w.tell()
		}
		if !happened {
			t.Fatalf("a pass has no view number %d", after)
		}
		for what, r := range map[string]*receiver{"made": made, "switched on": on} {
			kinds := strings.Fields(r.kinds())
			slices.Sort(kinds)
			equal(t, fmt.Sprintf("told who was %s before view %d", what, after), strings.Join(kinds, " "), "entry.added match")
		}
	}
}

// TestEnded: a dispatcher that ends lets the next one begin at once, and one that has nothing takes nothing away.
func TestEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(nil)
	w.hook(owner, r, every...)
	w.match(owner.Party, "x")
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.service.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); w.service.Holds(w.ctx) == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	held := w.service.Holds(w.ctx)
	other := webhook.New(w.engine, w.sender)
	gone, already := context.WithCancel(w.ctx)
	already()
	if err := other.Run(gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if held == "" || w.service.Holds(w.ctx) != held {
		t.Errorf("%q handed on; after another one has ended, %q does", held, w.service.Holds(w.ctx))
	}
	stop()
	<-ended
	w.match(owner.Party, "y") // the clock stands still
	must(t, other.Pass(w.ctx))
	w.engine.due(w.ctx)
	equal(t, "told", r.kinds(), "match match")
}

// TestSuspended: what happens while a party is suspended is not told later, whether or not others have webhooks.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, others := range []bool{false, true} {
		w := newWorld(t)
		owner := w.party("owner")
		r := w.receiver(nil)
		w.hook(owner, r, every...)
		if others {
			w.hook(w.party("other"), w.receiver(nil), every...)
		}
		suspend := func(on bool) {
			_, err := w.matcher.ChangeParty(w.ctx, matcher.Local(), "owner", matcher.PartyEdit{Suspended: &on})
			must(t, err)
		}
		w.bank(owner, "b", matcher.BankEdit{})
		suspend(true)
		w.flag(owner, "b", 1)
		w.match(owner.Party, "x")
		w.tell()
		suspend(false)
		w.tell()
		equal(t, "told of the time of its suspension", r.kinds(), "")
		equal(t, "deliveries of it", len(w.engine.waiting)+len(w.engine.dead), 0)
		w.match(owner.Party, "y")
		w.tell()
		equal(t, "told afterwards", r.kinds(), "match")
	}
}

// TestReplaced: when the database is replaced by an older one, what jobs hold themselves is told to whom it is for, and to nobody who
// was given the number since; and jobs of the log before are not in the way of those of the new one, whose places have the same numbers.
func TestReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(func(n int, rw http.ResponseWriter) {
		if n == 1 {
			rw.WriteHeader(500)
		}
	})
	w.hook(owner, r, every...)
	w.match(owner.Party, "x")
	w.tell() // fails, and waits
	must(t, w.service.Tell(w.ctx, owner.Party, webhook.Event{ID: "rescan:1", Kind: matcher.EventRescan, At: w.clock.Now(), Data: map[string]int{"n": 1}}))
	before := w.engine.waiting
	for _, test := range []struct {
		party string // that has the webhook in the other database
		told  string
		dead  int
	}{{"owner", "match rescan.finished", 1}, {"other", "match", 2}} {
		n := newWorld(t)
		n.engine.waiting, n.engine.next, n.engine.keys = slices.Clone(before), w.engine.next, maps.Clone(w.engine.keys)
		parties := map[string]matcher.Principal{"owner": n.party("owner"), "other": n.party("other")}
		now := n.receiver(nil)
		n.hook(parties[test.party], now, every...) // of the same number
		n.match(parties[test.party].Party, "y")
		n.tell()
		n.engine.all(n.ctx, time.Hour)
		kinds := strings.Fields(now.kinds())
		slices.Sort(kinds)
		equal(t, "told "+test.party, strings.Join(kinds, " "), test.told)
		equal(t, "left", len(n.engine.waiting), 0)
		equal(t, "dead", len(n.engine.dead), test.dead)
	}
}
