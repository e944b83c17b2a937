package storagetest

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func testUpdates(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"a failure leaves nothing": func(f *fixture) {
			f.furnish()
			before := Dump(f, f.Catalogue)
			err := f.Update(f.ctx, func(w storage.Writer) error {
				f.must(doEverything(w))
				return errMeant
			})
			if err != errMeant {
				f.Errorf("got %v, want the error of the function itself", err)
			}
			f.same(before, Dump(f, f.Catalogue))
			f.update(func(w storage.Writer) error { // rows that cannot be dumped
				f.want(w.MediaLive(Signal(hashing.SHA256, 8).Value), storage.ErrConflict)
				_, err := w.Remembered("s", "new")
				f.want(err, storage.ErrNotFound)
				shipped, err := w.Shipped(nodeA)
				f.same(uint64(2), shipped)
				return err
			})
			f.update(doEverything)
			f.verify()
		},
		"a panic is the caller's": func(f *fixture) {
			f.furnish()
			before := Dump(f, f.Catalogue)
			func() {
				defer func() {
					if recover() != errMeant {
						f.Error("the panic did not reach the caller")
					}
				}()
				f.Update(f.ctx, func(w storage.Writer) error {
					f.must(doEverything(w))
					panic(errMeant)
				})
			}()
			f.same(before, Dump(f, f.Catalogue))
			f.update(doEverything)
			f.verify()
		},
		"a writer reads what it wrote": func(f *fixture) {
			f.furnish()
			f.update(func(w storage.Writer) error {
				f.must(doEverything(w))
				e, err := w.Entry(3)
				if err == nil && e.Note != "new" {
					f.Errorf("note is %q", e.Note)
				}
				return err
			})
		},
		"a context that has ended": func(f *fixture) {
			ended, cancel := context.WithCancel(f.ctx)
			cancel()
			f.want(f.Update(ended, func(storage.Writer) error { f.Error("it ran"); return nil }), context.Canceled)
			f.want(f.View(ended, func(storage.Reader) error { f.Error("it ran"); return nil }), context.Canceled)
		},
		"a context that ends in the middle": func(f *fixture) {
			ctx, cancel := context.WithCancel(f.ctx)
			err := f.Update(ctx, func(w storage.Writer) error {
				cancel()
				return addBank(w, "a", new(storage.Bank))
			})
			f.must(err)
			f.named("a", 1)
		},
		"a context that ends in the queue": func(f *fixture) {
			inside, finish := make(chan bool), make(chan bool)
			var wait sync.WaitGroup
			wait.Go(func() {
				f.Update(f.ctx, func(storage.Writer) error {
					inside <- true
					<-finish
					return nil
				})
			})
			<-inside
			ctx, cancel := context.WithCancel(f.ctx)
			for range 8 {
				wait.Go(func() {
					err := f.Update(ctx, func(storage.Writer) error { f.Error("it ran"); return nil })
					f.want(err, context.Canceled)
				})
			}
			cancel()
			close(finish)
			wait.Wait()
			f.bank("still works")
		},
		"a view sees one state": func(f *fixture) {
			f.bank("a")
			stop := make(chan bool)
			var written atomic.Uint64 // the last change
			var ended atomic.Bool
			var wait sync.WaitGroup
			wait.Go(func() {
				defer ended.Store(true)
				for {
					select {
					case <-stop:
						return
					default:
						e := f.entry(storage.Entry{Bank: 1, Labels: []string{"l"}, Signals: []hashing.Signal{Signal(hashing.PDQ, 1)}})
						written.Store(e.Seq)
					}
				}
			})
			for range 20 {
				f.view(func(r storage.Reader) error {
					head, err := r.Head()
					f.must(err)
					for range 3 {
						for written.Load() <= head.Seq && !ended.Load() { // nobody has written yet
							time.Sleep(50 * time.Microsecond)
						}
						all, err := AllEntries(r, 50)
						f.must(err)
						again, err := r.Head()
						if again != head || uint64(len(all))+1 != head.Seq {
							f.Errorf("head %d became %d with %d entries", head.Seq, again.Seq, len(all))
						}
						for _, e := range all {
							if len(e.Labels) != 1 || len(e.Signals) != 1 || len(e.Sources) != 1 || e.Seq == 0 {
								f.Errorf("half an entry: %+v", e)
							}
						}
						if err != nil {
							return err
						}
					}
					return nil
				})
			}
			close(stop)
			wait.Wait()
		},
		"a view inside an update sees what is committed": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				f.must(addBank(w, "a", new(storage.Bank)))
				return f.View(f.ctx, func(r storage.Reader) error {
					_, err := r.Bank(1)
					f.want(err, storage.ErrNotFound)
					return nil
				})
			})
		},
		"closed": func(f *fixture) {
			f.bank("a")
			waiting := make(chan error)
			go func() { waiting <- f.Wait(f.ctx, 1) }()
			f.must(f.Close())
			f.want(<-waiting, os.ErrClosed)
			f.must(f.Close())
			f.want(f.Update(f.ctx, func(storage.Writer) error { return nil }), os.ErrClosed)
			f.want(f.View(f.ctx, func(storage.Reader) error { return nil }), os.ErrClosed)
			_, err := f.Head(f.ctx)
			f.want(err, os.ErrClosed)
			_, err = f.Changes(f.ctx, 0, 1)
			f.want(err, os.ErrClosed)
		},
	})
}

