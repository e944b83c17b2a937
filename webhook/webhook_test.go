package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/webhook"
)

var every = matcher.EventKinds()

// TestWhoIsTold: a party is told of what it may read, of the kinds that it wants, and of what comes after its webhook was made.
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, member, stranger := w.party("owner"), w.party("member"), w.party("stranger")
	early := w.receiver(nil)
	w.hook(owner, early, matcher.EventRescan) // from which on the log is looked at
	w.bank(owner, "b", matcher.BankEdit{Members: &[]string{"member"}})
	w.flag(owner, "b", 1)
	w.match(owner.Party, "before")

	all, some, members, strangers, operators := w.receiver(nil), w.receiver(nil), w.receiver(nil), w.receiver(nil), w.receiver(nil)
	h := w.hook(owner, all, every...)
	w.hook(owner, some, matcher.EventRetracted)
	w.hook(member, members, every...)
	w.hook(stranger, strangers, every...)
	w.hook(matcher.Local(), operators, every...)

	e := w.flag(owner, "b", 2, "isis", "video")
	must(t, w.matcher.Retract(w.ctx, owner, e.ID, "why"))
	must(t, w.matcher.Restore(w.ctx, owner, e.ID, "why"))
	w.match(owner.Party, "upload-17", storage.MatchEntry{Entry: e.ID, Bank: 1, Level: "match", Exact: true}, storage.MatchEntry{Entry: 99, Bank: 99, Level: "review"})
	w.match(stranger.Party, "upload-18", storage.MatchEntry{Entry: e.ID, Bank: 1, Level: "match"})
	w.tell()

	deliveries := all.take()
	var events []string
	for _, d := range deliveries {
		equal(t, "webhook", d.Webhook, int(h.ID))
		var kinds []string
		for _, e := range d.Events {
			data, _ := json.Marshal(e.Data)
			events = append(events, fmt.Sprintf("%s seq %d %s", e.Kind, e.Seq, data))
			kinds = append(kinds, e.Kind)
		}
		slices.Sort(kinds)
		equal(t, "kinds in the header", d.header.Get("Vigie-Event"), strings.Join(slices.Compact(kinds), ","))
	}
	slices.Sort(events)
	head, err := w.store.Head(w.ctx)
	must(t, err)
	equal(t, "events of the owner", strings.Join(events, "\n"), fmt.Sprintf(`entry.added seq %d {"bank":"b","entry":2,"labels":["isis","video"],"status":"active"}
entry.restored seq %d {"bank":"b","entry":2,"labels":["isis","video"],"status":"active"}
entry.retracted seq %d {"bank":"b","entry":2,"labels":["isis","video"],"status":"retracted"}
match seq 0 {"action":"block","content_id":"upload-17","entries":[{"bank":"b","entry":2,"exact":true,"level":"match"},{"entry":99,"exact":false,"level":"review"}],"entries_total":2,"index_seq":7,"level":"match","match":"aaaaaaaa-2"}`,
		head.Seq-2, head.Seq, head.Seq-1))
	equal(t, "who wants retractions", some.kinds(), "entry.retracted")
	got := members.take()
	equal(t, "deliveries to the member", len(got), 1)
	equal(t, "the bank, as the member calls it", got[0].Events[0].Data["bank"], any("owner:b"))
	equal(t, "the stranger", strangers.kinds(), "match")
	equal(t, "the operator, whose webhooks oversee nothing", operators.kinds(), "")
	equal(t, "who wants nothing of it", early.kinds(), "")

	// Under dual control what is confirmed is told, as what it has led to.
	w.bank(owner, "dual", matcher.BankEdit{Dual: ptr(true)})
	second := owner
	second.Actor = "second"
	proposed := w.flag(owner, "dual", 3)
	w.tell()
	equal(t, "of a proposal", all.kinds(), "")
	err = w.matcher.Confirm(w.ctx, second, proposed.ID)
	must(t, err)
	w.tell()
	equal(t, "of what is confirmed", all.kinds(), "entry.confirmed")
	equal(t, "who wants retractions", some.kinds(), "")

	// What a party may not read any more by the time that it is sent, is not.
	w.flag(owner, "b", 4)
	head, err = w.store.Head(w.ctx)
	must(t, err)
	must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
	must(t, w.service.Pass(w.ctx))
	_, err = w.matcher.ChangeBank(w.ctx, owner, "b", matcher.BankEdit{Members: &[]string{}})
	must(t, err)
	w.engine.due(w.ctx)
	equal(t, "of a bank that was taken away", members.kinds(), "")
	equal(t, "its owner", all.kinds(), "entry.added")

	at := w.clock.Now().Add(time.Hour)
	must(t, w.matcher.Edit(w.ctx, owner, e.ID, matcher.EntryEdit{ExpiresAt: &at}))
	w.clock.advance(time.Hour)
	_, err = w.matcher.ExpireEntries(w.ctx)
	must(t, err)
	w.tell()
	equal(t, "of what has expired", all.kinds(), "entry.expired")
}

