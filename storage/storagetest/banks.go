package storagetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vigie/hashing"
	"vigie/storage"
)

func testBanks(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			want := storage.Bank{
				Name: "führer & co <1>", Description: "what\nfor",
				Policy: storage.Policy{Action: "block", Radius: map[hashing.Algorithm]int{hashing.PDQ: 31, hashing.PHash: 0}, KeepMedia: true},
			}
			f.update(func(w storage.Writer) error { return w.CreateBank(&want) })
			if want.ID != 1 || !want.CreatedAt.Equal(storage.Options{Now: f.clock.Now}.Time()) {
				f.Errorf("new bank has id %d, time %v", want.ID, want.CreatedAt)
			}
			f.sameBank(want)
			f.clock.Advance(1e9)
			want.Description, want.Policy = "other", storage.Policy{Action: "log"}
			f.update(func(w storage.Writer) error { return w.UpdateBank(want) })
			f.sameBank(want)
		},
		"names": func(f *fixture) {
			a := f.bank("a")
			b := f.bank("b")
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) }), storage.ErrExists)
			b.Name = "a"
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.UpdateBank(b) }), storage.ErrExists)

			a.Deleted = true
			f.change(a, storage.BankDeleted)
			f.named("a", a.ID) // the deleted one, as there is no other
			again := f.bank("a")
			f.named("a", again.ID)

			a.Deleted = false
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.UpdateBank(a) }), storage.ErrExists)
			again.Deleted = true
			f.change(again, storage.BankDeleted)
			f.named("a", again.ID)
			f.change(a, storage.BankRestored)
			f.named("a", a.ID)
			a.Deleted = true
			f.change(a, storage.BankDeleted)
			f.named("a", a.ID) // deleted last
		},
		"an error that is ignored undoes nothing else": func(f *fixture) {
			f.bank("a")
			f.update(func(w storage.Writer) error {
				f.want(w.CreateBank(&storage.Bank{Name: "a"}), storage.ErrExists)
				return w.CreateBank(&storage.Bank{Name: "b"})
			})
			f.named("b", 2)
		},
		"missing": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				_, err := w.Bank(1)
				f.want(err, storage.ErrNotFound)
				_, err = w.BankNamed("a")
				f.want(err, storage.ErrNotFound)
				f.want(w.UpdateBank(storage.Bank{ID: 1, Name: "a"}), storage.ErrNotFound)
				return nil
			})
		},
		"listing shares nothing": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				return w.CreateBank(&storage.Bank{Name: "a", Policy: storage.Policy{Radius: map[hashing.Algorithm]int{hashing.PDQ: 1}}})
			})
			before := Dump(f, f.Catalogue)
			Dump(f, f.Catalogue).Banks[0].Policy.Radius[hashing.PDQ] = 7
			f.same(before, Dump(f, f.Catalogue))
		},
	})
}

func (f *fixture) sameBank(want storage.Bank) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Bank(want.ID)
		f.same(want, got)
		return err
	})
}

func (f *fixture) named(name string, want storage.BankID) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		b, err := r.BankNamed(name)
		if b.ID != want {
			f.Errorf("bank named %s is %d, want %d", name, b.ID, want)
		}
		return err
	})
}

// change updates a bank with its change.
func (f *fixture) change(b storage.Bank, kind storage.Kind) {
	f.Helper()
	f.update(func(w storage.Writer) error {
		if err := w.UpdateBank(b); err != nil {
			return err
		}
		return w.Append(&storage.Change{Kind: kind, Bank: b.ID, Body: body(storage.BankBody{Name: b.Name, Deleted: b.Deleted})})
	})
}

func (f *fixture) same(want, got any) {
	f.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("differs (-want +got):\n%s", diff)
	}
}