func testReopen(t *testing.T, open Open) {
	f := setup(t, open)
	if _, can := f.Catalogue.(Reopener); !can {
		t.Skip("nothing is kept")
	}
	f.furnish()
	f.pend(Signal(hashing.SHA256, 5).Value, false)
	added := Signal(hashing.PDQ, 70)
	f.update(func(w storage.Writer) error {
		return w.Extend(1, []hashing.Signal{added}, storage.MediaInfo{SHA256: Signal(hashing.SHA256, 5).Value, Bytes: 5})
	})
	for range 3 {
		before := Dump(f, f.Catalogue)
		f.Catalogue = f.Catalogue.(Reopener).Reopen(t)
		f.same(before, Dump(f, f.Catalogue))
		f.with(1, added, 1)
		f.update(func(w storage.Writer) error { return w.MediaLive(Signal(hashing.SHA256, 5).Value) })
		f.entry(storage.Entry{Bank: 1, Note: "more"})
		f.verify()
	}
}

// furnish fills a catalogue with something of everything.
func (f *fixture) furnish() {
	f.Helper()
	f.bank("a")
	f.bank("b")
	for i := range 2 {
		f.entry(storage.Entry{Bank: 1, Note: "old", Labels: []string{"x", "y"}, Signals: []hashing.Signal{Signal(hashing.PDQ, uint64(i)), Signal(hashing.MD5, 3)}})
	}
	f.update(func(w storage.Writer) error {
		k := storage.Key{ID: "k", Name: "n", Role: storage.Admin}
		if err := w.CreateKey(&k); err != nil {
			return err
		}
		return w.Append(&storage.Change{Kind: storage.KeyCreated, Key: "k", Private: body("n")})
	})
	f.party("p")
	f.update(func(w storage.Writer) error {
		match := storage.MatchRecord{
			ID: storage.MatchID{Node: nodeA, Number: 1}, At: f.clock.Now(), Party: 2, ContentID: "c", Level: "match",
			Entries: []storage.MatchEntry{{Entry: 1, Bank: 1}}, Verdict: body(1),
		}
		return errors.Join(
			w.SetSubscription(storage.Subscription{Party: 2, Bank: 1, On: true}),
			w.SetOverlay(storage.Overlay{Party: 2, Entry: 1, Disabled: true}),
			w.SetOpinion(storage.Opinion{Party: 2, Entry: 1, Stance: storage.Agree}),
			w.Remember(storage.Remembered{Scope: "s", Key: "old"}),
			w.AddMatches(nodeA, []storage.MatchRecord{match}),
			w.AddSignIns(nodeA, []storage.SignIn{{ID: storage.MatchID{Node: nodeA, Number: 2}, At: f.clock.Now(), Key: "k"}}),
			w.SetShipped(nodeA, 2),
			w.AddDecision(&storage.Decision{Match: match.ID, Ruling: storage.Removed, Entries: []storage.EntryID{1}}),
		)
	})
}