func ptr[T any](v T) *T { return &v }

// TestSecretsStayInside: neither the log nor a job nor a listing of the dead has the URL or the secret, and a secret is replaced by
// another one while both sign.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(nil)
	h := w.hook(owner, r, every...)
	w.bank(owner, "b", matcher.BankEdit{})
	w.flag(owner, "b", 1)
	w.tell()
	equal(t, "signed with the first secret", r.kinds(), "entry.added")

	rotated, err := w.matcher.RotateWebhook(w.ctx, owner, h.ID, time.Hour)
	must(t, err)
	for _, known := range [][]string{{h.Secret}, {rotated.Secret}} {
		r.mu.Lock()
		r.secrets = known
		r.mu.Unlock()
		w.flag(owner, "b", 2+len(known[0])+int(w.clock.Now().Unix()))
		w.tell()
		equal(t, "during the rotation", r.kinds(), "entry.added")
		w.clock.advance(time.Minute)
	}
	w.clock.advance(time.Hour)
	w.flag(owner, "b", 99)
	w.tell()
	after := r.take()
	equal(t, "signatures after it", len(strings.Split(after[0].header.Get("Vigie-Signature"), ",")), 1)
	_, err = w.matcher.ChangeWebhook(w.ctx, owner, h.ID, matcher.WebhookEdit{On: ptr(false)})
	must(t, err)
	must(t, w.matcher.DeleteWebhook(w.ctx, owner, h.ID))

	var told []string
	changes, err := w.store.Changes(w.ctx, 0, 1000)
	must(t, err)
	for _, c := range changes {
		if strings.HasPrefix(string(c.Kind), "webhook.") {
			told = append(told, fmt.Sprintf("%s by %s of %d: %s", c.Kind, c.Actor, c.Party, c.Body))
		}
		for _, text := range []string{string(c.Body), string(c.Private), string(c.Record)} {
			if strings.Contains(text, "secret-token") || strings.Contains(text, "whsec_") || strings.Contains(text, "127.0.0.1") {
				t.Errorf("change %d holds what is the party's alone: %s", c.Seq, text)
			}
		}
	}
	kinds := `"kinds":["bank.deleted","bank.restored","entry.added","entry.expired","entry.quarantined","entry.restored","entry.retracted","lookback.hit","match","rescan.finished"]`
	equal(t, "the log", strings.Join(told, "\n"), strings.ReplaceAll(`webhook.created by owner of 2: {"id":1,KINDS}
webhook.changed by owner of 2: {"id":1,KINDS,"rotated":true}
webhook.changed by owner of 2: {"id":1,KINDS,"disabled":"switched off"}
webhook.deleted by owner of 2: {"id":1,KINDS,"disabled":"switched off"}`, "KINDS", kinds))
}

