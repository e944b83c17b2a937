package storagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"vigie/storage"
)

func testRequests(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			f.bank("a")
			given := storage.Remembered{Scope: "k POST /v1", Key: "7 <&>", Digest: storage.Hash{1, 31: 2}, Outcome: []byte(`{"entry": 1}`), Seq: 99}
			want := given
			f.update(func(w storage.Writer) error {
				f.must(w.Remember(given))
				early, err := w.Remembered(given.Scope, given.Key)
				f.same(uint64(0), early.Seq)
				for range 2 { // the last of which counts
					f.must(AddEntry(w, &storage.Entry{Bank: 1}))
				}
				return err
			})
			given.Outcome[0] = 'x' // the caller's again
			want.At, want.Seq, want.Outcome = storage.Options{Now: f.clock.Now}.Time(), 3, json.RawMessage(`{"entry": 1}`)
			f.remembered(want)
			f.entry(storage.Entry{Bank: 1}) // another update is none of its business
			f.remembered(want)
		},
		"nothing came of it": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				return w.Remember(storage.Remembered{Scope: "s", Key: "k", Outcome: []byte{}})
			})
			f.remembered(storage.Remembered{Scope: "s", Key: "k", At: storage.Options{Now: f.clock.Now}.Time()})
		},
		"several": func(f *fixture) {
			f.update(func(w storage.Writer) error {
				f.must(w.Remember(storage.Remembered{Scope: "s", Key: "1"}))
				f.must(addBank(w, "a", new(storage.Bank)))
				return w.Remember(storage.Remembered{Scope: "s", Key: "2"})
			})
			at := storage.Options{Now: f.clock.Now}.Time()
			f.remembered(storage.Remembered{Scope: "s", Key: "1", Seq: 1, At: at})
			f.remembered(storage.Remembered{Scope: "s", Key: "2", Seq: 1, At: at})
		},
		"refused": func(f *fixture) {
			r := storage.Remembered{Scope: "s", Key: "k", Digest: storage.Hash{1}}
			f.update(func(w storage.Writer) error { return w.Remember(r) })
			f.update(func(w storage.Writer) error {
				again := r
				again.Digest, again.Outcome = storage.Hash{2}, body("other")
				f.want(w.Remember(again), storage.ErrExists)
				for _, other := range []storage.Remembered{{Scope: "s2", Key: "k"}, {Scope: "s", Key: "k2"}} {
					_, err := w.Remembered(other.Scope, other.Key)
					f.want(err, storage.ErrNotFound)
					f.must(w.Remember(other))
				}
				for _, outcome := range []json.RawMessage{json.RawMessage("{"), make([]byte, storage.MaxOutcome+1)} {
					if w.Remember(storage.Remembered{Scope: "x", Key: "x", Outcome: outcome}) == nil {
						f.Errorf("an outcome of %d bytes is accepted", len(outcome))
					}
				}
				_, err := w.Remembered("x", "x")
				f.want(err, storage.ErrNotFound)
				return nil
			})
			r.At = storage.Options{Now: f.clock.Now}.Time()
			f.remembered(r)
		},
		"an update that fails remembers nothing": func(f *fixture) {
			r := storage.Remembered{Scope: "s", Key: "k"}
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return errors.Join(w.Remember(r), errMeant) }), errMeant)
			f.want(f.Update(f.ctx, func(w storage.Writer) error { // it fails while the change is sealed
				return errors.Join(w.Remember(r), w.Append(&storage.Change{Kind: storage.BankChanged, Bank: 9}))
			}), storage.ErrNotFound)
			f.update(func(w storage.Writer) error { return w.Remember(r) })
		},
		"forgotten": func(f *fixture) {
			var times []time.Time
			for i := range 5 {
				f.clock.Advance(time.Minute)
				times = append(times, f.clock.Now())
				f.update(func(w storage.Writer) error {
					return w.Remember(storage.Remembered{Scope: "s", Key: fmt.Sprint(9 - i)})
				})
			}
			f.update(func(w storage.Writer) error {
				for _, step := range []struct {
					before      time.Time
					limit, want int
				}{
					{times[0], 10, 0},
					{times[3], 2, 2}, // the oldest
					{times[3], 10, 1},
					{times[3], 10, 0},
				} {
					n, err := w.Forget(step.before, step.limit)
					if n != step.want || err != nil {
						f.Errorf("forgot %d, %v; want %d", n, err, step.want)
					}
					if step.limit == 2 {
						_, err := w.Remembered("s", "7")
						f.must(err)
					}
				}
				for _, limit := range []int{-1, 0, storage.MaxRemoved + 1} {
					if _, err := w.Forget(times[4], limit); err == nil {
						f.Errorf("limit %d is accepted", limit)
					}
				}
				_, err := w.Remembered("s", "6")
				f.must(err)
				f.must(w.Remember(storage.Remembered{Scope: "s", Key: "9"})) // it is free again
				return nil
			})
		},
	})
}

func (f *fixture) remembered(want storage.Remembered) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Remembered(want.Scope, want.Key)
		f.same(want, got)
		return err
	})
}