// nodeA is one whose journal has come.
const nodeA = "0000000a"

// doEverything uses every method of a writer once, on a furnished catalogue.
func doEverything(w storage.Writer) error {
	sha := Signal(hashing.SHA256, 8).Value
	e := storage.Entry{Bank: 1, Note: "new", Signals: []hashing.Signal{Signal(hashing.PDQ, 9)}}
	for _, do := range []func() error{
		func() error { return addBank(w, "c", new(storage.Bank)) },
		func() error { return w.UpdateBank(storage.Bank{ID: 2, Name: "bb", Deleted: true}) },
		func() error { return AddEntry(w, &e) },
		func() error {
			return w.UpdateEntry(storage.Entry{ID: 1, Status: storage.Retracted, Labels: []string{"q"}, Note: "changed"})
		},
		func() error { return w.AddSource(2, storage.Source{Actor: "k"}) },
		func() error {
			return w.Extend(2, []hashing.Signal{Signal(hashing.PDQ, 77)}, storage.MediaInfo{SHA256: sha, Bytes: 1})
		},
		func() error { return w.Append(&storage.Change{Kind: storage.EntrySourced, Entry: 2, Bank: 1}) },
		func() error { return w.CreateKey(&storage.Key{ID: "k2", Role: storage.Platform}) },
		func() error { return w.UpdateKey(storage.Key{ID: "k", Name: "other"}) },
		func() error { _, err := w.MediaPend(sha, 1); return err },
		func() error { return w.MediaLive(sha) },
		func() error { return w.CreateParty(&storage.Party{Name: "new"}) },
		func() error { return w.UpdateParty(storage.Party{ID: 2, Name: "other", Suspended: true}) },
		func() error { return w.Append(&storage.Change{Kind: storage.PartyChanged, Party: 2}) },
		func() error { return w.SetSubscription(storage.Subscription{Party: 2, Bank: 1}) },
		func() error { return w.SetSubscription(storage.Subscription{Party: 1, Bank: 1}) },
		func() error { return w.SetOverlay(storage.Overlay{Party: 2, Entry: 1}) },
		func() error { return w.SetOverlay(storage.Overlay{Party: 1, Entry: 1, Labels: []string{}}) },
		func() error { return w.SetOpinion(storage.Opinion{Party: 2, Entry: 1, Stance: storage.Disagree}) },
		func() error { return w.SetOpinion(storage.Opinion{Party: 1, Entry: 1, Stance: storage.Saw}) },
		func() error { return w.Remember(storage.Remembered{Scope: "s", Key: "new"}) },
		func() error { return count(w.Forget(time.Now().AddDate(9, 0, 0), 1)) },
		func() error {
			id := storage.MatchID{Node: nodeA, Number: 3}
			m := storage.MatchRecord{ID: id, Party: 2, ContentID: "c", Entries: []storage.MatchEntry{{Entry: 2, Bank: 1}}, Verdict: body(2)}
			return w.AddMatches(nodeA, []storage.MatchRecord{m})
		},
		func() error {
			return w.AddSignIns(nodeA, []storage.SignIn{{ID: storage.MatchID{Node: nodeA, Number: 4}, At: time.Now()}})
		},
		func() error { return w.SetShipped(nodeA, 4) },
		func() error { return count(w.EraseContent(2, "c")) },
		func() error {
			return w.AddDecision(&storage.Decision{Match: storage.MatchID{Node: nodeA, Number: 1}, Ruling: storage.BadHash, Entries: []storage.EntryID{1}})
		},
		func() error { return count(w.ExpireMatches(2, time.Now().AddDate(9, 0, 0), 1)) },
		func() error { return count(w.ExpireSignIns(time.Now().AddDate(9, 0, 0), 1)) },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// count takes it for an error that nothing was done.
func count(n int, err error) error {
	if err == nil && n == 0 {
		err = errors.New("nothing was there to be removed")
	}
	return err
}