// TestKilled: whatever fails or ends between reading, enqueueing and noting how far it is, nothing is left out.
func TestKilled(t *testing.T) {
	t.Parallel()
	killed := errors.New("killed")
	for name, kill := range map[string]func(w *world, n *int){
		"before the jobs are there": func(w *world, n *int) {
			w.engine.fail = func() error {
				if *n++; *n%3 != 0 {
					return killed
				}
				return nil
			}
		},
		"before the place is noted": func(w *world, n *int) {
			w.store.update = func() error {
				if *n++; *n%2 == 0 {
					return killed
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			owner := w.party("owner")
			r := w.receiver(nil)
			w.hook(owner, r, every...)
			w.bank(owner, "b", matcher.BankEdit{})
			n, want := 0, map[string]bool{}
			for i := range 40 {
				w.store.update, w.engine.fail = nil, nil
				e := w.flag(owner, "b", i+1)
				w.match(owner.Party, fmt.Sprint("c", i))
				head, err := w.store.Head(w.ctx)
				must(t, err)
				must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
				want[fmt.Sprint("entry ", e.ID)], want[fmt.Sprint("content c", i)] = true, true
				kill(w, &n)
				if err := w.service.Pass(w.ctx); err != nil {
					if !errors.Is(err, killed) {
						t.Fatal(err)
					}
					w.service = webhook.New(w.engine, w.sender) // another process
					w.clock.advance(webhook.Hold + time.Second)
				}
				w.store.update = nil
				w.engine.due(w.ctx)
			}
			w.store.update, w.engine.fail = nil, nil
			must(t, w.service.Pass(w.ctx))
			w.engine.due(w.ctx)
			told, ids := map[string]bool{}, map[string]string{}
			for _, d := range r.take() {
				for _, e := range d.Events {
					what := fmt.Sprint("content ", e.Data["content_id"])
					if e.Kind == "entry.added" {
						what = fmt.Sprint("entry ", e.Data["entry"])
					}
					told[what] = true
					if before, known := ids[e.ID]; known && before != what {
						t.Errorf("the id %s is of %s and of %s", e.ID, before, what)
					}
					ids[e.ID] = what
				}
			}
			if !maps.Equal(told, want) || len(ids) != len(want) {
				t.Errorf("told of %d things with %d ids, %d have happened", len(told), len(ids), len(want))
			}
			if n < 10 {
				t.Errorf("killed %d times only", n)
			}
		})
	}
}

// TestOneDispatches: of two processes one hands on; when it is silent for a while, the other one does, from where it was.
func TestOneDispatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(nil)
	w.hook(owner, r, every...)
	w.bank(owner, "b", matcher.BankEdit{})
	other := webhook.New(w.engine, w.sender)
	w.flag(owner, "b", 1)
	w.tell()
	w.flag(owner, "b", 2)
	must(t, other.Pass(w.ctx))
	w.engine.due(w.ctx)
	equal(t, "while the first one is there", r.kinds(), "entry.added")
	w.tell()
	equal(t, "by the first one", r.kinds(), "entry.added")
	w.flag(owner, "b", 3)
	w.clock.advance(webhook.Hold + time.Second)
	must(t, other.Pass(w.ctx))
	w.engine.due(w.ctx)
	equal(t, "after it was silent", r.kinds(), "entry.added")
	w.flag(owner, "b", 4)
	w.tell()
	equal(t, "the first one comes back", r.kinds(), "")
	must(t, other.Pass(w.ctx))
	w.engine.due(w.ctx)
	equal(t, "the other one goes on", r.kinds(), "entry.added")
}

