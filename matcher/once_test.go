package matcher_test

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

func once(ctx context.Context, key string, digest byte) context.Context {
	return matcher.WithOnce(ctx, matcher.Once{Scope: "a key and a route", Key: key, Digest: storage.Hash{digest}})
}

// request is something that changes the catalogue. It returns what it is answered.
type request struct {
	name string
	do   func(ctx context.Context, m *matcher.Matcher) (any, error)
}

// requests are one of each kind, in an order in which each has something to do.
func (w *recorded) requests() []request {
	w.t.Helper()
	who, second := w.who("platform"), w.colleague("platform")
	w.bank("platform", "own", block())
	w.bank("platform", "dual", dual("block"))
	entry, waits, spare := w.at("own", "e", 12), storage.EntryID(0), w.propose("dual", "spare", "", flagging(3))
	match := w.match("platform", "post")
	must(w.t, w.ship(w.ctx))
	key, _, err := w.CreateKey(w.ctx, who, matcher.NewKey{Name: "old", Role: storage.Platform})
	must(w.t, err)
	none := func(err error) (any, error) { return nil, err }
	return []request{
		{"flag", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			f, err := m.Flag(ctx, matcher.Flagging{Bank: "own", Who: who, Signals: flagging(40).Signals, Note: "a note"})
			return f, err
		}},
		{"flag what is there", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			f, err := m.Flag(ctx, matcher.Flagging{Bank: "own", Who: second, Signals: flagging(40).Signals, Origin: "elsewhere"})
			return f, err
		}},
		{"flag for a second person", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			f, err := m.Flag(ctx, matcher.Flagging{Bank: "dual", Who: who, Signals: flagging(5).Signals})
			if err == nil {
				waits = f.Entry.ID
			}
			return f, err
		}},
		{"confirm", func(ctx context.Context, m *matcher.Matcher) (any, error) { return none(m.Confirm(ctx, second, waits)) }},
		{"reject", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Reject(ctx, second, spare, "no"))
		}},
		{"retract", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Retract(ctx, who, entry, "no"))
		}},
		{"restore", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Restore(ctx, who, entry, "yes"))
		}},
		{"edit", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Edit(ctx, who, entry, matcher.EntryEdit{Note: ptr("new")}))
		}},
		{"opine", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Opine(ctx, who, entry, storage.Agree, ""))
		}},
		{"overlay", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return none(m.Overlay(ctx, who, entry, true, nil, ""))
		}},
		{"create a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			b, err := m.CreateBank(ctx, who, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("new")}})
			return b, err
		}},
		{"change a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			b, err := m.ChangeBank(ctx, who, "new", matcher.BankEdit{Action: ptr("hold")})
			return b, err
		}},
		{"delete a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.DeleteBank(ctx, who, "new"))
		}},
		{"restore a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.RestoreBank(ctx, who, "new"))
		}},
		{"propose a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.DeleteBank(ctx, who, "dual"))
		}},
		{"reject a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.RejectBank(ctx, second, "dual"))
		}},
		{"propose again", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.ChangeBank(ctx, who, "dual", matcher.BankEdit{Action: ptr("log")}))
		}},
		{"confirm a bank", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.ConfirmBank(ctx, second, "dual"))
		}},
		{"subscribe", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.Subscribe(ctx, who, "own", matcher.SubscriptionEdit{Action: ptr("log")}))
		}},
		{"create a party", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.CreateParty(ctx, local, matcher.PartyEdit{Name: ptr("another")}))
		}},
		{"change a party", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.ChangeParty(ctx, local, "another", matcher.PartyEdit{KeepMatches: ptr(9)}))
		}},
		{"create a key", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			k, _, err := m.CreateKey(ctx, who, matcher.NewKey{Name: "k", Role: storage.Platform})
			return k, err
		}},
		{"revoke a key", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.RevokeKey(ctx, who, key.ID))
		}},
		{"decide", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.Decide(ctx, who, matcher.Decision{Match: match, Ruling: storage.Removed, Reason: "because"}))
		}},
		{"erase", func(ctx context.Context, m *matcher.Matcher) (any, error) {
			return boxed(m.EraseContent(ctx, who, "post"))
		}},
	}
}

func boxed[T any](v T, err error) (any, error) { return v, err }

