package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/webhook"
)

// event is one that a job holds.
func (w *world) event(n int) webhook.Event {
	return webhook.Event{ID: fmt.Sprint("rescan:", n), Kind: matcher.EventRescan, At: w.clock.Now(), Data: map[string]int{"n": n}}
}

// TestSlowParty: however many slow receivers a party has, they take some of a node's places, and others are told meanwhile.
func TestSlowParty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow, quick := w.party("slow"), w.party("quick")
	let, reached := make(chan struct{}), make(chan bool, 100)
	release := sync.OnceFunc(func() { close(let) })
	defer release()
	var open atomic.Int32
	slowly := w.receiver(func(int, http.ResponseWriter) {
		open.Add(1)
		select {
		case reached <- true:
		default:
		}
		<-let
	})
	quickly := w.receiver(nil)
	var secrets []string
	for range 10 {
		h := w.hook(slow, slowly, every...)
		secrets = append(secrets, h.Secret)
	}
	slowly.secrets = secrets
	w.hook(quick, quickly, every...)
	for n := range 5 {
		must(t, w.service.Tell(w.ctx, slow.Party, w.event(n)))
	}
	must(t, w.service.Tell(w.ctx, quick.Party, w.event(1)))
	done := make(chan struct{})
	go func() { defer close(done); w.engine.due(w.ctx) }()
	for range webhook.PerParty {
		<-reached
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		quickly.mu.Lock()
		told := len(quickly.all)
		quickly.mu.Unlock()
		if told == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody else is told")
		}
	}
	equal(t, "requests open to the slow ones", open.Load(), webhook.PerParty)
	release()
	<-done
	w.engine.all(w.ctx, time.Hour)
	equal(t, "told to the slow ones in the end", len(slowly.take()), 50)
}

// TestSlowForEver: a receiver that answers, but slower than things happen, is told what there is room for. The rest has an end, and what
// waits does not come for nothing all the time.
func TestSlowForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := w.party("slow")
	r := w.receiver(nil)
	h := w.hook(slow, r, matcher.EventRescan)
	const each = 5_000 // 9 s each, 4 at a time, are some hours
	leave := make([]func(), webhook.PerHook)
	next := 0
	turned, attempts := []*waiter{}, 0
	for range each {
		turned = append(turned, &waiter{at: w.clock.Now()})
	}
	served := 0
	// As the engine would do it, without its jobs: each second who is due knocks.
	for second := 0; second < 3600; second++ {
		if second%9 == 0 {
			for i := range leave {
				if leave[i] != nil {
					leave[i]()
					leave[i] = nil
				}
			}
		}
		for i := 0; i < len(turned); i++ {
			if turned[i].at.After(w.clock.Now()) {
				continue
			}
			attempts++
			l, after := w.sender.Enter(h)
			if l == nil {
				turned[i].at = w.clock.Now().Add(after)
				continue
			}
			leave[next%len(leave)] = l
			next++
			served++
			turned = slices.Delete(turned, i, i+1)
			i--
		}
		w.clock.advance(time.Second)
	}
	if served < 3600/9*webhook.PerHook*8/10 {
		t.Errorf("%d deliveries in an hour; there was room for %d", served, 3600/9*webhook.PerHook)
	}
	if most := each * 10; attempts > most { // each at first, and then one in ten minutes
		t.Errorf("%d attempts in an hour, for %d requests and %d that wait", attempts, served, each)
	}
	for _, l := range leave {
		if l != nil {
			l()
		}
	}

	must(t, w.service.Tell(w.ctx, slow.Party, w.event(1)))
	w.clock.advance(25 * time.Hour)
	must(t, w.service.Tell(w.ctx, slow.Party, w.event(2)))
	w.clock.advance(2 * time.Hour)
	w.engine.due(w.ctx)
	equal(t, "told", fmt.Sprint(len(r.take())), "1")
	dead, _, err := w.service.Dead(w.ctx, slow, h.ID, 0, 10)
	must(t, err)
	equal(t, "given up", len(dead), 1)
	equal(t, "of", strings.HasPrefix(dead[0].Error, "not sent: for a day"), true)
	n, err := w.service.ReplayAll(w.ctx, slow, h.ID)
	must(t, err)
	equal(t, "replayed", n, 1)
	w.engine.due(w.ctx)
	equal(t, "told when it is replayed", len(r.take()), 1)
}

type waiter struct{ at time.Time }