// TestReceivers: what becomes of deliveries to receivers of all sorts.
func TestReceivers(t *testing.T) {
	t.Parallel()
	status := func(codes ...int) func(int, http.ResponseWriter) {
		return func(n int, w http.ResponseWriter) { w.WriteHeader(codes[min(n, len(codes))-1]) }
	}
	for name, test := range map[string]struct {
		answer func(n int, w http.ResponseWriter)
		within time.Duration
		asked  int
		dead   string // its error; empty: delivered
		off    string // the webhook is disabled
	}{
		"good":      {status(204), time.Second, 1, "", ""},
		"flaky":     {status(500, 502, 404, 200), time.Hour, 4, "", ""},
		"gone":      {status(410), 48 * time.Hour, 1, "answered 410: the webhook is disabled", "answered 410: the webhook is disabled"},
		"always":    {status(500), 48 * time.Hour, -1, "answered 500", ""},
		"redirects": {func(_ int, w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(302) }, 48 * time.Hour, -1, "answered 302: redirects are not followed; give the webhook the URL where it is now", ""},
		"huge": {func(_ int, w http.ResponseWriter) {
			for range 64 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, time.Second, 1, "", ""},
		"breaks off": {func(n int, w http.ResponseWriter) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		}, time.Hour, 2, "", ""},
		"hangs": {func(n int, w http.ResponseWriter) {
			if n == 1 {
				time.Sleep(3 * time.Second) // longer than the guard of the test waits
			}
		}, time.Hour, 2, "", ""},
		"asks to wait": {func(n int, w http.ResponseWriter) {
			if n <= 50 { // more often than it may fail
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(429)
			}
		}, 2 * time.Hour, 51, "", ""},
		"asks to wait for ever": {func(_ int, w http.ResponseWriter) { w.Header().Set("Retry-After", "3600"); w.WriteHeader(503) }, 96 * time.Hour, -1, "not sent: for a day there was no room for it, as the receiver is slow, or asks to wait", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			owner := w.party("owner")
			r := w.receiver(test.answer)
			h := w.hook(owner, r, every...)
			w.bank(owner, "b", matcher.BankEdit{})
			w.flag(owner, "b", 1)
			w.tell()
			began := w.clock.Now()
			w.engine.all(w.ctx, test.within)
			if test.asked >= 0 {
				equal(t, "requests", r.asked, test.asked)
			}
			deliveries := map[string]bool{}
			for _, g := range r.take() {
				deliveries[g.Delivery] = true
			}
			equal(t, "names of the delivery", len(deliveries), 1)
			dead, next, err := w.service.Dead(w.ctx, owner, h.ID, 0, 10)
			must(t, err)
			equal(t, "next", next, 0)
			equal(t, "waiting", len(w.engine.waiting), 0)
			h, err = w.matcher.Webhook(w.ctx, owner, h.ID)
			must(t, err)
			equal(t, "disabled", h.Disabled, test.off)
			if test.dead == "" {
				equal(t, "dead", len(dead), 0)
				return
			}
			equal(t, "dead", len(dead), 1)
			if dead[0].Error != test.dead && !strings.HasPrefix(dead[0].Error, "not sent: the requests before") {
				t.Errorf("it died of %q", dead[0].Error)
			}
			equal(t, "events", dead[0].Events, 1)
			if after := w.clock.Now().Sub(began); test.off == "" && (after < 20*time.Hour || after > 60*time.Hour) {
				t.Errorf("it was given up after %v", after)
			}

			// Replayed, once the receiver is well.
			r.answer = nil
			if test.off != "" {
				_, err := w.matcher.ChangeWebhook(w.ctx, owner, h.ID, matcher.WebhookEdit{On: ptr(true)})
				must(t, err)
			}
			w.clock.advance(time.Hour)
			if err := w.service.Replay(w.ctx, w.party("other"), h.ID, dead[0].ID); !errors.Is(err, matcher.ErrUnknownWebhook) {
				t.Errorf("another party replays it: %v", err)
			}
			if err := w.service.Replay(w.ctx, owner, h.ID, dead[0].ID+1); !errors.Is(err, webhook.ErrUnknownDelivery) {
				t.Errorf("what is not there is replayed: %v", err)
			}
			must(t, w.service.Replay(w.ctx, owner, h.ID, dead[0].ID))
			w.engine.all(w.ctx, time.Hour)
			got := r.take()
			if len(got) != 1 {
				t.Fatalf("replayed: %d deliveries came", len(got))
			}
			equal(t, "its name", deliveries[got[0].Delivery], true)
		})
	}
}

// TestBackoff: what always fails is tried for about a day.
func TestBackoff(t *testing.T) {
	t.Parallel()
	for range 20 {
		sum := time.Duration(0)
		for failed := 1; failed < webhook.Attempts; failed++ {
			sum += webhook.Backoff(failed)
		}
		if sum < 22*time.Hour || sum > 27*time.Hour {
			t.Errorf("given up after %v", sum)
		}
	}
}