// TestOnce makes each request, and then again: by the same matcher, by one that has started anew, and with another digest.
func TestOnce(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		same := cmp.Options{ // an outcome tells what it was, not what the caller could see of it
			cmpopts.IgnoreFields(matcher.Flagged{}, "Bank", "Neighbours", "Retracted"),
			cmpopts.IgnoreFields(storage.Key{}, "Seq"), cmpopts.IgnoreFields(storage.Bank{}, "Seq"), cmpopts.IgnoreFields(storage.Entry{}, "Seq"),
		}
		for i, r := range w.requests() {
			ctx := once(w.ctx, r.name, 1)
			before := len(w.changes())
			if done, err := w.Replayed(ctx); err != nil || done {
				t.Errorf("%s: done before: %t, %v", r.name, done, err)
			}
			first, err := r.do(ctx, w.Matcher)
			must(t, err)
			equal(t, len(w.changes()), before+1)
			again, err := r.do(ctx, w.Matcher)
			must(t, err)
			if diff := cmp.Diff(first, again, same); diff != "" {
				t.Errorf("%s is answered otherwise when it comes again (-first +again):\n%s", r.name, diff)
			}
			m := w.Matcher
			if i%5 == 0 { // the process ended before the answer was sent
				m = matcher.New(w.catalogue, w.blobs, pictures, index.New(index.Options{}), matcher.Options{Now: w.clock.Now, Patience: patience})
				running, stop := context.WithCancel(w.ctx)
				defer stop()
				go m.Follower().Run(running)
				must(t, m.Follower().Await(w.ctx, 0))
				_, err = r.do(ctx, m)
				must(t, err)
			}
			if done, err := m.Replayed(ctx); err != nil || !done {
				t.Errorf("%s: done: %t, %v", r.name, done, err)
			}
			_, err = r.do(once(w.ctx, r.name, 2), m)
			wantErr(t, err, matcher.ErrKeyReused)
			_, err = m.Replayed(once(w.ctx, r.name, 2))
			wantErr(t, err, matcher.ErrKeyReused)
			equal(t, len(w.changes()), before+1)
		}
	})
}

// Requests of the same key at the same time do their work once, and all are answered.
func TestOnceAtTheSameTime(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", block())
		const callers = 8
		before := len(w.changes())
		who := w.who("platform")
		entries := make([]storage.EntryID, callers)
		keys := make([]string, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				f, err := w.Matcher.Flag(once(w.ctx, "flag", 1), matcher.Flagging{Bank: "own", Who: who, Media: media(pngOf(drawn(1)))})
				if err != nil {
					t.Error(err)
				}
				k, secret, err := w.CreateKey(once(w.ctx, "key", 1), who, matcher.NewKey{Name: "k", Role: storage.Platform})
				if err != nil {
					t.Error(err)
				}
				entries[i], keys[i] = f.Entry.ID, k.ID+" "+fmt.Sprint(secret != "")
			})
		}
		wg.Wait()
		equal(t, len(w.changes()), before+2)
		told := map[string]int{}
		for i := range callers {
			told[keys[i]]++
			if entries[i] != entries[0] {
				t.Errorf("flagged as %v", entries)
			}
		}
		// The secret is told once.
		if id := keys[0][:12]; len(told) != 2 || told[id+" true"] != 1 || told[id+" false"] != callers-1 {
			t.Errorf("keys %v", told)
		}
		equal(t, len(w.entryIn(entries[0]).Sources), 1)
	})
}

func (w *world) entryIn(id storage.EntryID) storage.Entry {
	w.t.Helper()
	e, _, err := w.Entry(w.ctx, local, id)
	must(w.t, err)
	return e
}

// What failed has no outcome: the request is made anew. Another scope is another request.
func TestOnceOfWhatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	f := matcher.Flagging{Bank: "own", Who: w.who("platform"), Signals: []hashing.Signal{upload}}
	ctx := once(w.ctx, "k", 1)
	_, err := w.Flag(ctx, f)
	wantErr(t, err, matcher.ErrUnknownBank)
	w.bank("platform", "own", block())
	first, err := w.Flag(ctx, f)
	must(t, err)
	equal(t, first.Created, true)
	other, err := w.Flag(matcher.WithOnce(w.ctx, matcher.Once{Scope: "another key", Key: "k", Digest: storage.Hash{2}}), f)
	must(t, err)
	equal(t, []any{other.Created, len(other.Entry.Sources)}, []any{false, 2})
}

