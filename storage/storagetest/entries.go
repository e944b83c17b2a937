package storagetest

import (
	"slices"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func testEntries(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			bank := f.bank("a")
			var signals []hashing.Signal
			for i, a := range hashing.Algorithms() {
				s := Signal(a, 1)
				s.Quality, s.Version = hashing.Quality(i*20), uint8(i)
				signals = append(signals, s)
			}
			for i, v := range []hashing.Variant{hashing.Black, hashing.CLI, hashing.White, hashing.Framed, hashing.Trimmed, hashing.Plain} {
				s := Signal(hashing.PDQ, 2)
				s.Variant, s.Quality, s.Time = v, hashing.QualityUnknown, uint32(i)*1_000_000_000
				s.Time -= uint32(i) // up to more than half of its range
				signals = append(signals, s)
			}
			signals = append(signals, hashing.Signal{Algorithm: hashing.PDQ}) // all bits zero
			now := storage.Options{Now: f.clock.Now}.Time()
			want := storage.Entry{
				Bank: bank.ID, Status: storage.Retracted, ExactOnly: true, Signals: signals,
				Labels: []string{"z", "ä", "a"}, Note: "note <b> \x01", Reason: "why",
				Media: storage.MediaInfo{SHA256: Signal(hashing.SHA256, 1).Value, Bytes: 1 << 40, Format: "png", Width: 3, Height: 4, Duration: 1<<32 - 1, Kept: true},
				Sources: []storage.Source{
					{Actor: "local", Origin: "https://x/?a=b&c"},
					{Actor: "k"},
					{Actor: "k", List: "a list", Foreign: "17", At: now.Add(-time.Hour)},
				},
				ExpiresAt: now.Add(time.Hour),
			}
			f.update(func(w storage.Writer) error { return w.CreateEntry(&want) })
			if want.ID != 1 || !want.CreatedAt.Equal(now) || !want.Sources[1].At.Equal(now) || !want.Sources[2].At.Equal(now.Add(-time.Hour)) {
				f.Errorf("new entry: %+v", want)
			}
			f.sameEntry(want)

			changed := want
			changed.Status, changed.Labels, changed.Note, changed.Reason = storage.Active, []string{"b", "a"}, "", "because"
			changed.Proposal = &storage.Proposal{Kind: storage.EntryRetracted, Actor: "k", At: now, Reason: "r", ExpiresAt: now.Add(time.Minute)}
			changed.ExpiresAt = now.Add(3 * time.Hour)
			ignored := changed
			ignored.Signals, ignored.Sources, ignored.Media, ignored.Bank = nil, nil, storage.MediaInfo{}, 9
			f.update(func(w storage.Writer) error { return w.UpdateEntry(ignored) })
			f.sameEntry(changed)

			f.clock.Advance(time.Hour)
			f.update(func(w storage.Writer) error {
				return w.AddSource(want.ID, storage.Source{Actor: "later", Origin: "o"})
			})
			changed.Sources = append(slices.Clone(changed.Sources), storage.Source{At: now.Add(time.Hour), Actor: "later", Origin: "o"})
			f.sameEntry(changed)
		},
		"many": func(f *fixture) {
			a, b := f.bank("a").ID, f.bank("b").ID
			one := func(bank storage.BankID, n uint64) *storage.Entry {
				return &storage.Entry{
					Bank: bank, Status: storage.Active, Labels: []string{"y", "x", "y"}, Signals: []hashing.Signal{Signal(hashing.PDQ, n), Signal(hashing.MD5, n)},
					Sources: []storage.Source{{Actor: "k"}, {Actor: "k", List: "l", At: f.clock.Now().Add(-time.Hour)}},
				}
			}
			several := []*storage.Entry{one(a, 1), one(b, 2), one(a, 1), {Bank: b, Status: storage.Proposed, Note: "n", Proposal: &storage.Proposal{Kind: storage.EntryConfirmed}}}
			before, after := one(a, 3), one(b, 4)
			f.update(func(w storage.Writer) error {
				if err := AddEntry(w, before); err != nil {
					return err
				}
				if err := w.CreateEntries(several); err != nil {
					return err
				}
				if err := w.Extend(several[1].ID, []hashing.Signal{Signal(hashing.PDQ, 1)}, storage.MediaInfo{Bytes: 7}); err != nil {
					return err
				}
				if err := w.CreateEntries(nil); err != nil {
					return err
				}
				return AddEntry(w, after)
			})
			several[1].Signals, several[1].Media.Bytes = append(several[1].Signals, Signal(hashing.PDQ, 1)), 7
			for i, e := range append(several, after) {
				if want := storage.EntryID(i + 2); e.ID != want {
					f.Errorf("entry %d has the number %d", want, e.ID)
				}
				e.Labels = storage.DistinctLabels(e.Labels)
				for i := range e.Sources {
					e.Sources[i].At = storage.KeptTime(e.Sources[i].At)
				}
				if e == after {
					e.Seq = 4
				}
				f.sameEntry(*e)
			}
			f.view(func(r storage.Reader) error {
				asked := []hashing.Signal{Signal(hashing.PDQ, 1), Signal(hashing.PDQ, 9), Signal(hashing.MD5, 3), Signal(hashing.PDQ, 1), Signal(hashing.MD5, 2)}
				for bank, want := range map[storage.BankID][][]storage.EntryID{a: {{2, 4}, nil, {1}, {2, 4}, nil}, b: {{3}, nil, nil, {3}, {3}}, 9: {nil, nil, nil, nil, nil}} {
					with, err := r.EntriesWithAny(bank, asked)
					f.must(err)
					f.same(want, with)
				}
				with, err := r.EntriesWithAny(a, nil)
				f.same(0, len(with))
				if _, err := r.EntriesWithAny(a, make([]hashing.Signal, 1)); err == nil {
					f.Error("an unknown algorithm is accepted")
				}
				return err
			})
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.CreateEntries([]*storage.Entry{one(a, 5), one(9, 5)}) }), storage.ErrNotFound)
			if f.Update(f.ctx, func(w storage.Writer) error { return w.CreateEntries([]*storage.Entry{one(a, 5), {Bank: a}}) }) == nil {
				f.Error("an entry without a status is stored")
			}
		},
		"bare": func(f *fixture) {
			want := storage.Entry{Bank: f.bank("a").ID, Status: storage.Active}
			f.update(func(w storage.Writer) error { return w.CreateEntry(&want) })
			f.sameEntry(want)
		},
		"repeated labels count once": func(f *fixture) {
			e := f.entry(storage.Entry{Bank: f.bank("a").ID, Labels: []string{"x", "y", "x"}})
			f.same([]string{"x", "y"}, e.Labels)
		},
		"refused": func(f *fixture) {
			bank := f.bank("a")
			f.update(func(w storage.Writer) error {
				long := Signal(hashing.PHash, 1)
				long.Value[3] = 1
				for name, s := range map[string]hashing.Signal{
					"zero": {}, "algorithm": {Algorithm: 99}, "variant": {Algorithm: hashing.PDQ, Variant: 99}, "long": long,
				} {
					if w.CreateEntry(&storage.Entry{Bank: bank.ID, Status: storage.Active, Signals: []hashing.Signal{s}}) == nil {
						f.Errorf("signal %s is stored", name)
					}
				}
				f.want(w.CreateEntry(&storage.Entry{Bank: 9, Status: storage.Active}), storage.ErrNotFound)
				f.want(w.UpdateEntry(storage.Entry{ID: 9}), storage.ErrNotFound)
				f.want(w.AddSource(9, storage.Source{}), storage.ErrNotFound)
				_, err := w.Entry(9)
				f.want(err, storage.ErrNotFound)
				for _, limit := range []int{-1, 0, storage.MaxEntries + 1} {
					if _, err := w.Entries(storage.EntryQuery{Limit: limit}); err == nil {
						f.Errorf("limit %d is accepted", limit)
					}
				}
				return nil
			})
		},
		"listing": func(f *fixture) {
			a, b, c := f.bank("a").ID, f.bank("b").ID, f.bank("c").ID
			waiting := [7]*storage.Proposal{{Kind: storage.EntryRetracted, Actor: "k"}}
			f.update(func(w storage.Writer) error {
				for i := range 60 {
					e := storage.Entry{Bank: a, Status: storage.Active, Proposal: waiting[i%7], Signals: []hashing.Signal{Signal(hashing.PDQ, uint64(i)), Signal(hashing.MD5, uint64(i))}}
					if i%3 == 0 {
						e.Bank = b
					}
					if i > 20 && i < 30 {
						e.Bank = c
					}
					if i%4 == 0 {
						e.Status = storage.Retracted
					}
					if i%5 == 0 {
						e.Labels = []string{"five", "x"}
					}
					if err := AddEntry(w, &e); err != nil {
						return err
					}
				}
				return nil
			})
			f.view(func(r storage.Reader) error {
				all, err := AllEntries(r, 10000)
				if err != nil || len(all) != 60 {
					f.Fatalf("%d entries, %v", len(all), err)
				}
				var queries []storage.EntryQuery
				for _, bank := range []storage.BankID{0, a, b, 9} {
					for _, banks := range [][]storage.BankID{nil, {}, {a}, {c, a, 9, c}} {
						for _, status := range []storage.Status{"", storage.Active, storage.Retracted, "other"} {
							for _, label := range []string{"", "five", "none"} {
								for _, waiting := range []bool{false, true} {
									queries = append(queries, storage.EntryQuery{Bank: bank, Banks: banks, Status: status, Label: label, Waiting: waiting})
								}
							}
						}
					}
				}
				for _, q := range queries {
					var want []storage.Entry
					for _, e := range all {
						if (q.Bank == 0 || e.Bank == q.Bank) && (q.Banks == nil || slices.Contains(q.Banks, e.Bank)) &&
							(q.Status == "" || e.Status == q.Status) && (q.Label == "" || slices.Contains(e.Labels, q.Label)) &&
							(!q.Waiting || e.Proposal != nil) {
							want = append(want, e)
						}
					}
					for _, page := range []int{1, 7, 100} {
						q.After, q.Limit = 0, page
						var got []storage.Entry
						for {
							es, err := r.Entries(q)
							if err != nil {
								return err
							}
							if len(es) > page {
								f.Errorf("a page of %d has %d entries", page, len(es))
							}
							if len(es) == 0 {
								break
							}
							got = append(got, es...)
							q.After = es[len(es)-1].ID
						}
						f.same(want, got)
					}
				}
				return nil
			})
		},
		"an entry keeps its bank when its labels change": func(f *fixture) {
			a := f.bank("a").ID
			e := f.entry(storage.Entry{Bank: a, Labels: []string{"x"}})
			e.Labels, e.Bank = []string{"y"}, 9
			f.update(func(w storage.Writer) error { return w.UpdateEntry(e) })
			f.view(func(r storage.Reader) error {
				es, err := r.Entries(storage.EntryQuery{Bank: a, Label: "y", Limit: 1})
				f.same(1, len(es))
				return err
			})
		},
		"a proposal is kept apart": func(f *fixture) {
			given := storage.Entry{Bank: f.bank("a").ID, Proposal: &storage.Proposal{Actor: "k"}}
			stored := f.entry(given)
			given.Proposal.Actor = "changed"
			f.sameEntry(stored)
			stored.Proposal.Actor = "changed too"
			f.same("k", Dump(f, f.Catalogue).Entries[0].Proposal.Actor)
		},
		"with a signal": func(f *fixture) {
			a, b := f.bank("a").ID, f.bank("b").ID
			s := Signal(hashing.PDQ, 1)
			cli := s
			cli.Variant = hashing.CLI
			cli.Quality = 3
			first := f.entry(storage.Entry{Bank: a, Signals: []hashing.Signal{s, s, cli}})
			f.entry(storage.Entry{Bank: b, Signals: []hashing.Signal{s}})
			f.entry(storage.Entry{Bank: a, Signals: []hashing.Signal{cli, Signal(hashing.PDQ, 2)}})
			retracted := f.entry(storage.Entry{Bank: a, Status: storage.Retracted, Signals: []hashing.Signal{s}})
			worse := s
			worse.Quality, worse.Version = 1, 9 // not part of the question
			f.view(func(r storage.Reader) error {
				got, err := r.EntriesWith(a, worse)
				f.same([]storage.EntryID{first.ID, retracted.ID}, got)
				none, err2 := r.EntriesWith(a, Signal(hashing.SHA256, 1))
				if err2 != nil || len(none) != 0 {
					f.Errorf("unknown signal: %v, %v", none, err2)
				}
				return err
			})
		},
		"labels of several": func(f *fixture) {
			bank := f.bank("a").ID
			for _, labels := range [][]string{{"z", "a", "m"}, nil, {"b"}, {"q"}} {
				f.entry(storage.Entry{Bank: bank, Labels: labels})
			}
			f.update(func(w storage.Writer) error { // a writer sees its own
				f.must(w.UpdateEntry(storage.Entry{ID: 3, Status: storage.Active, Labels: []string{"y", "x", "y"}}))
				f.labels(w, map[storage.EntryID][]string{3: {"y", "x"}}, 3)
				return nil
			})
			f.view(func(r storage.Reader) error {
				f.labels(r, map[storage.EntryID][]string{1: {"z", "a", "m"}, 3: {"y", "x"}}, 3, 99, 2, 1, 3, 0)
				f.labels(r, map[storage.EntryID][]string{}, 2, 99)
				f.labels(r, map[storage.EntryID][]string{})
				many := make([]storage.EntryID, storage.MaxLabels+1)
				for i := range many {
					many[i] = storage.EntryID(i + 4)
				}
				f.labels(r, map[storage.EntryID][]string{4: {"q"}}, many[:storage.MaxLabels]...)
				if _, err := r.Labels(many); err == nil {
					f.Errorf("%d ids are accepted", len(many))
				}
				return nil
			})
		},
		"extended": func(f *fixture) {
			a, b := f.bank("a").ID, f.bank("b").ID
			s, added := Signal(hashing.PDQ, 1), Signal(hashing.PDQ, 2)
			cli, worse, later := s, s, s
			cli.Variant = hashing.CLI
			later.Time = 1000                   // the same picture again, in a video
			worse.Quality, worse.Version = 1, 9 // the same signal nevertheless
			want := f.entry(storage.Entry{Bank: a, Signals: []hashing.Signal{s}, Labels: []string{"l"}})
			other := f.entry(storage.Entry{Bank: b, Signals: []hashing.Signal{added}})
			media := storage.MediaInfo{SHA256: Signal(hashing.SHA256, 1).Value, Bytes: 9, Format: "png", Width: 3, Height: 4, Duration: 5, Kept: true}
			extend := func(signals []hashing.Signal, media storage.MediaInfo) {
				f.Helper()
				f.update(func(w storage.Writer) error { return w.Extend(want.ID, signals, media) })
			}

			extend(nil, storage.MediaInfo{})
			f.sameEntry(want)
			f.with(a, added)
			extend([]hashing.Signal{worse, cli, added, later, cli, later}, storage.MediaInfo{})
			want.Signals = []hashing.Signal{s, cli, added, later}
			f.sameEntry(want)
			f.with(a, added, want.ID)
			f.with(a, cli, want.ID)
			f.with(a, later, want.ID)
			extend([]hashing.Signal{added, Signal(hashing.MD5, 1)}, media)
			want.Signals, want.Media = append(want.Signals, Signal(hashing.MD5, 1)), media
			f.sameEntry(want)
			extend(nil, storage.MediaInfo{SHA256: Signal(hashing.SHA256, 2).Value, Bytes: 1}) // it has some
			extend(nil, storage.MediaInfo{})
			f.sameEntry(want)
			f.sameEntry(other)

			before := Dump(f, f.Catalogue)
			f.want(f.Update(f.ctx, func(w storage.Writer) error {
				f.must(w.Extend(other.ID, []hashing.Signal{s}, media))
				ids, err := w.EntriesWith(b, s)
				f.same([]storage.EntryID{other.ID}, ids)
				f.must(err)
				return errMeant
			}), errMeant)
			f.same(before, Dump(f, f.Catalogue))
			f.with(b, s)
			f.update(func(w storage.Writer) error {
				f.want(w.Extend(99, []hashing.Signal{s}, media), storage.ErrNotFound)
				f.want(w.Extend(99, nil, storage.MediaInfo{}), storage.ErrNotFound)
				if w.Extend(other.ID, []hashing.Signal{s, {Algorithm: 99}}, media) == nil {
					f.Error("an unknown algorithm is stored")
				}
				return nil
			})
			f.same(before, Dump(f, f.Catalogue))
		},
		"extended with a part of what is known of the media": func(f *fixture) {
			bank := f.bank("a").ID
			sized := f.entry(storage.Entry{Bank: bank, Media: storage.MediaInfo{Bytes: 1}})
			f.update(func(w storage.Writer) error {
				return w.Extend(sized.ID, nil, storage.MediaInfo{SHA256: Signal(hashing.SHA256, 1).Value})
			})
			f.sameEntry(sized)
		},
	})
}

// labels compares the labels of entries.
func (f *fixture) labels(r storage.Reader, want map[storage.EntryID][]string, ids ...storage.EntryID) {
	f.Helper()
	got, err := r.Labels(ids)
	f.must(err)
	f.same(want, got)
}

// with compares the entries of a bank that have a signal.
func (f *fixture) with(bank storage.BankID, s hashing.Signal, want ...storage.EntryID) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.EntriesWith(bank, s)
		f.same(want, got)
		return err
	})
}

func (f *fixture) sameEntry(want storage.Entry) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Entry(want.ID)
		f.same(want, got)
		return err
	})
}