// TestOthersGoOn: a receiver that does not answer has so many requests and no more, and others get theirs meanwhile. One that is dead
// is hardly asked.
func TestOthersGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow, quick, dead := w.party("slow"), w.party("quick"), w.party("dead")
	let := make(chan struct{})
	reached := make(chan int, 100)
	slowly := w.receiver(func(n int, _ http.ResponseWriter) { reached <- n; <-let })
	quickly := w.receiver(nil)
	never := w.receiver(func(_ int, rw http.ResponseWriter) { rw.WriteHeader(500) })
	const each = 20
	for _, p := range []struct {
		who matcher.Principal
		at  *receiver
	}{{slow, slowly}, {dead, never}, {quick, quickly}} {
		w.hook(p.who, p.at, matcher.EventRescan)
		for i := range each {
			must(t, w.service.Tell(w.ctx, p.who.Party, webhook.Event{ID: fmt.Sprint("rescan:", i), Kind: matcher.EventRescan, At: w.clock.Now(), Data: map[string]int{"n": i}}))
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); w.engine.due(w.ctx) }()
	for range webhook.PerHook {
		<-reached
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		quickly.mu.Lock()
		n := len(quickly.all)
		quickly.mu.Unlock()
		if n >= webhook.PerHook { // of a node's turns some find their receiver's places taken, and come again later
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody else is told while one receiver does not answer")
		}
	}
	equal(t, "requests open to the slow one", slowly.asked, webhook.PerHook)
	close(let)
	<-done
	w.engine.all(w.ctx, 10*time.Minute)
	equal(t, "the quick one", len(quickly.take()), each)
	equal(t, "the slow one", len(slowly.take()), each)
	asked := len(never.take())
	tried := 0
	for _, j := range w.engine.waiting {
		tried += j.Attempt
	}
	if asked < webhook.Breaks || asked > 40 || tried < 2*asked {
		t.Errorf("the dead one was asked %d times in 10 minutes, of %d attempts", asked, tried)
	}
	equal(t, "waiting for the dead one", len(w.engine.waiting), each)
	never.answer = nil
	w.engine.all(w.ctx, 3*time.Hour)
	ids := map[string]bool{}
	for _, g := range never.take() {
		ids[g.Events[0].ID] = true
	}
	equal(t, "told when it is back", len(ids), each)
}

// TestTell: what is told again under its id while it waits is told once; it goes to who wants it, and fits into a job.
func TestTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r, not := w.receiver(nil), w.receiver(nil)
	w.hook(owner, r, matcher.EventRescan, matcher.EventLookback)
	w.hook(owner, not, matcher.EventMatch)
	e := webhook.Event{ID: "rescan:1", Kind: matcher.EventRescan, At: w.clock.Now(), Data: map[string]int{"matches": 3}}
	for range 2 {
		must(t, w.service.Tell(w.ctx, owner.Party, e))
	}
	e.Data = strings.Repeat("x", 64<<10)
	if err := w.service.Tell(w.ctx, owner.Party, e); err == nil {
		t.Error("an event that no job holds is taken")
	}
	w.engine.due(w.ctx)
	got := r.take()
	equal(t, "deliveries", len(got), 1)
	equal(t, "data", fmt.Sprint(got[0].Events[0].Data), "map[matches:3]")
	equal(t, "who does not want it", not.kinds(), "")
}

