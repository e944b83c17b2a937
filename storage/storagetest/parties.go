package storagetest

import (
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func testParties(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"the operator is there": func(f *fixture) {
			want := storage.NewOperator(storage.Options{Now: f.clock.Now})
			f.same([]storage.Party{want}, Dump(f, f.Catalogue).Parties)
			f.view(func(r storage.Reader) error {
				got, err := r.PartyNamed("operator")
				f.same(want, got)
				return err
			})
		},
		"round trip": func(f *fixture) {
			p := storage.Party{Name: "Zoë & Co", Kind: storage.CivilSociety, KeepMatches: 30, HistoryDays: 7, Suspended: true}
			f.update(func(w storage.Writer) error { return w.CreateParty(&p) })
			if p.ID != 2 || !p.CreatedAt.Equal(storage.Options{Now: f.clock.Now}.Time()) {
				f.Errorf("new party has id %d, time %v", p.ID, p.CreatedAt)
			}
			f.sameParty(p)
			f.clock.Advance(time.Hour)
			p.Name, p.Kind, p.KeepMatches, p.HistoryDays, p.Suspended = "other", storage.Authority, 1, 3650, false
			ignored := p
			ignored.CreatedAt, ignored.Seq = time.Time{}, 9
			f.update(func(w storage.Writer) error {
				if err := w.UpdateParty(ignored); err != nil {
					return err
				}
				return w.Append(&storage.Change{Kind: storage.PartyChanged, Party: p.ID})
			})
			p.Seq = 1
			f.sameParty(p)
		},
		"refused": func(f *fixture) {
			p := f.party("p")
			before := Dump(f, f.Catalogue)
			f.update(func(w storage.Writer) error {
				f.want(w.CreateParty(&storage.Party{Name: "p"}), storage.ErrExists)
				f.want(w.UpdateParty(storage.Party{ID: p.ID, Name: "operator"}), storage.ErrExists)
				f.want(w.UpdateParty(storage.Party{ID: 9, Name: "p"}), storage.ErrNotFound)
				_, err := w.Party(9)
				f.want(err, storage.ErrNotFound)
				_, err = w.PartyNamed("x")
				f.want(err, storage.ErrNotFound)
				return nil
			})
			f.same(before, Dump(f, f.Catalogue))
			f.update(func(w storage.Writer) error { return w.UpdateParty(p) }) // its own name is no other's
		},
		"subscriptions": func(f *fixture) {
			a, b, p := f.bank("a").ID, f.bank("b").ID, f.party("p").ID
			full := storage.Subscription{
				Party: p, Bank: a, On: true, Cap: map[hashing.Algorithm]int{hashing.PDQ: 0, hashing.PHash: 3},
				Action: "redirect", Link: "https://x/?a=b&c",
			}
			bare := storage.Subscription{Party: storage.Operator, Bank: b}
			f.update(func(w storage.Writer) error {
				f.must(w.SetSubscription(full))
				empty := bare
				empty.Cap = map[hashing.Algorithm]int{}
				f.must(w.SetSubscription(empty))
				all, err := w.Subscriptions()
				f.same([]storage.Subscription{bare, full}, all)
				f.want(w.SetSubscription(storage.Subscription{Party: 9, Bank: a}), storage.ErrNotFound)
				f.want(w.SetSubscription(storage.Subscription{Party: p, Bank: 9}), storage.ErrNotFound)
				return err
			})
			full.Cap[hashing.PDQ] = 7 // the caller's again
			Dump(f, f.Catalogue).Subscriptions[1].Cap[hashing.PDQ] = 8
			full.Cap[hashing.PDQ] = 0
			f.same([]storage.Subscription{bare, full}, Dump(f, f.Catalogue).Subscriptions)
			off := storage.Subscription{Party: p, Bank: a}
			f.update(func(w storage.Writer) error { return w.SetSubscription(off) })
			f.same([]storage.Subscription{bare, off}, Dump(f, f.Catalogue).Subscriptions)
		},
		"overlays": func(f *fixture) {
			bank, p := f.bank("a").ID, f.party("p").ID
			e, other := f.entry(storage.Entry{Bank: bank, Labels: []string{"x"}}), f.entry(storage.Entry{Bank: bank})
			f.update(func(w storage.Writer) error {
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: other.ID, Labels: []string{"z", "a", "z"}}))
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: e.ID, Labels: []string{}}))
				f.must(w.SetOverlay(storage.Overlay{Party: storage.Operator, Entry: e.ID, Disabled: true}))
				f.want(w.SetOverlay(storage.Overlay{Party: 9, Entry: e.ID}), storage.ErrNotFound)
				f.want(w.SetOverlay(storage.Overlay{Party: p, Entry: 9, Disabled: true}), storage.ErrNotFound)
				return nil
			})
			want := []storage.Overlay{
				{Party: storage.Operator, Entry: e.ID, Disabled: true},
				{Party: p, Entry: e.ID, Labels: []string{}},
				{Party: p, Entry: other.ID, Labels: []string{"z", "a"}},
			}
			f.same(want, Dump(f, f.Catalogue).Overlays)
			f.sameEntry(e) // the source's record is not touched
			f.update(func(w storage.Writer) error {
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: other.ID}))
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: other.ID})) // nothing is left to be removed
				return w.SetOverlay(storage.Overlay{Party: p, Entry: e.ID, Disabled: true})
			})
			want[1].Disabled, want[1].Labels = true, nil
			f.same(want[:2], Dump(f, f.Catalogue).Overlays)
		},
		"opinions": func(f *fixture) {
			bank, p, q := f.bank("a").ID, f.party("p").ID, f.party("q").ID
			e, other := f.entry(storage.Entry{Bank: bank}).ID, f.entry(storage.Entry{Bank: bank}).ID
			say := func(o storage.Opinion) storage.Opinion {
				f.Helper()
				f.clock.Advance(time.Second)
				given := o
				given.At = time.Time{}.AddDate(1, 0, 0) // not the caller's to say
				f.update(func(w storage.Writer) error { return w.SetOpinion(given) })
				o.At = storage.Options{Now: f.clock.Now}.Time()
				return o
			}
			first := say(storage.Opinion{Entry: e, Party: q, Stance: storage.Agree, Reason: "seen <&>", Actor: "k"})
			second := say(storage.Opinion{Entry: e, Party: p, Stance: storage.Saw})
			elsewhere := say(storage.Opinion{Entry: other, Party: p, Stance: storage.Disagree})
			f.opinions(map[storage.EntryID][]storage.Opinion{e: {first, second}}, e, 99)
			f.opinions(map[storage.EntryID][]storage.Opinion{e: {first, second}, other: {elsewhere}}, other, e, e)
			f.opinions(map[storage.EntryID][]storage.Opinion{})
			again := say(storage.Opinion{Entry: e, Party: q, Stance: storage.Disagree})
			f.opinions(map[storage.EntryID][]storage.Opinion{e: {second, again}}, e)
			f.update(func(w storage.Writer) error { // of one time: by party
				f.must(w.SetOpinion(storage.Opinion{Entry: other, Party: q}))
				f.must(w.SetOpinion(storage.Opinion{Entry: other, Party: p}))
				all, err := w.Opinions([]storage.EntryID{other})
				if len(all[other]) != 2 || all[other][0].Party != p {
					f.Errorf("opinions of one time: %+v", all)
				}
				f.want(w.SetOpinion(storage.Opinion{Entry: 99, Party: p}), storage.ErrNotFound)
				f.want(w.SetOpinion(storage.Opinion{Entry: e, Party: 9}), storage.ErrNotFound)
				if _, err := w.Opinions(make([]storage.EntryID, storage.MaxLabels+1)); err == nil {
					f.Error("too many ids are accepted")
				}
				return err
			})
		},
	})
}

// party makes a party with its change.
func (f *fixture) party(name string) storage.Party {
	f.Helper()
	p := storage.Party{Name: name, Kind: storage.PlatformParty, KeepMatches: 90}
	f.update(func(w storage.Writer) error {
		if err := w.CreateParty(&p); err != nil {
			return err
		}
		return w.Append(&storage.Change{Kind: storage.PartyCreated, Actor: "local", Party: p.ID, Body: body(storage.PartyBody{Name: name})})
	})
	f.view(func(r storage.Reader) (err error) {
		p, err = r.Party(p.ID)
		return err
	})
	return p
}

func (f *fixture) sameParty(want storage.Party) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Party(want.ID)
		f.same(want, got)
		return err
	})
}

func (f *fixture) opinions(want map[storage.EntryID][]storage.Opinion, ids ...storage.EntryID) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Opinions(ids)
		f.same(want, got)
		return err
	})
}
