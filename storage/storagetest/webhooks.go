package storagetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/storage"
)

func testWebhooks(t *testing.T, open Open) {
	at := func(f *fixture) time.Time { return storage.Options{Now: f.clock.Now}.Time() }
	create := func(f *fixture, h storage.Webhook) storage.Webhook {
		f.update(func(w storage.Writer) error { return w.CreateWebhook(&h) })
		return h
	}
	get := func(f *fixture, id storage.WebhookID) (h storage.Webhook) {
		f.view(func(r storage.Reader) (err error) {
			h, err = r.Webhook(id)
			return err
		})
		return h
	}
	// match brings a match of a party.
	match := func(f *fixture, number uint64, party storage.PartyID) {
		f.update(func(w storage.Writer) error {
			return w.AddMatches("aaaaaaaa", []storage.MatchRecord{{
				ID: storage.MatchID{Node: "aaaaaaaa", Number: number}, Party: party, At: at(f), Level: "match",
				Entries: []storage.MatchEntry{{Entry: 7, Bank: 3, Level: "match"}, {Entry: 8, Bank: 3, Level: "review"}}, Verdict: []byte(`{}`),
			}})
		})
	}
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			f.bank("a")
			match(f, 1, 1)
			given := storage.Webhook{
				Party: storage.Operator, URL: "https://a.test/x?y=<&>", Kinds: []string{"match", "entry.added", "match"}, Secret: "s", OldSecret: "o",
				OldUntil: at(f).Add(time.Hour), Disabled: "why",
			}
			want := given.Normal()
			h := create(f, given)
			want.ID, want.CreatedAt, want.Since = 1, at(f), storage.Position{Log: 1, Match: 1}
			f.same(want, get(f, h.ID))
			f.same([]string{"entry.added", "match"}, want.Kinds)

			bare := create(f, storage.Webhook{Party: storage.Operator})
			f.same(storage.Webhook{ID: 2, Party: storage.Operator, CreatedAt: at(f), Since: want.Since}, get(f, bare.ID))
			f.view(func(r storage.Reader) error {
				all, err := r.Webhooks()
				f.same([]storage.WebhookID{1, 2}, []storage.WebhookID{all[0].ID, all[1].ID})
				return err
			})
		},
		"changed": func(f *fixture) {
			h := create(f, storage.Webhook{Party: storage.Operator, URL: "u", Secret: "1"})
			f.bank("a")
			f.clock.Advance(time.Hour)
			change := func(edit func(h *storage.Webhook)) storage.Webhook {
				changed := get(f, h.ID)
				edit(&changed)
				given := changed
				given.Party, given.CreatedAt, given.Since = 99, time.Time{}, storage.Position{Log: 99} // which cannot be changed
				f.update(func(w storage.Writer) error { return w.UpdateWebhook(given) })
				return changed
			}
			want := change(func(h *storage.Webhook) {
				h.URL, h.Kinds, h.Secret, h.OldSecret, h.OldUntil, h.Disabled = "v", []string{"k"}, "2", "1", at(f), "gone"
			})
			f.same(want, get(f, h.ID))
			f.same(storage.Position{}, want.Since)
			match(f, 1, 1)
			want = change(func(h *storage.Webhook) { h.Disabled = "still gone" })
			f.same(want, get(f, h.ID))
			want = change(func(h *storage.Webhook) { h.Disabled = "" })
			want.Since = storage.Position{Log: 1, Match: 1} // what happened meanwhile it is not told
			f.same(want, get(f, h.ID))
			f.bank("b")
			want = change(func(h *storage.Webhook) { h.URL = "w" })
			f.same(want, get(f, h.ID))
		},
		"deleted": func(f *fixture) {
			h := create(f, storage.Webhook{Party: storage.Operator})
			f.update(func(w storage.Writer) error { return w.DeleteWebhook(h.ID) })
			f.update(func(w storage.Writer) error {
				_, err := w.Webhook(h.ID)
				f.want(err, storage.ErrNotFound)
				f.want(w.DeleteWebhook(h.ID), storage.ErrNotFound)
				f.want(w.UpdateWebhook(h), storage.ErrNotFound)
				return nil
			})
			if again := create(f, storage.Webhook{Party: storage.Operator}); again.ID <= h.ID {
				f.Errorf("the number %d is given again, to %d", h.ID, again.ID)
			}
		},
		"refused": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				f.want(w.CreateWebhook(&storage.Webhook{Party: 9}), storage.ErrNotFound)
				f.want(w.CreateWebhook(&storage.Webhook{Party: 1, URL: "\x00"}), storage.ErrInvalid)
				for _, limit := range []int{-1, 0, storage.MaxEntries + 1} {
					if _, err := w.MatchHeads(0, limit); err == nil {
						f.Errorf("limit %d is accepted", limit)
					}
					if _, err := w.ChangeSizes(0, limit); err == nil {
						f.Errorf("limit %d is accepted", limit)
					}
				}
				for _, limit := range []int{-1, 0, storage.MaxMatches + 1} {
					if _, err := w.MatchesAfter(storage.MatchStretch{Party: 1, Until: 9, Limit: limit}); err == nil {
						f.Errorf("limit %d is accepted", limit)
					}
				}
				return nil
			})
		},
		"new matches": func(f *fixture) {
			for i := range uint64(6) {
				match(f, i+1, storage.PartyID(1+i%2))
			}
			f.view(func(r storage.Reader) error {
				heads, err := r.MatchHeads(2, 3)
				f.must(err)
				f.same([]storage.MatchHead{{Ord: 3, Party: 1}, {Ord: 4, Party: 2}, {Ord: 5, Party: 1}}, heads)
				none, err := r.MatchHeads(6, 3)
				f.must(err)
				f.same(0, len(none))
				for _, test := range []struct {
					party        storage.PartyID
					after, until uint64
					limit        int
					want         []uint64
				}{
					{1, 0, 9, 9, []uint64{1, 3, 5}},
					{1, 1, 9, 9, []uint64{3, 5}},
					{1, 1, 5, 1, []uint64{3}},
					{1, 1, 4, 9, []uint64{3}},
					{2, 0, 4, 9, []uint64{2, 4}},
					{2, 6, 9, 9, nil},
					{3, 0, 9, 9, nil},
				} {
					page, err := r.MatchesAfter(storage.MatchStretch{Party: test.party, After: test.after, Until: test.until, Limit: test.limit})
					f.must(err)
					var ords []uint64
					for _, m := range page {
						ords = append(ords, m.Ord)
						whole, err := r.Match(m.ID)
						f.must(err)
						whole.Verdict = nil
						f.same(whole, m)
					}
					if !slices.Equal(ords, test.want) {
						f.Errorf("%+v: got %v", test, ords)
					}
				}
				return nil
			})
		},
		"dispatch": func(f *fixture) {
			const period = time.Minute
			take := func(holder string) (d storage.Dispatch, err error) {
				err = f.Update(f.ctx, func(w storage.Writer) (err error) {
					d, err = w.TakeDispatch(holder, period)
					return err
				})
				return d, err
			}
			move := func(holder string, log, match uint64) error {
				return f.Update(f.ctx, func(w storage.Writer) error {
					return w.Dispatched(holder, storage.Position{Log: log, Match: match}, period)
				})
			}
			now := func() (d storage.Dispatch) {
				f.view(func(r storage.Reader) (err error) {
					d, err = r.Dispatch()
					return err
				})
				return d
			}
			f.same(storage.Dispatch{}, now())
			f.want(move("a", 1, 1), storage.ErrConflict)
			d, err := take("a")
			f.must(err)
			f.same(storage.Dispatch{Holder: "a", Until: at(f).Add(period)}, d)
			f.same(d, now())
			_, err = take("b")
			f.want(err, storage.ErrConflict)
			f.same(d, now())
			f.clock.Advance(time.Second)
			f.must(move("a", 3, 2))
			f.same(storage.Dispatch{Position: storage.Position{Log: 3, Match: 2}, Holder: "a", Until: at(f).Add(period)}, now())
			f.want(move("a", 2, 2), storage.ErrConflict)
			f.want(move("a", 3, 1), storage.ErrConflict)
			f.want(move("b", 4, 4), storage.ErrConflict)
			f.must(move("a", 3, 2)) // it may stand still
			f.clock.Advance(period)
			f.must(move("a", 4, 2)) // late, but nobody has taken it
			f.clock.Advance(period)
			d, err = take("b")
			f.must(err)
			f.same(storage.Dispatch{Position: storage.Position{Log: 4, Match: 2}, Holder: "b", Until: at(f).Add(period)}, d)
			f.want(move("a", 5, 5), storage.ErrConflict)
			f.same(d, now())
			leave := func(holder string) { f.update(func(w storage.Writer) error { return w.LeaveDispatch(holder) }) }
			leave("a") // who has it not
			f.same(d, now())
			leave("b")
			f.same(storage.Dispatch{Position: d.Position}, now())
			_, err = take("a") // at once
			f.must(err)
		},
		"taken by a clock that was ahead": func(f *fixture) {
			take := func(holder string, period time.Duration) error {
				return f.Update(f.ctx, func(w storage.Writer) error {
					_, err := w.TakeDispatch(holder, period)
					return err
				})
			}
			f.must(take("a day ahead", 24*time.Hour)) // than others can take it
			f.must(take("b", 30*time.Second))
			f.want(take("c", 30*time.Second), storage.ErrConflict)
		},
		"once more": func(f *fixture) {
			rewound := func(log, match uint64) storage.Dispatch {
				f.update(func(w storage.Writer) error { return w.RewindDispatch(storage.Position{Log: log, Match: match}) })
				var d storage.Dispatch
				f.view(func(r storage.Reader) (err error) {
					d, err = r.Dispatch()
					return err
				})
				return d
			}
			f.same(storage.Dispatch{}, rewound(5, 5)) // it is not moved on
			f.update(func(w storage.Writer) error {
				_, err := w.TakeDispatch("a", time.Minute)
				f.must(err)
				return w.Dispatched("a", storage.Position{Log: 3, Match: 2}, time.Minute)
			})
			f.same(storage.Dispatch{Position: storage.Position{Log: 3, Match: 2}}, rewound(3, 9))
			f.same(storage.Dispatch{Position: storage.Position{Log: 1, Match: 2}}, rewound(1, 2))
			f.same(storage.Dispatch{}, rewound(0, 0))
		},
		"sizes and the present": func(f *fixture) {
			f.bank("a")
			f.bank(strings.Repeat("b", 60))
			match(f, 1, 1)
			changes, err := f.Changes(f.ctx, 0, 9)
			f.must(err)
			f.view(func(r storage.Reader) error {
				p, err := r.Present()
				f.must(err)
				f.same(storage.Position{Log: uint64(len(changes)), Match: 1}, p)
				sizes, err := r.ChangeSizes(0, 9)
				f.must(err)
				var want []int64
				for _, c := range changes {
					want = append(want, int64(len(c.Record)+len(c.Private)))
				}
				f.same(want, sizes)
				sizes, err = r.ChangeSizes(1, 1)
				f.must(err)
				f.same(want[1:2], sizes)
				none, err := r.ChangeSizes(99, 9)
				f.same(0, len(none))
				return err
			})
		},
		"an update that fails": func(f *fixture) {
			f.want(f.Update(f.ctx, func(w storage.Writer) error {
				f.must(w.CreateWebhook(&storage.Webhook{Party: storage.Operator}))
				_, err := w.TakeDispatch("a", time.Minute)
				f.must(err)
				return errMeant
			}), errMeant)
			f.view(func(r storage.Reader) error {
				all, err := r.Webhooks()
				f.same(0, len(all))
				d, _ := r.Dispatch()
				f.same(storage.Dispatch{}, d)
				return err
			})
		},
	})
}
