package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vigie/storage"
)

func testRescans(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			f.bank("a")
			now := storage.Options{Now: f.clock.Now}.Time()
			given := storage.Rescan{
				ID: 99, Party: 1, Key: "k", Source: "old posts", State: storage.RescanDone, Shards: 7,
				Options: storage.RescanOptions{Banks: []string{"a"}, Since: 1 << 40, NewerThan: f.clock.Now(), Upright: true, FailedOf: 7},
			}
			want := storage.Rescan{
				ID: 1, Party: 1, Key: "k", Source: "old posts", State: storage.RescanPlanning, Seq: 1, CreatedAt: now,
				Options: storage.RescanOptions{Banks: []string{"a"}, Since: 1 << 40, NewerThan: now, Upright: true, FailedOf: 7},
			}
			f.update(func(w storage.Writer) error { return w.CreateRescan(&given) })
			f.same(want, given)
			given.Options.Banks[0] = "x" // the caller's again
			f.same(want, f.rescan(1))

			odd := "\x00\xff/é"
			plan := storage.Plan{Version: "etag", Cursor: odd, Planned: true}
			f.update(func(w storage.Writer) error {
				planned, err := w.PlanRescan(1)
				f.must(err)
				f.same(1, planned.Attempt)
				return w.AddShards(1, 1, plan, []storage.Shard{{To: "a", Planned: 5, Number: 9, Done: true}, {From: "a", To: odd}})
			})
			want.Plan, want.Attempt, want.Shards, want.State, want.StartedAt = plan, 1, 2, storage.RescanRunning, now
			f.same(want, f.rescan(1))
			one := storage.Shard{Rescan: 1, Number: 1, To: "a", Planned: 5}
			two := storage.Shard{Rescan: 1, Number: 2, From: "a", To: odd, Cursor: "a"}
			f.same([]storage.Shard{one, two}, f.shards(1, false))

			counts := storage.RescanCounts{Items: 1 << 40, Bytes: 2, Failed: 3, None: 4, Review: 5, Likely: 6, Match: 7}
			hit := storage.RescanHit{ID: 9, Rescan: 9, Shard: 9, Item: odd, Level: "match", Action: "block", Verdict: []byte(`{"a" : "é<&>"}`), Entries: []storage.EntryID{7, 1 << 40}}
			bare := storage.RescanHit{Item: "", Level: "review", Verdict: []byte{}}
			f.update(func(w storage.Writer) error {
				_, taken, err := w.TakeShard(1, 2)
				f.must(err)
				two.Attempt, two.Tries, two.StartedAt = 1, 1, now
				f.same(two, taken)
				return w.SaveShard(storage.ShardProgress{
					Rescan: 1, Shard: 2, Attempt: 1, Cursor: odd, Done: true, Counts: counts, Hits: []storage.RescanHit{hit, bare},
					Failures: []storage.RescanFailure{{ID: 9, Item: odd, Error: "\x00\xff" + strings.Repeat("é", 600)}},
				})
			})
			hit.Verdict[0], hit.Entries[0] = 'x', 8 // the caller's again
			two.Tries, two.Done, two.Counts, two.FinishedAt = 0, true, counts, now
			two.From, two.To, two.Cursor = "", "", "" // they are names
			want.Counts, want.ShardsDone = counts, 1
			f.same(want, f.rescan(1))
			f.same([]storage.Shard{one, two}, f.shards(1, false))
			f.same([]storage.Shard{one}, f.shards(1, true))
			f.view(func(r storage.Reader) error {
				hits, err1 := r.RescanHits(1, 0, 9)
				failures, err2 := r.RescanFailures(1, 0, 9)
				f.same([]storage.RescanHit{
					{ID: 1, Rescan: 1, Shard: 2, Item: odd, Level: "match", Action: "block", Verdict: []byte(`{"a" : "é<&>"}`)},
					{ID: 2, Rescan: 1, Shard: 2, Level: "review"},
				}, hits)
				f.same([]storage.RescanFailure{{ID: 1, Rescan: 1, Shard: 2, Item: odd, Error: "��" + strings.Repeat("é", 497)}}, failures)
				return errors.Join(err1, err2)
			})

			f.update(func(w storage.Writer) error {
				f.must(errors.Join(first(w.EndRescan(1, storage.RescanCancelled, "")), first(w.ResumeRescan(1)))) // which needs them
				_, taken, err := w.TakeShard(1, 1)
				f.must(err)
				f.same("a", taken.To)
				f.must(w.SaveShard(storage.ShardProgress{Rescan: 1, Shard: 1, Attempt: 1, Cursor: "a", Done: true}))
				return nil
			})
			f.same(odd, f.rescan(1).Cursor)
			f.update(func(w storage.Writer) error { return first(w.EndRescan(1, storage.RescanDone, "")) })
			want.Cursor, want.ShardsDone, want.State, want.FinishedAt = "", 2, storage.RescanDone, now
			f.same(want, f.rescan(1))
			for _, s := range f.shards(1, false) {
				f.same("", s.From+s.To+s.Cursor)
			}
		},
		"fenced": func(f *fixture) {
			f.rescanOf(2)
			count := storage.RescanCounts{Items: 1}
			progress := func(attempt int, cursor string, done bool) storage.ShardProgress {
				return storage.ShardProgress{
					Rescan: 1, Shard: 1, Attempt: attempt, Cursor: cursor, Done: done, Counts: count, Hits: []storage.RescanHit{{Item: cursor}},
					Failures: []storage.RescanFailure{{Item: cursor}},
				}
			}
			take := func() (attempt, tries int, cursor string) {
				f.update(func(w storage.Writer) error {
					_, s, err := w.TakeShard(1, 1)
					attempt, tries, cursor = s.Attempt, s.Tries, s.Cursor
					return err
				})
				return attempt, tries, cursor
			}
			save := func(p storage.ShardProgress, want error) {
				f.Helper()
				f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.SaveShard(p) }), want)
			}
			taken := func(attempt, tries int, cursor string) {
				f.Helper()
				a, n, c := take()
				f.same([]any{attempt, tries, cursor}, []any{a, n, c})
			}
			save(progress(1, "x", false), storage.ErrConflict) // nobody has taken it
			taken(1, 1, "")
			save(progress(1, "1", false), nil)
			taken(2, 1, "1")
			taken(3, 2, "1")
			save(progress(1, "x", false), storage.ErrConflict)
			save(progress(2, "x", true), storage.ErrConflict)
			save(progress(4, "x", false), storage.ErrConflict)
			save(progress(3, "2", false), nil)
			save(progress(3, "3", true), nil)
			save(progress(3, "x", true), storage.ErrConflict)
			f.want(f.Update(f.ctx, func(w storage.Writer) error { _, _, err := w.TakeShard(1, 1); return err }), storage.ErrConflict)

			f.same(storage.RescanCounts{Items: 3}, f.rescan(1).Counts)
			f.same(1, f.rescan(1).ShardsDone)
			f.view(func(r storage.Reader) error {
				hits, err1 := r.RescanHits(1, 0, 9)
				failures, err2 := r.RescanFailures(1, 1, 1)
				f.same(3, len(hits))
				f.same("2", failures[0].Item)
				return errors.Join(err1, err2)
			})

			// So is planning.
			f.update(func(w storage.Writer) error {
				r := storage.Rescan{Party: 1}
				f.must(w.CreateRescan(&r))
				_, err1 := w.PlanRescan(r.ID)
				_, err2 := w.PlanRescan(r.ID)
				f.must(errors.Join(err1, err2))
				f.want(w.AddShards(r.ID, 1, storage.Plan{}, nil), storage.ErrConflict)
				f.must(w.AddShards(r.ID, 2, storage.Plan{Cursor: "m"}, []storage.Shard{{To: "m"}}))
				f.must(w.AddShards(r.ID, 2, storage.Plan{Cursor: "z", Planned: true}, []storage.Shard{{From: "m", To: "z"}}))
				f.want(w.AddShards(r.ID, 2, storage.Plan{}, nil), storage.ErrConflict)
				return nil
			})
			f.same([]storage.Shard{{Rescan: 2, Number: 1, To: "m"}, {Rescan: 2, Number: 2, From: "m", To: "z", Cursor: "m"}}, f.shards(2, true))
		},
		"ended and resumed": func(f *fixture) {
			f.rescanOf(2)
			end := func(as storage.RescanState, want error) {
				f.Helper()
				f.want(f.Update(f.ctx, func(w storage.Writer) error { _, err := w.EndRescan(1, as, "why"); return err }), want)
			}
			resume := func(want error) {
				f.Helper()
				f.want(f.Update(f.ctx, func(w storage.Writer) error { _, err := w.ResumeRescan(1); return err }), want)
			}
			all := func(number int, want error) { // what workers do
				f.Helper()
				for _, do := range []func(w storage.Writer) error{
					func(w storage.Writer) error { _, _, err := w.TakeShard(1, number); return err },
					func(w storage.Writer) error {
						return w.SaveShard(storage.ShardProgress{Rescan: 1, Shard: number, Attempt: 1, Done: true})
					},
				} {
					f.want(f.Update(f.ctx, do), want)
				}
			}
			end(storage.RescanDone, storage.ErrConflict) // not all is done
			resume(storage.ErrConflict)
			all(1, nil)
			f.update(func(w storage.Writer) error { _, _, err := w.TakeShard(1, 2); return err })
			end(storage.RescanCancelled, nil)
			f.clock.Advance(time.Hour)
			end(storage.RescanCancelled, nil)
			end(storage.RescanFailed, storage.ErrConflict)
			f.same(storage.Options{Now: f.clock.Now}.Time().Add(-time.Hour), f.rescan(1).FinishedAt)
			f.update(func(w storage.Writer) error {
				_, err1 := w.PlanRescan(1)
				_, _, err2 := w.TakeShard(1, 2)
				f.want(err1, storage.ErrConflict)
				f.want(err2, storage.ErrConflict)
				f.want(w.SaveShard(storage.ShardProgress{Rescan: 1, Shard: 2, Attempt: 1}), storage.ErrConflict)
				f.want(w.AddShards(1, 1, storage.Plan{}, nil), storage.ErrConflict)
				return nil
			})
			resume(nil)
			r := f.rescan(1)
			f.same([]any{storage.RescanRunning, "", time.Time{}, 0}, []any{r.State, r.Error, r.FinishedAt, f.shards(1, true)[0].Tries})
			end(storage.RescanFailed, nil)
			f.same("why", f.rescan(1).Error)
			resume(nil)
			f.update(func(w storage.Writer) error {
				_, s, err := w.TakeShard(1, 2)
				f.same(2, s.Attempt)
				f.must(err)
				return w.SaveShard(storage.ShardProgress{Rescan: 1, Shard: 2, Attempt: 2, Done: true})
			})
			end(storage.RescanDone, nil)
			resume(storage.ErrConflict)
			f.update(func(w storage.Writer) error {
				if _, err := w.EndRescan(1, storage.RescanRunning, ""); err == nil || errors.Is(err, storage.ErrConflict) {
					f.Errorf("ended as running: %v", err)
				}
				return nil
			})
		},
		"not there": func(f *fixture) {
			f.rescanOf(1)
			f.update(func(w storage.Writer) error {
				_, err1 := w.Rescan(2)
				_, err2 := w.Shards(2, 0, 1, false)
				_, err3 := w.RescanHits(2, 0, 1)
				_, err4 := w.RescanFailures(2, 0, 1)
				_, err5 := w.PlanRescan(2)
				_, _, err6 := w.TakeShard(1, 2)
				_, err7 := w.EndRescan(2, storage.RescanDone, "")
				_, err8 := w.ResumeRescan(2)
				for _, err := range []error{
					err1, err2, err3, err4, err5, err6, err7, err8, w.AddShards(2, 0, storage.Plan{}, nil),
					w.SaveShard(storage.ShardProgress{Rescan: 2, Shard: 1}), w.CreateRescan(&storage.Rescan{Party: 9}),
				} {
					f.want(err, storage.ErrNotFound)
				}
				return nil
			})
		},
		"refused": func(f *fixture) {
			f.rescanOf(1)
			before := f.rescan(1)
			long := strings.Repeat("x", storage.MaxRescanItem+1)
			f.update(func(w storage.Writer) error {
				f.must(second(w.TakeShard(1, 1)))
				for name, p := range map[string]storage.ShardProgress{
					"many":        {Hits: make([]storage.RescanHit, 600), Failures: make([]storage.RescanFailure, 401)},
					"cursor":      {Cursor: long},
					"hit":         {Hits: []storage.RescanHit{{Item: long}}},
					"entries":     {Hits: []storage.RescanHit{{Entries: make([]storage.EntryID, storage.MaxHitEntries+1)}}},
					"failure":     {Failures: []storage.RescanFailure{{Item: long}}},
					"not JSON":    {Hits: []storage.RescanHit{{Verdict: []byte("{")}}},
					"large":       {Hits: []storage.RescanHit{{Verdict: []byte(`"` + long + strings.Repeat("x", storage.MaxVerdict) + `"`)}}},
					"wrong shard": {Shard: 7},
				} {
					p.Rescan, p.Attempt, p.Shard = 1, 1, max(p.Shard, 1)
					if w.SaveShard(p) == nil {
						f.Errorf("%s is accepted", name)
					}
				}
				for name, err := range map[string]error{
					"many shards":   w.AddShards(1, 1, storage.Plan{}, make([]storage.Shard, storage.MaxRescanRows+1)),
					"a long cursor": w.AddShards(1, 1, storage.Plan{Cursor: long}, nil),
					"a long shard":  w.AddShards(1, 1, storage.Plan{}, []storage.Shard{{To: long}}),
				} {
					if err == nil {
						f.Errorf("%s: accepted", name)
					}
				}
				for _, limit := range []int{-1, 0, storage.MaxRescanRows + 1} {
					_, err1 := w.Rescans(storage.RescanQuery{Limit: limit})
					_, err2 := w.Shards(1, 0, limit, false)
					_, err3 := w.RescanHits(1, 0, limit)
					_, err4 := w.RescanFailures(1, 0, limit)
					for _, err := range []error{err1, err2, err3, err4} {
						if err == nil {
							f.Errorf("limit %d is accepted", limit)
						}
					}
				}
				if _, err := w.ExpireRescans(1, f.clock.Now(), storage.MaxRemoved+1); err == nil {
					f.Error("a limit beyond all is accepted")
				}
				return nil
			})
			f.same(before, f.rescan(1))
		},
		"listing": func(f *fixture) {
			f.party("p")
			f.update(func(w storage.Writer) error {
				for i := range 12 {
					r := storage.Rescan{Party: storage.PartyID(1 + i%2), Source: fmt.Sprint("s", i%3)}
					f.must(w.CreateRescan(&r))
					if i%4 == 0 {
						f.must(first(w.EndRescan(r.ID, storage.RescanCancelled, "")))
					}
				}
				return nil
			})
			for _, q := range []storage.RescanQuery{
				{},
				{Party: 2},
				{Party: 9},
				{Source: "s1"},
				{State: storage.RescanCancelled},
				{Before: 5},
				{Before: 1 << 63},
				{Party: 1, Source: "s0", State: storage.RescanPlanning, Before: 12},
			} {
				var want []storage.RescanID
				for id := storage.RescanID(12); id > 0; id-- {
					r := f.rescan(id)
					if (q.Party == 0 || r.Party == q.Party) && (q.Source == "" || r.Source == q.Source) && (q.State == "" || r.State == q.State) &&
						(q.Before == 0 || id < q.Before) {
						want = append(want, id)
					}
				}
				for _, limit := range []int{1, 5, 1000} {
					q, got := q, []storage.RescanID(nil)
					q.Limit = limit
					f.view(func(r storage.Reader) error {
						for {
							page, err := r.Rescans(q)
							if err != nil || len(page) == 0 {
								return err
							}
							for _, one := range page {
								got = append(got, one.ID)
							}
							q.Before = got[len(got)-1]
						}
					})
					f.same(want, got)
				}
			}
			f.rescanOf(9)
			f.view(func(r storage.Reader) error {
				page, err := r.Shards(13, 3, 4, false)
				f.same([]int{4, 5, 6, 7}, numbers(page))
				return err
			})
		},
		"erased": func(f *fixture) {
			f.party("p")
			f.rescanOf(1)
			f.rescanBy(2, 1)
			odd, long := "\x00\xff", strings.Repeat("é", storage.MaxRescanItem/2)
			for id := storage.RescanID(1); id <= 2; id++ {
				f.update(func(w storage.Writer) error {
					f.must(second(w.TakeShard(id, 1)))
					return w.SaveShard(storage.ShardProgress{
						Rescan: id, Shard: 1, Attempt: 1, Hits: []storage.RescanHit{{Item: "a", Level: "match"}, {Item: "b"}, {Item: odd}, {Item: long}, {Item: ""}},
						Failures: []storage.RescanFailure{{Item: "a", Error: "e"}, {Item: "b"}},
					})
				})
			}
			f.update(func(w storage.Writer) error {
				for _, step := range []struct {
					party storage.PartyID
					item  string
					want  int
				}{{1, "a", 2}, {1, "a", 0}, {1, "", 0}, {1, "x", 0}, {9, "b", 0}, {1, odd, 1}, {2, long, 1}} {
					n, err := w.EraseContent(step.party, step.item)
					f.must(err)
					f.same(step.want, n)
				}
				return nil
			})
			items := func(id storage.RescanID) (all []string) {
				f.view(func(r storage.Reader) error {
					hits, err1 := r.RescanHits(id, 0, 9)
					failures, err2 := r.RescanFailures(id, 0, 9)
					for _, h := range hits {
						all = append(all, h.Item)
					}
					for _, one := range failures {
						all = append(all, one.Item)
					}
					f.same([]string{"match", "e"}, []string{hits[0].Level, failures[0].Error})
					return errors.Join(err1, err2)
				})
				return all
			}
			f.same([]string{"", "b", "", long, "", "", "b"}, items(1))
			f.same([]string{"a", "b", odd, "", "", "a", "b"}, items(2))
		},
		"hits by entry": func(f *fixture) {
			f.party("p")
			f.rescanOf(1)
			f.rescanBy(2, 1)
			f.rescanOf(1)
			for id := storage.RescanID(1); id <= 3; id++ {
				f.update(func(w storage.Writer) error {
					f.must(second(w.TakeShard(id, 1)))
					name := fmt.Sprint(id)
					return w.SaveShard(storage.ShardProgress{Rescan: id, Shard: 1, Attempt: 1, Hits: []storage.RescanHit{
						{Item: name + "a", Verdict: []byte("{}"), Entries: []storage.EntryID{5, 6}}, {Item: name + "b"}, {Item: name + "c", Entries: []storage.EntryID{6}},
					}})
				})
			}
			items := func(party storage.PartyID, entry storage.EntryID, after uint64, limit int) (all []string) {
				f.view(func(r storage.Reader) error {
					hits, err := r.RescanHitsOf(party, entry, after, limit)
					for _, h := range hits {
						f.same(true, h.ID > after && h.Entries == nil && h.Verdict == nil)
						after = h.ID
						all = append(all, fmt.Sprint(h.Rescan, " ", h.Item))
					}
					return err
				})
				return all
			}
			f.same([]string{"1 1a", "3 3a"}, items(1, 5, 0, 9))
			f.same([]string{"1 1a", "1 1c", "3 3a", "3 3c"}, items(1, 6, 0, 9))
			f.same([]string{"1 1c", "3 3a"}, items(1, 6, 1, 2))
			f.same([]string{"2 2a", "2 2c"}, items(2, 6, 0, 9))
			f.same([]string(nil), items(1, 7, 0, 9))
			f.same([]string(nil), items(9, 5, 0, 9))
			f.update(func(w storage.Writer) error { return first(w.EndRescan(1, storage.RescanCancelled, "")) })
			f.clock.Advance(time.Minute)
			f.update(func(w storage.Writer) error { return first(w.ExpireRescans(1, f.clock.Now(), 2)) }) // a and b of it
			f.same([]string{"1 1c", "3 3a", "3 3c"}, items(1, 6, 0, 9))
			f.same([]string{"3 3a"}, items(1, 5, 0, 9))
			f.view(func(r storage.Reader) error {
				for _, limit := range []int{0, storage.MaxRescanRows + 1} {
					if _, err := r.RescanHitsOf(1, 5, 0, limit); err == nil {
						f.Errorf("a page of %d", limit)
					}
				}
				return nil
			})
		},
		"expired": func(f *fixture) {
			f.party("p")
			for i := range 4 {
				f.rescanOf(2)
				f.update(func(w storage.Writer) error {
					id := storage.RescanID(i + 1)
					f.must(second(w.TakeShard(id, 1)))
					return w.SaveShard(storage.ShardProgress{
						Rescan: id, Shard: 1, Attempt: 1, Hits: make([]storage.RescanHit, 3), Failures: make([]storage.RescanFailure, 2),
					})
				})
			}
			end := func(id storage.RescanID) {
				f.update(func(w storage.Writer) error { return first(w.EndRescan(id, storage.RescanCancelled, "")) })
				f.clock.Advance(time.Minute)
			}
			end(2)
			end(1)
			until := f.clock.Now()
			end(4) // the third goes on
			rows := func(id storage.RescanID) (n [3]int) {
				f.view(func(r storage.Reader) error {
					hits, err := r.RescanHits(id, 0, 9)
					failures, _ := r.RescanFailures(id, 0, 9)
					shards, _ := r.Shards(id, 0, 9, false)
					n = [3]int{len(hits), len(failures), len(shards)}
					if errors.Is(err, storage.ErrNotFound) {
						return nil
					}
					return err
				})
				return n
			}
			for _, step := range []struct {
				party       storage.PartyID
				limit, want int
				left        [2][3]int // of the second, which ended first, and of the first
			}{
				{2, 100, 0, [2][3]int{{3, 2, 2}, {3, 2, 2}}},
				{1, 2, 2, [2][3]int{{1, 2, 2}, {3, 2, 2}}},
				{1, 2, 2, [2][3]int{{0, 1, 2}, {3, 2, 2}}},
				{1, 3, 3, [2][3]int{{0, 0, 0}, {3, 2, 2}}},
				{1, 3, 3, [2][3]int{{0, 0, 0}, {1, 2, 2}}},
				{1, 100, 6, [2][3]int{}},
				{1, 100, 0, [2][3]int{}},
			} {
				f.update(func(w storage.Writer) error {
					n, err := w.ExpireRescans(step.party, until, step.limit)
					f.same(step.want, n)
					return err
				})
				f.same(step.left, [2][3]int{rows(2), rows(1)})
			}
			f.same([2][3]int{{3, 2, 2}, {3, 2, 2}}, [2][3]int{rows(3), rows(4)})
			f.rescanOf(1) // numbers are not used again
			f.same(storage.RescanID(5), f.rescan(5).ID)
		},
	})
}

