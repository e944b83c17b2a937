package storagetest

import (
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func testExpiry(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"what is due, and once": func(f *fixture) {
			bank := f.bank("a").ID
			in := func(d time.Duration) time.Time { return f.clock.Now().Add(d) }
			one := func(status storage.Status, at time.Time) storage.EntryID {
				return f.entry(storage.Entry{
					Bank: bank, Status: status, ExpiresAt: at, Reason: "of before", Labels: []string{"l"},
					Signals: []hashing.Signal{Signal(hashing.PDQ, 1)}, Sources: []storage.Source{{Actor: "k"}},
				}).ID
			}
			late, early, never, retracted, early2, tomorrow := one(storage.Active, in(2*time.Hour)), one(storage.Active, in(time.Hour)),
				one(storage.Active, time.Time{}), one(storage.Retracted, in(time.Hour)), one(storage.Active, in(time.Hour)), one(storage.Active, in(24*time.Hour))
			due := func(limit int) (ids []storage.EntryID) {
				f.view(func(r storage.Reader) (err error) {
					ids, err = r.Due(limit)
					return err
				})
				return ids
			}
			var expired []storage.Entry
			expire := func(limit int) (ids []storage.EntryID) {
				f.update(func(w storage.Writer) (err error) {
					expired, err = w.Expire(limit)
					return err
				})
				for _, e := range expired {
					ids = append(ids, e.ID)
				}
				return ids
			}
			var none []storage.EntryID
			f.clock.Advance(time.Hour - time.Millisecond)
			f.same(none, due(10))
			f.same(none, expire(10))
			f.clock.Advance(time.Millisecond) // its time has come when it is that time
			f.same([]storage.EntryID{early, early2}, due(10))
			f.clock.Advance(2 * time.Hour)
			f.same([]storage.EntryID{early, early2, late}, due(10))
			f.same([]storage.EntryID{early, early2}, due(2))

			f.same([]storage.EntryID{early, early2}, expire(2))
			want := expired[0]
			f.same([]any{storage.Expired, "", []string{"l"}, 1, 1}, []any{want.Status, want.Reason, want.Labels, len(want.Signals), len(want.Sources)})
			f.sameEntry(want)
			f.same([]storage.EntryID{late}, expire(10))
			f.same(none, expire(10))
			f.view(func(r storage.Reader) error {
				for id, status := range map[storage.EntryID]storage.Status{never: storage.Active, retracted: storage.Retracted, tomorrow: storage.Active} {
					e, err := r.Entry(id)
					f.must(err)
					f.same(status, e.Status)
				}
				listed, err := r.Entries(storage.EntryQuery{Status: storage.Expired, Limit: 10})
				f.same(3, len(listed))
				return err
			})
		},
		"changed": func(f *fixture) {
			e := f.entry(storage.Entry{Bank: f.bank("a").ID, Status: storage.Active, ExpiresAt: f.clock.Now().Add(time.Hour)})
			set := func(status storage.Status, at time.Time) {
				e.Status, e.ExpiresAt = status, at
				f.update(func(w storage.Writer) error { return w.UpdateEntry(e) })
			}
			due := func(want int) {
				f.Helper()
				f.view(func(r storage.Reader) error {
					ids, err := r.Due(10)
					f.same(want, len(ids))
					return err
				})
			}
			f.clock.Advance(time.Hour)
			due(1)
			set(storage.Active, f.clock.Now().Add(time.Millisecond))
			due(0)
			set(storage.Active, f.clock.Now())
			due(1)
			set(storage.Expired, e.ExpiresAt)
			due(0)
			set(storage.Active, time.Time{}) // restored for good
			due(0)
		},
		"bounds": func(f *fixture) {
			bank := f.bank("a").ID
			for _, limit := range []int{0, storage.MaxEntries + 1} {
				f.view(func(r storage.Reader) error {
					if _, err := r.Due(limit); err == nil {
						f.Errorf("%d are due at once", limit)
					}
					return nil
				})
			}
			for _, at := range []time.Time{time.Unix(0, 0), time.Unix(-1, 0), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)} {
				f.update(func(w storage.Writer) error {
					e := storage.Entry{Bank: bank, Status: storage.Active, ExpiresAt: at}
					if w.CreateEntry(&e) == nil {
						f.Errorf("an entry that expires at %v is stored", at)
					}
					e = storage.Entry{Bank: bank, Status: storage.Active}
					f.must(w.CreateEntry(&e))
					e.ExpiresAt = at
					if w.UpdateEntry(e) == nil {
						f.Errorf("an entry is changed to expire at %v", at)
					}
					return nil
				})
			}
			last := storage.Entry{Bank: bank, Status: storage.Active, ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)}
			f.update(func(w storage.Writer) error { return w.CreateEntry(&last) })
			f.sameEntry(last)
		},
	})
}
