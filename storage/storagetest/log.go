package storagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"vigie/storage"
)

func testLog(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"empty": func(f *fixture) {
			head := f.verify()
			if len(head.LogID) != 32 || head.Seq != 0 || head.Root != (storage.Tree{}).Root() {
				f.Errorf("head of the empty log: %+v", head)
			}
			changes, err := f.Changes(f.ctx, 0, 10)
			if err != nil || len(changes) != 0 {
				f.Errorf("changes of the empty log: %v, %v", changes, err)
			}
		},
		"a change": func(f *fixture) {
			bank := f.bank("a").ID
			e := storage.Entry{Bank: bank, Status: storage.Active}
			c := storage.Change{Kind: storage.EntryAdded, Actor: "k<1>", Bank: bank, Private: []byte(`{"note": "secret"}`), Body: []byte(` {"b" : "é<&>",  "a":1 }`)}
			f.update(func(w storage.Writer) error {
				if err := w.CreateEntry(&e); err != nil {
					return err
				}
				c.Entry = e.ID
				err := w.Append(&c)
				head, err2 := w.Head()
				if c.Seq != 0 || head.Seq != 1 {
					f.Errorf("numbers are given before the commit: %d, head %d", c.Seq, head.Seq)
				}
				return errors.Join(err, err2)
			})
			if c.Seq != 2 || !c.At.Equal(storage.Options{Now: f.clock.Now}.Time()) || len(c.Salt) != 32 {
				f.Errorf("the change is not filled in: %+v", c)
			}
			head := f.verify()
			want := fmt.Sprintf(`{"log":%q,"seq":2,"at":"2026-11-22T06:00:00.123Z","kind":"entry.added","actor":"k<1>","bank":1,"entry":1,"body":{"b":"é<&>","a":1},"private":"%x"}`,
				head.LogID, storage.Commitment(c.Salt, c.Private))
			f.same(want, string(c.Record))
			if bytes.Contains(c.Record, []byte("secret")) {
				f.Error("the record holds private data")
			}
			s := Dump(f, f.Catalogue)
			f.same(c, s.Changes[1])
			if s.Entries[0].Seq != 2 || s.Banks[0].Seq != 1 {
				f.Errorf("subject has seq %d, its bank %d; want 2 and 1", s.Entries[0].Seq, s.Banks[0].Seq)
			}
		},
		"several in one update": func(f *fixture) {
			f.bank("a")
			f.update(func(w storage.Writer) error {
				for range 5 {
					if err := AddEntry(w, &storage.Entry{Bank: 1, Note: "n"}); err != nil {
						return err
					}
				}
				return nil
			})
			if head := f.verify(); head.Seq != 6 {
				f.Errorf("head is %d, want 6", head.Seq)
			}
		},
		"refused": func(f *fixture) {
			before := Dump(f, f.Catalogue)
			for name, c := range map[string]storage.Change{
				"body":    {Kind: "x", Body: json.RawMessage(`{`)},
				"private": {Kind: "x", Private: json.RawMessage(`{`)},
				"utf-8":   {Kind: "x", Actor: "\xff"},
				"entry":   {Kind: "entry.x", Entry: 9},
				"none":    {Kind: "entry.x", Bank: 9},
				"key":     {Kind: "key.x", Key: "k"},
				"bank":    {Kind: "bank.x", Bank: 9},
				"party":   {Kind: "party.x", Party: 9},
			} {
				given := c
				err := f.Update(f.ctx, func(w storage.Writer) error {
					return errors.Join(addBank(w, "a", new(storage.Bank)), w.Append(&c))
				})
				if err == nil {
					f.Errorf("%s is accepted", name)
				}
				f.same(given, c)
				f.same(before, Dump(f, f.Catalogue))
			}
			f.verify()
		},
		"pages": func(f *fixture) {
			for i := range 12 {
				f.bank(fmt.Sprint(i))
			}
			for after := range uint64(14) {
				for _, limit := range []int{-1, 0, 1, 5, 100} {
					page, err := f.Changes(f.ctx, after, limit)
					if err != nil {
						f.Fatal(err)
					}
					if want := max(0, min(limit, 12-int(after))); len(page) != want {
						f.Errorf("after %d, limit %d: %d changes, want %d", after, limit, len(page), want)
					}
					for i, c := range page {
						if c.Seq != after+uint64(i)+1 {
							f.Errorf("after %d: change %d at place %d", after, c.Seq, i)
						}
					}
				}
			}
		},
		"writers at once leave no gap": func(f *fixture) {
			f.bank("a")
			const writers, each = 8, 25
			seqs := make([][]uint64, writers)
			var wait sync.WaitGroup
			for i := range writers {
				wait.Go(func() {
					for n := range each {
						fails := (n+i)%3 == 0
						var c storage.Change
						err := f.Update(f.ctx, func(w storage.Writer) error {
							e := storage.Entry{Bank: 1, Status: storage.Active, Note: fmt.Sprint(i, n)}
							if err := w.CreateEntry(&e); err != nil {
								return err
							}
							c = storage.Change{Kind: storage.EntryAdded, Entry: e.ID, Bank: 1, Private: body(i)}
							if err := w.Append(&c); err != nil {
								return err
							}
							if fails {
								return errMeant
							}
							return nil
						})
						switch {
						case fails && err != errMeant:
							f.Errorf("got %v, want the error of the function itself", err)
						case !fails && err != nil:
							f.Error(err)
						case !fails:
							seqs[i] = append(seqs[i], c.Seq)
						}
					}
				})
			}
			wait.Wait()
			seen := map[uint64]bool{1: true}
			for _, s := range seqs {
				for i, seq := range s {
					if seen[seq] || i > 0 && seq < s[i-1] {
						f.Errorf("number %d is given twice or out of order", seq)
					}
					seen[seq] = true
				}
			}
			head := f.verify()
			s := Dump(f, f.Catalogue)
			if head.Seq != uint64(len(seen)) || len(s.Entries) != len(seen)-1 {
				f.Errorf("head is %d, %d entries, %d numbers given", head.Seq, len(s.Entries), len(seen))
			}
			CheckPairs(f, s)
		},
		"wait": func(f *fixture) {
			f.bank("a")
			f.must(f.Wait(f.ctx, 0))
			ended, cancel := context.WithCancel(f.ctx)
			cancel()
			f.want(f.Wait(ended, 1), context.Canceled)
			woken := make(chan error, 4)
			for range cap(woken) {
				go func() { woken <- f.Wait(f.ctx, 1) }()
			}
			f.bank("b")
			for range cap(woken) {
				select {
				case err := <-woken:
					f.must(err)
				case <-time.After(10 * time.Second):
					f.Fatal("a waiter was not woken")
				}
			}
		},
	})
}

var errMeant = errors.New("meant to fail")

func (f *fixture) verify() storage.Head {
	f.Helper()
	head, err := storage.VerifyLog(f.ctx, f.Catalogue, nil)
	f.must(err)
	return head
}

// CheckPairs checks that every entry has its entry.added, and every entry.added its entry.
func CheckPairs(t testing.TB, s State) {
	t.Helper()
	added := map[storage.EntryID]uint64{}
	for _, c := range s.Changes {
		if c.Kind == storage.EntryAdded {
			added[c.Entry] = c.Seq
		}
	}
	for _, e := range s.Entries {
		if added[e.ID] == 0 {
			t.Errorf("entry %d is in no change", e.ID)
		}
		delete(added, e.ID)
	}
	for id, seq := range added {
		t.Errorf("change %d added entry %d, which is not there", seq, id)
	}
}