// TestOff: what is switched off or deleted, or whose party is suspended, is not called.
func TestOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(nil)
	h := w.hook(owner, r, every...)
	w.bank(owner, "b", matcher.BankEdit{})
	handOn := func() { // without delivering
		head, err := w.store.Head(w.ctx)
		must(t, err)
		must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
		must(t, w.service.Pass(w.ctx))
	}
	suspended := func(on bool) {
		_, err := w.matcher.ChangeParty(w.ctx, matcher.Local(), "owner", matcher.PartyEdit{Suspended: &on})
		must(t, err)
	}
	w.flag(owner, "b", 1)
	handOn()
	suspended(true)
	w.engine.due(w.ctx)
	equal(t, "while the party is suspended", r.kinds(), "")
	equal(t, "dead", len(w.engine.dead), 1)
	suspended(false)
	w.tell()
	equal(t, "of what happened while it was suspended", r.kinds(), "")
	must(t, w.service.Replay(w.ctx, owner, h.ID, w.engine.dead[0].ID))
	w.engine.due(w.ctx)
	equal(t, "replayed", r.kinds(), "entry.added")

	_, err := w.service.Change(w.ctx, owner, h.ID, matcher.WebhookEdit{On: ptr(false)})
	must(t, err)
	w.flag(owner, "b", 2)
	w.match(owner.Party, "x")
	w.tell()
	_, err = w.service.Change(w.ctx, owner, h.ID, matcher.WebhookEdit{On: ptr(true)})
	must(t, err)
	w.tell()
	equal(t, "of what happened while it was off", r.kinds(), "")
	w.flag(owner, "b", 3)
	w.match(owner.Party, "y")
	handOn()
	must(t, w.matcher.DeleteWebhook(w.ctx, owner, h.ID))
	w.engine.due(w.ctx)
	equal(t, "of one that is deleted", r.kinds(), "")
	equal(t, "waiting", len(w.engine.waiting), 0)
}

// TestPing: a party tests its webhook, and is told what came of it in words that say nothing of the node's network.
func TestPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, other := w.party("owner"), w.party("other")
	r := w.receiver(func(n int, rw http.ResponseWriter) { rw.WriteHeader(map[int]int{1: 202}[min(n, 1)] + 300*min(n-1, 1)) })
	h := w.hook(owner, r, matcher.EventMatch)
	p, err := w.service.Ping(w.ctx, owner, h.ID)
	must(t, err)
	equal(t, "status", p.Status, 202)
	equal(t, "error", p.Err, nil)
	equal(t, "told", r.kinds(), webhook.Ping)
	p, err = w.service.Ping(w.ctx, owner, h.ID)
	must(t, err)
	equal(t, "error", p.Err.Error(), "answered 502")
	for who, want := range map[matcher.Principal]error{other: matcher.ErrUnknownWebhook, matcher.Local(): matcher.ErrForeign} {
		if _, err := w.service.Ping(w.ctx, who, h.ID); !errors.Is(err, want) {
			t.Errorf("%s: %v", who.Actor, err)
		}
	}
	inside := "https://localhost/"
	h, err = w.service.Create(w.ctx, owner, matcher.WebhookEdit{URL: &inside, Kinds: &every})
	must(t, err)
	p, err = w.service.Ping(w.ctx, owner, h.ID)
	must(t, err)
	if p.Status != 0 || p.Err == nil || strings.Contains(p.Err.Error(), "127.") || strings.Contains(p.Err.Error(), "allowed") {
		t.Errorf("a webhook of this machine: %+v", p)
	}
	for _, url := range []string{"http://127.0.0.1/", "http://169.254.169.254/latest", "ftp://example.org/", "https://user@example.org/", "https://example.org:22/", ""} {
		_, err := w.service.Create(w.ctx, owner, matcher.WebhookEdit{URL: &url, Kinds: &every})
		if _, input := errors.AsType[*matcher.InputError](err); !input {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestRun: what happens is told without anybody asking for it, and the end of the context ends it.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.party("owner")
	r := w.receiver(nil)
	w.hook(owner, r, every...)
	w.bank(owner, "b", matcher.BankEdit{})
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.service.Run(ctx) }()
	w.flag(owner, "b", 1)
	w.match(owner.Party, "x")
	told := ""
	for deadline := time.Now().Add(20 * time.Second); len(strings.Fields(told)) < 2 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.engine.due(w.ctx)
		told += r.kinds() + " "
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	kinds := strings.Fields(told)
	slices.Sort(kinds)
	equal(t, "told", strings.Join(kinds, " "), "entry.added match")
}
