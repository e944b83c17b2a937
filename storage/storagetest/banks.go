package storagetest

import (
	"testing"
	"time"

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
			if want.Owner != storage.Operator || want.Kind != storage.Positive {
				f.Errorf("new bank is of %d and %s", want.Owner, want.Kind)
			}
			f.sameBank(want)
			f.clock.Advance(1e9)
			want.Description, want.Policy = "other", storage.Policy{Action: "log"}
			ignored := want
			ignored.Owner, ignored.Kind, ignored.Seq, ignored.CreatedAt = 9, storage.KnownGood, 9, time.Time{}
			f.update(func(w storage.Writer) error { return w.UpdateBank(ignored) })
			f.sameBank(want)
		},
		"of a party": func(f *fixture) {
			p := f.party("p")
			ratio := 0.0
			at := f.clock.Now()
			policy := storage.Policy{
				Action: "redirect", Link: "https://x/", EnabledRatio: &ratio, MinQuality: 3, Flood: 4,
				Overturn: storage.Overturn{Rate: 0.5, Min: 7}, Radius: map[hashing.Algorithm]int{hashing.PDQ: 31},
			}
			given := storage.Bank{
				Name: "a", Owner: p.ID, Kind: storage.KnownGood, Members: []storage.PartyID{7, 3, 7}, Open: true, Dual: true, Policy: policy,
				Proposal: &storage.Proposal{
					Kind: storage.BankChanged, Actor: "k", At: at.In(time.FixedZone("", 3600)), Reason: "why <&>",
					Bank: &storage.ProposedBank{
						Name: "b", Description: "d", Policy: policy, Members: []storage.PartyID{5, 2}, Open: true, Dual: true, Deleted: true,
					},
				},
			}
			f.update(func(w storage.Writer) error { return w.CreateBank(&given) })
			want := given
			want.Members = []storage.PartyID{3, 7}
			want.Proposal = &storage.Proposal{Kind: storage.BankChanged, Actor: "k", At: at.Truncate(time.Millisecond), Reason: "why <&>", Bank: &storage.ProposedBank{
				Name: "b", Description: "d", Policy: policy, Members: []storage.PartyID{2, 5}, Open: true, Dual: true, Deleted: true,
			}}
			f.sameBank(want)
			*given.Policy.EnabledRatio, given.Proposal.Bank.Name, given.Members[0] = 1, "changed", 9 // they are the caller's again
			zero := 0.0
			want.Policy.EnabledRatio, want.Proposal.Bank.Policy.EnabledRatio = &zero, &zero
			f.sameBank(want)

			want.Members, want.Proposal, want.Open, want.Dual = []storage.PartyID{}, nil, false, false
			f.update(func(w storage.Writer) error { return w.UpdateBank(want) })
			want.Members = nil
			f.sameBank(want)
			f.update(func(w storage.Writer) error {
				f.want(w.CreateBank(&storage.Bank{Name: "b", Owner: 9}), storage.ErrNotFound)
				return nil
			})
			f.same(1, len(Dump(f, f.Catalogue).Banks))
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
		"names of two owners": func(f *fixture) {
			p, ours := f.party("p"), f.bank("a")
			theirs := storage.Bank{Name: "a", Owner: p.ID}
			f.update(func(w storage.Writer) error { return w.CreateBank(&theirs) })
			f.named("a", ours.ID)
			f.view(func(r storage.Reader) error {
				b, err := r.BankNamed(p.ID, "a")
				f.same(theirs.ID, b.ID)
				return err
			})
			again := theirs
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.CreateBank(&again) }), storage.ErrExists)
			theirs.Owner = storage.Operator // it stays
			f.update(func(w storage.Writer) error { return w.UpdateBank(theirs) })
			theirs.Owner, theirs.Deleted = p.ID, true
			f.change(theirs, storage.BankDeleted)
			f.named("a", ours.ID)
			f.update(func(w storage.Writer) error { return w.CreateBank(&again) })
			f.want(f.Update(f.ctx, func(w storage.Writer) error {
				theirs.Deleted = false
				return w.UpdateBank(theirs)
			}), storage.ErrExists)
			f.view(func(r storage.Reader) error {
				_, err := r.BankNamed(p.ID+1, "a")
				f.want(err, storage.ErrNotFound)
				return nil
			})
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
				_, err = w.BankNamed(storage.Operator, "a")
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
		b, err := r.BankNamed(storage.Operator, name)
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