func first[T any](_ T, err error) error          { return err }
func second[T, U any](_ T, _ U, err error) error { return err }

func numbers(shards []storage.Shard) (n []int) {
	for _, s := range shards {
		n = append(n, s.Number)
	}
	return n
}

func (f *fixture) rescan(id storage.RescanID) (found storage.Rescan) {
	f.Helper()
	f.view(func(r storage.Reader) (err error) {
		found, err = r.Rescan(id)
		return err
	})
	return found
}

func (f *fixture) shards(id storage.RescanID, open bool) (all []storage.Shard) {
	f.Helper()
	f.view(func(r storage.Reader) (err error) {
		all, err = r.Shards(id, 0, 100, open)
		return err
	})
	return all
}

// rescanOf makes a re-scan that is planned.
func (f *fixture) rescanOf(shards int) {
	f.Helper()
	f.rescanBy(1, shards)
}

// rescanBy is rescanOf for a party.
func (f *fixture) rescanBy(party storage.PartyID, shards int) {
	f.Helper()
	f.update(func(w storage.Writer) error {
		r := storage.Rescan{Party: party, Source: "s"}
		if err := w.CreateRescan(&r); err != nil {
			return err
		}
		return errors.Join(first(w.PlanRescan(r.ID)), w.AddShards(r.ID, 1, storage.Plan{Planned: true}, make([]storage.Shard, shards)))
	})
}