// TestDeadOf: what was given up is listed and replayed for a webhook by itself, goes with the webhook, and is not kept for ever.
func TestDeadOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.party("a"), w.party("b")
	r := w.receiver(func(_ int, rw http.ResponseWriter) { rw.WriteHeader(500) })
	ha := w.hook(a, r, every...)
	hb := w.hook(b, r, every...)
	r.secrets = []string{ha.Secret, hb.Secret}
	for n := range 30 {
		must(t, w.service.Tell(w.ctx, a.Party, w.event(n)))
		must(t, w.service.Tell(w.ctx, b.Party, w.event(n)))
	}
	w.engine.all(w.ctx, 48*time.Hour)
	equal(t, "dead", len(w.engine.dead), 60)
	dead, next, err := w.service.Dead(w.ctx, a, ha.ID, 0, 20)
	must(t, err)
	equal(t, "page", fmt.Sprint(len(dead), next == dead[19].ID), "20 true")
	dead, next, err = w.service.Dead(w.ctx, a, ha.ID, next, 20)
	must(t, err)
	equal(t, "page", fmt.Sprint(len(dead), next), "10 0")

	for who, want := range map[matcher.Principal]error{b: matcher.ErrUnknownWebhook, matcher.Local(): matcher.ErrForeign} {
		if _, err := w.service.ReplayAll(w.ctx, who, ha.ID); !errors.Is(err, want) {
			t.Errorf("%s replays another's: %v", who.Actor, err)
		}
		if err := w.service.Delete(w.ctx, b, ha.ID); !errors.Is(err, matcher.ErrUnknownWebhook) {
			t.Errorf("another deletes it: %v", err)
		}
	}
	equal(t, "dead", len(w.engine.dead), 60)
	r.answer = nil
	n, err := w.service.ReplayAll(w.ctx, a, ha.ID)
	must(t, err)
	equal(t, "replayed", n, 30)
	r.take()
	w.engine.all(w.ctx, time.Hour)
	equal(t, "told", len(r.take()), 30)
	equal(t, "of the other one's, dead", len(w.engine.dead), 30)

	must(t, w.service.Tell(w.ctx, b.Party, w.event(99)))
	must(t, w.service.Tell(w.ctx, a.Party, w.event(99)))
	must(t, w.service.Delete(w.ctx, b, hb.ID))
	equal(t, "dead, of one that is deleted", len(w.engine.dead), 0)
	equal(t, "waiting", len(w.engine.waiting), 1)

	r.answer = func(_ int, rw http.ResponseWriter) { rw.WriteHeader(500) }
	w.engine.all(w.ctx, 48*time.Hour)
	for _, test := range []struct{ days, dead int }{{28, 1}, {3, 0}} {
		w.clock.advance(time.Duration(test.days) * 24 * time.Hour)
		w.match(a.Party, "x")
		must(t, w.service.Pass(w.ctx))
		equal(t, "dead", len(w.engine.dead), test.dead)
	}
}

// TestGoneAndAway: a receiver that is gone while the database is away is asked again; what is kept of it says nothing of the database.
func TestGoneAndAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(func(_ int, rw http.ResponseWriter) { rw.WriteHeader(410) })
	h := w.hook(owner, r, every...)
	must(t, w.service.Tell(w.ctx, owner.Party, w.event(1)))
	w.store.update = func() error { return fmt.Errorf("postgres at db.internal: %w", storage.ErrUnavailable) }
	job := w.engine.waiting[0].Run
	if err := w.engine.handler.Do(w.ctx, job); err == nil || strings.Contains(err.Error(), "postgres") || isNever(err) {
		t.Errorf("kept: %v", err)
	}
	w.store.update = nil
	if err := w.engine.handler.Do(w.ctx, job); !isNever(err) {
		t.Errorf("when it is back: %v", err)
	}
	h, err := w.matcher.Webhook(w.ctx, owner, h.ID)
	must(t, err)
	equal(t, "disabled", h.Disabled != "", true)
}

// TestPingsOfAParty: whoever tests slow receivers is in nobody else's way.
func TestPingsOfAParty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow, quick := w.party("slow"), w.party("quick")
	let, reached := make(chan struct{}), make(chan bool, 10)
	release := sync.OnceFunc(func() { close(let) })
	defer release()
	h := w.hook(slow, w.receiver(func(int, http.ResponseWriter) { reached <- true; <-let }), every...)
	good := w.hook(quick, w.receiver(nil), every...)
	done := make(chan error, 2)
	for range 2 {
		go func() { _, err := w.service.Ping(w.ctx, slow, h.ID); done <- err }()
		<-reached
	}
	if _, err := w.service.Ping(w.ctx, slow, h.ID); !errors.Is(err, webhook.ErrBusy) {
		t.Errorf("a third one: %v", err)
	}
	p, err := w.service.Ping(w.ctx, quick, good.ID)
	must(t, err)
	equal(t, "another party's", p.Status, 200)
	release()
	for range 2 {
		must(t, <-done)
	}
	p, err = w.service.Ping(w.ctx, slow, h.ID)
	must(t, err)
	equal(t, "afterwards", p.Status, 200)
}

// weighed is a catalogue that notes how much was read of its log at a time.
type weighed struct {
	storage.Catalogue
	most atomic.Int64
}

func (w *weighed) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	changes, err := w.Catalogue.Changes(ctx, after, limit)
	size := int64(0)
	for _, c := range changes {
		size += int64(len(c.Record) + len(c.Private))
	}
	w.most.Store(max(w.most.Load(), size))
	return changes, err
}

// TestLargeChanges: entries that are whole videos are not read hundreds at a time.
func TestLargeChanges(t *testing.T) {
	t.Parallel()
	read := &weighed{}
	w := newWorldIn(t, func(c storage.Catalogue) storage.Catalogue {
		read.Catalogue = c
		return read
	})
	owner := w.party("owner")
	r := w.receiver(nil)
	w.hook(owner, r, matcher.EventAdded)
	w.bank(owner, "b", matcher.BankEdit{})
	const n, frames = 60, 600
	for i := range n {
		w.video(owner, "b", i, frames)
	}
	head, err := w.store.Head(w.ctx)
	must(t, err)
	must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
	read.most.Store(0)
	must(t, w.service.Pass(w.ctx))
	dispatching := read.most.Swap(0)
	w.engine.all(w.ctx, time.Hour)
	for what, most := range map[string]int64{"dispatching": dispatching, "sending": read.most.Load()} {
		if most > 1<<20 || most < 1<<18 {
			t.Errorf("%s, %d bytes are read at a time", what, most)
		}
	}
	ids, twice := r.ids()
	equal(t, "told", fmt.Sprint(len(ids), twice), fmt.Sprint(n, 0))
}