// Outcomes are kept for a day.
func TestForget(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		flag := func() bool {
			f, err := w.Flag(once(w.ctx, "k", 1), matcher.Flagging{Bank: "own", Who: w.who("platform"), Signals: []hashing.Signal{upload}})
			must(t, err)
			return f.Created
		}
		equal(t, flag(), true)
		w.clock.Advance(matcher.RememberFor)
		must(t, w.Forget(w.ctx))
		equal(t, flag(), true)
		w.clock.Advance(time.Millisecond)
		must(t, w.Forget(w.ctx))
		equal(t, flag(), false)
	})
}

// What found nothing to change is done, too: when its repetition comes, somebody may have changed what it found.
func TestOnceOfNothing(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		who, second := w.who("platform"), w.colleague("platform")
		w.bank("platform", "own", block())
		entry := w.at("own", "e", 12)
		key, _, err := w.CreateKey(w.ctx, who, matcher.NewKey{Name: "old", Role: storage.Platform})
		must(t, err)
		_, err = w.RevokeKey(w.ctx, who, key.ID)
		must(t, err)
		nothing := func(context.Context) error { return nil }
		for _, r := range []struct {
			name     string
			do       func(ctx context.Context) (any, error)
			undo     func(ctx context.Context) error // what somebody does before the repetition comes
			asBefore bool                            // the answer tells of the thing as it is now, which is not as it was
		}{
			{"restore", func(ctx context.Context) (any, error) {
				return nil, w.Restore(ctx, who, entry, "it is wanted")
			}, func(ctx context.Context) error { return w.Retract(ctx, second, entry, "wrong") }, true},
			{"retract", func(ctx context.Context) (any, error) {
				return nil, w.Retract(ctx, who, entry, "wrong")
			}, func(ctx context.Context) error { return w.Restore(ctx, second, entry, "it is wanted") }, true},
			{"edit", func(ctx context.Context) (any, error) {
				return nil, w.Edit(ctx, who, entry, matcher.EntryEdit{Note: ptr("")})
			}, func(ctx context.Context) error {
				return w.Edit(ctx, second, entry, matcher.EntryEdit{Note: ptr("new")})
			}, true},
			{"change a bank", func(ctx context.Context) (any, error) {
				return boxed(w.ChangeBank(ctx, who, "own", matcher.BankEdit{Action: ptr("block")}))
			}, func(ctx context.Context) error {
				_, err := w.ChangeBank(ctx, second, "own", matcher.BankEdit{Action: ptr("log")})
				return err
			}, false},
			{"restore a bank", func(ctx context.Context) (any, error) {
				return boxed(w.RestoreBank(ctx, who, "own"))
			}, func(ctx context.Context) error {
				_, err := w.DeleteBank(ctx, second, "own")
				return err
			}, false},
			{"change a party", func(ctx context.Context) (any, error) {
				return boxed(w.ChangeParty(ctx, local, "platform", matcher.PartyEdit{Suspended: ptr(false)}))
			}, func(ctx context.Context) error {
				_, err := w.ChangeParty(ctx, local, "platform", matcher.PartyEdit{KeepMatches: ptr(9)})
				return err
			}, false},
			{"revoke a key", func(ctx context.Context) (any, error) {
				return boxed(w.RevokeKey(ctx, who, key.ID))
			}, nothing, true},
			{"erase", func(ctx context.Context) (any, error) {
				return boxed(w.EraseContent(ctx, who, "post"))
			}, nothing, true},
		} {
			ctx := once(w.ctx, r.name, 1)
			before := len(w.changes())
			first, err := r.do(ctx)
			must(t, err)
			equal(t, len(w.changes()), before)
			done, err := w.Replayed(ctx)
			must(t, err)
			equal(t, done, true)
			must(t, r.undo(w.ctx))
			before = len(w.changes())
			again, err := r.do(ctx)
			must(t, err)
			if len(w.changes()) != before {
				t.Errorf("%s: its repetition undid what came between", r.name)
			}
			if r.asBefore {
				equal(t, again, first)
			} else if again == nil || reflect.TypeOf(again) != reflect.TypeOf(first) || reflect.DeepEqual(again, first) {
				t.Errorf("%s: its repetition is answered %+v", r.name, again)
			}
			_, err = r.do(once(w.ctx, r.name, 2))
			wantErr(t, err, matcher.ErrKeyReused)
		}
	})
}
